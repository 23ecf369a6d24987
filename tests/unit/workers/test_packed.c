/* SPDX-License-Identifier: MIT */
#include "workers/packed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

static void integers_are_eight_bytes_each(void **state)
{
    static const char expected[] = "\x01\0\0\0\0\0\0\0"
                                   "\xfe\xff\xff\xff\xff\xff\xff\xff"
                                   "\0\x02\0\0\0\0\0\0";
    struct buf out = BUF_INIT;

    (void)state;
    assert_true(packed_from_text(text_of(" 1 ,\n-2,512 "), 3, &out));
    assert_int_equal(out.len, 24);
    assert_memory_equal(out.data, expected, 24);
    buf_clear(&out);
}

static void integers_come_back_as_they_were_written(void **state)
{
    static const char *const lists[] = {
        "0",
        "-1,7,10,99,100,-12345",
        "999999999999999999,-999999999999999999",
    };
    static const uint32_t counts[] = { 1, 6, 2 };

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct buf numbers = BUF_INIT, text = BUF_INIT;

        assert_true(packed_from_text(text_of(lists[i]), counts[i], &numbers));
        assert_true(packed_to_text(buf_text(&numbers), &text));
        assert_int_equal(text.len, strlen(lists[i]));
        assert_memory_equal(text.data, lists[i], text.len);
        buf_clear(&numbers);
        buf_clear(&text);
    }
}

static void any_other_list_remains_text(void **state)
{
    static const char *const lists[] = {
        "1,2.0",   "1,2e3", "1,true", "1,\"2\"", "1,[2]", "1,1000000000000000000",
        "1,2,3",   "1",     "",       "1,-",     "1,",    "1,2 3",
        "null,12", "1,,2",  "1,{}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct buf out = BUF_INIT;

        buf_add_str(&out, "kept");
        assert_false(packed_from_text(text_of(lists[i]), 2, &out));
        assert_int_equal(out.len, 4);
        assert_false(out.failed);
        buf_clear(&out);
    }
}

static void a_count_that_cannot_be_takes_no_memory(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    assert_false(packed_from_text(text_of("1,2"), UINT32_MAX, &out));
    assert_int_equal(out.cap, 0);
}

static void the_smallest_and_the_largest_number_have_a_text(void **state)
{
    static const char extremes[] = "\0\0\0\0\0\0\0\x80\xff\xff\xff\xff\xff\xff\xff\x7f";
    static const char expected[] = "-9223372036854775808,9223372036854775807";
    struct buf out = BUF_INIT;

    (void)state;
    assert_true(packed_to_text((struct text){ extremes, 16 }, &out));
    assert_int_equal(out.len, strlen(expected));
    assert_memory_equal(out.data, expected, out.len);
    buf_clear(&out);
}

static void the_longest_texts_fit_however_many_there_are(void **state)
{
    enum { COUNT = 5000 };
    static const char smallest[] = "-9223372036854775808";
    struct buf numbers = BUF_INIT, out = BUF_INIT;

    (void)state;
    for (int i = 0; i < COUNT; i++)
        buf_add(&numbers, "\0\0\0\0\0\0\0\x80", 8);
    assert_true(packed_to_text(buf_text(&numbers), &out));
    assert_int_equal(out.len, COUNT * sizeof(smallest) - 1);
    for (size_t at = 0; at < out.len; at += sizeof(smallest))
        assert_memory_equal(out.data + at, smallest, sizeof(smallest) - 1);
    buf_clear(&numbers);
    buf_clear(&out);
}

static void half_a_number_is_refused(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    assert_false(packed_to_text((struct text){ "123456789", 9 }, &out));
    assert_false(packed_to_text((struct text){ "", 0 }, &out));
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_eight_bytes_each),
        cmocka_unit_test(integers_come_back_as_they_were_written),
        cmocka_unit_test(any_other_list_remains_text),
        cmocka_unit_test(a_count_that_cannot_be_takes_no_memory),
        cmocka_unit_test(the_smallest_and_the_largest_number_have_a_text),
        cmocka_unit_test(the_longest_texts_fit_however_many_there_are),
        cmocka_unit_test(half_a_number_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
