/* SPDX-License-Identifier: MIT */
/* Jobs that wait and are only in the store, with a window of two. */
#include "tests/unit/server/dispatch_rig.h"

#include "server/dispatch_private.h" /* to be in the middle of a pause */

#define WINDOW 2

static int set_up_window(void **state)
{
    char dir[] = "/tmp/poold-test-dispatch-XXXXXX";
    struct rig *rig;

    assert_non_null(mkdtemp(dir));
    rig = rig_new(dir);
    rig->window = WINDOW;
    *state = rig;
    open_all(rig);
    return 0;
}

static struct lane *lane_of(struct rig *rig)
{
    return dispatch_first_lane(rig->dispatch);
}

static bool is_stub(struct rig *rig, struct uuid id)
{
    enum job_state state;

    return dispatch_is_stub(rig->dispatch, id, &state);
}

static enum job_state stub_state(struct rig *rig, struct uuid id)
{
    enum job_state state = JOB_STATE_COUNT;

    assert_true(dispatch_is_stub(rig->dispatch, id, &state));
    return state;
}

static struct job_spec durable(struct rig *rig)
{
    return plan(rig, "square", DURABILITY_DURABLE);
}

/* Submits the job and waits until it is accepted; whatever becomes of it then. */
static struct uuid put(struct rig *rig, struct job_spec from)
{
    struct told told;

    wait_for(submit_as(rig, from, "[3]"), WAIT_ACCEPTED, &told);
    WAIT(rig, told.times);
    assert_int_equal(told.wake, WAKE_ACCEPTED);
    some_turns(rig);
    return from.id;
}

/* So many jobs behind busy workers. */
static void fill(struct rig *rig, struct uuid ids[], unsigned count)
{
    occupy_workers(rig);
    for (unsigned i = 0; i < count; i++)
        ids[i] = put(rig, durable(rig));
}

static void free_workers(struct rig *rig)
{
    struct live *live = dispatch_newest(rig->dispatch), *older;

    for (; live; live = older) {
        older = dispatch_older(live);
        if (strcmp(live->job.spec->task, "sleep") == 0)
            assert_int_equal(dispatch_cancel(live, true), ST_OK);
    }
}

/* Waits until the job is over, and gives how it ended, from the store. */
static enum job_state outcome_of(struct rig *rig, struct uuid id)
{
    struct found found;

    do {
        turn(rig);
        found = in_store(rig, id);
        assert_int_equal(found.st, ST_OK);
    } while (!job_state_final(found.state));
    return found.state;
}

/* ---- the window -------------------------------------------------------------------- */

static void what_is_beyond_the_window_is_a_stub(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[6];

    fill(rig, ids, 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(is_stub(rig, ids[i]), i >= WINDOW);
        assert_int_equal(!dispatch_find(rig->dispatch, ids[i]), i >= WINDOW);
    }
    assert_int_equal(dispatch_jobs(rig->dispatch), PROCESSES + 6);
    assert_int_equal(lane_of(rig)->queue.count, 6);
    assert_int_equal(lane_of(rig)->queue.stubs, 4);
}

static void assert_in_order(struct rig *rig, struct live *const lives[], unsigned count)
{
    struct live *live = dispatch_newest(rig->dispatch);

    for (unsigned i = count; i-- > 0; live = dispatch_older(live))
        assert_ptr_equal(live, lives[i]);
}

#define LIVES 8

static void jobs_that_come_back_have_their_place_by_age(void **state)
{
    static const unsigned orders[][LIVES] = {
        { 0, 1, 2, 3, 4, 5, 6, 7 }, { 7, 6, 5, 4, 3, 2, 1, 0 },
        { 3, 4, 2, 5, 1, 6, 0, 7 }, { 0, 7, 1, 6, 2, 5, 3, 4 },
        { 4, 0, 6, 2, 7, 1, 5, 3 },
    };
    struct rig *rig = *state;
    struct live *lives[LIVES];

    occupy_workers(rig);
    for (unsigned i = 0; i < LIVES; i++) {
        lives[i] = submit(rig, "square", "[1]", DURABILITY_MEMORY);
        live_pin(lives[i]);
    }
    /* All at once, and with some of them there. */
    for (unsigned away = 1; away <= LIVES; away++)
        for (unsigned o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
            for (unsigned i = 0; i < away; i++)
                live_leave(lives[orders[o][(i + o) % LIVES]]);
            for (unsigned i = 0; i < away; i++)
                assert_int_equal(live_enter(lives[orders[o][(away - 1 - i + o) % LIVES]]),
                                 ST_OK);
            assert_in_order(rig, lives, LIVES);
        }
    for (unsigned i = 0; i < LIVES; i++)
        live_unpin(lives[i]);
}

static void stubs_run_in_the_order_in_which_they_came(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[8], urgent;
    struct job_spec from;

    fill(rig, ids, 8);
    from = durable(rig);
    from.priority = 1;
    urgent = put(rig, from);
    assert_false(is_stub(rig, urgent)); /* it is next, another one made room */
    assert_true(is_stub(rig, ids[1]));
    free_workers(rig);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(outcome_of(rig, ids[i]), JOB_SUCCEEDED);
    assert_int_equal(outcome_of(rig, urgent), JOB_SUCCEEDED);
    WAIT(rig, !dispatch_jobs(rig->dispatch));
}

static void bytes_bound_the_window_too(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[3];

    close_all(rig);
    rig->window_bytes = 4; /* "[3]" is three */
    open_all(rig);
    fill(rig, ids, 3);
    assert_false(is_stub(rig, ids[0]));
    assert_true(is_stub(rig, ids[1]));
    free_workers(rig);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(outcome_of(rig, ids[i]), JOB_SUCCEEDED);
}

static void job_that_somebody_reads_from_stays_whole(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[WINDOW];
    struct told told;
    struct live *live;

    fill(rig, ids, WINDOW);
    live = submit_as(rig, durable(rig), "[3]");
    live_pin(live);
    wait_for(live, WAIT_ACCEPTED, &told);
    WAIT(rig, told.times);
    some_turns(rig);
    assert_ptr_equal(dispatch_find(rig->dispatch, live->id), live);
    ids[0] = live->id;
    live_unpin(live);
    assert_true(is_stub(rig, ids[0]));
}

static void job_of_durability_memory_stays_whole(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[4];
    struct live *live;

    fill(rig, ids, 4);
    live = submit(rig, "square", "[3]", DURABILITY_MEMORY);
    some_turns(rig);
    assert_ptr_equal(dispatch_find(rig->dispatch, live->id), live);
    free_workers(rig);
    assert_ends(rig, live, JOB_SUCCEEDED);
    live_unpin(live);
}

static void relaxed_job_is_a_stub_when_it_is_stored(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[WINDOW], id;

    fill(rig, ids, WINDOW);
    id = submit(rig, "square", "[3]", DURABILITY_RELAXED)->id;
    WAIT(rig, is_stub(rig, id));
    assert_int_equal(in_store(rig, id).state, JOB_QUEUED);
}

/* ---- what is done with them -------------------------------------------------------- */

static void stub_is_cancelled_and_never_runs(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[5];
    struct told told = { 0 };

    fill(rig, ids, 5);
    assert_non_null(
        dispatch_wait_for(rig->dispatch, ids[3], WAIT_READY, -1, on_told, &told));
    assert_int_equal(dispatch_cancel_job(rig->dispatch, ids[3], false), ST_OK);
    assert_int_equal(lane_of(rig)->queue.count, 4); /* at once */
    WAIT(rig, told.times);
    assert_int_equal(told.wake, WAKE_READY);
    assert_int_equal(outcome_of(rig, ids[3]), JOB_CANCELLED);
    assert_int_equal(dispatch_cancel_job(rig->dispatch, ids[3], false), ST_NOT_FOUND);
    free_workers(rig);
    assert_int_equal(outcome_of(rig, ids[4]), JOB_SUCCEEDED);
    assert_int_equal(in_store(rig, ids[3]).outcome_count, 0);
}

static void stub_expires_in_time(void **state)
{
    struct rig *rig = *state;
    struct job_spec from;
    struct uuid ids[WINDOW], id;

    fill(rig, ids, WINDOW);
    from = durable(rig);
    from.expires_at_ms = clock_wall_ms() + 50;
    id = put(rig, from);
    assert_int_equal(outcome_of(rig, id), JOB_EXPIRED);
    assert_true(clock_wall_ms() >= from.expires_at_ms);
    assert_int_equal(lane_of(rig)->queue.count, WINDOW);
}

static void scheduled_stub_is_queued_at_its_time(void **state)
{
    struct rig *rig = *state;
    struct job_spec from;
    struct told told = { 0 };
    struct uuid ids[WINDOW], id;

    fill(rig, ids, WINDOW);
    from = durable(rig);
    from.start_at_ms = clock_wall_ms() + 1500;
    id = put(rig, from);
    assert_int_equal(stub_state(rig, id), JOB_SCHEDULED);
    assert_int_equal(lane_of(rig)->queue.count, WINDOW);
    assert_non_null(
        dispatch_wait_for(rig->dispatch, id, WAIT_CHANGE, -1, on_told, &told));
    WAIT(rig, told.times);
    assert_int_equal(told.wake, WAKE_CHANGE);
    assert_int_equal(stub_state(rig, id), JOB_QUEUED);
    free_workers(rig);
    assert_int_equal(outcome_of(rig, id), JOB_SUCCEEDED);
}

static void those_who_wait_stay_when_the_job_changes_its_form(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[5];
    struct told told = { 0 }, leaves = { 0 };
    struct waiter *waiter;
    size_t waiters = dispatch_waiters(rig->dispatch);

    fill(rig, ids, 5);
    waiter = dispatch_wait_for(rig->dispatch, ids[4], WAIT_READY, -1, on_told, &leaves);
    assert_non_null(waiter);
    assert_non_null(
        dispatch_wait_for(rig->dispatch, ids[4], WAIT_READY, -1, on_told, &told));
    waiter_end(waiter);
    assert_non_null(/* others come and go */
                    dispatch_wait_for(rig->dispatch, ids[3], WAIT_READY, 1, on_told,
                                      &leaves));
    WAIT(rig, leaves.times);
    assert_int_equal(leaves.wake, WAKE_TIMEOUT);
    free_workers(rig);
    WAIT(rig, told.times);
    assert_int_equal(told.wake, WAKE_READY);
    assert_int_equal(dispatch_waiters(rig->dispatch), waiters);
}

static void stub_that_somebody_wants_becomes_whole(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[5];
    struct told told = { 0 };
    struct live *live;

    fill(rig, ids, 5);
    assert_non_null(
        dispatch_wait_for(rig->dispatch, ids[4], WAIT_WHOLE, -1, on_told, &told));
    dispatch_fetch(rig->dispatch, ids[4]);
    WAIT(rig, told.times);
    assert_int_equal(told.wake, WAKE_WHOLE);
    live = dispatch_find(rig->dispatch, ids[4]);
    assert_non_null(live);
    assert_int_equal(lane_of(rig)->queue.count, 5);
    free_workers(rig);
    assert_ends(rig, live, JOB_SUCCEEDED);
    live_unpin(live);
}

static void stub_keeps_its_unique_key(void **state)
{
    struct rig *rig = *state;
    struct job_spec from;
    struct uuid ids[WINDOW], first, second;
    struct live *live = NULL;

    fill(rig, ids, WINDOW);
    from = durable(rig);
    from.unique_key = "sync";
    first = put(rig, from);
    assert_true(is_stub(rig, first));
    from.id = dispatch_new_id(rig->dispatch, from.created_at_ms);
    assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, "[3]"), &live),
                     ST_EXISTS);
    assert_null(live);
    assert_true(uuid_equal(dispatch_last_rival(rig->dispatch)->id, first));
    from.on_conflict = CONFLICT_REPLACE;
    second = put(rig, from);
    assert_int_equal(outcome_of(rig, first), JOB_CANCELLED);
    assert_true(is_stub(rig, second));
    free_workers(rig);
    assert_int_equal(outcome_of(rig, second), JOB_SUCCEEDED);
    assert_null(dispatch_rival(rig->dispatch, &from));
}

static void stubs_end_with_their_pool(void **state)
{
    struct rig *rig = *state;
    struct job_spec from;
    struct uuid ids[6], scheduled;

    fill(rig, ids, 6);
    from = durable(rig);
    from.start_at_ms = clock_wall_ms() + 3600000;
    scheduled = put(rig, from);
    assert_int_equal(dispatch_terminate_pool(lane_of(rig)), ST_OK);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(outcome_of(rig, ids[i]), JOB_CANCELLED);
    assert_int_equal(outcome_of(rig, scheduled), JOB_CANCELLED);
    WAIT(rig, !dispatch_jobs(rig->dispatch));
    assert_int_equal(lane_of(rig)->queue.count, 0);
}

/* No stub is ended while the store cannot be read, but one may be on its way back. */
static void stub_that_is_being_read_ends_with_its_pool(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[4];

    fill(rig, ids, 4);
    rig->holding = true;
    dispatch_fetch(rig->dispatch, ids[3]);
    (void)uv_timer_start(rig->dispatch->load_pause, load_on_pause_over, 50, 0);
    assert_int_equal(dispatch_terminate_pool(lane_of(rig)), ST_OK);
    release(rig);
    WAIT(rig, !dispatch_jobs(rig->dispatch));
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(outcome_of(rig, ids[i]), JOB_CANCELLED);
}

/* ---- restarts and failures --------------------------------------------------------- */

static void stubs_are_there_after_a_restart(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[6];

    fill(rig, ids, 6);
    close_all(rig);
    open_all(rig);
    assert_int_equal(dispatch_jobs(rig->dispatch), 6);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(outcome_of(rig, ids[i]), JOB_SUCCEEDED);
    WAIT(rig, !dispatch_jobs(rig->dispatch));
}

/* Whatever form they have, through a restart, and until they are over. */
static void what_an_owner_has_in_jobs_is_known(void **state)
{
    struct rig *rig = *state;
    struct job_spec from;
    struct uuid ids[4];
    uint64_t owner;

    occupy_workers(rig);
    for (unsigned i = 0; i < 4; i++) {
        from = durable(rig);
        from.owner = 7;
        ids[i] = put(rig, from);
        assert_true(dispatch_owner(rig->dispatch, ids[i], &owner));
        assert_int_equal(owner, 7);
    }
    assert_true(is_stub(rig, ids[3]));
    assert_int_equal(dispatch_usage(rig->dispatch, 7).jobs, 4);
    assert_int_equal(dispatch_usage(rig->dispatch, 7).bytes, 4 * strlen("[3]"));
    assert_int_equal(dispatch_usage(rig->dispatch, 8).jobs, 0);
    assert_int_equal(dispatch_usage(rig->dispatch, 0).jobs, 0);
    assert_int_equal(dispatch_cancel_job(rig->dispatch, ids[3], false), ST_OK);
    WAIT(rig, dispatch_usage(rig->dispatch, 7).jobs == 3);
    close_all(rig);
    open_all(rig);
    assert_true(dispatch_usage(rig->dispatch, 7).jobs > 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(outcome_of(rig, ids[i]), JOB_SUCCEEDED);
    WAIT(rig, dispatch_usage(rig->dispatch, 7).jobs == 0);
    assert_int_equal(dispatch_usage(rig->dispatch, 7).bytes, 0);
    assert_false(dispatch_owner(rig->dispatch, ids[0], &owner));
}

static void damaged_row_is_left_alone_and_stops_nobody(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[6];
    struct told told = { 0 };
    char command[256];

    fill(rig, ids, 6);
    (void)snprintf(
        command, sizeof(command),
        "sqlite3 -cmd '.timeout 10000' '%s/poold.db' 'UPDATE job SET checksum = "
        "checksum + 1 WHERE key = %" PRIu64 "'",
        rig->dir, uuid_key(ids[3]));
    assert_int_equal(system(command), 0);
    assert_non_null(
        dispatch_wait_for(rig->dispatch, ids[3], WAIT_READY, -1, on_told, &told));
    free_workers(rig);
    assert_int_equal(outcome_of(rig, ids[5]), JOB_SUCCEEDED);
    WAIT(rig, told.times);
    assert_int_equal(told.wake, WAKE_REFUSED);
    assert_int_equal(told.st, ST_CORRUPT);
    assert_int_equal(in_store(rig, ids[3]).st, ST_CORRUPT);
    WAIT(rig, !dispatch_jobs(rig->dispatch));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up_window, tear_down)
        CASE(what_is_beyond_the_window_is_a_stub),
        CASE(jobs_that_come_back_have_their_place_by_age),
        CASE(stubs_run_in_the_order_in_which_they_came),
        CASE(bytes_bound_the_window_too),
        CASE(job_that_somebody_reads_from_stays_whole),
        CASE(job_of_durability_memory_stays_whole),
        CASE(relaxed_job_is_a_stub_when_it_is_stored),
        CASE(stub_is_cancelled_and_never_runs),
        CASE(stub_expires_in_time),
        CASE(scheduled_stub_is_queued_at_its_time),
        CASE(those_who_wait_stay_when_the_job_changes_its_form),
        CASE(stub_that_somebody_wants_becomes_whole),
        CASE(stub_keeps_its_unique_key),
        CASE(stubs_end_with_their_pool),
        CASE(stub_that_is_being_read_ends_with_its_pool),
        CASE(stubs_are_there_after_a_restart),
        CASE(what_an_owner_has_in_jobs_is_known),
        CASE(damaged_row_is_left_alone_and_stops_nobody),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch_stub", tests, NULL, NULL);
}
