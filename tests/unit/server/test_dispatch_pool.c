/* SPDX-License-Identifier: MIT */
/*
 * Pools made, changed and ended, with their jobs.
 */
#include "tests/unit/server/dispatch_rig.h"

static struct lane *make_pool(struct rig *rig, struct pool_spec from)
{
    struct lane *lane = NULL;

    from.initargs = from.initargs ? from.initargs : "[]";
    assert_int_equal(dispatch_make_pool(rig->dispatch, pool_spec_new(&from), &lane),
                     ST_OK);
    dispatch_record_pool(lane, NULL, NULL);
    return lane;
}

static struct lane *small_pool(struct rig *rig, const char *name)
{
    return make_pool(rig, (struct pool_spec){ .name = name, .processes = 1 });
}

static struct live *submit_to(struct rig *rig, const char *pool, const char *task,
                              const char *items, enum durability durability)
{
    struct job_spec from = plan(rig, task, durability);

    from.pool = pool;
    return submit_as(rig, from, items);
}

static enum status submit_refused(struct rig *rig, const char *pool)
{
    struct job_spec from = plan(rig, "square", DURABILITY_MEMORY);
    struct live *live = NULL;

    from.pool = pool;
    return dispatch_submit(rig->dispatch, spec_of(from, "[1]"), &live);
}

struct done {
    unsigned times;
    enum status st;
};

static void on_done(void *data, enum status st)
{
    struct done *done = data;

    done->times++;
    done->st = st;
}

static void pools_have_queues_of_their_own(void **state)
{
    struct rig *rig = *state;
    struct live *live;

    occupy_workers(rig);
    small_pool(rig, "p");
    live = submit_to(rig, "p", "square", "[3]", DURABILITY_RELAXED);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_outcomes(live, "9");
    live_unpin(live);
}

static void names_and_processes_are_limited(void **state)
{
    struct rig *rig = *state;
    struct pool_spec from = { .name = POOL_DEFAULT, .processes = 1, .initargs = "[]" };
    struct lane *lane = NULL;

    assert_int_equal(dispatch_make_pool(rig->dispatch, pool_spec_new(&from), &lane),
                     ST_EXISTS);
    from.name = "p";
    from.processes = MAX_PROCESSES - PROCESSES + 1;
    assert_int_equal(dispatch_make_pool(rig->dispatch, pool_spec_new(&from), &lane),
                     ST_LIMIT);
    assert_null(lane);
    from.processes--;
    assert_int_equal(dispatch_make_pool(rig->dispatch, pool_spec_new(&from), &lane),
                     ST_OK);
    from.processes++;
    assert_int_equal(dispatch_change_pool(lane, pool_spec_new(&from)), ST_LIMIT);
    from.processes = 1;
    assert_int_equal(dispatch_change_pool(lane, pool_spec_new(&from)), ST_OK);
    assert_int_equal(pool_processes(lane->pool), 1);
}

static void closed_pool_ends_with_its_last_job(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = small_pool(rig, "p");
    struct live *running = submit_to(rig, "p", "sleep", "[30]", DURABILITY_RELAXED),
                *queued = submit_to(rig, "p", "square", "[3]", DURABILITY_DURABLE);
    struct told told = { 0 };

    live_pin(queued);
    assert_int_equal(dispatch_close_pool(lane), ST_OK);
    assert_int_equal(submit_refused(rig, "p"), ST_NOT_RUNNING);
    assert_non_null(dispatch_join_pool(lane, -1, on_told, &told));
    WAIT(rig, pool_busy(lane->pool) == 1);
    some_turns(rig);
    assert_false(lane->stopping);
    assert_int_equal(dispatch_cancel(running, true), ST_OK);
    WAIT(rig, told.times);
    assert_int_equal(told.wake, WAKE_READY);
    assert_true(lane->stopped);
    assert_int_equal(queued->job.status.state, JOB_SUCCEEDED);
    live_unpin(queued);
}

static void terminated_pool_cancels_what_it_has(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = small_pool(rig, "p");
    struct live *running = submit_to(rig, "p", "sleep", "[30]", DURABILITY_RELAXED),
                *queued = submit_to(rig, "p", "sleep", "[30]", DURABILITY_MEMORY),
                *other = submit(rig, "sleep", "[0.3]", DURABILITY_RELAXED), *unstored;
    struct told told[3];

    WAIT(rig, pool_busy(lane->pool) == 1);
    rig->holding = true;
    unstored = submit_to(rig, "p", "sleep", "[30]", DURABILITY_DURABLE);
    live_pin(unstored);
    live_pin(running);
    live_pin(queued);
    live_pin(other);
    wait_for(running, WAIT_READY, &told[0]);
    wait_for(queued, WAIT_READY, &told[1]);
    wait_for(unstored, WAIT_READY, &told[2]);
    assert_int_equal(dispatch_terminate_pool(lane), ST_OK);
    assert_int_equal(queued->job.status.state, JOB_CANCELLED); /* at once */
    assert_int_equal(told[1].times, 1);
    WAIT(rig, told[0].times);
    release(rig);
    WAIT(rig, told[2].times);
    assert_int_equal(running->job.status.state, JOB_CANCELLED);
    assert_int_equal(unstored->job.status.state, JOB_CANCELLED);
    WAIT(rig, lane->stopped);
    WAIT(rig, job_state_final(other->job.status.state));
    assert_int_equal(other->job.status.state, JOB_SUCCEEDED);
    assert_int_equal(dispatch_terminate_pool(lane), ST_OK);
    live_unpin(running);
    live_unpin(queued);
    live_unpin(unstored);
    live_unpin(other);
}

static void deleted_pool_keeps_its_name_until_it_is_gone(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = small_pool(rig, "p"), *again = NULL;
    struct live *live = submit_to(rig, "p", "sleep", "[30]", DURABILITY_RELAXED);
    struct pool_spec from = { .name = "p", .processes = 1, .initargs = "[]" };
    struct done done = { 0 };

    WAIT(rig, pool_busy(lane->pool) == 1);
    live_pin(live);
    assert_int_equal(
        dispatch_delete_pool(dispatch_first_lane(rig->dispatch), on_done, &done),
        ST_DENIED);
    assert_int_equal(dispatch_delete_pool(lane, on_done, &done), ST_OK);
    assert_null(dispatch_lane(rig->dispatch, "p"));
    assert_int_equal(dispatch_make_pool(rig->dispatch, pool_spec_new(&from), &again),
                     ST_EXISTS);
    WAIT(rig, done.times);
    assert_int_equal(done.st, ST_OK);
    assert_int_equal(live->job.status.state, JOB_CANCELLED);
    assert_int_equal(dispatch_make_pool(rig->dispatch, pool_spec_new(&from), &again),
                     ST_OK);
    live_unpin(live);
}

static void broken_pool_fails_its_jobs_with_the_reason(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = make_pool(rig, (struct pool_spec){ .name = "p",
                                                           .processes = 1,
                                                           .initializer = "safe_square",
                                                           .initargs = "[-1]" });
    struct live *queued = submit_to(rig, "p", "square", "[1]", DURABILITY_RELAXED),
                *durable = submit_to(rig, "p", "square", "[1]", DURABILITY_DURABLE);

    live_pin(durable);
    assert_ends(rig, queued, JOB_FAILED);
    assert_error(queued, "/problems/broken-pool");
    assert_error(queued, "ValueError: Negative input not allowed");
    live_unpin(queued);
    WAIT(rig, job_state_final(durable->job.status.state));
    assert_int_equal(durable->job.status.state, JOB_FAILED);
    live_unpin(durable);
    assert_int_equal(lane->state, POOL_BROKEN);
    assert_int_equal(submit_refused(rig, "p"), ST_NOT_RUNNING);
    WAIT(rig, lane->stopped);
    assert_int_equal(dispatch_terminate_pool(lane), ST_OK);
    assert_int_equal(lane->state, POOL_BROKEN);
}

struct retried {
    unsigned times;
    enum status st;
};

static void on_retried(void *data, enum status st, struct live *live,
                       enum job_state state)
{
    struct retried *retried = data;

    (void)live;
    (void)state;
    retried->times++;
    retried->st = st;
}

static void job_that_is_run_again_keeps_its_pool_open(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = small_pool(rig, "p");
    struct live *live = submit_to(rig, "p", "safe_square", "[-1]", DURABILITY_MEMORY);
    struct retried retried = { 0 };

    live_pin(live);
    WAIT(rig, live->job.status.state == JOB_FAILED);
    assert_int_equal(lane->jobs, 0);
    dispatch_retry(rig->dispatch, live->id, on_retried, &retried);
    assert_int_equal(retried.st, ST_OK);
    assert_int_equal(lane->jobs, 1);
    assert_int_equal(dispatch_close_pool(lane), ST_OK);
    assert_false(lane->stopping);
    WAIT(rig, lane->stopped);
    assert_int_equal(live->job.status.state, JOB_FAILED);
    assert_int_equal(lane->jobs, 0);
    dispatch_retry(rig->dispatch, live->id, on_retried, &retried);
    assert_int_equal(retried.times, 2);
    assert_int_equal(retried.st, ST_NOT_RUNNING);
    live_unpin(live);
}

static void server_stops_when_all_its_pools_have_ended_before(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = dispatch_first_lane(rig->dispatch);

    assert_int_equal(dispatch_terminate_pool(lane), ST_OK);
    WAIT(rig, lane->stopped);
    dispatch_stop(rig->dispatch, false, on_stopped);
    assert_false(rig->stopped); /* never during the call */
    WAIT(rig, rig->stopped);
}

static void stopped_server_tells_who_deletes_a_pool(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = small_pool(rig, "p");
    struct done done = { 0 };

    assert_int_equal(dispatch_delete_pool(lane, on_done, &done), ST_OK);
    close_all(rig);
    assert_int_equal(done.times, 1);
    open_all(rig);
}

static void draining_server_changes_no_pool(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = small_pool(rig, "p"), *made = NULL;
    struct pool_spec from = { .name = "q", .processes = 1, .initargs = "[]" };
    struct done done = { 0 };

    dispatch_drain(rig->dispatch);
    assert_int_equal(dispatch_make_pool(rig->dispatch, pool_spec_new(&from), &made),
                     ST_STATE);
    assert_int_equal(dispatch_change_pool(lane, pool_spec_new(&from)), ST_STATE);
    assert_int_equal(dispatch_close_pool(lane), ST_STATE);
    assert_int_equal(dispatch_terminate_pool(lane), ST_STATE);
    assert_int_equal(dispatch_delete_pool(lane, on_done, &done), ST_STATE);
    assert_int_equal(done.times, 0);
}

static void stored_pools_go_on_with_their_jobs_after_a_restart(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = small_pool(rig, "p");
    struct live *live = submit_to(rig, "p", "sleep", "[30]", DURABILITY_DURABLE);
    struct uuid id = live->job.spec->id;

    small_pool(rig, "gone");
    WAIT(rig, pool_busy(lane->pool) == 1);
    lane = small_pool(rig, "over");
    assert_int_equal(dispatch_terminate_pool(lane), ST_OK);
    dispatch_record_pool(lane, NULL, NULL);
    close_all(rig);
    open_all(rig);
    lane = dispatch_lane(rig->dispatch, "p");
    assert_non_null(lane);
    WAIT(rig, dispatch_find(rig->dispatch, id));
    live = dispatch_find(rig->dispatch, id);
    assert_ptr_equal(live->lane, lane);
    WAIT(rig, pool_busy(lane->pool) == 1);
    lane = dispatch_lane(rig->dispatch, "over");
    assert_int_equal(lane->state, POOL_TERMINATED);
    WAIT(rig, lane->stopped);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_SQLITE(name) cmocka_unit_test_setup_teardown(name, set_up_sqlite, tear_down)
        CASE(pools_have_queues_of_their_own),
        CASE(names_and_processes_are_limited),
        CASE(closed_pool_ends_with_its_last_job),
        CASE(terminated_pool_cancels_what_it_has),
        CASE(deleted_pool_keeps_its_name_until_it_is_gone),
        CASE(broken_pool_fails_its_jobs_with_the_reason),
        CASE(job_that_is_run_again_keeps_its_pool_open),
        CASE(server_stops_when_all_its_pools_have_ended_before),
        CASE(stopped_server_tells_who_deletes_a_pool),
        CASE(draining_server_changes_no_pool),
        CASE_SQLITE(stored_pools_go_on_with_their_jobs_after_a_restart),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch_pool", tests, NULL, NULL);
}
