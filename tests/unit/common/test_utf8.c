/* SPDX-License-Identifier: MIT */
#include "common/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void utf8_len_is_that_of_the_character(void **state)
{
    (void)state;
    assert_int_equal(utf8_len("a", 1), 1);
    assert_int_equal(utf8_len("\xc3\xa4", 2), 2);
    assert_int_equal(utf8_len("\xe2\x82\xac", 3), 3);
    assert_int_equal(utf8_len("\xf0\x9f\x98\x80", 4), 4);
    assert_int_equal(utf8_len("\xf4\x8f\xbf\xbf", SIZE_MAX), 4);
    assert_int_equal(utf8_len("", 1), 1); /* NUL is a character */
}

static void what_is_no_character_has_no_length(void **state)
{
    static const char *const wrong[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80",
        "\xff",
        "\xc3(",
        "\xe2\x82(",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(utf8_len(wrong[i], SIZE_MAX), 0);
}

static void a_cut_character_has_no_length_and_is_not_read_beyond(void **state)
{
    static const char one[1] = { '\xe2' };

    (void)state;
    assert_int_equal(utf8_len(one, 1), 0);
    assert_int_equal(utf8_len("\xe2\x82\xac", 2), 0);
    assert_int_equal(utf8_len("\xe2", SIZE_MAX), 0);
}

static void what_is_kept_ends_between_characters(void **state)
{
    static const char euros[] = "a\xe2\x82\xac\xe2\x82\xac";

    (void)state;
    assert_int_equal(utf8_cut(euros, 7, 7), 7);
    assert_int_equal(utf8_cut(euros, 7, 6), 4);
    assert_int_equal(utf8_cut(euros, 7, 5), 4);
    assert_int_equal(utf8_cut(euros, 7, 4), 4);
    assert_int_equal(utf8_cut(euros, 7, 3), 1);
    assert_int_equal(utf8_cut(euros, 7, 0), 0);
    assert_int_equal(utf8_cut(NULL, 0, 5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_len_is_that_of_the_character),
        cmocka_unit_test(what_is_no_character_has_no_length),
        cmocka_unit_test(a_cut_character_has_no_length_and_is_not_read_beyond),
        cmocka_unit_test(what_is_kept_ends_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
