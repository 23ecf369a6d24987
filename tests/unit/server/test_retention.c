/* SPDX-License-Identifier: MIT */
/* When what is old goes, and how a wrong clock is borne. */
#include "server/retention.h"

#include "common/clock.h"
#include "tests/unit/server/test_store_fixture.h"

#define START_MS 1700000000000
#define DAY_MS   86400000
#define MINUTE   ((uint64_t)RETENTION_PERIOD_MS * NS_PER_MS)

struct rig {
    struct fixture *fx;
    uv_loop_t loop;
    struct retention *retention;
    uint64_t mono_ns;
};

static void drain(struct rig *rig)
{
    while (sem_trywait(&rig->fx->wake) == 0)
        store_drain(rig->fx->store);
}

static void run_at(struct rig *rig, uint64_t elapsed_ns, int64_t wall_ms)
{
    rig->mono_ns += elapsed_ns;
    clock_fake(rig->mono_ns, wall_ms);
    retention_run(rig->retention);
    drain(rig);
}

static int set_up(void **state)
{
    static const struct retention_options options = { 7ll * DAY_MS, 1000000, 0 };
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    rig->fx = fixture_new(false);
    rig->mono_ns = NS_PER_SEC;
    clock_fake(rig->mono_ns, START_MS);
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    assert_int_equal(retention_new(&rig->loop, rig->fx->store, &options, &rig->retention),
                     ST_OK);
    *state = rig;
    return 0;
}

static int tear_down_rig(void **state)
{
    struct rig *rig = *state;

    store_close(rig->fx->store);
    rig->fx->store = NULL;
    retention_free(rig->retention);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    clock_fake(0, 0);
    fixture_free(rig->fx);
    free(rig);
    return 0;
}

static struct uuid put_over(struct rig *rig, int64_t end_ms)
{
    struct job_spec *spec = spec_of(rig->fx);
    struct job_status status = status_of(JOB_CANCELLED);
    struct uuid id = spec->id;

    status.finished_at_ms = end_ms;
    store_put_job(rig->fx->store, spec, &status, NULL, NULL, NULL);
    job_spec_unref(spec);
    drain(rig);
    return id;
}

static bool is_gone(struct rig *rig, struct uuid id)
{
    struct answer got = { 0 };
    bool gone;

    store_get_job(rig->fx->store, id, true, note_job, &got);
    drain(rig);
    assert_int_equal(got.st, ST_OK);
    gone = got.job.gone;
    answer_clear(&got);
    return gone;
}

static void the_first_run_comes_with_the_loop(void **state)
{
    struct rig *rig = *state;
    struct uuid id = put_over(rig, START_MS - DAY_MS);

    uv_run(&rig->loop, UV_RUN_NOWAIT);
    drain(rig);
    assert_true(is_gone(rig, id));
}

static void a_result_goes_when_its_time_has_come(void **state)
{
    struct rig *rig = *state;
    struct uuid id = put_over(rig, START_MS - DAY_MS + RETENTION_PERIOD_MS);

    run_at(rig, 0, START_MS);
    assert_false(is_gone(rig, id));
    run_at(rig, MINUTE, START_MS + RETENTION_PERIOD_MS);
    assert_true(is_gone(rig, id));
}

static void a_clock_that_jumps_ahead_is_followed_slowly(void **state)
{
    struct rig *rig = *state;
    struct uuid soon = put_over(rig, START_MS - DAY_MS + 2 * RETENTION_PERIOD_MS);
    struct uuid late = put_over(rig, START_MS - DAY_MS + 2 * RETENTION_PERIOD_MS + 1);

    run_at(rig, MINUTE, START_MS + 3650ll * DAY_MS);
    assert_true(is_gone(rig, soon));
    assert_false(is_gone(rig, late));
    /* It was mended in time. */
    run_at(rig, MINUTE, START_MS);
    assert_false(is_gone(rig, late));
}

static void a_clock_that_was_set_back_is_followed_at_once(void **state)
{
    struct rig *rig = *state;
    struct uuid id = put_over(rig, START_MS - DAY_MS + 1);

    run_at(rig, MINUTE, START_MS - DAY_MS);
    run_at(rig, MINUTE, START_MS - DAY_MS + RETENTION_PERIOD_MS);
    assert_false(is_gone(rig, id));
}

static void a_run_lets_go_of_so_many_by_age_and_no_more(void **state)
{
    struct rig *rig = *state;
    struct uuid first = put_over(rig, START_MS - DAY_MS), last = first;

    for (int i = 0; i < RETENTION_AGED_MAX; i++)
        last = put_over(rig, START_MS - DAY_MS);
    run_at(rig, 0, START_MS);
    assert_true(is_gone(rig, first));
    assert_false(is_gone(rig, last));
    run_at(rig, MINUTE, START_MS + RETENTION_PERIOD_MS);
    assert_true(is_gone(rig, last));
    print_message(
        "G13: of %d jobs that are too old all of a sudden %d go in a run, each %d "
        "s\n",
        RETENTION_AGED_MAX + 1, RETENTION_AGED_MAX, RETENTION_PERIOD_MS / 1000);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_rig)
    const struct CMUnitTest tests[] = {
        CASE(the_first_run_comes_with_the_loop),
        CASE(a_result_goes_when_its_time_has_come),
        CASE(a_clock_that_jumps_ahead_is_followed_slowly),
        CASE(a_clock_that_was_set_back_is_followed_at_once),
        CASE(a_run_lets_go_of_so_many_by_age_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
