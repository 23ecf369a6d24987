/* SPDX-License-Identifier: MIT */
/*
 * failure - why an item failed, as the problem object that clients read (RFC 9457).
 * Pure.
 *
 *     {"type":"/problems/task-error","title":…,"status":422,"detail":"ValueError: …",
 *      "job":"…","item":2,"attempt":1,"exception":{"type":…,"message":…,"traceback":…}}
 *     {"type":"/problems/worker-lost",…,"job":"…","item":2,"attempt":3,"signal":"SIGKILL"}
 *     {"type":"/problems/broken-pool",…,"job":"…","exception":{…}}
 *     {"type":"/problems/input-incomplete",…,"job":"…","line":17}
 *     {"type":"/problems/result-too-large",…,"job":"…"}      all of them together
 */
#ifndef SERVER_FAILURE_H
#define SERVER_FAILURE_H

#include "common/blob.h"
#include "common/buf.h"
#include "common/uuid.h"
#include "server/problem.h"
#include "workers/pool.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct failure_place {
    struct uuid job;
    uint64_t item;
    uint32_t attempt; /* 1 for the first */
};

/* One reference for the caller; NULL without memory. The exception is foreign text: if it
 * is not a JSON object with type and message, the failure is a protocol-error. */
struct blob *failure_of_task(const struct failure_place *place,
                             const struct frame_failure *failure);
/* Of a job whose pool is broken, or of a submission to it (job is NULL): with the
 * initializer's exception, as failure_exception gives it. */
struct blob *failure_of_pool(const struct uuid *job, const char *pool,
                             struct text exception);
/* Of a fed job whose input did not come to its end; line: that is wrong, from 1, or 0. */
struct blob *failure_of_input(const struct uuid *job, const char *detail, uint64_t line);
/* Of a job whose outcomes have more than so many bytes together. */
struct blob *failure_of_results(const struct uuid *job, uint64_t max_bytes);
/* Whether a problem object is one of failure_of_input. */
bool failure_is_of_input(struct text problem);
/* {"type":…,"message":…,"traceback":…} if the text is that, else an exception that says
 * that it is not. */
struct blob *failure_exception(struct text exception);
struct blob *failure_of_exit(const struct failure_place *place,
                             const struct worker_exit *exit, int64_t time_limit_ms);

/* The HTTP status that a problem object names; 422 if it names none. */
int failure_http_status(struct text problem);

/* What there is to say of a failure, wherever it happened. */
struct failure_cause {
    enum problem problem;
    struct buf detail;  /* may have run out of memory */
    json_t *exception;  /* an object with the strings type and message; NULL: none */
    char signal[32];    /* that ended the worker, "SIGKILL"; "" if none did by itself */
    bool has_exit_code; /* the worker ended by itself */
};
void failure_cause_of_task(const struct frame_failure *failure,
                           struct failure_cause *ret_cause);
void failure_cause_of_exit(const struct worker_exit *exit, int64_t time_limit_ms,
                           struct failure_cause *ret_cause);
void failure_cause_clear(struct failure_cause *cause);

#endif
