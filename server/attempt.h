/* SPDX-License-Identifier: MIT */
/*
 * attempt - an attempt at an item that has failed, as the JSON object that clients read
 * at /v1/jobs/{id}/attempts:
 *
 *     {"item":2,"attempt":1,"kind":"worker-lost","detail":"the worker was killed by …",
 *      "exception":null,"exit_code":null,"signal":"SIGSEGV",
 *      "started_at":…,"finished_at":…,"pid":4711,"cpu_seconds":0.25,
 *      "max_rss_bytes":4096000,"output":"the last it wrote"}
 *
 * `kind` is the slug of the problem that the item fails with if this was its last attempt.
 * What is not known, or does not apply, is null. Cpu time and memory are known of workers
 * that have ended, and count from their start.
 */
#ifndef SERVER_ATTEMPT_H
#define SERVER_ATTEMPT_H

#include "server/failure.h"

#define ATTEMPT_OUTPUT_MAX 4096 /* bytes: its end; all of it is in the job's log */

/* One reference for the caller; NULL without memory. It has ended now. */
struct blob *attempt_of_task(const struct failure_place *place,
                             const struct frame_failure *failure,
                             const struct worker_trace *trace);
struct blob *attempt_of_exit(const struct failure_place *place,
                             const struct worker_exit *exit, int64_t time_limit_ms);

/* What an attempt has cost its item, for a job that goes on after a restart. */
struct attempt_cost {
    uint64_t item;
    uint32_t number; /* of the item's attempts, from 1 on */
    bool is_crash;   /* paid from crash_retries; else from retries */
};
/* From the JSON of an attempt. ST_INVALID: it is none; ST_NO_MEMORY. */
NODISCARD enum status attempt_read(struct text attempt, struct attempt_cost *ret_cost);

#endif
