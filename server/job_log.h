/* SPDX-License-Identifier: MIT */
/*
 * job_log - what the tasks of one job have printed, piece by piece, as it came, as the
 * JSON that clients read at /v1/jobs/{id}/log:
 *
 *     {"log":[{"item":5,"count":1,"attempt":1,"pid":4711,"at":"…","truncated":false,
 *              "output":"working on 5\n"}],"dropped":0}
 *
 * A piece is the output of one attempt at an item; or of `count` items from `item` on whose
 * results the worker has told in one go. Its oldest part is missing when it is truncated.
 * The output is foreign: what is not UTF-8 becomes U+FFFD. Only so many bytes of JSON are
 * kept; the oldest pieces go first, and are counted; of one that is larger than all of them
 * its end is kept. Pure, but for the wall clock.
 */
#ifndef SERVER_JOB_LOG_H
#define SERVER_JOB_LOG_H

#include "common/blob.h"
#include "common/buf.h"
#include "common/status.h"
#include "workers/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job_log_piece;

/* All-zero is an empty log. */
struct job_log {
    struct job_log_piece *oldest, *newest;
    size_t bytes; /* of JSON */
    uint64_t dropped;
};

/* Where a piece comes from. */
struct job_log_place {
    uint64_t item, count;
    uint32_t attempt;
};

void job_log_clear(struct job_log *log);
/* Adds what the worker has printed, if anything; max is the bytes of JSON to keep in all, 0
 * for none. Without memory, or room for a character, the piece is counted as dropped. */
void job_log_add(struct job_log *log, const struct job_log_place *place,
                 const struct worker_trace *trace, size_t max);
/* Writes the whole object up to the end of the last piece, so that job_log_piece can add
 * others; job_log_close ends it. */
void job_log_open(struct buf *out, const struct job_log *log);
void job_log_append(struct buf *out, bool first, const struct job_log_place *place,
                    const struct worker_trace *trace);
void job_log_close(struct buf *out, const struct job_log *log);

/* The whole object, for the store: NULL if there is nothing to tell, or no memory. */
struct blob *job_log_blob(const struct job_log *log);
/* The same back, into an empty log. ST_CORRUPT, ST_NO_MEMORY: it stays empty. */
NODISCARD enum status job_log_restore(struct job_log *log, struct text json);

#endif
