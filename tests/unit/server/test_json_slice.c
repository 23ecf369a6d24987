/* SPDX-License-Identifier: MIT */
#include "server/json_slice.h"

#include "common/buf.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct slice_limits no_limits = { UINT64_MAX, SIZE_MAX, SLICE_DEPTH_MAX };

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

static void assert_text(struct text text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.at, expected, text.len);
}

struct bad_row {
    const char *doc;
    size_t offset;
    const char *reason;
};

static const char twice[] = "the same member twice";
static const char too_short[] = "unexpected end of the document";

/* `bytes` bytes of c, between two texts. */
static void fill(struct buf *buf, const char *before, char c, size_t bytes,
                 const char *after)
{
    buf_add_str(buf, before);
    assert_true(buf_reserve(buf, bytes));
    for (size_t i = 0; i < bytes; i++)
        buf_add_char(buf, c);
    buf_add_str(buf, after);
    assert_false(buf->failed);
}

/* --- the envelope --- */

static void envelope_lists_members_as_they_were_sent(void **state)
{
    struct slice_envelope envelope;
    struct slice_error error;
    const struct slice_member *member;

    (void)state;
    assert_int_equal(slice_envelope_scan(TEXT(" { \"task\" : \"square\" , \"n\":0.10 ,"
                                              "\"args\":[ 1 , {} ],\"x\\n\":null } "),
                                         NULL, &no_limits, &envelope, &error),
                     SLICE_OK);
    assert_int_equal(envelope.count, 4);
    assert_null(envelope.index);
    member = slice_find(&envelope, "task");
    assert_non_null(member);
    assert_text(member->value, "\"square\"");
    assert_int_equal(member->kind, SLICE_STRING);
    assert_text(slice_find(&envelope, "n")->value, "0.10");
    assert_text(slice_find(&envelope, "args")->value, "[ 1 , {} ]");
    assert_text(envelope.members[3].name, "x\\n");
    assert_int_equal(envelope.members[3].kind, SLICE_NULL);
    assert_null(slice_find(&envelope, "x\n"));
    assert_null(slice_find(&envelope, "tas"));
    slice_envelope_clear(&envelope);
}

static void envelope_may_be_empty(void **state)
{
    struct slice_envelope envelope;
    struct slice_error error;

    (void)state;
    assert_int_equal(
        slice_envelope_scan(TEXT("{ }"), "items", &no_limits, &envelope, &error),
        SLICE_OK);
    assert_int_equal(envelope.count, 0);
    assert_null(slice_find(&envelope, "items"));
    slice_envelope_clear(&envelope);
    slice_envelope_clear(NULL);
}

static void assert_envelope_bad(struct text doc, const struct slice_limits *limits,
                                enum slice_verdict verdict, size_t offset,
                                const char *reason)
{
    struct slice_envelope envelope;
    struct slice_error error = { .reason = "accepted" };
    enum slice_verdict found =
        slice_envelope_scan(doc, "items", limits, &envelope, &error);

    assert_string_equal(error.reason, reason);
    assert_int_equal(error.offset, offset);
    assert_int_equal(found, verdict);
    assert_null(envelope.index);
    assert_int_equal(envelope.count, 0);
}

static void envelope_refuses_other_kinds_only_when_they_are_json(void **state)
{
    static const char reason[] = "expected an object";

    (void)state;
    assert_envelope_bad(TEXT("1"), &no_limits, SLICE_NOT_OBJECT, 0, reason);
    assert_envelope_bad(TEXT("  null"), &no_limits, SLICE_NOT_OBJECT, 2, reason);
    assert_envelope_bad(TEXT("[]"), &no_limits, SLICE_NOT_OBJECT, 0, reason);
    assert_envelope_bad(TEXT("[1,]"), &no_limits, SLICE_MALFORMED, 3, "expected a value");
    assert_envelope_bad(TEXT(""), &no_limits, SLICE_MALFORMED, 0, too_short);
    assert_envelope_bad(TEXT("\xEF\xBB\xBF{}"), &no_limits, SLICE_MALFORMED, 0,
                        "a byte order mark is not allowed");
}

static void envelope_refuses_what_is_broken_in_it_or_behind_it(void **state)
{
    static const struct bad_row rows[] = {
        { "{\"items\":[1,2", 13, too_short },
        { "{\"items\":[1,]}", 12, "expected a value" },
        { "{\"items\":[1 2]}", 12, "expected , or ]" },
        { "{\"items\":[}", 10, "expected a value" },
        { "{\"items\"}", 8, "expected :" },
        { "{\"a\":1;}", 6, "expected , or }" },
        { "{\"a\":1,}", 7, "expected a member name" },
        { "{\"a\":}", 5, "expected a value" },
        { "{} {}", 3, "expected the end of the document" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_envelope_bad(text_of(rows[i].doc), &no_limits, SLICE_MALFORMED,
                            rows[i].offset, rows[i].reason);
}

static void envelope_refuses_a_member_that_comes_twice_wherever(void **state)
{
    static const struct bad_row rows[] = {
        { "{\"a\":1,\"b\":2,\"a\":3}", 13, twice },
        { "{\"items\":[1],\"items\":[2]}", 13, twice },
        { "{\"items\":[1],\"items\":[2,2", 13, twice },
        { "{\"task\":1,\"t\\u0061sk\":2}", 10, twice },
        { "{\"a\":{\"a\":1,\"a\":2}}", 12, twice },
        { "{\"items\":[{\"a\":1},{\"a\":1,\"b\":{},\"a\":1}]}", 32, twice },
        { "{\"a\":1,\"a\":2,\"items\":[{\"a\":1,\"a\":2}]}", 7, twice },
        { "[{\"a\":1,\"a\":2}]", 8, twice },
    };
    const struct slice_limits limits = { 1, 3, SLICE_DEPTH_MAX };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_envelope_bad(text_of(rows[i].doc), &no_limits, SLICE_MALFORMED,
                            rows[i].offset, rows[i].reason);
    /* What is behind it and over a limit does not count. */
    assert_envelope_bad(TEXT("{\"a\":1,\"a\":2,\"items\":[1,2]}"), &limits,
                        SLICE_MALFORMED, 7, twice);
    assert_envelope_bad(TEXT("{\"a\":1,\"a\":2,\"items\":[1234]}"), &limits,
                        SLICE_MALFORMED, 7, twice);
    assert_envelope_bad(TEXT("{\"items\":[1,2],\"items\":[1,2]}"), &limits,
                        SLICE_TOO_MANY, 12, "too many items");
}

static void envelope_takes_the_same_name_in_different_objects(void **state)
{
    static const char doc[] =
        "{\"a\":{\"a\":{\"a\":1},\"b\":1},\"items\":[{\"a\":1},{\"a\":1}]}";
    struct slice_envelope envelope;
    struct slice_error error;

    (void)state;
    assert_int_equal(
        slice_envelope_scan(TEXT(doc), "items", &no_limits, &envelope, &error), SLICE_OK);
    assert_int_equal(envelope.index->count, 2);
    slice_envelope_clear(&envelope);
}

static void envelope_bounds_its_members(void **state)
{
    struct slice_envelope envelope;
    struct slice_error error;
    struct buf buf = BUF_INIT;

    (void)state;
    for (int i = 0; i < SLICE_MEMBERS_MAX; i++)
        buf_addf(&buf, "%c\"m%d\":%d", i ? ',' : '{', i, i);
    buf_add_char(&buf, '}');
    assert_int_equal(
        slice_envelope_scan(buf_text(&buf), NULL, &no_limits, &envelope, &error),
        SLICE_OK);
    assert_int_equal(envelope.count, SLICE_MEMBERS_MAX);
    assert_text(slice_find(&envelope, "m63")->value, "63");
    slice_envelope_clear(&envelope);

    buf.len--;
    buf_add_str(&buf, ",\"more\":1}");
    assert_envelope_bad(buf_text(&buf), &no_limits, SLICE_MALFORMED, buf.len - 9,
                        "too many members");
    buf_clear(&buf);
}

static void envelope_counts_depth_from_its_own_brace(void **state)
{
    struct slice_envelope envelope;
    struct slice_error error;
    struct buf buf = BUF_INIT;

    (void)state;
    fill(&buf, "{\"items\":", '[', SLICE_DEPTH_MAX - 1, "");
    fill(&buf, "", ']', SLICE_DEPTH_MAX - 1, "}");
    assert_int_equal(
        slice_envelope_scan(buf_text(&buf), "items", &no_limits, &envelope, &error),
        SLICE_OK);
    slice_envelope_clear(&envelope);
    buf_reset(&buf);
    fill(&buf, "{\"items\":", '[', SLICE_DEPTH_MAX, "");
    assert_envelope_bad(buf_text(&buf), &no_limits, SLICE_TOO_DEEP,
                        9 + SLICE_DEPTH_MAX - 1, "nested too deep");
    buf_clear(&buf);
}

static void envelope_bounds_the_depth(void **state)
{
    const struct slice_limits limits = { UINT64_MAX, SIZE_MAX, 3 };
    struct slice_envelope envelope;
    struct slice_error error;

    (void)state;
    assert_int_equal(slice_envelope_scan(TEXT("{\"items\":[1,{}],\"x\":[[]]}"), "items",
                                         &limits, &envelope, &error),
                     SLICE_OK);
    assert_int_equal(envelope.index->count, 2);
    slice_envelope_clear(&envelope);
    assert_envelope_bad(TEXT("{\"items\":[1,[[]]]}"), &limits, SLICE_TOO_DEEP, 13,
                        "nested too deep");
    assert_envelope_bad(TEXT("{\"x\":[[[]]]}"), &limits, SLICE_TOO_DEEP, 7,
                        "nested too deep");
    /* Of another kind than an object, too. */
    assert_envelope_bad(TEXT("[[[[]]]]"), &limits, SLICE_TOO_DEEP, 3, "nested too deep");
    assert_envelope_bad(TEXT("[[[]]]"), &limits, SLICE_NOT_OBJECT, 0,
                        "expected an object");
}

static void envelope_bounds_how_many_items_and_how_large(void **state)
{
    const struct slice_limits limits = { 3, 5, SLICE_DEPTH_MAX };
    struct slice_envelope envelope;
    struct slice_error error;

    (void)state;
    assert_int_equal(slice_envelope_scan(
                         TEXT("{\"items\":[1, [1,2] ,\"abc\" ],\"o\":[1,2,3,4567890]}"),
                         "items", &limits, &envelope, &error),
                     SLICE_OK);
    assert_int_equal(envelope.index->count, 3);
    slice_envelope_clear(&envelope);

    assert_envelope_bad(TEXT("{\"items\":[1,2,3, 4]}"), &limits, SLICE_TOO_MANY, 17,
                        "too many items");
    assert_envelope_bad(TEXT("{\"items\":[1, 123456]}"), &limits, SLICE_ITEM_TOO_LARGE,
                        13, "the item is too large");
    assert_int_equal(slice_envelope_scan(TEXT("{\"items\":[1,2,\"abcd\"]}"), "items",
                                         &limits, &envelope, &error),
                     SLICE_ITEM_TOO_LARGE);
    assert_int_equal(error.item, 2);
    assert_int_equal(error.offset, 14);
}

static void envelope_indexes_only_an_array(void **state)
{
    struct slice_envelope envelope;
    struct slice_error error;

    (void)state;
    assert_int_equal(slice_envelope_scan(TEXT("{\"items\":{\"items\":[1]}}"), "items",
                                         &no_limits, &envelope, &error),
                     SLICE_OK);
    assert_null(envelope.index);
    slice_envelope_clear(&envelope);
    assert_int_equal(slice_envelope_scan(TEXT("{\"items\":[ ]}"), "items", &no_limits,
                                         &envelope, &error),
                     SLICE_OK);
    assert_non_null(envelope.index);
    assert_int_equal(envelope.index->count, 0);
    slice_envelope_clear(&envelope);
}

/* --- index and slices --- */

/* Elements of every kind, with changing white space around them. */
static void add_mixed_elements(struct buf *buf, int count)
{
    for (int i = 0; i < count; i++) {
        if (i)
            buf_add_char(buf, ',');
        switch (i % 4) {
        case 0:
            buf_addf(buf, "%d", i);
            break;
        case 1:
            buf_addf(buf, "\"%d,]\"", i);
            break;
        case 2:
            buf_addf(buf, " [%d, [ ]] ", i);
            break;
        default:
            buf_addf(buf, "\n{\"a\":%d}\t", i);
            break;
        }
    }
}

static void index_range_gives_exactly_the_elements_asked_for(void **state)
{
    enum { N = 200 };
    struct text elements[N], rest, array;
    struct buf buf = BUF_INIT;
    struct slice_index *index;

    (void)state;
    buf_add_str(&buf, "[ ");
    add_mixed_elements(&buf, N);
    buf_add_str(&buf, " ]");
    array = buf_text(&buf);
    index = slice_index_new(array);
    assert_non_null(index);
    assert_int_equal(index->count, N);
    rest = slice_inside(array);
    for (size_t i = 0; i < N; i++)
        assert_true(slice_next(&rest, &elements[i]));
    assert_false(slice_next(&rest, &elements[0]));

    for (size_t first = 0; first < N; first++) {
        for (size_t last = first; last < N; last++) {
            struct text range = slice_index_range(index, array, first, last - first + 1);

            assert_ptr_equal(range.at, elements[first].at);
            assert_ptr_equal(range.at + range.len,
                             elements[last].at + elements[last].len);
        }
    }
    slice_index_free(index);
    buf_clear(&buf);
}

static void index_counts_its_offsets_from_the_bracket(void **state)
{
    struct text array = TEXT(" \n[ 10, 20 ] ");
    struct slice_index *index = slice_index_new(array);

    (void)state;
    assert_non_null(index);
    assert_int_equal(index->count, 2);
    assert_int_equal(index->offset_count, 1);
    assert_int_equal(index->offsets[0], 2);
    assert_text(slice_index_range(index, array, 0, 2), "10, 20");
    assert_text(slice_index_range(index, array, 1, 1), "20");
    slice_index_free(index);
}

static void index_notes_every_64th_element(void **state)
{
    struct buf buf = BUF_INIT;
    struct slice_index *index;

    (void)state;
    fill(&buf, "[0", '0', 0, "");
    for (int i = 1; i < 1000; i++)
        buf_add_str(&buf, ",0");
    buf_add_char(&buf, ']');
    index = slice_index_new(buf_text(&buf));
    assert_non_null(index);
    assert_int_equal(index->count, 1000);
    assert_int_equal(index->offset_count, (1000 + SLICE_STRIDE - 1) / SLICE_STRIDE);
    for (size_t i = 0; i < index->offset_count; i++)
        assert_int_equal(index->offsets[i], 1 + 2 * SLICE_STRIDE * i);
    slice_index_free(index);
    slice_index_free(NULL);
    buf_clear(&buf);
}

/* Whole numbers, near and far from each other, in `buf` as an array that is a member. */
static void add_integers(struct buf *buf, int count)
{
    buf_add_str(buf, "{\"items\":[");
    for (int i = 0; i < count; i++)
        buf_addf(buf, "%s%d",
                 i == 0  ? ""
                 : i % 7 ? ","
                         : ", ",
                 (i - 9) * (i % 3 ? 1 : i));
    buf_add_str(buf, "]}");
    assert_false(buf->failed);
}

static void assert_offsets(const struct slice_envelope *envelope)
{
    struct text array = slice_find(envelope, "items")->value, rest = slice_inside(array),
                item;
    const struct slice_index *index = envelope->index;
    uint64_t count = 0;

    for (; slice_next(&rest, &item); count++)
        if (count % SLICE_STRIDE == 0)
            assert_ptr_equal(array.at + index->offsets[count / SLICE_STRIDE], item.at);
    assert_int_equal(index->count, count);
}

/* Integers are gone through in another way than what stands beside them. */
static void integers_are_checked_as_all_else(void **state)
{
    static const char bytes[] = "09,- \n.e]\"{x\x80";
    struct slice_envelope envelope;
    struct slice_error error, expected;
    struct buf buf = BUF_INIT;
    enum slice_kind kind;

    (void)state;
    add_integers(&buf, 150);
    for (size_t at = 0; at < buf.len; at++) {
        char before = buf.data[at];

        for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
            enum slice_verdict verdict;

            buf.data[at] = bytes[i];
            verdict = slice_envelope_scan(buf_text(&buf), "items", &no_limits, &envelope,
                                          &error);
            assert_int_equal(slice_check(buf_text(&buf), &kind, &expected), verdict);
            if (verdict != SLICE_OK) {
                assert_int_equal(error.offset, expected.offset);
                assert_string_equal(error.reason, expected.reason);
            } else if (envelope.index) {
                assert_offsets(&envelope);
            }
            slice_envelope_clear(&envelope);
        }
        buf.data[at] = before;
    }
    buf_clear(&buf);
}

static void integers_are_counted_and_measured(void **state)
{
    struct slice_limits limits = { 150, 64, SLICE_DEPTH_MAX };
    struct slice_envelope envelope;
    struct slice_error error;
    struct buf buf = BUF_INIT;

    (void)state;
    add_integers(&buf, 150);
    assert_int_equal(
        slice_envelope_scan(buf_text(&buf), "items", &limits, &envelope, &error),
        SLICE_OK);
    assert_int_equal(envelope.index->count, 150);
    slice_envelope_clear(&envelope);
    for (limits.max_items = 0; limits.max_items < 150; limits.max_items++) {
        struct text rest = { buf.data + 10, buf.len - 12 }, item = { 0 };

        for (uint64_t i = 0; i <= limits.max_items; i++)
            assert_true(slice_next(&rest, &item));
        assert_envelope_bad(buf_text(&buf), &limits, SLICE_TOO_MANY,
                            (size_t)(item.at - buf.data), "too many items");
    }
    buf_reset(&buf);
    fill(&buf, "{\"items\":[1,2,", '3', 65, ",4]}");
    assert_envelope_bad(buf_text(&buf), &(struct slice_limits){ 9, 64, SLICE_DEPTH_MAX },
                        SLICE_ITEM_TOO_LARGE, 14, "the item is too large");
    buf_clear(&buf);
}

static void index_is_refused_for_what_is_no_array(void **state)
{
    (void)state;
    assert_null(slice_index_new((struct text){ NULL, 0 }));
    assert_null(slice_index_new(TEXT("{}")));
    assert_null(slice_index_new(TEXT("[1,")));
}

/* It may have been stored before names were looked at. */
static void index_takes_names_that_come_twice(void **state)
{
    struct slice_index *index = slice_index_new(TEXT("[{\"a\":1,\"a\":2},3]"));

    (void)state;
    assert_non_null(index);
    assert_int_equal(index->count, 2);
    slice_index_free(index);
}

static void inside_drops_brackets_and_the_space_in_them(void **state)
{
    (void)state;
    assert_text(slice_inside(TEXT("[]")), "");
    assert_text(slice_inside(TEXT("[ \n ]")), "");
    assert_text(slice_inside(TEXT("[ 1 , [2] ]")), "1 , [2]");
    assert_text(slice_inside(TEXT(" [\t\"a\"\r] ")), "\"a\"");
}

static void envelope_frees_everything_at_each_allocation_that_fails(void **state)
{
    struct slice_envelope envelope;
    struct slice_error error;
    struct buf buf = BUF_INIT;
    enum slice_verdict verdict = SLICE_NO_MEMORY;
    unsigned long n;

    (void)state;
    buf_add_str(&buf, "{\"a\":1,\"items\":[");
    add_mixed_elements(&buf, 300);
    buf_add_str(&buf, "]}");
    for (n = 1; verdict == SLICE_NO_MEMORY; n++) {
        error = (struct slice_error){ 0 };
        mem_fail_at(n, 0);
        verdict =
            slice_envelope_scan(buf_text(&buf), "items", &no_limits, &envelope, &error);
        if (verdict == SLICE_NO_MEMORY) {
            assert_string_equal(error.reason, "out of memory");
            assert_null(envelope.index);
        }
    }
    mem_fail_at(0, 0);
    assert_int_equal(verdict, SLICE_OK);
    /* The struct, and room for 1, 2, 4 and 8 offsets. */
    assert_int_equal(n - 2, 5);
    slice_envelope_clear(&envelope);

    mem_fail_at(2, 0);
    assert_null(slice_index_new(TEXT("[1]")));
    mem_fail_at(0, 0);
    buf_clear(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelope_lists_members_as_they_were_sent),
        cmocka_unit_test(envelope_may_be_empty),
        cmocka_unit_test(envelope_refuses_other_kinds_only_when_they_are_json),
        cmocka_unit_test(envelope_refuses_what_is_broken_in_it_or_behind_it),
        cmocka_unit_test(envelope_refuses_a_member_that_comes_twice_wherever),
        cmocka_unit_test(envelope_takes_the_same_name_in_different_objects),
        cmocka_unit_test(envelope_bounds_its_members),
        cmocka_unit_test(envelope_counts_depth_from_its_own_brace),
        cmocka_unit_test(envelope_bounds_the_depth),
        cmocka_unit_test(envelope_bounds_how_many_items_and_how_large),
        cmocka_unit_test(envelope_indexes_only_an_array),
        cmocka_unit_test(index_range_gives_exactly_the_elements_asked_for),
        cmocka_unit_test(index_counts_its_offsets_from_the_bracket),
        cmocka_unit_test(index_notes_every_64th_element),
        cmocka_unit_test(integers_are_checked_as_all_else),
        cmocka_unit_test(integers_are_counted_and_measured),
        cmocka_unit_test(index_is_refused_for_what_is_no_array),
        cmocka_unit_test(index_takes_names_that_come_twice),
        cmocka_unit_test(inside_drops_brackets_and_the_space_in_them),
        cmocka_unit_test(envelope_frees_everything_at_each_allocation_that_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
