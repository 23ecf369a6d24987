/* SPDX-License-Identifier: MIT */
/*
 * Jobs from submission to end: commit, then tell; cancelling; times; limits. Their items
 * are in test_dispatch_items.c.
 */
#include "tests/unit/server/dispatch_rig.h"

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
    wait_for(live, WAIT_CHANGE, &more);
    live_pin(live);
    WAIT(rig, live->ending);
    assert_int_equal(more.times, 1); /* of its start */
    assert_int_equal(more.wake, WAKE_CHANGE);
    wait_for(live, WAIT_CHANGE, &more);
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

static void a_result_goes_to_the_store_with_the_end_that_it_makes(void **state)
{
    struct rig *rig = *state;
    struct store_info before, after;
    struct live *live;

    store_get_info(rig->store, &before);
    live = submit(rig, "square", "[3]", DURABILITY_DURABLE);
    WAIT(rig, live->accepted);
    assert_ends(rig, live, JOB_SUCCEEDED);
    store_get_info(rig->store, &after);
    assert_int_equal(after.commands - before.commands,
                     3); /* it is there, it has begun, this */
    assert_outcomes(live, "9");
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

/* ---- cancelling -------------------------------------------------------------------- */

static void what_a_task_says_is_at_its_job_until_the_end(void **state)
{
    struct rig *rig = *state;
    struct live *live = submit(rig, "cpu_bound", "[1000000000000]", DURABILITY_RELAXED);
    struct told change;

    live_pin(live);
    WAIT(rig, live->job.status.state == JOB_RUNNING);
    assert_null(live->job.status.said);
    wait_for(live, WAIT_CHANGE, &change);
    WAIT(rig, live->job.status.said);
    assert_string_equal(live->job.status.said->data,
                        "\"message\":null,\"task\":{\"item\":0,\"current\":67108864,"
                        "\"total\":1000000000000}");
    assert_int_equal(change.times, 1);
    assert_int_equal(change.wake, WAKE_CHANGE);
    assert_int_equal(dispatch_cancel(live, true), ST_OK);
    WAIT(rig, live->job.status.state == JOB_CANCELLED);
    assert_null(live->job.status.said);
    live_unpin(live);
}

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

static void a_short_disk_refuses_what_would_be_stored(void **state)
{
    struct rig *rig = *state;
    struct live *live = NULL;

    dispatch_set_disk(rig->dispatch, DISK_SHORT);
    for (enum durability d = DURABILITY_DURABLE; d <= DURABILITY_RELAXED; d++) {
        struct job_spec from = plan(rig, "square", d);

        assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, "[1]"), &live),
                         ST_STORAGE_FULL);
        assert_null(live);
    }
    live = submit(rig, "square", "[3]", DURABILITY_MEMORY);
    assert_ends(rig, live, JOB_SUCCEEDED);
    live_unpin(live);
    dispatch_set_disk(rig->dispatch, DISK_ENOUGH);
    live = submit(rig, "square", "[3]", DURABILITY_DURABLE);
    assert_ends(rig, live, JOB_SUCCEEDED);
    live_unpin(live);
}

static void a_full_disk_keeps_work_from_workers_until_there_is_room(void **state)
{
    struct rig *rig = *state;
    struct live *live;

    dispatch_set_disk(rig->dispatch, DISK_FULL);
    live = submit(rig, "square", "[3]", DURABILITY_MEMORY);
    some_turns(rig);
    assert_int_equal(live->job.status.state, JOB_QUEUED);
    dispatch_set_disk(rig->dispatch, DISK_SHORT);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_outcomes(live, "9");
    live_unpin(live);
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_SQLITE(name) cmocka_unit_test_setup_teardown(name, set_up_sqlite, tear_down)
        CASE(durable_job_is_accepted_only_after_its_commit),
        CASE(durable_job_is_shown_as_ended_only_after_that_commit),
        CASE(a_result_goes_to_the_store_with_the_end_that_it_makes),
        CASE(relaxed_job_is_over_before_it_is_stored),
        CASE(relaxed_job_that_takes_long_is_stored_meanwhile),
        CASE(recorded_job_is_stored_with_what_it_has),
        CASE(memory_job_is_kept_and_never_stored),
        CASE(refused_job_does_not_exist),
        CASE(what_a_task_says_is_at_its_job_until_the_end),
        CASE(queued_job_is_cancelled_at_once),
        CASE(running_job_is_cancelled_only_by_force),
        CASE(scheduled_job_can_be_cancelled),
        CASE(job_cancelled_before_its_commit_ends_after_it),
        CASE(delayed_job_does_not_start_before_its_time),
        CASE(job_that_cannot_start_in_time_expires),
        CASE(scheduled_job_may_expire_first),
        CASE(job_that_has_started_does_not_expire),
        CASE(what_cannot_be_submitted_leaves_nothing),
        CASE(a_short_disk_refuses_what_would_be_stored),
        CASE(a_full_disk_keeps_work_from_workers_until_there_is_room),
        CASE(waiters_are_limited_and_counted),
        CASE(listing_goes_from_the_newest_and_skips_what_is_not_accepted),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
