/* SPDX-License-Identifier: MIT */
#include "server/attempt_log.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool add(struct attempt_log *log, unsigned number)
{
    char text[16];
    struct blob *blob;

    snprintf(text, sizeof(text), "%u", number);
    blob = blob_new(text, strlen(text));
    assert_non_null(blob);
    return attempt_log_add(log, blob);
}

static void assert_holds(const struct attempt_log *log, unsigned first, unsigned count)
{
    char text[16];

    assert_int_equal(log->count, count);
    for (unsigned i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "%u", first + i);
        assert_string_equal(attempt_log_at(log, i)->data, text);
    }
}

static void attempts_stay_in_order(void **state)
{
    struct attempt_log log = { 0 };

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        assert_true(add(&log, i));
    assert_holds(&log, 0, 10);
    assert_int_equal(log.dropped, 0);
    attempt_log_clear(&log);
    assert_int_equal(log.count, 0);
}

static void the_oldest_go_first_and_are_counted(void **state)
{
    struct attempt_log log = { 0 };

    (void)state;
    for (unsigned i = 0; i < ATTEMPTS_MAX + 7; i++)
        assert_true(add(&log, i));
    assert_holds(&log, 7, ATTEMPTS_MAX);
    assert_int_equal(log.dropped, 7);
    attempt_log_clear(&log);
}

static void a_copy_is_the_same_and_stands_for_itself(void **state)
{
    struct attempt_log log = { 0 }, copy = { 0 };

    (void)state;
    for (unsigned i = 0; i < ATTEMPTS_MAX + 3; i++)
        assert_true(add(&log, i));
    assert_true(attempt_log_copy(&copy, &log));
    attempt_log_clear(&log);
    assert_holds(&copy, 3, ATTEMPTS_MAX);
    assert_int_equal(copy.dropped, 3);
    attempt_log_clear(&copy);
}

static void without_memory_the_log_stays_as_it_is(void **state)
{
    struct attempt_log log = { 0 }, copy = { 0 };
    struct blob *fifth = blob_new("4", 1);

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_true(add(&log, i));
    mem_fail_at(1, 0);
    assert_false(attempt_log_add(&log, fifth));
    assert_holds(&log, 0, 4);
    mem_fail_at(1, 0);
    assert_false(attempt_log_copy(&copy, &log));
    mem_fail_at(0, 0);
    assert_int_equal(copy.count, 0);
    attempt_log_clear(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_stay_in_order),
        cmocka_unit_test(the_oldest_go_first_and_are_counted),
        cmocka_unit_test(a_copy_is_the_same_and_stands_for_itself),
        cmocka_unit_test(without_memory_the_log_stays_as_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
