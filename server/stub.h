/* SPDX-License-Identifier: MIT */
/*
 * stub - what stands in memory for a job that is only in the store: what the queue, the
 * timers and a look at its state need to know, in about a hundred bytes. Pure.
 *
 * A job may be a stub while it has not begun: it is scheduled or queued, its row is
 * committed, and nobody reads from it. What is done with stubs is in dispatch_stub.c; here
 * is the collection of them: by id, and by the time at which something is due.
 */
#ifndef SERVER_STUB_H
#define SERVER_STUB_H

#include "common/uuid.h"
#include "server/job.h"

#include <stddef.h>
#include <stdint.h>

struct lane;
struct audience;
struct unique;

struct stub {
    struct queue_place place; /* in its pool's queue, if it is queued; else in a list */
    struct uuid id;
    uint64_t owner; /* see struct job_spec */
    struct lane *lane;
    uint64_t start_ns, expires_ns; /* CLOCK_MONOTONIC; as in struct live */
    struct audience *audience;     /* who waits for it; or NULL */
    struct unique *unique;         /* its unique_key; or NULL */
    uint32_t timed_at;             /* its place among the times, from 1 on; 0: none */
    uint8_t state;                 /* enum job_state: JOB_SCHEDULED or JOB_QUEUED */
    uint8_t end;                   /* the same: how it ends when it is whole, or
                                      JOB_STATE_COUNT: it goes on */
    bool begun;                    /* it had begun before the server started */
    bool loading;                  /* it is being read */
    bool doom_read;                /* to be ended */
};

/* Not the owner of the stubs. */
struct stubs {
    void *by_id; /* tsearch(3) */
    size_t count;
    struct stub **times; /* a heap: the earliest is first */
    size_t time_count, time_cap;
};

/* The stub around a place that is not whole. */
struct stub *stub_of(struct queue_place *place);

/* Adds it, by its id and, if it has one, its time. False without memory: it is in neither
 * then. */
bool stubs_add(struct stubs *stubs, struct stub *stub);
void stubs_remove(struct stubs *stubs, struct stub *stub);
struct stub *stubs_find(const struct stubs *stubs, struct uuid id); /* NULL: none */
/* After a change of state, start_ns or expires_ns, or when nothing is to be due any more
 * (both 0). It needs no memory: a stub without a time does not get one. */
void stubs_retime(struct stubs *stubs, struct stub *stub);
/* When something is due for it: its start, or its expiry; 0: never. */
uint64_t stub_due_ns(const struct stub *stub);
/* The one with the earliest time; NULL if none has one. */
struct stub *stubs_next(const struct stubs *stubs);
/* Lets all of them go, and calls `each` for them. */
void stubs_clear(struct stubs *stubs, void (*each)(struct stub *stub));

#endif
