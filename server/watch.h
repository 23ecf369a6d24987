/* SPDX-License-Identifier: MIT */
/*
 * watch - many jobs at once, wherever they are: which are over, and which one ends next.
 *
 *     watch_start ─> all are looked for ─> found ─> ended, ended, … ─> time is up, or all
 *
 * Jobs in memory are waited for from the start, the others asked of the store one after
 * the other. on_change is called when all are found, and then at every change, until the
 * watch is freed; it may free it. What has changed is seen in the fields.
 */
#ifndef SERVER_WATCH_H
#define SERVER_WATCH_H

#include "server/dispatch.h"

struct watched {
    struct uuid id;
    bool unknown; /* there is no such job */
    bool over;    /* it has ended */
    bool raised;  /* as failed */
    struct blob
        *json; /* the job as an object: as it ended; or as it was when it was last seen,
                  if it is not whole in memory now */
    struct watch *watch;
    struct waiter *waiter;
    bool asked; /* the store, in vain: it is not over, but nobody has it in memory */
};

/* For reading. */
struct watch {
    struct dispatch *dispatch;
    uint64_t owner;       /* whose jobs there are; 0: everybody's */
    struct watched *jobs; /* in the order of the ids */
    size_t count;
    size_t *ended; /* indices: those that were over when all were found, in the order of
                      the ids, and then as they ended */
    size_t ended_count;
    size_t raised_count, unknown_count;
    bool found;      /* all have been looked for */
    bool time_is_up; /* the time-out is over, */
    bool stopping;   /* or the server stops */
    enum status st;  /* not ST_OK: it cannot be told how the jobs are */

    void (*on_change)(void *data);
    void *data;
    struct waiter *waiter; /* for the time */
    size_t waiting;        /* jobs that are waited for */
    bool asking, freed;
};

/* The ids are different from each other. timeout_ms < 0: none. ST_LIMIT: too many requests
 * wait already; ST_NO_MEMORY. */
NODISCARD enum status watch_new(struct dispatch *dispatch, const struct uuid *ids,
                                size_t count, uint64_t owner, int64_t timeout_ms,
                                void (*on_change)(void *data), void *data,
                                struct watch **ret_watch);
void watch_start(struct watch *watch); /* may call on_change at once */
void watch_free(struct watch *watch);  /* NULL is fine */

/* The job as it is now, or as it ended; false without memory, or if out has failed. */
bool watch_write(const struct watch *watch, size_t index, struct buf *out);

#endif
