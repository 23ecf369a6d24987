/* SPDX-License-Identifier: MIT */
#include "server/descriptors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

/* behind what it needs */
#include <cmocka.h>

static void enough_descriptors_give_what_is_wanted(void **state)
{
    (void)state;
    assert_int_equal(descriptors_share(RLIM_INFINITY, 30, 4, 1024), 1024);
    assert_int_equal(descriptors_share(20000, 30, 4, 1024), 1024);
}

static void few_descriptors_are_kept_for_the_workers(void **state)
{
    (void)state;
    assert_int_equal(descriptors_share(1024, 30, 4, 1024), 1024 - 30 - 24 - 16);
    assert_int_equal(descriptors_share(64, 20, 2, 1024), 12);
    assert_int_equal(descriptors_share(64, 20, 2, 5), 5);
}

static void there_is_always_one_connection(void **state)
{
    (void)state;
    assert_int_equal(descriptors_share(64, 60, 2, 1024), 1);
    assert_int_equal(descriptors_share(0, 60, 1000, 1024), 1);
}

static void this_process_has_some(void **state)
{
    (void)state;
    assert_int_equal(descriptors_for_connections(1, 0, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enough_descriptors_give_what_is_wanted),
        cmocka_unit_test(few_descriptors_are_kept_for_the_workers),
        cmocka_unit_test(there_is_always_one_connection),
        cmocka_unit_test(this_process_has_some),
    };

    return cmocka_run_group_tests_name("descriptors", tests, NULL, NULL);
}
