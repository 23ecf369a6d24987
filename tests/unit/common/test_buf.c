/* SPDX-License-Identifier: MIT */
#include "common/buf.h"

#include "common/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_holds(const struct buf *buf, const char *want)
{
    assert_false(buf->failed);
    assert_int_equal(buf->len, strlen(want));
    assert_string_equal(buf->data, want);
}

static void buf_collects_every_kind_of_piece(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add(&buf, "ab", 2);
    buf_add_char(&buf, '-');
    buf_add_str(&buf, "cd");
    buf_add_text(&buf, TEXT("ef"));
    buf_add_u64(&buf, 42);
    buf_addf(&buf, "<%d|%s>", 7, "x");
    assert_holds(&buf, "ab-cdef42<7|x>");
    buf_clear(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.len + buf.cap, 0);
}

static void buf_add_of_nothing_gives_an_empty_string(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add(&buf, NULL, 0);
    assert_holds(&buf, "");
    buf_clear(&buf);
}

static void buf_grows_without_losing_a_byte(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        buf_add_char(&buf, (char)('a' + i % 26));
        assert_true(buf.len <= buf.cap);
        assert_int_equal(buf.data[buf.len], '\0');
    }
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
    buf_clear(&buf);
}

static void buf_grows_by_doubling(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    mem_fail_at(0, 0);
    for (int i = 0; i < 1 << 20; i++)
        buf_add_char(&buf, 'x');
    assert_in_range(mem_calls(), 1, 20);
    buf_clear(&buf);
}

static void buf_reserve_makes_room_that_appends_use(void **state)
{
    struct buf buf = BUF_INIT;
    char *before;

    (void)state;
    assert_true(buf_reserve(&buf, 5000));
    assert_true(buf.cap >= 5000);
    before = buf.data;
    mem_fail_at(1, 1);
    for (int i = 0; i < 500; i++)
        buf_add(&buf, "0123456789", 10);
    mem_fail_at(0, 0);
    assert_false(buf.failed);
    assert_ptr_equal(buf.data, before);
    buf_clear(&buf);
}

static void buf_reserve_refuses_what_overflows(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add_str(&buf, "abc");
    assert_false(buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.failed);
    buf_reset(&buf);
    assert_false(buf_reserve(&buf, SIZE_MAX / 2));
    buf_clear(&buf);
}

static void buf_that_ran_out_of_memory_keeps_what_it_had(void **state)
{
    char big[1000];
    struct buf buf = BUF_INIT;

    (void)state;
    memset(big, 'b', sizeof(big));
    buf_add_str(&buf, "kept");
    mem_fail_at(1, 0);
    buf_add(&buf, big, sizeof(big));
    assert_true(buf.failed);
    buf_add_char(&buf, 'x'); /* would fit */
    buf_addf(&buf, "%d", 1);
    buf_add_json_string(&buf, TEXT("x"));
    assert_int_equal(buf.len, 4);
    assert_string_equal(buf.data, "kept");
    buf_reset(&buf);
    buf_add_str(&buf, "again");
    assert_holds(&buf, "again");
    buf_clear(&buf);
}

static void buf_addf_that_runs_out_of_memory_adds_nothing(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add_str(&buf, "kept");
    mem_fail_at(1, 0);
    buf_addf(&buf, "%01000d", 1);
    mem_fail_at(0, 0);
    assert_true(buf.failed);
    assert_int_equal(buf.len, 4);
    assert_string_equal(buf.data, "kept");
    buf_clear(&buf);
}

static void buf_addf_formats_texts_of_any_length(void **state)
{
    (void)state;
    for (int width = 1; width < 400; width++) {
        struct buf buf = BUF_INIT;

        buf_addf(&buf, "%s%0*d.", "n=", width, 5);
        assert_false(buf.failed);
        assert_int_equal(buf.len, width + 3);
        assert_int_equal(strlen(buf.data), width + 3);
        assert_int_equal(buf.data[buf.len - 2], '5');
        assert_int_equal(buf.data[buf.len - 1], '.');
        buf_clear(&buf);
    }
}

static void buf_add_u64_writes_the_smallest_and_the_largest(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add_u64(&buf, 0);
    buf_add_char(&buf, ' ');
    buf_add_u64(&buf, UINT64_MAX);
    buf_add_char(&buf, ' ');
    buf_add_u64(&buf, 1000);
    assert_holds(&buf, "0 18446744073709551615 1000");
    buf_clear(&buf);
}

static void buf_add_json_string_escapes_what_json_does_not_allow(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add_json_string(&buf, TEXT("a\"b\\c/\n\r\t\b\f\x01\x1f\x7f\xc3\xa4"));
    assert_holds(&buf, "\"a\\\"b\\\\c/\\n\\r\\t\\b\\f\\u0001\\u001f\x7f\xc3\xa4\"");
    buf_reset(&buf);
    buf_add_json_string(&buf, TEXT("\0"));
    assert_holds(&buf, "\"\\u0000\"");
    buf_reset(&buf);
    buf_add_json_string(&buf, (struct text){ NULL, 0 });
    assert_holds(&buf, "\"\"");
    buf_clear(&buf);
}

static void buf_add_json_string_escapes_every_control_byte(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    for (int c = 0; c < 0x20; c++) {
        char byte = (char)c;

        buf_reset(&buf);
        buf_add_json_string(&buf, (struct text){ &byte, 1 });
        assert_int_equal(buf.data[1], '\\');
        assert_true(buf.len == 4 || buf.len == 8);
    }
    buf_clear(&buf);
}

static void buf_add_json_string_grows_for_its_escapes(void **state)
{
    char zeros[500] = { 0 };
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add_json_string(&buf, (struct text){ zeros, sizeof(zeros) });
    assert_false(buf.failed);
    assert_int_equal(buf.len, 500 * 6 + 2);
    assert_int_equal(strlen(buf.data), buf.len);
    buf_clear(&buf);
}

static void buf_drop_front_moves_the_rest_up(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_drop_front(&buf, 0);
    buf_add_str(&buf, "abcdef");
    buf_drop_front(&buf, 2);
    assert_holds(&buf, "cdef");
    buf_add_char(&buf, 'g');
    assert_holds(&buf, "cdefg");
    buf_drop_front(&buf, 5);
    assert_holds(&buf, "");
    buf_clear(&buf);
}

static void buf_text_views_the_content(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    assert_int_equal(buf_text(&buf).len, 0);
    buf_add_str(&buf, "abc");
    assert_true(text_equals(buf_text(&buf), "abc"));
    assert_ptr_equal(buf_text(&buf).at, buf.data);
    buf_clear(&buf);
}

static void buf_take_blob_hands_the_content_over(void **state)
{
    struct buf buf = BUF_INIT;
    struct blob *blob;

    (void)state;
    buf_add(&buf, "a\0b", 3);
    blob = buf_take_blob(&buf);
    assert_non_null(blob);
    assert_int_equal(blob->len, 3);
    assert_int_equal(blob->refs, 1);
    assert_memory_equal(blob->data, "a\0b", 4);
    assert_null(buf.data);
    assert_int_equal(buf.len + buf.cap, 0);
    buf_add_str(&buf, "next");
    assert_holds(&buf, "next");
    assert_memory_equal(blob->data, "a\0b", 4);
    blob_unref(blob);
    buf_clear(&buf);
}

static void buf_take_blob_needs_no_memory(void **state)
{
    static const size_t lens[] = { 1, 110, 111, 112, 1000, 100000 };

    (void)state;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct buf buf = BUF_INIT;
        struct blob *blob;

        while (buf.len < lens[i])
            buf_add_char(&buf, 'x');
        mem_fail_at(1, 1);
        blob = buf_take_blob(&buf);
        mem_fail_at(0, 0);
        assert_non_null(blob);
        assert_int_equal(blob->len, lens[i]);
        assert_int_equal(strlen(blob->data), lens[i]);
        blob_unref(blob);
    }
}

static void buf_take_blob_gives_spare_memory_back(void **state)
{
    struct buf buf = BUF_INIT;
    struct blob *blob;

    (void)state;
    assert_true(buf_reserve(&buf, 100000));
    buf_add_str(&buf, "small");
    mem_fail_at(0, 0);
    blob = buf_take_blob(&buf);
    assert_int_equal(mem_calls(), 1);
    assert_string_equal(blob->data, "small");
    blob_unref(blob);
}

static void buf_take_blob_of_an_empty_buffer_is_an_empty_blob(void **state)
{
    struct buf buf = BUF_INIT;
    struct blob *blob = buf_take_blob(&buf);

    (void)state;
    assert_non_null(blob);
    assert_int_equal(blob->len, 0);
    assert_string_equal(blob->data, "");
    blob_unref(blob);
}

static void buf_take_blob_fails_after_a_failed_append(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add_str(&buf, "abc");
    mem_fail_at(1, 0);
    assert_false(buf_reserve(&buf, 1000));
    assert_null(buf_take_blob(&buf));
    assert_null(buf.data);
    assert_false(buf.failed);
    mem_fail_at(1, 0);
    assert_null(buf_take_blob(&buf));
    mem_fail_at(0, 0);
    assert_false(buf.failed);
}

static void json_bytes_that_are_no_utf8_are_replaced(void **state)
{
    struct buf buf = BUF_INIT;

    (void)state;
    buf_add_json_bytes(&buf, TEXT("a\xc3\xa4\xff\x80\"\n\0\xe2\x82"));
    assert_false(buf.failed);
    assert_string_equal(buf.data, "\"a\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\\\"\\n\\u0000"
                                  "\xef\xbf\xbd\xef\xbf\xbd\"");
    buf_clear(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(buf_collects_every_kind_of_piece),
        cmocka_unit_test(buf_add_of_nothing_gives_an_empty_string),
        cmocka_unit_test(buf_grows_without_losing_a_byte),
        cmocka_unit_test(buf_grows_by_doubling),
        cmocka_unit_test(buf_reserve_makes_room_that_appends_use),
        cmocka_unit_test(buf_reserve_refuses_what_overflows),
        cmocka_unit_test(buf_that_ran_out_of_memory_keeps_what_it_had),
        cmocka_unit_test(buf_addf_that_runs_out_of_memory_adds_nothing),
        cmocka_unit_test(buf_addf_formats_texts_of_any_length),
        cmocka_unit_test(buf_add_u64_writes_the_smallest_and_the_largest),
        cmocka_unit_test(buf_add_json_string_escapes_what_json_does_not_allow),
        cmocka_unit_test(buf_add_json_string_escapes_every_control_byte),
        cmocka_unit_test(buf_add_json_string_grows_for_its_escapes),
        cmocka_unit_test(buf_drop_front_moves_the_rest_up),
        cmocka_unit_test(buf_text_views_the_content),
        cmocka_unit_test(buf_take_blob_hands_the_content_over),
        cmocka_unit_test(buf_take_blob_needs_no_memory),
        cmocka_unit_test(buf_take_blob_gives_spare_memory_back),
        cmocka_unit_test(buf_take_blob_of_an_empty_buffer_is_an_empty_blob),
        cmocka_unit_test(buf_take_blob_fails_after_a_failed_append),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
