/* SPDX-License-Identifier: MIT */
/*
 * The way of a chunk: pool_free_slot names a worker, pool_send writes one frame, the
 * worker's answers are read with one recv and go up through pool_events. A worker that
 * can take more is in one of two lists, so that finding it costs nothing however many
 * workers there are; pool_update is the only place that moves workers between lists and
 * states.
 *
 * on_capacity is called from a prepare handle: after all events of a turn have been dealt
 * with, before the loop sleeps, once for all workers that became free.
 */
#include "workers/pool.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "workers/pool_internal.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

/* What a worker is handed in a row before another one is: neighbours that are handed over
 * together come back together. */
#define TURN_NS 20000

const char *const exit_cause_names[EXIT_CAUSE_COUNT] = {
    [EXIT_NORMAL] = "normal",
    [EXIT_CODE] = "exit",
    [EXIT_SIGNAL] = "signal",
    [EXIT_CPU_LIMIT] = "cpu_limit",
    [EXIT_MEMORY_LIMIT] = "memory_limit",
    [EXIT_TIME_LIMIT] = "time_limit",
    [EXIT_TERMINATED] = "terminated",
    [EXIT_PROTOCOL] = "protocol",
    [EXIT_FORKSERVER] = "forkserver",
};

const char *const worker_state_names[WORKER_STATE_COUNT] = {
    [WORKER_STARTING] = "starting",
    [WORKER_IDLE] = "idle",
    [WORKER_BUSY] = "busy",
    [WORKER_STOPPING] = "stopping",
};

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
        is_short(worker_expected_ns(worker)))
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

/* Sends what was queued in this turn of the loop. */
static void flush_all(struct pool *pool)
{
    struct worker *worker;

    pool->unsent = false;
    TAILQ_FOREACH (worker, &pool->workers, link) {
        if (worker->deaf || !channel_wants_write(&worker->channel))
            continue;
        if (channel_flush(&worker->channel) == ST_NO_MEMORY)
            pool_kill_worker(worker, EXIT_TERMINATED, NULL, clock_mono_ns());
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

/* ---- what workers send ------------------------------------------------------------- */

static enum status on_ready(struct worker *worker, const struct frame *frame)
{
    struct frame_ready ready;
    bool cut;

    if (worker->ready || frame_ready_parse(frame->payload, &ready) != FRAME_OK ||
        ready.version != FRAME_VERSION)
        return ST_PROTOCOL;
    worker->ready = true;
    (void)output_take_all(worker->output, &cut); /* of the initializer */
    pool_init_succeeded(worker->pool);
    worker->pool->pause_ns = worker->pool->retry_ns = 0;
    worker->pool->start_error[0] = '\0';
    pool_update(worker, clock_mono_ns());
    return ST_OK;
}

/* The chunk that this frame may be about: the first one, if the worker has claimed it. */
static struct chunk *answered_chunk(const struct worker *worker,
                                    const struct frame *frame)
{
    struct chunk *chunk = worker->chunk_count > 0 ? worker->chunks[0] : NULL;

    if (!chunk || chunk->id != frame->chunk_id ||
        page_claim_state(worker->page, chunk->id) != CLAIM_CLAIMED)
        return NULL;
    return chunk;
}

/* The first `count` items of chunks[0] have outcomes. Returns whether these were the
 * last. */
static bool move_on(struct worker *worker, struct chunk *chunk, uint32_t count)
{
    uint64_t now = clock_mono_ns(), limit_ns;

    worker->heard_ns = now;
    worker->items_done += count;
    chunk->first += count;
    chunk->count -= count;
    if (chunk->count > 0)
        return false;
    worker->chunks_done++;
    if (atomic_load(&worker->page->retire))
        worker->retiring = true;
    worker_take(worker, chunk, now);
    pool_update(worker, now);
    limit_ns = worker_limit_ns(worker, now);
    if (limit_ns != UINT64_MAX)
        pool_wake_at(worker->pool, limit_ns, now);
    return true;
}

static enum status on_result(struct worker *worker, const struct frame *frame)
{
    struct pool *pool = worker->pool;
    struct chunk *chunk = answered_chunk(worker, frame);
    bool last = (frame->flags & FRAME_LAST) != 0;
    struct worker_trace trace = { .pid = worker->pid };
    struct frame_result result;

    if (FAULT(after_result_recv))
        return ST_PROTOCOL;
    if (!chunk || (frame->flags & FRAME_PACKED) ||
        frame_result_parse(frame->payload, &result) != FRAME_OK ||
        result.first != chunk->first || result.count > chunk->count ||
        last != (result.count == chunk->count) || result.results.len == 0)
        return ST_PROTOCOL;
    trace.output = output_take(worker->output, result.printed, &trace.output_cut);
    last = move_on(worker, chunk, result.count);
    pool->events.on_result(pool->data, chunk, &result, &trace, last);
    return ST_OK;
}

static enum status on_failure(struct worker *worker, const struct frame *frame)
{
    struct pool *pool = worker->pool;
    struct chunk *chunk = answered_chunk(worker, frame);
    bool last = (frame->flags & FRAME_LAST) != 0;
    struct worker_trace trace = { .pid = worker->pid };
    struct frame_failure failure;

    if (!worker->ready)
        return pool_init_raised(worker, frame);
    if (!chunk || frame_failure_parse(frame->payload, &failure) != FRAME_OK ||
        failure.item != chunk->first || last != (chunk->count == 1) ||
        failure.exception.len == 0)
        return ST_PROTOCOL;
    trace.output = output_take(worker->output, failure.printed, &trace.output_cut);
    trace.began_ns = clock_mono_ns() - failure.run_ns;
    last = move_on(worker, chunk, 1);
    pool->events.on_failure(pool->data, chunk, &failure, &trace, last);
    return ST_OK;
}

static enum status on_progress(struct worker *worker, const struct frame *frame)
{
    struct pool *pool = worker->pool;
    struct chunk *chunk = answered_chunk(worker, frame);
    struct frame_progress progress;

    if (!chunk || frame->flags ||
        frame_progress_parse(frame->payload, &progress) != FRAME_OK ||
        progress.item < chunk->first || progress.item - chunk->first >= chunk->count)
        return ST_PROTOCOL;
    pool->events.on_progress(pool->data, chunk, &progress);
    return ST_OK;
}

typedef enum status frame_handler(struct worker *worker, const struct frame *frame);

/* What the server accepts from a worker. No handler here: a protocol error. */
static frame_handler *const frame_handlers[FRAME_KIND_COUNT] = {
    [FRAME_READY] = on_ready,
    [FRAME_RESULT] = on_result,
    [FRAME_FAILURE] = on_failure,
    [FRAME_PROGRESS] = on_progress,
};

static enum status on_frame(void *data, const struct frame *frame)
{
    frame_handler *handler = frame_handlers[frame->kind];

    return handler ? handler(data, frame) : ST_PROTOCOL;
}

void pool_read(struct worker *worker)
{
    enum status st = channel_read(&worker->channel, on_frame, worker);
    uint64_t now;

    worker->pool->events.on_read(worker->pool->data);
    if (st == ST_OK)
        return;
    now = clock_mono_ns();
    if (st != ST_CLOSED) {
        log_warn("worker cannot be understood, killing it",
                 "pool=%s worker=%d reason=\"%s\"", worker->pool->name, (int)worker->pid,
                 status_text(st));
        pool_kill_worker(worker, st == ST_PROTOCOL ? EXIT_PROTOCOL : EXIT_TERMINATED,
                         NULL, now);
    }
    pool_went_deaf(worker, now);
}

void pool_on_worker_event(uv_poll_t *poll, int status, int events)
{
    struct worker *worker = poll->data;

    if (status < 0) {
        /* The worker died with unread input. libuv has stopped watching; what the worker
         * wrote before can still be read, and the end of file behind it. */
        worker->watched = 0;
        pool_read(worker);
        events = UV_READABLE;
    }
    if (!worker->deaf && (events & UV_WRITABLE) &&
        channel_flush(&worker->channel) == ST_NO_MEMORY)
        pool_kill_worker(worker, EXIT_TERMINATED, NULL, clock_mono_ns());
    if (!worker->deaf && (events & UV_READABLE))
        pool_read(worker);
    worker_watch(worker);
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

/* ---- inspection -------------------------------------------------------------------- */

const char *pool_name(const struct pool *pool)
{
    return pool->name;
}

unsigned pool_processes(const struct pool *pool)
{
    return pool->options.processes;
}

const struct pool_options *pool_options(const struct pool *pool)
{
    return &pool->options;
}

unsigned pool_busy(const struct pool *pool)
{
    return pool->busy_count;
}

pid_t pool_forkserver_pid(const struct pool *pool)
{
    return pool->forkserver.pid;
}

unsigned pool_idle(const struct pool *pool)
{
    return pool->idle_count;
}

size_t pool_workers(const struct pool *pool, struct worker_info *ret_infos, size_t cap)
{
    const struct worker *worker;
    size_t count = 0;

    TAILQ_FOREACH (worker, &pool->workers, link) {
        const struct chunk *chunk = worker->chunk_count > 0 ? worker->chunks[0] : NULL;

        if (count == cap)
            break;
        if (worker->left)
            continue;
        ret_infos[count++] = (struct worker_info){
            .pid = worker->pid,
            .state = worker->state,
            .chunk = chunk,
            .item = chunk ? worker_item(worker, chunk) : 0,
            .since_ns = worker->since_ns,
            .items_done = worker->items_done,
        };
    }
    return count;
}

void pool_count_states(const struct pool *pool, unsigned ret_counts[WORKER_STATE_COUNT])
{
    const struct worker *worker;

    memset(ret_counts, 0, WORKER_STATE_COUNT * sizeof(*ret_counts));
    TAILQ_FOREACH (worker, &pool->workers, link)
        ret_counts[worker->state] += !worker->left;
}

uint64_t pool_items(const struct pool *pool)
{
    const struct worker *worker;
    uint64_t items = 0;

    TAILQ_FOREACH (worker, &pool->workers, link)
        for (unsigned i = 0; i < worker->chunk_count; i++)
            items += worker->chunks[i]->count;
    return items;
}

uint64_t pool_lost_count(const struct pool *pool)
{
    return pool->lost_count;
}

const char *pool_start_error(const struct pool *pool)
{
    return pool->start_error;
}
