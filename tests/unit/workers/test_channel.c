/* SPDX-License-Identifier: MIT */
#include "workers/channel.h"

#include "common/fd.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MAX (4u << 20)

/* Two channels that face each other, and what b has received. */
struct pair {
    struct channel a, b;
    unsigned frames;
    uint64_t last_id;
    struct buf payloads;
    enum status answer; /* of the callback */
};

static int set_up(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    int fds[2];

    if (!pair || fd_socket_pair(SOCK_STREAM, fds) != ST_OK)
        return -1;
    channel_init(&pair->a, fds[0], FRAME_MAX);
    channel_init(&pair->b, fds[1], FRAME_MAX);
    *state = pair;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;

    mem_fail_at(0, 0);
    channel_clear(&pair->a);
    channel_clear(&pair->b);
    buf_clear(&pair->payloads);
    free(pair);
    return 0;
}

static enum status on_frame(void *data, const struct frame *frame)
{
    struct pair *pair = data;

    pair->frames++;
    pair->last_id = frame->chunk_id;
    buf_add_text(&pair->payloads, frame->payload);
    return pair->answer;
}

static enum status send_text(struct channel *channel, uint64_t id, const char *text)
{
    struct text part = { text, strlen(text) };

    return channel_send(channel, FRAME_CHUNK, 0, id, &part, 1);
}

static void frame_of_many_parts_arrives_as_one(void **state)
{
    struct pair *pair = *state;
    struct text parts[] = { TEXT("one"), { NULL, 0 }, TEXT("two"), TEXT("three") };

    assert_int_equal(channel_send(&pair->a, FRAME_RESULT, FRAME_LAST, 5, parts, 4),
                     ST_OK);
    assert_false(channel_wants_write(&pair->a));
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_OK);
    assert_int_equal(pair->frames, 1);
    assert_int_equal(pair->last_id, 5);
    assert_true(text_equals(buf_text(&pair->payloads), "onetwothree"));
}

static void frames_in_one_read_are_handed_out_in_order(void **state)
{
    struct pair *pair = *state;

    assert_int_equal(send_text(&pair->a, 1, "a"), ST_OK);
    assert_int_equal(send_text(&pair->a, 2, "b"), ST_OK);
    assert_int_equal(send_text(&pair->a, 3, "c"), ST_OK);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_OK);
    assert_int_equal(pair->frames, 3);
    assert_true(text_equals(buf_text(&pair->payloads), "abc"));
    assert_int_equal(pair->b.in.cap, 0); /* whole frames cost no memory */
}

static void frame_that_comes_byte_by_byte_is_put_together(void **state)
{
    struct pair *pair = *state;
    uint8_t bytes[FRAME_HEADER_LEN + 2] = { 0 };

    frame_header(FRAME_RESULT, 0, 8, 2, bytes);
    memcpy(bytes + FRAME_HEADER_LEN, "xy", 2);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(pair->frames, 0);
        assert_int_equal(write(pair->a.fd, bytes + i, 1), 1);
        assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_OK);
    }
    assert_int_equal(pair->frames, 1);
    assert_true(text_equals(buf_text(&pair->payloads), "xy"));
}

static void large_frame_waits_in_the_queue_and_arrives_whole(void **state)
{
    struct pair *pair = *state;
    struct buf big = BUF_INIT;
    struct text part;

    while (big.len < FRAME_MAX - 20)
        buf_add_u64(&big, big.len);
    part = buf_text(&big);
    assert_int_equal(channel_send(&pair->a, FRAME_RESULT, 0, 1, &part, 1), ST_OK);
    assert_true(channel_wants_write(&pair->a));
    assert_int_equal(send_text(&pair->a, 2, "next"), ST_OK);
    while (pair->frames < 2) {
        assert_int_equal(channel_flush(&pair->a), ST_OK);
        assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_OK);
    }
    assert_false(channel_wants_write(&pair->a));
    assert_int_equal(pair->a.out.cap, 0);
    assert_int_equal(pair->payloads.len, big.len + 4);
    assert_memory_equal(pair->payloads.data, big.data, big.len);
    assert_memory_equal(pair->payloads.data + big.len, "next", 4);
    buf_clear(&big);
}

/* Takes `len` bytes out of the socket, which holds as many. */
static void take_bytes(int fd, size_t len)
{
    static char bytes[64u * 1024];

    while (len > 0) {
        ssize_t n = recv(fd, bytes, len < sizeof(bytes) ? len : sizeof(bytes), 0);

        assert_true(n > 0);
        len -= (size_t)n;
    }
}

static void queue_that_is_never_empty_does_not_grow(void **state)
{
    struct pair *pair = *state;
    static const char block[32u * 1024];
    struct text part = { block, sizeof(block) };

    while (channel_unsent(&pair->a) < 4 * sizeof(block))
        assert_int_equal(channel_send(&pair->a, FRAME_CHUNK, 0, 1, &part, 1), ST_OK);
    for (int i = 0; i < 500; i++) {
        take_bytes(pair->b.fd, FRAME_HEADER_LEN + sizeof(block));
        assert_int_equal(channel_send(&pair->a, FRAME_CHUNK, 0, 1, &part, 1), ST_OK);
        assert_true(channel_wants_write(&pair->a));
        assert_true(pair->a.out.cap < 64 * sizeof(block));
    }
}

static void end_of_file_comes_after_what_was_written(void **state)
{
    struct pair *pair = *state;

    assert_int_equal(send_text(&pair->a, 1, "will"), ST_OK);
    fd_close(&pair->a.fd);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_OK);
    assert_int_equal(pair->frames, 1);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_CLOSED);
}

static void peer_that_dies_with_unread_input_is_still_heard(void **state)
{
    struct pair *pair = *state;

    assert_int_equal(send_text(&pair->a, 1, "will"), ST_OK);
    assert_int_equal(send_text(&pair->b, 1, "never read"), ST_OK);
    fd_close(&pair->a.fd);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_OK);
    assert_int_equal(pair->frames, 1);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_CLOSED);
}

static void half_a_frame_before_the_end_is_no_frame(void **state)
{
    struct pair *pair = *state;
    uint8_t header[FRAME_HEADER_LEN];

    frame_header(FRAME_RESULT, 0, 8, 2, header);
    assert_int_equal(write(pair->a.fd, header, sizeof(header)), sizeof(header));
    fd_close(&pair->a.fd);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_OK);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_CLOSED);
    assert_int_equal(pair->frames, 0);
}

static void garbage_is_a_protocol_error(void **state)
{
    struct pair *pair = *state;

    assert_int_equal(write(pair->a.fd, "HTTP/1.1 200 OK\r\n\r\n", 19), 19);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_PROTOCOL);
}

static void frame_above_the_limit_is_refused_before_it_is_read(void **state)
{
    struct pair *pair = *state;
    uint8_t header[FRAME_HEADER_LEN];

    frame_header(FRAME_RESULT, 0, 8, FRAME_MAX + 1, header);
    assert_int_equal(write(pair->a.fd, header, sizeof(header)), sizeof(header));
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_PROTOCOL);
}

static void callback_that_fails_stops_the_reading(void **state)
{
    struct pair *pair = *state;

    pair->answer = ST_INVALID;
    assert_int_equal(send_text(&pair->a, 1, "a"), ST_OK);
    assert_int_equal(send_text(&pair->a, 2, "b"), ST_OK);
    assert_int_equal(channel_read(&pair->b, on_frame, pair), ST_INVALID);
    assert_int_equal(pair->frames, 1);
}

static void sending_to_a_closed_peer_is_told_and_leaves_nothing_to_write(void **state)
{
    struct pair *pair = *state;
    struct buf big = BUF_INIT;
    struct text part;

    while (big.len < FRAME_MAX - 20)
        buf_add_u64(&big, big.len);
    part = buf_text(&big);
    assert_int_equal(channel_send(&pair->a, FRAME_RESULT, 0, 1, &part, 1), ST_OK);
    fd_close(&pair->b.fd);
    assert_int_equal(channel_flush(&pair->a), ST_CLOSED);
    assert_false(channel_wants_write(&pair->a));
    assert_int_equal(send_text(&pair->a, 2, "x"), ST_CLOSED);
    buf_clear(&big);
}

static void queueing_without_memory_is_told(void **state)
{
    struct pair *pair = *state;
    struct buf big = BUF_INIT;
    struct text part;

    while (big.len < FRAME_MAX - 20)
        buf_add_u64(&big, big.len);
    part = buf_text(&big);
    mem_fail_at(1, 1);
    assert_int_equal(channel_send(&pair->a, FRAME_RESULT, 0, 1, &part, 1), ST_NO_MEMORY);
    mem_fail_at(0, 0);
    buf_clear(&big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(frame_of_many_parts_arrives_as_one),
        CASE(frames_in_one_read_are_handed_out_in_order),
        CASE(frame_that_comes_byte_by_byte_is_put_together),
        CASE(large_frame_waits_in_the_queue_and_arrives_whole),
        CASE(queue_that_is_never_empty_does_not_grow),
        CASE(end_of_file_comes_after_what_was_written),
        CASE(peer_that_dies_with_unread_input_is_still_heard),
        CASE(half_a_frame_before_the_end_is_no_frame),
        CASE(garbage_is_a_protocol_error),
        CASE(frame_above_the_limit_is_refused_before_it_is_read),
        CASE(callback_that_fails_stops_the_reading),
        CASE(sending_to_a_closed_peer_is_told_and_leaves_nothing_to_write),
        CASE(queueing_without_memory_is_told),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
