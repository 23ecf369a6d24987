/* SPDX-License-Identifier: MIT */
/* What is no longer kept of jobs that are over, for every back end. */
#include "tests/unit/server/test_store_sqlite_fixture.h"

#define END_MS   1700000000000
#define TTL_MS   1000   /* of results */
#define KNOWN_MS 100000 /* of jobs */

/* Large enough for everything. */
static const struct store_limits roomy = { .job_ttl_ms = KNOWN_MS, .max_jobs = 1000000 };

/* A job that ended at this time, with a log, and a result of two bytes for an input of
 * three. */
static struct uuid put_over(struct fixture *fx, int64_t end_ms, const char *key)
{
    struct job_spec plan = spec_plan(fx);
    struct job_status status = status_of(JOB_SUCCEEDED);
    struct outcome outcome = { .count = 1, .text = blob_new("25", 2) };
    struct blob *log = blob_new("{}", 2);
    struct answer answer = { 0 };
    struct job_spec *spec;

    assert_non_null(log);
    plan.idempotency_key = key;
    plan.result_ttl_ms = TTL_MS;
    spec = spec_make(plan, "[5]", "");
    status.finished_at_ms = end_ms;
    status.bytes = 5;
    assert_non_null(outcome.text);
    store_put_finished(fx->store, spec, &status, &outcome, 1, NULL, log, note_done,
                       &answer);
    wait_for(fx, &answer, 1);
    assert_int_equal(answer.st, ST_OK);
    blob_unref(outcome.text);
    blob_unref(log);
    job_spec_unref(spec);
    return plan.id;
}

static struct store_purged purge(struct fixture *fx, struct store_limits limits)
{
    struct answer answer = { 0 };

    store_purge(fx->store, &limits, note_purged, &answer);
    wait_for(fx, &answer, 1);
    assert_int_equal(answer.st, ST_OK);
    return answer.purged;
}

static struct store_purged purge_at(struct fixture *fx, int64_t now_ms)
{
    struct store_limits limits = roomy;

    limits.now_ms = now_ms;
    return purge(fx, limits);
}

static bool has_log(struct fixture *fx, struct uuid id)
{
    struct answer got = { 0 };
    bool has;

    store_get_job(fx->store, id, STORE_WITH_LOG, note_job, &got);
    wait_for(fx, &got, 1);
    has = got.job.log != NULL;
    answer_clear(&got);
    return has;
}

enum kept { WHOLE, STRIPPED, NOTHING };

static enum kept kept_of(struct fixture *fx, struct uuid id)
{
    struct answer got;
    enum status st = get_job(fx, id, true, &got);
    enum kept kept = st == ST_NOT_FOUND ? NOTHING : got.job.gone ? STRIPPED : WHOLE;

    if (st == ST_OK) {
        assert_int_equal(got.job.outcome_count, kept == WHOLE);
        assert_int_equal(got.job.spec->input.len, kept == WHOLE ? 3 : 0);
        assert_int_equal(got.job.status.bytes, kept == WHOLE ? 5 : 0);
        assert_int_equal(got.job.status.state, JOB_SUCCEEDED);
    }
    answer_clear(&got);
    assert_int_equal(has_log(fx, id), kept == WHOLE);
    return kept;
}

static void a_result_goes_after_its_time_and_the_job_later(void **state)
{
    struct fixture *fx = *state;
    struct uuid id = put_over(fx, END_MS, NULL);

    assert_int_equal(purge_at(fx, END_MS + TTL_MS - 1).by_age, 0);
    assert_int_equal(kept_of(fx, id), WHOLE);
    assert_int_equal(purge_at(fx, END_MS + TTL_MS).by_age, 1);
    assert_int_equal(kept_of(fx, id), STRIPPED);
    assert_int_equal(purge_at(fx, END_MS + KNOWN_MS - 1).by_age, 0);
    assert_int_equal(kept_of(fx, id), STRIPPED);
    assert_int_equal(purge_at(fx, END_MS + KNOWN_MS).by_age, 1);
    assert_int_equal(kept_of(fx, id), NOTHING);
}

static void a_stripped_job_cannot_be_queued_again(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct job_status status = status_of(JOB_FAILED);
    struct store_limits limits = { .now_ms = END_MS,
                                   .job_ttl_ms = 2 * spec->result_ttl_ms,
                                   .max_jobs = 10 };
    struct answer put = { 0 };

    status.finished_at_ms = END_MS;
    store_put_job(fx->store, spec, &status, NULL, note_put, &put);
    wait_for(fx, &put, 1);
    limits.now_ms += spec->result_ttl_ms;
    assert_int_equal(purge(fx, limits).by_age, 1);
    assert_int_equal(put_status(fx, spec, JOB_QUEUED), ST_NOT_FOUND);
    memset(&put, 0, sizeof(put));
    assert_int_equal(get_job(fx, spec->id, true, &put), ST_OK);
    assert_int_equal(put.job.status.state, JOB_FAILED);
    answer_clear(&put);
    job_spec_unref(spec);
}

static void a_job_is_known_as_long_as_its_result(void **state)
{
    struct fixture *fx = *state;
    struct uuid id = put_over(fx, END_MS, NULL);
    struct store_limits limits = { .now_ms = END_MS + TTL_MS - 1,
                                   .job_ttl_ms = 1,
                                   .max_jobs = 10 };

    assert_int_equal(purge(fx, limits).by_age, 0);
    assert_int_equal(kept_of(fx, id), WHOLE);
}

static void without_a_time_nothing_goes_by_age(void **state)
{
    struct fixture *fx = *state;
    struct uuid id = put_over(fx, 1, NULL);

    assert_int_equal(purge_at(fx, 0).by_age, 0);
    assert_int_equal(kept_of(fx, id), WHOLE);
}

static void a_job_that_is_not_over_stays(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct store_limits limits = { .now_ms = INT64_MAX / 2, .max_bytes = 1 };
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(purge(fx, limits).by_size, 0);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
    assert_false(got.job.gone);
    answer_clear(&got);
    job_spec_unref(spec);
}

static enum status find_key(struct fixture *fx, const char *key,
                            struct store_existing *ret_existing)
{
    struct answer answer = { 0 };

    store_find_key(fx->store, 0, key, note_put, &answer);
    wait_for(fx, &answer, 1);
    *ret_existing = answer.existing;
    return answer.st;
}

static void a_key_lives_as_long_as_the_job(void **state)
{
    struct fixture *fx = *state;
    struct store_existing existing;
    struct uuid id = put_over(fx, END_MS, "k");

    assert_int_equal(find_key(fx, "other", &existing), ST_NOT_FOUND);
    assert_int_equal(find_key(fx, "k", &existing), ST_EXISTS);
    assert_int_equal(purge_at(fx, END_MS + TTL_MS).by_age, 1);
    assert_int_equal(find_key(fx, "k", &existing), ST_EXISTS);
    assert_true(uuid_equal(existing.id, id));
    assert_int_equal(purge_at(fx, END_MS + KNOWN_MS).by_age, 1);
    assert_int_equal(find_key(fx, "k", &existing), ST_NOT_FOUND);
}

static void too_many_jobs_go_from_the_one_that_ended_first(void **state)
{
    struct fixture *fx = *state;
    struct store_limits limits = roomy;
    struct uuid ids[4];

    for (int i = 0; i < 4; i++)
        ids[i] = put_over(fx, END_MS + i, NULL);
    assert_int_equal(purge_at(fx, END_MS + 1 + TTL_MS).by_age, 2);
    limits.max_jobs = 4;
    assert_int_equal(purge(fx, limits).by_size, 0);
    limits.max_jobs = 1;
    assert_int_equal(purge(fx, limits).by_size, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(kept_of(fx, ids[i]), NOTHING);
    assert_int_equal(kept_of(fx, ids[3]), WHOLE);
    assert_int_equal(purge(fx, limits).by_size, 0);
}

static void too_many_bytes_go_from_the_one_that_ended_first(void **state)
{
    struct fixture *fx = *state;
    struct store_limits limits = roomy;
    struct uuid ids[3];

    for (int i = 0; i < 3; i++)
        ids[i] = put_over(fx, END_MS + i, NULL);
    limits.max_bytes = 15;
    assert_int_equal(purge(fx, limits).by_size, 0);
    limits.max_bytes = 14;
    assert_int_equal(purge(fx, limits).by_size, 1);
    assert_int_equal(kept_of(fx, ids[0]), STRIPPED);
    assert_int_equal(kept_of(fx, ids[1]), WHOLE);
    assert_int_equal(delete_job(fx, ids[1]), ST_OK);
    limits.max_bytes = 5;
    assert_int_equal(purge(fx, limits).by_size, 0);
    assert_int_equal(kept_of(fx, ids[2]), WHOLE);
}

static void a_batch_is_bounded_and_says_that_there_is_more(void **state)
{
    struct fixture *fx = *state;
    struct store_purged purged;

    for (int i = 0; i < STORE_PURGE_JOBS + 5; i++)
        put_over(fx, END_MS, NULL);
    purged = purge_at(fx, END_MS + TTL_MS);
    assert_int_equal(purged.by_age, STORE_PURGE_JOBS);
    assert_true(purged.more);
    purged = purge_at(fx, END_MS + TTL_MS);
    assert_int_equal(purged.by_age, 5);
    assert_false(purged.more);
}

static void a_retried_job_is_not_over(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct job_status status = status_of(JOB_FAILED);
    struct answer put = { 0 };
    struct store_limits limits = { .now_ms = INT64_MAX / 2 };

    status.bytes = 3;
    store_put_job(fx->store, spec, &status, NULL, note_put, &put);
    wait_for(fx, &put, 1);
    assert_int_equal(put_status(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(purge(fx, limits).by_size, 0);
    job_spec_unref(spec);
}

static void tally_is_what_is_there(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct uuid ids[3];

    for (int i = 0; i < 3; i++)
        ids[i] = put_over(fx, END_MS + i, NULL);
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_FAILED), ST_OK);
    assert_int_equal(delete_job(fx, ids[0]), ST_OK);
    assert_int_equal(purge_at(fx, END_MS + 1 + TTL_MS).by_age, 1);
    close_store(fx);
    assert_int_equal(ask(fx, "SELECT finished_jobs FROM tally"), 3);
    assert_int_equal(ask(fx, "SELECT finished_bytes FROM tally"), 5);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job WHERE result IS NOT NULL"), 1);
    job_spec_unref(spec);
}

/* Long bodies lie in a table of their own. */
static void a_large_body_goes_too_and_is_a_batch_of_its_own(void **state)
{
    struct fixture *fx = *state;
    struct store_limits limits = roomy;
    struct job_status status = status_of(JOB_CANCELLED);
    char *input = malloc(STORE_PURGE_BYTES + 1);

    assert_non_null(input);
    memset(input, '1', STORE_PURGE_BYTES);
    input[STORE_PURGE_BYTES] = '\0';
    status.bytes = STORE_PURGE_BYTES;
    for (int i = 0; i < 2; i++) {
        struct job_spec *spec = spec_make(spec_plan(fx), input, "");
        struct answer put = { 0 };

        store_put_job(fx->store, spec, &status, NULL, note_put, &put);
        wait_for(fx, &put, 1);
        assert_int_equal(put.st, ST_OK);
        job_spec_unref(spec);
    }
    limits.max_bytes = 1;
    assert_int_equal(purge(fx, limits).by_size, 1);
    assert_true(purge(fx, limits).more);
    assert_int_equal(purge(fx, limits).by_size, 0);
    close_store(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM body"), 0);
    assert_int_equal(ask(fx, "SELECT finished_bytes FROM tally"), 0);
    free(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_result_goes_after_its_time_and_the_job_later),
        BOTH(a_job_is_known_as_long_as_its_result),
        BOTH(without_a_time_nothing_goes_by_age),
        BOTH(a_job_that_is_not_over_stays),
        BOTH(a_key_lives_as_long_as_the_job),
        BOTH(too_many_jobs_go_from_the_one_that_ended_first),
        BOTH(too_many_bytes_go_from_the_one_that_ended_first),
        BOTH(a_batch_is_bounded_and_says_that_there_is_more),
        BOTH(a_retried_job_is_not_over),
        BOTH(a_stripped_job_cannot_be_queued_again),
        SQLITE(tally_is_what_is_there),
        SQLITE(a_large_body_goes_too_and_is_a_batch_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
