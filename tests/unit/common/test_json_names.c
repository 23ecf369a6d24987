/* SPDX-License-Identifier: MIT */
/* Names by themselves, and as they are in texts that slice_check_sent is given. */
#include "common/json_names.h"

#include "common/buf.h"
#include "common/json_scan.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* How many bits of a hash are left: with none all names have the same one. */
static const uint32_t masks[] = { UINT32_MAX, 3, 0 };

/* Names as they stand in a text, of which only they and their quotes matter. */
struct rig {
    struct buf text;
    size_t places[5000];
    size_t count;
};

static void add_text(struct rig *rig, const char *name)
{
    rig->places[rig->count++] = rig->text.len + 1;
    buf_addf(&rig->text, "\"%s\"", name);
    assert_false(rig->text.failed);
}

static const uint8_t *name_at(const struct rig *rig, size_t i)
{
    return (const uint8_t *)rig->text.data + rig->places[i];
}

static void begin(struct json_names *names, const struct rig *rig, uint32_t mask)
{
    json_names_init(names, (const uint8_t *)rig->text.data, rig->text.len);
    names->hash_mask = mask;
}

static bool add(struct json_names *names, const struct rig *rig, size_t i)
{
    size_t end = i + 1 < rig->count ? rig->places[i + 1] - 1 : rig->text.len;
    size_t len = end - 1 - rig->places[i];

    return json_names_add(names, name_at(rig, i), len,
                          !memchr(name_at(rig, i), '\\', len));
}

/* Which of the names of one object is the first that is not new; the count: none. */
static size_t find_second(const struct rig *rig, uint32_t mask)
{
    struct json_names names;
    const uint8_t *quote = NULL;
    size_t second = 0;

    begin(&names, rig, mask);
    json_names_open(&names);
    for (size_t i = 0; i < rig->count; i++)
        assert_true(add(&names, rig, i));
    if (json_names_close(&names)) {
        assert_int_equal(names.open, 0);
        assert_int_equal(names.count, 0);
        second = rig->count;
    } else {
        assert_true(json_names_twice(&names, &quote));
        while (name_at(rig, second) != quote + 1)
            second++;
    }
    json_names_clear(&names);
    return second;
}

static void names_are_compared_with_their_escapes_decoded(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        { "a", "a", true },
        { "", "", true },
        { "a", "\\u0061", true },
        { "\\u0061b", "a\\u0062", true },
        { "\\n\\t\\r\\b\\f", "\\u000a\\u0009\\u000D\\u0008\\u000c", true },
        { "\\/", "/", true },
        { "\\\"", "\\u0022", true },
        { "\\\\", "\\u005C", true },
        { "\xC3\xA9", "\\u00e9", true },
        { "\xE2\x82\xAC", "\\u20AC", true },
        { "\xF0\x9F\x98\x80", "\\ud83d\\uDE00", true },
        { "a long name, of more bytes than XXH3 takes at once in its shorter forms: "
          "0123456789"
          "012345678901234567890123456789012345678901234567890123456789012345678901234567"
          "8901"
          "234567890123456789012345678901234567890123456789012345678901234567890123456789"
          "0123",
          "a long name, of more bytes than XXH3 takes at once in its shorter forms: "
          "0123456789"
          "012345678901234567890123456789012345678901234567890123456789012345678901234567"
          "8901"
          "234567890123456789012345678901234567890123456789012345678901234567890123456789"
          "012"
          "\\u0033",
          true },
        { "a", "A", false },
        { "a", "ab", false },
        { "", "a", false },
        { "n", "\\n", false },
        { "u0061", "a", false },
        { "\\\\u0061", "a", false },
        { "\xC3\xA9", "e\\u0301", false }, /* the same to the eye only */
        { "\\ud83d\\ude00", "\\ud83d\\ude01", false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t m = 0; m < COUNT(masks); m++) {
            struct rig rig = { .text = BUF_INIT };

            add_text(&rig, rows[i].a);
            add_text(&rig, rows[i].b);
            if (find_second(&rig, masks[m]) != (rows[i].same ? 1 : 2))
                fail_msg("%s and %s", rows[i].a, rows[i].b);
            buf_clear(&rig.text);
        }
    }
}

/* Names of different lengths; `second` is the same as `first`. */
static void fill(struct rig *rig, size_t count, size_t first, size_t second)
{
    char name[40];

    rig->count = 0;
    buf_reset(&rig->text);
    for (size_t i = 0; i < count; i++) {
        size_t number = i == second ? first : i;

        (void)snprintf(name, sizeof(name), "%.*s%zu", (int)(number % 20),
                       "abcdefghijklmnopqrst", number);
        add_text(rig, name);
    }
}

static void the_second_is_found_among_any_number_of_names(void **state)
{
    static const size_t counts[] = { 1,  2,  3,  15, 16, 17,  18,  31,  32,
                                     33, 63, 64, 65, 66, 255, 256, 257, 1000 };
    static struct rig rig = { .text = BUF_INIT };

    (void)state;
    for (size_t c = 0; c < COUNT(counts); c++) {
        size_t count = counts[c];

        for (size_t m = 0; m < COUNT(masks); m++) {
            fill(&rig, count, 0, count);
            assert_int_equal(find_second(&rig, masks[m]), count);
            for (size_t step = count / 8 + 1, i = step; i < count; i += step) {
                fill(&rig, count, i / 2, i);
                assert_int_equal(find_second(&rig, masks[m]), i);
                fill(&rig, count, 0, i);
                assert_int_equal(find_second(&rig, masks[m]), i);
                fill(&rig, count, i - 1, count - 1);
                assert_int_equal(find_second(&rig, masks[m]), count - 1);
            }
        }
    }
    buf_clear(&rig.text);
}

static void of_several_the_earliest_is_found(void **state)
{
    static struct rig rig = { .text = BUF_INIT };

    (void)state;
    for (size_t m = 0; m < COUNT(masks); m++) {
        fill(&rig, 300, 0, 300);
        for (size_t i = 0; i < 300; i++)
            add_text(&rig, i % 3 ? "abc3" : "abcdefg7");
        assert_int_equal(find_second(&rig, masks[m]), 300);
    }
    rig.count = 0;
    buf_reset(&rig.text);
    for (size_t i = 0; i < COUNT(rig.places); i++)
        add_text(&rig, "again");
    for (size_t m = 0; m < COUNT(masks); m++)
        assert_int_equal(find_second(&rig, masks[m]), 1);
    buf_clear(&rig.text);
}

/* As deep as can be, each with the same names, and one more object inside of each. */
static void names_of_other_objects_do_not_count(void **state)
{
    static struct rig rig = { .text = BUF_INIT };
    struct json_names names;
    const uint8_t *quote = NULL;

    (void)state;
    fill(&rig, 40, 0, 40);
    for (size_t i = 0; i < 40; i++)
        add_text(&rig, i < 39 ? "same" : "abc3");
    begin(&names, &rig, UINT32_MAX);
    for (unsigned depth = 0; depth < JSON_NAMES_DEPTH; depth++) {
        json_names_open(&names);
        for (size_t i = 0; i < 40; i++)
            assert_true(add(&names, &rig, i));
        json_names_open(&names);
        assert_true(add(&names, &rig, 0));
        assert_true(json_names_close(&names));
        if (depth == JSON_NAMES_DEPTH - 2)
            break;
    }
    assert_false(json_names_twice(&names, &quote));
    while (names.open > 2)
        assert_true(json_names_close(&names));
    assert_true(add(&names, &rig, 40));
    assert_true(add(&names, &rig, 41));
    assert_false(json_names_close(&names));
    assert_true(json_names_twice(&names, &quote));
    assert_ptr_equal(quote + 1, name_at(&rig, 41));
    json_names_clear(&names);
    buf_clear(&rig.text);
}

static void the_outer_object_may_have_the_earlier_one(void **state)
{
    struct rig rig = { .text = BUF_INIT };
    struct json_names names;
    const uint8_t *quote = NULL;

    (void)state;
    for (int i = 0; i < 4; i++)
        add_text(&rig, i < 2 ? "a" : "b");
    begin(&names, &rig, UINT32_MAX);
    json_names_open(&names);
    assert_true(add(&names, &rig, 0));
    assert_true(add(&names, &rig, 1));
    json_names_open(&names);
    assert_true(add(&names, &rig, 2));
    assert_true(add(&names, &rig, 3));
    assert_false(json_names_close(&names));
    assert_true(json_names_twice(&names, &quote));
    assert_ptr_equal(quote + 1, name_at(&rig, 1));
    json_names_clear(&names);
    buf_clear(&rig.text);
}

static void memory_is_asked_for_from_the_33rd_name_on_and_may_be_short(void **state)
{
    static struct rig rig = { .text = BUF_INIT };
    struct json_names names;

    (void)state;
    fill(&rig, 300, 0, 300);
    begin(&names, &rig, UINT32_MAX);
    json_names_open(&names);
    mem_fail_at(1, 1);
    for (size_t i = 0; i < JSON_NAMES_ROOM; i++)
        assert_true(add(&names, &rig, i));
    assert_int_equal(mem_calls(), 0);
    for (size_t i = JSON_NAMES_ROOM; i < 300; i++) {
        bool full = names.count == names.room;

        mem_fail_at(1, 1);
        assert_int_equal(add(&names, &rig, i), !full);
        mem_fail_at(0, 0);
        if (full)
            assert_true(add(&names, &rig, i));
    }
    assert_true(json_names_close(&names));
    json_names_clear(&names);
    buf_clear(&rig.text);
}

/* --- as the scanner asks for them --- */

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

static enum slice_verdict unique(struct text doc, struct slice_error *ret_error)
{
    enum slice_kind kind;

    return slice_check_sent(doc, SLICE_DEPTH_MAX, &kind, ret_error);
}

static void assert_twice(struct text doc, size_t offset)
{
    struct slice_error error = { .reason = "accepted" };

    if (unique(doc, &error) != SLICE_MALFORMED || error.offset != offset)
        print_error("%.80s: %s at %zu\n", doc.at, error.reason, error.offset);
    assert_string_equal(error.reason, "the same member twice");
    assert_int_equal(error.offset, offset);
}

static void names_may_repeat_only_where_nobody_asks(void **state)
{
    static const struct {
        const char *doc;
        size_t offset;
    } rows[] = {
        { "{\"a\":1,\"a\":2}", 7 },
        { " { \"\" : 1 , \"\" : 2 } ", 12 },
        { "{\"a\":1,\"b\":2,\"\\u0061\":3}", 13 },
        { "[{},{\"a\":{\"x\":[{\"b\":0,\"c\":1,\"b\":{}}]}}]", 28 },
        { "{\"a\":{\"b\":1,\"b\":1},\"a\":1}", 12 },
        /* The outer object ends later, and is wrong earlier. */
        { "{\"a\":0,\"a\":{\"b\":1,\"b\":1}}", 7 },
        { "{\"a\":{},\"b\":[{}],\"a\":[{}]}", 17 },
    };
    struct slice_error error;
    enum slice_kind kind;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(slice_check(text_of(rows[i].doc), &kind, &error), SLICE_OK);
        assert_twice(text_of(rows[i].doc), rows[i].offset);
    }
}

static void names_of_different_objects_are_apart(void **state)
{
    static const char *const docs[] = {
        "1",
        "\"a\"",
        "{}",
        "{\"a\":{\"a\":{\"a\":[{\"a\":1},{\"a\":1}]}},\"b\":{\"a\":1}}",
        "[\"a\",\"a\",{\"a\":\"a\",\"b\":\"a\"},{\"a\":\"a\"}]",
    };
    struct slice_error error;

    (void)state;
    for (size_t i = 0; i < COUNT(docs); i++)
        assert_int_equal(unique(text_of(docs[i]), &error), SLICE_OK);
}

/* Whatever else is wrong behind it; and what is wrong before it comes first. */
static void a_name_that_comes_twice_is_told_before_what_follows(void **state)
{
    static const char *const rests[] = {
        "", ":", ":1", ":1,", ":1,\"", ":1 2}", ":tru", ":1}}", ":1,\"b\":[{\"c\":1,}",
    };
    struct slice_error error;
    struct buf buf = BUF_INIT;

    (void)state;
    for (size_t i = 0; i < COUNT(rests); i++) {
        buf_reset(&buf);
        buf_addf(&buf, "[{\"a\":1,\"a\"%s", rests[i]);
        assert_twice(buf_text(&buf), 8);
    }
    buf_reset(&buf);
    buf_add_str(&buf, "{\"a\":1,\"a\":");
    for (int i = 0; i < 1000; i++)
        buf_add_char(&buf, '[');
    assert_twice(buf_text(&buf), 7);
    buf_clear(&buf);
    assert_int_equal(unique(TEXT("{\"a\":1,\"a"), &error), SLICE_MALFORMED);
    assert_int_equal(error.offset, 9);
    assert_string_equal(error.reason, "the string is not closed");
    assert_int_equal(unique(TEXT("{\"a\":01,\"a\":1}"), &error), SLICE_MALFORMED);
    assert_int_equal(error.offset, 6);
}

/* Objects as deep as can be, the next one the value of the last member, whose name in that of
 * the depth `bad` is the same as the first one's. Gives the place of that. */
static size_t add_objects(struct buf *buf, int members, int bad)
{
    size_t place = 0;

    buf_reset(buf);
    for (int depth = 0; depth < SLICE_DEPTH_MAX; depth++) {
        for (int i = 0; i < members; i++) {
            bool last = i + 1 == members;

            buf_add_char(buf, i ? ',' : '{');
            if (last && depth == bad)
                place = buf->len;
            buf_addf(buf, "\"%d\":%s", last && depth == bad ? 0 : i, last ? "" : "0");
        }
    }
    buf_add_char(buf, '0');
    for (int depth = 0; depth < SLICE_DEPTH_MAX; depth++)
        buf_add_char(buf, '}');
    assert_false(buf->failed);
    return place;
}

static void names_are_compared_at_every_depth_and_number(void **state)
{
    static const int counts[] = { 2, 15, 16, 17, 100, 1000 };
    struct slice_error error;
    struct buf buf = BUF_INIT;

    (void)state;
    for (size_t c = 0; c < COUNT(counts); c++) {
        add_objects(&buf, counts[c], -1);
        assert_int_equal(unique(buf_text(&buf), &error), SLICE_OK);
        for (int bad = 0; bad < SLICE_DEPTH_MAX; bad += 9) {
            size_t place = add_objects(&buf, counts[c], bad);

            assert_twice(buf_text(&buf), place);
        }
    }
    buf_clear(&buf);
}

static void names_need_memory_only_where_there_are_many(void **state)
{
    struct slice_error error;
    struct buf buf = BUF_INIT;
    enum slice_verdict verdict = SLICE_NO_MEMORY;
    unsigned long n;

    (void)state;
    for (int i = 0; i < 100; i++)
        buf_addf(&buf, "%c\"%d\":{\"a\":1}", i ? ',' : '{', i);
    buf_add_char(&buf, '}');
    for (n = 1; verdict == SLICE_NO_MEMORY; n++) {
        mem_fail_at(n, 0);
        verdict = unique(buf_text(&buf), &error);
        if (verdict == SLICE_NO_MEMORY)
            assert_string_equal(error.reason, "out of memory");
    }
    mem_fail_at(0, 0);
    assert_int_equal(verdict, SLICE_OK);
    assert_int_equal(n - 2, 2); /* 64 names, 128 names */
    buf_clear(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_compared_with_their_escapes_decoded),
        cmocka_unit_test(the_second_is_found_among_any_number_of_names),
        cmocka_unit_test(of_several_the_earliest_is_found),
        cmocka_unit_test(names_of_other_objects_do_not_count),
        cmocka_unit_test(the_outer_object_may_have_the_earlier_one),
        cmocka_unit_test(memory_is_asked_for_from_the_33rd_name_on_and_may_be_short),
        cmocka_unit_test(names_may_repeat_only_where_nobody_asks),
        cmocka_unit_test(names_of_different_objects_are_apart),
        cmocka_unit_test(a_name_that_comes_twice_is_told_before_what_follows),
        cmocka_unit_test(names_are_compared_at_every_depth_and_number),
        cmocka_unit_test(names_need_memory_only_where_there_are_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
