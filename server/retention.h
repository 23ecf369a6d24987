/* SPDX-License-Identifier: MIT */
/*
 * retention - for how long, and how much, is kept of jobs that are over: has the store
 * purged at the start and once a minute, batch after batch, with other commands between
 * them.
 *
 * What is too many or too much goes until it is not. What is too old is judged by wall
 * time, since it has to survive restarts, and wall time may be wrong:
 *
 *     a clock that jumps ahead while the server runs    is followed at twice the pace of
 *                                                       real time (clock_believed_ms)
 *     a clock that is wrong at the start                at most RETENTION_AGED_MAX jobs
 *                                                       go by age in a minute
 *
 * So there is time to mend the clock; a clock that was set back is followed at once.
 */
#ifndef SERVER_RETENTION_H
#define SERVER_RETENTION_H

#include "common/status.h"
#include "server/store.h"

#include <stdint.h>
#include <uv.h>

#define RETENTION_PERIOD_MS 60000
#define RETENTION_AGED_MAX  10000

struct retention;

struct retention_options {
    int64_t job_ttl_ms;
    uint64_t max_jobs;
    uint64_t max_bytes; /* 0: any number */
};

/* Runs for the first time when the loop does. The store is borrowed. */
NODISCARD enum status retention_new(uv_loop_t *loop, struct store *store,
                                    const struct retention_options *options,
                                    struct retention **ret_retention);
/* The store must have been closed. The handle closes in the loop's next turns. NULL is
 * fine. */
void retention_free(struct retention *retention);

/* A run now, unless one is under way. For the timer, and for tests. */
void retention_run(struct retention *retention);

#endif
