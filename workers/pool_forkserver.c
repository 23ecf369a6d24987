/* SPDX-License-Identifier: MIT */
/*
 * The pool's forkserver as a process: watched, replaced when it has ended, let go of when
 * the pool ends. What it tells of workers goes to the supervisor (pool_told).
 *
 * The first one that is lost is replaced at once. After one that had not been there for
 * STEADY_NS there is a pause before the next, twice as long each time.
 */
#include "workers/pool_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#include <stdio.h>

#define STEADY_NS (10 * NS_PER_SEC) /* one this old did start well */

static void on_poll_closed(uv_handle_t *handle)
{
    struct pool *pool = handle->data;

    mem_free(handle);
    pool_handle_closed(pool);
}

void pool_forkserver_unwatch(struct pool *pool)
{
    uv_poll_t *poll = pool->forkserver_poll;

    pool->forkserver_poll = NULL;
    if (poll)
        uv_close((uv_handle_t *)poll, on_poll_closed);
    forkserver_stop(&pool->forkserver);
}

static void on_forkserver_event(uv_poll_t *poll, int status, int events);

enum status pool_forkserver_watch(struct pool *pool)
{
    uv_poll_t *poll = mem_zalloc(sizeof(*poll));

    if (!poll)
        return ST_NO_MEMORY;
    if (uv_poll_init(pool->loop, poll, pool->forkserver.sock) != 0) {
        mem_free(poll);
        return ST_IO;
    }
    pool->handles++;
    poll->data = pool;
    uv_poll_start(poll, UV_READABLE, on_forkserver_event);
    pool->forkserver_poll = poll;
    pool->forkserver_since_ns = clock_mono_ns();
    pool_ping_reset(pool);
    return ST_OK;
}

static void restart(struct pool *pool, uint64_t now)
{
    struct error_text err = { "out of memory" };
    enum status st = forkserver_start(&pool->forkserver, pool->options.catalog,
                                      pool->options.confinement, &err);

    if (st == ST_OK)
        st = pool_forkserver_watch(pool);
    if (st == ST_OK) {
        log_info("forkserver started", "pool=%s forkserver=%d", pool->name,
                 (int)pool->forkserver.pid);
        pool_fill(pool);
        return;
    }
    forkserver_stop(&pool->forkserver);
    pool->forkserver_pause_ns = pool_longer_pause(pool->forkserver_pause_ns);
    pool->forkserver_retry_ns = now + pool->forkserver_pause_ns;
    snprintf(pool->start_error, sizeof(pool->start_error), "%.*s", START_ERROR_MAX - 1,
             err.text);
    log_error("forkserver cannot be started, trying again later",
              "pool=%s pause_ms=%llu reason=\"%s\"", pool->name,
              (unsigned long long)(pool->forkserver_pause_ns / NS_PER_MS), err.text);
    pool_wake_at(pool, pool->forkserver_retry_ns, now);
}

static void lost(struct pool *pool)
{
    uint64_t now = clock_mono_ns();
    bool steady =
        now - pool->forkserver_since_ns >= STEADY_NS || pool->forkserver_pause_ns == 0;

    log_error("forkserver lost, and all workers with it", "pool=%s forkserver=%d next=%s",
              pool->name, (int)pool->forkserver.pid, pool->stopping ? "stop" : "restart");
    pool_forkserver_unwatch(pool);
    pool_lose_all(pool, now);
    if (pool->stopping)
        return;
    /* The first loss is made good at once; it is the second in a row that has to wait. */
    if (steady) {
        pool->forkserver_pause_ns = POOL_PAUSE_MIN_NS / 2;
        restart(pool, now);
        return;
    }
    pool->forkserver_pause_ns = pool_longer_pause(pool->forkserver_pause_ns);
    pool->forkserver_retry_ns = now + pool->forkserver_pause_ns;
    pool_wake_at(pool, pool->forkserver_retry_ns, now);
}

static void on_forkserver_event(uv_poll_t *poll, int status, int events)
{
    struct pool *pool = poll->data;
    struct forkserver_event event;
    enum status st;

    (void)events;
    do {
        st = forkserver_next_event(&pool->forkserver, &event);
        if (st == ST_OK) {
            pool_ping_heard(pool, clock_mono_ns());
            pool_told(pool, &event);
        }
    } while (st == ST_OK && !pool->closing);
    if (pool->closing)
        return;
    if (st == ST_CLOSED) {
        lost(pool);
        return;
    }
    if (status < 0) /* libuv has stopped watching */
        uv_poll_start(poll, UV_READABLE, on_forkserver_event);
    pool_fill(pool);
}

uint64_t pool_forkserver_tend(struct pool *pool, uint64_t now)
{
    if (!pool->stopping && !pool->forkserver_poll) {
        if (now < pool->forkserver_retry_ns)
            return pool->forkserver_retry_ns;
        restart(pool, now);
    }
    return pool->forkserver_poll ? pool_ping_tend(pool, now) : UINT64_MAX;
}
