/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the store share: a store with a loop that is a semaphore, specs, and
 * callbacks that note their answer.
 */
#ifndef TESTS_TEST_STORE_FIXTURE_H
#define TESTS_TEST_STORE_FIXTURE_H

#include "common/uuid.h"
#include "server/store.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct store *store;
    char dir[64]; /* "" for memory */
    sem_t wake;
    struct uuid_generator ids;
    unsigned fatal_count;
    struct error_text fatal_why;
};

struct answer {
    unsigned called;
    enum status st;
    struct store_existing existing;
    struct store_purged purged;
    struct stored_job job;
    struct stored_job jobs[16];
    size_t job_count;
};

static inline void on_wake(void *data)
{
    struct fixture *fx = data;

    sem_post(&fx->wake);
}

static inline void on_fatal(void *data, const struct error_text *why)
{
    struct fixture *fx = data;

    fx->fatal_count++;
    fx->fatal_why = *why;
}

static const struct store_events fixture_events = { on_wake, on_fatal };

static inline void fixture_open(struct fixture *fx)
{
    struct error_text err = { "" };
    enum status st;

    if (fx->dir[0])
        st = store_open_sqlite(fx->dir, &fixture_events, fx, &fx->store, &err);
    else
        st = store_open_memory(&fixture_events, fx, &fx->store, &err);
    if (st != ST_OK)
        fail_msg("%s", err.text);
}

static inline struct fixture *fixture_new(bool sqlite)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    assert_non_null(fx);
    sem_init(&fx->wake, 0, 0);
    if (sqlite) {
        strcpy(fx->dir, "/tmp/poold-test-store-XXXXXX");
        assert_non_null(mkdtemp(fx->dir));
    }
    fixture_open(fx);
    return fx;
}

static inline void fixture_free(struct fixture *fx)
{
    char command[128];

    store_close(fx->store);
    if (fx->dir[0]) {
        snprintf(command, sizeof(command), "rm -rf '%s'", fx->dir);
        assert_int_equal(system(command), 0);
    }
    sem_destroy(&fx->wake);
    free(fx);
}

/* Lets the loop run until the answer has come `times` times. */
static inline void wait_for(struct fixture *fx, const struct answer *answer,
                            unsigned times)
{
    while (answer->called < times) {
        while (sem_wait(&fx->wake) != 0)
            assert_int_equal(errno, EINTR);
        store_drain(fx->store);
    }
}

static inline void note_put(void *data, enum status st,
                            const struct store_existing *existing)
{
    struct answer *answer = data;

    answer->called++;
    answer->st = st;
    assert_int_equal(st == ST_EXISTS, existing != NULL);
    if (existing)
        answer->existing = *existing;
}

static inline void note_done(void *data, enum status st)
{
    struct answer *answer = data;

    answer->called++;
    answer->st = st;
}

static inline void note_job(void *data, enum status st, struct stored_job *stored)
{
    struct answer *answer = data;

    answer->called++;
    answer->st = st;
    answer->job = *stored;
}

static inline void note_jobs(void *data, enum status st, struct stored_job *jobs,
                             size_t count)
{
    struct answer *answer = data;

    answer->called++;
    answer->st = st;
    answer->job_count = count;
    assert_true(count <= sizeof(answer->jobs) / sizeof(answer->jobs[0]));
    if (count > 0)
        memcpy(answer->jobs, jobs, count * sizeof(*jobs));
    if (count > 0)
        memset(jobs, 0, count * sizeof(*jobs));
}

static inline void note_purged(void *data, enum status st,
                               const struct store_purged *purged)
{
    struct answer *answer = data;

    answer->called++;
    answer->st = st;
    answer->purged = *purged;
}

static inline void answer_clear(struct answer *answer)
{
    stored_job_clear(&answer->job);
    for (size_t i = 0; i < answer->job_count; i++)
        stored_job_clear(&answer->jobs[i]);
    memset(answer, 0, sizeof(*answer));
}

static inline int set_up_sqlite(void **state)
{
    *state = fixture_new(true);
    return 0;
}

static inline int set_up_memory(void **state)
{
    *state = fixture_new(false);
    return 0;
}

static inline int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

#define SQLITE(test)                                                                     \
    {                                                                                    \
#test " (sqlite)", test, set_up_sqlite, tear_down, NULL                          \
    }
#define MEMORY(test)                                                                     \
    {                                                                                    \
#test " (memory)", test, set_up_memory, tear_down, NULL                          \
    }
#define BOTH(test) SQLITE(test), MEMORY(test)

/* ---- specs ------------------------------------------------------------------------ */

/* What a test changes before it makes the spec. */
static inline struct job_spec spec_plan(struct fixture *fx)
{
    return (struct job_spec){
        .id = uuid_next(&fx->ids, 1700000000000),
        .method = JOB_APPLY,
        .durability = DURABILITY_DURABLE,
        .task = "square",
        .pool = "default",
        .item_count = 1,
        .created_at_ms = 1700000000000,
        .result_ttl_ms = 86400000,
    };
}

/* The input and the kwargs lie apart in the body, as in a request. */
static inline struct job_spec *spec_make(struct job_spec plan, const char *input,
                                         const char *kwargs)
{
    size_t input_len = strlen(input), kwargs_len = strlen(kwargs);
    struct job_spec *spec;

    plan.body = blob_new_uninit(1 + input_len + 2 + kwargs_len);
    assert_non_null(plan.body);
    memset(plan.body->data, '~', plan.body->len);
    memcpy(plan.body->data + 1, input, input_len);
    memcpy(plan.body->data + 1 + input_len + 2, kwargs, kwargs_len);
    plan.input = (struct text){ plan.body->data + 1, input_len };
    plan.kwargs = (struct text){ plan.body->data + 1 + input_len + 2, kwargs_len };
    spec = job_spec_new(&plan);
    blob_unref(plan.body);
    assert_non_null(spec);
    return spec;
}

static inline struct job_spec *spec_of(struct fixture *fx)
{
    return spec_make(spec_plan(fx), "[5]", "");
}

static inline struct job_spec *map_of_ten(struct fixture *fx)
{
    struct job_spec plan = spec_plan(fx);

    plan.method = JOB_MAP;
    plan.item_count = 10;
    return spec_make(plan, "[0,1,2,3,4,5,6,7,8,9]", "");
}

static inline struct job_status status_of(enum job_state state)
{
    struct job_status status = { .state = state };

    if (state >= JOB_RUNNING)
        status.started_at_ms = 1700000000100;
    if (job_state_final(state))
        status.finished_at_ms = 1700000000200;
    return status;
}

/* ---- calls that wait for their answer --------------------------------------------- */

static inline enum status put_job(struct fixture *fx, struct job_spec *spec,
                                  enum job_state state)
{
    struct job_status status = status_of(state);
    struct answer answer = { 0 };

    store_put_job(fx->store, spec, &status, NULL, note_put, &answer);
    wait_for(fx, &answer, 1);
    return answer.st;
}

static inline enum status put_status(struct fixture *fx, struct job_spec *spec,
                                     enum job_state state)
{
    struct job_status status = status_of(state);
    struct answer answer = { 0 };

    store_put_status(fx->store, spec, &status, NULL, note_done, &answer);
    wait_for(fx, &answer, 1);
    return answer.st;
}

static inline enum status put_outcome(struct fixture *fx, struct job_spec *spec,
                                      uint64_t first, uint64_t count, bool is_error,
                                      const char *text)
{
    struct outcome outcome = { .first = first, .count = count, .is_error = is_error };
    struct answer answer = { 0 };

    outcome.text = blob_new(text, strlen(text));
    assert_non_null(outcome.text);
    store_put_outcome(fx->store, spec, &outcome, note_done, &answer);
    blob_unref(outcome.text);
    wait_for(fx, &answer, 1);
    return answer.st;
}

static inline enum status delete_job(struct fixture *fx, struct uuid id)
{
    struct answer answer = { 0 };

    store_delete_job(fx->store, id, note_done, &answer);
    wait_for(fx, &answer, 1);
    return answer.st;
}

/* ret_answer is to be cleared. */
static inline enum status get_job(struct fixture *fx, struct uuid id, bool with_outcomes,
                                  struct answer *ret_answer)
{
    memset(ret_answer, 0, sizeof(*ret_answer));
    store_get_job(fx->store, id,
                  STORE_WITH_INPUT | (with_outcomes ? STORE_WITH_OUTCOMES : 0), note_job,
                  ret_answer);
    wait_for(fx, ret_answer, 1);
    return ret_answer->st;
}

static inline void assert_text_is(struct text text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.at, expected, text.len);
}

static inline void assert_outcome(const struct outcome *outcome, uint64_t first,
                                  uint64_t count, bool is_error, const char *text)
{
    assert_int_equal(outcome->first, first);
    assert_int_equal(outcome->count, count);
    assert_int_equal(outcome->is_error, is_error);
    assert_true(outcome->shown);
    assert_text_is(blob_text(outcome->text), text);
}

#endif
