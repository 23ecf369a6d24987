/* SPDX-License-Identifier: MIT */
/*
 * pool_internal - what the parts of the pool share. For pool*.c only.
 *
 *     pool.c             handing out chunks, start, stop
 *     pool_receive.c     what workers send
 *     pool_info.c        inspection
 *     pool_supervise.c   workers as processes: starts, ends, time limits, the one timer
 *     pool_forkserver.c  the forkserver as a process
 *     pool_init.c        the initializer, and when it breaks the pool
 *     pool_ping.c        whether the forkserver still serves
 */
#ifndef WORKERS_POOL_INTERNAL_H
#define WORKERS_POOL_INTERNAL_H

#include "workers/worker.h"

TAILQ_HEAD(worker_list, worker);

#define START_ERROR_MAX 128

/* Between tries to start what does not start. */
#define POOL_PAUSE_MIN_NS (100 * NS_PER_MS)
#define POOL_PAUSE_MAX_NS (10 * NS_PER_SEC)

struct pool {
    uv_loop_t *loop;
    char *name;
    struct pool_options options;
    struct pool_events events;
    void *data;

    struct worker_list workers; /* all there are, in order of start */
    struct worker_list
        idle; /* by slot_link: the last to become idle first, its caches are warm */
    struct worker_list open; /* by slot_link: the longest at it first */
    unsigned members;        /* workers that have not left */
    unsigned idle_count, busy_count;
    uint64_t last_tag;
    uint64_t lost_count;

    bool started, stopping, closing;
    bool broken;            /* no worker is started any more */
    bool broken_due;        /* on_broken is to be called before the loop sleeps */
    unsigned init_failures; /* in a row */
    char *init_exception;   /* what it raised last, or NULL */
    bool capacity;          /* on_capacity is due before the loop sleeps */
    unsigned handles;       /* of libuv, not closed yet */
    bool unsent;            /* chunks wait in the channels for the end of the turn */
    uv_prepare_t prepare;
    uv_idle_t awake; /* runs while unsent */
    uv_timer_t timer;
    uint64_t wake_ns; /* when the timer will fire; UINT64_MAX: it is not running */
    void (*on_stopped)(void *data);

    struct forkserver forkserver;
    uv_poll_t *forkserver_poll; /* NULL while there is no forkserver */
    uint64_t forkserver_since_ns;
    uint64_t forkserver_retry_ns; /* when to start one, if there is none */
    uint64_t forkserver_pause_ns; /* how long the last wait was */
    bool ping_open;               /* it has been asked, and not answered */
    uint64_t ping_ns; /* when to ask, or when it must have answered; UINT64_MAX: never */

    uint64_t retry_ns; /* no worker is started before */
    uint64_t pause_ns; /* how long the last wait was; 0 while workers become ready */
    char start_error[START_ERROR_MAX];
};

/* ---- pool.c ------------------------------------------------------------------------ */

/* Brings the worker's state and place in the lists in line with what happened to it. */
void pool_update(struct worker *worker, uint64_t now);
/* Sends what its socket takes of what is queued for it, and kills it without memory. */
void pool_flush(struct worker *worker);
/* Has the prepare handle called before the loop sleeps, with what is due there. */
void pool_stay_awake(struct pool *pool);
/* One handle less; the last one ends the pool. */
void pool_handle_closed(struct pool *pool);

/* ---- pool_receive.c ---------------------------------------------------------------- */

/* Takes in what the worker has sent; its end of file, too. */
void pool_read(struct worker *worker);
void pool_on_worker_event(uv_poll_t *poll, int status, int events);

/* ---- pool_init.c ------------------------------------------------------------------- */

/* The worker says that the initializer has raised. */
NODISCARD enum status pool_init_raised(struct worker *worker, const struct frame *frame);
/* A worker has ended that was not ready: if the initializer is to blame, that counts. */
void pool_init_ended(struct worker *worker, const struct worker_exit *exit);
void pool_init_succeeded(struct pool *pool);
/* When a worker that starts has to be ready. */
uint64_t pool_start_limit_ns(const struct worker *worker);

/* ---- pool_ping.c ------------------------------------------------------------------- */

/* There is another forkserver, which has not said anything yet. */
void pool_ping_reset(struct pool *pool);
/* It has said something. */
void pool_ping_heard(struct pool *pool, uint64_t now);
/* Asks, or kills it, if it is time to; returns when to call it again. */
uint64_t pool_ping_tend(struct pool *pool, uint64_t now);

/* ---- pool_forkserver.c ------------------------------------------------------------- */

/* Hears what the forkserver tells from now on. On failure there is nothing to undo. */
NODISCARD enum status pool_forkserver_watch(struct pool *pool);
/* Ends it, and hears nothing more. */
void pool_forkserver_unwatch(struct pool *pool);
/* Starts another one, or asks whether it serves, if it is time to; returns when to call it
 * again. */
uint64_t pool_forkserver_tend(struct pool *pool, uint64_t now);

/* ---- pool_supervise.c -------------------------------------------------------------- */

/* Watches the forkserver and sets up the timer. On failure there is nothing to undo. */
NODISCARD enum status pool_supervise(struct pool *pool);
/* Starts workers until there are as many as wanted. */
void pool_fill(struct pool *pool);
/* Wakes the supervisor at this time at the latest. */
void pool_wake_at(struct pool *pool, uint64_t at_ns, uint64_t now);
/* Kills one worker (worker_kill) and sees to it that its end is waited for. */
void pool_kill_worker(struct worker *worker, enum exit_cause cause, struct chunk *target,
                      uint64_t now);
/* The worker's socket has nothing more to give. */
void pool_went_deaf(struct worker *worker, uint64_t now);
/* The forkserver tells of a worker. Takes the pidfd that is in it, if there is one. */
void pool_told(struct pool *pool, struct forkserver_event *event);
/* The forkserver has ended: so do all its workers, and their chunks are lost. */
void pool_lose_all(struct pool *pool, uint64_t now);
/* How long to wait after a try that failed; `pause_ns`: the wait before it, 0 if none. */
uint64_t pool_longer_pause(uint64_t pause_ns);
/* Closes everything if the pool is stopping and the last worker has gone. */
void pool_close_if_empty(struct pool *pool);

#endif
