/* SPDX-License-Identifier: MIT */
#include "common/status.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void status_text_has_a_text_for_every_status(void **state)
{
    (void)state;
    for (int st = 0; st < ST_COUNT; st++)
        assert_true(strlen(status_text((enum status)st)) > 0);
    assert_string_equal(status_text(ST_AGAIN), "not now, try again");
}

static void status_text_survives_a_number_that_is_no_status(void **state)
{
    (void)state;
    assert_string_equal(status_text(ST_COUNT), "unknown status");
    assert_string_equal(status_text((enum status)1000), "unknown status");
}

static void error_set_writes_the_text_and_returns_the_status(void **state)
{
    struct error_text err;

    (void)state;
    assert_int_equal(error_set(&err, ST_LIMIT, "%d jobs, at most %d", 5, 4), ST_LIMIT);
    assert_string_equal(err.text, "5 jobs, at most 4");
}

static void error_set_accepts_no_place_for_the_text(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ST_IO, "%s", "lost"), ST_IO);
}

/* Fills the text up to `before` bytes from its end, then adds `character` and more. */
static size_t cut_len(struct error_text *err, size_t before, const char *character)
{
    char long_text[2 * ERROR_TEXT_MAX] = "";

    memset(long_text, 'a', ERROR_TEXT_MAX - 1 - before);
    strcat(long_text, character);
    strcat(long_text, "tail");
    error_set(err, ST_INVALID, "%s", long_text);
    return strlen(err->text);
}

static void error_set_cuts_long_texts_between_characters(void **state)
{
    const size_t max = ERROR_TEXT_MAX - 1;
    struct error_text err;

    (void)state;
    assert_int_equal(cut_len(&err, 0, ""), max);
    assert_int_equal(cut_len(&err, 1, "\xc3\xa4"), max - 1);
    assert_int_equal(cut_len(&err, 2, "\xc3\xa4"), max);
    assert_int_equal(cut_len(&err, 2, "\xe2\x82\xac"), max - 2);
    assert_int_equal(cut_len(&err, 3, "\xe2\x82\xac"), max);
    assert_int_equal(cut_len(&err, 1, "\xf0\x9f\x8d\x8b"), max - 1);
    assert_int_equal(cut_len(&err, 3, "\xf0\x9f\x8d\x8b"), max - 3);
    assert_int_equal(cut_len(&err, 4, "\xf0\x9f\x8d\x8b"), max);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_text_has_a_text_for_every_status),
        cmocka_unit_test(status_text_survives_a_number_that_is_no_status),
        cmocka_unit_test(error_set_writes_the_text_and_returns_the_status),
        cmocka_unit_test(error_set_accepts_no_place_for_the_text),
        cmocka_unit_test(error_set_cuts_long_texts_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
