/* SPDX-License-Identifier: MIT */
/* The back end without a disk: running out of memory, and its array of jobs. */
#include "common/mem.h"
#include "tests/unit/server/test_store_fixture.h"

static void a_status_gets_through_without_memory(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    mem_fail_at(1, 1);
    assert_int_equal(put_status(fx, spec, JOB_RUNNING), ST_OK);
    mem_fail_at(0, 0);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_RUNNING);
    answer_clear(&got);
    job_spec_unref(spec);
}

static void a_job_is_refused_without_memory_and_leaves_nothing(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx), *spec;
    enum status st = ST_NO_MEMORY;
    struct answer got;

    plan.idempotency_key = "again";
    spec = spec_make(plan, "[5]", "");
    for (unsigned n = 1; st == ST_NO_MEMORY; n++) {
        mem_fail_at(n, 1);
        st = put_job(fx, spec, JOB_QUEUED);
        mem_fail_at(0, 0);
    }
    assert_int_equal(st, ST_OK);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    answer_clear(&got);
    job_spec_unref(spec);
}

static void a_finished_job_is_stored_whole_or_not_at_all(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = map_of_ten(fx);
    struct job_status failed = status_of(JOB_FAILED);
    struct outcome outcomes[3];
    struct answer done, got;
    enum status st = ST_NO_MEMORY;

    for (unsigned i = 0; i < 3; i++)
        outcomes[i] = (struct outcome){ .first = i,
                                        .count = 1,
                                        .is_error = true,
                                        .shown = true,
                                        .text = blob_new("{}", 2) };
    for (unsigned n = 1; st == ST_NO_MEMORY; n++) {
        memset(&done, 0, sizeof(done));
        mem_fail_at(n, 0);
        store_put_finished(fx->store, spec, &failed, outcomes, 3, NULL, NULL, note_done,
                           &done);
        mem_fail_at(0, 0);
        wait_for(fx, &done, 1);
        st = done.st;
        assert_int_equal(get_job(fx, spec->id, true, &got),
                         st == ST_OK ? ST_OK : ST_NOT_FOUND);
        assert_int_equal(got.job.outcome_count, st == ST_OK ? 3 : 0);
        answer_clear(&got);
        if (st == ST_OK && n < 4) { /* the reserve has helped out: go on */
            assert_int_equal(delete_job(fx, spec->id), ST_OK);
            st = ST_NO_MEMORY;
        }
    }
    assert_int_equal(st, ST_OK);
    for (unsigned i = 0; i < 3; i++)
        blob_unref(outcomes[i].text);
    job_spec_unref(spec);
}

static void many_deleted_jobs_leave_the_others_in_place(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *specs[200];
    struct answer got;

    for (int i = 0; i < 200; i++) {
        specs[i] = spec_of(fx);
        assert_int_equal(put_job(fx, specs[i], JOB_SUCCEEDED), ST_OK);
    }
    for (int i = 0; i < 200; i++) {
        if (i % 10 != 3)
            assert_int_equal(delete_job(fx, specs[i]->id), ST_OK);
    }
    for (int i = 0; i < 200; i++) {
        assert_int_equal(get_job(fx, specs[i]->id, false, &got),
                         i % 10 == 3 ? ST_OK : ST_NOT_FOUND);
        answer_clear(&got);
        job_spec_unref(specs[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEMORY(a_status_gets_through_without_memory),
        MEMORY(a_job_is_refused_without_memory_and_leaves_nothing),
        MEMORY(a_finished_job_is_stored_whole_or_not_at_all),
        MEMORY(many_deleted_jobs_leave_the_others_in_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
