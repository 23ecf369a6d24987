/* SPDX-License-Identifier: MIT */
#include "common/digits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* In memory of exactly this size, so that a sanitizer sees what is read behind it. */
static char *copy_of(const char *text, size_t len)
{
    char *copy = malloc(len);

    assert_non_null(copy);
    memcpy(copy, text, len);
    return copy;
}

static void a_run_ends_at_the_first_other_byte_wherever_it_is(void **state)
{
    static const char others[] = "/:,.-e \x80\xB0\xFF";

    (void)state;
    for (size_t len = 1; len <= 20; len++) {
        for (size_t at = 0; at <= len; at++) {
            for (size_t i = 0; i < sizeof(others) - 1; i++) {
                char text[] = "09876543210987654321";
                char *copy;

                text[at] = others[i]; /* the text's NUL if it is 20 */
                copy = copy_of(text, len);
                assert_ptr_equal(digits_end((uint8_t *)copy, (uint8_t *)copy + len),
                                 copy + at);
                free(copy);
            }
        }
    }
}

static void one_to_eight_digits_have_their_value(void **state)
{
    static const char *const texts[] = { "0",        "9",        "10",      "305",
                                         "0000",     "90817",    "123456",  "9999999",
                                         "98765432", "00000001", "99999999" };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        size_t len = strlen(texts[i]);
        char *copy = copy_of(texts[i], len);

        assert_int_equal(digits_value(load_short(copy, len), len),
                         strtol(texts[i], NULL, 10));
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_ends_at_the_first_other_byte_wherever_it_is),
        cmocka_unit_test(one_to_eight_digits_have_their_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
