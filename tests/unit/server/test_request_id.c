/* SPDX-License-Identifier: MIT */
#include "server/request_id.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void request_id_takes_what_is_harmless(void **state)
{
    char id[REQUEST_ID_MAX + 1], longest[REQUEST_ID_MAX + 2];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    longest[REQUEST_ID_MAX + 1] = '\0';
    assert_false(request_id_take(longest, id));
    longest[REQUEST_ID_MAX] = '\0';
    assert_true(request_id_take(longest, id));
    assert_string_equal(id, longest);
    assert_true(request_id_take("1-a_B.c~d:e+f/g=h@i", id));
    assert_string_equal(id, "1-a_B.c~d:e+f/g=h@i");
}

static void request_id_takes_nothing_else(void **state)
{
    static const char *const bad[] = { "",    " ",   "a b", "a\tb",     "a\x1b[2J",
                                       "a\"", "a\\", "a,b", "\xc3\xa4", "a\x7f",
                                       "a;b", "{a}", "<a>", "a'" };
    char id[REQUEST_ID_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(request_id_take(bad[i], id));
}

static void request_ids_that_are_made_differ(void **state)
{
    char ids[1000][REQUEST_ID_MAX + 1], taken[REQUEST_ID_MAX + 1];
    uint64_t seed = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        request_id_make(&seed, ids[i]);
        assert_int_equal(strlen(ids[i]), 16);
        assert_true(request_id_take(ids[i], taken));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(ids[i], ids[j]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_id_takes_what_is_harmless),
        cmocka_unit_test(request_id_takes_nothing_else),
        cmocka_unit_test(request_ids_that_are_made_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
