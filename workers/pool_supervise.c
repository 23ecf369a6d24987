/* SPDX-License-Identifier: MIT */
/*
 * Keeping the pool full.
 *
 * A worker's end has two signs, and either may come first: its socket ends, and the
 * forkserver says that it has been reaped. The first sign takes it out of the pool, so
 * that a replacement starts at once; its chunks are given back when both are known, or
 * rather: at the second sign if the socket was first (only then the cause is known), and
 * at once if the reaping was first (whatever the worker wrote is in the socket by then,
 * and is read out). A third, worse sign is the end of the forkserver: all its workers are
 * dead or dying, and nobody will say how.
 *
 * There is one timer for everything that has a deadline. It is set to the earliest one;
 * when it fires, all workers are looked at and it is set anew. Deadlines that move away
 * leave it as it is: firing in vain now and then is cheaper than moving it with every
 * chunk.
 */
#include "workers/pool_internal.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AGAIN_NS       (10 * NS_PER_MS) /* until the next try when the forkserver is busy */
#define DEAF_NS        (1 * NS_PER_SEC) /* a live worker without its socket is killed then */
#define END_NS         (4 * NS_PER_SEC) /* the same of one that was asked to end */
#define GIVE_UP_NS     (5 * NS_PER_SEC) /* after SIGKILL: it hangs inside the kernel */
#define LOG_OUTPUT_MAX 1024             /* bytes of a lost worker's last words */

static void on_timer(uv_timer_t *timer);

static uint64_t min_ns(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t pool_longer_pause(uint64_t pause_ns)
{
    return pause_ns == 0 ? POOL_PAUSE_MIN_NS : min_ns(pause_ns * 2, POOL_PAUSE_MAX_NS);
}

void pool_wake_at(struct pool *pool, uint64_t at_ns, uint64_t now)
{
    uint64_t delay_ms = at_ns > now ? (at_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;

    if (at_ns >= pool->wake_ns || pool->closing)
        return;
    pool->wake_ns = at_ns;
    /* Never 0: a timer that is due at once would keep the loop in its timers for good. */
    uv_timer_start(&pool->timer, on_timer, delay_ms > 0 ? delay_ms : 1, 0);
}

void pool_kill_worker(struct worker *worker, enum exit_cause cause, struct chunk *target,
                      uint64_t now)
{
    worker_kill(worker, cause, target, now);
    pool_update(worker, now);
    pool_wake_at(worker->pool, worker->kill_ns + GIVE_UP_NS, now);
}

/* ---- starting ---------------------------------------------------------------------- */

/* Many workers that fail in one go count as one failure, whose reason is the first one's:
 * the pause grows with the tries. */
static void note_start_failure(struct pool *pool, uint64_t now, const char *what,
                               const char *why)
{
    if (now < pool->retry_ns)
        return;
    snprintf(pool->start_error, sizeof(pool->start_error), "%s%s%s", what,
             *why ? ": " : "", why);
    pool->pause_ns = pool_longer_pause(pool->pause_ns);
    pool->retry_ns = now + pool->pause_ns;
    log_warn("worker cannot be started, trying again later",
             "pool=%s pause_ms=%llu reason=\"%s\"", pool->name,
             (unsigned long long)(pool->pause_ns / NS_PER_MS), pool->start_error);
}

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

static enum status start_worker(struct pool *pool, uint64_t now)
{
    struct worker *worker;
    struct worker_ends ends;
    enum status st =
        worker_new(pool->loop, pool, ++pool->last_tag,
                   min_ns(pool->options.result_frame_max, FRAME_PAYLOAD_MAX),
                   pool->options.output_max ? pool->options.output_max : OUTPUT_KEEP,
                   pool_on_worker_event, &worker, &ends);

    if (st != ST_OK) {
        note_start_failure(pool, now, "no socket or memory for a worker",
                           status_text(st));
        return st;
    }
    pool->handles++;
    if (pool->options.initializer)
        st = worker_send_init(worker, text_of(pool->options.initializer),
                              text_of(pool->options.initargs));
    if (st == ST_OK)
        st = forkserver_spawn(&pool->forkserver, worker->tag, ends.sock, ends.page,
                              ends.output, &pool->options.worker);
    /* Only the child may hold these, or its end would never be seen. */
    fd_close(&ends.sock);
    fd_close(&ends.page);
    fd_close(&ends.output);
    if (st != ST_OK) {
        worker_close(worker, pool_handle_closed);
        return st;
    }
    worker->since_ns = now;
    TAILQ_INSERT_TAIL(&pool->workers, worker, link);
    pool->members++;
    worker_watch(worker);
    pool_wake_at(pool, pool_start_limit_ns(worker), now);
    return ST_OK;
}

void pool_fill(struct pool *pool)
{
    uint64_t now = clock_mono_ns();
    enum status st = ST_OK;

    if (!pool->started || pool->stopping || pool->broken || !pool->forkserver_poll)
        return;
    while (st == ST_OK && pool->members < pool->options.processes &&
           now >= pool->retry_ns)
        st = start_worker(pool, now);
    if (pool->members < pool->options.processes)
        pool_wake_at(pool, now < pool->retry_ns ? pool->retry_ns : now + AGAIN_NS, now);
}

/* ---- ends -------------------------------------------------------------------------- */

/* The worker does not count any more. */
static void leave(struct worker *worker, uint64_t now)
{
    struct pool *pool = worker->pool;

    if (worker->left)
        return;
    worker->left = true;
    pool->members--;
    pool_update(worker, now);
    if (!worker->ready && !worker->ending && !pool->stopping && pool->forkserver_poll)
        note_start_failure(pool, now, "a worker ended before it was ready", "");
    pool_fill(pool);
}

static void log_end(const struct worker *worker, const struct worker_exit *exit)
{
    const char *pool = worker->pool->name;
    struct text output = exit->trace.output;
    int shown = output.len < LOG_OUTPUT_MAX ? (int)output.len : LOG_OUTPUT_MAX;

    if (exit->cause == EXIT_NORMAL || worker->pool->stopping)
        log_debug("worker ended", "pool=%s worker=%d cause=%s code=%d", pool,
                  (int)worker->pid, exit_cause_names[exit->cause], exit->code);
    else
        log_warn("worker lost, replacing",
                 "pool=%s worker=%d cause=%s code=%d output=\"%.*s\"", pool,
                 (int)worker->pid, exit_cause_names[exit->cause], exit->code, shown,
                 output.len ? output.at + output.len - shown : "");
}

/* Only a chunk that the worker has nothing to do with goes back without a word. The first
 * one might be what a worker dies of before it can even claim it. */
static bool is_untouched(const struct worker *worker, const struct chunk *chunk,
                         bool first)
{
    return chunk != worker->kill_target && (!first || worker->kill_target) &&
           page_revoke(worker->page, chunk->id);
}

static void give_back(struct worker *worker, struct worker_exit *exit, uint64_t now)
{
    struct pool *pool = worker->pool;
    struct chunk *lost[WORKER_PIPELINE], *returned[WORKER_PIPELINE];
    uint64_t guilty[WORKER_PIPELINE], began_ns[WORKER_PIPELINE];
    unsigned lost_count = 0, returned_count = 0;

    for (unsigned i = 0; i < worker->chunk_count; i++) {
        struct chunk *chunk = worker->chunks[i];

        if (is_untouched(worker, chunk, i == 0)) {
            returned[returned_count++] = chunk;
        } else {
            guilty[lost_count] = worker_guilty(worker, chunk, exit->cause);
            began_ns[lost_count] =
                worker_item_began_ns(worker, chunk, guilty[lost_count]);
            lost[lost_count++] = chunk;
        }
    }
    while (worker->chunk_count > 0)
        worker_take(worker, worker->chunks[0], now);
    /* From here on the chunks are not ours, and the worker is not anybody's. */
    for (unsigned i = 0; i < lost_count; i++) {
        exit->trace.began_ns = began_ns[i];
        pool->events.on_lost(pool->data, lost[i], guilty[i], exit);
    }
    for (unsigned i = 0; i < returned_count; i++)
        pool->events.on_returned(pool->data, returned[i]);
}

/* Everything about the worker is known. */
static void finish(struct worker *worker, uint64_t now)
{
    struct pool *pool = worker->pool;
    struct worker_exit exit;

    if (worker
            ->doomed) /* it has ended by itself: that is what the cancellation was for */
        worker_kill(worker, EXIT_TERMINATED, worker->doomed, now);
    exit = worker_exit_of(worker);
    exit.trace.pid = worker->pid;
    exit.trace.output = output_take_all(worker->output, &exit.trace.output_cut);
    log_end(worker, &exit);
    worker->deaf = true;
    leave(worker, now);
    TAILQ_REMOVE(&pool->workers, worker, link);
    if (exit.cause != EXIT_NORMAL)
        pool->lost_count++;
    if (pool->events.on_exit)
        pool->events.on_exit(pool->data, exit.cause);
    if (!worker->ready)
        pool_init_ended(worker, &exit);
    give_back(worker, &exit, now);
    worker_close(worker, pool_handle_closed);
    pool_close_if_empty(pool);
}

/* Reads what a dead worker has left in its socket. What fits into a socket fits into one
 * call; the second one sees the end of file. */
static void read_out(struct worker *worker)
{
    for (int i = 0; i < 2 && !worker->deaf; i++)
        pool_read(worker);
}

void pool_went_deaf(struct worker *worker, uint64_t now)
{
    worker->deaf = true;
    worker->deaf_ns = now;
    worker_watch(worker);
    leave(worker, now);
    pool_update(worker, now);
    pool_wake_at(worker->pool, now + DEAF_NS, now);
}

/* ---- what the forkserver tells ----------------------------------------------------- */

static struct worker *find_worker(struct pool *pool, uint64_t tag)
{
    struct worker *worker;

    TAILQ_FOREACH (worker, &pool->workers, link) {
        if (worker->tag == tag)
            return worker;
    }
    return NULL;
}

static void on_spawned(struct pool *pool, struct worker *worker,
                       struct forkserver_event *event)
{
    uint64_t now = clock_mono_ns();

    if (!worker || worker->pidfd != -1) {
        /* Given up meanwhile: nobody is going to talk to it. */
        syscall(SYS_pidfd_send_signal, event->pidfd, SIGKILL, NULL, 0);
        fd_close(&event->pidfd);
        return;
    }
    worker->pid = event->pid;
    worker->pidfd = event->pidfd;
    if (worker->killed)
        worker_kill(worker, worker->kill_cause, NULL, worker->kill_ns);
    pool_update(worker, now);
    pool_wake_at(pool, pool_start_limit_ns(worker), now);
    log_debug("worker started", "pool=%s worker=%d", pool->name, (int)worker->pid);
}

static void on_failed(struct pool *pool, struct worker *worker,
                      const struct forkserver_event *event)
{
    uint64_t now = clock_mono_ns();

    if (!worker)
        return;
    note_start_failure(pool, now, "fork", strerror(event->error));
    worker_kill(worker, EXIT_TERMINATED, NULL, now);
    finish(worker, now);
}

static void on_exited(struct pool *pool, struct worker *worker,
                      const struct forkserver_event *event)
{
    (void)pool;
    if (!worker)
        return;
    worker->end = *event;
    worker->exited = true;
    read_out(worker);
    finish(worker, clock_mono_ns());
}

void pool_told(struct pool *pool, struct forkserver_event *event)
{
    struct worker *worker = find_worker(pool, event->tag);

    switch (event->kind) {
    case FORKSERVER_SPAWNED:
        on_spawned(pool, worker, event);
        break;
    case FORKSERVER_FAILED:
        on_failed(pool, worker, event);
        break;
    case FORKSERVER_EXITED:
        on_exited(pool, worker, event);
        break;
    case FORKSERVER_PONG:
        break;
    }
}

void pool_lose_all(struct pool *pool, uint64_t now)
{
    struct worker *worker;

    /* All first, so that no event below hands work to one of them. A task may have asked
     * to outlive its parent, so they are really killed. */
    TAILQ_FOREACH (worker, &pool->workers, link)
        pool_kill_worker(worker, EXIT_FORKSERVER, NULL, now);
    while ((worker = TAILQ_FIRST(&pool->workers))) {
        read_out(worker);
        finish(worker, now);
    }
}

/* ---- deadlines; each function returns when it has to be called again --------------- */

static uint64_t tend_start(struct worker *worker, uint64_t now)
{
    struct pool *pool = worker->pool;
    uint64_t at = pool_start_limit_ns(worker);

    if (now < at)
        return at;
    if (worker->pid > 0) {
        pool_kill_worker(worker,
                         pool->options.initializer ? EXIT_TIME_LIMIT : EXIT_PROTOCOL,
                         NULL, now);
    } else if (pool->forkserver.pidfd != -1) {
        log_error("forkserver does not answer, killing it", "pool=%s forkserver=%d",
                  pool->name, (int)pool->forkserver.pid);
        syscall(SYS_pidfd_send_signal, pool->forkserver.pidfd, SIGKILL, NULL, 0);
    }
    worker->since_ns = now; /* it has as long again */
    return pool_start_limit_ns(worker);
}

static uint64_t tend_limit(struct worker *worker, uint64_t now)
{
    uint64_t at = worker_limit_ns(worker, now);

    if (now < at)
        return at;
    /* The item may be done and its result on the way: the loop was late, not the task. */
    pool_read(worker);
    now = clock_mono_ns();
    at = worker_limit_ns(worker, now);
    if (worker->deaf || now < at)
        return worker->deaf ? UINT64_MAX : at;
    pool_kill_worker(worker, EXIT_TIME_LIMIT, worker->chunks[0], now);
    return UINT64_MAX; /* the kill has set the timer */
}

/* A chunk is not to wait behind one that takes longer than was thought. */
static uint64_t tend_pipeline(struct worker *worker, uint64_t now)
{
    struct pool *pool = worker->pool;
    uint64_t at = worker->head_ns + 2 * PIPELINE_NS;
    struct chunk *returned[WORKER_PIPELINE];
    unsigned count = 0;

    if (worker->chunk_count < 2)
        return UINT64_MAX;
    if (now < at)
        return at;
    while (worker->chunk_count > 1) {
        struct chunk *waiting = worker->chunks[worker->chunk_count - 1];

        if (!page_revoke(worker->page, waiting->id))
            break; /* it has just begun */
        worker_take(worker, waiting, now);
        returned[count++] = waiting;
    }
    if (count == 0)
        return now + 2 * PIPELINE_NS;
    pool_update(worker, now);
    pool->capacity = true;
    for (unsigned i = 0; i < count; i++)
        pool->events.on_returned(pool->data, returned[i]);
    return UINT64_MAX;
}

/* One that was killed, or whose socket has ended, and that should be reported as reaped. A
 * process that ends has closed its socket a moment before it has ended, and on a busy machine
 * that moment is long. Whoever was asked to end does nothing else by then. */
static uint64_t tend_end(struct worker *worker, uint64_t now)
{
    uint64_t since_ns = worker->killed ? worker->kill_ns : worker->deaf_ns;
    uint64_t deaf_ns = worker->ending ? END_NS : DEAF_NS;

    if (now >= since_ns + GIVE_UP_NS) {
        log_error("worker does not end, going on without it", "pool=%s worker=%d",
                  worker->pool->name, (int)worker->pid);
        finish(worker, now);
        return UINT64_MAX;
    }
    if (!worker->killed && !worker_process_ended(worker)) {
        if (now < since_ns + deaf_ns)
            return since_ns + deaf_ns;
        pool_kill_worker(worker, EXIT_PROTOCOL, NULL, now);
        return UINT64_MAX; /* the kill has set the timer */
    }
    return since_ns + GIVE_UP_NS;
}

/* One whose chunk has been cancelled, and that may end by itself until then. */
static uint64_t tend_doomed(struct worker *worker, uint64_t now)
{
    if (!worker->doomed)
        return UINT64_MAX;
    if (now < worker->doom_ns)
        return worker->doom_ns;
    pool_kill_worker(worker, EXIT_TERMINATED, worker->doomed, now);
    return UINT64_MAX; /* the kill has set the timer */
}

static uint64_t tend(struct worker *worker, uint64_t now)
{
    uint64_t limit_ns, doom_ns;

    if (worker->killed || worker->deaf)
        return tend_end(worker, now);
    if (worker->state == WORKER_STARTING)
        return tend_start(worker, now);
    limit_ns = tend_limit(worker, now);
    if (worker->killed || worker->deaf)
        return limit_ns;
    doom_ns = tend_doomed(worker, now);
    if (worker->killed)
        return doom_ns;
    return min_ns(min_ns(limit_ns, doom_ns), tend_pipeline(worker, now));
}

static void on_timer(uv_timer_t *timer)
{
    struct pool *pool = timer->data;
    uint64_t now = clock_mono_ns(), at;
    struct worker *next;

    pool->wake_ns = UINT64_MAX;
    at = pool_forkserver_tend(pool, now);
    for (struct worker *worker = TAILQ_FIRST(&pool->workers); worker; worker = next) {
        next = TAILQ_NEXT(worker, link);
        at = min_ns(at, tend(worker, now));
    }
    if (at != UINT64_MAX)
        pool_wake_at(pool, at, now);
    pool_fill(pool);
}

/* ---- the supervisor's own life ----------------------------------------------------- */

enum status pool_supervise(struct pool *pool)
{
    enum status st = pool_forkserver_watch(pool);

    if (st != ST_OK)
        return st;
    uv_timer_init(pool->loop, &pool->timer);
    pool->timer.data = pool;
    pool->handles++;
    return ST_OK;
}

static void on_handle_closed(uv_handle_t *handle)
{
    pool_handle_closed(handle->data);
}

void pool_close_if_empty(struct pool *pool)
{
    if (!pool->stopping || pool->closing || !TAILQ_EMPTY(&pool->workers))
        return;
    pool->closing = true;
    pool_forkserver_unwatch(pool);
    uv_close((uv_handle_t *)&pool->timer, on_handle_closed);
    uv_close((uv_handle_t *)&pool->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&pool->awake, on_handle_closed);
}
