/* SPDX-License-Identifier: MIT */
/* Many jobs at once: in memory, in the store, and on the way between. */
#include "server/watch.h"

#include "tests/unit/server/dispatch_rig.h"

/* A user of a watch. */
struct viewer {
    struct watch *watch;
    unsigned changes;
    bool free_at_once;
};

static void on_change(void *data)
{
    struct viewer *viewer = data;

    viewer->changes++;
    if (!viewer->free_at_once)
        return;
    watch_free(viewer->watch);
    viewer->watch = NULL;
}

static void watch_these(struct rig *rig, struct viewer *viewer, const struct uuid *ids,
                        size_t count, int64_t timeout_ms)
{
    memset(viewer, 0, sizeof(*viewer));
    assert_int_equal(watch_new(rig->dispatch, ids, count, 0, timeout_ms, on_change,
                               viewer, &viewer->watch),
                     ST_OK);
    watch_start(viewer->watch);
}

static struct uuid stored_job(struct rig *rig, const char *task, const char *items)
{
    struct live *live = submit(rig, task, items, DURABILITY_DURABLE);
    struct uuid id = live->job.spec->id;

    (void)end_of(rig, live);
    live_unpin(live);
    WAIT(rig, !dispatch_find(rig->dispatch, id));
    return id;
}

static void assert_shown(const struct watch *watch, size_t index, const char *part)
{
    struct buf out = BUF_INIT;

    assert_true(watch_write(watch, index, &out));
    if (!strstr(out.data, part))
        fail_msg("%s", out.data);
    buf_clear(&out);
}

static void jobs_are_found_in_memory_and_in_the_store(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[4];
    struct viewer viewer;

    ids[3] = stored_job(rig, "square", "[1]");
    ids[1] = stored_job(rig, "safe_square", "[-1]");
    ids[0] = submit(rig, "sleep", "[30]", DURABILITY_MEMORY)->job.spec->id;
    ids[2] = dispatch_new_id(rig->dispatch, clock_wall_ms());
    watch_these(rig, &viewer, ids, 4, -1);
    assert_int_equal(viewer.changes, 0);
    WAIT(rig, viewer.changes);
    assert_true(viewer.watch->found);
    assert_int_equal(viewer.watch->ended_count, 2); /* in the order of the ids */
    assert_int_equal(viewer.watch->ended[0], 1);
    assert_int_equal(viewer.watch->ended[1], 3);
    assert_int_equal(viewer.watch->raised_count, 1);
    assert_int_equal(viewer.watch->unknown_count, 1);
    assert_true(viewer.watch->jobs[2].unknown);
    assert_shown(viewer.watch, 0, "\"ready\":false");
    assert_shown(viewer.watch, 1, "\"state\":\"failed\"");
    assert_shown(viewer.watch, 3, "\"state\":\"succeeded\"");
    watch_free(viewer.watch);
}

static void jobs_are_told_in_the_order_in_which_they_end(void **state)
{
    struct rig *rig = *state;
    struct viewer viewer;
    struct uuid ids[2];

    ids[0] = submit(rig, "sleep", "[0.2]", DURABILITY_DURABLE)->job.spec->id;
    ids[1] = submit(rig, "sleep", "[0.05]", DURABILITY_RELAXED)->job.spec->id;
    WAIT(rig, dispatch_find(rig->dispatch, ids[0]));
    watch_these(rig, &viewer, ids, 2, -1);
    assert_int_equal(viewer.changes, 1); /* both are in memory */
    assert_int_equal(viewer.watch->waiting, 2);
    WAIT(rig, viewer.changes == 3);
    assert_int_equal(viewer.watch->ended[0], 1);
    assert_int_equal(viewer.watch->ended[1], 0);
    assert_int_equal(viewer.watch->waiting, 0);
    assert_shown(viewer.watch, 0, "\"state\":\"succeeded\"");
    watch_free(viewer.watch);
}

static void many_jobs_are_one_waiter(void **state)
{
    struct rig *rig = *state;
    struct viewer viewers[MAX_WAITERS];
    struct uuid ids[MAX_WAITERS + 2];
    struct watch *more;

    for (unsigned i = 0; i < MAX_WAITERS + 2; i++)
        ids[i] = submit(rig, "sleep", "[30]", DURABILITY_MEMORY)->job.spec->id;
    for (unsigned i = 0; i < MAX_WAITERS; i++)
        watch_these(rig, &viewers[i], ids, MAX_WAITERS + 2, -1);
    assert_int_equal(dispatch_waiters(rig->dispatch), MAX_WAITERS);
    assert_int_equal(watch_new(rig->dispatch, ids, 1, 0, -1, on_change, NULL, &more),
                     ST_LIMIT);
    for (unsigned i = 0; i < MAX_WAITERS; i++)
        watch_free(viewers[i].watch);
    assert_int_equal(dispatch_waiters(rig->dispatch), 0);
}

static void time_is_up_only_when_all_are_found(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[2];
    struct viewer viewer;

    ids[0] = stored_job(rig, "square", "[1]");
    ids[1] = submit(rig, "sleep", "[30]", DURABILITY_MEMORY)->job.spec->id;
    rig->holding = true;
    watch_these(rig, &viewer, ids, 2, 0);
    some_turns(rig);
    assert_true(viewer.watch->time_is_up);
    assert_int_equal(viewer.changes, 0);
    release(rig);
    WAIT(rig, viewer.changes);
    assert_int_equal(viewer.watch->ended_count, 1);
    watch_free(viewer.watch);
    watch_these(rig, &viewer, &ids[1], 1, 5);
    assert_int_equal(viewer.changes, 1);
    WAIT(rig, viewer.changes == 2);
    assert_true(viewer.watch->time_is_up);
    watch_free(viewer.watch);
}

static void watch_may_be_freed_at_any_time(void **state)
{
    struct rig *rig = *state;
    struct uuid ids[2];
    struct viewer viewer;

    ids[0] = stored_job(rig, "square", "[1]");
    ids[1] = submit(rig, "sleep", "[30]", DURABILITY_MEMORY)->job.spec->id;
    watch_these(rig, &viewer, ids, 2, -1);
    watch_free(viewer.watch); /* while the store is asked */
    watch_these(rig, &viewer, ids, 2, -1);
    viewer.free_at_once = true; /* from the callback */
    WAIT(rig, !viewer.watch);
    assert_int_equal(viewer.changes, 1);
    watch_these(rig, &viewer, &ids[1], 1, 5);
    viewer.free_at_once = true;
    WAIT(rig, !viewer.watch);
    assert_int_equal(dispatch_waiters(rig->dispatch), 0);
}

static void no_jobs_are_found_at_once(void **state)
{
    struct rig *rig = *state;
    struct viewer viewer;

    watch_these(rig, &viewer, NULL, 0, -1);
    assert_int_equal(viewer.changes, 1);
    assert_int_equal(viewer.watch->ended_count, 0);
    watch_free(viewer.watch);
}

static void stopping_server_is_told(void **state)
{
    struct rig *rig = *state;
    struct uuid id = submit(rig, "sleep", "[30]", DURABILITY_MEMORY)->job.spec->id;
    struct viewer one, all[2];

    watch_these(rig, &one, &id, 1, -1);
    one.free_at_once = true;
    watch_these(rig, &all[0], &id, 1, -1);
    watch_these(rig, &all[1], NULL, 0, -1);
    dispatch_stop(rig->dispatch, true, on_stopped);
    WAIT(rig, rig->stopped);
    dispatch_wake_all(rig->dispatch);
    assert_null(one.watch);
    for (int i = 0; i < 2; i++) {
        assert_true(all[i].watch->stopping);
        watch_free(all[i].watch);
    }
}

static void watch_says_that_it_has_no_memory(void **state)
{
    struct rig *rig = *state;
    bool failed = true;
    struct uuid ids[2];

    ids[0] = stored_job(rig, "square", "[1]");
    ids[1] = submit(rig, "sleep", "[30]", DURABILITY_MEMORY)->job.spec->id;
    for (unsigned n = 1; failed; n++) {
        struct viewer viewer = { 0 };
        enum status st;

        rig->holding = true;
        mem_fail_at(n, 0);
        st = watch_new(rig->dispatch, ids, 2, 0, -1, on_change, &viewer, &viewer.watch);
        if (st == ST_OK)
            watch_start(viewer.watch);
        release(rig);
        failed = mem_calls() >= n;
        mem_fail_at(0, 0);
        if (st == ST_OK) {
            WAIT(rig, viewer.changes);
            assert_true(viewer.watch->st == ST_OK || viewer.watch->st == ST_NO_MEMORY);
            assert_true(viewer.watch->st != ST_OK || viewer.watch->ended_count == 1);
            watch_free(viewer.watch);
        }
        assert_int_equal(dispatch_waiters(rig->dispatch), 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_SQLITE(name) cmocka_unit_test_setup_teardown(name, set_up_sqlite, tear_down)
        CASE(jobs_are_found_in_memory_and_in_the_store),
        CASE_SQLITE(jobs_are_found_in_memory_and_in_the_store),
        CASE(jobs_are_told_in_the_order_in_which_they_end),
        CASE(many_jobs_are_one_waiter),
        CASE(time_is_up_only_when_all_are_found),
        CASE(watch_may_be_freed_at_any_time),
        CASE(no_jobs_are_found_at_once),
        CASE(stopping_server_is_told),
        CASE(watch_says_that_it_has_no_memory),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
