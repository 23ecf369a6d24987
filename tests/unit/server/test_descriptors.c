/* SPDX-License-Identifier: MIT */
#include "server/descriptors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

/* behind what it needs */
#include <cmocka.h>

static struct descriptors of(uint64_t limit, uint64_t used, uint64_t connections)
{
    return (struct descriptors){ limit, used, connections };
}

static unsigned share(struct descriptors descriptors, uint64_t more_pools,
                      uint64_t processes)
{
    return descriptors_share(&descriptors, more_pools, processes);
}

static bool hold(struct descriptors descriptors, uint64_t more_pools, uint64_t processes)
{
    return descriptors_hold(&descriptors, more_pools, processes);
}

static void enough_descriptors_give_what_is_wanted(void **state)
{
    (void)state;
    assert_int_equal(share(of(RLIM_INFINITY, 30, 1024), 0, 4), 1024);
    assert_int_equal(share(of(20000, 30, 1024), 100, 400), 1024);
}

static void few_descriptors_are_kept_for_the_workers(void **state)
{
    (void)state;
    assert_int_equal(share(of(1024, 30, 1024), 0, 4), 1024 - 30 - 24 - 16);
    assert_int_equal(share(of(1024, 30, 1024), 2, 10), 1024 - 30 - 24 - 8 - 40);
    assert_int_equal(share(of(64, 20, 1024), 0, 2), 12);
    assert_int_equal(share(of(64, 20, 5), 0, 2), 5);
}

static void there_is_always_one_connection(void **state)
{
    (void)state;
    assert_int_equal(share(of(64, 60, 1024), 0, 2), 1);
    assert_int_equal(share(of(0, 60, 1024), 0, 1000), 1);
    assert_int_equal(share(of(64, 20, 0), 0, 1), 1);
}

static void pools_have_to_leave_some_connections(void **state)
{
    struct descriptors few = of(100, 20, 1024); /* 56 but for what pools need */

    (void)state;
    assert_true(hold(few, 0, 12)); /* 48: 8 are left */
    assert_false(hold(few, 0, 13));
    assert_true(hold(few, 1, 11));
    assert_false(hold(few, 1, 12));
    few.connections = 3; /* more are not wanted */
    assert_true(hold(few, 0, 13));
    assert_false(hold(few, 0, 14));
    assert_true(hold(of(RLIM_INFINITY, 20, 1024), 1000, 1000000));
    assert_false(hold(of(0, 20, 1024), 0, 1));
}

static void this_process_has_some(void **state)
{
    struct descriptors now, less;

    (void)state;
    descriptors_look(0, 7, &now);
    descriptors_look(5, 7, &less);
    assert_int_equal(now.connections, 7);
    assert_true(now.limit > now.used && now.used >= 3);
    assert_int_equal(less.used, now.used + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enough_descriptors_give_what_is_wanted),
        cmocka_unit_test(few_descriptors_are_kept_for_the_workers),
        cmocka_unit_test(there_is_always_one_connection),
        cmocka_unit_test(pools_have_to_leave_some_connections),
        cmocka_unit_test(this_process_has_some),
    };

    return cmocka_run_group_tests_name("descriptors", tests, NULL, NULL);
}
