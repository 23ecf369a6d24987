/* SPDX-License-Identifier: MIT */
/*
 * landlock - the part of confine.h that is Landlock. libc has no functions for it.
 */
#ifndef WORKERS_LANDLOCK_H
#define WORKERS_LANDLOCK_H

#include "common/status.h"

struct landlock_plan {
    const char *hidden;  /* NULL: nothing is */
    const char *frozen;  /* can be read, but not changed; NULL: nothing is */
    const char *write;   /* the only folders to write into, separated by ':'; NULL: all */
    const char *scratch; /* may be written into in any case; NULL: there is none */
};

/* Of its interface; 0: this kernel has none. */
int landlock_version(void);
/* Restricts this thread, which has no_new_privs, and all that come of it, for good. Names
 * in the folders on the way to the hidden one, and in itself, can still be read. Neither of
 * hidden and frozen lies in the other. */
NODISCARD enum status landlock_enter(const struct landlock_plan *plan,
                                     struct error_text *err);

#endif
