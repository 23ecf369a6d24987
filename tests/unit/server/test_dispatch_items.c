/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a job's items at the workers, and of all jobs when the server stops and
 * starts again.
 */
#include "tests/unit/server/dispatch_rig.h"

#include "server/dispatch_private.h"

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

/* As a worker would tell it. */
static void gather(struct live *live, uint64_t first, uint64_t count, struct text results)
{
    const struct frame_result result = { .first = first,
                                         .count = (uint32_t)count,
                                         .results = results };
    struct job_range range;
    uint64_t retry_at_ns;

    assert_true(job_take(&live->job, count, 0, &range, &retry_at_ns));
    lane_gather(live->lane, live, &result);
}

static void neighbours_that_come_together_are_one_outcome(void **state)
{
    struct rig *rig = *state;
    struct lane *lane = dispatch_first_lane(rig->dispatch);
    struct blob *large = blob_new_uninit(2000);
    struct live *live, *other;

    assert_non_null(large);
    memset(large->data, '1', large->len);
    occupy_workers(rig);
    live = submit(rig, "square", "[1,2,3,4,5,6,7,8,9]", DURABILITY_MEMORY);
    other = submit(rig, "square", "[1,2]", DURABILITY_MEMORY);
    live_pin(live);
    gather(live, 0, 1, TEXT("1"));
    gather(live, 1, 2, TEXT("4,9"));
    assert_int_equal(live->job.status.completed, 0);
    assert_int_equal(live->job.in_flight, 3);
    gather(live, 4, 1, TEXT("25")); /* a gap */
    assert_int_equal(live->job.status.completed, 3);
    assert_int_equal(live->job.outcome_count, 1);
    gather(other, 0, 1, TEXT("1")); /* another job */
    assert_int_equal(live->job.outcome_count, 2);
    gather(live, 5, 1, TEXT("36"));
    gather(live, 6, 1, blob_text(large)); /* too long to be copied */
    assert_int_equal(live->job.outcome_count, 4);
    gather(live, 7, 1, TEXT("64"));
    assert_int_equal(live->job.status.completed, 6);
    lane_gathered(lane);
    assert_int_equal(live->job.status.completed, 7);
    assert_int_equal(live->job.outcome_count, 5);
    lane_gathered(lane);
    assert_int_equal(live->job.outcome_count, 5);
    assert_int_equal(dispatch_cancel(live, true), ST_OK);
    assert_int_equal(dispatch_cancel(other, true), ST_OK);
    live_unpin(live);
    blob_unref(large);
}

static void results_come_one_by_one_or_together_and_are_all_there(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "safe_square", DURABILITY_RELAXED);
    struct buf items = BUF_INIT;
    struct live *live;
    uint64_t next = 0;

    for (unsigned i = 0; i < 3000; i++)
        buf_addf(&items, "%c%s%u", i ? ',' : '[', i % 1000 == 500 ? "-" : "", i);
    buf_add_char(&items, ']');
    from.chunksize = 1;
    live = submit_as(rig, from, items.data);
    assert_ends(rig, live, JOB_FAILED);
    assert_int_equal(live->job.status.completed, 2997);
    assert_int_equal(live->job.status.failed, 3);
    for (size_t i = 0; i < live->job.outcome_count; i++) {
        const struct outcome *outcome = &live->job.outcomes[i];
        struct text rest = blob_text(outcome->text), result;

        assert_int_equal(outcome->first, next);
        assert_int_equal(outcome->is_error, next % 1000 == 500);
        for (; !outcome->is_error && slice_next(&rest, &result); next++)
            assert_int_equal(strtoull(result.at, NULL, 10), next * next);
        next += outcome->is_error;
        assert_int_equal(next, outcome->first + outcome->count);
    }
    assert_int_equal(next, 3000);
    assert_true(live->job.outcome_count < 3000); /* some came together */
    buf_clear(&items);
    live_unpin(live);
}

static void window_moves_as_the_submitter_reads(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_RELAXED);
    struct live *live;

    from.method = JOB_IMAP;
    from.chunksize = 1;
    from.window = 2;
    live = submit_as(rig, from, "[1,2,3,4,5,6]");
    WAIT(rig, live->job.status.completed == 2);
    some_turns(rig);
    assert_int_equal(live->job.status.completed, 2);
    assert_int_equal(live->job.in_flight, 0);
    assert_false(live->job.place.queued);
    dispatch_read(live, 1);
    WAIT(rig, live->job.status.completed == 3);
    some_turns(rig);
    assert_int_equal(live->job.status.completed, 3);
    dispatch_read(live, 0); /* the past changes nothing */
    assert_int_equal(live->job.in_flight, 0);
    dispatch_read(live, NOBODY_READS);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_outcomes(live, "1,4,9,16,25,36");
    dispatch_read(live, 6);
    dispatch_read(live, NOBODY_READS);
    live_unpin(live);
}

static void window_that_opens_before_the_commit_starts_nothing(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_DURABLE);
    struct live *live;

    from.method = JOB_IMAP;
    from.window = 1;
    rig->holding = true;
    live = submit_as(rig, from, "[1,2,3]");
    dispatch_read(live, NOBODY_READS);
    some_turns(rig);
    assert_int_equal(live->job.next_item, 0);
    release(rig);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_outcomes(live, "1,4,9");
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

static void retry_does_not_wait_for_the_rest_of_its_chunk(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_MEMORY);
    struct live *live;

    WAIT(rig, pool_idle(dispatch_first_lane(rig->dispatch)->pool) == PROCESSES);
    from.retries = 1;
    from.chunksize = 2;
    live = submit_as(rig, from, "[\"no number\",30]");
    WAIT(rig, live->job.status.failed == 1); /* the other worker has tried it */
    assert_int_equal(live->job.in_flight, 1);
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

/* ---- without memory ---------------------------------------------------------------- */

static void job_ends_whatever_allocation_fails(void **state)
{
    unsigned failed = 0;

    (void)state;
    for (unsigned long n = 1; n < 12; n++) {
        void *each = NULL;
        struct live *live;

        assert_int_equal(set_up(&each), 0);
        live = submit(each, "square", "[3]", DURABILITY_MEMORY);
        mem_fail_at(n, 0); /* while the workers come up and the job is handed out */
        WAIT((struct rig *)each, job_state_final(live->job.status.state));
        mem_fail_at(0, 0);
        failed += live->job.status.state == JOB_FAILED;
        assert_int_equal(tear_down(&each), 0);
    }
    assert_true(failed > 0);
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
    enum job_state seen;
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
    WAIT(rig, dispatch_find(rig->dispatch, id)); /* it had begun: it is read first */
    live = dispatch_find(rig->dispatch, id);
    assert_int_equal(live->job.status.completed, 2);
    assert_int_equal(live->arrival_count, 2);
    assert_int_equal(job_todo(&live->job) + live->job.in_flight, 1);
    assert_int_equal(dispatch_cancel(live, true), ST_OK);
    assert_ends(rig, live, JOB_CANCELLED);
    live_unpin(live);
    assert_true(dispatch_is_stub(rig->dispatch, scheduled, &seen));
    assert_int_equal(seen, JOB_SCHEDULED);
    assert_true(uuid_key(dispatch_new_id(rig->dispatch, 0)) > uuid_key(scheduled));
}

static void job_that_had_started_does_not_expire_after_a_restart(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "sleep", DURABILITY_DURABLE);
    struct live *live;

    from.chunksize = 1;
    from.expires_at_ms = clock_wall_ms() + 1000;
    live = submit_as(rig, from, "[0,0,0.1]");
    WAIT(rig, live->job.outcome_count && live->job.outcomes[0].shown);
    close_all(rig);
    WAIT(rig, clock_wall_ms() > from.expires_at_ms);
    open_all(rig);
    WAIT(rig, dispatch_find(rig->dispatch, from.id));
    live = dispatch_find(rig->dispatch, from.id);
    assert_ends(rig, live, JOB_SUCCEEDED);
    live_unpin(live);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_SQLITE(name) cmocka_unit_test_setup_teardown(name, set_up_sqlite, tear_down)
        CASE(results_are_in_the_order_of_the_items),
        CASE(neighbours_that_come_together_are_one_outcome),
        CASE(results_come_one_by_one_or_together_and_are_all_there),
        CASE(window_moves_as_the_submitter_reads),
        CASE(window_that_opens_before_the_commit_starts_nothing),
        CASE(empty_map_is_over_when_it_is_submitted),
        CASE(lowest_failed_item_fails_the_job_and_the_others_run),
        CASE(failed_item_is_tried_again_as_often_as_wanted),
        CASE(retry_does_not_wait_for_the_rest_of_its_chunk),
        CASE(job_that_is_to_stop_starts_nothing_after_an_error),
        CASE(killed_worker_costs_its_item_an_attempt),
        CASE(item_whose_worker_dies_too_often_is_lost),
        CASE(item_over_its_time_limit_fails),
        cmocka_unit_test(job_ends_whatever_allocation_fails),
        CASE(drained_server_finishes_what_has_begun_and_takes_nothing),
        CASE(idle_server_is_drained_at_once),
        CASE(stopped_server_wakes_who_still_waits),
        CASE_SQLITE(stored_jobs_go_on_after_a_restart),
        CASE_SQLITE(job_that_had_started_does_not_expire_after_a_restart),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch_items", tests, NULL, NULL);
}
