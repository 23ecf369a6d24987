/* SPDX-License-Identifier: MIT */
/*
 * How a job hands out its items, what it does with those that fail, and their outcomes.
 */
#include "tests/unit/server/test_job_fixture.h"

/* ---- handing out ------------------------------------------------------------------- */

static void items_are_handed_out_in_order(void **state)
{
    struct job job;

    (void)state;
    start(&job, 10);
    assert_int_equal(job_todo(&job), 10);
    take(&job, 4, 0, 4);
    take(&job, 4, 4, 4);
    assert_int_equal(job.in_flight, 8);
    take(&job, 4, 8, 2);
    assert_int_equal(job_todo(&job), 0);
    nothing_to_take(&job, NOW_NS, 0);
    job_clear(&job);
}

static void returned_items_come_before_new_ones(void **state)
{
    struct job job;

    (void)state;
    start(&job, 10);
    take(&job, 6, 0, 6);
    assert_int_equal(job_return(&job, (struct job_range){ 1, 5 }), ST_OK);
    assert_int_equal(job.in_flight, 1);
    assert_int_equal(job_todo(&job), 9);
    take(&job, 2, 1, 2);
    take(&job, 9, 3, 3);
    take(&job, 9, 6, 4);
    assert_int_equal(job.in_flight, 10);
    assert_int_equal(job_item_attempt(&job, 1), 1);
    job_clear(&job);
}

static void returning_nothing_changes_nothing(void **state)
{
    struct job job;

    (void)state;
    start(&job, 2);
    take(&job, 1, 0, 1);
    assert_int_equal(job_return(&job, (struct job_range){ 1, 0 }), ST_OK);
    assert_int_equal(job.in_flight, 1);
    assert_int_equal(job_todo(&job), 1);
    job_clear(&job);
}

static void many_returned_ranges_are_all_kept(void **state)
{
    struct job job;
    bool seen[20] = { false };
    struct job_range range;
    uint64_t retry_at_ns;

    (void)state;
    start(&job, 20);
    for (uint64_t i = 0; i < 20; i++)
        take(&job, 1, i, 1);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(job_return(&job, (struct job_range){ i, 1 }), ST_OK);
    assert_int_equal(job_todo(&job), 20);
    while (job_take(&job, 3, NOW_NS, &range, &retry_at_ns)) {
        assert_int_equal(range.count, 1);
        assert_false(seen[range.first]);
        seen[range.first] = true;
    }
    assert_int_equal(job.in_flight, 20);
    job_clear(&job);
}

/* ---- budgets ----------------------------------------------------------------------- */

static void item_without_retries_fails_at_its_first_error(void **state)
{
    struct job job;

    (void)state;
    start(&job, 1);
    take(&job, 1, 0, 1);
    assert_int_equal(trouble(&job, 0, false, 0), JOB_ITEM_FAILED);
    assert_int_equal(job.in_flight, 1); /* until its error is added */
    add_error(&job, 0, "{}");
    assert_int_equal(job.in_flight, 0);
    assert_over(&job, JOB_FAILED);
    job_clear(&job);
}

static void retries_wait_longer_each_time_up_to_the_maximum(void **state)
{
    static const uint64_t expected_ms[] = { 1000, 3000, 9000, 10000, 10000 };
    struct job_spec from = plan(1);
    struct job job;

    (void)state;
    from.retries = 5;
    from.backoff =
        (struct job_backoff){ .initial_ms = 1000, .max_ms = 10000, .factor = 3 };
    start_with(&job, from);
    take(&job, 1, 0, 1);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t due_ns = NOW_NS + expected_ms[i] * NS_PER_MS, retry_at_ns;
        struct job_range range;

        assert_int_equal(trouble(&job, 0, false, 0.99), JOB_ITEM_RETRIES);
        assert_int_equal(job.status.attempt, i + 2);
        assert_int_equal(job_item_attempt(&job, 0), i + 2);
        assert_int_equal(job_todo(&job), 1);
        nothing_to_take(&job, due_ns - 1, due_ns);
        assert_true(job_take(&job, 9, due_ns, &range, &retry_at_ns));
        assert_int_equal(range.count, 1);
    }
    assert_int_equal(trouble(&job, 0, false, 0), JOB_ITEM_FAILED);
    assert_int_equal(job.status.attempt, 6);
    job_clear(&job);
}

static void jitter_takes_between_half_and_all_of_the_pause(void **state)
{
    static const struct {
        double random;
        uint64_t expected_ms;
    } cases[] = { { 0, 500 }, { 0.5, 750 }, { 0.999999999, 999 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct job_spec from = plan(1);
        struct job job;

        from.retries = 1;
        from.backoff.jitter = true;
        start_with(&job, from);
        take(&job, 1, 0, 1);
        assert_int_equal(trouble(&job, 0, false, cases[i].random), JOB_ITEM_RETRIES);
        assert_int_equal((TAILQ_FIRST(&job.waiting)->retry_at_ns - NOW_NS) / NS_PER_MS,
                         cases[i].expected_ms);
        job_clear(&job);
    }
}

static void longest_pauses_do_not_overflow(void **state)
{
    struct job_spec from = plan(1);
    struct job job;

    (void)state;
    from.retries = 100;
    from.backoff = (struct job_backoff){ .initial_ms = 31536000000,
                                         .max_ms = 31536000000,
                                         .factor = 1000 };
    start_with(&job, from);
    take(&job, 1, 0, 1);
    for (unsigned i = 0; i < 100; i++) {
        struct job_range range;
        uint64_t retry_at_ns;

        assert_int_equal(trouble(&job, 0, false, 0.5), JOB_ITEM_RETRIES);
        assert_int_equal(TAILQ_FIRST(&job.waiting)->retry_at_ns,
                         NOW_NS + 31536000 * NS_PER_SEC);
        assert_true(job_take(&job, 1, UINT64_MAX, &range, &retry_at_ns));
    }
    assert_int_equal(trouble(&job, 0, false, 0.5), JOB_ITEM_FAILED);
    job_clear(&job);
}

static void crashes_are_paid_from_a_budget_of_their_own(void **state)
{
    struct job_spec from = plan(1);
    struct job job;

    (void)state;
    from.retries = 1;
    from.crash_retries = 2;
    from.backoff.initial_ms = 0;
    start_with(&job, from);
    take(&job, 1, 0, 1);
    assert_int_equal(trouble(&job, 0, true, 0), JOB_ITEM_RETRIES);
    take(&job, 1, 0, 1); /* at once: a crash has no pause */
    assert_int_equal(trouble(&job, 0, false, 0), JOB_ITEM_RETRIES);
    take(&job, 1, 0, 1);
    assert_int_equal(trouble(&job, 0, true, 0), JOB_ITEM_RETRIES);
    take(&job, 1, 0, 1);
    assert_int_equal(job_item_attempt(&job, 0), 4);
    assert_int_equal(trouble(&job, 0, false, 0), JOB_ITEM_FAILED);
    assert_int_equal(trouble(&job, 0, true, 0), JOB_ITEM_FAILED);
    job_clear(&job);
}

static void crashed_item_travels_alone_from_then_on(void **state)
{
    struct job job;

    (void)state;
    start(&job, 4);
    take(&job, 4, 0, 4);
    assert_int_equal(job_return(&job, (struct job_range){ 2, 2 }), ST_OK);
    assert_int_equal(job_return(&job, (struct job_range){ 0, 1 }), ST_OK);
    assert_int_equal(trouble(&job, 1, true, 0), JOB_ITEM_RETRIES);
    take(&job, 9, 0, 1);
    take(&job, 9, 2, 2);
    take(&job, 9, 1, 1);
    assert_int_equal(job_return(&job, (struct job_range){ 1, 1 }), ST_OK);
    assert_int_equal(job.returned_count, 0); /* it waits by itself again */
    assert_int_equal(job_todo(&job), 1);
    take(&job, 9, 1, 1);
    assert_int_equal(job_item_attempt(&job, 1), 2); /* coming back is no attempt */
    job_clear(&job);
}

static void attempts_before_a_restart_are_paid_for(void **state)
{
    struct job_spec from = plan(3);
    enum job_verdict verdict;
    struct job job;

    (void)state;
    from.retries = 2;
    from.crash_retries = 1;
    start_with(&job, from);
    /* Item 0: two errors. 1: a crash, before a retry of the job an error. 2: of its first
     * two attempts nothing is known. 9 is not there. */
    assert_int_equal(job_restore_trouble(&job, 0, 1, false), ST_OK);
    assert_int_equal(job_restore_trouble(&job, 1, 1, false), ST_OK);
    assert_int_equal(job_restore_trouble(&job, 0, 2, false), ST_OK);
    assert_int_equal(job_restore_trouble(&job, 1, 1, true), ST_OK);
    assert_int_equal(job_restore_trouble(&job, 2, 3, false), ST_OK);
    assert_int_equal(job_restore_trouble(&job, 9, 1, false), ST_OK);
    assert_int_equal(job_item_attempt(&job, 0), 3);
    assert_int_equal(job_item_attempt(&job, 1), 2);
    assert_int_equal(job_item_attempt(&job, 2), 4);
    take(&job, 3, 0, 3); /* all of them are to do, as those without trouble */
    assert_int_equal(job_item_trouble(&job, 0, false, NOW_NS, 0, &verdict), ST_OK);
    assert_int_equal(verdict, JOB_ITEM_FAILED);
    assert_int_equal(job_item_trouble(&job, 2, false, NOW_NS, 0, &verdict), ST_OK);
    assert_int_equal(verdict, JOB_ITEM_FAILED);
    assert_int_equal(job_item_trouble(&job, 1, true, NOW_NS, 0, &verdict), ST_OK);
    assert_int_equal(verdict, JOB_ITEM_FAILED);
    assert_int_equal(job_item_trouble(&job, 1, false, NOW_NS, 0, &verdict), ST_OK);
    assert_int_equal(verdict, JOB_ITEM_RETRIES);
    job_clear(&job);
}

static void earliest_retry_comes_first(void **state)
{
    struct job_spec from = plan(3);
    struct job_range range;
    uint64_t retry_at_ns;
    enum job_verdict verdict;
    struct job job;

    (void)state;
    from.retries = 1;
    start_with(&job, from);
    take(&job, 3, 0, 3);
    assert_int_equal(job_item_trouble(&job, 0, false, NOW_NS + 20, 0, &verdict), ST_OK);
    assert_int_equal(job_item_trouble(&job, 1, false, NOW_NS + 10, 0, &verdict), ST_OK);
    assert_int_equal(job_item_trouble(&job, 2, false, NOW_NS + 30, 0, &verdict), ST_OK);
    nothing_to_take(&job, NOW_NS, NOW_NS + 10 + NS_PER_SEC);
    for (unsigned i = 0; i < 3; i++) {
        static const uint64_t order[] = { 1, 0, 2 };

        assert_true(job_take(&job, 3, NOW_NS + 2 * NS_PER_SEC, &range, &retry_at_ns));
        assert_int_equal(range.first, order[i]);
        assert_int_equal(range.count, 1);
    }
    job_clear(&job);
}

static void fresh_items_go_on_while_a_retry_waits(void **state)
{
    struct job_spec from = plan(3);
    struct job job;

    (void)state;
    from.retries = 1;
    start_with(&job, from);
    take(&job, 1, 0, 1);
    assert_int_equal(trouble(&job, 0, false, 0), JOB_ITEM_RETRIES);
    take(&job, 9, 1, 2);
    nothing_to_take(&job, NOW_NS, NOW_NS + NS_PER_SEC);
    job_clear(&job);
}

static struct job_spec windowed(uint64_t items, uint64_t window, uint64_t chunksize)
{
    struct job_spec from = plan(items);

    from.window = window;
    from.chunksize = chunksize;
    return from;
}

static void window_holds_back_what_was_never_handed_out(void **state)
{
    struct job job;

    (void)state;
    start_with(&job, windowed(10, 3, JOB_CHUNKSIZE_AUTO));
    assert_int_equal(job_todo(&job), 3);
    take(&job, 2, 0, 2);
    take(&job, 2, 2, 1);
    assert_int_equal(job_todo(&job), 0);
    nothing_to_take(&job, NOW_NS, 0);
    add_results(&job, 0, 3);
    nothing_to_take(&job, NOW_NS, 0); /* done is not read */
    assert_not_over(&job);
    job_open(&job, 4);
    job_open(&job, 1); /* it does not move back */
    assert_int_equal(job_todo(&job), 1);
    take(&job, 9, 3, 1);
    job_open(&job, UINT64_MAX);
    assert_int_equal(job_todo(&job), 6);
    take(&job, 9, 4, 6);
    add_results(&job, 3, 1);
    add_results(&job, 4, 6);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

static void window_does_not_hold_back_what_it_waits_for(void **state)
{
    struct job_spec from = windowed(4, 2, 1);
    struct job job;

    (void)state;
    from.retries = 1;
    start_with(&job, from);
    take(&job, 1, 0, 1);
    take(&job, 1, 1, 1);
    assert_int_equal(job_return(&job, (struct job_range){ 1, 1 }), ST_OK);
    take(&job, 1, 1, 1);
    assert_int_equal(trouble(&job, 0, true, 0), JOB_ITEM_RETRIES);
    assert_int_equal(job_todo(&job), 1);
    take(&job, 1, 0, 1);
    nothing_to_take(&job, NOW_NS, 0);
    add_results(&job, 0, 1);
    add_results(&job, 1, 1);
    job_clear(&job);
}

static void window_that_moves_little_gives_whole_chunks(void **state)
{
    struct job job;

    (void)state;
    start_with(&job, windowed(9, 5, 3));
    take(&job, 3, 0, 3);
    nothing_to_take(&job, NOW_NS, 0); /* two are open, a chunk is three */
    assert_int_equal(job_todo(&job), 0);
    job_open(&job, 6);
    take(&job, 3, 3, 3);
    job_open(&job, 8);
    nothing_to_take(&job, NOW_NS, 0);
    job_open(&job, 9); /* the last chunk may be short */
    take(&job, 2, 6, 2);
    take(&job, 3, 8, 1);
    add_results(&job, 0, 9);
    job_clear(&job);
}

static void stopped_job_gives_no_more_attempts(void **state)
{
    struct job_spec from = plan(2);
    struct job job;

    (void)state;
    from.retries = 5;
    start_with(&job, from);
    take(&job, 2, 0, 2);
    job_stop(&job, JOB_CANCELLED);
    assert_int_equal(trouble(&job, 0, false, 0), JOB_ITEM_FAILED);
    assert_int_equal(trouble(&job, 1, true, 0), JOB_ITEM_FAILED);
    job_clear(&job);
}

/* ---- outcomes ---------------------------------------------------------------------- */

static void outcomes_are_ordered_however_they_come(void **state)
{
    static const uint64_t order[] = { 6, 0, 8, 4, 2 };
    struct job job;

    (void)state;
    start(&job, 10);
    take(&job, 10, 0, 10);
    for (size_t i = 0; i < 5; i++)
        add_results(&job, order[i], 2);
    assert_int_equal(job.outcome_count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(job.outcomes[i].first, 2 * i);
        assert_ptr_equal(job_outcome(&job, 2 * i), &job.outcomes[i]);
        assert_null(job_outcome(&job, 2 * i + 1));
    }
    assert_null(job_outcome(&job, 10));
    assert_int_equal(job.status.completed, 10);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

static void error_of_the_lowest_failed_item_is_the_jobs(void **state)
{
    struct job_status end;
    struct job job;

    (void)state;
    start(&job, 4);
    take(&job, 4, 0, 4);
    job_set_state(&job, JOB_RUNNING, NOW_MS);
    add_error(&job, 3, "{\"item\":3}");
    add_error(&job, 1, "{\"item\":1}");
    add_error(&job, 2, "{\"item\":2}");
    assert_not_over(&job);
    add_results(&job, 0, 1);
    assert_int_equal(job.lowest_failed, 1);
    assert_int_equal(job.status.failed, 3);
    assert_over(&job, JOB_FAILED);
    end = job_end_status(&job, JOB_FAILED, NOW_MS + 9);
    assert_string_equal(end.error->data, "{\"item\":1}");
    assert_int_equal(end.state, JOB_FAILED);
    assert_int_equal(end.finished_at_ms, NOW_MS + 9);
    assert_int_equal(job.status.state, JOB_RUNNING); /* it is only looked ahead */
    job_status_clear(&end);
    job_clear(&job);
}

static void failed_job_without_memory_has_no_error(void **state)
{
    struct job_status end;
    struct job job;

    (void)state;
    start(&job, 1);
    job_stop(&job, JOB_FAILED);
    end = job_end_status(&job, JOB_FAILED, NOW_MS);
    assert_null(end.error);
    job_clear(&job);
}

static void success_after_trouble_forgets_the_trouble(void **state)
{
    struct job job;

    (void)state;
    start(&job, 1);
    take(&job, 1, 0, 1);
    assert_int_equal(trouble(&job, 0, true, 0), JOB_ITEM_RETRIES);
    take(&job, 1, 0, 1);
    add_results(&job, 0, 1);
    assert_null(job.troubles);
    assert_int_equal(job.status.attempt, 2);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_handed_out_in_order),
        cmocka_unit_test(returned_items_come_before_new_ones),
        cmocka_unit_test(returning_nothing_changes_nothing),
        cmocka_unit_test(many_returned_ranges_are_all_kept),
        cmocka_unit_test(item_without_retries_fails_at_its_first_error),
        cmocka_unit_test(retries_wait_longer_each_time_up_to_the_maximum),
        cmocka_unit_test(jitter_takes_between_half_and_all_of_the_pause),
        cmocka_unit_test(longest_pauses_do_not_overflow),
        cmocka_unit_test(crashes_are_paid_from_a_budget_of_their_own),
        cmocka_unit_test(crashed_item_travels_alone_from_then_on),
        cmocka_unit_test(attempts_before_a_restart_are_paid_for),
        cmocka_unit_test(earliest_retry_comes_first),
        cmocka_unit_test(fresh_items_go_on_while_a_retry_waits),
        cmocka_unit_test(window_holds_back_what_was_never_handed_out),
        cmocka_unit_test(window_does_not_hold_back_what_it_waits_for),
        cmocka_unit_test(window_that_moves_little_gives_whole_chunks),
        cmocka_unit_test(stopped_job_gives_no_more_attempts),
        cmocka_unit_test(outcomes_are_ordered_however_they_come),
        cmocka_unit_test(error_of_the_lowest_failed_item_is_the_jobs),
        cmocka_unit_test(failed_job_without_memory_has_no_error),
        cmocka_unit_test(success_after_trouble_forgets_the_trouble),
    };

    return cmocka_run_group_tests_name("job_items", tests, NULL, NULL);
}
