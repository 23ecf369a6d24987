/* SPDX-License-Identifier: MIT */
/*
 * The queue by itself. How it does in the long run, with the jobs in it, is in
 * test_queue_sim.c.
 */
#include "server/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct job_spec *spec_of(int priority, uint64_t items)
{
    struct job_spec from = {
        .method = JOB_MAP,
        .task = "square",
        .pool = "default",
        .priority = priority,
        .item_count = items,
    };
    struct job_spec *spec = job_spec_new(&from);

    assert_non_null(spec);
    return spec;
}

static void start(struct job *job, int priority)
{
    job_init(job, spec_of(priority, 1), 0);
}

static struct job *front_of(const struct queue *queue)
{
    struct queue_place *front = queue_front(queue);

    return front ? queue_job(front) : NULL;
}

/* ---- the queue --------------------------------------------------------------------- */

static void empty_queue_has_no_front(void **state)
{
    struct queue queue;

    (void)state;
    queue_init(&queue);
    assert_null(queue_front(&queue));
    assert_int_equal(queue.count, 0);
}

static void equal_jobs_are_first_in_first_out(void **state)
{
    struct queue queue;
    struct job jobs[5];

    (void)state;
    queue_init(&queue);
    for (size_t i = 0; i < 5; i++) {
        start(&jobs[i], 0);
        queue_push(&queue, &jobs[i].place);
        assert_true(jobs[i].place.queued);
    }
    assert_int_equal(queue.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_ptr_equal(front_of(&queue), &jobs[i]);
        queue_remove(&queue, &jobs[i].place);
        assert_false(jobs[i].place.queued);
        job_clear(&jobs[i]);
    }
    assert_null(queue_front(&queue));
}

static void larger_priority_always_comes_first(void **state)
{
    struct job jobs[QUEUE_LEVELS];
    struct queue queue;

    (void)state;
    queue_init(&queue);
    for (int i = 0; i < QUEUE_LEVELS; i++) { /* 77 has no common factor with 201 */
        int priority = JOB_PRIORITY_MIN + i * 77 % QUEUE_LEVELS;

        start(&jobs[i], priority);
        queue_push(&queue, &jobs[i].place);
    }
    for (int priority = JOB_PRIORITY_MAX; priority >= JOB_PRIORITY_MIN; priority--) {
        struct job *front = front_of(&queue);

        assert_non_null(front);
        assert_int_equal(front->spec->priority, priority);
        queue_remove(&queue, &front->place);
        job_clear(front);
    }
    assert_int_equal(queue.count, 0);
    assert_null(queue_front(&queue));
}

static void rotated_job_goes_behind_its_equals_only(void **state)
{
    struct job high, a, b, low;
    struct queue queue;

    (void)state;
    queue_init(&queue);
    start(&high, 1);
    start(&a, 0);
    start(&b, 0);
    start(&low, -1);
    queue_push(&queue, &a.place);
    queue_push(&queue, &b.place);
    queue_push(&queue, &low.place);
    queue_rotate(&queue, &a.place);
    assert_ptr_equal(front_of(&queue), &b);
    queue_rotate(&queue, &b.place);
    assert_ptr_equal(front_of(&queue), &a);
    queue_push(&queue, &high.place);
    queue_rotate(&queue, &high.place); /* the only one of its priority */
    assert_ptr_equal(front_of(&queue), &high);
    assert_int_equal(queue.count, 4);
    job_clear(&high);
    job_clear(&a);
    job_clear(&b);
    job_clear(&low);
}

static void job_that_gave_back_is_next_among_its_equals(void **state)
{
    struct job high, a, b;
    struct queue queue;

    (void)state;
    queue_init(&queue);
    start(&high, 1);
    start(&a, 0);
    start(&b, 0);
    queue_push(&queue, &a.place);
    queue_push_front(&queue, &b.place);
    assert_ptr_equal(front_of(&queue), &b);
    queue_push(&queue, &high.place);
    assert_ptr_equal(front_of(&queue), &high);
    queue_remove(&queue, &high.place);
    assert_ptr_equal(front_of(&queue), &b);
    queue_remove(&queue, &b.place);
    assert_ptr_equal(front_of(&queue), &a);
    job_clear(&high);
    job_clear(&a);
    job_clear(&b);
}

static void job_can_leave_from_the_middle(void **state)
{
    struct queue queue;
    struct job jobs[3];

    (void)state;
    queue_init(&queue);
    for (size_t i = 0; i < 3; i++) {
        start(&jobs[i], 0);
        queue_push(&queue, &jobs[i].place);
    }
    queue_remove(&queue, &jobs[1].place);
    queue_remove(&queue, &jobs[0].place);
    assert_ptr_equal(front_of(&queue), &jobs[2]);
    queue_push(&queue, &jobs[1].place); /* and come back */
    queue_remove(&queue, &jobs[2].place);
    assert_ptr_equal(front_of(&queue), &jobs[1]);
    assert_int_equal(queue.count, 1);
    for (size_t i = 0; i < 3; i++)
        job_clear(&jobs[i]);
}

/* ---- fairness ---------------------------------------------------------------------- */

static void small_job_waits_for_one_round_of_chunks_and_not_for_a_map(void **state)
{
    struct job maps[3], small;
    struct queue queue;
    unsigned chunks = 0;

    (void)state;
    queue_init(&queue);
    for (size_t i = 0; i < 3; i++) {
        job_init(&maps[i], spec_of(0, 1000000), 0);
        queue_push(&queue, &maps[i].place);
    }
    start(&small, 0);
    queue_push(&queue, &small.place);
    while (front_of(&queue) != &small) {
        struct job *job = front_of(&queue);
        struct job_range range;
        uint64_t retry_at_ns;

        assert_true(job_take(job, 10, 1, &range, &retry_at_ns));
        queue_rotate(&queue, &job->place);
        chunks++;
    }
    assert_int_equal(chunks, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(maps[i].in_flight, 10);
        job_clear(&maps[i]);
    }
    job_clear(&small);
}

/* ---- stubs ------------------------------------------------------------------------- */

#define PLACES 40

/* Places by themselves: the queue does not look behind them. */
static struct queue_place place(int priority, bool whole)
{
    return (
        struct queue_place){ .priority = (int8_t)priority, .whole = whole, .bytes = 10 };
}

/* All places in order, as letters of their positions in the array; then they are gone. */
static void assert_order(struct queue *queue, const struct queue_place places[],
                         const char *expected)
{
    char order[PLACES + 1] = "";
    size_t count = 0;

    while (queue->count) {
        struct queue_place *front = queue_front(queue);

        order[count++] = (char)('a' + (front - places));
        queue_remove(queue, front);
    }
    assert_string_equal(order, expected);
    assert_int_equal(queue->stubs, 0);
    assert_int_equal(queue->whole_bytes, 0);
    assert_null(queue_first_stub(queue));
}

static void stub_keeps_its_place_when_it_becomes_whole(void **state)
{
    struct queue_place places[] = { place(0, true), place(0, false), place(0, false),
                                    place(5, false), place(0, true) };
    struct queue_place whole = place(0, true), low = place(0, true);
    struct queue queue;

    (void)state;
    queue_init(&queue);
    for (size_t i = 0; i < 5; i++)
        queue_push(&queue, &places[i]);
    assert_int_equal(queue.stubs, 3);
    assert_int_equal(queue.whole_bytes, 20);
    assert_ptr_equal(queue_first_stub(&queue), &places[3]);
    assert_ptr_equal(queue_next_stub(&queue, &places[3]), &places[1]);
    assert_ptr_equal(queue_next_stub(&queue, &places[1]), &places[2]);
    assert_null(queue_next_stub(&queue, &places[2]));
    queue_replace(&queue, &places[1], &whole);
    assert_false(places[1].queued);
    assert_true(whole.queued);
    assert_int_equal(queue.stubs, 2);
    assert_ptr_equal(queue_next_stub(&queue, &places[3]), &places[2]);
    queue_replace(&queue, &whole, &places[1]); /* and back */
    queue_replace(&queue, &places[2], &low);   /* not in front */
    queue_replace(&queue, &low, &places[2]);
    assert_ptr_equal(queue_next_stub(&queue, &places[3]), &places[1]);
    assert_order(&queue, places, "dabce");
}

static void whole_jobs_take_turns_before_the_first_stub(void **state)
{
    struct queue_place places[] = { place(0, true), place(0, true), place(0, false),
                                    place(0, true) };
    struct queue_place by = place(0, true);
    struct queue queue;

    (void)state;
    queue_init(&queue);
    for (size_t i = 0; i < 4; i++)
        queue_push(&queue, &places[i]);
    queue_rotate(&queue, &places[0]);
    assert_ptr_equal(queue_front(&queue), &places[1]);
    queue_rotate(&queue, &places[1]);
    assert_ptr_equal(queue_front(&queue), &places[0]);
    queue_replace(&queue, &places[2], &by); /* now all of them do */
    queue_rotate(&queue, &places[0]);
    queue_remove(&queue, &by);
    queue_push_front(&queue, &by);
    assert_ptr_equal(queue_front(&queue), &by);
    queue_remove(&queue, &by);
    assert_order(&queue, places, "bda");
}

static void what_is_before_and_behind_stubs_is_known(void **state)
{
    struct queue_place places[] = { place(0, true), place(0, true),  place(0, false),
                                    place(0, true), place(-5, true), place(-9, false),
                                    place(3, true), place(-9, true) };
    struct queue_place stub = place(3, false);
    struct queue queue;

    (void)state;
    queue_init(&queue);
    assert_int_equal(queue_ahead(&queue, 10), 0);
    assert_null(queue_last_whole(&queue));
    for (size_t i = 0; i < 8; i++)
        queue_push(&queue, &places[i]);
    assert_int_equal(queue_ahead(&queue, 10), 3);
    assert_int_equal(queue_ahead(&queue, 2), 2);
    assert_false(queue_behind_stub(&queue, &places[1]));
    assert_true(queue_behind_stub(&queue, &places[3]));
    assert_true(queue_behind_stub(&queue, &places[4]));
    assert_false(queue_behind_stub(&queue, &places[6]));
    /* Of the smallest priority the only whole one is behind a stub. */
    assert_ptr_equal(queue_last_whole(&queue), &places[4]);
    queue_remove(&queue, &places[4]);
    assert_ptr_equal(queue_last_whole(&queue), &places[1]);
    assert_ptr_equal(queue_whole_before(&places[1]), &places[0]);
    assert_null(queue_whole_before(&places[0]));
    queue_replace(&queue, &places[6], &stub);
    assert_int_equal(queue_ahead(&queue, 10), 0);
    assert_true(queue_behind_stub(&queue, &places[0]));
    queue_remove(&queue, &stub);
    assert_int_equal(queue_ahead(&queue, 10), 2);
    assert_order(&queue, places, "abcdfh");
}

/* Against a plain list: pushes, removals and changes in a random order. */
static void random_changes_leave_the_order_as_it_was(void **state)
{
    struct queue_place places[2][PLACES]; /* each is one of the two */
    unsigned at[PLACES] = { 0 }, count = 0, random = 1;
    unsigned line[PLACES];
    struct queue queue;

    (void)state;
    queue_init(&queue);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (random = random * 1103515245u + 12345u) / 65536 % PLACES;
        bool whole = random >> 31;
        struct queue_place *now = &places[at[i]][i], *other = &places[!at[i]][i];
        size_t stubs = 0, ahead = 0;

        if (step < PLACES)
            places[0][step] = places[1][step] = place(0, whole);
        if (step < PLACES)
            continue;
        if (!now->queued) {
            *now = place(0, whole);
            queue_push(&queue, now);
            line[count++] = i;
        } else if (step % 3) {
            *other = place(0, !now->whole);
            queue_replace(&queue, now, other);
            at[i] = !at[i];
        } else {
            queue_remove(&queue, now);
            for (unsigned j = 0, k = 0; j < count; j++)
                if (line[j] != i)
                    line[k++] = line[j];
            count--;
        }
        assert_int_equal(queue.count, count);
        for (unsigned j = 0; j < count; j++) {
            const struct queue_place *p = &places[at[line[j]]][line[j]];

            if (!p->whole && !stubs++)
                assert_ptr_equal(queue_first_stub(&queue), p);
            ahead += p->whole && !stubs;
            if (p->whole)
                assert_int_equal(queue_behind_stub(&queue, p), stubs > 0);
        }
        assert_int_equal(queue.stubs, stubs);
        assert_int_equal(queue_ahead(&queue, PLACES), ahead);
    }
    for (unsigned j = 0; j < count; j++) {
        assert_ptr_equal(queue_front(&queue), &places[at[line[j]]][line[j]]);
        queue_remove(&queue, queue_front(&queue));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_queue_has_no_front),
        cmocka_unit_test(equal_jobs_are_first_in_first_out),
        cmocka_unit_test(larger_priority_always_comes_first),
        cmocka_unit_test(rotated_job_goes_behind_its_equals_only),
        cmocka_unit_test(job_that_gave_back_is_next_among_its_equals),
        cmocka_unit_test(job_can_leave_from_the_middle),
        cmocka_unit_test(small_job_waits_for_one_round_of_chunks_and_not_for_a_map),
        cmocka_unit_test(stub_keeps_its_place_when_it_becomes_whole),
        cmocka_unit_test(whole_jobs_take_turns_before_the_first_stub),
        cmocka_unit_test(what_is_before_and_behind_stubs_is_known),
        cmocka_unit_test(random_changes_leave_the_order_as_it_was),
    };

    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
