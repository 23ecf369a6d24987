/* SPDX-License-Identifier: MIT */
/*
 * The way of a chunk: pool_free_slot names a worker, pool_send writes one frame, the
 * worker's answers are read with one recv and go up through pool_events (pool_receive.c).
 * A worker that can take more is in one of two lists, so that finding it costs nothing
 * however many workers there are; pool_update is the only place that moves workers between
 * lists and states.
 *
 * on_capacity is called from a prepare handle: after all events of a turn have been dealt
 * with, before the loop sleeps, once for all workers that became free.
 */
#include "workers/pool.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/mem.h"
#include "workers/pool_internal.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

/* What a worker is handed in a row before another one is: neighbours that are handed over
 * together come back together. */
#define TURN_NS 20000
/* Bytes that wait until the worker's socket takes them: it has enough to do, and what is
 * handed to it would be copied here. */
#define UNSENT_MAX (64u << 10)

/* ---- states and places ------------------------------------------------------------- */

static enum worker_state state_of(const struct worker *worker)
{
    if (worker->ending || worker->killed || worker->deaf || worker->left)
        return WORKER_STOPPING;
    if (!worker->ready || worker->pid == 0)
        return WORKER_STARTING;
    return worker->chunk_count > 0 ? WORKER_BUSY : WORKER_IDLE;
}

static bool is_short(uint64_t expected_ns)
{
    return expected_ns > 0 && expected_ns <= PIPELINE_NS;
}

/* Whether it has had, or has, all the chunks that it may have. */
static bool is_spent(const struct worker *worker)
{
    uint64_t max = worker->pool->options.chunks_per_worker;

    return worker->retiring ||
           (max > 0 && worker->chunks_done + worker->chunk_count >= max);
}

/* A worker that was full gets nothing more until half of it is done: refilled one by one it
 * would be woken for each, and answer each by itself. */
static unsigned room_of(const struct worker *worker)
{
    return worker->slot == SLOT_NONE ? WORKER_PIPELINE / 2 : WORKER_PIPELINE;
}

static enum worker_slot slot_of(const struct worker *worker)
{
    if (is_spent(worker) || worker->doomed)
        return SLOT_NONE;
    if (worker->state == WORKER_IDLE)
        return SLOT_IDLE;
    if (worker->state == WORKER_BUSY && worker->chunk_count < room_of(worker) &&
        is_short(worker_expected_ns(worker)) &&
        channel_unsent(&worker->channel) < UNSENT_MAX)
        return SLOT_OPEN;
    return SLOT_NONE;
}

/* What is due before the loop sleeps (on_prepare) keeps it awake: the prepare handle may have
 * had its turn already when another one's callback brings this about. */
static void on_awake(uv_idle_t *idle)
{
    (void)idle;
}

void pool_stay_awake(struct pool *pool)
{
    if (!pool->closing)
        uv_idle_start(&pool->awake, on_awake);
}

static void note_capacity(struct pool *pool)
{
    pool->capacity = true;
    pool_stay_awake(pool);
}

static void move_to_slot(struct pool *pool, struct worker *worker, enum worker_slot slot)
{
    if (worker->slot == SLOT_IDLE)
        TAILQ_REMOVE(&pool->idle, worker, slot_link);
    else if (worker->slot == SLOT_OPEN)
        TAILQ_REMOVE(&pool->open, worker, slot_link);
    /* One that takes its first chunk has less room than before, not more. */
    if (slot == SLOT_IDLE || (slot == SLOT_OPEN && worker->slot == SLOT_NONE))
        note_capacity(pool);
    worker->slot = slot;
    if (slot == SLOT_IDLE)
        TAILQ_INSERT_HEAD(&pool->idle, worker, slot_link);
    else if (slot == SLOT_OPEN)
        TAILQ_INSERT_TAIL(&pool->open, worker, slot_link);
}

static void count_state(struct pool *pool, enum worker_state state, int change)
{
    if (state == WORKER_IDLE)
        pool->idle_count += (unsigned)change;
    else if (state == WORKER_BUSY)
        pool->busy_count += (unsigned)change;
}

void pool_update(struct worker *worker, uint64_t now)
{
    struct pool *pool = worker->pool;
    enum worker_state state = state_of(worker);
    enum worker_slot slot;

    if (state == WORKER_IDLE && (pool->stopping || is_spent(worker))) {
        worker_end(worker);
        state = WORKER_STOPPING;
    }
    if (state != worker->state) {
        count_state(pool, worker->state, -1);
        count_state(pool, state, +1);
        worker->state = state;
        worker->since_ns = now;
    }
    slot = slot_of(worker);
    if (slot != worker->slot)
        move_to_slot(pool, worker, slot);
}

void pool_flush(struct worker *worker)
{
    bool was_full = channel_unsent(&worker->channel) >= UNSENT_MAX;

    if (channel_flush(&worker->channel) == ST_NO_MEMORY)
        pool_kill_worker(worker, EXIT_TERMINATED, NULL, clock_mono_ns());
    else if (was_full)
        pool_update(worker, clock_mono_ns());
}

/* Sends what was queued in this turn of the loop. */
static void flush_all(struct pool *pool)
{
    struct worker *worker;

    pool->unsent = false;
    TAILQ_FOREACH (worker, &pool->workers, link) {
        if (worker->deaf || !channel_wants_write(&worker->channel))
            continue;
        pool_flush(worker);
        worker_watch(worker);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct pool *pool = prepare->data;

    uv_idle_stop(&pool->awake);
    if (pool->broken_due) {
        pool->broken_due = false;
        if (!pool->stopping)
            pool->events.on_broken(
                pool->data,
                (struct text){ pool->init_exception, strlen(pool->init_exception) });
    }
    if (pool->capacity) {
        pool->capacity = false;
        if (!pool->stopping)
            pool->events.on_capacity(pool->data);
    }
    if (pool->unsent)
        flush_all(pool);
}

/* ---- handing out ------------------------------------------------------------------- */

struct worker *pool_free_slot(struct pool *pool, uint64_t expected_ns)
{
    struct worker *worker = TAILQ_FIRST(&pool->idle);

    if (pool->stopping)
        return NULL;
    if (worker || !is_short(expected_ns))
        return worker;
    /* One that has been at its chunk for longer than thought is no place to wait at. */
    while ((worker = TAILQ_FIRST(&pool->open)) &&
           clock_mono_ns() - worker->head_ns > PIPELINE_NS)
        move_to_slot(pool, worker, SLOT_NONE);
    return worker;
}

void pool_send(struct pool *pool, struct worker *worker, struct chunk *chunk,
               const struct frame_chunk *content)
{
    uint64_t now = clock_mono_ns(), limit_ns;

    assert(worker->slot != SLOT_NONE);
    worker_send(worker, chunk, content, now);
    if (FAULT(after_dispatch))
        worker_kill(worker, EXIT_PROTOCOL, NULL, now);
    if (!pool->unsent && channel_wants_write(&worker->channel)) {
        pool->unsent = true;
        pool_stay_awake(pool);
    }
    pool_update(worker, now);
    worker->turn_ns += chunk->expected_ns;
    if (worker->slot == SLOT_OPEN && worker->turn_ns >= TURN_NS) { /* the others' turn */
        worker->turn_ns = 0;
        TAILQ_REMOVE(&pool->open, worker, slot_link);
        TAILQ_INSERT_TAIL(&pool->open, worker, slot_link);
    }
    limit_ns = worker_limit_ns(worker, now);
    if (limit_ns != UINT64_MAX)
        pool_wake_at(pool, limit_ns, now);
    if (worker->chunk_count > 1)
        pool_wake_at(pool, worker->head_ns + 2 * PIPELINE_NS, now);
    if (worker->killed)
        pool_wake_at(pool, now, now);
}

bool pool_reclaim(struct pool *pool, struct chunk *chunk)
{
    struct worker *worker = chunk->worker;
    uint64_t now;

    (void)pool;
    if (!worker || !page_revoke(worker->page, chunk->id))
        return false;
    now = clock_mono_ns();
    worker_take(worker, chunk, now);
    pool_update(worker, now);
    return true;
}

bool pool_chunk_output(struct pool *pool, const struct chunk *chunk, uint64_t *ret_item,
                       struct worker_trace *ret_trace)
{
    struct worker *worker = chunk->worker;

    (void)pool;
    if (!worker || worker->chunks[0] != chunk)
        return false;
    *ret_item = worker_item(worker, chunk);
    *ret_trace = (struct worker_trace){ .pid = worker->pid };
    ret_trace->output = output_peek(worker->output, &ret_trace->output_cut);
    return *ret_item != UINT64_MAX;
}

void pool_kill_chunk(struct pool *pool, struct chunk *chunk, enum exit_cause cause)
{
    uint64_t now = clock_mono_ns();

    assert(chunk->worker);
    assert(chunk->worker->pool == pool);
    pool_kill_worker(chunk->worker, cause, chunk, now);
}

void pool_cancel_chunk(struct pool *pool, struct chunk *chunk, int64_t grace_ms)
{
    struct worker *worker = chunk->worker;
    uint64_t now = clock_mono_ns();

    assert(worker && worker->pool == pool);
    if (worker->killed || worker->doomed)
        return;
    if (!page_cancel(worker->page, chunk->id) || grace_ms == 0) {
        pool_kill_worker(worker, EXIT_TERMINATED, chunk, now);
        return;
    }
    worker->doomed = chunk;
    worker->doom_ns = now + (uint64_t)grace_ms * NS_PER_MS;
    pool_update(worker, now);
    pool_wake_at(pool, worker->doom_ns, now);
}

/* ---- life -------------------------------------------------------------------------- */

enum status pool_new(uv_loop_t *loop, struct forkserver *forkserver,
                     const struct pool_options *options, const struct pool_events *events,
                     void *data, struct pool **ret_pool)
{
    struct pool *pool = mem_zalloc(sizeof(*pool));
    enum status st = ST_NO_MEMORY;

    if (!pool)
        return st;
    pool->loop = loop;
    pool->name = mem_strdup(options->name);
    pool->options = *options;
    pool->options.name = pool->name;
    pool->options.worker.initializer = options->initializer != NULL;
    /* The caller may take another catalog into use while this pool goes on. */
    if (options->catalog > CATALOG_FD)
        pool->options.catalog = fcntl(options->catalog, F_DUPFD_CLOEXEC, CATALOG_FD + 1);
    if (options->initializer) {
        pool->options.initializer = mem_strdup(options->initializer);
        pool->options.initargs = mem_strdup(options->initargs);
    }
    pool->events = *events;
    pool->data = data;
    pool->forkserver = *forkserver;
    pool->wake_ns = UINT64_MAX;
    TAILQ_INIT(&pool->workers);
    TAILQ_INIT(&pool->idle);
    TAILQ_INIT(&pool->open);
    if (options->catalog > CATALOG_FD && pool->options.catalog == -1)
        st = ST_IO;
    else if (pool->name && (!options->initializer ||
                            (pool->options.initializer && pool->options.initargs)))
        st = pool_supervise(pool);
    if (st != ST_OK) {
        pool_free(pool);
        return st;
    }
    uv_idle_init(loop, &pool->awake);
    pool->awake.data = pool;
    pool->handles++;
    uv_prepare_init(loop, &pool->prepare);
    pool->prepare.data = pool;
    pool->handles++;
    uv_prepare_start(&pool->prepare, on_prepare);
    uv_unref(
        (uv_handle_t *)&pool->prepare); /* workers keep a loop alive, this does not */
    *forkserver = (struct forkserver){ .sock = -1, .pidfd = -1 };
    *ret_pool = pool;
    return ST_OK;
}

void pool_start(struct pool *pool)
{
    pool->started = true;
    pool_fill(pool);
}

void pool_stop(struct pool *pool, void (*on_stopped)(void *data))
{
    uint64_t now = clock_mono_ns();
    struct worker *worker;

    assert(!pool->stopping);
    pool->stopping = true;
    pool->on_stopped = on_stopped;
    TAILQ_FOREACH (worker, &pool->workers, link) {
        /* What starts just now reads the end of file as its first message. */
        if (worker->state == WORKER_STARTING)
            worker_end(worker);
        pool_update(worker, now);
    }
    pool_close_if_empty(pool);
}

void pool_kill(struct pool *pool)
{
    uint64_t now = clock_mono_ns();
    struct worker *worker;

    assert(pool->stopping);
    TAILQ_FOREACH (worker, &pool->workers, link)
        pool_kill_worker(worker, EXIT_TERMINATED, NULL, now);
}

void pool_handle_closed(struct pool *pool)
{
    assert(pool->handles > 0);
    if (--pool->handles == 0 && pool->on_stopped)
        pool->on_stopped(pool->data);
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    assert(pool->handles == 0);
    if (pool->options.worker.initializer) {
        mem_free((char *)pool->options.initializer);
        mem_free((char *)pool->options.initargs);
    }
    if (pool->options.catalog > CATALOG_FD)
        fd_close(&pool->options.catalog);
    mem_free(pool->init_exception);
    mem_free(pool->name);
    mem_free(pool);
}
