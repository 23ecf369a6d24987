/* SPDX-License-Identifier: MIT */
/*
 * dispatch_rig - a loop, a store whose answers come when a test lets them, a real pool, and
 * the jobs on their way through. For the tests of dispatch.
 *
 * The forkserver is the test's program once more, started with the argument "forkserver".
 */
#ifndef TESTS_UNIT_SERVER_DISPATCH_RIG_H
#define TESTS_UNIT_SERVER_DISPATCH_RIG_H

#include "server/dispatch.h"

#include "common/clock.h"
#include "common/mem.h"
#include "workers/forkserver.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_NS           (60 * NS_PER_SEC) /* a test that takes longer has failed */
#define PROCESSES          2
#define MAX_JOBS           20
#define MAX_WAITERS        8
#define JOB_TTL_MS         3600000
#define MAX_FINISHED_BYTES 4000
#define MAX_PROCESSES      6

struct rig {
    uv_loop_t loop;
    uv_timer_t tick; /* wakes the loop, so that conditions nobody tells about are seen */
    uv_async_t store_wake;
    uint64_t deadline_ns;
    struct store *store;
    struct dispatch *dispatch;
    char dir[64];                  /* of the database, "" for the store in memory */
    uint64_t window, window_bytes; /* of the queue; 0: large */
    bool holding;                  /* the store's answers wait */
    bool drained;                  /* on_drained has been called */
    bool stopped;
};

/* What a waiter was told. */
struct told {
    unsigned times;
    enum wake wake;
    enum status st;
};

/* ---- the rig ----------------------------------------------------------------------- */

static inline void on_wake(void *data)
{
    (void)uv_async_send(&((struct rig *)data)->store_wake);
}

static inline void on_fatal(void *data, const struct error_text *why)
{
    (void)data;
    fail_msg("%s", why->text);
}

static inline void on_store_wake(uv_async_t *async)
{
    struct rig *rig = async->data;

    if (rig->store && !rig->holding)
        store_drain(rig->store);
}

static inline void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static inline void on_drained(void *data)
{
    ((struct rig *)data)->drained = true;
}

static inline void on_stopped(void *data)
{
    ((struct rig *)data)->stopped = true;
}

static inline void turn(struct rig *rig)
{
    uv_run(&rig->loop, UV_RUN_ONCE);
    if (clock_mono_ns() > rig->deadline_ns)
        fail_msg("the condition has not come true");
}

#define WAIT(rig, condition)                                                             \
    do {                                                                                 \
        while (!(condition))                                                             \
            turn(rig);                                                                   \
    } while (0)

static inline void open_all(struct rig *rig)
{
    static const struct store_events store_events = { on_wake, on_fatal };
    static const struct dispatch_events events = { .on_drained = on_drained };
    struct dispatch_options options = {
        .max_queued_jobs = MAX_JOBS,
        .queue_window = rig->window ? rig->window : MAX_JOBS,
        .queue_window_bytes = rig->window_bytes ? rig->window_bytes : 1 << 20,
        .max_waiters = MAX_WAITERS,
        .job_ttl_ms = JOB_TTL_MS,
        .max_finished_jobs = MAX_JOBS,
        .max_finished_bytes = MAX_FINISHED_BYTES,
        .max_processes = MAX_PROCESSES,
        .max_result_bytes = 100000
    };
    const struct pool_spec pool = { .name = POOL_DEFAULT,
                                    .processes = PROCESSES,
                                    .initargs = "[]" };
    struct forkserver forkserver = { 0, -1, -1 };
    struct error_text err = { "" };

    rig->drained = rig->stopped = rig->holding = false;
    assert_int_equal(forkserver_start(&forkserver, -1, NULL, &err), ST_OK);
    assert_int_equal(
        rig->dir[0] ? store_open_sqlite(rig->dir, &store_events, rig, &rig->store, &err)
                    : store_open_memory(&store_events, rig, &rig->store, &err),
        ST_OK);
    assert_int_equal(
        dispatch_new(&rig->loop, rig->store, &options, &events, rig, &rig->dispatch),
        ST_OK);
    assert_int_equal(dispatch_add_pool(rig->dispatch, &forkserver, pool_spec_new(&pool)),
                     ST_OK);
    assert_int_equal(dispatch_start(rig->dispatch, &err), ST_OK);
}

static inline void close_all(struct rig *rig)
{
    rig->holding = false;
    if (!rig->stopped)
        dispatch_stop(rig->dispatch, true, on_stopped);
    WAIT(rig, rig->stopped);
    store_close(rig->store);
    rig->store = NULL;
    dispatch_free(rig->dispatch);
    rig->dispatch = NULL;
}

static inline struct rig *rig_new(const char *dir)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    (void)snprintf(rig->dir, sizeof(rig->dir), "%s", dir);
    rig->deadline_ns = clock_mono_ns() + LIMIT_NS;
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    uv_timer_init(&rig->loop, &rig->tick);
    uv_timer_start(&rig->tick, on_tick, 1, 1);
    uv_async_init(&rig->loop, &rig->store_wake, on_store_wake);
    rig->store_wake.data = rig;
    return rig;
}

static inline int set_up(void **state)
{
    *state = rig_new("");
    open_all(*state);
    return 0;
}

static inline int set_up_sqlite(void **state)
{
    char dir[] = "/tmp/poold-test-dispatch-XXXXXX";

    assert_non_null(mkdtemp(dir));
    *state = rig_new(dir);
    open_all(*state);
    return 0;
}

static inline int tear_down(void **state)
{
    struct rig *rig = *state;
    char command[128];

    close_all(rig);
    uv_close((uv_handle_t *)&rig->tick, NULL);
    uv_close((uv_handle_t *)&rig->store_wake, NULL);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0); /* no handle is left */
    if (rig->dir[0]) {
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", rig->dir);
        assert_int_equal(system(command), 0);
    }
    free(rig);
    return 0;
}

/* Lets the loop come to rest: everything that can happen without more answers of the
 * store has happened. */
static inline void some_turns(struct rig *rig)
{
    for (unsigned i = 0; i < 20; i++)
        turn(rig);
}

static inline void release(struct rig *rig)
{
    rig->holding = false;
    store_drain(rig->store);
}

/* ---- jobs -------------------------------------------------------------------------- */

static inline struct job_spec plan(struct rig *rig, const char *task,
                                   enum durability durability)
{
    int64_t now_ms = clock_wall_ms();

    return (struct job_spec){
        .id = dispatch_new_id(rig->dispatch, now_ms),
        .method = JOB_MAP,
        .durability = durability,
        .task = task,
        .pool = "default",
        .created_at_ms = now_ms,
        .result_ttl_ms = 86400000,
        .crash_retries = 0,
        .backoff = { .initial_ms = 1, .max_ms = 10, .factor = 1 },
    };
}

static inline struct job_spec *spec_of(struct job_spec from, const char *items)
{
    struct job_spec *spec;

    from.body = blob_new(items, strlen(items));
    assert_non_null(from.body);
    from.input = blob_text(from.body);
    from.index = slice_index_new(from.input);
    assert_non_null(from.index);
    from.item_count = from.index->count;
    spec = job_spec_new(&from);
    assert_non_null(spec);
    blob_unref(from.body);
    return spec;
}

static inline struct live *submit_as(struct rig *rig, struct job_spec from,
                                     const char *items)
{
    struct live *live = NULL;

    assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, items), &live), ST_OK);
    assert_non_null(live);
    return live;
}

static inline struct live *submit(struct rig *rig, const char *task, const char *items,
                                  enum durability durability)
{
    return submit_as(rig, plan(rig, task, durability), items);
}

static inline void on_told(void *data, enum wake wake, enum status st)
{
    struct told *told = data;

    told->times++;
    told->wake = wake;
    told->st = st;
}

static inline struct waiter *wait_for(struct live *live, enum wait_for what,
                                      struct told *told)
{
    struct waiter *waiter;

    memset(told, 0, sizeof(*told));
    waiter = dispatch_wait(live, what, -1, on_told, told);
    assert_non_null(waiter);
    return waiter;
}

/* Waits for the end. The job stays pinned, to be looked at; live_unpin gives it back. */
static inline enum job_state end_of(struct rig *rig, struct live *live)
{
    struct told told;

    live_pin(live);
    if (!job_state_final(live->job.status.state)) {
        wait_for(live, WAIT_READY, &told);
        WAIT(rig, told.times);
        assert_int_equal(told.wake, WAKE_READY);
    }
    return live->job.status.state;
}

static inline void assert_ends(struct rig *rig, struct live *live,
                               enum job_state expected)
{
    assert_int_equal(end_of(rig, live), expected);
}

/* All outcomes of the job, in order, separated by commas. */
static inline void assert_outcomes(const struct live *live, const char *expected)
{
    struct buf all = BUF_INIT;

    for (size_t i = 0; i < live->job.outcome_count; i++) {
        assert_true(live->job.outcomes[i].shown);
        if (i)
            buf_add_char(&all, ',');
        buf_add_text(&all, blob_text(live->job.outcomes[i].text));
    }
    assert_string_equal(all.data ? all.data : "", expected);
    buf_clear(&all);
}

static inline void assert_error(const struct live *live, const char *part)
{
    assert_non_null(live->job.status.error);
    if (!strstr(live->job.status.error->data, part))
        fail_msg("%s", live->job.status.error->data);
}

/* What the store says of a job. */
struct found {
    unsigned times;
    enum status st;
    enum job_state state;
    size_t outcome_count;
};

static inline void on_found(void *data, enum status st, struct stored_job *stored)
{
    struct found *found = data;

    found->times++;
    found->st = st;
    found->state = stored->status.state;
    found->outcome_count = stored->outcome_count;
    stored_job_clear(stored);
}

static inline struct found in_store(struct rig *rig, struct uuid id)
{
    struct found found = { 0 };

    store_get_job(rig->store, id, STORE_WITH_INPUT | STORE_WITH_OUTCOMES, on_found,
                  &found);
    WAIT(rig, found.times);
    return found;
}

/* Every worker is busy until the test ends. */
static inline void occupy_workers(struct rig *rig)
{
    struct lane *lane = dispatch_first_lane(rig->dispatch);

    for (unsigned i = 0; i < PROCESSES; i++)
        submit(rig, "sleep", "[30]", DURABILITY_MEMORY);
    WAIT(rig, pool_busy(lane->pool) == PROCESSES);
}

/* The worker that runs this item; 0 if it has not begun. The items before it need to be
 * slow enough (50 ms) for their results to be sent at once. */
static inline pid_t worker_on(const struct live *live, uint64_t item)
{
    struct worker_info infos[16];
    size_t count = pool_workers(live->lane->pool, infos, 16);

    for (size_t i = 0; i < count && live->job.status.completed == item; i++)
        if (infos[i].chunk && infos[i].chunk->owner == live && infos[i].item == item)
            return infos[i].pid;
    return 0;
}

#endif
