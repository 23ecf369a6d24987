/* SPDX-License-Identifier: MIT */
/*
 * What dispatch.c (jobs from submission to end), dispatch_lane.c (chunks to workers and
 * outcomes back), dispatch_aside.c (jobs that are kept aside), dispatch_unique.c (one job
 * at a time) and dispatch_pool.c (pools made, changed and ended) share. Nobody else
 * includes this.
 */
#ifndef SERVER_DISPATCH_PRIVATE_H
#define SERVER_DISPATCH_PRIVATE_H

#include "server/dispatch.h"

#include <uthash.h>

/* What one item of a task has cost so far, by exponential average. */
struct task_cost {
    UT_hash_handle hh;
    double item_ns; /* 0: not known yet */
    char task[];
};

TAILQ_HEAD(live_list, live);
TAILQ_HEAD(lane_list, lane);
TAILQ_HEAD(retry_list, retry);

struct dispatch {
    uv_loop_t *loop;
    struct store *store;
    struct dispatch_options options;
    struct dispatch_events events;
    void *data;
    struct uuid_generator ids;
    struct live *by_id;
    struct live_list lives;    /* that can be found; oldest first, so newest id last */
    struct live_list unstored; /* relaxed and not in the store yet, oldest first */
    struct live_list kept;     /* finished, of durability memory; oldest first */
    size_t kept_count;
    uint64_t kept_bytes;
    struct lane_list lanes;
    struct lane_list leaving;    /* deleted */
    struct waiter_list for_many; /* of requests that wait for many jobs */
    struct retry_list retries;   /* failed jobs that are on their way from the store */
    struct task_cost *costs;
    size_t jobs; /* not over */
    size_t waiters;
    uint64_t random; /* state of the jitter's generator */
    struct events *events_log;
    struct live_list unsaid; /* with progress that is to be told */
    uv_timer_t *progress;    /* tells it */
    uv_timer_t *sweep;       /* stores relaxed jobs that take long, forgets kept ones */
    bool draining;
    bool closed; /* the store is: nothing may be given to it any more */
    struct store_existing existing;
    uv_timer_t *stopped; /* tells on_stopped when no worker was there to stop */
    void (*on_stopped)(void *data); /* NULL again when it has been called */
    bool stopping;
};

/* dispatch.c */
/* A job that cannot be found yet. Takes spec, also on failure. NULL without memory. */
struct live *live_new(struct dispatch *dispatch, struct lane *lane,
                      struct job_spec *spec);
/* The same from the store, as it was there. Its pool may not exist any more: then the
 * default one takes it. Takes the content of stored, also on failure. */
NODISCARD enum status live_restore(struct dispatch *dispatch, struct stored_job *stored,
                                   struct live **ret_live);
/* Only for one that was never added; live_forget is for the others. */
void live_free(struct live *live);
/* From here on it has its place among all jobs, and is found once it is accepted. */
void live_add(struct live *live);
/* The job is accepted: it may run. It may be over, and live gone, afterwards. */
void live_begin(struct live *live);
/* From here on the job is found in the store, or nowhere. */
void live_forget(struct live *live);
/* All outcomes that it has are shown, in their order; false without memory. */
bool live_all_arrived(struct live *live);
/* After any change of the job's items: ends it if nothing is left to do. live may be gone
 * afterwards. */
void live_settle(struct live *live);
/* The outcome that starts with `first` is shown from now on; false without memory. */
bool live_arrived(struct live *live, uint64_t first);
/* Has live_due called at this time; a time of 0 is never. */
void live_arm(struct live *live, uint64_t at_ns);
/* The server cannot keep the job's promise for lack of memory: ends it as failed. */
void live_out_of_memory(struct live *live);
/* Ends the job as failed with this problem (one reference; NULL without memory). */
void live_fail(struct live *live, struct blob *problem);
double dispatch_random(struct dispatch *dispatch); /* 0..1 */
uv_timer_t *dispatch_timer_new(struct dispatch *dispatch);
void dispatch_timer_free(uv_timer_t *timer); /* NULL is fine */

/* dispatch_pool.c */
/* The pools of the store, and after their jobs the workers. */
NODISCARD enum status dispatch_load_pools(struct dispatch *dispatch,
                                          struct error_text *err);
void dispatch_start_pools(struct dispatch *dispatch);
void dispatch_free_pools(struct dispatch *dispatch);
/* Whether any chunk is at a worker. */
bool dispatch_in_flight(const struct dispatch *dispatch);
/* A job of the lane has come into memory, is over, has left memory. */
void lane_job_enters(struct lane *lane);
void lane_job_over(struct lane *lane);
void lane_job_leaves(struct lane *lane);
/* The initializer has failed for good: the jobs fail. */
void lane_break(struct lane *lane, struct text exception);

/* From here on the job is found in the store, or nowhere. live may be gone afterwards. */
void live_forget(struct live *live);

/* dispatch_aside.c */
void aside_sweep(uv_timer_t *timer); /* of dispatch->sweep */
/* A relaxed job: it is stored when it takes long. */
void aside_add_unstored(struct live *live);
/* A job of durability memory that is over; live, or an older one, may be gone afterwards.
 */
void aside_keep(struct live *live);
void aside_leave(struct live *live); /* in neither list any more */

/* dispatch_unique.c */
/* Whether a job with this spec may be made: ST_OK; or as dispatch_submit, with *ret_live
 * set. Without a unique_key always ST_OK. */
NODISCARD enum status unique_check(struct lane *lane, const struct job_spec *spec,
                                   struct live **ret_live);
/* Cancels the job that has this spec's unique_key, after unique_check. */
void unique_replace(struct lane *lane, const struct job_spec *spec);
/* The job has its unique_key from here on, unless another one has it. */
void unique_enter(struct live *live);
void unique_leave(struct live *live);

/* dispatch_events.c */
NODISCARD enum status live_events_new(struct dispatch *dispatch);
void live_events_free(struct dispatch *dispatch);
/* What has happened to the job, whose state is then this. Of a durable one it is not told
 * before live_told: the event is to be stored with the command that makes it true, and is
 * written to *ret_event. NULL otherwise, and live_told tells it. */
const struct event *live_announce(struct live *live, enum event_kind kind,
                                  enum job_state state, struct event *ret_event);
/* It is true now, or (not happened) never. */
void live_told(struct live *live, enum event_kind kind, bool happened);
void live_started(struct live *live);
void live_progressed(struct live *live);
/* Its progress is not to be told any more. */
void live_hush(struct live *live);

/* dispatch_lane.c */
extern const struct pool_events lane_pool_events;
/* Queues the job if it has items to hand over, and hands out what workers can take. */
void lane_offer(struct lane *lane, struct live *live);
void lane_pump(struct lane *lane);
/* Takes the job's chunks back from the workers: those not begun at once, the others, if
 * `kill`, by killing. */
void lane_recall(struct lane *lane, struct live *live, bool kill);

#endif
