/* SPDX-License-Identifier: MIT */
#include "server/event_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define JOB "01900000-0000-7000-8000-00000000002a"

static struct event sample(void)
{
    struct event event = { .id = 17,
                           .kind = EVENT_FAILED,
                           .owner = UINT64_MAX,
                           .state = JOB_FAILED,
                           .total = 9,
                           .completed = 4,
                           .failed = 5 };

    assert_true(uuid_parse(JOB, strlen(JOB), &event.job));
    return event;
}

static void an_event_is_a_line_that_people_can_read(void **state)
{
    struct event event = sample();
    struct buf out = BUF_INIT;

    (void)state;
    event_run_add(&out, &event);
    assert_string_equal(out.data,
                        "17 job.failed " JOB " failed 9 4 5 18446744073709551615\n");
    buf_clear(&out);
}

static void all_events_come_back_in_their_order(void **state)
{
    struct event event = sample(), got;
    struct buf out = BUF_INIT;
    struct text rest;
    uint64_t id = 0;

    (void)state;
    for (event.id = 1; event.id <= 100; event.id++) {
        event.kind = (enum event_kind)(event.id % EVENT_KIND_COUNT);
        event.state = (enum job_state)(event.id % JOB_STATE_COUNT);
        event_run_add(&out, &event);
    }
    rest = buf_text(&out);
    while (event_run_next(&rest, &got)) {
        assert_int_equal(got.id, ++id);
        assert_int_equal(got.kind, id % EVENT_KIND_COUNT);
        assert_int_equal(got.state, id % JOB_STATE_COUNT);
        assert_true(uuid_equal(got.job, event.job));
        assert_int_equal(got.total, 9);
        assert_int_equal(got.completed, 4);
        assert_int_equal(got.failed, 5);
        assert_true(got.owner == UINT64_MAX);
        assert_null(got.said);
    }
    assert_int_equal(id, 100);
    buf_clear(&out);
}

static void a_damaged_line_is_left_out(void **state)
{
    static const char *const damaged[] = {
        "\n",
        "17\n",
        "x7 job.failed " JOB " failed 9 4 5 0\n",
        " job.failed " JOB " failed 9 4 5 0\n",
        "-1 job.failed " JOB " failed 9 4 5 0\n",
        "18446744073709551616 job.failed " JOB " failed 9 4 5 0\n",
        "17 job.danced " JOB " failed 9 4 5 0\n",
        "17 job.failed 0190 failed 9 4 5 0\n",
        "17 job.failed " JOB " dancing 9 4 5 0\n",
        "17 job.failed " JOB " failed 9 4 0\n",
        "17 job.failed " JOB " failed 9 4 5 0 0\n",
        "17  job.failed " JOB " failed 9 4 5 0\n",
    };
    struct event got;

    (void)state;
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        struct buf out = BUF_INIT;
        struct text rest;

        buf_add_str(&out, damaged[i]);
        buf_add_str(&out, "18 job.created " JOB " queued 1 0 0 0\n");
        buf_add_str(&out, "19 job.created " JOB " queued 1 0 0 0"); /* cut */
        rest = buf_text(&out);
        assert_true(event_run_next(&rest, &got));
        assert_int_equal(got.id, 18);
        assert_false(event_run_next(&rest, &got));
        buf_clear(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_a_line_that_people_can_read),
        cmocka_unit_test(all_events_come_back_in_their_order),
        cmocka_unit_test(a_damaged_line_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
