/* SPDX-License-Identifier: MIT */
/*
 * What dispatch.c and its parts, dispatch_*.c, share, in sections named by the part that has
 * the functions. What each part does is in server/README.md. Nobody else includes this but
 * the simulator (tests/sim), which looks on, and a test.
 */
#ifndef SERVER_DISPATCH_PRIVATE_H
#define SERVER_DISPATCH_PRIVATE_H

#include "server/dispatch.h"
#include "server/stub.h"

#include "common/hash.h"

/* What one item of a task has cost so far, by exponential average. */
struct task_cost {
    UT_hash_handle hh;
    double item_ns; /* 0: not known yet */
    uint64_t submitted[JOB_METHOD_COUNT];
    char task[];
};

/* A unique_key of an owner that is taken: by a whole job or a stub. */
struct unique {
    UT_hash_handle hh; /* in its lane */
    struct live *live;
    struct stub *stub;
    /* The same request that was sent again while this job was not accepted: if the store
     * refuses it, the first of these has the key. */
    TAILQ_HEAD(, live) heirs;
    const char *idempotency_key; /* of that job, or NULL; behind the key */
    char key[];                  /* with its owner; see dispatch_unique.c */
};

/* Who waits for a stub. */
struct audience {
    TAILQ_ENTRY(audience) link;
    struct stub *stub;
    struct waiter_list waiters;
};

TAILQ_HEAD(audience_list, audience);
TAILQ_HEAD(live_list, live);
TAILQ_HEAD(lane_list, lane);
TAILQ_HEAD(retry_list, retry);

#define STARTED_MAX 64

struct dispatch {
    uv_loop_t *loop;
    struct store *store;
    struct dispatch_options options;
    struct dispatch_events events;
    void *data;
    struct uuid_generator ids;
    struct live *by_id;
    struct live_list lives;    /* that can be found; oldest first, so newest id last */
    struct live *entered;      /* among them: the last that was not the newest; or NULL */
    struct live_list unstored; /* relaxed and not in the store yet, oldest first */
    struct live_list kept;     /* finished, of durability memory; oldest first */
    size_t kept_count;
    uint64_t kept_bytes;
    struct lane_list lanes;
    struct lane_list leaving;    /* deleted */
    struct waiter_list for_many; /* of requests that wait for many jobs */
    struct retry_list retries;   /* failed jobs that are on their way from the store */
    struct stubs stubs;
    struct audience_list audiences;
    struct queue_place_list
        doomed;             /* stubs that are to be read and ended, the first one next */
    size_t dooming;         /* of these, those that are being read, or their end stored */
    uv_timer_t *stub_timer; /* starts and expires stubs */
    uv_timer_t *load_pause; /* while the store cannot be read */
    struct rival rival;     /* the last one that was looked for */
    struct task_cost *costs;
    struct usage *usages; /* by owner; those without jobs are not there */
    struct dispatch_counts counts;
    size_t jobs;    /* not over */
    uint64_t bytes; /* of their inputs */
    size_t waiters;
    uint64_t random; /* state of the jitter's generator */
    struct events *events_log;
    struct live_list unsaid;           /* with progress that is to be told */
    struct event started[STARTED_MAX]; /* of durable jobs, to be stored */
    size_t started_count;
    uv_timer_t *progress; /* tells it */
    uv_timer_t *sweep;    /* stores relaxed jobs that take long, forgets kept ones */
    bool draining;
    enum disk_level disk;
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
/* The same from the store, as it was there. Takes the content of stored, also on failure.
 */
NODISCARD enum status live_restore(struct lane *lane, struct stored_job *stored,
                                   struct live **ret_live);
/* Gives the store what the job's tasks have printed so far, if anything. The job is
 * there. */
void live_store_log(struct live *live);
/* The pool of this name; the default one if it does not exist any more. */
struct lane *lane_or_default(struct dispatch *dispatch, const char *name);
/* Only for one that was never added; live_forget is for the others. */
void live_free(struct live *live);
/* A new job: from here on it has its place among all, and is found once it is accepted. It
 * gets its unique_key, also from `rival` (NULL: from nobody). ST_NO_MEMORY: it was not added. */
NODISCARD enum status live_add(struct live *live, const struct unique *rival);
/* The same for one that was there as a stub, and back. */
NODISCARD enum status live_enter(struct live *live);
void live_leave(struct live *live);
/* The job is accepted: it may run. It may be over, and live gone, afterwards. */
void live_begin(struct live *live);
/* From here on the job is found in the store, or nowhere. */
void live_forget(struct live *live);
/* All outcomes that it has are shown, in their order; false without memory. */
bool live_all_arrived(struct live *live);
/* After any change of the job's items: ends it if nothing is left to do. live may be gone
 * afterwards. */
void live_settle(struct live *live);
/* Clients may see the outcome that starts with `first`, if it is still there. */
void live_show_outcome(struct live *live, uint64_t first);
/* The outcome that starts with `first` is shown from now on; false without memory. */
bool live_arrived(struct live *live, uint64_t first);
/* A wall time that is over, on the monotonic clock. */
uint64_t mono_since(int64_t wall_ms);
/* Since when it could have had a worker. */
uint64_t live_waits_since_ns(const struct live *live);
/* A new job is accepted. */
void live_count(struct live *live);
/* The server cannot keep the job's promise for lack of memory: ends it as failed. */
void live_out_of_memory(struct live *live);
/* Ends the job as failed with this problem (one reference; NULL without memory). */
void live_fail(struct live *live, struct blob *problem);
/* The other end of live_pin for a job that is to stay whole. */
void live_unpin_whole(struct live *live);
double dispatch_random(struct dispatch *dispatch); /* 0..1 */

/* dispatch_timer.c */
uv_timer_t *dispatch_timer_new(struct dispatch *dispatch);
void dispatch_timer_free(uv_timer_t *timer); /* NULL is fine */
/* Has the job looked at, at this time; a time of 0 is never. */
void live_arm(struct live *live, uint64_t at_ns);
/* The same for when something happens to a job that has not started. */
void live_arm_due(struct live *live);
/* A wall time on the monotonic clock, so that later jumps of the wall clock do not
 * matter. */
uint64_t mono_of(int64_t wall_ms);

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
/* Fails a job for it. */
void lane_fail_job(struct live *live);
/* A stub of a pool whose stubs are all to end; NULL if there is none. */
struct stub *lanes_doomed_stub(struct dispatch *dispatch);

/* dispatch_stub.c */
/* Makes room: the job, or one behind it, becomes a stub if too much of the queue is whole.
 * live may be gone afterwards. */
void stub_make_room(struct live *live);
/* A job of the store at the start. */
NODISCARD enum status stub_take_up(struct dispatch *dispatch,
                                   const struct stored_stub *stored);
/* Then, when all are there: has those read that had begun. */
void stubs_load_begun(struct dispatch *dispatch);
/* It is not begun any more, and ends so when it has been read. */
void stub_end(struct stub *stub, enum job_state end);
/* The same, but nothing is read yet. */
void stub_doom(struct stub *stub, enum job_state end);
/* It has been read: the whole job goes on, or ends. Takes the content of stored. Not
 * ST_OK: it is a stub as before. */
NODISCARD enum status stub_made_whole(struct stub *stub, struct stored_job *stored);
/* It cannot be read for good: it is left alone where it is. */
void stub_drop(struct stub *stub, enum status why);
/* Those who wait for it; NULL without memory. */
struct waiter_list *stub_waiters(struct stub *stub);
void stub_on_timer(uv_timer_t *timer);                      /* of dispatch->stub_timer */
void stubs_wake(struct dispatch *dispatch, enum wake wake); /* those who wait for any */
void stubs_free(struct dispatch *dispatch);

/* dispatch_load.c */
/* Has the stubs read that come next, as far as there is room for them. */
void lane_fill(struct lane *lane);
/* Has stubs read that are to end. */
void load_doomed(struct dispatch *dispatch);
/* Has this one read now. */
void load_stub(struct stub *stub);
void load_on_pause_over(uv_timer_t *timer); /* of dispatch->load_pause */

/* dispatch_pool.c */
struct pool_options lane_pool_options(const struct dispatch *dispatch,
                                      const struct pool_spec *spec);
/* Workers of the lane have gone: whether these were the last. */
void lane_check_stopped(struct lane *lane);

/* dispatch_reload.c */
/* The workers that run the job, or will, and the queue where it waits for them. */
struct pool *live_pool(const struct live *live);
struct queue *live_queue(const struct live *live);
/* It begins with the newest workers, unless it has begun; it is over. */
void live_bind(struct live *live);
void live_unbind(struct live *live);
/* Ends the workers of the generation before, if there are any. */
void lane_stop_old(struct lane *lane);

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
/* Of the job that a job with this spec replaces, after unique_check; or NULL. */
struct unique *unique_rival(struct lane *lane, const struct job_spec *spec);
/* Whether any job has the unique_key of this spec, be it of the same request. */
bool unique_is_taken(struct lane *lane, const struct job_spec *spec);
/* Cancels it, and its heirs, after the new one has its unique_key. NULL is fine. */
void unique_replace(struct unique *rival);
/* The job has its unique_key from here on, unless another one but `rival` (NULL: none) has
 * it: the same request, whose heir it is then. ST_NO_MEMORY: it has not. */
NODISCARD enum status unique_enter(struct live *live, const struct unique *rival);
/* The same for a stub of the store at the start; both keys may be NULL. An older job that has
 * the key was replaced by this one, and the server has crashed before that was stored: it is
 * doomed to be cancelled. Without memory it has not. */
void unique_enter_stub(struct stub *stub, const char *unique_key,
                       const char *idempotency_key);
/* It has it, or waits for it, no longer. */
void unique_leave(struct live *live);
void unique_leave_stub(struct stub *stub);
/* The key goes with the job when it becomes a stub, or whole. */
void unique_to_stub(struct live *live, struct stub *stub);
void unique_to_live(struct stub *stub, struct live *live);

/* dispatch_usage.c */
/* A job of this owner, with an input of so many bytes, is not over from now on; false without
 * memory. Owner 0 counts among all only. */
bool usage_enter(struct dispatch *dispatch, uint64_t owner, uint64_t bytes);
/* It is over, or has left. */
void usage_leave(struct dispatch *dispatch, uint64_t owner, uint64_t bytes);
/* How large its input is has been known less well. */
void usage_change(struct dispatch *dispatch, uint64_t owner, uint64_t from, uint64_t to);
void usages_free(struct dispatch *dispatch);

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
/* Those that were told so far go to the store, in one command. */
void dispatch_store_started(struct dispatch *dispatch);
void live_progressed(struct live *live);
/* Its progress is not to be told any more. */
void live_hush(struct live *live);

/* dispatch_feed.c */
/* After any change: there may be room for more items. */
void live_feed_on(struct live *live);
void live_outcome_stored(struct live *live, uint64_t first);
/* The server stops, or has stopped: what was fed cannot be run after that. Ends the job,
 * behind what is at workers. */
void live_end_fed(struct live *live);

/* dispatch_gather.c */
/* A result has come: it is added now, or with its neighbours when the read is over. */
void lane_gather(struct lane *lane, struct live *live, const struct frame_result *result);
/* Adds what has been gathered. Before anything else is done with what a worker has sent. */
void lane_gathered(struct lane *lane);

/* dispatch_lane.c */
extern const struct pool_events lane_pool_events;
/* Queues the job if it has items to hand over, and hands out what workers can take. */
void lane_offer(struct lane *lane, struct live *live);
void lane_pump(struct lane *lane);
/* The items have these results; takes the reference to text, NULL without memory. live may
 * be gone afterwards. */
void lane_add_results(struct lane *lane, struct live *live, uint64_t first,
                      uint64_t count, struct blob *text);
/* Takes the job's chunks back from the workers: those not begun at once, the others, if
 * `kill`, by killing. */
void lane_recall(struct lane *lane, struct live *live, bool kill);

#endif
