/* SPDX-License-Identifier: MIT */
/* Finished jobs of durability `memory`: what is kept of them, and for how long. */
#include "server/dispatch_private.h"
#include "tests/unit/server/dispatch_rig.h"

static void memory_job_loses_its_result_first_and_is_forgotten_later(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "square", DURABILITY_MEMORY);
    struct uuid id = from.id;
    uint64_t end_ns;
    struct live *live;

    from.result_ttl_ms = 1000;
    live = submit_as(rig, from, "[3]");
    assert_ends(rig, live, JOB_SUCCEEDED);
    end_ns = live->ended_ns;
    live_unpin(live);
    clock_fake(end_ns + 999 * NS_PER_MS, clock_wall_ms() + 3600000);
    aside_sweep(rig->dispatch->sweep);
    assert_false(live->gone); /* whatever the wall clock says */
    clock_fake(end_ns + NS_PER_SEC, clock_wall_ms());
    live_pin(live);
    aside_sweep(rig->dispatch->sweep);
    assert_false(live->gone); /* somebody reads from it */
    live_unpin(live);
    aside_sweep(rig->dispatch->sweep);
    assert_true(live->gone);
    assert_int_equal(live->job.outcome_count, 0);
    assert_int_equal(live->job.spec->input.len, 0);
    assert_ptr_equal(dispatch_find(rig->dispatch, id), live);
    clock_fake(end_ns + JOB_TTL_MS * NS_PER_MS, clock_wall_ms());
    aside_sweep(rig->dispatch->sweep);
    assert_null(dispatch_find(rig->dispatch, id));
    clock_fake(0, 0);
}

static void memory_jobs_are_kept_within_limits(void **state)
{
    struct rig *rig = *state;
    char items[MAX_FINISHED_BYTES / 2 + 3] = "[1";
    struct live *first = NULL;
    struct uuid ids[MAX_JOBS + 1];

    memset(items + 2, ' ', MAX_FINISHED_BYTES / 2);
    strcpy(items + MAX_FINISHED_BYTES / 2 + 1, "]");
    for (int i = 0; i <= MAX_JOBS; i++) {
        struct live *live =
            submit(rig, "square", i < 2 ? items : "[1]", DURABILITY_MEMORY);

        ids[i] = live->id;
        if (!i)
            first = live;
        assert_ends(rig, live, JOB_SUCCEEDED);
        live_unpin(live);
        if (i == 0)
            assert_false(first->gone);
        if (i == 1)
            assert_true(first->gone); /* two are too many bytes */
        if (i == MAX_JOBS - 1)
            assert_non_null(dispatch_find(rig->dispatch, ids[0]));
    }
    assert_null(dispatch_find(rig->dispatch, ids[0]));
    assert_non_null(dispatch_find(rig->dispatch, ids[1]));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(memory_job_loses_its_result_first_and_is_forgotten_later),
        CASE(memory_jobs_are_kept_within_limits),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch_aside", tests, NULL, NULL);
}
