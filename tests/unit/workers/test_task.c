/* SPDX-License-Identifier: MIT */
#include "workers/task.h"

#include "common/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Tasks that do what one test needs. */

static void run_first(struct task_call *call)
{
    call_return_text(call, call_arg(call, 0));
}

static const struct task one = { .name = "one", .params = { "x" }, .run = run_first };

static void run_list(struct task_call *call)
{
    buf_add_char(call_out(call), '[');
    for (unsigned i = 0; i < TASK_PARAMS_MAX && call->task->params[i]; i++) {
        if (i > 0)
            buf_add_char(call_out(call), ',');
        buf_add_text(call_out(call), call_arg(call, i));
    }
    buf_add_char(call_out(call), ']');
    call_return_written(call);
}

static const struct task none = { .name = "none", .run = run_list };
static const struct task two = { .name = "two", .params = { "a", "b" }, .run = run_list };
static const struct task three = { .name = "three",
                                   .params = { "a", "b", "c" },
                                   .run = run_list };
static const struct task full = {
    .name = "full",
    .params = { "a", "b", "c", "d", "e", "f", "g", "h" },
    .run = run_list,
};

static void run_number(struct task_call *call)
{
    struct number n;

    if (!call_number(call, 0, &n))
        return;
    if (n.is_int)
        call_return_int(call, n.integer);
    else
        call_return_real(call, n.real);
}

static const struct task number = { .name = "number",
                                    .params = { "x" },
                                    .run = run_number };

static void run_int64(struct task_call *call)
{
    int64_t n;

    if (call_int64(call, 0, &n))
        call_return_int(call, n);
}

static const struct task int64 = { .name = "int64", .params = { "n" }, .run = run_int64 };

static void run_fail(struct task_call *call)
{
    buf_add_str(call_out(call), "[half a res");
    call_raise(call, "ValueError", "bad \"%s\"", "x");
    call_raise(call, "KeyError", "too late");
}

static const struct task fail = { .name = "fail", .params = { "x" }, .run = run_fail };

static void run_nothing(struct task_call *call)
{
    buf_add_str(call_out(call), "[half a res");
}

static const struct task nothing = { .name = "nothing", .run = run_nothing };

static void run_infinite(struct task_call *call)
{
    call_return_real(call, HUGE_VAL);
}

static const struct task infinite = { .name = "infinite", .run = run_infinite };

static void run_quiet(struct task_call *call)
{
    call_raise(call, "KeyError", "%s", "");
}

static const struct task quiet = { .name = "quiet", .run = run_quiet };

static void run_wordy(struct task_call *call)
{
    struct text text = call_arg(call, 0);

    call_raise(call, "ValueError", "%.*s", (int)text.len, text.at);
}

static const struct task wordy = { .name = "wordy", .params = { "x" }, .run = run_wordy };

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

static void run(struct task_call *call, const struct task *task, const char *positional,
                const char *kwargs, struct buf *out)
{
    task_run(call, task, text_of(positional), false, text_of(kwargs), out, NULL);
}

static void assert_result(const struct task *task, const char *positional,
                          const char *kwargs, const char *expected)
{
    struct buf out = BUF_INIT;
    struct task_call call;

    buf_add_str(&out, "1,");
    run(&call, task, positional, kwargs, &out);
    assert_int_equal(call.end, CALL_RETURNED);
    assert_memory_equal(out.data, "1,", 2);
    assert_string_equal(out.data + 2, expected);
    assert_int_equal(out.len, strlen(out.data));
    task_call_clear(&call);
    buf_clear(&out);
}

/* What the task raises begins as expected does, and out is as it was. */
static void assert_raises(const struct task *task, const char *positional,
                          const char *kwargs, const char *type, const char *message)
{
    struct buf out = BUF_INIT, expected = BUF_INIT;
    struct task_call call;

    buf_add_str(&out, "1,");
    run(&call, task, positional, kwargs, &out);
    assert_int_equal(call.end, CALL_RAISED);
    assert_string_equal(out.data, "1,");
    assert_int_equal(out.len, 2);
    buf_addf(&expected, "{\"type\":\"%s\",\"message\":", type);
    buf_add_json_string(&expected, text_of(message));
    buf_add_str(&expected,
                ",\"traceback\":\"Traceback (most recent call last):\\n  task ");
    assert_true(call_exception(&call).len > expected.len);
    assert_memory_equal(call_exception(&call).at, expected.data, expected.len);
    task_call_clear(&call);
    buf_clear(&expected);
    buf_clear(&out);
}

static void positional_arguments_go_to_parameters_in_order(void **state)
{
    (void)state;
    assert_result(&two, " 1 , [2, 3] ", "", "[1,[2, 3]]");
    assert_result(&none, "", "", "[]");
    assert_result(&none, " ", "{ }", "[]");
    assert_result(&full, "1,2,3,4,5,6,7,8", "", "[1,2,3,4,5,6,7,8]");
}

static void a_single_argument_is_not_split(void **state)
{
    struct buf out = BUF_INIT;
    struct task_call call;

    (void)state;
    task_run(&call, &one, TEXT("\"a,b\""), true, (struct text){ NULL, 0 }, &out, NULL);
    assert_int_equal(call.end, CALL_RETURNED);
    assert_string_equal(out.data, "\"a,b\"");
    task_call_clear(&call);
    buf_clear(&out);
}

/* Returns what it is given, but raises texts. */
static void run_moody(struct task_call *call)
{
    struct text text = call_arg(call, 0);

    if (text.at[0] == '"')
        call_raise(call, "ValueError", "%.*s", (int)text.len, text.at);
    else
        call_return_text(call, text);
}

static const struct task moody = { .name = "moody", .params = { "x" }, .run = run_moody };

static void calls_one_after_the_other_know_nothing_of_each_other(void **state)
{
    static const char *const items[] = { "1", "\"a\"", "[2]", "\"b\"", "\"c\"", "3" };
    struct buf out = BUF_INIT;
    struct task_call call;
    char message[32];

    (void)state;
    task_call_init(&call, &moody, true, (struct text){ NULL, 0 }, &out, NULL);
    for (size_t i = 0; i < sizeof(items) / sizeof(*items); i++) {
        task_call_run(&call, text_of(items[i]));
        if (items[i][0] == '"') {
            assert_int_equal(call.end, CALL_RAISED);
            assert_int_equal(call.kind, FAILURE_TASK);
            (void)snprintf(message, sizeof(message), "\"message\":\"\\\"%c\\\"\"",
                           items[i][1]);
            assert_non_null(strstr(call_exception(&call).at, message));
        } else {
            assert_int_equal(call.end, CALL_RETURNED);
        }
        task_call_clear(&call);
    }
    assert_string_equal(out.data, "1[2]3");
    buf_clear(&out);
}

static void keyword_arguments_go_to_parameters_by_name(void **state)
{
    (void)state;
    assert_result(&two, "", " { \"b\" : 2 , \"a\" : {\"b\":0} } ", "[{\"b\":0},2]");
    assert_result(&two, "1", "{\"b\":2}", "[1,2]");
}

static void the_last_of_two_equal_keywords_counts(void **state)
{
    (void)state;
    assert_result(&one, "", "{\"x\":1,\"x\":2}", "2");
}

static void keyword_names_are_compared_without_their_escapes(void **state)
{
    (void)state;
    assert_result(&one, "", "{\"\\u0078\":1}", "1");
    assert_result(&two, "", "{\"\\u0061\":1,\"\\u0062\":2}", "[1,2]");
    assert_raises(&one, "", "{\"\\u0178\":1}", "TypeError",
                  "one() got an unexpected keyword argument '\\u0178'");
    assert_raises(&one, "", "{\"\\n\":1}", "TypeError",
                  "one() got an unexpected keyword argument '\\n'");
    assert_raises(&one, "", "{\"x\\u0000\":1}", "TypeError",
                  "one() got an unexpected keyword argument 'x\\u0000'");
}

static void missing_arguments_are_listed_as_cpython_does(void **state)
{
    (void)state;
    assert_raises(&one, "", "", "TypeError",
                  "one() missing 1 required positional argument: 'x'");
    assert_raises(&two, "", "{\"a\":1}", "TypeError",
                  "two() missing 1 required positional argument: 'b'");
    assert_raises(&two, "", "{}", "TypeError",
                  "two() missing 2 required positional arguments: 'a' and 'b'");
    assert_raises(&three, "", "", "TypeError",
                  "three() missing 3 required positional arguments: 'a', 'b', and 'c'");
}

static void too_many_arguments_are_counted_as_cpython_does(void **state)
{
    (void)state;
    assert_raises(&one, "1,2", "", "TypeError",
                  "one() takes 1 positional argument but 2 were given");
    assert_raises(&none, "1", "", "TypeError",
                  "none() takes 0 positional arguments but 1 was given");
    assert_raises(&full, "1,2,3,4,5,6,7,8,9,10", "", "TypeError",
                  "full() takes 8 positional arguments but 10 were given");
}

static void unexpected_and_doubled_keywords_are_refused(void **state)
{
    (void)state;
    assert_raises(&one, "", "{\"y\":1}", "TypeError",
                  "one() got an unexpected keyword argument 'y'");
    assert_raises(&one, "1", "{\"x\":1}", "TypeError",
                  "one() got multiple values for argument 'x'");
    assert_raises(&one, "", "{\"\":1}", "TypeError",
                  "one() got an unexpected keyword argument ''");
}

static void a_bad_keyword_comes_before_too_many_and_missing(void **state)
{
    (void)state;
    assert_raises(&one, "1,2", "{\"y\":1}", "TypeError",
                  "one() got an unexpected keyword argument 'y'");
    assert_raises(&two, "1,2,3", "{\"b\":1}", "TypeError",
                  "two() got multiple values for argument 'b'");
    assert_raises(&two, "", "{\"z\":1}", "TypeError",
                  "two() got an unexpected keyword argument 'z'");
}

static void call_number_names_the_type_that_it_got(void **state)
{
    (void)state;
    assert_raises(&number, "\"7\"", "", "TypeError",
                  "number() argument 'x' must be a number, not str");
    assert_raises(&number, "null", "", "TypeError",
                  "number() argument 'x' must be a number, not NoneType");
    assert_raises(&number, "[1]", "", "TypeError",
                  "number() argument 'x' must be a number, not list");
    assert_raises(&number, "{}", "", "TypeError",
                  "number() argument 'x' must be a number, not dict");
}

static void call_number_refuses_what_it_would_have_to_round(void **state)
{
    (void)state;
    assert_result(&number, "-170141183460469231731687303715884105728", "",
                  "-170141183460469231731687303715884105728");
    assert_raises(&number, "170141183460469231731687303715884105728", "", "OverflowError",
                  "number() argument 'x' does not fit in 128 bits");
    assert_raises(&number, "1e400", "", "OverflowError",
                  "number() argument 'x' does not fit in a double");
}

static void call_int64_takes_integers_of_64_bits_only(void **state)
{
    (void)state;
    assert_result(&int64, "-9223372036854775808", "", "-9223372036854775808");
    assert_result(&int64, "true", "", "1");
    assert_raises(&int64, "9223372036854775808", "", "OverflowError",
                  "int64() argument 'n' does not fit in 64 bits");
    assert_raises(&int64, "1000000000000000000000000000000000000000000", "",
                  "OverflowError", "int64() argument 'n' does not fit in 64 bits");
    assert_raises(&int64, "2.0", "", "TypeError",
                  "int64() argument 'n' must be an integer, not float");
    assert_raises(&int64, "1e400", "", "TypeError",
                  "int64() argument 'n' must be an integer, not float");
    assert_raises(&int64, "\"1.5\"", "", "TypeError",
                  "int64() argument 'n' must be an integer, not str");
}

static void a_result_that_is_not_finite_raises(void **state)
{
    (void)state;
    assert_raises(&infinite, "", "", "OverflowError",
                  "infinite() result is out of the range of a double");
}

static void a_task_without_a_result_returns_null(void **state)
{
    (void)state;
    assert_result(&nothing, "", "", "null");
}

static void the_first_exception_counts_and_takes_back_what_was_written(void **state)
{
    (void)state;
    assert_raises(&fail, "1", "", "ValueError", "bad \"x\"");
}

static void assert_exception(const struct task *task, const char *positional,
                             const char *kwargs, const char *expected)
{
    struct buf out = BUF_INIT;
    struct task_call call;
    struct text text;

    run(&call, task, positional, kwargs, &out);
    text = call_exception(&call);
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.at, expected, text.len);
    task_call_clear(&call);
    buf_clear(&out);
}

static void the_traceback_shows_the_call_as_python_would(void **state)
{
    (void)state;
    assert_exception(
        &fail, "-3", "",
        "{\"type\":\"ValueError\",\"message\":\"bad \\\"x\\\"\",\"traceback\":"
        "\"Traceback (most recent call last):\\n"
        "  task \\\"fail\\\", called with (-3)\\n"
        "ValueError: bad \\\"x\\\"\"}");
    assert_exception(&quiet, "", "",
                     "{\"type\":\"KeyError\",\"message\":\"\",\"traceback\":"
                     "\"Traceback (most recent call last):\\n"
                     "  task \\\"quiet\\\", called with ()\\n"
                     "KeyError\"}");
}

static void the_traceback_shows_keyword_arguments(void **state)
{
    struct buf out = BUF_INIT;
    struct task_call call;

    (void)state;
    run(&call, &fail, "", "{\"x\":1}", &out);
    assert_non_null(strstr(call.exception.data, "called with (**{\\\"x\\\":1})"));
    task_call_clear(&call);
    run(&call, &one, "1", "{\"x\":1}", &out);
    assert_non_null(strstr(call.exception.data, "called with (1, **{\\\"x\\\":1})"));
    task_call_clear(&call);
    buf_clear(&out);
}

/* Strings of two-byte characters that start at even and at odd places: one of the two
 * would be cut in its middle by a cut at a fixed byte. */
static void long_arguments_are_cut_between_characters(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 2; shift++) {
        struct buf in = BUF_INIT, out = BUF_INIT;
        struct task_call call;
        const char *shown;

        buf_add_str(&in, shift ? "\"a" : "\"");
        for (int i = 0; i < 300; i++)
            buf_add_str(&in, "\xC3\xA9");
        buf_add_char(&in, '"');
        run(&call, &fail, in.data, "", &out);
        shown = strstr(call.exception.data, "called with (");
        assert_non_null(shown);
        shown = strstr(shown, "\xC3\xA9...)");
        assert_non_null(shown);
        assert_true(call.exception.len < 400);
        task_call_clear(&call);
        buf_clear(&in);
        buf_clear(&out);
    }
}

static void long_messages_are_cut_between_characters(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 2; shift++) {
        struct buf in = BUF_INIT, out = BUF_INIT;
        struct task_call call;
        const char *end;

        if (shift)
            buf_add_char(&in, 'a');
        for (size_t i = 0; i < CALL_MESSAGE_MAX; i++)
            buf_add_str(&in, "\xC3\xA9");
        task_run(&call, &wordy, buf_text(&in), true, (struct text){ NULL, 0 }, &out,
                 NULL);
        end = strstr(call.exception.data, "\",\"traceback\"");
        assert_non_null(end);
        assert_memory_equal(end - 2, "\xC3\xA9", 2);
        assert_true(end - call.exception.data <= CALL_MESSAGE_MAX + 40);
        assert_true(end - call.exception.data >= CALL_MESSAGE_MAX);
        task_call_clear(&call);
        buf_clear(&in);
        buf_clear(&out);
    }
}

static void a_result_without_memory_raises_memory_error(void **state)
{
    static const struct task *const tasks[] = { &one, &number, &two, &nothing };
    static const char *const arguments[] = { "\"text\"", "12", "1,2", "" };

    (void)state;
    for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++) {
        struct buf out = BUF_INIT;
        struct task_call call;

        mem_fail_at(1, 0);
        run(&call, tasks[i], arguments[i], "", &out);
        mem_fail_at(0, 0);
        assert_int_equal(call.end, CALL_RAISED);
        assert_int_equal(call.kind, FAILURE_OUT_OF_MEMORY);
        assert_memory_equal(call_exception(&call).at, "{\"type\":\"MemoryError\"", 21);
        assert_false(out.failed);
        assert_int_equal(out.len, 0);
        task_call_clear(&call);
        buf_clear(&out);
    }
}

static void an_exception_without_memory_is_a_memory_error(void **state)
{
    bool failed = true;

    (void)state;
    for (unsigned long n = 1; failed; n++) {
        struct buf out = BUF_INIT;
        struct task_call call;

        buf_add_str(&out, "1,");
        assert_true(buf_reserve(&out, 100));
        mem_fail_at(n, 1);
        run(&call, &fail, "1", "", &out);
        failed = mem_calls() >= n;
        mem_fail_at(0, 0);
        assert_int_equal(call.end, CALL_RAISED);
        assert_int_equal(call.kind == FAILURE_OUT_OF_MEMORY, failed);
        assert_true(call_exception(&call).len > 0);
        assert_non_null(
            strstr(call_exception(&call).at, failed ? "MemoryError" : "ValueError"));
        assert_int_equal(out.len, 2);
        task_call_clear(&call);
        buf_clear(&out);
        assert_true(n < 100);
    }
}

static void a_buffer_that_has_failed_before_stays_failed(void **state)
{
    struct buf out = { .failed = true };
    struct task_call call;

    (void)state;
    run(&call, &one, "1", "", &out);
    assert_int_equal(call.end, CALL_RAISED);
    assert_int_equal(call.kind, FAILURE_OUT_OF_MEMORY);
    assert_true(out.failed);
    task_call_clear(&call);
}

static void a_call_with_a_result_allocates_nothing(void **state)
{
    struct buf out = BUF_INIT;
    struct task_call call;

    (void)state;
    assert_true(buf_reserve(&out, 1000));
    mem_fail_at(1, 1);
    run(&call, &number, "170141183460469231731687303715884105727", "", &out);
    assert_int_equal(call.end, CALL_RETURNED);
    task_call_clear(&call);
    run(&call, &two, "1", "{\"b\":2.5}", &out);
    assert_int_equal(call.end, CALL_RETURNED);
    task_call_clear(&call);
    assert_int_equal(mem_calls(), 0);
    mem_fail_at(0, 0);
    buf_clear(&out);
}

static void run_unchecked(struct task_call *call)
{
    struct text string = call_arg(call, 0);

    /* What is between the quotes. */
    call_return_unchecked(call, (struct text){ string.at + 1, string.len - 2 });
}

static const struct task unchecked = { .name = "unchecked",
                                       .params = { "x" },
                                       .run = run_unchecked };

static void run_copied(struct task_call *call)
{
    call_return_unchecked(call, call_arg(call, 0));
}

static const struct task copied = { .name = "copied",
                                    .params = { "x" },
                                    .run = run_copied };

/* Names may come twice in it: what a task returns passes as it is. */
static void unchecked_results_are_checked_and_become_one_line(void **state)
{
    static const char *const bad[] = { "",   " ",   "x",      "1,2",
                                       "[1", "NaN", "1 \x01", "[\xff]" };
    struct buf in = BUF_INIT, out = BUF_INIT;

    (void)state;
    assert_result(&unchecked, "\"[1,2]\"", "", "[1,2]");
    assert_result(&copied, "{\"a\":1,\"a\":2}", "", "{\"a\":1,\"a\":2}");
    assert_result(&unchecked, "\" \n[1,\r\n 2]\t\"", "", "[1,   2]");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct task_call call;

        buf_reset(&in);
        buf_addf(&in, "\"%s\"", bad[i]);
        buf_reset(&out);
        buf_add_str(&out, "1,");
        task_run(&call, &unchecked, buf_text(&in), true, (struct text){ NULL, 0 }, &out,
                 NULL);
        assert_int_equal(call.end, CALL_RAISED);
        assert_int_equal(call.kind, FAILURE_INVALID_RESULT);
        assert_string_equal(out.data, "1,");
        assert_non_null(strstr(call_exception(&call).at, "InvalidResult"));
        task_call_clear(&call);
    }
    buf_clear(&in);
    buf_clear(&out);
}

static void run_texts(struct task_call *call)
{
    static char long_message[3 * CALL_MESSAGE_MAX];

    memset(long_message, 'm', sizeof(long_message));
    call_raise_texts(call, TEXT("a.B\xff"),
                     (struct text){ long_message, sizeof(long_message) },
                     TEXT("line\n\xc3"));
}

static const struct task texts = { .name = "texts", .run = run_texts };

static void foreign_texts_of_an_exception_become_utf8_and_are_cut(void **state)
{
    struct buf out = BUF_INIT;
    struct task_call call;
    const char *json;

    (void)state;
    run(&call, &texts, "", "", &out);
    assert_int_equal(call.end, CALL_RAISED);
    assert_int_equal(call.kind, FAILURE_TASK);
    json = call_exception(&call).at;
    assert_memory_equal(json, "{\"type\":\"a.B\xef\xbf\xbd\",\"message\":\"mmm", 31);
    assert_non_null(strstr(json, "m\",\"traceback\":\"line\\n\xef\xbf\xbd\"}"));
    assert_true(call_exception(&call).len < CALL_MESSAGE_MAX + 100);
    task_call_clear(&call);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positional_arguments_go_to_parameters_in_order),
        cmocka_unit_test(a_single_argument_is_not_split),
        cmocka_unit_test(calls_one_after_the_other_know_nothing_of_each_other),
        cmocka_unit_test(keyword_arguments_go_to_parameters_by_name),
        cmocka_unit_test(the_last_of_two_equal_keywords_counts),
        cmocka_unit_test(keyword_names_are_compared_without_their_escapes),
        cmocka_unit_test(missing_arguments_are_listed_as_cpython_does),
        cmocka_unit_test(too_many_arguments_are_counted_as_cpython_does),
        cmocka_unit_test(unexpected_and_doubled_keywords_are_refused),
        cmocka_unit_test(a_bad_keyword_comes_before_too_many_and_missing),
        cmocka_unit_test(call_number_names_the_type_that_it_got),
        cmocka_unit_test(call_number_refuses_what_it_would_have_to_round),
        cmocka_unit_test(call_int64_takes_integers_of_64_bits_only),
        cmocka_unit_test(a_result_that_is_not_finite_raises),
        cmocka_unit_test(a_task_without_a_result_returns_null),
        cmocka_unit_test(the_first_exception_counts_and_takes_back_what_was_written),
        cmocka_unit_test(the_traceback_shows_the_call_as_python_would),
        cmocka_unit_test(the_traceback_shows_keyword_arguments),
        cmocka_unit_test(long_arguments_are_cut_between_characters),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(a_result_without_memory_raises_memory_error),
        cmocka_unit_test(an_exception_without_memory_is_a_memory_error),
        cmocka_unit_test(a_buffer_that_has_failed_before_stays_failed),
        cmocka_unit_test(a_call_with_a_result_allocates_nothing),
        cmocka_unit_test(unchecked_results_are_checked_and_become_one_line),
        cmocka_unit_test(foreign_texts_of_an_exception_become_utf8_and_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
