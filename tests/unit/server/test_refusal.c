/* SPDX-License-Identifier: MIT */
#include "server/refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_errors(const struct refusal *refusal, const char *expected)
{
    assert_int_equal(refusal->errors.len, strlen(expected));
    assert_memory_equal(refusal->errors.data, expected, strlen(expected));
}

static void the_first_thing_that_is_wrong_is_the_detail(void **state)
{
    struct refusal refusal;

    (void)state;
    refusal_init(&refusal);
    refusal_add(&refusal, TEXT("task"), -1, PROBLEM_UNKNOWN_TASK, "is unknown");
    assert_int_equal(refusal.problem, PROBLEM_UNKNOWN_TASK);
    assert_string_equal(refusal.detail, "task is unknown");
    assert_errors(&refusal, "{\"pointer\":\"#/task\",\"detail\":\"is unknown\"}");
    refusal_add(&refusal, TEXT("ids"), 7, PROBLEM_UNKNOWN_POOL, "is bad");
    assert_int_equal(refusal.problem, PROBLEM_VALIDATION_FAILED);
    assert_string_equal(refusal.detail, "task is unknown");
    assert_errors(&refusal, "{\"pointer\":\"#/task\",\"detail\":\"is unknown\"},"
                            "{\"pointer\":\"#/ids/7\",\"detail\":\"is bad\"}");
    refusal_clear(&refusal);
}

static void names_are_escaped_in_pointers(void **state)
{
    struct refusal refusal;

    (void)state;
    refusal_init(&refusal);
    refusal_add(&refusal, TEXT("a/b~c"), -1, PROBLEM_VALIDATION_FAILED, "x");
    refusal_add(&refusal, TEXT(""), -1, PROBLEM_VALIDATION_FAILED, "x");
    refusal_add(&refusal, WHOLE, -1, PROBLEM_VALIDATION_FAILED, "x");
    assert_errors(&refusal, "{\"pointer\":\"#/a~1b~0c\",\"detail\":\"x\"},"
                            "{\"pointer\":\"#/\",\"detail\":\"x\"},"
                            "{\"pointer\":\"#\",\"detail\":\"x\"}");
    refusal_clear(&refusal);
}

static void an_element_of_the_document_comes_first(void **state)
{
    struct refusal refusal;

    (void)state;
    refusal_init(&refusal);
    refusal.element = 3;
    refusal_add(&refusal, WHOLE, -1, PROBLEM_VALIDATION_FAILED, "is not an object");
    assert_string_equal(refusal.detail, "element 3 is not an object");
    refusal_add(&refusal, TEXT("items"), 2, PROBLEM_VALIDATION_FAILED, "x");
    assert_errors(&refusal, "{\"pointer\":\"#/3\",\"detail\":\"is not an object\"},"
                            "{\"pointer\":\"#/3/items/2\",\"detail\":\"x\"}");
    refusal_clear(&refusal);
}

static void a_text_that_is_not_json_is_refused_at_its_byte(void **state)
{
    const struct slice_error error = { .offset = 17, .reason = "expected a value" };
    struct refusal refusal;

    (void)state;
    refusal_init(&refusal);
    refusal_of_text(&refusal, SLICE_MALFORMED, &error, NULL);
    assert_int_equal(refusal.problem, PROBLEM_INVALID_JSON);
    assert_string_equal(refusal.detail, "at byte 17: expected a value");
    assert_int_equal(refusal.error_count, 0);
    refusal_clear(&refusal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_thing_that_is_wrong_is_the_detail),
        cmocka_unit_test(names_are_escaped_in_pointers),
        cmocka_unit_test(an_element_of_the_document_comes_first),
        cmocka_unit_test(a_text_that_is_not_json_is_refused_at_its_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
