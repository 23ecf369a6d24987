/* SPDX-License-Identifier: MIT */
/* The result of a job that has one outcome only: in the job's row. */
#include "tests/unit/server/test_store_sqlite_fixture.h"

#include <stdlib.h>

/* A JSON string of this length. */
static struct blob *string_of(size_t len)
{
    struct blob *text = blob_new_uninit(len);

    assert_non_null(text);
    memset(text->data, 'a', len);
    text->data[0] = text->data[len - 1] = '"';
    return text;
}

static void assert_ended(struct fixture *fx, struct uuid id, const struct blob *text)
{
    struct answer got;

    assert_int_equal(get_job(fx, id, true, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_SUCCEEDED);
    assert_int_equal(got.job.outcome_count, 1);
    assert_outcome(&got.job.outcomes[0], 0, 1, false, text->data);
    answer_clear(&got);
}

static enum status put_end(struct fixture *fx, struct job_spec *spec, struct blob *text)
{
    struct job_status status = status_of(JOB_SUCCEEDED);
    struct outcome outcome = { .count = 1, .text = text };
    struct answer answer = { 0 };

    store_put_end(fx->store, spec, &status, &outcome, NULL, note_done, &answer);
    wait_for(fx, &answer, 1);
    return answer.st;
}

/* Returns a new one. */
static struct job_spec *put_finished(struct fixture *fx, struct blob *text)
{
    struct job_spec *spec = spec_of(fx);
    struct job_status status = status_of(JOB_SUCCEEDED);
    struct outcome outcome = { .count = 1, .text = text };
    struct answer answer = { 0 };

    store_put_finished(fx->store, spec, &status, &outcome, 1, NULL, NULL, note_done,
                       &answer);
    wait_for(fx, &answer, 1);
    assert_int_equal(answer.st, ST_OK);
    return spec;
}

static void an_end_brings_its_result(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx), *unknown = spec_of(fx);
    struct blob *text = string_of(STORE_RESULT_MAX);

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(put_end(fx, spec, text), ST_OK);
    assert_ended(fx, spec->id, text);
    assert_int_equal(put_end(fx, unknown, text), ST_NOT_FOUND);
    assert_int_equal(delete_job(fx, spec->id), ST_OK);
    assert_int_equal(put_end(fx, spec, text), ST_NOT_FOUND);
    blob_unref(text);
    job_spec_unref(unknown);
    job_spec_unref(spec);
}

static void a_short_result_lies_in_the_row_of_its_job(void **state)
{
    struct fixture *fx = *state;
    struct blob *inside = string_of(STORE_RESULT_MAX),
                *outside = string_of(STORE_RESULT_MAX + 1);
    struct job_spec *ended = spec_of(fx), *finished = put_finished(fx, inside),
                    *longer = put_finished(fx, outside);

    assert_int_equal(put_job(fx, ended, JOB_RUNNING), ST_OK);
    assert_int_equal(put_end(fx, ended, inside), ST_OK);
    reopen(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job WHERE result IS NOT NULL"), 2);
    assert_int_equal(ask(fx, "SELECT count(*) FROM outcome"), 1);
    assert_ended(fx, ended->id, inside);
    assert_ended(fx, finished->id, inside);
    assert_ended(fx, longer->id, outside);
    blob_unref(inside);
    blob_unref(outside);
    job_spec_unref(ended);
    job_spec_unref(finished);
    job_spec_unref(longer);
}

/* Nothing may be run again because of it. */
static void another_status_leaves_it_as_it_is(void **state)
{
    struct fixture *fx = *state;
    struct blob *text = string_of(9);
    struct job_spec *spec = put_finished(fx, text);

    assert_int_equal(put_status(fx, spec, JOB_SUCCEEDED), ST_OK);
    assert_ended(fx, spec->id, text);
    blob_unref(text);
    job_spec_unref(spec);
}

static void it_goes_when_its_job_is_stripped(void **state)
{
    struct fixture *fx = *state;
    struct store_limits limits = { .now_ms = INT64_MAX / 4,
                                   .job_ttl_ms = INT64_MAX / 4,
                                   .max_jobs = 1000 };
    struct blob *text = string_of(9);
    struct job_spec *spec = put_finished(fx, text);
    struct answer answer = { 0 }, got;

    store_purge(fx->store, &limits, note_purged, &answer);
    wait_for(fx, &answer, 1);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job WHERE gone = 1"), 1);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job WHERE result IS NOT NULL OR "
                             "result_checksum IS NOT NULL"),
                     0);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, 0);
    answer_clear(&got);
    blob_unref(text);
    job_spec_unref(spec);
}

static void one_that_is_damaged_is_found(void **state)
{
    static const char *const damages[] = {
        "UPDATE job SET result = CAST('\"aabaaaa\"' AS BLOB) WHERE result IS NOT NULL",
        "UPDATE job SET result_checksum = NULL WHERE result IS NOT NULL",
        /* That of another job. */
        "UPDATE job SET result_checksum = (SELECT result_checksum FROM job WHERE result "
        "IS NOT NULL ORDER BY key DESC LIMIT 1) WHERE key = (SELECT min(key) FROM job "
        "WHERE result IS NOT NULL)",
    };
    struct fixture *fx = *state;
    struct blob *text = string_of(9);

    for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
        struct job_spec *spec = put_finished(fx, text), *other = put_finished(fx, text);
        struct answer got;

        close_store(fx);
        change(fx, damages[i]);
        fixture_open(fx);
        assert_int_equal(get_job(fx, spec->id, true, &got), ST_CORRUPT);
        assert_int_equal(delete_job(fx, spec->id), ST_OK);
        assert_int_equal(delete_job(fx, other->id), ST_OK);
        job_spec_unref(other);
        job_spec_unref(spec);
    }
    blob_unref(text);
}

static void results_of_an_older_schema_stay(void **state)
{
    struct fixture *fx = *state;
    struct blob *text = string_of(9);
    struct job_spec *spec = put_finished(fx, text);

    close_store(fx);
    change(fx,
           "INSERT INTO outcome SELECT key, 0, 1, 0, result_checksum, result FROM job; "
           "ALTER TABLE job DROP COLUMN result; "
           "ALTER TABLE job DROP COLUMN result_checksum; "
           "ALTER TABLE job DROP COLUMN tracestate; PRAGMA user_version = 16");
    fixture_open(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM outcome"), 1);
    assert_ended(fx, spec->id, text);
    blob_unref(text);
    job_spec_unref(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(an_end_brings_its_result),
        SQLITE(a_short_result_lies_in_the_row_of_its_job),
        BOTH(another_status_leaves_it_as_it_is),
        SQLITE(it_goes_when_its_job_is_stripped),
        SQLITE(one_that_is_damaged_is_found),
        SQLITE(results_of_an_older_schema_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
