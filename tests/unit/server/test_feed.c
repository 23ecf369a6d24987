/* SPDX-License-Identifier: MIT */
#include "server/feed.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void add(struct feed *feed, const char *item)
{
    assert_int_equal(feed_add(feed, (struct text){ item, strlen(item) }), ST_OK);
}

static void add_numbers(struct feed *feed, uint64_t first, uint64_t count)
{
    char item[24];

    for (uint64_t i = first; i < first + count; i++) {
        (void)snprintf(item, sizeof(item), "%llu", (unsigned long long)i);
        add(feed, item);
    }
}

static void assert_items(const struct feed *feed, uint64_t first, uint64_t count,
                         const char *expected)
{
    struct text items = feed_items(feed, first, count);

    assert_int_equal(items.len, strlen(expected));
    assert_memory_equal(items.at, expected, items.len);
}

static void items_come_out_with_commas_between_them(void **state)
{
    struct feed feed;

    (void)state;
    feed_init(&feed);
    add(&feed, "1");
    assert_items(&feed, 0, 1, "1");
    add(&feed, "[2, 3]");
    add(&feed, "\"a,b\"");
    assert_items(&feed, 0, 3, "1,[2, 3],\"a,b\"");
    assert_items(&feed, 1, 1, "[2, 3]");
    assert_items(&feed, 1, 2, "[2, 3],\"a,b\"");
    assert_items(&feed, 2, 1, "\"a,b\"");
    assert_int_equal(feed_run(&feed, 1), 2);
    assert_int_equal(feed.count, 3);
    assert_int_equal(feed.all_bytes, 12);
    feed_clear(&feed);
}

static void what_is_done_is_let_go_of_in_any_order(void **state)
{
    struct feed feed;

    (void)state;
    feed_init(&feed);
    add_numbers(&feed, 0, 3 * FEED_PART_ITEMS);
    assert_int_equal(feed_run(&feed, 0), FEED_PART_ITEMS);
    assert_int_equal(feed_run(&feed, FEED_PART_ITEMS + 1), FEED_PART_ITEMS - 1);
    feed_done(&feed, FEED_PART_ITEMS, FEED_PART_ITEMS);
    assert_items(&feed, 2 * FEED_PART_ITEMS, 2, "2048,2049");
    assert_items(&feed, 7, 2, "7,8");
    feed_done(&feed, 2 * FEED_PART_ITEMS, FEED_PART_ITEMS);
    for (uint64_t i = FEED_PART_ITEMS; i-- > 1;)
        feed_done(&feed, i, 1);
    assert_items(&feed, 0, 1, "0");
    assert_true(feed.bytes > 0);
    feed_done(&feed, 0, 1);
    assert_int_equal(feed.bytes, 0);
    assert_true(TAILQ_EMPTY(&feed.parts));
    add(&feed, "4");
    assert_items(&feed, 3 * FEED_PART_ITEMS, 1, "4");
    feed_clear(&feed);
}

static void what_is_done_may_reach_over_parts(void **state)
{
    struct feed feed;

    (void)state;
    feed_init(&feed);
    add_numbers(&feed, 0, 3 * FEED_PART_ITEMS);
    feed_done(&feed, FEED_PART_ITEMS - 1, FEED_PART_ITEMS + 2);
    assert_items(&feed, 0, 2, "0,1");
    assert_items(&feed, 2 * FEED_PART_ITEMS + 1, 2, "2049,2050");
    feed_done(&feed, 0, FEED_PART_ITEMS - 1);
    assert_true(feed.bytes > 0);
    feed_done(&feed, 2 * FEED_PART_ITEMS + 1, FEED_PART_ITEMS - 1);
    assert_int_equal(feed.bytes, 0);
    assert_true(TAILQ_EMPTY(&feed.parts));
    feed_clear(&feed);
}

static void memory_follows_what_waits_not_what_came(void **state)
{
    struct feed feed;
    size_t most = 0;

    (void)state;
    feed_init(&feed);
    for (uint64_t i = 0; i < 200000; i++) {
        add_numbers(&feed, i, 1);
        most = feed.bytes > most ? feed.bytes : most;
        if (i >= 10)
            feed_done(&feed, i - 10, 1);
    }
    assert_true(most < 3 * FEED_PART_BYTES);
    feed_clear(&feed);
    assert_int_equal(feed.bytes, 0);
}

static void large_items_have_parts_of_their_own(void **state)
{
    char *large = malloc(FEED_PART_BYTES + 1);
    struct feed feed;

    (void)state;
    assert_non_null(large);
    memset(large, '1', FEED_PART_BYTES);
    large[FEED_PART_BYTES] = '\0';
    feed_init(&feed);
    add(&feed, large);
    add(&feed, large);
    add(&feed, "2");
    assert_int_equal(feed_run(&feed, 0), 1);
    assert_int_equal(feed_run(&feed, 1), 1);
    assert_items(&feed, 1, 1, large);
    assert_items(&feed, 2, 1, "2");
    feed_clear(&feed);
    free(large);
}

static void without_memory_nothing_is_added(void **state)
{
    struct feed feed;
    enum status st = ST_NO_MEMORY;
    unsigned refused = 0;

    (void)state;
    feed_init(&feed);
    for (unsigned n = 1; st == ST_NO_MEMORY; n++) {
        mem_fail_at(n, 0);
        st = feed_add(&feed, TEXT("12345"));
        mem_fail_at(0, 0);
        refused += st == ST_NO_MEMORY;
        assert_int_equal(feed.count, st == ST_OK);
    }
    assert_int_equal(st, ST_OK);
    assert_int_equal(refused, 2);
    assert_items(&feed, 0, 1, "12345");
    feed_clear(&feed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_with_commas_between_them),
        cmocka_unit_test(what_is_done_is_let_go_of_in_any_order),
        cmocka_unit_test(what_is_done_may_reach_over_parts),
        cmocka_unit_test(memory_follows_what_waits_not_what_came),
        cmocka_unit_test(large_items_have_parts_of_their_own),
        cmocka_unit_test(without_memory_nothing_is_added),
    };

    return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
