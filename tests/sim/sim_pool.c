/* SPDX-License-Identifier: MIT */
/*
 * Pools without processes: what workers/pool.h promises, at a time that chance decides.
 *
 * A worker has the chunks that it was given, the first of which it may have begun. What may
 * happen to it next: it is ready, begins, answers one or more items, fails one, dies, is
 * noticed to be over its time limit, or hangs and does nothing any more.
 */
#include "tests/sim/sim.h"

#include "common/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PIPELINE 3 /* chunks of one worker */

struct worker {
    struct pool *pool;
    struct worker *next;
    enum worker_state state;
    struct chunk *chunks[PIPELINE];
    unsigned count;
    bool begun;   /* the first of them */
    bool hangs;   /* in it */
    bool killed;  /* is dead, and that is not noticed yet */
    bool asked;   /* it was asked to end with the item that it is on */
    bool retires; /* when it has nothing to do */
    uint64_t begun_ns, chunks_done;
    pid_t pid;
};

struct pool {
    struct sim *sim;
    struct pool *next;
    struct pool_options options;
    const struct pool_events *events;
    void *data;
    struct worker *workers;
    uint64_t lost;
    bool started, stopping, stopped, broken, capacity;
    void (*on_stopped)(void *data);
};

const char *const exit_cause_names[EXIT_CAUSE_COUNT] = {
    "normal",     "exit",       "signal",   "cpu_limit",  "memory_limit",
    "time_limit", "terminated", "protocol", "forkserver",
};

static const struct worker_trace no_trace = { .pid = 1, .output = { "", 0 } };

/* ---- workers come and go ----------------------------------------------------------- */

/* Those that will go on. */
static unsigned staying(const struct pool *pool)
{
    unsigned count = 0;

    for (const struct worker *worker = pool->workers; worker; worker = worker->next)
        count += !worker->retires && !worker->killed;
    return count;
}

static void fill(struct pool *pool)
{
    while (pool->started && !pool->stopping && staying(pool) < pool->options.processes) {
        struct worker *worker = mem_zalloc(sizeof(*worker)), **end = &pool->workers;

        assert(worker);
        worker->pool = pool;
        worker->state = WORKER_STARTING;
        worker->pid = (pid_t)++pool->sim->pids;
        while (*end)
            end = &(*end)->next;
        *end = worker;
    }
}

/* The chunk is no longer with the worker. */
static void take(struct worker *worker, unsigned at)
{
    worker->chunks[at]->worker = NULL;
    memmove(&worker->chunks[at], &worker->chunks[at + 1],
            (worker->count - at - 1) * sizeof(worker->chunks[0]));
    worker->count--;
    if (at == 0)
        worker->begun = worker->hangs = worker->asked = false;
    if (!worker->count && worker->state == WORKER_BUSY) {
        worker->state = WORKER_IDLE;
        worker->pool->capacity = true;
    }
}

static void unlink_worker(struct worker *worker)
{
    struct worker **at = &worker->pool->workers;

    while (*at != worker)
        at = &(*at)->next;
    *at = worker->next;
}

/* Whose fault it is that the worker has ended, in the chunk that it had begun. */
static uint64_t guilty_of(struct sim *sim, const struct worker *worker,
                          const struct chunk *chunk, enum exit_cause cause)
{
    if (!worker->begun || cause == EXIT_NORMAL || (cause == EXIT_TERMINATED))
        return UINT64_MAX;
    return worker->hangs || cause == EXIT_TIME_LIMIT || cause == EXIT_FORKSERVER
               ? chunk->first
               : chunk->first + sim_below(sim, chunk->count);
}

static void end_worker(struct worker *worker, enum exit_cause cause)
{
    struct pool *pool = worker->pool;
    struct sim *sim = pool->sim;
    struct worker_exit exit = { .cause = cause, .code = 9, .trace = no_trace };
    struct chunk *lost = NULL, *returned[PIPELINE];
    unsigned returned_count = 0;
    uint64_t guilty = UINT64_MAX;

    sim_say(sim, "worker %d ends: %s", (int)worker->pid, exit_cause_names[cause]);
    if (worker->count && (worker->begun || sim_chance(sim, 30))) {
        lost = worker->chunks[0];
        guilty = guilty_of(sim, worker, lost, cause);
        take(worker, 0);
    }
    while (worker->count) {
        returned[returned_count++] = worker->chunks[0];
        take(worker, 0);
    }
    unlink_worker(worker);
    mem_free(worker);
    pool->lost += cause != EXIT_NORMAL;
    fill(pool);
    pool->events->on_exit(pool->data, cause);
    if (lost && guilty != UINT64_MAX && cause != EXIT_FORKSERVER)
        sim_check_charged(sim, lost->owner, guilty,
                          cause != EXIT_TIME_LIMIT && cause != EXIT_CPU_LIMIT &&
                              cause != EXIT_MEMORY_LIMIT);
    if (lost)
        pool->events->on_lost(pool->data, lost, guilty, &exit);
    for (unsigned i = 0; i < returned_count; i++)
        pool->events->on_returned(pool->data, returned[i]);
}

/* ---- pool.h ------------------------------------------------------------------------ */

enum status pool_new(uv_loop_t *loop, struct forkserver *forkserver,
                     const struct pool_options *options, const struct pool_events *events,
                     void *data, struct pool **ret_pool)
{
    struct pool *pool = mem_zalloc(sizeof(*pool));
    struct sim *sim = loop->data;

    assert(pool);
    *forkserver = (struct forkserver){ .pid = 0, .sock = -1, .pidfd = -1 };
    pool->sim = sim;
    pool->options = *options;
    pool->events = events;
    pool->data = data;
    pool->next = sim->pools;
    sim->pools = pool;
    *ret_pool = pool;
    return ST_OK;
}

void pool_start(struct pool *pool)
{
    pool->started = true;
    fill(pool);
}

void pool_stop(struct pool *pool, void (*on_stopped)(void *data))
{
    assert(!pool->stopping);
    pool->stopping = true;
    pool->on_stopped = on_stopped;
    for (struct worker *worker = pool->workers; worker; worker = worker->next)
        worker->retires = true;
}

void pool_change(struct pool *pool, const struct pool_options *options)
{
    assert(!pool->stopping);
    pool->options.processes = options->processes;
    pool->options.chunks_per_worker = options->chunks_per_worker;
    for (struct worker *worker = pool->workers;
         worker && staying(pool) > options->processes; worker = worker->next)
        worker->retires = true;
    fill(pool);
}

void pool_kill(struct pool *pool)
{
    assert(pool->stopping);
    for (struct worker *worker = pool->workers; worker; worker = worker->next)
        worker->killed = true;
}

void pool_free(struct pool *pool)
{
    struct pool **at = &pool->sim->pools;

    assert(pool->stopped && !pool->workers);
    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    mem_free(pool);
}

const struct pool_options *pool_options(const struct pool *pool)
{
    return &pool->options;
}

static bool takes_more(const struct worker *worker, uint64_t expected_ns)
{
    uint64_t all_ns = expected_ns;

    if (worker->killed || worker->retires || worker->asked || worker->count == PIPELINE)
        return false;
    if (worker->state == WORKER_IDLE)
        return true;
    for (unsigned i = 0; i < worker->count; i++) {
        if (!worker->chunks[i]->expected_ns)
            return false;
        all_ns += worker->chunks[i]->expected_ns;
    }
    return worker->state == WORKER_BUSY && expected_ns && all_ns <= PIPELINE_NS;
}

struct worker *pool_free_slot(struct pool *pool, uint64_t expected_ns)
{
    for (struct worker *worker = pool->workers; worker; worker = worker->next)
        if (worker->state == WORKER_IDLE && takes_more(worker, expected_ns))
            return worker;
    for (struct worker *worker = pool->workers; worker; worker = worker->next)
        if (takes_more(worker, expected_ns))
            return worker;
    return NULL;
}

void pool_send(struct pool *pool, struct worker *worker, struct chunk *chunk,
               const struct frame_chunk *content)
{
    struct sim *sim = pool->sim;
    struct live *live = chunk->owner;

    SIM_DEMAND(sim, content->first == chunk->first && content->count == chunk->count,
               "a chunk is not what its frame says");
    sim_say(sim, "job %d: items %d+%u to worker %d",
            (int)sim_number(sim_job_of(sim, live->id)), (int)chunk->first, chunk->count,
            (int)worker->pid);
    sim_check_handed_over(sim, live, chunk->first, chunk->count);
    chunk->worker = worker;
    chunk->id = ++worker->chunks_done;
    chunk->sent_ns = sim->mono_ns;
    worker->chunks[worker->count++] = chunk;
    worker->state = WORKER_BUSY;
    if (pool->options.chunks_per_worker &&
        worker->chunks_done >= pool->options.chunks_per_worker) {
        worker->retires = true;
        fill(pool);
    }
}

bool pool_reclaim(struct pool *pool, struct chunk *chunk)
{
    struct worker *worker = chunk->worker;
    unsigned at = 0;

    (void)pool;
    if (!worker || (worker->begun && worker->chunks[0] == chunk))
        return false;
    while (worker->chunks[at] != chunk)
        at++;
    take(worker, at);
    return true;
}

void pool_cancel_chunk(struct pool *pool, struct chunk *chunk, int64_t grace_ms)
{
    struct worker *worker = chunk->worker;

    assert(worker && worker->pool == pool && worker->chunks[0] == chunk);
    if (worker->killed || worker->asked)
        return;
    if (grace_ms && !worker->hangs && sim_chance(pool->sim, 50))
        worker->asked = true;
    else
        worker->killed = true;
}

unsigned pool_processes(const struct pool *pool)
{
    return pool->options.processes;
}

static unsigned count_state(const struct pool *pool, enum worker_state state)
{
    unsigned count = 0;

    for (const struct worker *worker = pool->workers; worker; worker = worker->next)
        count += worker->state == state;
    return count;
}

unsigned pool_busy(const struct pool *pool)
{
    return count_state(pool, WORKER_BUSY);
}

unsigned pool_idle(const struct pool *pool)
{
    return count_state(pool, WORKER_IDLE);
}

pid_t pool_forkserver_pid(const struct pool *pool)
{
    (void)pool;
    return 1;
}

uint64_t pool_items(const struct pool *pool)
{
    uint64_t items = 0;

    for (const struct worker *worker = pool->workers; worker; worker = worker->next)
        for (unsigned i = 0; i < worker->count; i++)
            items += worker->chunks[i]->count;
    return items;
}

uint64_t pool_lost_count(const struct pool *pool)
{
    return pool->lost;
}

/* ---- what happens to workers ------------------------------------------------------- */

static uint64_t some_run_ns(struct sim *sim)
{
    static const uint64_t times[] = { 20000, 100000, 2000000, 30000000 };

    return times[sim_below(sim, 4)];
}

static void tell_result(struct worker *worker, struct chunk *chunk, uint64_t first,
                        uint32_t count, bool last)
{
    struct pool *pool = worker->pool;
    char text[SIM_ITEMS * 24] = "";
    size_t len = 0;
    struct frame_result result = { .first = first, .count = count };

    for (uint32_t i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%llu", i ? "," : "",
                                (unsigned long long)++pool->sim->results);
    result.run_ns = count * some_run_ns(pool->sim);
    result.results = (struct text){ text, len };
    pool->events->on_result(pool->data, chunk, &result, &no_trace, last);
}

/* The next items of the first chunk have results. */
static void succeed(struct worker *worker, uint32_t count)
{
    struct sim *sim = worker->pool->sim;
    struct chunk *chunk = worker->chunks[0];
    uint64_t first = chunk->first;
    bool last = count == chunk->count, twice = sim_plant_due(sim, PLANT_TWO_OUTCOMES);

    sim_say(sim, "worker %d: results of items %d+%u%s", (int)worker->pid, (int)first,
            count, last ? ", the last" : "");
    if (sim_plant_due(sim, PLANT_NO_OUTCOME)) {
        worker->hangs = true; /* for ever */
        return;
    }
    chunk->first += count;
    chunk->count -= count;
    if (twice && !last)
        tell_result(worker, chunk, first, count, false);
    if (twice && last)
        sim->planted = false; /* it is not possible here */
    if (last)
        take(worker, 0);
    tell_result(worker, chunk, first, count, last);
}

static void fail_item(struct worker *worker)
{
    struct sim *sim = worker->pool->sim;
    struct chunk *chunk = worker->chunks[0];
    struct frame_failure failure = {
        .item = chunk->first,
        .kind = FAILURE_TASK,
        .run_ns = some_run_ns(sim),
        .exception = TEXT("{\"type\":\"E\",\"message\":\"m\",\"traceback\":\"t\"}"),
    };
    bool last = chunk->count == 1;

    sim_say(sim, "worker %d: item %d raises%s", (int)worker->pid, (int)chunk->first,
            last ? ", the last" : "");
    sim_check_charged(sim, chunk->owner, chunk->first, false);
    chunk->first++;
    chunk->count--;
    if (last)
        take(worker, 0);
    worker->pool->events->on_failure(worker->pool->data, chunk, &failure, &no_trace,
                                     last);
}

/* Everything that one read has found. The pool may be stopped by it, but not freed. */
static void answer(struct worker *worker)
{
    struct pool *pool = worker->pool;
    struct sim *sim = pool->sim;

    do {
        const struct live *live = worker->chunks[0]->owner;
        bool bad = sim_job_of(sim, live->id)->bad;

        if (worker->asked || sim_chance(sim, bad ? 10 : 60)) {
            uint32_t count = worker->asked ? 1 : worker->chunks[0]->count;

            succeed(worker, 1 + (uint32_t)sim_below(sim, count));
            worker->killed =
                worker->killed || worker->asked; /* it begins no other item */
        } else if (sim_chance(sim, bad ? 90 : sim->quiet ? 0 : 25)) {
            fail_item(worker);
        } else {
            struct frame_progress progress = { .item = worker->chunks[0]->first,
                                               .current = 1 };

            pool->events->on_progress(pool->data, worker->chunks[0], &progress);
        }
        if (worker->count && !worker->begun && !worker->killed && sim_chance(sim, 50))
            worker->begun = true;
    } while (worker->count && worker->begun && !worker->asked && !worker->hangs &&
             !worker->killed && sim_chance(sim, 40));
    pool->events->on_read(pool->data);
    pool->capacity = true;
}

/* What was on its way when it was killed. */
static void tell_late(struct worker *worker)
{
    struct pool *pool = worker->pool;

    succeed(worker, worker->chunks[0]->count);
    pool->events->on_read(pool->data);
}

static enum exit_cause some_cause(struct sim *sim)
{
    static const enum exit_cause causes[] = { EXIT_CODE, EXIT_SIGNAL, EXIT_CPU_LIMIT,
                                              EXIT_MEMORY_LIMIT, EXIT_PROTOCOL };

    return causes[sim_below(sim, 5)];
}

static void step_busy(struct worker *worker)
{
    struct sim *sim = worker->pool->sim;
    const struct chunk *chunk = worker->chunks[0];
    bool limited = chunk->time_limit_ms > 0;

    if (!worker->begun) {
        sim_say(sim, "worker %d begins", (int)worker->pid);
        worker->begun = true;
        worker->begun_ns = sim->mono_ns;
    } else if (limited && sim->mono_ns > worker->begun_ns +
                                             (uint64_t)chunk->time_limit_ms * NS_PER_MS) {
        end_worker(worker, EXIT_TIME_LIMIT);
    } else if (worker->hangs) {
        if (limited)
            sim_advance(sim, NS_PER_MS * (uint64_t)chunk->time_limit_ms);
        worker->hangs = !sim->quiet || sim->planted;
    } else if (!sim->quiet && sim_chance(sim, 3)) {
        sim_say(sim, "worker %d hangs", (int)worker->pid);
        worker->hangs = true;
    } else {
        answer(worker);
    }
}

static void step_worker(struct worker *worker)
{
    struct sim *sim = worker->pool->sim;

    if (worker->killed) {
        if (worker->begun && !worker->hangs && sim_chance(sim, 20))
            tell_late(worker);
        else
            end_worker(worker, EXIT_TERMINATED);
    } else if (worker->asked && sim_chance(sim, 50)) {
        end_worker(worker, EXIT_TERMINATED);
    } else if (!sim->quiet && sim_chance(sim, 8)) {
        end_worker(worker, some_cause(sim));
    } else if (worker->count) {
        step_busy(worker);
    } else if (worker->retires) {
        end_worker(worker, EXIT_NORMAL);
    } else if (worker->state == WORKER_STARTING) {
        sim_say(sim, "worker %d is ready", (int)worker->pid);
        worker->state = WORKER_IDLE;
        worker->pool->capacity = true;
    }
}

static bool has_something(const struct worker *worker)
{
    return worker->count || worker->killed || worker->retires ||
           worker->state == WORKER_STARTING;
}

bool sim_pool_step(struct sim *sim)
{
    unsigned count = 0;
    uint64_t which;

    for (struct pool *pool = sim->pools; pool; pool = pool->next)
        for (struct worker *worker = pool->workers; worker; worker = worker->next)
            count += has_something(worker);
    if (!count)
        return false;
    which = sim_below(sim, count);
    for (struct pool *pool = sim->pools; pool; pool = pool->next)
        for (struct worker *worker = pool->workers; worker; worker = worker->next)
            if (has_something(worker) && which-- == 0) {
                step_worker(worker);
                return true;
            }
    return false;
}

void sim_pool_disaster(struct sim *sim)
{
    struct pool *pool = sim->pools;

    for (uint64_t n = sim_below(sim, SIM_POOLS); n && pool && pool->next; n--)
        pool = pool->next;
    if (!pool)
        return;
    if (pool->options.initializer && pool->started && !pool->broken && !pool->stopping) {
        sim_say(sim, "the initializer of %s fails for good", pool->options.name);
        pool->broken = true;
        pool->events->on_broken(
            pool->data, TEXT("{\"type\":\"E\",\"message\":\"m\",\"traceback\":\"t\"}"));
        return;
    }
    sim_say(sim, "the forkserver of %s dies", pool->options.name);
    for (unsigned i = count_state(pool, WORKER_BUSY) + count_state(pool, WORKER_IDLE);
         i && pool->workers; i--)
        end_worker(pool->workers, EXIT_FORKSERVER);
}

void sim_pool_kill_all(struct sim *sim)
{
    for (struct pool *pool = sim->pools; pool; pool = pool->next)
        while (pool->workers)
            end_worker(pool->workers, EXIT_TERMINATED);
}

/* Pools may come and go with each call. */
static struct pool *due_pool(const struct sim *sim)
{
    for (struct pool *pool = sim->pools; pool; pool = pool->next)
        if (pool->capacity || (pool->on_stopped && !pool->workers))
            return pool;
    return NULL;
}

void sim_pool_turn(struct sim *sim)
{
    struct pool *pool;

    while ((pool = due_pool(sim))) {
        if (pool->capacity) {
            pool->capacity = false;
            pool->events->on_capacity(pool->data);
        } else {
            void (*on_stopped)(void *data) = pool->on_stopped;

            pool->stopped = true;
            pool->on_stopped = NULL;
            on_stopped(pool->data);
        }
    }
}
