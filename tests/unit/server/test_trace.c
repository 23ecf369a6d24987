/* SPDX-License-Identifier: MIT */
#include "server/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define IDS "-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"

static void trace_parent_of_the_standard_is_taken(void **state)
{
    char parent[TRACE_PARENT_LEN + 1];

    (void)state;
    assert_true(trace_parent_take("00" IDS "01", parent));
    assert_string_equal(parent, "00" IDS "01");
    assert_true(trace_parent_take("00" IDS "00", parent));
    assert_true(trace_parent_take("cc" IDS "01", parent));
    assert_true(trace_parent_take("cc" IDS "01-what-the-future-brings", parent));
    assert_string_equal(parent, "00" IDS "01");
}

static void trace_parent_that_is_not_valid_is_ignored(void **state)
{
    static const char *const bad[] = {
        NULL,
        "",
        "00",
        "00" IDS "0",
        "00" IDS "01-",
        "00" IDS "01-x",
        "00" IDS "011",
        "ff" IDS "01",
        "cc" IDS "01.x",
        "00" IDS "0G",
        "00" IDS "0A",
        " 00" IDS "01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\n-01",
    };
    char parent[TRACE_PARENT_LEN + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(trace_parent_take(bad[i], parent));
        assert_string_equal(parent, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace_parent_of_the_standard_is_taken),
        cmocka_unit_test(trace_parent_that_is_not_valid_is_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
