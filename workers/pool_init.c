/* SPDX-License-Identifier: MIT */
/*
 * The initializer: a task that each new worker runs once before it is ready. The pool
 * sends it as the worker's first frame (pool_supervise.c); the answer is READY or, if it
 * raises, FAILURE, and the worker ends. Python's Pool would start the next worker for
 * ever; here INITIALIZER_TRIES in a row are enough, as long as no worker is there that
 * had more luck.
 */
#include "workers/pool_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#include <stdio.h>
#include <string.h>

#define START_LIMIT_NS (10 * NS_PER_SEC) /* without an initializer */

uint64_t pool_start_limit_ns(const struct worker *worker)
{
    const struct pool_options *options = &worker->pool->options;

    /* Until there is a process, it is the forkserver that keeps us waiting. */
    if (!options->initializer || worker->pid == 0)
        return worker->since_ns + START_LIMIT_NS;
    return options->init_limit_ms > 0
               ? worker->since_ns + (uint64_t)options->init_limit_ms * NS_PER_MS
               : UINT64_MAX;
}

void pool_init_succeeded(struct pool *pool)
{
    pool->init_failures = 0;
}

/* Takes the text. */
static void keep_exception(struct pool *pool, char *exception)
{
    if (!exception)
        return;
    mem_free(pool->init_exception);
    pool->init_exception = exception;
}

enum status pool_init_raised(struct worker *worker, const struct frame *frame)
{
    struct pool *pool = worker->pool;
    struct frame_failure failure;

    if (!pool->options.initializer || frame->chunk_id != 0 ||
        frame_failure_parse(frame->payload, &failure) != FRAME_OK ||
        failure.exception.len == 0)
        return ST_PROTOCOL;
    worker->init_raised = true;
    keep_exception(pool, mem_strndup(failure.exception.at, failure.exception.len));
    return ST_OK;
}

/* The exception of a worker that died in the initializer. */
static char *death_exception(const struct worker_exit *exit)
{
    char text[160];

    snprintf(
        text, sizeof(text),
        "{\"type\":\"WorkerLost\",\"message\":\"the worker ended in the initializer: "
        "%s %d\",\"traceback\":\"\"}",
        exit_cause_names[exit->cause], exit->code);
    return mem_strdup(text);
}

static bool is_to_blame(const struct worker *worker, const struct worker_exit *exit)
{
    const struct pool *pool = worker->pool;

    return pool->options.initializer && worker->pid != 0 && !worker->ending &&
           !pool->stopping && !pool->broken && exit->cause != EXIT_TERMINATED &&
           exit->cause != EXIT_FORKSERVER;
}

void pool_init_ended(struct worker *worker, const struct worker_exit *exit)
{
    struct pool *pool = worker->pool;

    if (!is_to_blame(worker, exit))
        return;
    if (!worker->init_raised)
        keep_exception(pool, death_exception(exit));
    pool->init_failures++;
    /* Without an exception there is no memory; the next failure may have some. */
    if (pool->init_failures < INITIALIZER_TRIES || !pool->init_exception ||
        pool->idle_count + pool->busy_count > 0)
        return;
    log_error("the initializer keeps failing, the pool is broken",
              "pool=%s initializer=%s tries=%u", pool->name, pool->options.initializer,
              pool->init_failures);
    pool->broken = pool->broken_due = true;
    pool_stay_awake(pool);
}
