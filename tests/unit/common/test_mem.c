/* SPDX-License-Identifier: MIT */
#include "common/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int switch_off(void **state)
{
    (void)state;
    mem_fail_at(0, 0);
    return 0;
}

static void mem_zalloc_gives_zeros(void **state)
{
    static const char zeros[300];
    char *block = mem_alloc(300);

    (void)state;
    assert_non_null(block);
    memset(block, 0xff, 300);
    mem_free(block); /* so that used memory is likely to be handed out again */
    block = mem_zalloc(300);
    assert_non_null(block);
    assert_memory_equal(block, zeros, 300);
    mem_free(block);
}

static void mem_alloc_of_nothing_is_not_a_failure(void **state)
{
    void *block = mem_alloc(0), *zeroed = mem_zalloc(0);

    (void)state;
    assert_non_null(block);
    assert_non_null(zeroed);
    block = mem_realloc(block, 0);
    assert_non_null(block);
    mem_free(block);
    mem_free(zeroed);
    mem_free(NULL);
}

static void mem_strndup_copies_len_bytes_and_ends_them(void **state)
{
    char *copy = mem_strndup("a\0bcd", 4), *empty = mem_strndup(NULL, 0);

    (void)state;
    assert_memory_equal(copy, "a\0bc", 5);
    assert_string_equal(empty, "");
    mem_free(copy);
    mem_free(empty);
}

static void mem_strndup_refuses_a_length_that_overflows(void **state)
{
    (void)state;
    assert_null(mem_strndup("a", SIZE_MAX));
}

static void mem_strdup_copies_the_whole_string(void **state)
{
    const char *text = "pool";
    char *copy = mem_strdup(text);

    (void)state;
    assert_string_equal(copy, "pool");
    assert_ptr_not_equal(copy, text);
    mem_free(copy);
}

static void mem_fail_at_fails_only_the_nth_call(void **state)
{
    void *blocks[3];

    (void)state;
    mem_fail_at(2, 0);
    for (int i = 0; i < 3; i++)
        blocks[i] = mem_alloc(8);
    assert_non_null(blocks[0]);
    assert_null(blocks[1]);
    assert_non_null(blocks[2]);
    mem_free(blocks[0]);
    mem_free(blocks[2]);
}

static void mem_fail_at_sticky_fails_all_from_the_nth_on(void **state)
{
    void *first;

    (void)state;
    mem_fail_at(2, 1);
    first = mem_alloc(8);
    assert_non_null(first);
    assert_null(mem_alloc(8));
    assert_null(mem_zalloc(8));
    assert_null(mem_strdup("x"));
    assert_null(mem_strndup("x", 1));
    mem_fail_at(0, 0);
    mem_free(first);
    first = mem_alloc(8);
    assert_non_null(first);
    mem_free(first);
}

static void mem_realloc_that_fails_keeps_the_old_block(void **state)
{
    char *block = mem_strdup("kept");

    (void)state;
    mem_fail_at(1, 0);
    assert_null(mem_realloc(block, 1000));
    assert_string_equal(block, "kept");
    mem_free(block);
}

static void mem_calls_counts_every_kind_of_allocation_once(void **state)
{
    void *blocks[4];

    (void)state;
    mem_fail_at(0, 0);
    assert_int_equal(mem_calls(), 0);
    blocks[0] = mem_alloc(1);
    blocks[1] = mem_zalloc(1);
    blocks[2] = mem_strdup("a");
    blocks[3] = mem_strndup("a", 1);
    blocks[0] = mem_realloc(blocks[0], 100);
    assert_int_equal(mem_calls(), 5);
    for (int i = 0; i < 4; i++)
        mem_free(blocks[i]);
    assert_int_equal(mem_calls(), 5);
    mem_fail_at(0, 0);
    assert_int_equal(mem_calls(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mem_zalloc_gives_zeros),
        cmocka_unit_test(mem_alloc_of_nothing_is_not_a_failure),
        cmocka_unit_test(mem_strndup_copies_len_bytes_and_ends_them),
        cmocka_unit_test(mem_strndup_refuses_a_length_that_overflows),
        cmocka_unit_test(mem_strdup_copies_the_whole_string),
        cmocka_unit_test_teardown(mem_fail_at_fails_only_the_nth_call, switch_off),
        cmocka_unit_test_teardown(mem_fail_at_sticky_fails_all_from_the_nth_on,
                                  switch_off),
        cmocka_unit_test_teardown(mem_realloc_that_fails_keeps_the_old_block, switch_off),
        cmocka_unit_test(mem_calls_counts_every_kind_of_allocation_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
