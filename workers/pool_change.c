/* SPDX-License-Identifier: MIT */
/* Another size, other limits: which workers stay, and which are to go. */
#include "common/clock.h"
#include "workers/pool_internal.h"

#include <assert.h>

static void retire(struct worker *worker, uint64_t now)
{
    worker->retiring = true;
    /* What starts just now reads the end of file as its first message, or behind the
     * initializer. */
    if (worker->state == WORKER_STARTING)
        worker_end(worker);
    pool_update(worker, now);
}

static bool stays(const struct worker *worker)
{
    return !worker->left && !worker->retiring && worker->state != WORKER_STOPPING;
}

static unsigned count_staying(const struct pool *pool)
{
    const struct worker *worker;
    unsigned count = 0;

    TAILQ_FOREACH (worker, &pool->workers, link)
        count += stays(worker);
    return count;
}

/* The one that is missed least: it has been idle for longest, or is not ready yet. */
static struct worker *dispensable(const struct pool *pool)
{
    struct worker *worker = TAILQ_LAST(&pool->idle, worker_list);

    if (worker)
        return worker;
    TAILQ_FOREACH (worker, &pool->workers, link) {
        if (stays(worker) && worker->state == WORKER_STARTING)
            return worker;
    }
    TAILQ_FOREACH (worker, &pool->workers, link) {
        if (stays(worker))
            return worker;
    }
    return NULL;
}

void pool_change(struct pool *pool, const struct pool_options *options)
{
    bool anew = !limits_equal(&pool->options.worker.limits, &options->worker.limits);
    uint64_t now = clock_mono_ns();
    struct worker *worker;

    assert(!pool->stopping);
    pool->options.processes = options->processes;
    pool->options.chunks_per_worker = options->chunks_per_worker;
    pool->options.init_limit_ms = options->init_limit_ms;
    pool->options.worker.limits = options->worker.limits;
    TAILQ_FOREACH (worker, &pool->workers, link) {
        if (anew && stays(worker))
            retire(worker, now);
        else
            pool_update(worker, now); /* its chunks may be enough now */
    }
    for (unsigned staying = count_staying(pool); staying > options->processes; staying--)
        retire(dispensable(pool), now);
    pool_fill(pool);
}
