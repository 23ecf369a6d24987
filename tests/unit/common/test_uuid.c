/* SPDX-License-Identifier: MIT */
#include "common/uuid.h"

#include <ctype.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void uuid_next_carries_time_version_and_variant(void **state)
{
    struct uuid_generator gen = { 0 };
    struct uuid id = uuid_next(&gen, 0x0123456789ab);
    static const uint8_t time[] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab };

    (void)state;
    assert_memory_equal(id.bytes, time, 6);
    assert_int_equal(id.bytes[6] >> 4, 7);
    assert_int_equal(id.bytes[8] >> 6, 2);
    assert_true(uuid_key(id) == 0x0123456789ab000);
}

static void uuid_next_rises_within_a_millisecond(void **state)
{
    struct uuid_generator gen = { 0 };
    struct uuid last = uuid_next(&gen, 1000);

    (void)state;
    /* far more than the counter holds, so that it carries */
    for (int i = 0; i < 10000; i++) {
        struct uuid id = uuid_next(&gen, 1000);

        assert_true(uuid_key(id) == uuid_key(last) + 1);
        assert_true(memcmp(id.bytes, last.bytes, 16) > 0);
        assert_int_equal(id.bytes[6] >> 4, 7);
        last = id;
    }
    assert_true(uuid_key(last) >> 12 == 1002);
}

static void uuid_next_rises_when_the_clock_steps_back(void **state)
{
    struct uuid_generator gen = { 0 };
    struct uuid before = uuid_next(&gen, 5000), after = uuid_next(&gen, 10);

    (void)state;
    assert_true(uuid_key(after) == uuid_key(before) + 1);
    assert_true(uuid_key(uuid_next(&gen, 5001)) == UINT64_C(5001) << 12);
}

static void uuid_next_gives_a_key_above_zero_before_1970(void **state)
{
    struct uuid_generator gen = { 0 };

    (void)state;
    assert_true(uuid_key(uuid_next(&gen, 0)) == 1);
    assert_true(uuid_key(uuid_next(&gen, -1)) == 2);
}

static void uuid_next_has_fresh_random_bits_in_every_id(void **state)
{
    enum { COUNT = 300 }; /* several refills of the generator */
    struct uuid_generator gen = { 0 };
    uint8_t tails[COUNT][8], ones[8] = { 0 }, zeros[8] = { 0 };

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        memcpy(tails[i], uuid_next(&gen, 1).bytes + 8, 8);
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(tails[i], tails[j], 8);
        for (int j = 0; j < 8; j++) {
            ones[j] |= tails[i][j];
            zeros[j] |= (uint8_t)~tails[i][j];
        }
    }
    /* Every bit but the variant has been seen both ways. */
    for (int j = 0; j < 8; j++) {
        assert_int_equal(ones[j], j ? 0xff : 0xbf);
        assert_int_equal(zeros[j], j ? 0xff : 0x7f);
    }
}

static void uuid_generator_after_continues_above_a_known_id(void **state)
{
    struct uuid_generator old = { 0 }, gen = { 0 };
    struct uuid known = uuid_next(&old, 9000);

    (void)state;
    uuid_generator_after(&gen, known);
    assert_true(uuid_key(uuid_next(&gen, 1)) == uuid_key(known) + 1);
    uuid_generator_after(&gen, known); /* older than the newest: no step back */
    assert_true(uuid_key(uuid_next(&gen, 1)) == uuid_key(known) + 2);
}

static const char sample[] = "0123abcd-89ef-7123-bcde-f0123456789a";

static void uuid_format_writes_what_uuid_parse_reads(void **state)
{
    static const uint8_t bytes[16] = { 0x01, 0x23, 0xab, 0xcd, 0x89, 0xef, 0x71, 0x23,
                                       0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78, 0x9a };
    char text[UUID_TEXT_LEN + 1];
    struct uuid id;

    (void)state;
    assert_true(uuid_parse(sample, UUID_TEXT_LEN, &id));
    assert_memory_equal(id.bytes, bytes, 16);
    assert_true(uuid_key(id) == 0x0123abcd89ef123);
    uuid_format(id, text);
    assert_string_equal(text, sample);
}

static void uuid_parse_accepts_either_case(void **state)
{
    char upper[UUID_TEXT_LEN + 1];
    struct uuid a, b;

    (void)state;
    for (int i = 0; i <= UUID_TEXT_LEN; i++)
        upper[i] = (char)toupper((unsigned char)sample[i]);
    assert_true(uuid_parse(upper, UUID_TEXT_LEN, &a));
    assert_true(uuid_parse(sample, UUID_TEXT_LEN, &b));
    assert_true(uuid_equal(a, b));
}

static void uuid_parse_refuses_every_other_text(void **state)
{
    static const char *const wrong[] = {
        "",
        "0123abcd-89ef-7123-bcde-f0123456789",   /* short */
        "0123abcd-89ef-7123-bcde-f0123456789ab", /* long */
        "0123abcd-89ef-4123-bcde-f0123456789a",  /* version 4 */
        "0123abcd-89ef-7123-ccde-f0123456789a",  /* variant 6 */
        "0123abcd-89ef-7123-7cde-f0123456789a",  /* variant 0 */
        "0123abcg-89ef-7123-bcde-f0123456789a",
        "0123abcd089ef-7123-bcde-f0123456789a",
        "0123abcd-89ef-71230bcde-f0123456789a",
        "0123abcd89ef-7123-bcde-f0123456789a-",
        "{123abcd-89ef-7123-bcde-f0123456789}",
        " 123abcd-89ef-7123-bcde-f0123456789a",
    };
    struct uuid id = { { 1 } };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(uuid_parse(wrong[i], strlen(wrong[i]), &id));
    assert_int_equal(id.bytes[0], 1);
}

static void uuid_equal_looks_at_every_byte(void **state)
{
    struct uuid a = { { 0 } };

    (void)state;
    assert_true(uuid_equal(a, a));
    for (int i = 0; i < 16; i++) {
        struct uuid b = a;

        b.bytes[i] ^= 1;
        assert_false(uuid_equal(a, b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uuid_next_carries_time_version_and_variant),
        cmocka_unit_test(uuid_next_rises_within_a_millisecond),
        cmocka_unit_test(uuid_next_rises_when_the_clock_steps_back),
        cmocka_unit_test(uuid_next_gives_a_key_above_zero_before_1970),
        cmocka_unit_test(uuid_next_has_fresh_random_bits_in_every_id),
        cmocka_unit_test(uuid_generator_after_continues_above_a_known_id),
        cmocka_unit_test(uuid_format_writes_what_uuid_parse_reads),
        cmocka_unit_test(uuid_parse_accepts_either_case),
        cmocka_unit_test(uuid_parse_refuses_every_other_text),
        cmocka_unit_test(uuid_equal_looks_at_every_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
