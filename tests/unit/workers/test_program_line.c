/* SPDX-License-Identifier: MIT */
#include "workers/program_line.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

/* ---- requests ---------------------------------------------------------------------- */

static void request_has_the_arguments_as_they_were_sent(void **state)
{
    static const struct {
        uint64_t id;
        const char *positional, *kwargs, *trace, *line;
    } cases[] = {
        { 1, "", "", "", "{\"id\":1,\"args\":[],\"kwargs\":{}}" },
        { 7, "2, 1.50", "{\"a\":1e9}", "",
          "{\"id\":7,\"args\":[2, 1.50],\"kwargs\":{\"a\":1e9}}" },
        { UINT64_MAX, "[]", "", "",
          "{\"id\":18446744073709551615,\"args\":[[]],\"kwargs\":{}}" },
        { 0, "1", "", "", "{\"args\":[1],\"kwargs\":{}}" },
        { 8, "1", "", "00-0a-b7-01",
          "{\"id\":8,\"args\":[1],\"kwargs\":{},\"traceparent\":\"00-0a-b7-01\"}" },
        { 9, "1", "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01a=\"\\,b=2",
          "{\"id\":9,\"args\":[1],\"kwargs\":{},\"traceparent\":"
          "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
          "\"tracestate\":\"a=\\\"\\\\,b=2\"}" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf out = BUF_INIT;

        program_line_request(&out, cases[i].id, text_of(cases[i].positional),
                             text_of(cases[i].kwargs), text_of(cases[i].trace));
        assert_false(out.failed);
        assert_string_equal(out.data, cases[i].line);
        buf_clear(&out);
    }
}

static void request_is_one_line(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    buf_add_str(&out, "before\n");
    program_line_request(&out, 1, TEXT("[1,\n2],\r\n\"a\\nb\""), TEXT("{\n\"k\":\n0}"),
                         (struct text){ 0 });
    assert_string_equal(out.data, "before\n{\"id\":1,\"args\":[[1, 2],  \"a\\nb\"],"
                                  "\"kwargs\":{ \"k\": 0}}");
    buf_clear(&out);
}

static void request_without_an_id_keeps_its_line_breaks(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    program_line_request(&out, 0, TEXT("[1,\n2]"), (struct text){ 0 },
                         (struct text){ 0 });
    assert_string_equal(out.data, "{\"args\":[[1,\n2]],\"kwargs\":{}}");
    buf_clear(&out);
}

static void request_without_memory_is_a_failed_buffer(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    mem_fail_at(1, 1);
    program_line_request(&out, 1, TEXT("1\n"), (struct text){ 0 }, (struct text){ 0 });
    mem_fail_at(0, 0);
    assert_true(out.failed);
    buf_clear(&out);
}

/* ---- answers ----------------------------------------------------------------------- */

static void answers_are_read(void **state)
{
    static const struct {
        const char *line;
        enum program_answer_kind kind;
        uint64_t id;
        const char *value;
    } cases[] = {
        { "{\"id\":1,\"result\":null}", PROGRAM_RESULT, 1, "null" },
        { " { \"id\" : 12 , \"result\" : [1, 2.50] } \r", PROGRAM_RESULT, 12,
          "[1, 2.50]" },
        { "{\"id\":1,\"result\":{\"a\":1,\"a\":2}}", PROGRAM_RESULT, 1,
          "{\"a\":1,\"a\":2}" },
        { "{\"result\":\"{\\\"id\\\":2}\",\"id\":3}", PROGRAM_RESULT, 3,
          "\"{\\\"id\\\":2}\"" },
        { "{\"v\":2,\"id\":0,\"extra\":{\"result\":1},\"result\":5}", PROGRAM_RESULT, 0,
          "5" },
        { "{\"id\":1,\"error\":{\"type\":\"E\",\"message\":\"\"}}", PROGRAM_ERROR, 1,
          "{\"type\":\"E\",\"message\":\"\"}" },
        { "{\"id\":1,\"error\":{\"type\":\"E\",\"message\":\"m\",\"traceback\":null}}",
          PROGRAM_ERROR, 1, "{\"type\":\"E\",\"message\":\"m\",\"traceback\":null}" },
        { "{\"id\":1,\"progress\":{\"current\":1.5}}", PROGRAM_PROGRESS, 1,
          "{\"current\":1.5}" },
        { "{\"id\":9999999999999999999,\"result\":1}", PROGRAM_RESULT,
          9999999999999999999u, "1" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct program_answer answer;
        const char *why;

        assert_true(program_line_parse(text_of(cases[i].line), &answer, &why));
        assert_int_equal(answer.kind, cases[i].kind);
        assert_true(answer.id == cases[i].id);
        assert_true(text_equals(answer.value, cases[i].value));
    }
}

static void what_breaks_the_protocol_is_told_precisely(void **state)
{
    static const struct {
        const char *line, *why;
    } cases[] = {
        { "", "that is not JSON" },
        { "hello", "that is not JSON" },
        { "{\"id\":1,\"result\":1", "that is not JSON" },
        { "{\"id\":1,\"result\":1}}", "that is not JSON" },
        { "{\"id\":1,\"result\":1} {}", "that is not JSON" },
        { "{\"id\":1,\"result\":NaN}", "that is not JSON" },
        { "{\"id\":1,\"result\":\"\xff\"}", "that is not JSON" },
        { "{\"id\":1,\"result\":\"\\ud800\"}", "that is not JSON" },
        { "{\"id\":1,}", "that is not JSON" },
        { "{\"id\":1 \"result\":1}", "that is not JSON" },
        { "{\"id\" 1}", "that is not JSON" },
        { "{", "that is not JSON" },
        { "{id:1}", "that is not JSON" },
        { "\xEF\xBB\xBF{\"id\":1,\"result\":1}", "that is not JSON" },
        { "[1]", "that is no JSON object" },
        { "null", "that is no JSON object" },
        { "{}", "without an id" },
        { "{\"result\":1}", "without an id" },
        { "{\"id\":1,\"id\":1,\"result\":1}", "with two ids" },
        { "{\"id\":\"1\",\"result\":1}", "whose id is not one that it was sent" },
        { "{\"id\":-1,\"result\":1}", "whose id is not one that it was sent" },
        { "{\"id\":1.0,\"result\":1}", "whose id is not one that it was sent" },
        { "{\"id\":null,\"result\":1}", "whose id is not one that it was sent" },
        { "{\"id\":10000000000000000000,\"result\":1}",
          "whose id is not one that it was sent" },
        { "{\"id\":1}", "with not exactly one of result, error and progress" },
        { "{\"id\":1,\"reslut\":1}",
          "with not exactly one of result, error and progress" },
        { "{\"id\":1,\"result\":1,\"result\":1}",
          "with not exactly one of result, error and progress" },
        { "{\"id\":1,\"result\":1,\"error\":null}",
          "with not exactly one of result, error and progress" },
        { "{\"id\":1,\"error\":\"bad\"}",
          "whose error has not the strings type and message" },
        { "{\"id\":1,\"error\":{\"type\":\"E\"}}",
          "whose error has not the strings type and message" },
        { "{\"id\":1,\"error\":{\"type\":1,\"message\":\"m\"}}",
          "whose error has not the strings type and message" },
        { "{\"id\":1,\"error\":{\"type\":\"E\",\"message\":\"m\",\"traceback\":[]}}",
          "whose error has not the strings type and message" },
        { "{\"id\":1,\"progress\":1}", "whose progress has not the number current" },
        { "{\"id\":1,\"progress\":{\"total\":1}}",
          "whose progress has not the number current" },
        { "{\"id\":1,\"progress\":{\"current\":-1}}",
          "whose progress has not the number current" },
        { "{\"id\":1,\"progress\":{\"current\":1,\"message\":5}}",
          "whose progress has not the number current" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct program_answer answer;
        const char *why = NULL;

        assert_false(program_line_parse(text_of(cases[i].line), &answer, &why));
        assert_string_equal(why, cases[i].why);
    }
}

/* As deep as a value may be where no line is around it. */
static void a_result_is_as_deep_as_an_argument_may_be(void **state)
{
    (void)state;
    for (unsigned depth = 63; depth <= 65; depth++) {
        struct buf line = BUF_INIT;
        struct program_answer answer;
        const char *why;

        buf_add_str(&line, "{\"id\":1,\"result\":");
        for (unsigned i = 0; i < depth; i++)
            buf_add_char(&line, '[');
        for (unsigned i = 0; i < depth; i++)
            buf_add_char(&line, ']');
        buf_add_char(&line, '}');
        assert_int_equal(program_line_parse(buf_text(&line), &answer, &why), depth <= 64);
        buf_clear(&line);
    }
}

/* ---- what is in them --------------------------------------------------------------- */

static void exception_is_cut_at_whole_characters(void **state)
{
    struct buf error = BUF_INIT, out = BUF_INIT;
    bool is_memory = true;

    (void)state;
    buf_add_str(&error, "{\"message\":\"");
    for (int i = 0; i < PROGRAM_MESSAGE_MAX; i++)
        buf_add_str(&error, i == 0 ? "x" : "\u00e9");
    buf_add_str(&error, "\",\"type\":\"Type\\u0041\"}");
    program_line_exception(buf_text(&error), &out, &is_memory);
    assert_false(out.failed);
    assert_false(is_memory);
    assert_true(strncmp(out.data, "{\"type\":\"TypeA\",\"message\":\"x\u00e9", 29) == 0);
    assert_non_null(strstr(out.data, "\u00e9\",\"traceback\":\"\"}"));
    assert_int_equal(out.len,
                     strlen("{\"type\":\"TypeA\",\"message\":\"\",\"traceback\":\"\"}") +
                         PROGRAM_MESSAGE_MAX - 1);
    buf_clear(&error);
    buf_clear(&out);
}

static void memory_error_is_known(void **state)
{
    struct buf out = BUF_INIT;
    bool is_memory = false;

    (void)state;
    program_line_exception(TEXT("{\"type\":\"MemoryError\",\"message\":\"\"}"), &out,
                           &is_memory);
    assert_true(is_memory);
    buf_clear(&out);
}

static void progress_is_read_with_what_is_missing_as_nothing(void **state)
{
    struct program_progress progress;

    (void)state;
    assert_true(program_line_progress(
        TEXT("{\"current\":3,\"total\":9,\"message\":\"a\\nb\"}"), &progress));
    assert_int_equal(progress.current, 3);
    assert_int_equal(progress.total, 9);
    assert_string_equal(progress.message, "a\nb");
    assert_true(program_line_progress(
        TEXT("{\"current\":3,\"total\":null,\"message\":null}"), &progress));
    assert_int_equal(progress.total, 0);
    assert_string_equal(progress.message, "");
    assert_false(program_line_progress(TEXT("{\"current\":1e300}"), &progress));
    assert_false(program_line_progress(TEXT("{\"current\":null}"), &progress));
    assert_false(program_line_progress(TEXT("[]"), &progress));
}

static void one_value_is_json_and_anything_else_is_not(void **state)
{
    struct text value;

    (void)state;
    assert_true(program_line_is_json(TEXT(" \n{\"a\": 1} \n"), &value));
    assert_true(text_equals(value, "{\"a\": 1}"));
    assert_false(program_line_is_json(TEXT(""), &value));
    assert_false(program_line_is_json(TEXT(" \n"), &value));
    assert_false(program_line_is_json(TEXT("1 2"), &value));
    assert_false(program_line_is_json(TEXT("[INFO] done"), &value));
    assert_false(program_line_is_json((struct text){ NULL, 0 }, &value));
}

static void text_is_utf8_without_nul(void **state)
{
    (void)state;
    assert_true(program_line_is_text(TEXT("")));
    assert_true(program_line_is_text(TEXT("a\u20ac\n\x1b")));
    assert_false(program_line_is_text(TEXT("caf\xe9")));
    assert_false(program_line_is_text(TEXT("a\0b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_has_the_arguments_as_they_were_sent),
        cmocka_unit_test(request_is_one_line),
        cmocka_unit_test(request_without_an_id_keeps_its_line_breaks),
        cmocka_unit_test(request_without_memory_is_a_failed_buffer),
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(what_breaks_the_protocol_is_told_precisely),
        cmocka_unit_test(a_result_is_as_deep_as_an_argument_may_be),
        cmocka_unit_test(exception_is_cut_at_whole_characters),
        cmocka_unit_test(memory_error_is_known),
        cmocka_unit_test(progress_is_read_with_what_is_missing_as_nothing),
        cmocka_unit_test(one_value_is_json_and_anything_else_is_not),
        cmocka_unit_test(text_is_utf8_without_nul),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
