/* SPDX-License-Identifier: MIT */
/* event - a change of a job, as those who follow jobs are told of it. Pure. */
#ifndef SERVER_EVENT_H
#define SERVER_EVENT_H

#include "common/buf.h"
#include "common/uuid.h"
#include "server/job.h"

#include <stdint.h>

enum event_kind {
    EVENT_CREATED,
    EVENT_STARTED,
    EVENT_PROGRESS,
    EVENT_SUCCEEDED,
    EVENT_FAILED,
    EVENT_CANCELLED,
    EVENT_EXPIRED,
    EVENT_RETRIED, /* a failed job is queued again */
    EVENT_KIND_COUNT
};
extern const char *const event_kind_names[EVENT_KIND_COUNT]; /* "job.created", ... */

struct event {
    uint64_t id; /* rises; below 2^53 */
    enum event_kind kind;
    struct uuid job;
    uint64_t owner; /* of the job; see struct job_spec */
    enum job_state state;
    uint64_t total, completed, failed; /* items */
    struct blob *said; /* as in struct job_status; only of EVENT_PROGRESS, else NULL */
};

/* The kind that tells a final state. */
enum event_kind event_of_end(enum job_state state);
/* Writes it in the form of text/event-stream, with a thin job object as its data. */
void event_write(struct buf *out, const struct event *event);

#endif
