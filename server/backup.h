/* SPDX-License-Identifier: MIT */
/*
 * backup - copies of the database while the server runs, one at a time, each on a thread of
 * its own: jobs go on meanwhile.
 *
 * Copies are made in one folder only, the setting backup_dir, under a name that a client
 * may choose: letters, digits, ".", "_" and "-", without a dot in front. What is there is
 * never written over.
 */
#ifndef SERVER_BACKUP_H
#define SERVER_BACKUP_H

#include "common/blob.h"
#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define BACKUP_NAME_MAX 128

struct backup;

struct backup_made {
    const char *name;
    uint64_t bytes;
    int64_t started_at_ms; /* wall time; what was committed by then is in it */
    double seconds;        /* that it took */
};

/* What they have come to since the start. */
struct backup_info {
    bool running;
    uint64_t made, failed;
    int64_t last_made_at_ms; /* 0: none */
    uint64_t last_bytes;
};

/* dir is the data directory, folder where copies go; both are borrowed. ST_NO_MEMORY. */
NODISCARD enum status backup_new(uv_loop_t *loop, const char *dir, const char *folder,
                                 struct backup **ret_backup);
/* Ends a copy that is under way, and calls its `done`. The handle closes in the loop's next
 * turns. NULL is fine. */
void backup_free(struct backup *backup);

bool backup_name_valid(struct text name);

/* st, with why: as of store_copy_sqlite; made is NULL unless it is ST_OK. Loop's thread. */
typedef void backup_done(void *data, enum status st, const struct backup_made *made,
                         const struct error_text *why);
/* Starts a copy under a valid name. ST_BUSY: one is under way; ST_NO_MEMORY: no thread.
 * done is not called then. */
NODISCARD enum status backup_start(struct backup *backup, struct text name,
                                   backup_done *done, void *data);
void backup_get_info(const struct backup *backup, struct backup_info *ret_info);

#endif
