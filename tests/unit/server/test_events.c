/* SPDX-License-Identifier: MIT */
#include "server/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW_MS   1700000000000
#define FIRST_ID ((uint64_t)NOW_MS * 1000 + 1)

struct rig {
    uv_loop_t loop;
    struct events *events;
    struct event_reader *reader;
    size_t count;
    unsigned wakes;
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    if (!rig || uv_loop_init(&rig->loop) != 0)
        return -1;
    rig->events = events_new(&rig->loop, NOW_MS);
    *state = rig;
    return rig->events ? 0 : -1;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    event_reader_close(rig->reader);
    assert_int_equal(rig->count, 0);
    events_free(rig->events);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    free(rig);
    return 0;
}

static struct uuid job_of(uint8_t number)
{
    return (struct uuid){ { number } };
}

static void on_wake(void *data)
{
    ((struct rig *)data)->wakes++;
}

static uint64_t add(struct rig *rig, uint8_t job, enum event_kind kind, bool told)
{
    struct event event = { .kind = kind,
                           .job = job_of(job),
                           .state =
                               kind == EVENT_SUCCEEDED ? JOB_SUCCEEDED : JOB_RUNNING };

    return events_add(rig->events, &event, told);
}

static void open_reader(struct rig *rig, struct event_from from)
{
    event_reader_close(rig->reader);
    rig->reader = event_reader_open(rig->events, &from, &rig->count, on_wake, rig);
    assert_non_null(rig->reader);
    assert_int_equal(rig->count, 1);
}

static void assert_reads(struct rig *rig, uint64_t id)
{
    const struct event *event = NULL;

    assert_int_equal(event_reader_next(rig->reader, &event), EVENT_READ);
    assert_int_equal(event->id, id);
}

static void assert_reads_nothing(struct rig *rig, enum event_read how)
{
    const struct event *event;

    assert_int_equal(event_reader_next(rig->reader, &event), how);
}

static void ids_rise_from_the_time_of_the_start(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(add(rig, 1, EVENT_CREATED, true), FIRST_ID);
    assert_int_equal(add(rig, 1, EVENT_STARTED, true), FIRST_ID + 1);
    assert_int_equal(events_newest(rig->events), FIRST_ID + 1);
}

static void a_reader_gets_what_happens_from_then_on(void **state)
{
    struct rig *rig = *state;
    uint64_t id;

    add(rig, 1, EVENT_CREATED, true);
    open_reader(rig, (struct event_from){ 0 });
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    id = add(rig, 1, EVENT_STARTED, true);
    assert_int_equal(rig->wakes, 1);
    add(rig, 1, EVENT_SUCCEEDED, true);
    assert_int_equal(rig->wakes, 1); /* once, until it waits again */
    assert_reads(rig, id);
    assert_reads(rig, id + 1);
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
}

static void a_reader_of_a_job_gets_its_events_only(void **state)
{
    struct rig *rig = *state;
    struct uuid two = job_of(2);
    uint64_t id = add(rig, 2, EVENT_CREATED, true);

    add(rig, 1, EVENT_CREATED, true);
    open_reader(rig, (struct event_from){ .job = &two });
    assert_false(event_reader_sees_end(rig->reader));
    assert_reads(rig, id);
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    add(rig, 1, EVENT_SUCCEEDED, true);
    assert_int_equal(rig->wakes, 0);
    id = add(rig, 2, EVENT_SUCCEEDED, true);
    assert_int_equal(rig->wakes, 1);
    assert_true(event_reader_sees_end(rig->reader));
    assert_reads(rig, id);
    assert_false(event_reader_sees_end(rig->reader));
}

/* Neither do they wake him, nor does it cut him off that they are many. */
static void a_reader_of_an_owner_gets_events_of_his_jobs_only(void **state)
{
    struct rig *rig = *state;
    struct event his = { .kind = EVENT_CREATED, .job = job_of(1), .owner = 7 };
    struct event other = { .kind = EVENT_CREATED, .job = job_of(2), .owner = 8 };
    uint64_t id;

    open_reader(rig, (struct event_from){ .owner = 7 });
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    for (int i = 0; i < EVENTS_KEPT + 2; i++)
        events_add(rig->events, &other, true);
    assert_int_equal(rig->wakes, 0);
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    id = events_add(rig->events, &his, true);
    assert_int_equal(rig->wakes, 1);
    assert_reads(rig, id);
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
}

static void an_event_is_told_after_its_commit_and_others_wait_behind_it(void **state)
{
    struct rig *rig = *state;
    uint64_t id;

    open_reader(rig, (struct event_from){ 0 });
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    id = add(rig, 1, EVENT_CREATED, false);
    assert_int_equal(rig->wakes, 0);
    add(rig, 2, EVENT_CREATED, true);
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    rig->wakes = 0;
    events_tell(rig->events, id);
    assert_int_equal(rig->wakes, 1);
    assert_reads(rig, id);
    assert_reads(rig, id + 1);
}

static void an_event_that_was_not_committed_is_never_told(void **state)
{
    struct rig *rig = *state;
    uint64_t id;

    open_reader(rig, (struct event_from){ 0 });
    id = add(rig, 1, EVENT_CREATED, false);
    add(rig, 2, EVENT_CREATED, true);
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    events_drop(rig->events, id);
    assert_reads(rig, id + 1);
}

static void a_commit_that_is_told_too_late_is_nothing(void **state)
{
    struct rig *rig = *state;
    uint64_t id = add(rig, 1, EVENT_CREATED, false);

    for (unsigned i = 0; i < EVENTS_KEPT; i++)
        add(rig, 2, EVENT_PROGRESS, true);
    events_tell(rig->events, id);
    events_drop(rig->events, id);
}

static void a_reader_goes_on_behind_what_it_has_seen(void **state)
{
    struct rig *rig = *state;
    uint64_t id = add(rig, 1, EVENT_CREATED, true), behind;

    add(rig, 1, EVENT_STARTED, true);
    open_reader(rig, (struct event_from){ .resumes = true, .after = id });
    assert_false(event_reader_missed(rig->reader, &behind));
    assert_reads(rig, id + 1);
    open_reader(rig, (struct event_from){ .resumes = true, .after = id + 1 });
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
}

static void what_is_no_longer_kept_is_missed(void **state)
{
    struct rig *rig = *state;
    uint64_t first = add(rig, 1, EVENT_CREATED, true), behind;

    for (unsigned i = 0; i < EVENTS_KEPT; i++)
        add(rig, 1, EVENT_PROGRESS, true);
    open_reader(rig, (struct event_from){ .resumes = true, .after = first });
    assert_false(event_reader_missed(rig->reader, &behind));
    assert_reads(rig, first + 1);
    open_reader(rig, (struct event_from){ .resumes = true, .after = first - 1 });
    assert_true(event_reader_missed(rig->reader, &behind));
    assert_int_equal(behind, first);
    assert_reads(rig, first + 1);
    open_reader(rig, (struct event_from){ .resumes = true, .after = UINT64_MAX });
    assert_true(event_reader_missed(rig->reader, &behind));
}

static void events_of_an_earlier_run_are_gone_on_from(void **state)
{
    struct rig *rig = *state;
    struct event event = { .id = 77, .job = job_of(1) };
    uint64_t behind;

    events_restore(rig->events, &event);
    event.id = 99;
    events_restore(rig->events, &event);
    assert_int_equal(add(rig, 1, EVENT_STARTED, true), FIRST_ID);
    open_reader(rig, (struct event_from){ .resumes = true, .after = 77 });
    assert_false(event_reader_missed(rig->reader, &behind));
    assert_reads(rig, 99);
    assert_reads(rig, FIRST_ID);
}

static void ids_rise_although_the_clock_was_set_back(void **state)
{
    struct rig *rig = *state;
    struct event event = { .id = FIRST_ID + 1000, .job = job_of(1) };

    events_restore(rig->events, &event);
    assert_int_equal(add(rig, 1, EVENT_STARTED, true), FIRST_ID + 1001);
}

static void a_slow_reader_is_cut_off(void **state)
{
    struct rig *rig = *state;
    uint64_t id;

    open_reader(rig, (struct event_from){ 0 });
    id = add(rig, 1, EVENT_CREATED, true);
    for (unsigned i = 1; i < EVENTS_BEHIND_MAX; i++)
        add(rig, 1, EVENT_PROGRESS, true);
    assert_reads(rig, id);
    add(rig, 1, EVENT_PROGRESS, true);
    add(rig, 1, EVENT_PROGRESS, true);
    assert_reads_nothing(rig, EVENT_READ_CUT);
}

static void a_reader_of_a_quiet_job_is_not_slow(void **state)
{
    struct rig *rig = *state;
    struct uuid two = job_of(2);
    uint64_t id;

    open_reader(rig, (struct event_from){ .job = &two });
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    for (unsigned i = 0; i < EVENTS_KEPT + 10; i++)
        add(rig, 1, EVENT_PROGRESS, true);
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    id = add(rig, 2, EVENT_SUCCEEDED, true);
    assert_reads(rig, id);
}

static void who_waits_gets_a_sign_of_life(void **state)
{
    struct rig *rig = *state;

    open_reader(rig, (struct event_from){ 0 });
    events_keep_alive(rig->events);
    assert_int_equal(rig->wakes, 0); /* it does not wait */
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    events_keep_alive(rig->events);
    assert_int_equal(rig->wakes, 1);
    assert_reads_nothing(rig, EVENT_READ_QUIET);
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
}

static void the_end_cuts_all_off(void **state)
{
    struct rig *rig = *state;

    open_reader(rig, (struct event_from){ 0 });
    assert_reads_nothing(rig, EVENT_READ_NOTHING);
    events_end(rig->events);
    assert_int_equal(rig->wakes, 1);
    assert_reads_nothing(rig, EVENT_READ_CUT);
}

/* Until it leaves the ring, and after the job has said something else. */
static void what_a_task_says_is_kept_with_its_event(void **state)
{
    struct rig *rig = *state;
    struct event event = { .kind = EVENT_PROGRESS, .job = job_of(1) };
    const struct event *read;

    open_reader(rig, (struct event_from){ 0 });
    event.said = blob_new("said", 4);
    events_add(rig->events, &event, true);
    blob_unref(event.said);
    assert_int_equal(event_reader_next(rig->reader, &read), EVENT_READ);
    assert_true(text_equals(blob_text(read->said), "said"));
    for (unsigned i = 0; i < EVENTS_KEPT; i++)
        add(rig, 2, EVENT_STARTED, true);
}

static void an_event_is_written_as_the_stream_wants_it(void **state)
{
    struct event event = { .id = 7,
                           .kind = EVENT_PROGRESS,
                           .job = job_of(0x12),
                           .state = JOB_RUNNING,
                           .total = 3,
                           .completed = 2,
                           .failed = 1 };
    struct buf out = BUF_INIT;

    (void)state;
    event.said = blob_new("\"message\":1,\"task\":2", 20);
    event_write(&out, &event);
    blob_unref(event.said);
    assert_string_equal(out.data,
                        "id: 7\nevent: job.progress\n"
                        "data: {\"id\":\"12000000-0000-0000-0000-000000000000\","
                        "\"state\":\"running\",\"progress\":{\"total\":3,\"completed\":2,"
                        "\"failed\":1,\"message\":1,\"task\":2}}\n\n");
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(ids_rise_from_the_time_of_the_start),
        CASE(a_reader_gets_what_happens_from_then_on),
        CASE(a_reader_of_a_job_gets_its_events_only),
        CASE(a_reader_of_an_owner_gets_events_of_his_jobs_only),
        CASE(an_event_is_told_after_its_commit_and_others_wait_behind_it),
        CASE(an_event_that_was_not_committed_is_never_told),
        CASE(a_commit_that_is_told_too_late_is_nothing),
        CASE(a_reader_goes_on_behind_what_it_has_seen),
        CASE(what_is_no_longer_kept_is_missed),
        CASE(events_of_an_earlier_run_are_gone_on_from),
        CASE(ids_rise_although_the_clock_was_set_back),
        CASE(a_slow_reader_is_cut_off),
        CASE(a_reader_of_a_quiet_job_is_not_slow),
        CASE(who_waits_gets_a_sign_of_life),
        CASE(the_end_cuts_all_off),
        CASE(what_a_task_says_is_kept_with_its_event),
        cmocka_unit_test(an_event_is_written_as_the_stream_wants_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
