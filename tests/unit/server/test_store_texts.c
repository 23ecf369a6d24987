/* SPDX-License-Identifier: MIT */
/* Results that are too long for a row of table outcome. */
#include "tests/unit/server/test_store_sqlite_fixture.h"

#include <stdlib.h>

/* A JSON string of this length; no two lengths are alike. */
static char *string_of(size_t len)
{
    char *text = malloc(len + 1);

    assert_non_null(text);
    memset(text, 'a' + (int)(len % 26), len);
    text[0] = text[len - 1] = '"';
    text[len] = '\0';
    return text;
}

static void assert_texts(struct fixture *fx, struct uuid id, const char *const texts[],
                         size_t count)
{
    struct answer got;

    assert_int_equal(get_job(fx, id, true, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, count);
    for (size_t i = 0; i < count; i++)
        assert_outcome(&got.job.outcomes[i], i, 1, false, texts[i]);
    answer_clear(&got);
}

static void longer_results_lie_apart_and_come_back_in_their_place(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    char *inside = string_of(900), *apart = string_of(901), *large = string_of(300000);
    const char *const texts[] = { apart, "1", large, inside };

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    for (uint64_t i = 4; i-- > 0;)
        assert_int_equal(put_outcome(fx, spec, i, 1, false, texts[i]), ST_OK);
    assert_int_equal(ask(fx, "SELECT count(*) FROM outcome_text"), 2);
    assert_texts(fx, spec->id, texts, 4);
    /* What was written first stays. */
    assert_int_equal(put_outcome(fx, spec, 0, 1, false, "2"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 1, 1, false, large), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 2, 1, false, apart), ST_OK);
    close_store(fx);
    fixture_open(fx);
    assert_texts(fx, spec->id, texts, 4);
    job_spec_unref(spec);
    free(inside);
    free(apart);
    free(large);
}

static void longer_results_go_with_their_job(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *deleted = spec_of(fx), *stripped = spec_of(fx);
    struct store_limits limits = { .now_ms = INT64_MAX / 4,
                                   .job_ttl_ms = INT64_MAX / 4,
                                   .max_jobs = 1000 };
    struct answer answer = { 0 };
    char *text = string_of(5000);

    assert_int_equal(put_job(fx, deleted, JOB_RUNNING), ST_OK);
    assert_int_equal(put_job(fx, stripped, JOB_RUNNING), ST_OK);
    assert_int_equal(put_outcome(fx, deleted, 0, 1, false, text), ST_OK);
    assert_int_equal(put_outcome(fx, stripped, 0, 1, false, text), ST_OK);
    assert_int_equal(delete_job(fx, deleted->id), ST_OK);
    assert_int_equal(ask(fx, "SELECT count(*) FROM outcome_text"), 1);
    assert_int_equal(put_status(fx, stripped, JOB_SUCCEEDED), ST_OK);
    assert_int_equal(ask(fx, "SELECT count(*) FROM outcome_text"), 1);
    store_purge(fx->store, &limits, note_purged, &answer);
    wait_for(fx, &answer, 1);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job WHERE gone = 1"), 1);
    assert_int_equal(ask(fx, "SELECT count(*) FROM outcome_text"), 0);
    job_spec_unref(deleted);
    job_spec_unref(stripped);
    free(text);
}

static void a_lost_or_changed_text_is_found(void **state)
{
    static const char *const damages[] = {
        "DELETE FROM outcome_text",
        "UPDATE outcome_text SET first = 7",
        "UPDATE outcome_text SET bytes = CAST('1' AS BLOB)",
    };
    struct fixture *fx = *state;
    char *text = string_of(5000);

    for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
        struct job_spec *spec = spec_of(fx);
        struct answer got;

        assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
        assert_int_equal(put_outcome(fx, spec, 0, 1, false, text), ST_OK);
        close_store(fx);
        change(fx, damages[i]);
        fixture_open(fx);
        assert_int_equal(get_job(fx, spec->id, true, &got), ST_CORRUPT);
        assert_int_equal(delete_job(fx, spec->id), ST_OK);
        job_spec_unref(spec);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SQLITE(longer_results_lie_apart_and_come_back_in_their_place),
        SQLITE(longer_results_go_with_their_job),
        SQLITE(a_lost_or_changed_text_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
