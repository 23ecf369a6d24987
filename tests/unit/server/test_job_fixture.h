/* SPDX-License-Identifier: MIT */
/*
 * Jobs made by hand, on clocks that stand still. What the tests of the job share.
 */
#ifndef TESTS_TEST_JOB_FIXTURE_H
#define TESTS_TEST_JOB_FIXTURE_H

#include "server/job.h"

#include "common/clock.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NOW_MS 1700000000000
#define NOW_NS (5 * NS_PER_SEC)

static inline struct job_spec plan(uint64_t items)
{
    return (struct job_spec){
        .method = JOB_MAP,
        .task = "square",
        .pool = "default",
        .item_count = items,
        .crash_retries = 2,
        .backoff = { .initial_ms = 1000, .max_ms = 60000, .factor = 2 },
    };
}

static inline void start_with(struct job *job, struct job_spec from)
{
    struct job_spec *spec = job_spec_new(&from);

    assert_non_null(spec);
    job_init(job, spec, NOW_MS);
}

static inline void start(struct job *job, uint64_t items)
{
    start_with(job, plan(items));
}

static inline struct blob *text(const char *string)
{
    struct blob *blob = blob_new(string, strlen(string));

    assert_non_null(blob);
    return blob;
}

/* Takes at most `want` items, which have to be these. */
static inline void take(struct job *job, uint64_t want, uint64_t first, uint64_t count)
{
    struct job_range range = { 0, 0 };
    uint64_t retry_at_ns;

    assert_true(job_take(job, want, NOW_NS, &range, &retry_at_ns));
    assert_int_equal(range.first, first);
    assert_int_equal(range.count, count);
}

static inline void nothing_to_take(struct job *job, uint64_t now_ns,
                                   uint64_t expected_retry_ns)
{
    struct job_range range = { 0, 0 };
    uint64_t retry_at_ns = 77;

    assert_false(job_take(job, 1, now_ns, &range, &retry_at_ns));
    assert_int_equal(retry_at_ns, expected_retry_ns);
}

static inline void add_results(struct job *job, uint64_t first, uint64_t count)
{
    assert_int_equal(job_add_results(job, first, count, text("1")), ST_OK);
}

static inline void add_error(struct job *job, uint64_t item, const char *problem)
{
    assert_int_equal(job_add_error(job, item, text(problem)), ST_OK);
}

static inline enum job_verdict trouble(struct job *job, uint64_t item, bool is_crash,
                                       double random)
{
    enum job_verdict verdict = JOB_ITEM_FAILED;

    assert_int_equal(job_item_trouble(job, item, is_crash, NOW_NS, random, &verdict),
                     ST_OK);
    return verdict;
}

static inline void assert_over(const struct job *job, enum job_state expected)
{
    enum job_state state = JOB_STATE_COUNT;

    assert_true(job_is_over(job, &state));
    assert_int_equal(state, expected);
}

static inline void assert_not_over(const struct job *job)
{
    enum job_state state;

    assert_false(job_is_over(job, &state));
}

#endif
