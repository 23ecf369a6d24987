/* SPDX-License-Identifier: MIT */
#include "server/attempt.h"

#include "common/clock.h"
#include "common/mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NOW_NS 5000000000u

static const struct failure_place place = { .item = 7, .attempt = 2 };

static int set_up(void **state)
{
    (void)state;
    clock_fake(NOW_NS, 1700000000000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    clock_fake(0, 0);
    return 0;
}

static void assert_attempt(struct blob *attempt, const char *expected)
{
    assert_non_null(attempt);
    assert_string_equal(attempt->data, expected);
    blob_unref(attempt);
}

static struct worker_trace trace_of(const char *output)
{
    return (struct worker_trace){ .pid = 4711,
                                  .began_ns = NOW_NS - 250 * NS_PER_MS,
                                  .output = { output, strlen(output) } };
}

static void an_error_of_the_task_has_its_exception(void **state)
{
    struct frame_failure failure = {
        .kind = FAILURE_TASK,
        .exception = TEXT("{\"type\":\"ValueError\",\"message\":\"no \\\"x\\\"\","
                          "\"traceback\":\"long\"}"),
    };
    struct worker_trace trace = trace_of("line\n");

    (void)state;
    assert_attempt(attempt_of_task(&place, &failure, &trace),
                   "{\"item\":7,\"attempt\":2,\"kind\":\"task-error\","
                   "\"detail\":\"ValueError: no \\\"x\\\"\","
                   "\"exception\":{\"type\":\"ValueError\",\"message\":\"no \\\"x\\\"\"},"
                   "\"exit_code\":null,\"signal\":null,"
                   "\"started_at\":\"2023-11-14T22:13:19.750Z\","
                   "\"finished_at\":\"2023-11-14T22:13:20.000Z\",\"pid\":4711,"
                   "\"cpu_seconds\":null,\"max_rss_bytes\":null,\"output\":\"line\\n\"}");
}

static void a_failure_that_cannot_be_read_is_a_protocol_error(void **state)
{
    struct frame_failure failure = { .kind = FAILURE_TASK, .exception = TEXT("[]") };
    struct worker_trace trace = trace_of("");
    struct blob *attempt = attempt_of_task(&place, &failure, &trace);

    (void)state;
    assert_non_null(strstr(attempt->data, "\"kind\":\"protocol-error\""));
    assert_non_null(strstr(attempt->data, "\"exception\":null"));
    blob_unref(attempt);
}

static void a_death_has_its_signal_and_what_the_worker_used(void **state)
{
    struct worker_exit exit = { .cause = EXIT_SIGNAL,
                                .code = SIGSEGV,
                                .cpu_ns = 1500000000,
                                .max_rss_bytes = 4096000,
                                .trace = trace_of("") };

    (void)state;
    exit.trace.began_ns = 0;
    assert_attempt(attempt_of_exit(&place, &exit, 0),
                   "{\"item\":7,\"attempt\":2,\"kind\":\"worker-lost\","
                   "\"detail\":\"the worker was killed by SIGSEGV\","
                   "\"exception\":null,\"exit_code\":null,\"signal\":\"SIGSEGV\","
                   "\"started_at\":null,\"finished_at\":\"2023-11-14T22:13:20.000Z\","
                   "\"pid\":4711,\"cpu_seconds\":1.500000,\"max_rss_bytes\":4096000,"
                   "\"output\":\"\"}");
}

static void the_kind_is_that_of_the_cause(void **state)
{
    static const struct {
        enum exit_cause cause;
        const char *contains;
    } cases[] = {
        { EXIT_CODE, "\"kind\":\"worker-lost\"" },
        { EXIT_CODE, "\"exit_code\":3,\"signal\":null" },
        { EXIT_TIME_LIMIT, "\"kind\":\"time-limit\"" },
        { EXIT_TIME_LIMIT, "ran longer than 1.5 seconds" },
        { EXIT_TIME_LIMIT, "\"exit_code\":null,\"signal\":null" },
        { EXIT_PROTOCOL, "\"kind\":\"protocol-error\"" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct worker_exit exit = { .cause = cases[i].cause, .code = 3 };
        struct blob *attempt = attempt_of_exit(&place, &exit, 1500);

        assert_non_null(attempt);
        if (!strstr(attempt->data, cases[i].contains))
            fail_msg("%s is not in %s", cases[i].contains, attempt->data);
        blob_unref(attempt);
    }
}

static void output_of_any_bytes_becomes_json(void **state)
{
    struct worker_exit exit = { .cause = EXIT_CODE,
                                .trace = trace_of("\xa4\xff \"ok\"\x1b") };
    struct blob *attempt = attempt_of_exit(&place, &exit, 0);

    (void)state;
    assert_non_null(attempt);
    assert_non_null(strstr(attempt->data, "\"output\":\"\xef\xbf\xbd\xef\xbf\xbd "
                                          "\\\"ok\\\"\\u001b\"}"));
    blob_unref(attempt);
}

static void every_allocation_may_fail(void **state)
{
    struct worker_exit exit = { .cause = EXIT_CODE, .trace = trace_of("text") };
    struct blob *attempt = NULL;

    (void)state;
    for (unsigned long n = 1; !attempt; n++) {
        mem_fail_at(n, 0);
        attempt = attempt_of_exit(&place, &exit, 0);
        mem_fail_at(0, 0);
        assert_true(n < 100);
    }
    blob_unref(attempt);
}

static void assert_cost(struct blob *attempt, bool is_crash)
{
    struct attempt_cost cost = { 0 };

    assert_non_null(attempt);
    assert_int_equal(attempt_read(blob_text(attempt), &cost), ST_OK);
    assert_int_equal(cost.item, 7);
    assert_int_equal(cost.number, 2);
    assert_int_equal(cost.is_crash, is_crash);
    blob_unref(attempt);
}

static void an_attempt_says_which_budget_it_was_paid_from(void **state)
{
    static const struct {
        enum exit_cause cause;
        bool is_crash;
    } exits[] = { { EXIT_SIGNAL, true },
                  { EXIT_PROTOCOL, true },
                  { EXIT_TIME_LIMIT, false },
                  { EXIT_CPU_LIMIT, false },
                  { EXIT_MEMORY_LIMIT, false } };
    struct frame_failure error = { .kind = FAILURE_TASK,
                                   .exception =
                                       TEXT("{\"type\":\"A\",\"message\":\"\"}") };
    struct frame_failure unreadable = { .kind = FAILURE_TASK, .exception = TEXT("[]") };
    struct worker_trace trace = trace_of("");

    (void)state;
    assert_cost(attempt_of_task(&place, &error, &trace), false);
    assert_cost(attempt_of_task(&place, &unreadable, &trace), false);
    for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
        struct worker_exit exit = { .cause = exits[i].cause,
                                    .code = SIGSEGV,
                                    .trace = trace };

        assert_cost(attempt_of_exit(&place, &exit, 1000), exits[i].is_crash);
    }
}

static void what_is_no_attempt_costs_nothing(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"item\":1,\"attempt\":1}",
        "{\"item\":-1,\"attempt\":1,\"kind\":\"x\"}",
        "{\"item\":1,\"attempt\":0,\"kind\":\"x\"}",
        "{\"item\":1.5,\"attempt\":1,\"kind\":\"x\"}",
    };
    struct attempt_cost cost;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(attempt_read((struct text){ bad[i], strlen(bad[i]) }, &cost),
                         ST_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_of_the_task_has_its_exception),
        cmocka_unit_test(a_failure_that_cannot_be_read_is_a_protocol_error),
        cmocka_unit_test(a_death_has_its_signal_and_what_the_worker_used),
        cmocka_unit_test(the_kind_is_that_of_the_cause),
        cmocka_unit_test(output_of_any_bytes_becomes_json),
        cmocka_unit_test(an_attempt_says_which_budget_it_was_paid_from),
        cmocka_unit_test(what_is_no_attempt_costs_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
