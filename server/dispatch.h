/* SPDX-License-Identifier: MIT */
/*
 * dispatch - what the service does: jobs in, chunks to workers, outcomes to the store,
 * waiters woken.
 *
 *     dispatch_submit ─> [durable: commit] ─> queue ─> chunk to a worker ─> outcomes ─>
 * [commit] ─> end
 *
 * It knows every job that is not over, whole (struct live) or as a stub, and owns those
 * that are over until the store has them. All of it runs on the loop's thread and takes no
 * lock. The only caller of job_set_state().
 *
 * Commit, then tell: a durable job is accepted when its row is committed, and shown as
 * ended when its end is. A relaxed job is shown at once; its row follows when it ends, or
 * after RELAXED_STORE_MS if it is not over by then. A job of durability `memory` stays
 * here: with its outcomes until its result_ttl is over, without them until job_ttl is.
 *
 * Of the jobs that have not begun, each pool holds those in front whole (queue_window).
 * The others are stubs (server/stub.h): they have their place in the queue, their times and
 * those who wait for them, but are read from the store before their turn comes.
 *
 * A job with a unique_key has it, for its owner in its pool, until its end is decided; the
 * keys of all are in memory, so no commit is needed to know.
 */
#ifndef SERVER_DISPATCH_H
#define SERVER_DISPATCH_H

#include "common/status.h"
#include "server/disk.h"
#include "server/events.h"
#include "server/histogram.h"
#include "server/job.h"
#include "server/job_log.h"
#include "server/pool_spec.h"
#include "server/queue.h"
#include "server/store.h"
#include "server/waiter.h"
#include "workers/pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define RELAXED_STORE_MS 50
/* A relaxed job waits for its commit like a durable one while the store lags behind by
 * this many commands. */
#define RELAXED_BACKLOG_MAX 20000
/* Finished jobs of durability `memory` that are kept at most, if max_finished_jobs is not
 * less; the oldest go first. */
#define MEMORY_JOBS_MAX 10000
/* Between two events about a job's progress. */
#define PROGRESS_EACH_MS 500

/* Fed items without an outcome, and bytes of them, of one job: beyond, its client has to
 * wait. */
#define FEED_ITEMS_MAX 10000
#define FEED_BYTES_MAX (4u << 20)

struct dispatch;

/* Who feeds a job: told when it can go on, because there is room again, or because the job
 * takes no more items. */
struct feeder {
    void (*on_room)(void *data);
    void *data;
    bool waits; /* it was told that there is no room */
};

/* A job that is whole in memory. The fields are for reading; pins as below. */
struct live {
    struct job job;
    struct uuid id; /* of the spec, which changes when the job is stripped */
    struct dispatch *dispatch;
    struct lane *lane;
    struct task_cost *cost;
    UT_hash_handle hh;       /* by id, while it can be found */
    TAILQ_ENTRY(live) link;  /* all that can be found, oldest first */
    TAILQ_ENTRY(live) aside; /* relaxed: not stored yet; memory: finished */
    enum { ASIDE_NOWHERE, ASIDE_UNSTORED, ASIDE_KEPT } aside_in;
    TAILQ_HEAD(, chunk) chunks; /* at workers */
    struct waiter_list waiters;
    uv_timer_t *timer;     /* start time, expiry or next retry; NULL if none was needed */
    uint64_t submitted_ns; /* CLOCK_MONOTONIC */
    uint64_t start_ns;     /* the same: when a scheduled job starts */
    uint64_t began_ns;     /* the same: when it got a worker; 0: not since the start */
    uint64_t decided_ns;   /* the same: when its end was */
    struct {
        uint64_t queue_ns, run_ns, commit_ns;
    } timing;            /* of a job that has run and is over; all 0 otherwise */
    uint64_t expires_ns; /* the same: when it expires if it has not started; 0: never */
    enum job_state end;  /* while `ending`: as what, */
    int64_t end_at_ms;   /* and when (wall time) */
    uint64_t ended_ns;   /* CLOCK_MONOTONIC, when it was kept */
    /* Of the lane's workers that it has begun with, until it is over; 0: it has not begun. */
    unsigned generation;
    unsigned unbegun_losses; /* workers that died before they began one of its chunks */
    unsigned
        ends; /* commits of an end that are on the way: more than one after a retry */
    uint64_t event_id;    /* of an event that waits for its commit; 0: none */
    uint64_t progress_ns; /* CLOCK_MONOTONIC of the last event about its progress */
    bool progress_due;    /* there is progress that is to be told, in `unsaid` */
    TAILQ_ENTRY(live) unsaid;
    struct feeder *feeder; /* of a fed job, while it is fed */
    bool result_waits;     /* its only outcome goes to the store with its end */
    size_t storing;        /* outcomes of a fed job on their way to the store */
    unsigned holds;        /* those that need all outcomes of a fed job to stay */
    size_t
        let_go_at; /* number of outcomes in memory at which to let go of some of them */
    bool unread;   /* nobody reads its outcomes as they come */
    unsigned pins; /* streams that read from it, commits that will report to it */
    struct attempt_log attempts; /* that have failed */
    struct job_log log;          /* stored with the job's end */
    uint64_t *arrivals; /* first items of the outcomes that are shown, in that order, */
    uint64_t arrivals_gone; /* after so many that are not needed any more */
    size_t arrival_count, arrival_cap;
    bool findable;          /* is in the hash and the list */
    bool in_store;          /* its row is in the store, or on the way there */
    bool stored;            /* it is there */
    bool accepted;          /* its submitter may know of it */
    bool ending;            /* its end is on the way to the store */
    bool doomed;            /* it has come from the store to be ended */
    struct unique *unique;  /* its unique_key, while it has it; or NULL */
    struct unique *legacy;  /* that it gets if it is not for who has it; or NULL */
    TAILQ_ENTRY(live) heir; /* in legacy->heirs */
    bool gone; /* stripped: there is no input and there are no outcomes any more */
};

struct dispatch_options {
    uint64_t max_queued_jobs;  /* jobs that are not over */
    uint64_t max_queued_bytes; /* of their inputs; one is always taken. 0: any number */
    /* Jobs of a pool that have not begun and are whole in memory all the same, and bytes
     * of their inputs; the others are stubs. */
    uint64_t queue_window, queue_window_bytes;
    uint64_t max_waiters;
    /* Of finished jobs of durability `memory`; the store's are retention's business. */
    int64_t job_ttl_ms;
    uint64_t max_finished_jobs;
    uint64_t max_finished_bytes;    /* of inputs and outcomes; 0: any number */
    uint64_t max_processes;         /* of all pools together */
    uint64_t max_result_bytes;      /* of one item */
    uint64_t max_job_result_bytes;  /* of one job in memory: results and errors; 0: any */
    uint64_t max_log_bytes;         /* of one job */
    uint64_t max_attempt_log_bytes; /* as output_max of struct pool_options */
    int64_t cancel_grace_ms;        /* for tasks that ask whether they are cancelled */
    struct limits limits;           /* of tasks in pools that do not say */
    uint64_t max_worker_rss;        /* of one that is kept for more; 0: any */
    const struct confinement *confinement; /* of tasks; not owned, or NULL */
    int catalog; /* of the tasks, for forkservers (forkserver_start); not owned */
};

struct dispatch_events {
    /* After dispatch_drain: no chunk is at a worker any more. */
    void (*on_drained)(void *data);
    /* The job has ended, and that is stored if it is to be; it may run again already.
     * May be NULL. */
    void (*on_ended)(void *data, const struct job_spec *spec,
                     const struct job_status *status);
    /* After dispatch_reload: the workers with the tasks of before have gone everywhere. May
     * be NULL. */
    void (*on_reloaded)(void *data);
};

NODISCARD enum status dispatch_new(uv_loop_t *loop, struct store *store,
                                   const struct dispatch_options *options,
                                   const struct dispatch_events *events, void *data,
                                   struct dispatch **ret_dispatch);
/* All pools must have been stopped, and the store closed. Handles of the loop close in
 * its next turns. */
void dispatch_free(struct dispatch *dispatch);

/* Makes the first pool, the one that is not stored. Takes over the forkserver, and takes
 * the reference to spec, that also on failure. */
NODISCARD enum status dispatch_add_pool(struct dispatch *dispatch,
                                        struct forkserver *forkserver,
                                        struct pool_spec *spec);
/* Takes up the pools and jobs of the store again, and starts the workers. */
NODISCARD enum status dispatch_start(struct dispatch *dispatch, struct error_text *err);

/* No new jobs, no new chunks; what workers have begun they may finish. Jobs that are not
 * stored yet are stored now. on_drained is called when no chunk is left at a worker. */
void dispatch_drain(struct dispatch *dispatch);
bool dispatch_draining(const struct dispatch *dispatch);
/* How much room the disk has, see disk.h; DISK_ENOUGH at first. From DISK_SHORT on jobs that
 * are to be stored are refused, with DISK_FULL workers get nothing. */
void dispatch_set_disk(struct dispatch *dispatch, enum disk_level level);
/* Whether `count` more jobs may come in, with so many bytes of inputs, `stored` ones or of
 * durability memory: ST_OK; ST_STATE: draining; ST_LIMIT: too many jobs, or bytes;
 * ST_STORAGE_FULL. */
enum status dispatch_admits(const struct dispatch *dispatch, size_t count, uint64_t bytes,
                            bool stored);
/* Stops the pools: at once with `kill`, else behind what they run. on_stopped is called
 * when all workers have gone. May be called again with `kill`. */
void dispatch_stop(struct dispatch *dispatch, bool kill, void (*on_stopped)(void *data));
/* When all workers have gone and the store is closed: wakes every waiter with
 * WAKE_SHUTDOWN, and cuts off all who follow events. Nothing is given to the store from
 * here on. */
void dispatch_wake_all(struct dispatch *dispatch);

/* ---- jobs -------------------------------------------------------------------------- */

struct uuid dispatch_new_id(struct dispatch *dispatch, int64_t now_ms);

/* A new job. Takes spec (also on failure). ST_STATE, ST_LIMIT, ST_STORAGE_FULL: as of
 * dispatch_admits; ST_NOT_FOUND: no such pool; ST_NOT_RUNNING: the pool is not;
 * ST_NO_MEMORY. The job may be over when this returns. It is accepted at once if it is not
 * durable; otherwise wait for WAIT_ACCEPTED.
 *
 * With a unique_key that another job has: ST_EXISTS (`return`): that job is the answer,
 * and may not be accepted yet; ST_CONFLICT (`reject`, or `replace` and it runs).
 * dispatch_last_rival tells of it, and *ret_live is set if it is whole, else NULL.
 * With `replace`, and the other one not started, it is cancelled before the new one is
 * stored: when the store then refuses that, none is left. A request that may be one that
 * was sent again has to be looked for by its idempotency key first. */
NODISCARD enum status dispatch_submit(struct dispatch *dispatch, struct job_spec *spec,
                                      struct live **ret_live);
/* Several new jobs: all or none. Takes the specs, not the array, also on failure; none
 * has an idempotency key. Failures as of dispatch_submit, with `done` not called. Else
 * done is called once, from here or later: ST_OK, all are accepted, and none has begun
 * yet; or what the store says, and none exists. The array is valid during the call. */
typedef void dispatch_batch_done(void *data, enum status st, struct live *const lives[],
                                 size_t count);
NODISCARD enum status dispatch_submit_batch(struct dispatch *dispatch,
                                            struct job_spec *const specs[], size_t count,
                                            dispatch_batch_done *done, void *data);

/* A failed job again, wherever it is: its results stay, all else is run with new budgets.
 * done is called once, from here or later:
 *
 *     ST_OK         it is queued again, as a live job, and has not begun yet; it is
 *                   stored, or need not be
 *     ST_NOT_FOUND  there is no such job
 *     ST_EXISTS     it has not failed: it is in this state, or (JOB_QUEUED) being queued
 *     ST_STATE, ST_NOT_RUNNING, ST_LIMIT, ST_STORAGE_FULL, ST_NO_MEMORY
 *                   as of dispatch_submit; the job has failed as before
 *     others        of the store */
typedef void dispatch_retried(void *data, enum status st, struct live *live,
                              enum job_state state);
void dispatch_retry(struct dispatch *dispatch, struct uuid id, dispatch_retried *done,
                    void *data);

/* A whole job in memory that its submitter may know of; NULL if there is none: ask the
 * store then. */
struct live *dispatch_find(struct dispatch *dispatch, struct uuid id);
/* Whether the job is in the store but for a stub, and its state: the store's is of the
 * time when it was submitted. */
bool dispatch_is_stub(const struct dispatch *dispatch, struct uuid id,
                      enum job_state *ret_state);
/* Whose job it is, whole or a stub; false if it is neither: the store knows, or nobody. */
bool dispatch_owner(struct dispatch *dispatch, struct uuid id, uint64_t *ret_owner);
/* Has a stub made whole: WAKE_WHOLE, or as dispatch_wait_for says when it cannot be. */
void dispatch_fetch(struct dispatch *dispatch, struct uuid id);

/* A job that has a unique_key. */
struct rival {
    struct uuid id;
    enum job_state state;
    struct live *live; /* NULL: a stub */
};
/* The job that has the unique_key of this spec, under another idempotency key; NULL if
 * there is none. Valid until the next call, and that of dispatch_submit. */
const struct rival *dispatch_rival(struct dispatch *dispatch,
                                   const struct job_spec *spec);
/* The same for a submit that gave ST_EXISTS or ST_CONFLICT. */
const struct rival *dispatch_last_rival(const struct dispatch *dispatch);
/* The idempotency key of a refused submit (WAKE_REFUSED with ST_EXISTS) belongs to this
 * job. */
const struct store_existing *dispatch_existing(const struct dispatch *dispatch);

/* Waits for the job; see waiter.h. NULL when there are too many waiters, or no memory. */
struct waiter *dispatch_wait(struct live *live, enum wait_for wait_for,
                             int64_t timeout_ms, waiter_woken *on_wake, void *data);

/* The same for a job that is whole or a stub, by its id: NULL also if it is neither. When
 * the row of a stub turns out to be damaged, or cannot be read: WAKE_REFUSED. */
struct waiter *dispatch_wait_for(struct dispatch *dispatch, struct uuid id,
                                 enum wait_for wait_for, int64_t timeout_ms,
                                 waiter_woken *on_wake, void *data);

/* For a request that waits for many jobs and counts as one: its own waiter, which hears of
 * the time-out and of the shutdown only (NULL as above); and one for each job, whole or a
 * stub, which adds itself to *count instead (NULL without memory). */
struct waiter *dispatch_wait_many(struct dispatch *dispatch, int64_t timeout_ms,
                                  waiter_woken *on_wake, void *data);
struct waiter *dispatch_wait_one_of(struct dispatch *dispatch, struct uuid id,
                                    size_t *count, waiter_woken *on_wake, void *data);
/* Follows events; see events.h. NULL when there are too many waiters, or no memory. */
struct event_reader *dispatch_follow(struct dispatch *dispatch,
                                     const struct event_from *from,
                                     void (*on_wake)(void *data), void *data);
uint64_t dispatch_newest_event(const struct dispatch *dispatch); /* its id */

/* ST_OK: it is cancelled, or (`terminate`) will be as soon as its workers are dead; the
 * end comes by WAIT_READY. ST_STATE: it is running and terminate is false; ST_EXISTS: it
 * is over already. */
NODISCARD enum status dispatch_cancel(struct live *live, bool terminate);
/* The same for a job that is whole or a stub. A stub is not begun any more, but it has to be
 * read for its end to be stored: that comes by WAIT_READY, too. ST_NOT_FOUND: neither. */
NODISCARD enum status dispatch_cancel_job(struct dispatch *dispatch, struct uuid id,
                                          bool terminate);

/* The submitter of a job with a window has read this many items in all: as many more may
 * begin. NOBODY_READS takes the window away, and the job goes on without one. The job may
 * have no window, or be over. */
#define NOBODY_READS UINT64_MAX
void dispatch_read(struct live *live, uint64_t items);

/* ---- jobs that are fed (dispatch_feed.c) --------------------------------------------
 *
 * A job whose spec says `fed` is submitted without items, and is not durable: the items are
 * not stored, so it does not survive a restart of the server. dispatch_read, dispatch_record
 * and the rest are as for other jobs. What its client has read goes from memory once it is
 * in the store; who wants it then has to look there, see live_let_go_of. */

/* From here on this feeds the job; NULL: nobody. */
void dispatch_set_feeder(struct live *live, struct feeder *feeder);
/* Whether the job takes items: not if it is over, or is ending. */
bool dispatch_takes_items(const struct live *live);
/* Whether another item has to wait for the feeder's on_room. */
bool dispatch_feed_full(struct live *live);
/* One more item; the job takes items. It may be run when dispatch_fed is called, once for
 * any number of them. ST_NO_MEMORY. */
NODISCARD enum status dispatch_feed(struct live *live, struct text item);
void dispatch_fed(struct live *live);
/* No more items come; problem as of job_end_input. Does nothing but taking the reference to
 * problem if the job takes no items. */
void dispatch_end_input(struct live *live, struct blob *problem);
/* The job's client has the outcome that starts with `first`, or will never ask for it. */
void dispatch_has_read(struct live *live, uint64_t first);
/* Whether outcomes of the job are in the store only. */
bool live_let_go_of(const struct live *live);
/* No outcome leaves memory between these; not without a pin. */
void live_hold(struct live *live);
void live_release(struct live *live);

/* Sees to it that a relaxed job is in the store from now on: its submitter is about to be
 * told of it before it is over. */
void dispatch_record(struct live *live);

/* Forgets a job that is over and is not in the store. */
void dispatch_forget(struct live *live);

/* Keeps the job whole, and the struct alive although the job may no longer be found. The
 * last unpin may make it a stub: do not look at it afterwards. */
void live_pin(struct live *live);
void live_unpin(struct live *live);

/* ---- inspection -------------------------------------------------------------------- */

/* What has happened since the start. */
struct dispatch_counts {
    uint64_t ended[JOB_STATE_COUNT];         /* jobs, by how; told or about to be */
    uint64_t succeeded, raised;              /* attempts at items */
    uint64_t lost[EXIT_CAUSE_COUNT];         /* the same: their worker ended */
    uint64_t worker_exits[EXIT_CAUSE_COUNT]; /* whatever they were at */
    struct histogram wait, run;              /* of jobs, ns */
};
const struct dispatch_counts *dispatch_counts(const struct dispatch *dispatch);
/* Jobs that were accepted, for each task that has had any or is known of a stored job. */
void dispatch_each_task(const struct dispatch *dispatch,
                        void (*each)(void *data, const char *task,
                                     const uint64_t submitted[JOB_METHOD_COUNT]),
                        void *data);
/* Looks at all whole jobs: sets `census` of each lane. Returns the items that jobs count as
 * being at workers, minus those that workers have: 0, unless we have lost track. */
int64_t dispatch_take_census(struct dispatch *dispatch);

/* The whole ones, newest first; for the listing. */
struct live *dispatch_newest(struct dispatch *dispatch);
struct live *dispatch_older(struct live *live);

size_t dispatch_jobs(const struct dispatch *dispatch);    /* not over */
uint64_t dispatch_bytes(const struct dispatch *dispatch); /* of their inputs */
/* The same of one owner. Inputs count with their keyword arguments as they were submitted;
 * what a client feeds does not: it has limits of its own (feed.h). */
struct dispatch_usage {
    size_t jobs;
    uint64_t bytes;
};
struct dispatch_usage dispatch_usage(const struct dispatch *dispatch, uint64_t owner);
size_t dispatch_waiters(const struct dispatch *dispatch);
struct store *dispatch_store(struct dispatch *dispatch);

/* ---- pools (dispatch_pool.c) ------------------------------------------------------- */

/* A pool with the queue of jobs that wait for its workers. A deleted one leaves the
 * list, and lives on until its workers have gone and no job in memory names it. */
/* Results of neighbours that came in one read (dispatch_gather.c). */
struct gathered {
    struct live *live; /* NULL: there are none */
    uint64_t first, count;
    struct buf text; /* separated by commas */
};

struct lane {
    TAILQ_ENTRY(lane) link;
    struct dispatch *dispatch;
    struct pool_spec *spec;
    enum pool_state state; /* running, or why no longer */
    struct pool *pool;     /* the workers of the newest generation */
    struct queue queue;    /* of those jobs that they run, or will */
    unsigned generation;   /* from 1 */
    size_t begun;          /* jobs that have begun with it and are not over */
    struct {               /* the generation before (dispatch_reload.c) */
        struct pool *pool; /* NULL: there is none */
        struct queue queue;
        size_t begun;
        bool stopping;
    } old;
    uint64_t lost_before;              /* workers, of generations that have gone */
    struct queue_place_list scheduled; /* stubs that wait for their time */
    enum job_state doom;    /* how all its stubs end; JOB_STATE_COUNT: they go on */
    size_t loading;         /* stubs that are being read, to be whole in the queue */
    uint64_t loading_bytes; /* of their inputs */
    struct unique *uniques; /* hash by unique_key */
    uint64_t jobs_total, items_total; /* since the start: submitted; with an outcome */
    unsigned in_flight;               /* chunks at workers */
    struct gathered gathered;
    size_t jobs;  /* not over */
    size_t lives; /* jobs in memory that name it */
    struct {
        size_t states[JOB_STATE_COUNT]; /* jobs; of those that are over only the whole */
        uint64_t oldest_ns; /* since when the first of the queued waits; 0: none does */
    } census;               /* as of dispatch_take_census */
    struct waiter_list waiters; /* that join it */
    struct blob
        *fault;    /* BROKEN: the exception, {"type","message","traceback"}; or NULL */
    bool stopping; /* its workers are ending, and no more are started */
    bool pool_stopped, stopped; /* the newest, all of them have gone */
    bool deleted;               /* to be forgotten when nothing of it is left: */
    bool forgetting, forgotten;
    store_done *on_deleted;
    void *deleted_data;
};
/* All generations together; pools by number, NULL behind the last one. */
struct pool *lane_pool_at(const struct lane *lane, unsigned i);
unsigned lane_busy(const struct lane *lane);
unsigned lane_idle(const struct lane *lane);
size_t lane_queued(const struct lane *lane); /* jobs */
uint64_t lane_workers_lost(const struct lane *lane);
struct lane *dispatch_lane(struct dispatch *dispatch, const char *name); /* NULL: none */
struct lane *dispatch_first_lane(struct dispatch *dispatch);
/* Whether this is the pool that is always there. */
bool lane_is_default(const struct lane *lane);
/* Whether the process is one of the pools' forkservers. */
bool dispatch_has_forkserver(const struct dispatch *dispatch, pid_t pid);

/* What follows changes pools at once; dispatch_record_pool has the store follow.
 * ST_STATE: the server drains. */

/* Takes the reference to spec. ST_EXISTS: the name is taken; ST_LIMIT: max_processes;
 * ST_IO: no forkserver; ST_NO_MEMORY. */
NODISCARD enum status dispatch_make_pool(struct dispatch *dispatch,
                                         struct pool_spec *spec, struct lane **ret_lane);
/* Takes the reference to spec, which differs in what pool_change can change and in the
 * time limit. ST_NOT_RUNNING; ST_LIMIT. */
NODISCARD enum status dispatch_change_pool(struct lane *lane, struct pool_spec *spec);
/* No new jobs; the workers end when the jobs that it has are over. Nothing to do if it
 * is not running. */
NODISCARD enum status dispatch_close_pool(struct lane *lane);
/* Cancels its jobs and kills its workers. A broken one stays broken. */
NODISCARD enum status dispatch_terminate_pool(struct lane *lane);
/* The same, and forgets it: the lane is not to be used any more. `done` is called when
 * all of it has gone, from the store too. ST_DENIED: the default pool. */
NODISCARD enum status dispatch_delete_pool(struct lane *lane, store_done *done,
                                           void *data);
/* Stores the pool as it is now; done (may be NULL) is called when it is stored, and at
 * once for the default pool, which never is. */
void dispatch_record_pool(struct lane *lane, store_done *done, void *data);
/* Waits until its workers have gone (WAKE_READY). NULL when there are too many waiters,
 * or no memory. */
struct waiter *dispatch_join_pool(struct lane *lane, int64_t timeout_ms,
                                  waiter_woken *on_wake, void *data);

/* ---- tasks ------------------------------------------------------------------------- */

/* The catalog of tasks has changed (task_folders.h), and is in use in the registry: every
 * pool gets workers that have loaded it. Jobs that have begun finish on the workers that
 * they began with, which end after the last of them; then on_reloaded is called. ST_STATE: the
 * server drains, or that is still to come after the last time (dispatch_reloading). A pool
 * for which no forkserver can be started stays as it is, and that is logged. */
NODISCARD enum status dispatch_reload(struct dispatch *dispatch, int catalog);
bool dispatch_reloading(const struct dispatch *dispatch);

#endif
