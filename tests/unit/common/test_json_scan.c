/* SPDX-License-Identifier: MIT */
/* The grammar, seen through slice_check. */
#include "common/json_scan.h"

#include "common/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

/* Checks an exact-size heap copy, so that the sanitizer sees a read behind the end. */
static enum slice_verdict check_copy(struct text doc, enum slice_kind *ret_kind,
                                     struct slice_error *ret_error)
{
    char *copy = malloc(doc.len + 1);
    enum slice_verdict verdict;

    assert_non_null(copy);
    if (doc.len > 0)
        memcpy(copy + 1, doc.at, doc.len);
    verdict = slice_check((struct text){ copy + 1, doc.len }, ret_kind, ret_error);
    free(copy);
    return verdict;
}

static void assert_good(struct text doc, enum slice_kind kind)
{
    enum slice_kind found = SLICE_NULL;
    struct slice_error error = { .reason = "none" };
    enum slice_verdict verdict = check_copy(doc, &found, &error);

    if (verdict != SLICE_OK)
        print_error("%.60s: %s at %zu\n", doc.at, error.reason, error.offset);
    assert_int_equal(verdict, SLICE_OK);
    assert_int_equal(found, kind);
}

static void assert_bad(struct text doc, size_t offset, const char *reason)
{
    enum slice_kind kind;
    struct slice_error error = { .reason = "accepted" };
    enum slice_verdict verdict = check_copy(doc, &kind, &error);

    if (error.offset != offset)
        print_error("%.60s: %s at %zu\n", doc.at ? doc.at : "NULL", error.reason,
                    error.offset);
    assert_string_equal(error.reason, reason);
    assert_int_equal(error.offset, offset);
    assert_int_equal(verdict, SLICE_MALFORMED);
}

struct bad_row {
    const char *doc;
    size_t offset;
    const char *reason;
};

static void assert_all_bad(const struct bad_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_bad(text_of(rows[i].doc), rows[i].offset, rows[i].reason);
}

static const char too_short[] = "unexpected end of the document";
static const char not_closed[] = "the string is not closed";

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

/* --- the grammar --- */

static void check_tells_the_kind_of_every_value(void **state)
{
    static const struct {
        const char *doc;
        enum slice_kind kind;
    } rows[] = {
        { "null", SLICE_NULL },         { "true", SLICE_BOOL },
        { "false", SLICE_BOOL },        { "0", SLICE_NUMBER },
        { "-0", SLICE_NUMBER },         { "\"\"", SLICE_STRING },
        { "[]", SLICE_ARRAY },          { "{}", SLICE_OBJECT },
        { " \t\r\n7 ", SLICE_NUMBER },  { "[ [ ] ]", SLICE_ARRAY },
        { "{\"a\":{}}", SLICE_OBJECT },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_good(text_of(rows[i].doc), rows[i].kind);
}

static void check_leaves_the_error_alone_when_the_document_is_fine(void **state)
{
    struct slice_error error = { 5, 6, "before" };
    enum slice_kind kind;

    (void)state;
    assert_int_equal(slice_check(TEXT("[1]"), &kind, &error), SLICE_OK);
    assert_int_equal(error.offset, 5);
    assert_string_equal(error.reason, "before");
}

static void check_accepts_every_form_of_number_whatever_its_size(void **state)
{
    static const char *const numbers[] = {
        "9223372036854775808",
        "1e400",
        "0.1",
        "-0",
        "1e2",
        "1E+2",
        "1e-2",
        "0e0",
        "-0.0e-00",
        "12345678",
        "123456789",
        "1234567.5e8",
        "-1",
        "10",
        "100000000000000000",
        "0.12345678901234567",
        "1.5E10",
        "0.0",
        "1234567812345678",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(numbers); i++)
        assert_good(text_of(numbers[i]), SLICE_NUMBER);
}

static void check_refuses_what_only_looks_like_a_number(void **state)
{
    static const struct bad_row rows[] = {
        { "+1", 0, "expected a value" },
        { ".5", 0, "expected a value" },
        { "NaN", 0, "expected a value" },
        { "Infinity", 0, "expected a value" },
        { "-Infinity", 1, "expected a digit" },
        { "01", 1, "a digit after a leading 0" },
        { "-00", 2, "a digit after a leading 0" },
        { "012345678901", 1, "a digit after a leading 0" },
        { "1.]", 2, "expected a digit" },
        { "1.e1", 2, "expected a digit" },
        { "1ee", 2, "expected a digit" },
        { "1e+-1", 3, "expected a digit" },
        { "0x1", 1, "expected the end of the document" },
        { "1.5.5", 3, "expected the end of the document" },
        { "1 2", 2, "expected the end of the document" },
        { "[1 2]", 3, "expected , or ]" },
        { "[1a]", 2, "expected , or ]" },
        { "--1", 1, "expected a digit" },
        { "-", 1, too_short },
        { "1.", 2, too_short },
        { "1e", 2, too_short },
        { "1e-", 3, too_short },
    };

    (void)state;
    assert_all_bad(rows, COUNT(rows));
}

/* The wide steps must stop at the same byte as a look at each one. */
static void check_finds_a_bad_byte_at_any_place_of_a_number(void **state)
{
    char doc[40];

    (void)state;
    for (size_t at = 1; at < sizeof(doc); at++) {
        for (int c = 0; c < 256; c++) {
            if (c && strchr("0123456789.eE \t\r\n", c))
                continue;
            memset(doc, '7', sizeof(doc));
            doc[at] = (char)c;
            assert_bad((struct text){ doc, sizeof(doc) }, at,
                       "expected the end of the document");
        }
    }
}

static void check_bounds_the_length_of_a_number(void **state)
{
    static const char too_long[] = "the number is too long";
    struct buf buf = BUF_INIT;

    (void)state;
    fill(&buf, "", '1', SLICE_NUMBER_MAX, "");
    assert_good(buf_text(&buf), SLICE_NUMBER);
    buf_add_char(&buf, '1');
    assert_bad(buf_text(&buf), SLICE_NUMBER_MAX, too_long);
    buf_reset(&buf);
    fill(&buf, "[-", '1', 1000000, "]");
    assert_bad(buf_text(&buf), 1 + SLICE_NUMBER_MAX, too_long);
    buf_reset(&buf);
    fill(&buf, "0.", '1', SLICE_NUMBER_MAX, "e");
    assert_bad(buf_text(&buf), SLICE_NUMBER_MAX, too_long);
    buf_reset(&buf);
    fill(&buf, "", '1', SLICE_NUMBER_MAX - 1, ".x");
    assert_bad(buf_text(&buf), SLICE_NUMBER_MAX, "expected a digit");
    buf_clear(&buf);
}

static void check_refuses_cut_and_misspelt_literals(void **state)
{
    static const struct bad_row rows[] = {
        { "nul", 3, too_short },
        { "t", 1, too_short },
        { "nulx", 3, "expected null" },
        { "tRue", 1, "expected true" },
        { "falsy", 4, "expected false" },
        { "True", 0, "expected a value" },
        { "nullx", 4, "expected the end of the document" },
        { "undefined", 0, "expected a value" },
    };

    (void)state;
    assert_all_bad(rows, COUNT(rows));
}

static void check_refuses_broken_containers_at_the_byte_that_breaks_them(void **state)
{
    static const struct bad_row rows[] = {
        { "[", 1, too_short },
        { "[1", 2, too_short },
        { "[1,", 3, too_short },
        { "{", 1, too_short },
        { "{\"a\"", 4, too_short },
        { "{\"a\":", 5, too_short },
        { "{\"a\":1", 6, too_short },
        { "{\"a\":1,", 7, too_short },
        { "[1,]", 3, "expected a value" },
        { "[,1]", 1, "expected a value" },
        { "[1,,2]", 3, "expected a value" },
        { "[1}", 2, "expected , or ]" },
        { "[[]}", 3, "expected , or ]" },
        { "{]", 1, "expected a member name" },
        { "{\"a\":1,}", 7, "expected a member name" },
        { "{\"a\":1]", 6, "expected , or }" },
        { "{\"a\" 1}", 5, "expected :" },
        { "{\"a\",1}", 4, "expected :" },
        { "{\"a\"::1}", 5, "expected a value" },
        { "{1:1}", 1, "expected a member name" },
        { "{a:1}", 1, "expected a member name" },
        { "{'a':1}", 1, "expected a member name" },
        { "[{\"a\":1 \"b\":2}]", 8, "expected , or }" },
        { "]", 0, "expected a value" },
        { "[] []", 3, "expected the end of the document" },
        { "{}x", 2, "expected the end of the document" },
        { "[1] // one", 4, "expected the end of the document" },
        { "[/**/]", 1, "expected a value" },
    };

    (void)state;
    assert_all_bad(rows, COUNT(rows));
}

static void check_refuses_documents_that_are_empty_or_in_another_encoding(void **state)
{
    (void)state;
    assert_bad((struct text){ NULL, 0 }, 0, too_short);
    assert_bad(TEXT(""), 0, too_short);
    assert_bad(TEXT(" \r\n\t"), 4, too_short);
    assert_bad(TEXT("\v1"), 0, "expected a value");
    assert_bad(TEXT("\xEF\xBB\xBF{}"), 0, "a byte order mark is not allowed");
    assert_bad(TEXT("\xEF\xBB"), 0, "expected a value");
    assert_bad(TEXT("\xFF\xFE{\0}\0"), 0, "expected a value");
    assert_bad(TEXT("{\0}\0"), 1, "expected a member name");
    assert_bad(TEXT("[1\0]"), 2, "expected , or ]");
    assert_bad(TEXT("true\0"), 4, "expected the end of the document");
    assert_bad(TEXT("{}\0"), 2, "expected the end of the document");
}

/* --- strings --- */

static void check_accepts_text_of_every_width_and_every_escape(void **state)
{
    static const char *const strings[] = {
        "\"plain\"",
        "\"\x7F\"",
        "\"\xC2\x80 \xDF\xBF\"",
        "\"\xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF\"",
        "\"\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF\"",
        "\"\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\"",
        "\"\\\" \\\\ \\/ \\b \\f \\n \\r \\t\"",
        "\"\\u0001 \\uFFFF \\ud7FF \\uE000\"",
        "\"\\ud83d\\uDE00\\uDBFF\\uDFFF\"",
        "\"\xEF\xBB\xBF\"",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(strings); i++)
        assert_good(text_of(strings[i]), SLICE_STRING);
}

static void check_refuses_bytes_that_are_not_utf8_where_the_character_begins(void **state)
{
    static const char reason[] = "not UTF-8";
    static const struct bad_row rows[] = {
        { "\"a\x80\"", 2, reason },
        { "\"\xBF\"", 1, reason },
        { "\"\xC0\xAF\"", 1, reason },
        { "\"\xC1\xBF\"", 1, reason },
        { "\"\xC3(\"", 1, reason },
        { "\"\xE0\x9F\xBF\"", 1, reason },
        { "\"\xE2\x82(\"", 1, reason },
        { "\"ok \xE2\x82\xAC \xE2(\"", 8, reason },
        { "\"\xED\xA0\x80\"", 1, reason },
        { "\"\xED\xBF\xBF\"", 1, reason },
        { "\"\xF0\x8F\xBF\xBF\"", 1, reason },
        { "\"\xF4\x90\x80\x80\"", 1, reason },
        { "\"\xF5\x80\x80\x80\"", 1, reason },
        { "\"\xF8\x88\x80\x80\x80\"", 1, reason },
        { "\"\xFF\"", 1, reason },
        { "{\"\xE9\":1}", 2, reason },
        { "\"\xE2\x82", 3, not_closed },
        { "\"\xF0", 2, not_closed },
    };

    (void)state;
    assert_all_bad(rows, COUNT(rows));
}

static void check_refuses_bad_escapes_and_lone_surrogates(void **state)
{
    static const char lone[] = "a surrogate escape without its other half";
    static const char hex[] = "expected a hexadecimal digit";
    static const struct bad_row rows[] = {
        { "\"\\x41\"", 2, "unknown escape after the backslash" },
        { "\"\\'\"", 2, "unknown escape after the backslash" },
        { "\"\\u00g0\"", 5, hex },
        { "\"\\u12\"", 5, hex },
        { "\"a\\u0000\"", 2, "\\u0000 is not allowed" },
        { "{\"\\u0000\":1}", 2, "\\u0000 is not allowed" },
        { "\"a\\ud800\"", 2, lone },
        { "\"\\udc00\"", 1, lone },
        { "\"\\udfff\\ud800\"", 1, lone },
        { "\"\\ud800\\n\"", 1, lone },
        { "\"\\ud800x\"", 1, lone },
        { "\"\\ud800\\ud800\"", 1, lone },
        { "\"\\udbff\\ue000\"", 1, lone },
        { "\"\\udbff\\udbff\"", 1, lone },
        { "\"\\ud800\\udc0z\"", 12, hex },
        { "\"\\", 2, not_closed },
        { "\"\\u", 3, not_closed },
        { "\"\\u12", 5, not_closed },
        { "\"\\ud800", 7, not_closed },
        { "\"\\ud800\\", 8, not_closed },
        { "\"\\ud800\\udc", 11, not_closed },
        { "\"\\\"", 3, not_closed },
    };

    (void)state;
    assert_all_bad(rows, COUNT(rows));
}

/* Every byte at every place of a step: those that stand for themselves pass, the others
 * are told at their place. */
static void check_looks_at_every_byte_of_a_string(void **state)
{
    char doc[48];

    (void)state;
    for (size_t at = 1; at < sizeof(doc) - 1; at++) {
        for (int c = 0; c < 0xC2; c++) {
            memset(doc, 'x', sizeof(doc));
            doc[0] = doc[sizeof(doc) - 1] = '"';
            doc[at] = (char)c;
            if (c < ' ')
                assert_bad((struct text){ doc, sizeof(doc) }, at,
                           "a control byte inside of a string");
            else if (c >= 0x80)
                assert_bad((struct text){ doc, sizeof(doc) }, at, "not UTF-8");
            else if (c == '"')
                assert_bad((struct text){ doc, sizeof(doc) }, at + 1,
                           "expected the end of the document");
            else if (c != '\\')
                assert_good((struct text){ doc, sizeof(doc) }, SLICE_STRING);
        }
    }
}

/* Every beginning of a document lacks something, and nothing but its end is wrong. */
static void check_tells_every_cut_document_by_its_length(void **state)
{
    static const char doc[] =
        "{\"a\\u12aB\\ud83d\\ude00\":[1.5e+7, -0, true,false , null],"
        "\"\xE2\x82\xAC\xF0\x9F\x98\x80\": {\"\":\"a long plain text\"}}";

    (void)state;
    assert_good(TEXT(doc), SLICE_OBJECT);
    for (size_t len = 0; len < sizeof(doc) - 1; len++) {
        enum slice_kind kind;
        struct slice_error error;

        assert_int_equal(check_copy((struct text){ doc, len }, &kind, &error),
                         SLICE_MALFORMED);
        assert_int_equal(error.offset, len);
    }
}

/* --- depth --- */

static void check_accepts_the_greatest_depth_and_refuses_the_next(void **state)
{
    struct slice_error error;
    enum slice_kind kind;
    struct buf buf = BUF_INIT;

    (void)state;
    fill(&buf, "", '[', SLICE_DEPTH_MAX, "");
    fill(&buf, "1", ']', SLICE_DEPTH_MAX, "");
    assert_good(buf_text(&buf), SLICE_ARRAY);
    buf_reset(&buf);
    fill(&buf, " ", '[', 1000000, "");
    assert_int_equal(slice_check(buf_text(&buf), &kind, &error), SLICE_TOO_DEEP);
    assert_int_equal(error.offset, 1 + SLICE_DEPTH_MAX);
    assert_string_equal(error.reason, "nested too deep");
    buf_clear(&buf);
}

static void check_depth_takes_less_if_told_to(void **state)
{
    struct slice_error error;
    enum slice_kind kind;

    (void)state;
    assert_int_equal(slice_check_sent(TEXT("[{}]"), 3, &kind, &error), SLICE_OK);
    assert_int_equal(slice_check_sent(TEXT("[{\"a\":[1]},[[]]]"), 3, &kind, &error),
                     SLICE_OK);
    assert_int_equal(kind, SLICE_ARRAY);
    assert_int_equal(slice_check_sent(TEXT("[[],[[[]]]]"), 3, &kind, &error),
                     SLICE_TOO_DEEP);
    assert_int_equal(error.offset, 6);
}

static void check_remembers_what_is_open_at_every_depth(void **state)
{
    struct buf buf = BUF_INIT;
    size_t len;

    (void)state;
    for (int i = 0; i < SLICE_DEPTH_MAX / 2; i++)
        buf_add_str(&buf, "{\"a\":[");
    len = buf.len;
    for (int i = 0; i < SLICE_DEPTH_MAX / 2; i++)
        buf_add_str(&buf, "]}");
    assert_good(buf_text(&buf), SLICE_OBJECT);
    for (size_t at = len; at < buf.len; at++) {
        char right = buf.data[at];

        buf.data[at] = right == ']' ? '}' : ']';
        /* At the innermost place a value would be fine too. */
        assert_bad(buf_text(&buf), at,
                   at == len      ? "expected a value"
                   : right == ']' ? "expected , or ]"
                                  : "expected , or }");
        buf.data[at] = right;
    }
    buf_clear(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_tells_the_kind_of_every_value),
        cmocka_unit_test(check_leaves_the_error_alone_when_the_document_is_fine),
        cmocka_unit_test(check_accepts_every_form_of_number_whatever_its_size),
        cmocka_unit_test(check_refuses_what_only_looks_like_a_number),
        cmocka_unit_test(check_finds_a_bad_byte_at_any_place_of_a_number),
        cmocka_unit_test(check_bounds_the_length_of_a_number),
        cmocka_unit_test(check_refuses_cut_and_misspelt_literals),
        cmocka_unit_test(check_refuses_broken_containers_at_the_byte_that_breaks_them),
        cmocka_unit_test(check_refuses_documents_that_are_empty_or_in_another_encoding),
        cmocka_unit_test(check_accepts_text_of_every_width_and_every_escape),
        cmocka_unit_test(
            check_refuses_bytes_that_are_not_utf8_where_the_character_begins),
        cmocka_unit_test(check_refuses_bad_escapes_and_lone_surrogates),
        cmocka_unit_test(check_looks_at_every_byte_of_a_string),
        cmocka_unit_test(check_tells_every_cut_document_by_its_length),
        cmocka_unit_test(check_accepts_the_greatest_depth_and_refuses_the_next),
        cmocka_unit_test(check_depth_takes_less_if_told_to),
        cmocka_unit_test(check_remembers_what_is_open_at_every_depth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
