/* SPDX-License-Identifier: MIT */
/* Two sets of workers, one for the jobs that had begun. That they have different code is for
 * tests/live/plugins.bats. */
#include "tests/unit/server/dispatch_rig.h"

static struct lane *first(struct rig *rig)
{
    return dispatch_first_lane(rig->dispatch);
}

static void reload(struct rig *rig)
{
    assert_int_equal(dispatch_reload(rig->dispatch, -1), ST_OK);
}

static void idle_workers_are_exchanged(void **state)
{
    struct rig *rig = *state;
    pid_t before, after;

    WAIT(rig, pool_idle(first(rig)->pool) == PROCESSES);
    before = pool_forkserver_pid(first(rig)->pool);
    reload(rig);
    after = pool_forkserver_pid(first(rig)->pool);
    assert_int_not_equal(before, after);
    assert_true(dispatch_has_forkserver(rig->dispatch, before));
    WAIT(rig, !dispatch_reloading(rig->dispatch));
    assert_false(dispatch_has_forkserver(rig->dispatch, before));
    WAIT(rig, pool_idle(first(rig)->pool) == PROCESSES);
    assert_int_equal(lane_workers_lost(first(rig)), 0);
}

static void jobs_that_have_begun_keep_their_workers(void **state)
{
    struct rig *rig = *state;
    struct live *old = submit(rig, "sleep", "[0.3,0.3,0.3,0.3]", DURABILITY_MEMORY), *new;

    WAIT(rig, pool_busy(first(rig)->pool) == PROCESSES);
    reload(rig);
    assert_true(dispatch_reloading(rig->dispatch));
    assert_int_equal(dispatch_reload(rig->dispatch, -1), ST_STATE);
    new = submit(rig, "square", "[7]", DURABILITY_MEMORY);
    assert_ends(rig, new, JOB_SUCCEEDED); /* although the others are still busy */
    assert_int_equal(old->job.status.state, JOB_RUNNING);
    assert_int_equal(lane_busy(first(rig)), PROCESSES);
    assert_ends(rig, old, JOB_SUCCEEDED);
    assert_outcomes(old, "null,null,null,null");
    WAIT(rig, !dispatch_reloading(rig->dispatch));
    live_unpin(old);
    live_unpin(new);
    reload(rig);
}

static void jobs_that_wait_go_to_the_new_workers_in_their_order(void **state)
{
    struct rig *rig = *state;
    struct live *waiting[3];

    occupy_workers(rig);
    for (unsigned i = 0; i < 3; i++)
        waiting[i] = submit(rig, "sleep", "[0.01]", DURABILITY_MEMORY);
    assert_int_equal(lane_queued(first(rig)), 3);
    reload(rig);
    assert_int_equal(first(rig)->queue.count, 3);
    assert_int_equal(first(rig)->old.queue.count, 0);
    assert_ptr_equal(queue_job(queue_front(&first(rig)->queue)), &waiting[0]->job);
    for (unsigned i = 0; i < 3; i++) {
        assert_ends(rig, waiting[i], JOB_SUCCEEDED);
        live_unpin(waiting[i]);
    }
    assert_true(dispatch_reloading(rig->dispatch));
}

static void a_cancelled_job_lets_its_workers_go(void **state)
{
    struct rig *rig = *state;
    struct live *old = submit(rig, "sleep", "[30,30,30]", DURABILITY_MEMORY);

    WAIT(rig, pool_busy(first(rig)->pool) == PROCESSES);
    reload(rig);
    assert_int_equal(first(rig)->old.queue.count, 1); /* its third item */
    assert_int_equal(dispatch_cancel(old, true), ST_OK);
    assert_ends(rig, old, JOB_CANCELLED);
    live_unpin(old);
    WAIT(rig, !dispatch_reloading(rig->dispatch));
    WAIT(rig, pool_idle(first(rig)->pool) == PROCESSES);
}

static void a_failed_job_that_is_run_again_begins_anew(void **state)
{
    struct rig *rig = *state;
    struct live *old = submit(rig, "safe_square", "[-1]", DURABILITY_MEMORY);

    assert_ends(rig, old, JOB_FAILED);
    assert_int_equal(first(rig)->begun, 0);
    reload(rig);
    WAIT(rig, !dispatch_reloading(rig->dispatch));
    live_unpin(old);
}

static void both_generations_stop_with_the_server(void **state)
{
    struct rig *rig = *state;

    occupy_workers(rig);
    reload(rig);
    dispatch_drain(rig->dispatch);
    assert_int_equal(dispatch_reload(rig->dispatch, -1), ST_STATE);
    dispatch_stop(rig->dispatch, true, on_stopped);
    WAIT(rig, rig->stopped);
    assert_null(first(rig)->old.pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(idle_workers_are_exchanged),
        CASE(jobs_that_have_begun_keep_their_workers),
        CASE(jobs_that_wait_go_to_the_new_workers_in_their_order),
        CASE(a_cancelled_job_lets_its_workers_go),
        CASE(a_failed_job_that_is_run_again_begins_anew),
        CASE(both_generations_stop_with_the_server),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch_reload", tests, NULL, NULL);
}
