/* SPDX-License-Identifier: MIT */
#include "workers/number.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LARGEST  "170141183460469231731687303715884105727"
#define SMALLEST "-170141183460469231731687303715884105728"

/* In memory of the exact size, so that the sanitizer sees a read behind the end. */
static enum status parse(const char *json, struct number *ret_number)
{
    size_t len = strlen(json);
    char *copy = malloc(len + 1);
    enum status st;

    assert_non_null(copy);
    memcpy(copy + 1, json, len);
    st = number_parse((struct text){ copy + 1, len }, ret_number);
    free(copy);
    return st;
}

static void assert_text(const char *text, size_t len, const char *expected)
{
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(text, expected, len);
}

static void assert_int_survives(const char *json)
{
    char text[NUMBER_TEXT_MAX];
    struct number number;

    assert_int_equal(parse(json, &number), ST_OK);
    assert_true(number.is_int);
    assert_text(text, number_format_int(number.integer, text), json);
}

static void assert_real(const char *json, const char *expected)
{
    char text[NUMBER_TEXT_MAX];
    struct number number;

    assert_int_equal(parse(json, &number), ST_OK);
    assert_false(number.is_int);
    assert_text(text, number_format_real(number.real, text), expected);
}

static void integers_are_exact_to_128_bits(void **state)
{
    static const char *const exact[] = {
        "0",
        "7",
        "-1",
        "10",
        "99",
        "100",
        "-1234567",
        "999999999999999999",
        "-99999999999999999",
        "1000000000000000000",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "100000000000000000000000000000000000000",
        "20000000000000000003",
        LARGEST,
        SMALLEST,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
        assert_int_survives(exact[i]);
}

/* Around each power of ten, where the number of digits changes. */
static void integers_of_every_length_are_exact(void **state)
{
    static const char firsts[] = "911";
    static const char *const tails[] = { "99999999999999999999999999999999999999",
                                         "00000000000000000000000000000000000000",
                                         "12345678909876543210123456789098765432" };
    char json[NUMBER_TEXT_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        for (int more = 0; more < (i == 0 ? 38 : 39); more++) {
            (void)snprintf(json, sizeof(json), "%c%.*s", firsts[i], more, tails[i]);
            assert_int_survives(json);
            (void)snprintf(json, sizeof(json), "-%c%.*s", firsts[i], more, tails[i]);
            assert_int_survives(json);
        }
    }
}

/* What is no digit is seen at every place, in texts of every length. */
static void a_point_makes_a_real_wherever_it_is(void **state)
{
    struct number number;
    char json[32];

    (void)state;
    for (int len = 3; len <= 20; len++) {
        for (int at = 1; at < len - 1; at++) {
            (void)snprintf(json, sizeof(json), "%.*s", len, "12345678909876543210");
            json[at] = '.';
            assert_int_equal(parse(json, &number), ST_OK);
            assert_false(number.is_int);
            assert_true(number.real == strtod(json, NULL));
        }
    }
}

static void integers_over_128_bits_are_refused(void **state)
{
    struct number number;

    (void)state;
    assert_int_equal(parse("170141183460469231731687303715884105728", &number), ST_LIMIT);
    assert_int_equal(parse("-170141183460469231731687303715884105729", &number),
                     ST_LIMIT);
    assert_int_equal(parse("1000000000000000000000000000000000000000", &number),
                     ST_LIMIT);
    assert_int_equal(parse("3402823669209384634633746074317682114560", &number),
                     ST_LIMIT);
}

static void integers_have_a_real_value_too(void **state)
{
    struct number number;

    (void)state;
    assert_int_equal(parse("-3", &number), ST_OK);
    assert_true(number.real == -3.0);
    assert_int_equal(parse(LARGEST, &number), ST_OK);
    assert_true(number.real == 0x1p127);
}

static void minus_zero_is_an_integer_without_a_sign(void **state)
{
    char text[NUMBER_TEXT_MAX];
    struct number number;

    (void)state;
    assert_int_equal(parse("-0", &number), ST_OK);
    assert_text(text, number_format_int(number.integer, text), "0");
    assert_real("-0.0", "-0.0");
}

static void true_and_false_are_one_and_zero(void **state)
{
    struct number number;

    (void)state;
    assert_int_equal(parse("true", &number), ST_OK);
    assert_true(number.is_int && number.integer == 1 && number.real == 1.0);
    assert_int_equal(parse("false", &number), ST_OK);
    assert_true(number.is_int && number.integer == 0 && number.real == 0.0);
}

static void other_values_are_no_numbers_and_change_nothing(void **state)
{
    static const char *const others[] = {
        "null", "\"1\"", "\"a string of more than 18 bytes\"", "[1]", "{}", "", "-",
    };
    struct number number = { .integer = 42 };

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(parse(others[i], &number), ST_INVALID);
    assert_true(number.integer == 42);
}

static void a_fraction_or_an_exponent_makes_a_real(void **state)
{
    (void)state;
    assert_real("36.0", "36.0");
    assert_real("1E2", "100.0");
    assert_real("-2.50e-1", "-0.25");
    assert_real("1234567890123456789012345678901234567890123456789.5",
                "1.2345678901234568e+48");
}

static void reals_print_as_python_shows_them(void **state)
{
    (void)state;
    assert_real("0.1", "0.1");
    assert_real("0.010000000000000002", "0.010000000000000002");
    assert_real("1e15", "1000000000000000.0");
    assert_real("1e16", "1e+16");
    assert_real("123456789012345680.0", "1.2345678901234568e+17");
    assert_real("0.0001", "0.0001");
    assert_real("0.00001", "1e-05");
    assert_real("12.34e-7", "1.234e-06");
    assert_real("1e22", "1e+22");
    assert_real("9007199254740993.0", "9007199254740992.0");
    assert_real("-1.7976931348623157e308", "-1.7976931348623157e+308");
}

static void reals_print_the_shortest_text_at_the_edges_of_the_format(void **state)
{
    (void)state;
    assert_real("5e-324", "5e-324");
    assert_real("2.2250738585072014e-308", "2.2250738585072014e-308");
    assert_real("2.225073858507201e-308", "2.225073858507201e-308");
    /* 2^-1017 and 2^-44: less room below a power of two than above it */
    assert_real("7.1202363472230444e-307", "7.120236347223045e-307");
    assert_real("5.684341886080802e-14", "5.684341886080802e-14");
}

static void reals_over_the_range_are_refused(void **state)
{
    struct number number;

    (void)state;
    assert_int_equal(parse("1e400", &number), ST_LIMIT);
    assert_int_equal(parse("-1e400", &number), ST_LIMIT);
    assert_real("1e-400", "0.0");
}

static void a_real_of_any_length_is_read(void **state)
{
    char json[1003];
    struct number number;

    (void)state;
    memset(json, '0', sizeof(json));
    memcpy(json, "0.5", 3);
    json[sizeof(json) - 1] = '\0';
    assert_int_equal(parse(json, &number), ST_OK);
    assert_true(number.real == 0.5);

    mem_fail_at(1, 0);
    assert_int_equal(parse(json, &number), ST_NO_MEMORY);
    mem_fail_at(0, 0);
}

static int128 product(int128 a, int128 b)
{
    int128 n;

    assert_true(int128_multiply(a, b, &n));
    return n;
}

static void multiply_uses_all_128_bits_and_no_more(void **state)
{
    int128 two_126 = (int128)1 << 126, n = 5;

    (void)state;
    assert_true(product(0, INT128_MIN) == 0);
    assert_true(product(INT128_MAX, -1) == -INT128_MAX);
    assert_true(product(two_126, -2) == INT128_MIN);
    assert_true(product(INT64_MIN, INT64_MIN) == two_126);
    assert_false(int128_multiply(two_126, 2, &n));
    assert_false(int128_multiply(INT128_MIN, -1, &n));
    assert_false(int128_multiply(INT128_MIN, INT128_MIN, &n));
    assert_true(n == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_exact_to_128_bits),
        cmocka_unit_test(integers_of_every_length_are_exact),
        cmocka_unit_test(a_point_makes_a_real_wherever_it_is),
        cmocka_unit_test(integers_over_128_bits_are_refused),
        cmocka_unit_test(integers_have_a_real_value_too),
        cmocka_unit_test(minus_zero_is_an_integer_without_a_sign),
        cmocka_unit_test(true_and_false_are_one_and_zero),
        cmocka_unit_test(other_values_are_no_numbers_and_change_nothing),
        cmocka_unit_test(a_fraction_or_an_exponent_makes_a_real),
        cmocka_unit_test(reals_print_as_python_shows_them),
        cmocka_unit_test(reals_print_the_shortest_text_at_the_edges_of_the_format),
        cmocka_unit_test(reals_over_the_range_are_refused),
        cmocka_unit_test(a_real_of_any_length_is_read),
        cmocka_unit_test(multiply_uses_all_128_bits_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
