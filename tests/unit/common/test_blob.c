/* SPDX-License-Identifier: MIT */
#include "common/blob.h"

#include "common/mem.h"

#include <pthread.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void blob_new_copies_the_bytes_and_ends_them_with_nul(void **state)
{
    char bytes[] = { 'a', '\0', 'b' };
    struct blob *blob = blob_new(bytes, sizeof(bytes));

    (void)state;
    bytes[0] = 'x';
    assert_int_equal(blob->len, 3);
    assert_memory_equal(blob->data, "a\0b", 4);
    blob_unref(blob);
}

static void blob_new_of_nothing_is_an_empty_string(void **state)
{
    struct blob *blob = blob_new(NULL, 0);

    (void)state;
    assert_int_equal(blob->len, 0);
    assert_string_equal(blob->data, "");
    blob_unref(blob);
}

static void blob_new_uninit_has_room_for_len_bytes(void **state)
{
    struct blob *blob = blob_new_uninit(1000);

    (void)state;
    memset(blob->data, 'z', 1000);
    assert_int_equal(strlen(blob->data), 1000);
    blob_unref(blob);
}

static void blob_new_fails_without_memory(void **state)
{
    (void)state;
    mem_fail_at(1, 1);
    assert_null(blob_new("a", 1));
    assert_null(blob_new_uninit(1));
    mem_fail_at(0, 0);
}

static void blob_new_uninit_refuses_a_length_that_overflows(void **state)
{
    (void)state;
    assert_null(blob_new_uninit(SIZE_MAX));
    assert_null(blob_new_uninit(SIZE_MAX - sizeof(struct blob)));
}

static void blob_lives_until_its_last_reference_goes(void **state)
{
    struct blob *blob = blob_new("ab", 2);

    (void)state;
    assert_ptr_equal(blob_ref(blob), blob);
    assert_int_equal(blob->refs, 2);
    blob_unref(blob);
    assert_int_equal(blob->refs, 1);
    assert_string_equal(blob->data, "ab");
    blob_unref(blob);
}

static void blob_functions_accept_null(void **state)
{
    (void)state;
    assert_null(blob_ref(NULL));
    blob_unref(NULL);
    assert_int_equal(blob_text(NULL).len, 0);
}

static void *ref_and_unref(void *arg)
{
    struct blob *blob = arg;

    for (int i = 0; i < 20000; i++)
        blob_unref(blob_ref(blob));
    blob_unref(blob);
    return NULL;
}

static void blob_references_may_be_dropped_on_any_thread(void **state)
{
    struct blob *blob = blob_new("shared", 6);
    pthread_t threads[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, blob_ref(blob)),
                         0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(blob->refs, 1);
    blob_unref(blob);
}

static void blob_text_views_the_bytes_without_copying(void **state)
{
    struct blob *blob = blob_new("abc", 3);

    (void)state;
    assert_ptr_equal(blob_text(blob).at, blob->data);
    assert_int_equal(blob_text(blob).len, 3);
    blob_unref(blob);
}

static void text_equal_compares_length_and_bytes(void **state)
{
    (void)state;
    assert_true(text_equal(TEXT("a\0b"), TEXT("a\0b")));
    assert_false(text_equal(TEXT("a\0b"), TEXT("a\0c")));
    assert_false(text_equal(TEXT("ab"), TEXT("abc")));
    assert_true(text_equal((struct text){ NULL, 0 }, TEXT("")));
}

static void text_equals_compares_with_a_whole_string(void **state)
{
    (void)state;
    assert_true(text_equals(TEXT("map"), "map"));
    assert_false(text_equals(TEXT("map"), "maps"));
    assert_false(text_equals(TEXT("maps"), "map"));
    assert_false(text_equals(TEXT("map\0"), "map"));
    assert_true(text_equals((struct text){ NULL, 0 }, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blob_new_copies_the_bytes_and_ends_them_with_nul),
        cmocka_unit_test(blob_new_of_nothing_is_an_empty_string),
        cmocka_unit_test(blob_new_uninit_has_room_for_len_bytes),
        cmocka_unit_test(blob_new_fails_without_memory),
        cmocka_unit_test(blob_new_uninit_refuses_a_length_that_overflows),
        cmocka_unit_test(blob_lives_until_its_last_reference_goes),
        cmocka_unit_test(blob_functions_accept_null),
        cmocka_unit_test(blob_references_may_be_dropped_on_any_thread),
        cmocka_unit_test(blob_text_views_the_bytes_without_copying),
        cmocka_unit_test(text_equal_compares_length_and_bytes),
        cmocka_unit_test(text_equals_compares_with_a_whole_string),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
