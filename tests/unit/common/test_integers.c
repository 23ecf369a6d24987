/* SPDX-License-Identifier: MIT */
#include "common/integers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* In memory of exactly this size, so that a sanitizer sees what is read behind it. */
static uint8_t *new_block(void)
{
    uint8_t *block = malloc(INTEGERS_BLOCK);

    assert_non_null(block);
    return block;
}

static uint64_t bit(size_t i)
{
    return (uint64_t)1 << i;
}

/* The same, byte by byte. */
static struct integers one_by_one(const uint8_t *p)
{
    struct integers found = { 0 };
    size_t i = 0;

    while (i < INTEGERS_BLOCK) {
        size_t start, digits;

        i += p[i] == ' ';
        start = i;
        if (i < INTEGERS_BLOCK && p[i] == '-')
            i++;
        digits = i;
        while (i < INTEGERS_BLOCK && is_digit(p[i]))
            i++;
        if (i == INTEGERS_BLOCK || i == digits || p[i] != ',' ||
            (p[digits] == '0' && i > digits + 1))
            break;
        found.starts |= bit(start);
        found.commas |= bit(i++);
    }
    return found;
}

static void assert_found(const uint8_t *block, uint64_t starts, uint64_t commas)
{
    struct integers_block words = integers_classify_words(block);
    struct integers plain = integers_of(&words), found = integers_at(block);

    assert_int_equal(found.starts, starts);
    assert_int_equal(found.commas, commas);
    assert_int_equal(plain.starts, starts);
    assert_int_equal(plain.commas, commas);
}

static void integers_end_at_what_is_no_integer_with_a_comma(void **state)
{
    static const struct {
        const char *text;
        uint64_t starts, commas;
    } rows[] = {
        { "1,22, 333, -4,0,-0,", 0x14845, 0x4A212 },
        { "1,2]", 0x1, 0x2 },
        { "1, 2 ,3,", 0x1, 0x2 },
        { "1,  2,", 0x1, 0x2 },
        { "1,\n2,", 0x1, 0x2 },
        { "1,,2,", 0x1, 0x2 },
        { "1,01,2,", 0x1, 0x2 },
        { "1,-01,2,", 0x1, 0x2 },
        { "1,-,2,", 0x1, 0x2 },
        { "1,--2,3,", 0x1, 0x2 },
        { "1,2-3,4,", 0x1, 0x2 },
        { "1,2.5,3,", 0x1, 0x2 },
        { "1,2e5,3,", 0x1, 0x2 },
        { "1,+2,3,", 0x1, 0x2 },
        { "1,\"2\",3,", 0x1, 0x2 },
        { "1,\xB2,3,", 0x1, 0x2 },
        { ",1,", 0, 0 },
        { "", 0, 0 },
    };
    uint8_t *block = new_block();

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        memset(block, 'x', INTEGERS_BLOCK);
        memcpy(block, rows[i].text, strlen(rows[i].text));
        assert_found(block, rows[i].starts, rows[i].commas);
    }
    free(block);
}

static void a_whole_block_may_be_fine(void **state)
{
    uint8_t *block = new_block();

    (void)state;
    for (size_t i = 0; i < INTEGERS_BLOCK; i++)
        block[i] = i % 2 ? ',' : '7';
    assert_found(block, 0x5555555555555555u, 0xAAAAAAAAAAAAAAAAu);
    memset(block, '7', INTEGERS_BLOCK);
    assert_found(block, 0, 0);
    block[INTEGERS_BLOCK - 1] = ',';
    assert_found(block, 1, bit(INTEGERS_BLOCK - 1));
    free(block);
}

/* Every byte that there is is told from every other one, at every place. */
static void each_byte_is_known_everywhere(void **state)
{
    uint8_t *block = new_block();

    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < INTEGERS_BLOCK; at++) {
            struct integers expected;

            for (size_t i = 0; i < INTEGERS_BLOCK; i++)
                block[i] = i % 3 == 2 ? ',' : '1';
            block[at] = (uint8_t)byte;
            expected = one_by_one(block);
            assert_found(block, expected.starts, expected.commas);
        }
    }
    free(block);
}

static void random_blocks_are_read_as_byte_by_byte(void **state)
{
    static const char bytes[] = "0123456789,,,, -0";
    uint8_t *block = new_block();
    uint64_t random = 1;

    (void)state;
    for (int round = 0; round < 100000; round++) {
        struct integers expected;
        unsigned kinds =
            round % 2 ? sizeof(bytes) - 1 : 14; /* or neither space nor sign */

        for (size_t i = 0; i < INTEGERS_BLOCK; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            block[i] = (uint8_t)bytes[(random >> 33) % kinds];
        }
        expected = one_by_one(block);
        assert_found(block, expected.starts, expected.commas);
    }
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_end_at_what_is_no_integer_with_a_comma),
        cmocka_unit_test(a_whole_block_may_be_fine),
        cmocka_unit_test(each_byte_is_known_everywhere),
        cmocka_unit_test(random_blocks_are_read_as_byte_by_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
