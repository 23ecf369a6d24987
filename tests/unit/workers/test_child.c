/* SPDX-License-Identifier: MIT */
/* child_main runs in a thread; the test is the server at the other end of the socket. */
#include "workers/child.h"

#include "common/clock.h"
#include "common/fd.h"
#include "workers/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define RESULT_MAX 1000

struct rig {
    struct channel server;
    int sock; /* the child's */
    struct worker_page page;
    pthread_t thread;
    bool joined;
    int exit_code;
    struct frame_ready ready;
    struct buf log;   /* what has come, see on_frame */
    unsigned results; /* RESULT frames */
    uint64_t run_ns;  /* their run times together */
    bool last;
};

static void *run_child(void *data)
{
    struct rig *rig = data;
    struct worker_options options = { .result_max = RESULT_MAX };

    rig->exit_code = child_main(rig->sock, &rig->page, &options);
    fd_close(&rig->sock);
    return NULL;
}

/* One entry per frame, a full stop behind the last of a chunk: "0+2:1,4 F2/0:{...}
 * 3+1:16." */
static enum status on_frame(void *data, const struct frame *frame)
{
    struct rig *rig = data;
    struct frame_result result;
    struct frame_failure failure;
    struct frame_progress progress;

    switch (frame->kind) {
    case FRAME_READY:
        assert_int_equal(frame_ready_parse(frame->payload, &rig->ready), FRAME_OK);
        break;
    case FRAME_RESULT:
        assert_int_equal(frame_result_parse(frame->payload, &result), FRAME_OK);
        buf_addf(&rig->log, "%llu+%u:", (unsigned long long)result.first, result.count);
        buf_add_text(&rig->log, result.results);
        rig->results++;
        rig->run_ns += result.run_ns;
        break;
    case FRAME_FAILURE:
        assert_int_equal(frame_failure_parse(frame->payload, &failure), FRAME_OK);
        buf_addf(&rig->log, "F%llu/%d:", (unsigned long long)failure.item, failure.kind);
        buf_add_text(&rig->log, failure.exception);
        break;
    case FRAME_PROGRESS:
        assert_int_equal(frame_progress_parse(frame->payload, &progress), FRAME_OK);
        buf_addf(&rig->log, "P%llu:%llu/%llu", (unsigned long long)progress.item,
                 (unsigned long long)progress.current,
                 (unsigned long long)progress.total);
        break;
    default:
        fail_msg("unexpected frame kind %d", frame->kind);
    }
    rig->last = (frame->flags & FRAME_LAST) != 0;
    buf_add_str(&rig->log, rig->last ? "." : " ");
    return ST_OK;
}

static enum status read_more(struct rig *rig)
{
    struct pollfd readable = { .fd = rig->server.fd, .events = POLLIN };

    assert_int_equal(poll(&readable, 1, 20000), 1);
    return channel_read(&rig->server, on_frame, rig);
}

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    int fds[2];

    if (!rig || fd_socket_pair(SOCK_STREAM, fds) != ST_OK)
        return -1;
    channel_init(&rig->server, fds[0], FRAME_PAYLOAD_MAX);
    rig->sock = fds[1];
    *state = rig;
    if (pthread_create(&rig->thread, NULL, run_child, rig) != 0)
        return -1;
    while (rig->ready.version == 0) {
        if (read_more(rig) != ST_OK)
            return -1;
    }
    buf_reset(&rig->log);
    return 0;
}

/* Ends the child and returns its exit code. */
static int join(struct rig *rig)
{
    if (!rig->joined) {
        shutdown(rig->server.fd, SHUT_WR);
        pthread_join(rig->thread, NULL);
        rig->joined = true;
    }
    return rig->exit_code;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    join(rig);
    channel_clear(&rig->server);
    buf_clear(&rig->log);
    free(rig);
    return 0;
}

static void send_chunk(struct rig *rig, uint64_t id, uint8_t flags, const char *task,
                       enum call_style style, uint64_t first, uint32_t count,
                       const char *items)
{
    struct frame_chunk chunk = {
        .first = first,
        .count = count,
        .style = style,
        .task = { task, strlen(task) },
        .items = { items, strlen(items) },
    };
    uint8_t head[FRAME_CHUNK_HEAD_LEN];
    struct text parts[3] = { { (const char *)head, sizeof(head) } };

    parts[1] = chunk.task;
    parts[2] = chunk.items;
    frame_chunk_head(&chunk, head);
    assert_int_equal(channel_send(&rig->server, FRAME_CHUNK, flags, id, parts, 3), ST_OK);
    while (channel_wants_write(&rig->server))
        assert_int_equal(channel_flush(&rig->server), ST_OK);
}

static const char *answer(struct rig *rig)
{
    rig->last = false;
    while (!rig->last)
        assert_int_equal(read_more(rig), ST_OK);
    return rig->log.data;
}

static const char *run(struct rig *rig, const char *task, enum call_style style,
                       uint64_t first, uint32_t count, const char *items)
{
    page_offer(&rig->page, 1);
    send_chunk(rig, 1, 0, task, style, first, count, items);
    return answer(rig);
}

static void child_says_what_it_is_before_anything_else(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(rig->ready.version, FRAME_VERSION);
    assert_int_equal(rig->ready.pid, getpid());
}

static void child_ends_well_when_the_server_closes(void **state)
{
    assert_int_equal(join(*state), EXIT_SUCCESS);
}

static void map_gives_each_item_as_the_one_argument(void **state)
{
    assert_string_equal(run(*state, "square", CALL_MAP, 7, 3, "2,3 , 4"), "7+3:4,9,16.");
}

static void starmap_spreads_each_item(void **state)
{
    assert_string_equal(run(*state, "power", CALL_STARMAP, 0, 2, "[2,3],[3,2]"),
                        "0+2:8,9.");
}

static void apply_takes_its_array_as_arguments(void **state)
{
    assert_string_equal(run(*state, "power", CALL_APPLY, 0, 1, "[2,5]"), "0+1:32.");
}

static void map_does_not_spread_an_array(void **state)
{
    assert_string_equal(run(*state, "echo", CALL_MAP, 0, 1, "[1, 2]"), "0+1:[1, 2].");
}

static void failure_in_the_middle_keeps_the_order(void **state)
{
    const char *log = run(*state, "safe_square", CALL_MAP, 10, 4, "1,2,-3,4");

    assert_ptr_equal(strstr(log, "10+2:1,4 F12/0:{\"type\":\"ValueError\","), log);
    assert_non_null(strstr(log, "} 13+1:16."));
}

static void failure_at_the_end_is_the_last_frame(void **state)
{
    const char *log = run(*state, "safe_square", CALL_MAP, 0, 2, "1,-1");

    assert_ptr_equal(strstr(log, "0+1:1 F1/0:{\"type\":\"ValueError\","), log);
    assert_int_equal(log[strlen(log) - 1], '.');
}

static void starmap_item_that_is_no_array_is_a_type_error(void **state)
{
    const char *log = run(*state, "power", CALL_STARMAP, 0, 2, "5,[2,2]");

    assert_ptr_equal(strstr(log, "F0/0:{\"type\":\"TypeError\","), log);
    assert_non_null(strstr(log, " 1+1:4."));
}

static void unknown_task_fails_every_item(void **state)
{
    const char *log = run(*state, "no.such.task", CALL_MAP, 0, 2, "1,2");

    assert_ptr_equal(strstr(log, "F0/0:{\"type\":\"LookupError\","), log);
    assert_non_null(strstr(log, " F1/0:{\"type\":\"LookupError\","));
}

static void result_at_the_limit_passes_and_above_it_fails_alone(void **state)
{
    char items[3 * (RESULT_MAX + 8)] = { 0 }, text[RESULT_MAX];
    const char *log;

    memset(text, 'x', sizeof(text));
    snprintf(items, sizeof(items), "1,\"%.*s\",\"%.*s\",2", RESULT_MAX - 2, text,
             RESULT_MAX - 1, text);
    log = run(*state, "echo", CALL_MAP, 0, 4, items);
    assert_ptr_equal(strstr(log, "0+2:1,\"xxx"), log);
    assert_non_null(strstr(log, "x\" F2/1:{\"type\":\"ResultTooLarge\","));
    assert_non_null(strstr(log, "} 3+1:2."));
}

static void revoked_chunk_is_skipped_in_silence(void **state)
{
    struct rig *rig = *state;

    page_offer(&rig->page, 1);
    page_offer(&rig->page, 2);
    assert_true(page_revoke(&rig->page, 1));
    send_chunk(rig, 1, 0, "square", CALL_MAP, 0, 1, "2");
    send_chunk(rig, 2, 0, "square", CALL_MAP, 5, 1, "3");
    assert_string_equal(answer(rig), "5+1:9.");
    assert_int_equal(page_claim_state(&rig->page, 1), CLAIM_REVOKED);
    assert_int_equal(page_claim_state(&rig->page, 2), CLAIM_CLAIMED);
}

static void page_tells_the_item_and_its_start_only_when_asked(void **state)
{
    struct rig *rig = *state;
    uint64_t before = clock_mono_ns();

    run(rig, "square", CALL_MAP, 40, 3, "1,2,3");
    assert_int_equal(rig->page.item, 42);
    assert_int_equal(rig->page.item_chunk, 1);
    assert_int_equal(rig->page.item_started_ns, 0);
    page_offer(&rig->page, 2);
    send_chunk(rig, 2, FRAME_TIMED, "sleep", CALL_MAP, 50, 1, "0.05");
    while (rig->page.item_started_ns == 0)
        ;
    assert_true(rig->page.item_started_ns >= before);
    assert_true(rig->page.item_started_ns <= clock_mono_ns());
    answer(rig);
    assert_int_equal(rig->page.item, 50);
    assert_int_equal(rig->page.item_chunk, 2);
    assert_int_equal(rig->page.item_started_ns, 0); /* no item, no limit */
}

static void slow_items_are_sent_one_by_one(void **state)
{
    struct rig *rig = *state;

    assert_string_equal(run(rig, "sleep", CALL_MAP, 0, 2, "0.05,0.05"),
                        "0+1:null 1+1:null.");
    assert_true(rig->run_ns >= 100 * NS_PER_MS);
}

static void many_results_are_sent_in_pieces_in_order(void **state)
{
    enum { COUNT = 1200 };
    struct rig *rig = *state;
    struct buf items = BUF_INIT;
    const char *at;

    /* 1200 results of 900 bytes: more than four times what is gathered at most. */
    for (int i = 0; i < COUNT; i++)
        buf_addf(&items, "%s\"%0898d\"", i ? "," : "", i);
    at = run(rig, "echo", CALL_MAP, 0, COUNT, items.data);
    assert_in_range(rig->results, 5, COUNT);
    for (int i = 0; i < COUNT; i++) {
        char want[16];

        snprintf(want, sizeof(want), "%04d\"", i);
        at = strstr(at, want);
        assert_non_null(at);
    }
    buf_clear(&items);
}

/* 2^26 of its steps are one report. */
static void task_that_runs_long_says_how_far_it_is_before_its_result(void **state)
{
    struct rig *rig = *state;

    assert_string_equal(run(rig, "cpu_bound", CALL_MAP, 5, 3, "3,67108865,3"),
                        "P6:67108864/67108865 5+2:5,100743820553018922762240 7+1:5.");
}

static void frame_of_a_wrong_kind_ends_the_child_badly(void **state)
{
    struct rig *rig = *state;
    struct text none = { 0 };

    assert_int_equal(channel_send(&rig->server, FRAME_RESULT, 0, 1, &none, 1), ST_OK);
    assert_int_equal(join(rig), EXIT_FAILURE);
}

static void chunk_with_too_few_items_ends_the_child_badly(void **state)
{
    struct rig *rig = *state;

    page_offer(&rig->page, 1);
    send_chunk(rig, 1, 0, "square", CALL_MAP, 0, 3, "1,2");
    assert_int_equal(join(rig), EXIT_FAILURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(child_says_what_it_is_before_anything_else),
        CASE(child_ends_well_when_the_server_closes),
        CASE(map_gives_each_item_as_the_one_argument),
        CASE(starmap_spreads_each_item),
        CASE(apply_takes_its_array_as_arguments),
        CASE(map_does_not_spread_an_array),
        CASE(failure_in_the_middle_keeps_the_order),
        CASE(failure_at_the_end_is_the_last_frame),
        CASE(starmap_item_that_is_no_array_is_a_type_error),
        CASE(unknown_task_fails_every_item),
        CASE(result_at_the_limit_passes_and_above_it_fails_alone),
        CASE(revoked_chunk_is_skipped_in_silence),
        CASE(page_tells_the_item_and_its_start_only_when_asked),
        CASE(slow_items_are_sent_one_by_one),
        CASE(many_results_are_sent_in_pieces_in_order),
        CASE(task_that_runs_long_says_how_far_it_is_before_its_result),
        CASE(frame_of_a_wrong_kind_ends_the_child_badly),
        CASE(chunk_with_too_few_items_ends_the_child_badly),
    };

    return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
