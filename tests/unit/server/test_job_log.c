/* SPDX-License-Identifier: MIT */
#include "server/job_log.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LOG_MAX 4096 /* bytes */

static void add_bytes(struct job_log *log, uint64_t item, struct text output, size_t max)
{
    const struct job_log_place place = { item, 1, 2 };
    const struct worker_trace trace = { .pid = 7, .output = output };

    job_log_add(log, &place, &trace, max);
}

static void add(struct job_log *log, uint64_t item, const char *output, size_t max)
{
    add_bytes(log, item, (struct text){ output, strlen(output) }, max);
}

/* The log as clients read it. */
static json_t *read_back(const struct job_log *log)
{
    struct buf out = BUF_INIT;
    json_t *json;

    job_log_open(&out, log);
    job_log_close(&out, log);
    assert_false(out.failed);
    json = json_loadb(out.data, out.len, 0, NULL);
    assert_non_null(json);
    buf_clear(&out);
    return json;
}

static const char *output_of(json_t *json, size_t i)
{
    json_t *piece = json_array_get(json_object_get(json, "log"), i);

    return json_string_value(json_object_get(piece, "output"));
}

static size_t count_of(json_t *json)
{
    return json_array_size(json_object_get(json, "log"));
}

static json_int_t dropped_of(json_t *json)
{
    return json_integer_value(json_object_get(json, "dropped"));
}

static void pieces_come_in_the_order_in_which_they_were_added(void **state)
{
    struct job_log log = { 0 };
    json_t *json, *piece;

    (void)state;
    add(&log, 5, "one\n", LOG_MAX);
    add(&log, 3, "a \x1b[31m\xff\"", LOG_MAX);
    json = read_back(&log);
    assert_int_equal(count_of(json), 2);
    assert_string_equal(output_of(json, 0), "one\n");
    assert_string_equal(output_of(json, 1), "a \x1b[31m\xef\xbf\xbd\"");
    piece = json_array_get(json_object_get(json, "log"), 0);
    assert_int_equal(json_integer_value(json_object_get(piece, "item")), 5);
    assert_int_equal(json_integer_value(json_object_get(piece, "count")), 1);
    assert_int_equal(json_integer_value(json_object_get(piece, "attempt")), 2);
    assert_int_equal(json_integer_value(json_object_get(piece, "pid")), 7);
    assert_true(json_is_false(json_object_get(piece, "truncated")));
    assert_int_equal(dropped_of(json), 0);
    json_decref(json);
    job_log_clear(&log);
}

static void nothing_printed_is_no_piece(void **state)
{
    struct job_log log = { 0 };

    (void)state;
    add(&log, 0, "", LOG_MAX);
    assert_null(log.oldest);
    assert_null(job_log_blob(&log));
}

static void the_oldest_go_first_and_are_counted(void **state)
{
    struct job_log log = { 0 };
    json_t *json;

    (void)state;
    for (int i = 0; i < 100; i++)
        add(&log, (uint64_t)i, i == 99 ? "the last" : "some line or other", LOG_MAX);
    assert_true(log.bytes <= LOG_MAX);
    json = read_back(&log);
    assert_int_equal((json_int_t)count_of(json) + dropped_of(json), 100);
    assert_string_equal(output_of(json, count_of(json) - 1), "the last");
    json_decref(json);
    job_log_clear(&log);
}

static void a_log_may_have_as_many_bytes_as_the_limit_and_no_more(void **state)
{
    struct job_log log = { 0 };
    size_t one, both;

    (void)state;
    add(&log, 0, "some line", LOG_MAX);
    one = log.bytes;
    add(&log, 1, "some line", LOG_MAX);
    both = log.bytes;
    assert_true(both > one);
    for (size_t max = both - 1; max <= both + 1; max++) {
        job_log_clear(&log);
        add(&log, 0, "some line", max);
        add(&log, 1, "some line", max);
        assert_int_equal(log.dropped, max < both ? 1 : 0);
        assert_int_equal(log.bytes, max < both ? one : both);
    }
    job_log_clear(&log);
}

static bool truncated(json_t *json)
{
    return json_is_true(
        json_object_get(json_array_get(json_object_get(json, "log"), 0), "truncated"));
}

/* The limit is one of JSON, in which a byte of output has one to six: what has come is kept
 * as far as it really fits. */
static void a_piece_that_is_too_large_keeps_its_end(void **state)
{
    static const struct {
        const char *unit, *shown; /* what is printed, and how it is read */
        size_t in_json;           /* bytes */
    } each[] = { { "x", "x", 1 },
                 { "\n", "\n", 2 },
                 { "\\", "\\", 2 },
                 { "\x01", "\x01", 6 },
                 { "\xff", "\xef\xbf\xbd", 3 },
                 { "\xc3\xa9", "\xc3\xa9", 2 },
                 { "\xe2\x82\xac", "\xe2\x82\xac", 3 },
                 { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", 4 } };

    (void)state;
    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++)
        for (size_t max = LOG_MAX; max < LOG_MAX + 7; max++) {
            struct job_log log = { 0 };
            struct buf much = BUF_INIT;
            const char *output;
            json_t *json;
            size_t len;

            while (much.len < 2 * (size_t)LOG_MAX)
                buf_add_str(&much, each[i].unit);
            buf_add_str(&much, "end");
            add_bytes(&log, 0, buf_text(&much), max);
            assert_in_range(log.bytes, max - each[i].in_json + 1, max);
            json = read_back(&log);
            assert_true(truncated(json));
            output = output_of(json, 0);
            len = strlen(output) - 3;
            assert_string_equal(output + len, "end");
            assert_int_equal(len % strlen(each[i].shown), 0);
            for (size_t at = 0; at < len; at += strlen(each[i].shown))
                assert_memory_equal(output + at, each[i].shown, strlen(each[i].shown));
            json_decref(json);
            buf_clear(&much);
            job_log_clear(&log);
        }
}

static void a_piece_is_whole_if_its_json_fits(void **state)
{
    static char much[500000];
    struct job_log log = { 0 };
    json_t *json;

    (void)state;
    memset(much, 'x', sizeof(much));
    add_bytes(&log, 0, (struct text){ much, sizeof(much) }, 1 << 20);
    json = read_back(&log);
    assert_int_equal(strlen(output_of(json, 0)), sizeof(much));
    assert_false(truncated(json));
    json_decref(json);
    for (int less = 0; less < 2; less++) { /* to the byte */
        size_t bytes = log.bytes;

        job_log_clear(&log);
        add_bytes(&log, 0, (struct text){ much, sizeof(much) }, bytes - (size_t)less);
        json = read_back(&log);
        assert_int_equal(truncated(json), less);
        assert_int_equal(dropped_of(json), 0);
        json_decref(json);
    }
    job_log_clear(&log);
}

static void what_has_no_room_for_a_character_is_dropped(void **state)
{
    struct job_log log = { 0 };
    size_t one;

    (void)state;
    add(&log, 0, "x", LOG_MAX);
    one = log.bytes;
    job_log_clear(&log);
    for (size_t max = 0; max < one - 1; max++) {
        log.dropped = 0;
        add(&log, 0, "xx", max);
        assert_null(log.oldest);
        assert_int_equal(log.dropped, 1);
    }
    add(&log, 0, "xx", one - 1); /* "true" is shorter than "false" */
    assert_int_equal(log.bytes, one - 1);
    job_log_clear(&log);
}

static void with_a_limit_of_0_all_is_dropped(void **state)
{
    struct job_log log = { 0 };

    (void)state;
    add(&log, 0, "x", 0);
    assert_null(log.oldest);
    assert_int_equal(log.dropped, 1);
    job_log_clear(&log);
}

static void a_log_comes_back_from_the_store(void **state)
{
    struct job_log log = { 0 }, restored = { 0 };
    struct blob *blob;
    json_t *json;

    (void)state;
    for (int i = 0; i < 60; i++)
        add(&log, (uint64_t)i, "line \xc3\xa9\n", LOG_MAX);
    assert_true(log.dropped > 0);
    blob = job_log_blob(&log);
    assert_int_equal(job_log_restore(&restored, blob_text(blob)), ST_OK);
    add(&restored, 60, "new", 2 * LOG_MAX);
    assert_int_equal(restored.dropped, log.dropped);
    json = read_back(&restored);
    assert_string_equal(output_of(json, 0), "line \xc3\xa9\n");
    assert_string_equal(output_of(json, count_of(json) - 1), "new");
    json_decref(json);
    blob_unref(blob);
    job_log_clear(&log);
    job_log_clear(&restored);
}

static void a_damaged_log_is_not_restored(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "[]",
        "{\"log\":3,\"dropped\":0}",
        "{\"log\":[]}",
        "{\"log\":[],\"dropped\":\"1\"}",
        "{\"log\":[],\"dropped\":-1}",
    };
    struct job_log log = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct text text = { texts[i], strlen(texts[i]) };

        assert_int_equal(job_log_restore(&log, text), ST_CORRUPT);
        assert_null(log.oldest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_come_in_the_order_in_which_they_were_added),
        cmocka_unit_test(nothing_printed_is_no_piece),
        cmocka_unit_test(the_oldest_go_first_and_are_counted),
        cmocka_unit_test(a_log_may_have_as_many_bytes_as_the_limit_and_no_more),
        cmocka_unit_test(a_piece_that_is_too_large_keeps_its_end),
        cmocka_unit_test(a_piece_is_whole_if_its_json_fits),
        cmocka_unit_test(what_has_no_room_for_a_character_is_dropped),
        cmocka_unit_test(with_a_limit_of_0_all_is_dropped),
        cmocka_unit_test(a_log_comes_back_from_the_store),
        cmocka_unit_test(a_damaged_log_is_not_restored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
