/* SPDX-License-Identifier: MIT */
/*
 * The job by itself: its states, its end, and what is left when it is restored. Its items
 * are in test_job_items.c; how it does in the long run, together with the queue, is in
 * test_queue_sim.c.
 */
#include "tests/unit/server/test_job_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* ---- states ------------------------------------------------------------------------ */

/* The drawing in schema/README.md, said once more. */
static const bool legal[JOB_STATE_COUNT][JOB_STATE_COUNT] = {
    [JOB_SCHEDULED] = { [JOB_QUEUED] = 1, [JOB_CANCELLED] = 1, [JOB_EXPIRED] = 1 },
    [JOB_QUEUED] = { [JOB_RUNNING] = 1,
                     [JOB_SUCCEEDED] = 1,
                     [JOB_FAILED] = 1,
                     [JOB_CANCELLED] = 1,
                     [JOB_EXPIRED] = 1 },
    [JOB_RUNNING] = { [JOB_SUCCEEDED] = 1, [JOB_FAILED] = 1, [JOB_CANCELLED] = 1 },
    [JOB_FAILED] = { [JOB_QUEUED] = 1 },
};

static void legal_moves_are_made_and_noted(void **state)
{
    (void)state;
    for (enum job_state from = 0; from < JOB_STATE_COUNT; from++)
        for (enum job_state to = 0; to < JOB_STATE_COUNT; to++) {
            struct job job;

            if (!legal[from][to])
                continue;
            start(&job, 1);
            job.status.state = from;
            job_set_state(&job, to, NOW_MS + 5);
            assert_int_equal(job.status.state, to);
            assert_int_equal(job.status.started_at_ms,
                             to == JOB_RUNNING ? NOW_MS + 5 : 0);
            assert_int_equal(job.status.finished_at_ms,
                             job_state_final(to) ? NOW_MS + 5 : 0);
            job_clear(&job);
        }
}

static sigjmp_buf aborted;

static void on_abort(int number)
{
    (void)number;
    siglongjmp(aborted, 1);
}

static void illegal_moves_stop_the_program(void **state)
{
    struct sigaction old, action = { .sa_handler = on_abort, .sa_flags = SA_NODEFER };
    int stderr_copy = dup(STDERR_FILENO),
        nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    volatile unsigned refused = 0, expected = 0;

    (void)state;
    assert_true(stderr_copy >= 0 && nowhere >= 0);
    dup2(nowhere, STDERR_FILENO); /* what assert says would only confuse */
    sigaction(SIGABRT, &action, &old);
    for (volatile enum job_state from = 0; from < JOB_STATE_COUNT; from++)
        for (volatile enum job_state to = 0; to < JOB_STATE_COUNT; to++) {
            struct job job = { .status.state = from };

            if (legal[from][to])
                continue;
            expected++;
            if (sigsetjmp(aborted, 1) == 0)
                job_set_state(&job, to, NOW_MS);
            else
                refused++;
        }
    sigaction(SIGABRT, &old, NULL);
    dup2(stderr_copy, STDERR_FILENO);
    close(stderr_copy);
    close(nowhere);
    assert_int_equal(refused, expected);
    assert_int_equal(expected, 49 - 12);
}

static void exactly_the_last_four_states_are_final(void **state)
{
    (void)state;
    for (enum job_state i = 0; i < JOB_STATE_COUNT; i++) {
        assert_int_equal(job_state_final(i), i >= JOB_SUCCEEDED);
        assert_non_null(job_state_names[i]);
    }
    assert_false(job_state_final(JOB_STATE_COUNT));
}

static void job_with_a_later_start_is_scheduled(void **state)
{
    struct job_spec from = plan(1);
    struct job job;

    (void)state;
    from.start_at_ms = NOW_MS + 1;
    start_with(&job, from);
    assert_int_equal(job.status.state, JOB_SCHEDULED);
    job_clear(&job);
    from.start_at_ms = NOW_MS;
    start_with(&job, from);
    assert_int_equal(job.status.state, JOB_QUEUED);
    job_clear(&job);
}

/* ---- the spec and the status ------------------------------------------------------- */

static void spec_has_its_own_copy_of_the_texts(void **state)
{
    char task[] = "square", pool[] = "p", tags[] = "[\"a\"]", metadata[] = "{}",
         key[] = "k";
    struct job_spec from = plan(1), *spec;

    (void)state;
    from.task = task;
    from.pool = pool;
    from.tags = tags;
    from.metadata = metadata;
    from.idempotency_key = key;
    from.body = text("[1]");
    spec = job_spec_new(&from);
    assert_non_null(spec);
    blob_unref(from.body);
    task[0] = pool[0] = tags[0] = metadata[0] = key[0] = 'x';
    assert_string_equal(spec->task, "square");
    assert_string_equal(spec->pool, "p");
    assert_string_equal(spec->tags, "[\"a\"]");
    assert_string_equal(spec->metadata, "{}");
    assert_string_equal(spec->idempotency_key, "k");
    assert_string_equal(spec->body->data, "[1]");
    assert_ptr_equal(job_spec_ref(spec), spec);
    job_spec_unref(spec);
    assert_string_equal(spec->task, "square");
    job_spec_unref(spec);
    job_spec_unref(NULL);
}

static void copied_status_keeps_its_error(void **state)
{
    struct job_status status = { .state = JOB_FAILED, .error = text("{}") };
    struct job_status copy = job_status_copy(&status);

    (void)state;
    job_status_clear(&status);
    assert_null(status.error);
    assert_string_equal(copy.error->data, "{}");
    job_status_clear(&copy);
}

static void what_a_task_says_is_the_latest_and_goes_with_the_end(void **state)
{
    struct job_status end, copy;
    struct job job;

    (void)state;
    start(&job, 0);
    job_say(&job, text("first"));
    job_say(&job, text("second"));
    copy = job_status_copy(&job.status);
    assert_string_equal(copy.said->data, "second");
    end = job_end_status(&job, JOB_SUCCEEDED, NOW_MS);
    assert_null(end.said);
    job_set_state(&job, JOB_SUCCEEDED, NOW_MS);
    assert_null(job.status.said);
    assert_string_equal(copy.said->data, "second");
    job_status_clear(&copy);
    job_status_clear(&end);
    job_clear(&job);
}

/* ---- the end ----------------------------------------------------------------------- */

static void empty_map_is_over_at_once(void **state)
{
    struct job job;

    (void)state;
    start(&job, 0);
    nothing_to_take(&job, NOW_NS, 0);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

static void job_with_items_is_not_over_before_they_are(void **state)
{
    struct job job;

    (void)state;
    start(&job, 2);
    assert_not_over(&job);
    take(&job, 2, 0, 2);
    assert_not_over(&job);
    add_results(&job, 0, 1);
    assert_not_over(&job);
    add_results(&job, 1, 1);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

static void return_exceptions_makes_a_success_of_failures(void **state)
{
    struct job_spec from = plan(2);
    struct job job;

    (void)state;
    from.return_exceptions = from.stop_on_error = true;
    start_with(&job, from);
    take(&job, 1, 0, 1);
    add_error(&job, 0, "{}");
    assert_int_equal(job.end, JOB_STATE_COUNT); /* nor does it stop */
    take(&job, 1, 1, 1);
    add_results(&job, 1, 1);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

static void first_error_stops_a_job_that_wants_it(void **state)
{
    struct job_spec from = plan(10);
    struct job job;

    (void)state;
    from.stop_on_error = true;
    start_with(&job, from);
    take(&job, 2, 0, 2);
    take(&job, 2, 2, 2);
    add_error(&job, 1, "{}");
    nothing_to_take(&job, NOW_NS, 0);
    assert_not_over(&job); /* three are still at workers */
    add_results(&job, 0, 1);
    add_results(&job, 2, 2);
    assert_over(&job, JOB_FAILED);
    job_clear(&job);
}

static void first_reason_to_stop_stays(void **state)
{
    struct job job;

    (void)state;
    start(&job, 2);
    take(&job, 1, 0, 1);
    job_stop(&job, JOB_CANCELLED);
    job_stop(&job, JOB_FAILED);
    nothing_to_take(&job, NOW_NS, 0);
    assert_not_over(&job);
    assert_int_equal(job_return(&job, (struct job_range){ 0, 1 }), ST_OK);
    assert_over(&job, JOB_CANCELLED);
    job_clear(&job);
}

/* ---- restoring --------------------------------------------------------------------- */

static struct outcome *outcomes_of(size_t count, const struct outcome *from)
{
    struct outcome *outcomes = mem_alloc((count + 1) * sizeof(*outcomes));

    assert_non_null(outcomes);
    memcpy(outcomes, from, count * sizeof(*outcomes));
    for (size_t i = 0; i < count; i++)
        outcomes[i].text = text("{}");
    return outcomes;
}

static void restored_job_does_what_has_no_outcome(void **state)
{
    const struct outcome stored[] = { { .first = 2, .count = 3 },
                                      { .first = 7, .count = 1, .is_error = true },
                                      { .first = 8, .count = 1, .is_error = true } };
    struct job_status status = {
        .state = JOB_RUNNING, .completed = 99, .attempt = 3, .started_at_ms = 5
    };
    struct job_spec from = plan(12);
    bool seen[12] = { false };
    struct job_range range;
    uint64_t retry_at_ns;
    struct job job;

    (void)state;
    assert_int_equal(
        job_restore(&job, job_spec_new(&from), &status, outcomes_of(3, stored), 3),
        ST_OK);
    assert_int_equal(job.status.state, JOB_QUEUED);
    assert_int_equal(job.status.completed, 3);
    assert_int_equal(job.status.failed, 2);
    assert_int_equal(job.status.attempt, 3);
    assert_int_equal(job.lowest_failed, 7);
    assert_int_equal(job_todo(&job), 7);
    while (job_take(&job, 2, NOW_NS, &range, &retry_at_ns))
        for (uint64_t i = range.first; i < range.first + range.count; i++) {
            assert_false(seen[i]);
            seen[i] = true;
        }
    for (uint64_t i = 0; i < 12; i++)
        assert_int_equal(seen[i], i < 2 || i == 5 || i == 6 || i > 8);
    assert_int_equal(job.in_flight, 7);
    job_clear(&job);
}

static void restored_job_with_all_outcomes_is_over(void **state)
{
    const struct outcome stored[] = { { .first = 0, .count = 3 } };
    struct job_status status = { .state = JOB_QUEUED };
    struct job_spec from = plan(3);
    struct job job;

    (void)state;
    assert_int_equal(
        job_restore(&job, job_spec_new(&from), &status, outcomes_of(1, stored), 1),
        ST_OK);
    nothing_to_take(&job, NOW_NS, 0);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

/* Items 0..2 have results, 3 and 5 errors, 4 was not run; 6 has one again. */
static void start_failed(struct job *job)
{
    const struct outcome stored[] = { { .first = 0, .count = 3 },
                                      { .first = 3, .count = 1, .is_error = true },
                                      { .first = 5, .count = 1, .is_error = true },
                                      { .first = 6, .count = 1 } };
    struct job_status status = { .state = JOB_FAILED,
                                 .attempt = 3,
                                 .started_at_ms = 5,
                                 .finished_at_ms = 6,
                                 .error = text("{}") };
    struct job_spec from = plan(7);

    from.stop_on_error = true;
    from.retries = 1;
    assert_int_equal(
        job_restore(job, job_spec_new(&from), &status, outcomes_of(4, stored), 4), ST_OK);
}

static void retried_job_does_what_has_no_result(void **state)
{
    bool seen[7] = { false };
    struct job_range range;
    uint64_t retry_at_ns;
    struct job job;

    (void)state;
    start_failed(&job);
    assert_int_equal(job_retry(&job), ST_OK);
    assert_int_equal(job.status.state, JOB_QUEUED);
    assert_int_equal(job.status.completed, 4);
    assert_int_equal(job.status.failed, 0);
    assert_int_equal(job.status.attempt, 0);
    assert_int_equal(job.status.started_at_ms, 5);
    assert_int_equal(job.status.finished_at_ms, 0);
    assert_null(job.status.error);
    assert_int_equal(job.outcome_count, 2);
    assert_int_equal(job_todo(&job), 3);
    assert_not_over(&job);
    while (job_take(&job, 1, NOW_NS, &range, &retry_at_ns))
        seen[range.first] = true;
    for (uint64_t i = 0; i < 7; i++)
        assert_int_equal(seen[i], i >= 3 && i <= 5);
    job_set_state(&job, JOB_RUNNING, 7);
    assert_int_equal(trouble(&job, 3, false, 0), JOB_ITEM_RETRIES); /* a new budget */
    job_clear(&job);
}

static void job_that_fails_again_is_retried_again(void **state)
{
    struct job job;

    (void)state;
    start(&job, 2);
    take(&job, 2, 0, 2);
    job_set_state(&job, JOB_RUNNING, 1);
    add_error(&job, 0, "{\"n\":1}");
    add_results(&job, 1, 1);
    assert_over(&job, JOB_FAILED);
    job_set_state(&job, JOB_FAILED, 2);
    assert_int_equal(job.outcome_bytes, 1 + 7);
    assert_int_equal(job_retry(&job), ST_OK);
    assert_int_equal(job.outcome_bytes, 1);
    take(&job, 2, 0, 1);
    job_set_state(&job, JOB_RUNNING, 3);
    add_error(&job, 0, "{\"n\":2}");
    assert_over(&job, JOB_FAILED);
    job_set_state(&job, JOB_FAILED, 4);
    assert_int_equal(job_retry(&job), ST_OK);
    take(&job, 2, 0, 1);
    add_results(&job, 0, 1);
    assert_over(&job, JOB_SUCCEEDED);
    job_clear(&job);
}

static void commas_between_results_are_not_counted(void **state)
{
    struct job job;

    (void)state;
    start(&job, 4);
    take(&job, 4, 0, 4);
    assert_int_equal(job_add_results(&job, 0, 3, text("10,20,30")), ST_OK);
    assert_int_equal(job.outcome_bytes, 6);
    assert_int_equal(job_add_results(&job, 3, 1, text("\"a,b\"")), ST_OK);
    assert_int_equal(job.outcome_bytes, 6 + 5);
    job_clear(&job);
}

static void job_that_cannot_be_retried_without_memory_is_as_before(void **state)
{
    enum status st = ST_NO_MEMORY;
    struct job job;

    (void)state;
    start_failed(&job);
    for (unsigned n = 1; st != ST_OK; n++) {
        mem_fail_at(n, 1);
        st = job_retry(&job);
        mem_fail_at(0, 0);
        if (st == ST_OK)
            break;
        assert_int_equal(job.status.state, JOB_FAILED);
        assert_int_equal(job.status.completed, 4);
        assert_int_equal(job.status.failed, 2);
        assert_int_equal(job.outcome_count, 4);
        assert_int_equal(job.lowest_failed, 3);
    }
    assert_int_equal(job_todo(&job), 3);
    job_clear(&job);
}

static void restored_job_that_was_to_stop_does_stop(void **state)
{
    const struct outcome stored[] = { { .first = 1, .count = 1, .is_error = true } };
    struct job_status status = { .state = JOB_RUNNING };
    struct job_spec from = plan(3);
    struct job job;

    (void)state;
    from.stop_on_error = true;
    assert_int_equal(
        job_restore(&job, job_spec_new(&from), &status, outcomes_of(1, stored), 1),
        ST_OK);
    nothing_to_take(&job, NOW_NS, 0);
    assert_over(&job, JOB_FAILED);
    job_clear(&job);
}

static void scheduled_job_is_restored_as_scheduled(void **state)
{
    struct job_status status = { .state = JOB_SCHEDULED };
    struct job_spec from = plan(1);
    struct job job;

    (void)state;
    assert_int_equal(job_restore(&job, job_spec_new(&from), &status, NULL, 0), ST_OK);
    assert_int_equal(job.status.state, JOB_SCHEDULED);
    assert_int_equal(job_todo(&job), 1);
    job_clear(&job);
}

/* ---- without memory ---------------------------------------------------------------- */

static void failed_allocation_leaves_the_job_as_it_was(void **state)
{
    struct job_spec from = plan(40);
    enum job_verdict verdict;
    struct job job;

    (void)state;
    from.retries = 1;
    start_with(&job, from);
    take(&job, 40, 0, 40);
    for (uint64_t i = 0; i < 40; i++) {
        struct blob *blob = text("1");
        struct blob *watched = blob_ref(blob);
        size_t outcomes = job.outcome_count;
        uint64_t in_flight = job.in_flight;
        enum status st;

        mem_fail_at(1, 1);
        st = i % 4 == 0   ? job_add_results(&job, i, 1, blob)
             : i % 4 == 1 ? job_add_error(&job, i, blob)
             : i % 4 == 2 ? job_return(&job, (struct job_range){ i, 1 })
                          : job_item_trouble(&job, i, true, NOW_NS, 0, &verdict);
        mem_fail_at(0, 0);
        if (st != ST_OK) {
            assert_int_equal(st, ST_NO_MEMORY);
            assert_int_equal(job.in_flight, in_flight);
            assert_int_equal(job.outcome_count, outcomes);
        } else {
            assert_int_equal(job.in_flight, in_flight - 1);
        }
        if (i % 4 > 1)
            blob_unref(blob);
        else if (st != ST_OK)
            assert_int_equal(atomic_load(&watched->refs), 1);
        blob_unref(watched);
        if (st != ST_OK) /* the same once more, now with memory */
            add_results(&job, i, 1);
    }
    assert_int_equal(job.in_flight, 0);
    assert_int_equal(job.status.completed + job.status.failed + job_todo(&job), 40);
    job_clear(&job);
}

/* Everything that allocates, once. */
static enum status sweep_once(void)
{
    const struct outcome stored[] = { { .first = 1, .count = 1 },
                                      { .first = 3, .count = 1 } };
    struct job_status status = { .state = JOB_RUNNING };
    struct outcome *outcomes = outcomes_of(2, stored);
    struct job_spec from = plan(6), *spec = job_spec_new(&from);
    struct job_range range;
    uint64_t retry_at_ns;
    enum job_verdict verdict;
    struct job job;
    enum status st;

    if (!spec) {
        for (size_t i = 0; i < 2; i++)
            blob_unref(outcomes[i].text);
        mem_free(outcomes);
        return ST_NO_MEMORY;
    }
    st = job_restore(&job, spec, &status, outcomes, 2);
    if (st != ST_OK)
        return st;
    assert_true(job_take(&job, 1, NOW_NS, &range, &retry_at_ns));
    st = job_item_trouble(&job, range.first, true, NOW_NS, 0, &verdict);
    if (st == ST_OK && job_take(&job, 9, NOW_NS, &range, &retry_at_ns))
        st = job_return(&job, range);
    job_clear(&job);
    return st;
}

static void every_failed_allocation_is_a_clean_failure(void **state)
{
    enum status st = ST_NO_MEMORY;
    unsigned long n;

    (void)state;
    /* The first three allocations are the test's own. */
    for (n = 4; st != ST_OK; n++) {
        assert_true(n < 100);
        mem_fail_at(n, 0);
        st = sweep_once();
        mem_fail_at(0, 0);
        assert_true(st == ST_OK || st == ST_NO_MEMORY);
    }
    assert_true(n > 6); /* it did fail before */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legal_moves_are_made_and_noted),
        cmocka_unit_test(illegal_moves_stop_the_program),
        cmocka_unit_test(exactly_the_last_four_states_are_final),
        cmocka_unit_test(job_with_a_later_start_is_scheduled),
        cmocka_unit_test(spec_has_its_own_copy_of_the_texts),
        cmocka_unit_test(copied_status_keeps_its_error),
        cmocka_unit_test(what_a_task_says_is_the_latest_and_goes_with_the_end),
        cmocka_unit_test(empty_map_is_over_at_once),
        cmocka_unit_test(job_with_items_is_not_over_before_they_are),
        cmocka_unit_test(return_exceptions_makes_a_success_of_failures),
        cmocka_unit_test(first_error_stops_a_job_that_wants_it),
        cmocka_unit_test(first_reason_to_stop_stays),
        cmocka_unit_test(restored_job_does_what_has_no_outcome),
        cmocka_unit_test(restored_job_with_all_outcomes_is_over),
        cmocka_unit_test(retried_job_does_what_has_no_result),
        cmocka_unit_test(job_that_fails_again_is_retried_again),
        cmocka_unit_test(commas_between_results_are_not_counted),
        cmocka_unit_test(job_that_cannot_be_retried_without_memory_is_as_before),
        cmocka_unit_test(restored_job_that_was_to_stop_does_stop),
        cmocka_unit_test(scheduled_job_is_restored_as_scheduled),
        cmocka_unit_test(failed_allocation_leaves_the_job_as_it_was),
        cmocka_unit_test(every_failed_allocation_is_a_clean_failure),
    };

    return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
