/* SPDX-License-Identifier: MIT */
/*
 * Jobs that are fed, on their way through.
 */
#include "tests/unit/server/dispatch_rig.h"

struct feeding {
    struct feeder feeder;
    unsigned called;
};

static void on_room(void *data)
{
    ((struct feeding *)data)->called++;
}

static struct live *submit_fed(struct rig *rig, const char *task,
                               enum durability durability, struct feeding *feeding)
{
    struct job_spec from = plan(rig, task, durability);
    struct live *live = NULL;

    from.method = JOB_IMAP;
    from.fed = true;
    from.chunksize = 1;
    from.window = 100;
    assert_int_equal(dispatch_submit(rig->dispatch, job_spec_new(&from), &live), ST_OK);
    dispatch_record(live);
    *feeding = (struct feeding){ .feeder = { .on_room = on_room, .data = feeding } };
    dispatch_set_feeder(live, &feeding->feeder);
    live_pin(live);
    return live;
}

static void feed(struct live *live, const char *item, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(dispatch_feed(live, (struct text){ item, strlen(item) }), ST_OK);
    dispatch_fed(live);
}

static void items_run_as_they_come(void **state)
{
    struct rig *rig = *state;
    struct feeding feeding;
    struct live *live = submit_fed(rig, "square", DURABILITY_MEMORY, &feeding);

    for (unsigned i = 1; i <= 3; i++) {
        feed(live, "3", 1);
        WAIT(rig, live->job.status.completed == i);
        assert_int_equal(live->job.status.state, JOB_RUNNING);
    }
    dispatch_end_input(live, NULL);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_outcomes(live, "9,9,9");
    assert_false(dispatch_takes_items(live));
    dispatch_end_input(live, blob_new("{}", 2)); /* too late: nothing happens */
    live_unpin(live);
    live_unpin(live);
}

static void feeder_waits_for_room_and_is_told(void **state)
{
    struct rig *rig = *state;
    struct feeding feeding;
    struct live *live = submit_fed(rig, "square", DURABILITY_MEMORY, &feeding);

    for (unsigned i = 0; i < FEED_ITEMS_MAX; i++) {
        assert_false(dispatch_feed_full(live));
        assert_int_equal(dispatch_feed(live, TEXT("2")), ST_OK);
    }
    assert_true(dispatch_feed_full(live));
    assert_int_equal(feeding.called, 0);
    dispatch_fed(live);
    WAIT(rig, feeding.called == 1);
    assert_false(dispatch_feed_full(live));
    WAIT(rig, live->job.status.completed == 100); /* the window */
    assert_int_equal(feeding.called, 1);
    while (!dispatch_feed_full(live))
        feed(live, "2", 1);
    assert_int_equal(dispatch_cancel(live, true), ST_OK);
    assert_int_equal(feeding.called, 2); /* it takes none any more */
    assert_ends(rig, live, JOB_CANCELLED);
    live_unpin(live);
    live_unpin(live);
}

static void large_items_fill_the_room_by_their_bytes(void **state)
{
    struct rig *rig = *state;
    struct feeding feeding;
    struct live *live = submit_fed(rig, "echo", DURABILITY_MEMORY, &feeding);
    struct blob *large = blob_new_uninit(FEED_BYTES_MAX / 2);

    assert_non_null(large);
    memset(large->data, '1', large->len);
    assert_int_equal(dispatch_feed(live, blob_text(large)), ST_OK);
    assert_false(dispatch_feed_full(live));
    assert_int_equal(dispatch_feed(live, blob_text(large)), ST_OK);
    assert_true(dispatch_feed_full(live));
    assert_int_equal(dispatch_cancel(live, true), ST_OK);
    assert_ends(rig, live, JOB_CANCELLED);
    blob_unref(large);
    live_unpin(live);
    live_unpin(live);
}

/* A number so long that its outcome stays alone. */
static const char *alone(void)
{
    static char number[1101];

    memset(number, '1', sizeof(number) - 1);
    return number;
}

/* All outcomes that there are have been read, as they come. */
static void read_all(struct live *live)
{
    for (size_t i = 0; i < live->job.outcome_count; i++)
        dispatch_has_read(live, live->job.outcomes[i].first);
    dispatch_read(live, live->job.status.completed);
}

static void what_is_stored_and_read_leaves_memory(void **state)
{
    struct rig *rig = *state;
    struct feeding feeding;
    struct live *live = submit_fed(rig, "echo", DURABILITY_RELAXED, &feeding);
    size_t most = 0;

    for (unsigned i = 0; i < 30; i++) {
        feed(live, alone(), 100);
        while (live->job.status.completed < 100 * (i + 1)) {
            turn(rig);
            read_all(live);
        }
        most = live->job.outcome_count > most ? live->job.outcome_count : most;
    }
    assert_true(live_let_go_of(live));
    assert_true(most < 1500);
    assert_true(live->arrival_count < 1500);
    assert_int_equal(live->arrivals_gone + live->arrival_count, 3000);
    live_hold(live);
    most = live->job.outcome_count;
    feed(live, alone(), 2000);
    while (live->job.status.completed < 5000) {
        turn(rig);
        read_all(live);
    }
    assert_int_equal(live->job.outcome_count, most + 2000);
    live_release(live);
    dispatch_end_input(live, NULL);
    assert_ends(rig, live, JOB_SUCCEEDED);
    live_unpin(live);
    live_unpin(live);
}

static void store_that_lags_behind_makes_the_feeder_wait(void **state)
{
    struct rig *rig = *state;
    struct feeding feeding;
    struct live *live = submit_fed(rig, "echo", DURABILITY_RELAXED, &feeding);
    struct text item = { alone(), strlen(alone()) };
    unsigned fed = 0;

    dispatch_read(live, NOBODY_READS);
    rig->holding = true;
    while (live->storing < RELAXED_BACKLOG_MAX) {
        while (!dispatch_feed_full(live)) {
            assert_int_equal(dispatch_feed(live, item), ST_OK);
            fed++;
        }
        dispatch_fed(live);
        turn(rig);
    }
    assert_true(dispatch_feed_full(live));
    assert_true(fed <= RELAXED_BACKLOG_MAX + FEED_ITEMS_MAX);
    dispatch_end_input(live, NULL);
    release(rig);
    assert_ends(rig, live, JOB_SUCCEEDED);
    assert_true(feeding.called > 0);
    live_unpin(live);
    live_unpin(live);
}

static void drained_server_fails_what_is_fed_behind_what_runs(void **state)
{
    struct rig *rig = *state;
    struct feeding feeding;
    struct live *live = submit_fed(rig, "sleep", DURABILITY_RELAXED, &feeding);

    feed(live, "0.1", 10);
    WAIT(rig, live->job.status.completed);
    dispatch_drain(rig->dispatch);
    assert_false(dispatch_takes_items(live));
    WAIT(rig, rig->drained);
    assert_ends(rig, live, JOB_FAILED);
    assert_error(live, "/problems/input-incomplete");
    assert_true(live->job.status.completed < 10);
    live_unpin(live);
    live_unpin(live);
}

/* Whether it had begun or not. */
static void jobs_that_were_fed_when_the_server_died_have_failed(void **state)
{
    struct rig *rig = *state;
    struct feeding feeding[2];
    struct live *begun = submit_fed(rig, "echo", DURABILITY_RELAXED, &feeding[0]);
    struct live *fresh = submit_fed(rig, "square", DURABILITY_RELAXED, &feeding[1]);
    struct uuid ids[] = { begun->id, fresh->id };
    struct found found;

    feed(begun, alone(), 3);
    WAIT(rig, begun->job.status.completed == 3);
    dispatch_set_feeder(begun, NULL);
    dispatch_set_feeder(fresh, NULL);
    live_unpin(begun);
    live_unpin(fresh);
    close_all(rig);
    open_all(rig);
    WAIT(rig, dispatch_jobs(rig->dispatch) == 0);
    for (unsigned i = 0; i < 2; i++) {
        found = in_store(rig, ids[i]);
        assert_int_equal(found.st, ST_OK);
        assert_int_equal(found.state, JOB_FAILED);
        assert_int_equal(found.outcome_count, i == 0 ? 3 : 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_SQLITE(name) cmocka_unit_test_setup_teardown(name, set_up_sqlite, tear_down)
        CASE(items_run_as_they_come),
        CASE(feeder_waits_for_room_and_is_told),
        CASE(large_items_fill_the_room_by_their_bytes),
        CASE(what_is_stored_and_read_leaves_memory),
        CASE(store_that_lags_behind_makes_the_feeder_wait),
        CASE(drained_server_fails_what_is_fed_behind_what_runs),
        CASE_SQLITE(jobs_that_were_fed_when_the_server_died_have_failed),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch_feed", tests, NULL, NULL);
}
