/* SPDX-License-Identifier: MIT */
/*
 * What workers send. Each frame is checked against what the server knows: that the worker
 * has the chunk, has claimed it, and that the outcomes are those of the items that come
 * next. A worker that says anything else is killed, and a chunk that it had is lost like
 * that of every worker that dies.
 */
#include "workers/pool_internal.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"

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
    if (!worker->deaf && (events & UV_WRITABLE))
        pool_flush(worker);
    if (!worker->deaf && (events & UV_READABLE))
        pool_read(worker);
    worker_watch(worker);
}
