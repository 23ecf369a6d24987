/* SPDX-License-Identifier: MIT */
/*
 * sweep - the same run again and again, with the first, the second, ... the n-th call of
 * something failing, until one has no fault in it.
 *
 * Of each run it checks that
 *
 *     every command is answered once, with a status that store.h has for it
 *     ST_UNKNOWN comes after on_fatal, which is called once, and nothing else comes then
 *     a database that could not be opened was not changed
 *     the store, opened again without faults, holds what was answered with ST_OK, nothing
 *     that was refused, and of what is unknown some of the first commands
 */
#ifndef TESTS_FAULT_SWEEP_H
#define TESTS_FAULT_SWEEP_H

#include "tests/fault/rig.h"

struct fault {
    const char *name;
    /* The n-th call from now on fails, and if sticky all after it; 0: none does. */
    void (*arm)(const struct fault *fault, unsigned n, bool sticky);
    bool (*fired)(void);              /* since it was armed */
    bool (*open_may)(enum status st); /* what store_open_sqlite may say then */
    bool never_fatal;                 /* on_fatal is not called for this */
    bool loses_attempts;              /* of put_finished: they are left out */
    enum disk_call call;              /* of the disk's */
    enum disk_error error;
};

/* When the fault is there. */
enum phase {
    PHASE_OPEN, /* until the store is open, or is not */
    PHASE_RUN, /* while commands are given; then it is gone, and all that is kept is stored */
    PHASE_CLOSE, /* from the first command until the store is closed: what is kept is lost */
    PHASE_COUNT
};
extern const char *const phase_names[PHASE_COUNT];

struct sweep {
    const struct workload *workload;
    const char
        *before; /* a copy of this directory is what the store finds; NULL: nothing */
    enum phase phase;
    unsigned step; /* of n; 0: each one */
};

/* Fails the test if anything is not as it has to be. Both: once and sticky. */
void sweep_all(const struct sweep *sweep, const struct fault *fault);

/* A directory with the database of a store that was killed: its WAL is full. */
void sweep_make_killed(char ret_dir[RIG_DIR_MAX]);

#endif
