/* SPDX-License-Identifier: MIT */
#include "workers/items.h"

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

static void assert_text(struct text text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.at, expected, text.len);
}

/* Every item of the list in order, NULL-terminated, and nothing behind them. */
static void assert_items(const char *list, const char *const expected[])
{
    struct text rest = text_of(list), item;

    for (; *expected; expected++) {
        assert_true(items_next(&rest, &item));
        assert_text(item, *expected);
    }
    assert_false(items_next(&rest, &item));
    assert_int_equal(rest.len, strspn(rest.at, " \t\r\n"));
}

static void items_next_splits_numbers(void **state)
{
    (void)state;
    assert_items("1,-2,3.5e+7", (const char *[]){ "1", "-2", "3.5e+7", NULL });
}

static void items_next_skips_all_white_space_around_values(void **state)
{
    (void)state;
    assert_items(" \t\r\n1 \n,\t2\r , true ", (const char *[]){ "1", "2", "true", NULL });
}

static void items_next_finds_nothing_in_an_empty_list(void **state)
{
    struct text null = { NULL, 0 }, item = TEXT("untouched");

    (void)state;
    assert_false(items_next(&null, &item));
    assert_items("", (const char *[]){ NULL });
    assert_items(" \n\t\r ", (const char *[]){ NULL });
    assert_text(item, "untouched");
}

static void items_next_keeps_commas_and_brackets_of_strings_inside(void **state)
{
    (void)state;
    assert_items("\"a,b\",\"]}[{\",\"\"",
                 (const char *[]){ "\"a,b\"", "\"]}[{\"", "\"\"", NULL });
}

static void items_next_tells_an_escaped_quote_from_the_last_one(void **state)
{
    (void)state;
    assert_items(
        "\"a\\\"b\" , \"c\\\\\",\"\\\\\\\"\",1",
        (const char *[]){ "\"a\\\"b\"", "\"c\\\\\"", "\"\\\\\\\"\"", "1", NULL });
}

static void items_next_takes_nested_values_whole(void **state)
{
    (void)state;
    assert_items("[1,[2,{\"a]\":[3]}]] , {\"b\" : {}, \"\\\"}\":1},[]",
                 (const char *[]){ "[1,[2,{\"a]\":[3]}]]", "{\"b\" : {}, \"\\\"}\":1}",
                                   "[]", NULL });
}

static void items_next_walks_nesting_of_any_depth(void **state)
{
    size_t depth = 1000000;
    char *list = malloc(2 * depth + 2);
    struct text rest, item;

    (void)state;
    assert_non_null(list);
    memset(list, '[', depth);
    memset(list + depth, ']', depth);
    memcpy(list + 2 * depth, ",7", 2);
    rest = (struct text){ list, 2 * depth + 2 };
    assert_true(items_next(&rest, &item));
    assert_int_equal(item.len, 2 * depth);
    assert_true(items_next(&rest, &item));
    assert_text(item, "7");
    free(list);
}

/* Exact-size heap copies, so that the sanitizer sees a read behind the end. */
static void items_next_ends_inside_of_text_that_is_cut(void **state)
{
    static const char whole[] = "{\"a\\\\\":[1,\"\\\"\"]}, \"x\\\"y\" ,-12.5e3, null";

    (void)state;
    for (size_t len = 0; len < sizeof(whole); len++) {
        char *cut = malloc(len + 1);
        struct text rest, item;
        size_t left = len + 1;

        assert_non_null(cut);
        memcpy(cut + 1, whole, len);
        rest = (struct text){ cut + 1, len };
        while (items_next(&rest, &item)) {
            assert_true(rest.len < left);
            assert_true(item.at > cut && item.at + item.len <= cut + 1 + len);
            left = rest.len;
        }
        free(cut);
    }
}

static void items_next_member_gives_names_and_values(void **state)
{
    struct text rest = text_of(" \"a\" : 1 ,\"b\\\"c\":[1, 2], \"\":{}"), name, value;

    (void)state;
    assert_true(items_next_member(&rest, &name, &value));
    assert_text(name, "a");
    assert_text(value, "1");
    assert_true(items_next_member(&rest, &name, &value));
    assert_text(name, "b\\\"c");
    assert_text(value, "[1, 2]");
    assert_true(items_next_member(&rest, &name, &value));
    assert_text(name, "");
    assert_text(value, "{}");
    assert_false(items_next_member(&rest, &name, &value));
}

static void items_next_member_refuses_what_is_no_member(void **state)
{
    static const char *const bad[] = { "",    " ",     "1",       "\"",
                                       "\"a", "\"a\"", "\"a\" 1", "\"a\":" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct text rest = text_of(bad[i]), name, value;

        assert_false(items_next_member(&rest, &name, &value));
    }
}

static void items_inside_strips_one_pair_of_brackets(void **state)
{
    (void)state;
    assert_text(items_inside(text_of("[1, [2]]")), "1, [2]");
    assert_text(items_inside(text_of("\n {\"a\":1}\t")), "\"a\":1");
    assert_text(items_inside(text_of("[]")), "");
    assert_text(items_inside(text_of("12")), "");
    assert_text(items_inside(text_of("[")), "");
    assert_int_equal(items_inside((struct text){ NULL, 0 }).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_next_splits_numbers),
        cmocka_unit_test(items_next_skips_all_white_space_around_values),
        cmocka_unit_test(items_next_finds_nothing_in_an_empty_list),
        cmocka_unit_test(items_next_keeps_commas_and_brackets_of_strings_inside),
        cmocka_unit_test(items_next_tells_an_escaped_quote_from_the_last_one),
        cmocka_unit_test(items_next_takes_nested_values_whole),
        cmocka_unit_test(items_next_walks_nesting_of_any_depth),
        cmocka_unit_test(items_next_ends_inside_of_text_that_is_cut),
        cmocka_unit_test(items_next_member_gives_names_and_values),
        cmocka_unit_test(items_next_member_refuses_what_is_no_member),
        cmocka_unit_test(items_inside_strips_one_pair_of_brackets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
