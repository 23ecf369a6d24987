/* SPDX-License-Identifier: MIT */
#include "server/waiter.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct rig {
    uv_loop_t loop;
    struct waiter_list list;
    size_t count;
};

/* What one waiter was told, and what it does then. */
struct told {
    unsigned times;
    enum wake wake;
    enum status st;
    struct rig *rig;
    struct waiter **ends; /* ends this one */
    struct told *begins;  /* has this one wait for the same */
};

static void on_wake(void *data, enum wake wake, enum status st)
{
    struct told *told = data;

    told->times++;
    told->wake = wake;
    told->st = st;
    if (told->ends)
        waiter_end(*told->ends);
    if (told->begins)
        assert_non_null(waiter_new(&told->rig->loop, &told->rig->list, WAIT_CHANGE, -1,
                                   &told->rig->count, on_wake, told->begins));
}

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    if (!rig || uv_loop_init(&rig->loop) != 0)
        return -1;
    TAILQ_INIT(&rig->list);
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    int left;

    waiter_wake_all(&rig->list, WAKE_SHUTDOWN, ST_OK);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    left = uv_loop_close(&rig->loop); /* refuses when a handle is left */
    assert_int_equal(rig->count, 0);
    free(rig);
    return left;
}

static struct waiter *wait_for(struct rig *rig, enum wait_for what, struct told *told)
{
    struct waiter *waiter =
        waiter_new(&rig->loop, &rig->list, what, -1, &rig->count, on_wake, told);

    assert_non_null(waiter);
    return waiter;
}

static void only_those_who_wait_for_it_are_woken(void **state)
{
    static const bool woken[WAKE_SHUTDOWN + 1][WAIT_CHANGE + 1] = {
        [WAKE_ACCEPTED] = { [WAIT_ACCEPTED] = true },
        [WAKE_CHANGE] = { [WAIT_CHANGE] = true },
        [WAKE_WHOLE] = { [WAIT_WHOLE] = true },
        [WAKE_READY] = { true, true, true, true },
        [WAKE_TIMEOUT] = { true, true, true, true },
        [WAKE_REFUSED] = { true, true, true, true },
        [WAKE_SHUTDOWN] = { true, true, true, true },
    };
    struct rig *rig = *state;

    for (enum wake wake = 0; wake <= WAKE_SHUTDOWN; wake++)
        for (enum wait_for what = 0; what <= WAIT_CHANGE; what++) {
            struct told told = { 0 };
            struct waiter *waiter = wait_for(rig, what, &told);

            waiter_wake_all(&rig->list, wake, ST_LIMIT);
            assert_int_equal(told.times, woken[wake][what]);
            if (told.times) {
                assert_int_equal(told.wake, wake);
                assert_int_equal(told.st, ST_LIMIT);
            } else {
                waiter_end(waiter);
            }
            assert_int_equal(rig->count, 0);
        }
}

static void waiters_that_move_go_on_waiting(void **state)
{
    struct waiter_list other = TAILQ_HEAD_INITIALIZER(other);
    struct rig *rig = *state;
    struct told a = { 0 }, b = { 0 }, c = { 0 };
    struct waiter *waiter = wait_for(rig, WAIT_READY, &a);

    wait_for(rig, WAIT_CHANGE, &b);
    waiter_move_all(&rig->list, &other);
    wait_for(rig, WAIT_READY, &c);
    waiter_end(waiter);
    waiter_wake_all(&rig->list, WAKE_READY, ST_OK);
    assert_int_equal(c.times, 1);
    assert_int_equal(b.times, 0);
    waiter_wake_all(&other, WAKE_READY, ST_OK);
    assert_int_equal(b.times, 1);
    assert_int_equal(a.times, 0);
    assert_int_equal(rig->count, 0);
}

static void waiter_is_woken_once(void **state)
{
    struct rig *rig = *state;
    struct told a = { 0 }, b = { 0 };

    wait_for(rig, WAIT_READY, &a);
    wait_for(rig, WAIT_CHANGE, &b);
    assert_int_equal(rig->count, 2);
    waiter_wake_all(&rig->list, WAKE_CHANGE, ST_OK);
    waiter_wake_all(&rig->list, WAKE_CHANGE, ST_OK);
    waiter_wake_all(&rig->list, WAKE_READY, ST_OK);
    waiter_wake_all(&rig->list, WAKE_READY, ST_OK);
    assert_int_equal(a.times, 1);
    assert_int_equal(b.times, 1);
    assert_int_equal(b.wake, WAKE_CHANGE);
}

static void ended_waiter_is_not_called(void **state)
{
    struct rig *rig = *state;
    struct told told = { 0 };

    waiter_end(wait_for(rig, WAIT_READY, &told));
    waiter_end(NULL);
    assert_int_equal(rig->count, 0);
    waiter_wake_all(&rig->list, WAKE_READY, ST_OK);
    assert_int_equal(told.times, 0);
}

static void time_out_wakes_by_itself(void **state)
{
    struct rig *rig = *state;
    struct told soon = { 0 }, later = { 0 };

    assert_non_null(
        waiter_new(&rig->loop, &rig->list, WAIT_READY, 1, &rig->count, on_wake, &soon));
    wait_for(rig, WAIT_READY, &later);
    while (!soon.times)
        uv_run(&rig->loop, UV_RUN_ONCE);
    assert_int_equal(soon.wake, WAKE_TIMEOUT);
    assert_int_equal(rig->count, 1);
    waiter_wake_all(&rig->list, WAKE_READY, ST_OK);
    assert_int_equal(soon.times, 1);
    assert_int_equal(later.times, 1);
}

static void time_out_of_zero_still_comes_from_the_loop(void **state)
{
    struct rig *rig = *state;
    struct told told = { 0 };

    assert_non_null(
        waiter_new(&rig->loop, &rig->list, WAIT_READY, 0, &rig->count, on_wake, &told));
    assert_int_equal(told.times, 0);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(told.times, 1);
}

static void woken_waiter_may_end_another_one(void **state)
{
    struct rig *rig = *state;
    struct told a = { 0 }, b = { 0 }, c = { 0 };
    struct waiter *second;

    a.ends = &second;
    wait_for(rig, WAIT_READY, &a);
    second = wait_for(rig, WAIT_READY, &b);
    wait_for(rig, WAIT_READY, &c);
    waiter_wake_all(&rig->list, WAKE_READY, ST_OK);
    assert_int_equal(a.times, 1);
    assert_int_equal(b.times, 0);
    assert_int_equal(c.times, 1);
    assert_int_equal(rig->count, 0);
}

static void woken_waiter_may_end_one_that_still_waits(void **state)
{
    struct rig *rig = *state;
    struct told a = { 0 }, b = { 0 };
    struct waiter *second;

    a.ends = &second;
    wait_for(rig, WAIT_CHANGE, &a);
    second = wait_for(rig, WAIT_READY, &b);
    waiter_wake_all(&rig->list, WAKE_CHANGE, ST_OK);
    assert_int_equal(rig->count, 0);
    assert_true(TAILQ_EMPTY(&rig->list));
}

static void waiter_that_is_begun_by_a_call_waits_for_the_next_time(void **state)
{
    struct rig *rig = *state;
    struct told again = { 0 }, first = { .rig = rig, .begins = &again };

    wait_for(rig, WAIT_CHANGE, &first);
    waiter_wake_all(&rig->list, WAKE_CHANGE, ST_OK);
    assert_int_equal(first.times, 1);
    assert_int_equal(again.times, 0);
    assert_int_equal(rig->count, 1);
    waiter_wake_all(&rig->list, WAKE_CHANGE, ST_OK);
    assert_int_equal(again.times, 1);
}

static void without_memory_nothing_waits(void **state)
{
    struct rig *rig = *state;
    struct told told = { 0 };

    mem_fail_at(1, 0);
    assert_null(
        waiter_new(&rig->loop, &rig->list, WAIT_READY, 1, &rig->count, on_wake, &told));
    mem_fail_at(0, 0);
    assert_int_equal(rig->count, 0);
    assert_true(TAILQ_EMPTY(&rig->list));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(only_those_who_wait_for_it_are_woken),
        CASE(waiters_that_move_go_on_waiting),
        CASE(waiter_is_woken_once),
        CASE(ended_waiter_is_not_called),
        CASE(time_out_wakes_by_itself),
        CASE(time_out_of_zero_still_comes_from_the_loop),
        CASE(woken_waiter_may_end_another_one),
        CASE(woken_waiter_may_end_one_that_still_waits),
        CASE(waiter_that_is_begun_by_a_call_waits_for_the_next_time),
        CASE(without_memory_nothing_waits),
    };

    return cmocka_run_group_tests_name("waiter", tests, NULL, NULL);
}
