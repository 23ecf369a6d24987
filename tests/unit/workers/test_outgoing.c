/* SPDX-License-Identifier: MIT */
#include "common/clock.h"
#include "common/fd.h"
#include "common/mem.h"
#include "workers/outgoing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_NS (10 * NS_PER_SEC)

struct rig {
    struct outgoing out;
    int fds[2]; /* out writes to [0] */
};

static int setup(void **state)
{
    struct rig *rig = mem_zalloc(sizeof(*rig));

    assert_non_null(rig);
    assert_int_equal(fd_socket_pair(SOCK_STREAM, rig->fds), ST_OK);
    outgoing_init(&rig->out, rig->fds[0]);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    outgoing_clear(&rig->out);
    fd_close(&rig->fds[0]);
    fd_close(&rig->fds[1]);
    mem_free(rig);
    return 0;
}

static void add(struct rig *rig, uint64_t id, struct text text)
{
    assert_int_equal(
        outgoing_add(&rig->out, FRAME_RESULT, FRAME_LAST, id, "head", 4, text), ST_OK);
}

/* Reads one whole frame. */
static void expect_frame(struct rig *rig, uint64_t id, struct text text)
{
    size_t len = FRAME_HEADER_LEN + 4 + text.len, have = 0, used;
    char *bytes = mem_alloc(len);
    struct frame frame;

    assert_non_null(bytes);
    while (have < len) {
        ssize_t n = recv(rig->fds[1], bytes + have, len - have, 0);

        if (n == -1 && errno == EINTR)
            continue;
        assert_true(n > 0);
        have += (size_t)n;
    }
    assert_int_equal(frame_parse(bytes, len, &frame, &used), FRAME_OK);
    assert_int_equal(used, len);
    assert_int_equal(frame.chunk_id, id);
    assert_memory_equal(frame.payload.at + 4, text.at, text.len);
    mem_free(bytes);
}

static void assert_nothing_sent(struct rig *rig)
{
    char byte;

    assert_int_equal(recv(rig->fds[1], &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    assert_int_equal(errno, EAGAIN);
}

static void frames_gather_until_they_are_flushed(void **state)
{
    struct rig *rig = *state;

    add(rig, 1, TEXT("one"));
    add(rig, 2, TEXT("two"));
    assert_nothing_sent(rig);
    assert_int_equal(outgoing_flush(&rig->out), ST_OK);
    expect_frame(rig, 1, TEXT("one"));
    expect_frame(rig, 2, TEXT("two"));
    assert_nothing_sent(rig);
}

/* Burns time as a task would, without a system call, until the other end has bytes. */
static void held_frames_leave_while_the_process_is_busy(void **state)
{
    struct rig *rig = *state;
    uint64_t end = clock_mono_ns() + PATIENCE_NS;
    volatile size_t *sent = &rig->out.sent;

    add(rig, 7, TEXT("done"));
    outgoing_hold(&rig->out);
    while (*sent == 0)
        assert_true(clock_mono_ns() < end);
    expect_frame(rig, 7, TEXT("done"));
    /* What was sent by the signal is not sent again. */
    add(rig, 8, TEXT("next"));
    assert_int_equal(outgoing_flush(&rig->out), ST_OK);
    expect_frame(rig, 8, TEXT("next"));
    assert_nothing_sent(rig);
}

static void frame_without_room_goes_behind_what_has_gathered(void **state)
{
    struct rig *rig = *state;
    static char large[OUTGOING_CAP];

    memset(large, 'x', sizeof(large));
    add(rig, 1, TEXT("small"));
    add(rig, 2, (struct text){ large, sizeof(large) });
    expect_frame(rig, 1, TEXT("small"));
    expect_frame(rig, 2, (struct text){ large, sizeof(large) });
}

static void *read_all(void *data)
{
    struct rig *rig = data;

    for (uint64_t id = 0; id < 20000; id++)
        expect_frame(rig, id, TEXT("0123456789"));
    return NULL;
}

/* The signal fires all the time, in the middle of adds and flushes: no frame is cut, lost or
 * doubled. */
static void frames_stay_whole_whenever_the_signal_comes(void **state)
{
    struct rig *rig = *state;
    pthread_t reader;

    assert_int_equal(pthread_create(&reader, NULL, read_all, rig), 0);
    for (uint64_t id = 0; id < 20000; id++) {
        add(rig, id, TEXT("0123456789"));
        if (id % 7 == 0)
            outgoing_hold(&rig->out);
        if (id % 13 == 0)
            assert_int_equal(raise(OUTGOING_SIGNAL), 0);
        if (id % 31 == 0)
            assert_int_equal(outgoing_flush(&rig->out), ST_OK);
    }
    assert_int_equal(outgoing_flush(&rig->out), ST_OK);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_nothing_sent(rig);
}

static void offer(struct rig *rig, uint64_t id, struct text text)
{
    outgoing_offer(&rig->out, FRAME_PROGRESS, id, "head", 4, text);
}

static void first_offer_leaves_at_once_behind_what_has_gathered(void **state)
{
    struct rig *rig = *state;

    add(rig, 1, TEXT("done"));
    offer(rig, 2, TEXT("half"));
    expect_frame(rig, 1, TEXT("done"));
    expect_frame(rig, 2, TEXT("half"));
}

/* What is offered in between is replaced; the last of it leaves although the process does
 * nothing for it. */
static void of_many_offers_the_latest_leaves_when_its_time_has_come(void **state)
{
    struct rig *rig = *state;
    uint64_t began_ns = clock_mono_ns();

    for (uint64_t id = 1; id <= 1000; id++)
        offer(rig, id, TEXT("more"));
    expect_frame(rig, 1, TEXT("more"));
    expect_frame(rig, 1000, TEXT("more"));
    /* The coarse clock may be a tick, at most 10 ms, behind. */
    assert_true(clock_mono_ns() - began_ns >= OUTGOING_OFFER_NS - 10 * NS_PER_MS);
    assert_nothing_sent(rig);
}

static void what_is_withdrawn_does_not_leave(void **state)
{
    struct rig *rig = *state;

    offer(rig, 1, TEXT("first"));
    offer(rig, 2, TEXT("second"));
    outgoing_withdraw(&rig->out);
    add(rig, 3, TEXT("done"));
    assert_int_equal(outgoing_flush(&rig->out), ST_OK);
    expect_frame(rig, 1, TEXT("first"));
    expect_frame(rig, 3, TEXT("done"));
    outgoing_withdraw(&rig->out);
    assert_nothing_sent(rig);
}

/* The timer was set for an offer: what is held does not wait as long. */
static void held_frames_do_not_wait_for_the_time_of_an_offer(void **state)
{
    struct rig *rig = *state;
    bool quick = false;

    /* A busy machine may be in the way now and then, but not each time. */
    for (int i = 0; i < 20 && !quick; i++) {
        uint64_t began_ns = clock_mono_ns();

        offer(rig, 1, TEXT("first"));
        offer(rig, 2, TEXT("second"));
        outgoing_withdraw(&rig->out);
        add(rig, 3, TEXT("done"));
        outgoing_hold(&rig->out);
        expect_frame(rig, 1, TEXT("first"));
        expect_frame(rig, 3, TEXT("done"));
        quick = clock_mono_ns() - began_ns < OUTGOING_OFFER_NS;
    }
    assert_true(quick);
}

/* Fills the socket; returns how many bytes that took. */
static size_t fill(struct rig *rig)
{
    static const char bytes[4096];
    size_t filled = 0;
    ssize_t n;

    while ((n = send(rig->fds[0], bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        filled += (size_t)n;
    return filled;
}

static void drain(struct rig *rig, size_t len)
{
    while (len > 0) {
        char bytes[4096];
        ssize_t n =
            recv(rig->fds[1], bytes, len < sizeof(bytes) ? len : sizeof(bytes), 0);

        assert_true(n > 0 || errno == EINTR);
        len -= n > 0 ? (size_t)n : 0;
    }
}

/* Nor are they cut when the server reads again. */
static void offers_never_wait_for_the_socket(void **state)
{
    struct rig *rig = *state;
    size_t filled = fill(rig);

    for (uint64_t id = 1; id <= 1000; id++)
        offer(rig, id, TEXT("more"));
    drain(rig, filled);
    expect_frame(rig, 1, TEXT("more"));
    expect_frame(rig, 1000, TEXT("more"));
    assert_nothing_sent(rig);
}

static void *count_offers(void *data)
{
    struct rig *rig = data;
    static char bytes[1 << 16];
    size_t have = 0, used;
    struct frame frame = { 0 };

    while (frame.kind != FRAME_RESULT) {
        ssize_t n = recv(rig->fds[1], bytes + have, sizeof(bytes) - have, 0);
        size_t at = 0;

        if (n == -1 && errno == EINTR)
            continue;
        assert_true(n > 0);
        have += (size_t)n;
        while (frame_parse(bytes + at, have - at, &frame, &used) == FRAME_OK)
            at += used;
        memmove(bytes, bytes + at, have - at);
        have -= at;
    }
    assert_int_equal(have, 0);
    return NULL;
}

static void offers_stay_whole_whenever_the_signal_comes(void **state)
{
    struct rig *rig = *state;
    pthread_t reader;

    assert_int_equal(pthread_create(&reader, NULL, count_offers, rig), 0);
    for (uint64_t id = 0; id < 20000; id++) {
        rig->out.offer_ns = 0; /* its time has come */
        offer(rig, id, TEXT("0123456789"));
        if (id % 13 == 0)
            assert_int_equal(raise(OUTGOING_SIGNAL), 0);
    }
    outgoing_withdraw(&rig->out);
    add(rig, 20000, TEXT("done"));
    assert_int_equal(outgoing_flush(&rig->out), ST_OK);
    assert_int_equal(pthread_join(reader, NULL), 0);
}

static void server_that_has_gone_is_told(void **state)
{
    struct rig *rig = *state;

    fd_close(&rig->fds[1]);
    add(rig, 1, TEXT("x"));
    assert_int_equal(outgoing_flush(&rig->out), ST_CLOSED);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(frames_gather_until_they_are_flushed),
        CASE(held_frames_leave_while_the_process_is_busy),
        CASE(frame_without_room_goes_behind_what_has_gathered),
        CASE(frames_stay_whole_whenever_the_signal_comes),
        CASE(first_offer_leaves_at_once_behind_what_has_gathered),
        CASE(of_many_offers_the_latest_leaves_when_its_time_has_come),
        CASE(what_is_withdrawn_does_not_leave),
        CASE(held_frames_do_not_wait_for_the_time_of_an_offer),
        CASE(offers_never_wait_for_the_socket),
        CASE(offers_stay_whole_whenever_the_signal_comes),
        CASE(server_that_has_gone_is_told),
    };

    return cmocka_run_group_tests_name("outgoing", tests, NULL, NULL);
}
