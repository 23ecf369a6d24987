/* SPDX-License-Identifier: MIT */
#include "workers/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A CHUNK frame, id 0x0102, with the payload "hi". */
static const uint8_t whole[] = {
    2, 2, 0, 0, 2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 'h', 'i'
};

static struct text text_of(const void *bytes, size_t len)
{
    return (struct text){ bytes, len };
}

static void frame_parse_reads_what_is_drawn_in_the_header(void **state)
{
    struct frame frame;
    size_t len;

    (void)state;
    assert_int_equal(frame_parse(whole, sizeof(whole), &frame, &len), FRAME_OK);
    assert_int_equal(len, sizeof(whole));
    assert_int_equal(frame.kind, FRAME_CHUNK);
    assert_int_equal(frame.flags, FRAME_TIMED);
    assert_int_equal(frame.chunk_id, 0x0102);
    assert_true(text_equals(frame.payload, "hi"));
    assert_ptr_equal(frame.payload.at, whole + FRAME_HEADER_LEN);
}

static void frame_header_writes_what_frame_parse_reads(void **state)
{
    uint8_t header[FRAME_HEADER_LEN];

    (void)state;
    frame_header(FRAME_CHUNK, FRAME_TIMED, 0x0102, 2, header);
    assert_memory_equal(header, whole, FRAME_HEADER_LEN);
}

static void frame_parse_says_how_much_is_missing_at_every_cut(void **state)
{
    struct frame frame;
    size_t need;

    (void)state;
    for (size_t len = 0; len < sizeof(whole); len++) {
        assert_int_equal(frame_parse(whole, len, &frame, &need), FRAME_NEED_MORE);
        assert_int_equal(need, len < FRAME_HEADER_LEN ? FRAME_HEADER_LEN : sizeof(whole));
    }
}

static void frame_parse_leaves_what_follows_the_frame(void **state)
{
    uint8_t two[2 * sizeof(whole)];
    struct frame frame;
    size_t len;

    (void)state;
    memcpy(two, whole, sizeof(whole));
    memcpy(two + sizeof(whole), whole, sizeof(whole));
    assert_int_equal(frame_parse(two, sizeof(two), &frame, &len), FRAME_OK);
    assert_int_equal(len, sizeof(whole));
}

static void frame_parse_refuses_every_header_that_cannot_be(void **state)
{
    static const struct {
        size_t at;
        uint8_t byte;
    } wrong[] = {
        { 0, FRAME_NONE }, { 0, FRAME_KIND_COUNT },
        { 0, 255 },        { 1, 0x08 },
        { 1, 0x80 },       { 2, 1 },
        { 3, 1 },          { 7, 0x41 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t bytes[sizeof(whole)];
        struct frame frame = { .chunk_id = 7 };
        size_t len = 99;

        memcpy(bytes, whole, sizeof(whole));
        bytes[wrong[i].at] = wrong[i].byte;
        assert_int_equal(frame_parse(bytes, sizeof(bytes), &frame, &len), FRAME_BROKEN);
        assert_int_equal(frame.chunk_id, 7);
        assert_int_equal(len, 99);
    }
}

static const struct frame_chunk some_chunk = {
    .first = 0x1122334455667788,
    .count = 3,
    .style = CALL_STARMAP,
    .task = { "power", 5 },
    .trace = { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
               FRAME_TRACE_PARENT_LEN },
    .kwargs = { "{\"exp\":2}", 9 },
    .items = { "[1],[2],[3]", 11 },
};

static size_t chunk_payload(const struct frame_chunk *chunk, char *ret_bytes)
{
    size_t len = FRAME_CHUNK_HEAD_LEN;

    frame_chunk_head(chunk, (uint8_t *)ret_bytes);
    memcpy(ret_bytes + len, chunk->task.at, chunk->task.len);
    len += chunk->task.len;
    if (chunk->trace.len > 0)
        memcpy(ret_bytes + len, chunk->trace.at, chunk->trace.len);
    len += chunk->trace.len;
    memcpy(ret_bytes + len, chunk->kwargs.at, chunk->kwargs.len);
    len += chunk->kwargs.len;
    memcpy(ret_bytes + len, chunk->items.at, chunk->items.len);
    return len + chunk->items.len;
}

static void chunk_comes_back_as_it_was_written(void **state)
{
    char bytes[128];
    size_t len = chunk_payload(&some_chunk, bytes);
    struct frame_chunk chunk;

    (void)state;
    assert_int_equal(bytes[0], 0x88 - 256);
    assert_int_equal(bytes[14], 55);
    assert_memory_equal(bytes + FRAME_CHUNK_HEAD_LEN, "power00-0af7", 12);
    assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_OK);
    assert_int_equal(chunk.first, some_chunk.first);
    assert_int_equal(chunk.count, 3);
    assert_int_equal(chunk.style, CALL_STARMAP);
    assert_true(text_equal(chunk.task, some_chunk.task));
    assert_true(text_equal(chunk.trace, some_chunk.trace));
    assert_true(text_equal(chunk.kwargs, some_chunk.kwargs));
    assert_true(text_equal(chunk.items, some_chunk.items));
}

static void chunk_without_kwargs_has_empty_ones(void **state)
{
    struct frame_chunk plain = some_chunk, chunk;
    char bytes[128];
    size_t len;

    (void)state;
    plain.kwargs = TEXT("");
    len = chunk_payload(&plain, bytes);
    assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_OK);
    assert_int_equal(chunk.kwargs.len, 0);
    assert_true(text_equal(chunk.items, some_chunk.items));
}

static void chunk_without_a_trace_has_not_a_byte_of_it(void **state)
{
    struct frame_chunk plain = some_chunk, chunk;
    char bytes[128];
    size_t len;

    (void)state;
    plain.trace = (struct text){ 0 };
    len = chunk_payload(&plain, bytes);
    assert_int_equal(len, FRAME_CHUNK_HEAD_LEN + 5 + 9 + 11);
    assert_int_equal(bytes[14], 0);
    assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_OK);
    assert_int_equal(chunk.trace.len, 0);
    assert_true(text_equal(chunk.kwargs, some_chunk.kwargs));
    assert_true(text_equal(chunk.items, some_chunk.items));
}

static void chunk_has_the_state_behind_the_parent(void **state)
{
    struct frame_chunk plain = some_chunk, chunk;
    char bytes[1024], trace[FRAME_TRACE_PARENT_LEN + FRAME_TRACE_STATE_MAX];
    size_t len;

    (void)state;
    memset(trace, 'x', sizeof(trace));
    memcpy(trace, some_chunk.trace.at, FRAME_TRACE_PARENT_LEN);
    plain.trace = text_of(trace, FRAME_TRACE_PARENT_LEN + 3);
    len = chunk_payload(&plain, bytes);
    assert_int_equal(len, FRAME_CHUNK_HEAD_LEN + 5 + 58 + 9 + 11);
    assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_OK);
    assert_true(text_equal(frame_trace_parent(chunk.trace), some_chunk.trace));
    assert_true(text_equal(frame_trace_state(chunk.trace), TEXT("xxx")));
    assert_true(text_equal(chunk.items, some_chunk.items));
    plain.trace.len = sizeof(trace);
    len = chunk_payload(&plain, bytes);
    assert_memory_equal(bytes + 14, "\x37\x02", 2);
    assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_OK);
    assert_int_equal(frame_trace_state(chunk.trace).len, FRAME_TRACE_STATE_MAX);
    assert_true(text_equal(chunk.items, some_chunk.items));
    bytes[14]++; /* one byte more than a trace may have */
    assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_BROKEN);
    bytes[14] = FRAME_TRACE_PARENT_LEN - 1;
    bytes[15] = 0;
    assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_BROKEN);
    assert_int_equal(frame_trace_state(some_chunk.trace).len, 0);
    assert_int_equal(frame_trace_parent((struct text){ 0 }).len, 0);
}

static void chunk_parse_refuses_lengths_that_do_not_fit(void **state)
{
    char bytes[128];
    struct frame_chunk chunk;
    size_t texts = some_chunk.task.len + some_chunk.trace.len + some_chunk.kwargs.len;

    (void)state;
    chunk_payload(&some_chunk, bytes);
    for (size_t len = 0; len < FRAME_CHUNK_HEAD_LEN + texts; len++)
        assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_BROKEN);
    memset(bytes + 16, 0xff, 4); /* the length of kwargs */
    assert_int_equal(frame_chunk_parse(text_of(bytes, sizeof(bytes)), &chunk),
                     FRAME_BROKEN);
}

static void chunk_parse_refuses_every_field_out_of_range(void **state)
{
    static const struct {
        size_t at;
        uint8_t byte;
    } wrong[] = {
        { 8, 0 },  { 12, CALL_STYLE_COUNT },
        { 13, 0 }, { 13, 129 },
        { 14, 1 }, { 14, 54 },
        { 15, 3 }, { 20, 1 },
        { 31, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char bytes[1024] = { 0 };
        struct frame_chunk chunk;

        chunk_payload(&some_chunk, bytes);
        bytes[wrong[i].at] = (char)wrong[i].byte;
        assert_int_equal(frame_chunk_parse(text_of(bytes, sizeof(bytes)), &chunk),
                         FRAME_BROKEN);
    }
}

static void chunk_parse_refuses_items_beyond_the_last_index(void **state)
{
    struct frame_chunk chunk;
    char bytes[128];
    size_t len = chunk_payload(&some_chunk, bytes);

    (void)state;
    memset(bytes, 0xff, 8); /* first */
    assert_int_equal(frame_chunk_parse(text_of(bytes, len), &chunk), FRAME_BROKEN);
}

static void result_comes_back_as_it_was_written(void **state)
{
    struct frame_result in = {
        .first = 70000, .count = 2, .printed = 0xfffffff0, .run_ns = 5000000000
    };
    struct frame_result out;
    char bytes[FRAME_RESULT_HEAD_LEN + 3];

    (void)state;
    frame_result_head(&in, (uint8_t *)bytes);
    memcpy(bytes + FRAME_RESULT_HEAD_LEN, "1,2", 3);
    assert_int_equal(frame_result_parse(text_of(bytes, sizeof(bytes)), &out), FRAME_OK);
    assert_int_equal(out.first, 70000);
    assert_int_equal(out.count, 2);
    assert_int_equal(out.run_ns, 5000000000);
    assert_true(text_equals(out.results, "1,2"));
    assert_int_equal(frame_result_parse(text_of(bytes, FRAME_RESULT_HEAD_LEN - 1), &out),
                     FRAME_BROKEN);
    assert_int_equal(out.printed, 0xfffffff0);
    bytes[8] = 0; /* no items */
    assert_int_equal(frame_result_parse(text_of(bytes, sizeof(bytes)), &out),
                     FRAME_BROKEN);
}

static void failure_comes_back_as_it_was_written(void **state)
{
    struct frame_failure in = {
        .item = 9, .kind = FAILURE_RESULT_TOO_LARGE, .printed = 300, .run_ns = 77
    };
    struct frame_failure out;
    char bytes[FRAME_FAILURE_HEAD_LEN + 2];

    (void)state;
    frame_failure_head(&in, (uint8_t *)bytes);
    memcpy(bytes + FRAME_FAILURE_HEAD_LEN, "{}", 2);
    assert_int_equal(frame_failure_parse(text_of(bytes, sizeof(bytes)), &out), FRAME_OK);
    assert_int_equal(out.item, 9);
    assert_int_equal(out.kind, FAILURE_RESULT_TOO_LARGE);
    assert_int_equal(out.printed, 300);
    assert_int_equal(out.run_ns, 77);
    assert_true(text_equals(out.exception, "{}"));
    assert_int_equal(
        frame_failure_parse(text_of(bytes, FRAME_FAILURE_HEAD_LEN - 1), &out),
        FRAME_BROKEN);
    bytes[8] = FAILURE_KIND_COUNT;
    assert_int_equal(frame_failure_parse(text_of(bytes, sizeof(bytes)), &out),
                     FRAME_BROKEN);
}

static void progress_is_written_byte_by_byte_as_it_is_drawn(void **state)
{
    static const uint8_t want[] = { 3, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0,
                                    0, 0, 0, 0, 0, 1, 0, 0, 0,  0, 0, 0 };
    const struct frame_progress in = { .item = 3, .current = 40, .total = 256 };
    uint8_t head[FRAME_PROGRESS_HEAD_LEN];

    (void)state;
    frame_progress_head(&in, head);
    assert_memory_equal(head, want, sizeof(want));
}

static void progress_comes_back_as_it_was_written(void **state)
{
    struct frame_progress in = { .item = 70000, .current = 5, .total = 0 }, out;
    char bytes[FRAME_PROGRESS_HEAD_LEN + FRAME_MESSAGE_MAX + 1];

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    frame_progress_head(&in, (uint8_t *)bytes);
    assert_int_equal(
        frame_progress_parse(text_of(bytes, FRAME_PROGRESS_HEAD_LEN + 3), &out),
        FRAME_OK);
    assert_int_equal(out.item, 70000);
    assert_int_equal(out.current, 5);
    assert_int_equal(out.total, 0);
    assert_true(text_equals(out.message, "xxx"));
    assert_int_equal(frame_progress_parse(text_of(bytes, sizeof(bytes) - 1), &out),
                     FRAME_OK);
    assert_int_equal(frame_progress_parse(text_of(bytes, sizeof(bytes)), &out),
                     FRAME_BROKEN);
    assert_int_equal(
        frame_progress_parse(text_of(bytes, FRAME_PROGRESS_HEAD_LEN - 1), &out),
        FRAME_BROKEN);
    memset(bytes, 0xff, 8); /* no item has this index */
    assert_int_equal(frame_progress_parse(text_of(bytes, FRAME_PROGRESS_HEAD_LEN), &out),
                     FRAME_BROKEN);
}

static void ready_comes_back_as_it_was_written(void **state)
{
    struct frame_ready in = { .version = FRAME_VERSION, .pid = 4711 }, out;
    uint8_t bytes[FRAME_READY_LEN + 1] = { 0 };

    (void)state;
    frame_ready(&in, bytes);
    assert_int_equal(frame_ready_parse(text_of(bytes, FRAME_READY_LEN), &out), FRAME_OK);
    assert_int_equal(out.version, FRAME_VERSION);
    assert_int_equal(out.pid, 4711);
    assert_int_equal(frame_ready_parse(text_of(bytes, FRAME_READY_LEN + 1), &out),
                     FRAME_BROKEN);
    assert_int_equal(frame_ready_parse(text_of(bytes, FRAME_READY_LEN - 1), &out),
                     FRAME_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_parse_reads_what_is_drawn_in_the_header),
        cmocka_unit_test(frame_header_writes_what_frame_parse_reads),
        cmocka_unit_test(frame_parse_says_how_much_is_missing_at_every_cut),
        cmocka_unit_test(frame_parse_leaves_what_follows_the_frame),
        cmocka_unit_test(frame_parse_refuses_every_header_that_cannot_be),
        cmocka_unit_test(chunk_comes_back_as_it_was_written),
        cmocka_unit_test(chunk_without_kwargs_has_empty_ones),
        cmocka_unit_test(chunk_without_a_trace_has_not_a_byte_of_it),
        cmocka_unit_test(chunk_has_the_state_behind_the_parent),
        cmocka_unit_test(chunk_parse_refuses_lengths_that_do_not_fit),
        cmocka_unit_test(chunk_parse_refuses_every_field_out_of_range),
        cmocka_unit_test(chunk_parse_refuses_items_beyond_the_last_index),
        cmocka_unit_test(result_comes_back_as_it_was_written),
        cmocka_unit_test(failure_comes_back_as_it_was_written),
        cmocka_unit_test(progress_is_written_byte_by_byte_as_it_is_drawn),
        cmocka_unit_test(progress_comes_back_as_it_was_written),
        cmocka_unit_test(ready_comes_back_as_it_was_written),
    };

    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
