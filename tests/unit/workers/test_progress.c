/* SPDX-License-Identifier: MIT */
#include "workers/progress.h"

#include "common/fd.h"
#include "workers/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/socket.h>

struct rig {
    struct outgoing out;
    struct progress progress;
    int fds[2];
    char bytes[1024];
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    if (!rig || fd_socket_pair(SOCK_STREAM, rig->fds) != ST_OK)
        return -1;
    outgoing_init(&rig->out, rig->fds[0]);
    rig->progress = (struct progress){ .out = &rig->out, .chunk_id = 9, .item = 3 };
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    outgoing_clear(&rig->out);
    fd_close(&rig->fds[0]);
    fd_close(&rig->fds[1]);
    free(rig);
    return 0;
}

/* What has come of the only report so far. */
static struct frame_progress told(struct rig *rig)
{
    struct frame_progress progress = { 0 };
    struct frame frame = { 0 };
    ssize_t n = recv(rig->fds[1], rig->bytes, sizeof(rig->bytes), MSG_DONTWAIT);
    size_t used;

    assert_true(n > 0);
    assert_int_equal(frame_parse(rig->bytes, (size_t)n, &frame, &used), FRAME_OK);
    assert_int_equal(used, n);
    assert_int_equal(frame.kind, FRAME_PROGRESS);
    assert_int_equal(frame.flags, 0);
    assert_int_equal(frame.chunk_id, 9);
    assert_int_equal(frame_progress_parse(frame.payload, &progress), FRAME_OK);
    return progress;
}

static void a_report_names_its_item(void **state)
{
    struct rig *rig = *state;
    struct frame_progress progress;

    progress_tell(&rig->progress, 40, 100, "numbers tested");
    progress = told(rig);
    assert_int_equal(progress.item, 3);
    assert_int_equal(progress.current, 40);
    assert_int_equal(progress.total, 100);
    assert_true(text_equals(progress.message, "numbers tested"));
}

static void a_report_needs_no_message_and_no_total(void **state)
{
    struct rig *rig = *state;
    struct frame_progress progress;

    progress_tell(&rig->progress, 40, 0, NULL);
    progress = told(rig);
    assert_int_equal(progress.total, 0);
    assert_int_equal(progress.message.len, 0);
}

static void a_message_at_the_limit_is_whole(void **state)
{
    struct rig *rig = *state;
    char message[PROGRESS_MESSAGE_MAX + 1] = { 0 };

    memset(message, 'x', PROGRESS_MESSAGE_MAX);
    progress_tell(&rig->progress, 1, 2, message);
    assert_int_equal(told(rig).message.len, PROGRESS_MESSAGE_MAX);
}

static void a_longer_message_is_cut_between_characters(void **state)
{
    struct rig *rig = *state;
    char message[PROGRESS_MESSAGE_MAX + 10] = { 0 };
    struct text kept;

    /* The limit is inside of the four bytes. */
    memset(message, 'x', PROGRESS_MESSAGE_MAX - 2);
    memcpy(message + PROGRESS_MESSAGE_MAX - 2, "\xf0\x9f\x90\x8c!!", 6);
    progress_tell(&rig->progress, 1, 2, message);
    kept = told(rig).message;
    assert_int_equal(kept.len, PROGRESS_MESSAGE_MAX - 2);
    assert_int_equal(kept.at[kept.len - 1], 'x');
}

static void a_report_whose_item_has_ended_is_dropped(void **state)
{
    struct rig *rig = *state;

    progress_tell(&rig->progress, 1, 2, NULL);
    (void)told(rig);
    progress_tell(&rig->progress, 2, 2, NULL);
    progress_end(&rig->progress);
    assert_int_equal(outgoing_flush(&rig->out), ST_OK);
    assert_int_equal(recv(rig->fds[1], rig->bytes, 1, MSG_DONTWAIT), -1);
}

static void run_reporting(struct task_call *call)
{
    call_progress(call, 7, 8, "nearly");
}

static const struct task reporting = {
    .name = "reporting", .summary = "s", .signature = "reporting()", .run = run_reporting
};

static void a_call_reports_to_whoever_wants_to_know(void **state)
{
    struct rig *rig = *state;
    struct text none = { NULL, 0 };
    struct buf out = BUF_INIT;
    struct task_call call;

    task_run(&call, &reporting, none, false, none, &out, &rig->progress);
    task_call_clear(&call);
    assert_true(text_equals(told(rig).message, "nearly"));
    buf_reset(&out);
    task_run(&call, &reporting, none, false, none, &out, NULL);
    task_call_clear(&call);
    assert_string_equal(out.data, "null");
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(a_report_names_its_item),
        CASE(a_report_needs_no_message_and_no_total),
        CASE(a_message_at_the_limit_is_whole),
        CASE(a_longer_message_is_cut_between_characters),
        CASE(a_report_whose_item_has_ended_is_dropped),
        CASE(a_call_reports_to_whoever_wants_to_know),
    };

    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
