/* SPDX-License-Identifier: MIT */
/*
 * waiter - something that waits for a job, until it is woken or its time is up.
 *
 * A waiter belongs to the list of one job. It is woken at most once, and is freed by
 * that; or it is ended before by waiter_end. on_wake is called in the loop and may do
 * anything but touch the waiter.
 */
#ifndef SERVER_WAITER_H
#define SERVER_WAITER_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

enum wait_for {
    WAIT_ACCEPTED, /* until the job is stored (or refused) */
    WAIT_READY,    /* until it has ended */
    WAIT_WHOLE,    /* until it is whole in memory (server/stub.h), or has ended */
    WAIT_CHANGE /* until anything about it changes: its state, or more outcomes to read */
};

enum wake {
    WAKE_ACCEPTED,
    WAKE_READY,
    WAKE_WHOLE,
    WAKE_CHANGE,
    WAKE_TIMEOUT,
    WAKE_REFUSED,  /* the job was not stored, st says why, and it does not exist */
    WAKE_SHUTDOWN, /* the server stops */
};

struct waiter;
TAILQ_HEAD(waiter_list, waiter);

typedef void waiter_woken(void *data, enum wake wake, enum status st);

/* timeout_ms < 0: no time-out. *count is raised now and lowered when the waiter ends.
 * NULL without memory. */
struct waiter *waiter_new(uv_loop_t *loop, struct waiter_list *list,
                          enum wait_for wait_for, int64_t timeout_ms, size_t *count,
                          waiter_woken *on_wake, void *data);
/* Ends it without a call. NULL is fine. */
void waiter_end(struct waiter *waiter);

/* Moves all of them to another list, where they go on waiting. */
void waiter_move_all(struct waiter_list *from, struct waiter_list *to);
/* Wakes those of the list that wait for this: ACCEPTED wakes WAIT_ACCEPTED, WHOLE wakes
 * WAIT_WHOLE, CHANGE wakes WAIT_CHANGE, all others wake all. */
void waiter_wake_all(struct waiter_list *list, enum wake wake, enum status st);

#endif
