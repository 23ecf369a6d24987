/* SPDX-License-Identifier: MIT */
#include "server/timing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_timing(uint64_t queue_ns, uint64_t run_ns, uint64_t commit_ns,
                          const char *wanted)
{
    char text[TIMING_TEXT_MAX];

    timing_format(queue_ns, run_ns, commit_ns, text);
    assert_string_equal(text, wanted);
}

static void times_are_milliseconds_with_thousandths(void **state)
{
    (void)state;
    assert_timing(0, 0, 0, "queue;dur=0.000, run;dur=0.000, commit;dur=0.000");
    assert_timing(43000, 2335000, 27000,
                  "queue;dur=0.043, run;dur=2.335, commit;dur=0.027");
    assert_timing(1000000, 10050000, 123456789000,
                  "queue;dur=1.000, run;dur=10.050, commit;dur=123456.789");
}

static void what_is_less_is_cut(void **state)
{
    (void)state;
    assert_timing(999, 1999, 999999, "queue;dur=0.000, run;dur=0.001, commit;dur=0.999");
}

static void the_longest_times_have_room(void **state)
{
    (void)state;
    assert_timing(UINT64_MAX, UINT64_MAX, UINT64_MAX,
                  "queue;dur=18446744073709.551, run;dur=18446744073709.551, "
                  "commit;dur=18446744073709.551");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_milliseconds_with_thousandths),
        cmocka_unit_test(what_is_less_is_cut),
        cmocka_unit_test(the_longest_times_have_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
