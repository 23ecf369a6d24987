/* SPDX-License-Identifier: MIT */
/*
 * Jobs whose items come one by one.
 */
#include "tests/unit/server/test_job_fixture.h"

static void start_fed(struct job *job, uint64_t window)
{
    struct job_spec from = plan(0);

    from.method = JOB_IMAP;
    from.fed = true;
    from.chunksize = 2;
    from.window = window;
    start_with(job, from);
}

static void feed(struct job *job, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(job_feed(job, TEXT("7")), ST_OK);
}

static void job_is_not_over_before_its_input_has_ended(void **state)
{
    struct job job;

    (void)state;
    start_fed(&job, 0);
    assert_not_over(&job);
    assert_int_equal(job_todo(&job), 0);
    nothing_to_take(&job, NOW_NS, 0);
    feed(&job, 3);
    assert_int_equal(job_items(job.spec, &job.status), 3);
    assert_int_equal(job_todo(&job), 3);
    take(&job, 2, 0, 2);
    take(&job, 2, 2, 1); /* a chunk does not wait for items that may come */
    add_results(&job, 0, 2);
    add_results(&job, 2, 1);
    assert_not_over(&job);
    feed(&job, 1);
    take(&job, 2, 3, 1);
    job_end_input(&job, NULL);
    assert_not_over(&job);
    add_results(&job, 3, 1);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

static void job_that_was_fed_nothing_succeeds(void **state)
{
    struct job job;

    (void)state;
    start_fed(&job, 0);
    job_end_input(&job, NULL);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

static void broken_input_fails_the_job_behind_its_items(void **state)
{
    struct job_status end;
    struct job job;

    (void)state;
    start_fed(&job, 0);
    feed(&job, 2);
    take(&job, 1, 0, 1);
    job_end_input(&job, text("{\"line\":4}"));
    take(&job, 1, 1, 1); /* what has come is run */
    add_results(&job, 0, 1);
    assert_not_over(&job);
    add_error(&job, 1, "{\"item\":1}");
    assert_over(&job, JOB_FAILED);
    job_set_state(&job, JOB_RUNNING, NOW_MS);
    end = job_end_status(&job, JOB_FAILED, NOW_MS);
    assert_string_equal(end.error->data, "{\"line\":4}");
    assert_int_equal(end.fed, 2);
    job_status_clear(&end);
    job_clear(&job);
}

static void window_holds_back_items_that_are_fed(void **state)
{
    struct job job;

    (void)state;
    start_fed(&job, 2);
    feed(&job, 1);
    take(&job, 2, 0, 1); /* no chunk to wait for: the window goes on behind it */
    feed(&job, 4);
    assert_int_equal(job_todo(&job), 0);
    job_open(&job, 3);
    take(&job, 2, 1, 2);
    job_open(&job, UINT64_MAX);
    take(&job, 2, 3, 2);
    feed(&job, 1);
    take(&job, 2, 5, 1);
    job_clear(&job);
}

static void chunks_end_where_the_text_of_items_does(void **state)
{
    struct job job;

    (void)state;
    start_fed(&job, 0);
    feed(&job, FEED_PART_ITEMS + 10);
    take(&job, 5000, 0, FEED_PART_ITEMS);
    assert_int_equal(job_return(&job, (struct job_range){ 3, 2 }), ST_OK);
    take(&job, 5000, 3, 2);
    take(&job, 5000, FEED_PART_ITEMS, 10);
    job_clear(&job);
}

static void outcomes_that_are_stored_and_read_are_let_go_of(void **state)
{
    struct job_status end;
    struct job job;

    (void)state;
    start_fed(&job, 0);
    feed(&job, 6);
    take(&job, 6, 0, 6);
    add_results(&job, 0, 1);
    add_error(&job, 1, "{}");
    add_error(&job, 2, "{}");
    add_results(&job, 3, 1);
    add_results(&job, 4, 2);
    for (size_t i = 0; i < job.outcome_count; i++) {
        job.outcomes[i].stored = i != 3;
        job.outcomes[i].read = i != 4;
    }
    assert_int_equal(job.outcome_bytes, 1 + 2 + 2 + 1 + 1);
    job_let_go(&job, false);
    assert_null(job_outcome(&job, 0));
    assert_non_null(job_outcome(&job, 1)); /* may be the job's error */
    assert_null(job_outcome(&job, 2));
    assert_non_null(job_outcome(&job, 3)); /* not stored */
    assert_non_null(job_outcome(&job, 4)); /* not read */
    job_let_go(&job, true);
    assert_null(job_outcome(&job, 4));
    assert_int_equal(job.outcome_count, 2);
    assert_int_equal(job.outcome_bytes, 2 + 1);
    job_end_input(&job, NULL);
    assert_over(&job, JOB_FAILED);
    job_set_state(&job, JOB_RUNNING, NOW_MS);
    end = job_end_status(&job, JOB_FAILED, NOW_MS);
    assert_string_equal(end.error->data, "{}");
    assert_int_equal(end.bytes, 1 + 2 + 2 + 1 + 1);
    job_status_clear(&end);
    job_clear(&job);
}

static void restored_job_knows_how_much_came_and_takes_no_more(void **state)
{
    struct job_spec from = plan(0);
    struct job_status status = { .state = JOB_RUNNING };
    struct outcome *outcomes = mem_alloc(sizeof(*outcomes));
    struct job job;

    (void)state;
    from.method = JOB_IMAP;
    from.fed = true;
    assert_non_null(outcomes);
    *outcomes = (struct outcome){ .first = 2, .count = 3, .text = text("1,2,3") };
    assert_int_equal(job_restore(&job, job_spec_new(&from), &status, outcomes, 1), ST_OK);
    assert_false(job.open);
    assert_int_equal(job_items(job.spec, &job.status), 5);
    assert_int_equal(job.status.completed, 3);
    job_fail(&job, text("{}"));
    assert_over(&job, JOB_FAILED);
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(job_is_not_over_before_its_input_has_ended),
        cmocka_unit_test(job_that_was_fed_nothing_succeeds),
        cmocka_unit_test(broken_input_fails_the_job_behind_its_items),
        cmocka_unit_test(window_holds_back_items_that_are_fed),
        cmocka_unit_test(chunks_end_where_the_text_of_items_does),
        cmocka_unit_test(outcomes_that_are_stored_and_read_are_let_go_of),
        cmocka_unit_test(restored_job_knows_how_much_came_and_takes_no_more),
    };

    return cmocka_run_group_tests_name("job_feed", tests, NULL, NULL);
}
