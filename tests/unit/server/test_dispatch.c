/* SPDX-License-Identifier: MIT */
/*
 * Jobs from submission to end, with a real pool and the store in memory. The store's
 * answers come when a test lets them: that is how "commit, then tell" is seen.
 *
 * The forkserver is this program once more, started with the argument "forkserver".
 */
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

#define LIMIT_NS    (60 * NS_PER_SEC) /* a test that takes longer has failed */
#define PROCESSES   2
#define MAX_JOBS    20
#define MAX_WAITERS 8

struct rig {
    uv_loop_t loop;
    uv_timer_t tick; /* wakes the loop, so that conditions nobody tells about are seen */
    uv_async_t store_wake;
    uint64_t deadline_ns;
    struct store *store;
    struct dispatch *dispatch;
    char dir[64]; /* of the database, "" for the store in memory */
    bool holding; /* the store's answers wait */
    bool drained; /* on_drained has been called */
    bool stopped;
};

/* What a waiter was told. */
struct told {
    unsigned times;
    enum wake wake;
    enum status st;
};

/* ---- the rig ----------------------------------------------------------------------- */

static void on_wake(void *data)
{
    (void)uv_async_send(&((struct rig *)data)->store_wake);
}

static void on_fatal(void *data, const struct error_text *why)
{
    (void)data;
    fail_msg("%s", why->text);
}

static void on_store_wake(uv_async_t *async)
{
    struct rig *rig = async->data;

    if (rig->store && !rig->holding)
        store_drain(rig->store);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_drained(void *data)
{
    ((struct rig *)data)->drained = true;
}

static void on_stopped(void *data)
{
    ((struct rig *)data)->stopped = true;
}

static void turn(struct rig *rig)
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

static void open_all(struct rig *rig)
{
    static const struct store_events store_events = { on_wake, on_fatal };
    static const struct dispatch_events events = { on_drained };
    struct dispatch_options options = { MAX_JOBS, MAX_WAITERS };
    struct pool_options pool = { .name = "default",
                                 .processes = PROCESSES,
                                 .worker = { .result_max = 100000 },
                                 .result_frame_max = 1u << 20 };
    struct forkserver forkserver = { 0, -1, -1 };
    struct error_text err = { "" };

    rig->drained = rig->stopped = rig->holding = false;
    assert_int_equal(forkserver_start(&forkserver, &err), ST_OK);
    assert_int_equal(
        rig->dir[0] ? store_open_sqlite(rig->dir, &store_events, rig, &rig->store, &err)
                    : store_open_memory(&store_events, rig, &rig->store, &err),
        ST_OK);
    assert_int_equal(
        dispatch_new(&rig->loop, rig->store, &options, &events, rig, &rig->dispatch),
        ST_OK);
    assert_int_equal(dispatch_add_pool(rig->dispatch, &forkserver, &pool), ST_OK);
    assert_int_equal(dispatch_start(rig->dispatch, &err), ST_OK);
}

static void close_all(struct rig *rig)
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

static struct rig *rig_new(const char *dir)
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

static int set_up(void **state)
{
    *state = rig_new("");
    open_all(*state);
    return 0;
}

static int set_up_sqlite(void **state)
{
    char dir[] = "/tmp/poold-test-dispatch-XXXXXX";

    assert_non_null(mkdtemp(dir));
    *state = rig_new(dir);
    open_all(*state);
    return 0;
}

static int tear_down(void **state)
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
static void some_turns(struct rig *rig)
{
    for (unsigned i = 0; i < 20; i++)
        turn(rig);
}

static void release(struct rig *rig)
{
    rig->holding = false;
    store_drain(rig->store);
}

/* ---- jobs -------------------------------------------------------------------------- */

static struct job_spec plan(struct rig *rig, const char *task, enum durability durability)
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

static struct job_spec *spec_of(struct job_spec from, const char *items)
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

static struct live *submit_as(struct rig *rig, struct job_spec from, const char *items)
{
    struct live *live = NULL;

    assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, items), &live), ST_OK);
    assert_non_null(live);
    return live;
}

static struct live *submit(struct rig *rig, const char *task, const char *items,
                           enum durability durability)
{
    return submit_as(rig, plan(rig, task, durability), items);
}

static void on_told(void *data, enum wake wake, enum status st)
{
    struct told *told = data;

    told->times++;
    told->wake = wake;
    told->st = st;
}

static struct waiter *wait_for(struct live *live, enum wait_for what, struct told *told)
{
    struct waiter *waiter;

    memset(told, 0, sizeof(*told));
    waiter = dispatch_wait(live, what, -1, on_told, told);
    assert_non_null(waiter);
    return waiter;
}

/* Waits for the end. The job stays pinned, to be looked at; live_unpin gives it back. */
static enum job_state end_of(struct rig *rig, struct live *live)
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

static void assert_ends(struct rig *rig, struct live *live, enum job_state expected)
{
    assert_int_equal(end_of(rig, live), expected);
}

/* All outcomes of the job, in order, separated by commas. */
static void assert_outcomes(const struct live *live, const char *expected)
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

static void assert_error(const struct live *live, const char *part)
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

static void on_found(void *data, enum status st, struct stored_job *stored)
{
    struct found *found = data;

    found->times++;
    found->st = st;
    found->state = stored->status.state;
    found->outcome_count = stored->outcome_count;
    stored_job_clear(stored);
}

static struct found in_store(struct rig *rig, struct uuid id)
{
    struct found found = { 0 };

    store_get_job(rig->store, id, true, on_found, &found);
    WAIT(rig, found.times);
    return found;
}

/* Every worker is busy until the test ends. */
static void occupy_workers(struct rig *rig)
{
    struct lane *lane = dispatch_first_lane(rig->dispatch);

    for (unsigned i = 0; i < PROCESSES; i++)
        submit(rig, "sleep", "[30]", DURABILITY_MEMORY);
    WAIT(rig, pool_busy(lane->pool) == PROCESSES);
}

/* The worker that runs this item; 0 if it has not begun. The items before it need to be
 * slow enough (50 ms) for their results to be sent at once. */
static pid_t worker_on(const struct live *live, uint64_t item)
{
    struct worker_info infos[16];
    size_t count = pool_workers(live->lane->pool, infos, 16);

    for (size_t i = 0; i < count && live->job.status.completed == item; i++)
        if (infos[i].chunk && infos[i].chunk->owner == live && infos[i].item == item)
            return infos[i].pid;
    return 0;
}

/* ---- commit, then tell ------------------------------------------------------------- */

static void durable_job_is_accepted_only_after_its_commit(void **state)
{
    struct rig *rig = *state;
    struct told told;
    struct live *live;
    struct uuid id;

    rig->holding = true;
    live = submit(rig, "square", "[3]", DURABILITY_DURABLE);
    id = live->job.spec->id;
    wait_for(live, WAIT_ACCEPTED, &told);
    some_turns(rig);
    assert_int_equal(told.times, 0);
    assert_null(dispatch_find(rig->dispatch, id));
    assert_null(dispatch_newest(rig->dispatch));
    assert_int_equal(live->job.status.state, JOB_QUEUED);
    assert_int_equal(live->job.in_flight, 0); /* nor does it run */
    release(rig);
    assert_int_equal(told.times, 1);
    assert_int_equal(told.wake, WAKE_ACCEPTED);
    assert_ptr_equal(dispatch_find(rig->dispatch, id), live);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_outcomes(live, "9");
    live_unpin(live);
}

static void durable_job_is_shown_as_ended_only_after_that_commit(void **state)
{
    struct rig *rig = *state;
    struct live *live = submit(rig, "square", "[3]", DURABILITY_DURABLE);
    struct uuid id = live->job.spec->id;
    struct told ready, more;

    WAIT(rig, live->accepted);
    rig->holding = true;
    wait_for(live, WAIT_READY, &ready);
    wait_for(live, WAIT_OUTCOMES, &more);
    live_pin(live);
    WAIT(rig, live->ending);
    some_turns(rig);
    assert_int_equal(ready.times + more.times, 0);
    assert_int_equal(live->job.status.state, JOB_RUNNING);
    assert_false(live->job.outcomes[0].shown);
    assert_int_equal(live->arrival_count, 0);
    assert_int_equal(dispatch_cancel(live, true), ST_EXISTS);
    release(rig);
    assert_int_equal(more.times, 1);
    assert_int_equal(ready.times, 1);
    assert_int_equal(live->job.status.state, JOB_SUCCEEDED);
    assert_outcomes(live, "9");
    assert_null(dispatch_find(rig->dispatch, id)); /* the store has it from here on */
    assert_int_equal(in_store(rig, id).state, JOB_SUCCEEDED);
    live_unpin(live);
}

static void relaxed_job_is_over_before_it_is_stored(void **state)
{
    struct rig *rig = *state;
    struct live *live;
    struct uuid id;

    rig->holding = true;
    live = submit(rig, "square", "[3,4]", DURABILITY_RELAXED);
    id = live->job.spec->id;
    assert_ptr_equal(dispatch_find(rig->dispatch, id), live);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_outcomes(live, "9,16");
    assert_ptr_equal(dispatch_find(rig->dispatch, id), live);
    release(rig);
    assert_null(dispatch_find(rig->dispatch, id));
    assert_int_equal(in_store(rig, id).outcome_count, live->job.outcome_count);
    live_unpin(live);
}

static void relaxed_job_that_takes_long_is_stored_meanwhile(void **state)
{
    struct rig *rig = *state;
    struct live *live = submit(rig, "sleep", "[30]", DURABILITY_RELAXED);
    struct uuid id = live->job.spec->id;

    assert_false(live->in_store);
    WAIT(rig, live->in_store); /* by itself, after RELAXED_STORE_MS */
    assert_int_equal(in_store(rig, id).st, ST_OK);
    assert_false(job_state_final(live->job.status.state));
}

static void recorded_job_is_stored_with_what_it_has(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_RELAXED);
    struct live *live;

    from.chunksize = 1;
    live = submit_as(rig, from, "[0,0,30]");
    WAIT(rig, live->job.status.completed == 2);
    dispatch_record(live);
    assert_true(live->in_store);
    assert_int_equal(in_store(rig, live->job.spec->id).outcome_count, 2);
    dispatch_record(live); /* once is enough */
    assert_int_equal(in_store(rig, live->job.spec->id).outcome_count, 2);
}

static void memory_job_is_kept_and_never_stored(void **state)
{
    struct rig *rig = *state;
    struct live *live = submit(rig, "square", "[3]", DURABILITY_MEMORY);
    struct uuid id = live->job.spec->id;

    assert_ends(rig, live, JOB_SUCCEEDED);
    some_turns(rig);
    assert_ptr_equal(dispatch_find(rig->dispatch, id), live);
    assert_int_equal(in_store(rig, id).st, ST_NOT_FOUND);
    assert_int_equal(dispatch_jobs(rig->dispatch), 0);
    dispatch_forget(live);
    assert_null(dispatch_find(rig->dispatch, id));
    live_unpin(live);
}

static void refused_job_does_not_exist(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_DURABLE);
    struct live *first, *second;
    struct told told;
    struct uuid id;

    from.idempotency_key = "k";
    from.request_hash = 7;
    first = submit_as(rig, from, "[3]");
    id = first->job.spec->id;
    assert_ends(rig, first, JOB_SUCCEEDED);
    live_unpin(first);
    from.id = dispatch_new_id(rig->dispatch, clock_wall_ms());
    second = submit_as(rig, from, "[3]");
    wait_for(second, WAIT_READY, &told);
    WAIT(rig, told.times);
    assert_int_equal(told.wake, WAKE_REFUSED);
    assert_int_equal(told.st, ST_EXISTS);
    assert_true(uuid_equal(dispatch_existing(rig->dispatch)->id, id));
    assert_int_equal(dispatch_existing(rig->dispatch)->request_hash, 7);
    assert_null(dispatch_find(rig->dispatch, from.id));
    assert_int_equal(dispatch_jobs(rig->dispatch), 0);
}

/* ---- items ------------------------------------------------------------------------- */

static void results_are_in_the_order_of_the_items(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_RELAXED);
    struct live *live;

    from.chunksize = 2;
    live = submit_as(rig, from, "[1,2,3,4,5,6,7]");
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_outcomes(live, "1,4,9,16,25,36,49");
    assert_int_equal(live->arrival_count, live->job.outcome_count);
    assert_int_equal(live->job.status.attempt, 1);
    assert_int_equal(dispatch_first_lane(rig->dispatch)->items_total, 7);
    assert_int_equal(dispatch_first_lane(rig->dispatch)->jobs_total, 1);
    live_unpin(live);
}

static void empty_map_is_over_when_it_is_submitted(void **state)
{
    struct rig *rig = *state;
    struct live *live = submit(rig, "square", "[]", DURABILITY_RELAXED);

    assert_int_equal(live->job.status.state, JOB_SUCCEEDED);
    live = submit(rig, "square", "[]", DURABILITY_MEMORY);
    assert_int_equal(live->job.status.state, JOB_SUCCEEDED);
    live = submit(rig, "square", "[]", DURABILITY_DURABLE);
    assert_int_equal(live->job.status.state, JOB_QUEUED);
    assert_ends(rig, live, JOB_SUCCEEDED);
    live_unpin(live);
}

static void lowest_failed_item_fails_the_job_and_the_others_run(void **state)
{
    struct rig *rig = *state;
    struct live *live = submit(rig, "safe_square", "[1,-2,3,-4]", DURABILITY_DURABLE);

    assert_ends(rig, live, JOB_FAILED);
    assert_int_equal(live->job.status.completed, 2);
    assert_int_equal(live->job.status.failed, 2);
    assert_error(live, "/problems/task-error");
    assert_error(live, "\"item\":1,\"attempt\":1");
    assert_error(live, "ValueError: Negative input not allowed");
    live_unpin(live);
}

static void failed_item_is_tried_again_as_often_as_wanted(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "safe_square", DURABILITY_RELAXED);
    struct live *live;

    from.retries = 2;
    live = submit_as(rig, from, "[5,-1]");
    assert_ends(rig, live, JOB_FAILED);
    assert_int_equal(live->job.status.attempt, 3);
    assert_int_equal(live->job.status.completed, 1);
    assert_error(live, "\"item\":1,\"attempt\":3");
    live_unpin(live);
}

static void job_that_is_to_stop_starts_nothing_after_an_error(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "safe_square", DURABILITY_RELAXED);
    struct live *live;

    occupy_workers(rig); /* so that all chunks are handed out one by one to the last */
    from.stop_on_error = true;
    from.chunksize = 1;
    from.priority = 1;
    live = submit_as(rig, from, "[-1,2,3,4,5,6,7,8,9]");
    assert_int_equal(
        dispatch_cancel(dispatch_older(dispatch_newest(rig->dispatch)), true), ST_OK);
    assert_ends(rig, live, JOB_FAILED);
    assert_true(live->job.status.completed < 8);
    assert_error(live, "\"item\":0,");
    live_unpin(live);
}

static void killed_worker_costs_its_item_an_attempt(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_RELAXED);
    struct live *live;
    pid_t pid;

    from.crash_retries = 1;
    from.chunksize = 2;
    live = submit_as(rig, from, "[0.05,0.3]");
    WAIT(rig, (pid = worker_on(live, 1)) > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_int_equal(live->job.status.attempt, 2);
    live_unpin(live);
}

static void item_whose_worker_dies_too_often_is_lost(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_RELAXED);
    struct live *live;
    pid_t pid;

    from.chunksize = 3;
    live = submit_as(rig, from, "[0.05,30,0]");
    WAIT(rig, (pid = worker_on(live, 1)) > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_ends(rig, live, JOB_FAILED);
    assert_int_equal(live->job.status.completed, 2); /* its neighbours were run again */
    assert_error(live, "/problems/worker-lost");
    assert_error(live, "\"signal\":\"SIGKILL\"");
    live_unpin(live);
    WAIT(rig, pool_idle(dispatch_first_lane(rig->dispatch)->pool) == PROCESSES);
}

static void item_over_its_time_limit_fails(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_RELAXED);
    struct live *live;

    from.time_limit_ms = 50;
    from.crash_retries = 5; /* is not what a time limit is paid from */
    live = submit_as(rig, from, "[30,0]");
    assert_ends(rig, live, JOB_FAILED);
    assert_int_equal(live->job.status.completed, 1);
    assert_error(live, "/problems/time-limit");
    assert_error(live, "\"attempt\":1");
    live_unpin(live);
}

/* ---- cancelling -------------------------------------------------------------------- */

static void queued_job_is_cancelled_at_once(void **state)
{
    struct rig *rig = *state;
    struct live *live;

    occupy_workers(rig);
    live = submit(rig, "square", "[3]", DURABILITY_MEMORY);
    assert_int_equal(live->lane->queue.count, 1);
    assert_int_equal(dispatch_cancel(live, false), ST_OK);
    assert_int_equal(live->job.status.state, JOB_CANCELLED);
    assert_int_equal(live->lane->queue.count, 0);
    assert_int_equal(dispatch_cancel(live, true), ST_EXISTS);
}

static void running_job_is_cancelled_only_by_force(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = dispatch_first_lane(rig->dispatch);
    struct job_spec from = plan(rig, "sleep", DURABILITY_DURABLE);
    struct live *live;
    struct told told;

    from.chunksize = 2;
    live = submit_as(rig, from, "[0.05,30,30]");
    WAIT(rig, worker_on(live, 1) > 0);
    assert_int_equal(dispatch_cancel(live, false), ST_STATE);
    wait_for(live, WAIT_READY, &told);
    assert_int_equal(dispatch_cancel(live, true), ST_OK);
    assert_int_equal(told.times, 0);
    assert_false(live->ending); /* its workers are not dead yet */
    assert_int_equal(dispatch_cancel(live, true), ST_OK);
    assert_ends(rig, live, JOB_CANCELLED);
    assert_int_equal(live->job.status.failed, 0); /* nobody is to blame */
    assert_null(live->job.status.error);
    live_unpin(live);
    WAIT(rig, pool_idle(lane->pool) == PROCESSES);
}

static void scheduled_job_can_be_cancelled(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_RELAXED);
    struct live *live;

    from.start_at_ms = from.created_at_ms + 3600000;
    live = submit_as(rig, from, "[3]");
    assert_int_equal(live->job.status.state, JOB_SCHEDULED);
    assert_int_equal(dispatch_cancel(live, false), ST_OK);
    assert_ends(rig, live, JOB_CANCELLED);
    live_unpin(live);
}

static void job_cancelled_before_its_commit_ends_after_it(void **state)
{
    struct rig *rig = *state;
    struct live *live;

    rig->holding = true;
    live = submit(rig, "square", "[3]", DURABILITY_DURABLE);
    assert_int_equal(dispatch_cancel(live, false), ST_OK);
    some_turns(rig);
    assert_int_equal(live->job.status.state, JOB_QUEUED);
    release(rig);
    assert_ends(rig, live, JOB_CANCELLED);
    assert_int_equal(live->job.outcome_count, 0);
    live_unpin(live);
}

/* ---- times ------------------------------------------------------------------------- */

static void delayed_job_does_not_start_before_its_time(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_DURABLE);
    struct live *live;

    from.start_at_ms = from.created_at_ms + 30;
    live = submit_as(rig, from, "[3]");
    assert_int_equal(live->job.status.state, JOB_SCHEDULED);
    assert_int_equal(live->lane->queue.count, 0);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_true(live->job.status.started_at_ms >= from.start_at_ms);
    live_unpin(live);
}

static void job_that_cannot_start_in_time_expires(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_DURABLE);
    struct live *live;

    occupy_workers(rig);
    from.expires_at_ms = clock_wall_ms() + 5;
    live = submit_as(rig, from, "[3]");
    assert_ends(rig, live, JOB_EXPIRED);
    assert_int_equal(live->lane->queue.count, 0);
    assert_int_equal(in_store(rig, live->job.spec->id).state, JOB_EXPIRED);
    live_unpin(live);
}

static void scheduled_job_may_expire_first(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_RELAXED);
    struct live *live;

    from.start_at_ms = from.created_at_ms + 3600000;
    from.expires_at_ms = from.created_at_ms + 5;
    live = submit_as(rig, from, "[3]");
    assert_ends(rig, live, JOB_EXPIRED);
    live_unpin(live);
}

static void job_that_has_started_does_not_expire(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_RELAXED);
    struct live *live;

    WAIT(rig, pool_idle(dispatch_first_lane(rig->dispatch)->pool) == PROCESSES);
    from.expires_at_ms = clock_wall_ms() + 100;
    live = submit_as(rig, from, "[0.2]");
    assert_int_equal(live->job.status.state, JOB_RUNNING);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_true(live->job.status.finished_at_ms > from.expires_at_ms);
    live_unpin(live);
}

/* ---- limits and listing ------------------------------------------------------------ */

static void what_cannot_be_submitted_leaves_nothing(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_MEMORY);
    struct live *live = NULL;

    from.pool = "nope";
    assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, "[1]"), &live),
                     ST_NOT_FOUND);
    for (unsigned i = 0; i < MAX_JOBS; i++)
        submit(rig, "sleep", "[30]", DURABILITY_MEMORY);
    from = plan(rig, "square", DURABILITY_MEMORY);
    assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, "[1]"), &live),
                     ST_LIMIT);
    assert_null(live);
    assert_int_equal(dispatch_jobs(rig->dispatch), MAX_JOBS);
    assert_int_equal(dispatch_cancel(dispatch_newest(rig->dispatch), false), ST_OK);
    assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, "[1]"), &live), ST_OK);
}

static void waiters_are_limited_and_counted(void **state)
{
    struct rig *rig = *state;
    struct live *live;
    struct told told[MAX_WAITERS];

    live = submit(rig, "sleep", "[30]", DURABILITY_MEMORY);
    for (unsigned i = 0; i < MAX_WAITERS; i++)
        wait_for(live, WAIT_READY, &told[i]);
    assert_int_equal(dispatch_waiters(rig->dispatch), MAX_WAITERS);
    assert_null(dispatch_wait(live, WAIT_READY, -1, on_told, &told[0]));
    dispatch_wake_all(rig->dispatch);
    assert_int_equal(dispatch_waiters(rig->dispatch), 0);
    for (unsigned i = 0; i < MAX_WAITERS; i++)
        assert_int_equal(told[i].wake, WAKE_SHUTDOWN);
}

static void listing_goes_from_the_newest_and_skips_what_is_not_accepted(void **state)
{
    struct rig *rig = *state;
    struct live *a, *b;

    rig->holding = true;
    (void)submit(rig, "sleep", "[30]", DURABILITY_DURABLE);
    a = submit(rig, "sleep", "[30]", DURABILITY_MEMORY);
    (void)submit(rig, "sleep", "[30]", DURABILITY_DURABLE);
    b = submit(rig, "sleep", "[30]", DURABILITY_RELAXED);
    (void)submit(rig, "sleep", "[30]", DURABILITY_DURABLE);
    assert_ptr_equal(dispatch_newest(rig->dispatch), b);
    assert_ptr_equal(dispatch_older(b), a);
    assert_null(dispatch_older(a));
    assert_int_equal(dispatch_jobs(rig->dispatch), 5);
}

/* ---- stopping and starting again --------------------------------------------------- */

static void drained_server_finishes_what_has_begun_and_takes_nothing(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_MEMORY);
    struct live *longer, *shorter, *waiting, *live = NULL;
    pid_t pid;

    from.chunksize = 2;
    longer = submit_as(rig, from, "[0.05,30]");
    WAIT(rig, (pid = worker_on(longer, 1)) > 0);
    from.id = dispatch_new_id(rig->dispatch, from.created_at_ms);
    shorter = submit_as(rig, from, "[0.05,0.3]");
    WAIT(rig, worker_on(shorter, 1) > 0);
    waiting = submit(rig, "square", "[1,2,3]", DURABILITY_RELAXED);
    dispatch_drain(rig->dispatch);
    assert_true(dispatch_draining(rig->dispatch));
    assert_true(waiting->in_store); /* for the next start */
    from = plan(rig, "square", DURABILITY_MEMORY);
    assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, "[1]"), &live),
                     ST_STATE);
    WAIT(rig, shorter->job.status.state == JOB_SUCCEEDED);
    assert_false(rig->drained);
    assert_int_equal(kill(pid, SIGKILL), 0);
    WAIT(rig, rig->drained);
    assert_int_equal(longer->job.status.state, JOB_FAILED);
    assert_int_equal(waiting->job.status.state, JOB_QUEUED);
    assert_int_equal(job_todo(&waiting->job), 3);
    assert_int_equal(longer->lane->in_flight, 0);
}

static void idle_server_is_drained_at_once(void **state)
{
    struct rig *rig = *state;

    dispatch_drain(rig->dispatch);
    assert_true(rig->drained);
}

static void stopped_server_wakes_who_still_waits(void **state)
{
    struct rig *rig = *state;
    struct live *live = submit(rig, "sleep", "[30]", DURABILITY_MEMORY);
    struct told told;

    wait_for(live, WAIT_READY, &told);
    WAIT(rig, pool_busy(live->lane->pool) == 1);
    dispatch_stop(rig->dispatch, false, on_stopped);
    dispatch_stop(rig->dispatch, true, on_stopped);
    WAIT(rig, rig->stopped);
    assert_int_equal(told.times, 0);
    dispatch_wake_all(rig->dispatch);
    assert_int_equal(told.wake, WAKE_SHUTDOWN);
}

static void stored_jobs_go_on_after_a_restart(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_DURABLE);
    struct uuid id = from.id, scheduled;
    struct live *live;

    from.chunksize = 1;
    live = submit_as(rig, from, "[0,0,30]");
    WAIT(rig, live->job.outcome_count == 2 && live->job.outcomes[1].shown);
    from = plan(rig, "square", DURABILITY_DURABLE);
    from.start_at_ms = clock_wall_ms() + 3600000;
    scheduled = from.id;
    live = submit_as(rig, from, "[3]");
    WAIT(rig, live->accepted);
    close_all(rig);
    open_all(rig);
    assert_int_equal(dispatch_jobs(rig->dispatch), 2);
    live = dispatch_find(rig->dispatch, id);
    assert_non_null(live);
    assert_int_equal(live->job.status.completed, 2);
    assert_int_equal(live->arrival_count, 2);
    assert_int_equal(job_todo(&live->job) + live->job.in_flight, 1);
    assert_int_equal(dispatch_cancel(live, true), ST_OK);
    assert_ends(rig, live, JOB_CANCELLED);
    live_unpin(live);
    live = dispatch_find(rig->dispatch, scheduled);
    assert_non_null(live);
    assert_int_equal(live->job.status.state, JOB_SCHEDULED);
    assert_true(uuid_key(dispatch_new_id(rig->dispatch, 0)) > uuid_key(scheduled));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_SQLITE(name) cmocka_unit_test_setup_teardown(name, set_up_sqlite, tear_down)
        CASE(durable_job_is_accepted_only_after_its_commit),
        CASE(durable_job_is_shown_as_ended_only_after_that_commit),
        CASE(relaxed_job_is_over_before_it_is_stored),
        CASE(relaxed_job_that_takes_long_is_stored_meanwhile),
        CASE(recorded_job_is_stored_with_what_it_has),
        CASE(memory_job_is_kept_and_never_stored),
        CASE(refused_job_does_not_exist),
        CASE(results_are_in_the_order_of_the_items),
        CASE(empty_map_is_over_when_it_is_submitted),
        CASE(lowest_failed_item_fails_the_job_and_the_others_run),
        CASE(failed_item_is_tried_again_as_often_as_wanted),
        CASE(job_that_is_to_stop_starts_nothing_after_an_error),
        CASE(killed_worker_costs_its_item_an_attempt),
        CASE(item_whose_worker_dies_too_often_is_lost),
        CASE(item_over_its_time_limit_fails),
        CASE(queued_job_is_cancelled_at_once),
        CASE(running_job_is_cancelled_only_by_force),
        CASE(scheduled_job_can_be_cancelled),
        CASE(job_cancelled_before_its_commit_ends_after_it),
        CASE(delayed_job_does_not_start_before_its_time),
        CASE(job_that_cannot_start_in_time_expires),
        CASE(scheduled_job_may_expire_first),
        CASE(job_that_has_started_does_not_expire),
        CASE(what_cannot_be_submitted_leaves_nothing),
        CASE(waiters_are_limited_and_counted),
        CASE(listing_goes_from_the_newest_and_skips_what_is_not_accepted),
        CASE(drained_server_finishes_what_has_begun_and_takes_nothing),
        CASE(idle_server_is_drained_at_once),
        CASE(stopped_server_wakes_who_still_waits),
        CASE_SQLITE(stored_jobs_go_on_after_a_restart),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main();
    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
