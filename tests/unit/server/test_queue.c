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
        queue_push(&queue, &jobs[i]);
        assert_true(jobs[i].queued);
    }
    assert_int_equal(queue.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_ptr_equal(queue_front(&queue), &jobs[i]);
        queue_remove(&queue, &jobs[i]);
        assert_false(jobs[i].queued);
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
        queue_push(&queue, &jobs[i]);
    }
    for (int priority = JOB_PRIORITY_MAX; priority >= JOB_PRIORITY_MIN; priority--) {
        struct job *front = queue_front(&queue);

        assert_non_null(front);
        assert_int_equal(front->spec->priority, priority);
        queue_remove(&queue, front);
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
    queue_push(&queue, &a);
    queue_push(&queue, &b);
    queue_push(&queue, &low);
    queue_rotate(&queue, &a);
    assert_ptr_equal(queue_front(&queue), &b);
    queue_rotate(&queue, &b);
    assert_ptr_equal(queue_front(&queue), &a);
    queue_push(&queue, &high);
    queue_rotate(&queue, &high); /* the only one of its priority */
    assert_ptr_equal(queue_front(&queue), &high);
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
    queue_push(&queue, &a);
    queue_push_front(&queue, &b);
    assert_ptr_equal(queue_front(&queue), &b);
    queue_push(&queue, &high);
    assert_ptr_equal(queue_front(&queue), &high);
    queue_remove(&queue, &high);
    assert_ptr_equal(queue_front(&queue), &b);
    queue_remove(&queue, &b);
    assert_ptr_equal(queue_front(&queue), &a);
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
        queue_push(&queue, &jobs[i]);
    }
    queue_remove(&queue, &jobs[1]);
    queue_remove(&queue, &jobs[0]);
    assert_ptr_equal(queue_front(&queue), &jobs[2]);
    queue_push(&queue, &jobs[1]); /* and come back */
    queue_remove(&queue, &jobs[2]);
    assert_ptr_equal(queue_front(&queue), &jobs[1]);
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
        queue_push(&queue, &maps[i]);
    }
    start(&small, 0);
    queue_push(&queue, &small);
    while (queue_front(&queue) != &small) {
        struct job *job = queue_front(&queue);
        struct job_range range;
        uint64_t retry_at_ns;

        assert_true(job_take(job, 10, 1, &range, &retry_at_ns));
        queue_rotate(&queue, job);
        chunks++;
    }
    assert_int_equal(chunks, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(maps[i].in_flight, 10);
        job_clear(&maps[i]);
    }
    job_clear(&small);
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
    };

    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
