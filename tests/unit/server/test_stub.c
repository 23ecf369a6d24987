/* SPDX-License-Identifier: MIT */
#include "server/stub.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 500

static struct stub stub_at(unsigned number, enum job_state state, uint64_t start_ns,
                           uint64_t expires_ns)
{
    struct stub stub = { .state = (uint8_t)state,
                         .start_ns = start_ns,
                         .expires_ns = expires_ns };

    memcpy(stub.id.bytes, &number, sizeof(number));
    return stub;
}

static void note_nothing(struct stub *stub)
{
    (void)stub;
}

static void stubs_are_found_by_id(void **state)
{
    struct stub all[COUNT], other = stub_at(COUNT, JOB_QUEUED, 0, 0);
    struct stubs stubs = { 0 };

    (void)state;
    assert_null(stubs_find(&stubs, other.id));
    for (unsigned i = 0; i < COUNT; i++) {
        all[i] = stub_at(i, JOB_QUEUED, 0, 0);
        assert_true(stubs_add(&stubs, &all[i]));
    }
    assert_int_equal(stubs.count, COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        assert_ptr_equal(stubs_find(&stubs, all[i].id), &all[i]);
    assert_null(stubs_find(&stubs, other.id));
    assert_null(stubs_next(&stubs)); /* none has a time */
    for (unsigned i = 0; i < COUNT; i += 2)
        stubs_remove(&stubs, &all[i]);
    assert_null(stubs_find(&stubs, all[0].id));
    assert_ptr_equal(stubs_find(&stubs, all[1].id), &all[1]);
    assert_int_equal(stubs.count, COUNT / 2);
    stubs_clear(&stubs, note_nothing);
    assert_null(stubs_find(&stubs, all[1].id));
}

static void scheduled_one_is_due_at_its_start_or_before_if_it_expires(void **state)
{
    struct stub stub = stub_at(1, JOB_SCHEDULED, 50, 0);

    (void)state;
    assert_int_equal(stub_due_ns(&stub), 50);
    stub.expires_ns = 60;
    assert_int_equal(stub_due_ns(&stub), 50);
    stub.expires_ns = 40;
    assert_int_equal(stub_due_ns(&stub), 40);
    stub.state = JOB_QUEUED;
    stub.expires_ns = 70;
    assert_int_equal(stub_due_ns(&stub), 70);
    stub.expires_ns = 0;
    assert_int_equal(stub_due_ns(&stub), 0);
}

static void earliest_is_next_whatever_comes_and_goes(void **state)
{
    struct stub all[COUNT];
    struct stubs stubs = { 0 };
    uint64_t before = 0;
    size_t left = 0;

    (void)state;
    for (unsigned i = 0; i < COUNT; i++) { /* every fifth one has no time */
        all[i] = stub_at(i, JOB_QUEUED, 0, i % 5 ? 1 + i * 7919u % 1009 : 0);
        assert_true(stubs_add(&stubs, &all[i]));
    }
    for (unsigned i = 0; i < COUNT; i += 3)
        stubs_remove(&stubs, &all[i]);
    for (unsigned i = 1; i < COUNT; i += 3) { /* earlier, later, never */
        all[i].expires_ns = i % 7 == 0 ? 0 : i * 31u % 2003;
        stubs_retime(&stubs, &all[i]);
    }
    for (unsigned i = 0; i < COUNT; i++)
        left += i % 3 && all[i].timed_at;
    assert_int_equal(stubs.time_count, left);
    for (; stubs.time_count; left--) {
        struct stub *next = stubs_next(&stubs);

        assert_true(stub_due_ns(next) >= before);
        before = stub_due_ns(next);
        stubs_remove(&stubs, next);
    }
    assert_int_equal(left, 0);
    stubs_clear(&stubs, note_nothing);
}

static void without_memory_for_its_time_it_is_not_there(void **state)
{
    struct stub stub = stub_at(1, JOB_QUEUED, 0, 5);
    struct stubs stubs = { 0 };

    (void)state;
    mem_fail_at(1, 0);
    assert_false(stubs_add(&stubs, &stub));
    mem_fail_at(0, 0);
    assert_null(stubs_find(&stubs, stub.id));
    assert_int_equal(stubs.count, 0);
    assert_true(stubs_add(&stubs, &stub));
    stubs_clear(&stubs, note_nothing);
}

static void it_is_small(void **state)
{
    (void)state;
    /* With its node of the search tree and what malloc adds: README.md says 200 bytes. */
    assert_true(sizeof(struct stub) <= 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stubs_are_found_by_id),
        cmocka_unit_test(scheduled_one_is_due_at_its_start_or_before_if_it_expires),
        cmocka_unit_test(earliest_is_next_whatever_comes_and_goes),
        cmocka_unit_test(without_memory_for_its_time_it_is_not_there),
        cmocka_unit_test(it_is_small),
    };

    return cmocka_run_group_tests_name("stub", tests, NULL, NULL);
}
