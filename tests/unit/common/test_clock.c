/* SPDX-License-Identifier: MIT */
#include "common/clock.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void clock_fake_stops_both_clocks_until_told_otherwise(void **state)
{
    (void)state;
    clock_fake(5, -7);
    assert_int_equal(clock_mono_ns(), 5);
    assert_int_equal(clock_wall_ms(), -7);
    clock_fake(6, 8);
    assert_int_equal(clock_mono_ns(), 6);
    assert_int_equal(clock_wall_ms(), 8);
    clock_fake(0, 9);
    assert_true(clock_wall_ms() > 1700000000000);
}

static void clock_mono_never_steps_back(void **state)
{
    uint64_t last = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_mono_ns();

        assert_true(now > 0 && now >= last);
        last = now;
    }
}

static const struct {
    const char *text;
    int64_t wall_ms;
} moments[] = {
    { "1970-01-01T00:00:00.000Z", 0 },
    { "1969-12-31T23:59:59.999Z", -1 },
    { "2026-01-02T03:04:05.678Z", 1767323045678 },
    { "2000-02-29T12:00:00.000Z", 951825600000 },
    { "2000-03-01T00:00:00.000Z", 951868800000 },
    { "1900-02-28T23:59:59.999Z", -2203891200001 },
    { "1900-03-01T00:00:00.000Z", -2203891200000 },
    { "2024-12-31T23:59:59.000Z", 1735689599000 },
    { "0000-01-01T00:00:00.000Z", -62167219200000 },
    { "0000-02-29T00:00:00.000Z", -62162121600000 },
    { "9999-12-31T23:59:59.999Z", 253402300799999 },
};

static void clock_format_writes_utc_with_milliseconds(void **state)
{
    char text[CLOCK_TEXT_LEN + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        clock_format(moments[i].wall_ms, text);
        assert_string_equal(text, moments[i].text);
    }
}

static void clock_format_clamps_to_years_of_four_digits(void **state)
{
    char text[CLOCK_TEXT_LEN + 1];

    (void)state;
    clock_format(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00.000Z");
    clock_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void clock_parse_reads_what_clock_format_writes(void **state)
{
    int64_t wall_ms;

    (void)state;
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        assert_int_equal(clock_parse(moments[i].text, CLOCK_TEXT_LEN, &wall_ms), ST_OK);
        assert_true(wall_ms == moments[i].wall_ms);
    }
}

static void clock_text_follows_the_calendar_for_800_years(void **state)
{
    int year = 1600, month = 1, day = 1;
    const int64_t first = -11676096000000; /* 1600-01-01 */

    (void)state;
    for (int64_t n = 0; n < 2 * 146097; n++) {
        const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        char text[CLOCK_TEXT_LEN + 1];
        int64_t back;

        clock_format(first + n * 86400000, text);
        assert_int_equal((text[0] - '0') * 1000 + (text[1] - '0') * 100 +
                             (text[2] - '0') * 10 + text[3] - '0',
                         year);
        assert_int_equal((text[5] - '0') * 10 + text[6] - '0', month);
        assert_int_equal((text[8] - '0') * 10 + text[9] - '0', day);
        assert_int_equal(clock_parse(text, CLOCK_TEXT_LEN, &back), ST_OK);
        assert_true(back == first + n * 86400000);
        if (++day > month_days[month - 1] + (month == 2 && leap)) {
            day = 1;
            if (++month > 12) {
                month = 1;
                year++;
            }
        }
    }
    assert_int_equal(year, 2400);
}

static int64_t parsed(const char *text)
{
    int64_t wall_ms = -1;

    assert_int_equal(clock_parse(text, strlen(text), &wall_ms), ST_OK);
    return wall_ms;
}

static void clock_parse_reads_offsets(void **state)
{
    const int64_t noon = 951825600000;

    (void)state;
    assert_true(parsed("2000-02-29T13:30:00+01:30") == noon);
    assert_true(parsed("2000-02-29T07:00:00-05:00") == noon);
    assert_true(parsed("2000-03-01T11:59:00+23:59") == noon);
    assert_true(parsed("2000-02-29T12:00:00-00:00") == noon);
    assert_true(parsed("2000-02-29t12:00:00z") == noon);
}

static void clock_parse_cuts_fractions_to_milliseconds(void **state)
{
    (void)state;
    assert_true(parsed("1970-01-01T00:00:00.5Z") == 500);
    assert_true(parsed("1970-01-01T00:00:00.05Z") == 50);
    assert_true(parsed("1970-01-01T00:00:00.0019Z") == 1);
    assert_true(parsed("1970-01-01T00:00:00.123456789+00:00") == 123);
}

static void clock_parse_reads_a_leap_second_as_the_next_minute(void **state)
{
    (void)state;
    assert_true(parsed("2016-12-31T23:59:60Z") == parsed("2017-01-01T00:00:00Z"));
    assert_true(parsed("2016-12-31T23:59:60.999Z") == parsed("2017-01-01T00:00:00Z"));
}

static void clock_parse_refuses_what_is_not_rfc_3339(void **state)
{
    static const char *const wrong[] = {
        "",
        "2026",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05.1234567890Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05Zx",
        "2026-01-02T03:04:05Z ",
        " 2026-01-02T03:04:05Z",
        "2026-1-02T03:04:05Z",
        "+2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05+01",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+00:60",
        "2026-01-02T24:00:00Z",
        "2026-01-02T23:60:00Z",
        "2026-01-02T23:59:61Z",
        "2026-00-02T03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-01-00T03:04:05Z",
        "2026-01-32T03:04:05Z",
        "2026-04-31T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2024-02-30T03:04:05Z",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        int64_t wall_ms = 77;

        assert_int_equal(clock_parse(wrong[i], strlen(wrong[i]), &wall_ms), ST_INVALID);
        assert_true(wall_ms == 77);
    }
}

static void clock_parse_does_not_read_past_the_length(void **state)
{
    const char *text = "2026-01-02T03:04:05.678+01:00";
    int64_t wall_ms;

    (void)state;
    for (size_t len = 0; len < strlen(text); len++) {
        char cut[32];

        /* at the very end of the array, where the sanitizer sees a byte too far */
        memcpy(cut + sizeof(cut) - len, text, len);
        assert_int_equal(clock_parse(cut + sizeof(cut) - len, len, &wall_ms), ST_INVALID);
    }
}

static void a_jump_ahead_is_believed_at_twice_the_pace_one_back_at_once(void **state)
{
    uint64_t mono = 1000 * NS_PER_SEC;

    (void)state;
    clock_fake(mono, 50000);
    clock_believe();
    assert_int_equal(clock_believed_ms(), 50000);
    clock_fake(mono += 10 * NS_PER_MS, 50010);
    assert_int_equal(clock_believed_ms(), 50010);
    clock_fake(mono, 90000000);
    assert_int_equal(clock_believed_ms(), 50010);
    clock_fake(mono += 100 * NS_PER_MS, 90000100);
    assert_int_equal(clock_believed_ms(), 50210);
    for (int i = 0; i < 10; i++) { /* asked more often than every millisecond */
        clock_fake(mono += NS_PER_MS / 10, 90000200);
        (void)clock_believed_ms();
    }
    assert_int_equal(clock_believed_ms(), 50212);
    clock_fake(mono, 40000);
    assert_int_equal(clock_believed_ms(), 40000);
    clock_fake(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_fake_stops_both_clocks_until_told_otherwise),
        cmocka_unit_test(clock_mono_never_steps_back),
        cmocka_unit_test(a_jump_ahead_is_believed_at_twice_the_pace_one_back_at_once),
        cmocka_unit_test(clock_format_writes_utc_with_milliseconds),
        cmocka_unit_test(clock_format_clamps_to_years_of_four_digits),
        cmocka_unit_test(clock_parse_reads_what_clock_format_writes),
        cmocka_unit_test(clock_text_follows_the_calendar_for_800_years),
        cmocka_unit_test(clock_parse_reads_offsets),
        cmocka_unit_test(clock_parse_cuts_fractions_to_milliseconds),
        cmocka_unit_test(clock_parse_reads_a_leap_second_as_the_next_minute),
        cmocka_unit_test(clock_parse_refuses_what_is_not_rfc_3339),
        cmocka_unit_test(clock_parse_does_not_read_past_the_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
