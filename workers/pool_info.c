/* SPDX-License-Identifier: MIT */
/* What can be seen of a pool and its workers; what states and causes are called. */
#include "workers/pool_internal.h"

#include <string.h>

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
