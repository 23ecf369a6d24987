/* SPDX-License-Identifier: MIT */
#include "common/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void digits_and_values_belong_together(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(hex_value(hex_digit(i)), i);
        assert_int_equal(hex_digit(0xab0 | i), hex_digit(i));
    }
    assert_int_equal(hex_value('A'), 10);
    assert_int_equal(hex_value('F'), 15);
    assert_int_equal(hex_digit(10), 'a');
}

static void other_characters_have_no_value(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        if (c == 0 || !strchr("0123456789abcdefABCDEF", c))
            assert_int_equal(hex_value((char)c), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_and_values_belong_together),
        cmocka_unit_test(other_characters_have_no_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
