/* SPDX-License-Identifier: MIT */
/* The trace that a job is part of: in columns of its row. */
#include "tests/unit/server/test_store_sqlite_fixture.h"

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct job_spec *put_traced(struct fixture *fx, const char *trace)
{
    struct job_spec plan = spec_plan(fx), *spec;

    plan.trace = trace;
    spec = spec_make(plan, "[5]", "");
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    return spec;
}

/* Of the job in the store; "" if it has none. */
static void assert_trace(struct fixture *fx, struct uuid id, const char *trace)
{
    struct answer got;

    assert_int_equal(get_job(fx, id, true, &got), ST_OK);
    assert_string_equal(got.job.spec->trace ? got.job.spec->trace : "", trace);
    answer_clear(&got);
}

static void a_trace_is_kept_with_its_job(void **state)
{
    static const char *const traces[] = { PARENT, PARENT "rojo=00f067aa0ba902b7,a=\"",
                                          NULL };
    struct fixture *fx = *state;

    for (size_t i = 0; i < sizeof(traces) / sizeof(traces[0]); i++) {
        struct job_spec *spec = put_traced(fx, traces[i]);

        assert_trace(fx, spec->id, traces[i] ? traces[i] : "");
        job_spec_unref(spec);
    }
}

static void it_stays_when_the_job_is_over_and_over_a_restart(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = put_traced(fx, PARENT "a=1,b=2");

    reopen(fx);
    assert_trace(fx, spec->id, PARENT "a=1,b=2");
    assert_int_equal(put_status(fx, spec, JOB_SUCCEEDED), ST_OK);
    assert_trace(fx, spec->id, PARENT "a=1,b=2");
    job_spec_unref(spec);
}

static void a_job_without_one_has_nothing_in_its_row(void **state)
{
    struct fixture *fx = *state;

    job_spec_unref(put_traced(fx, NULL));
    job_spec_unref(put_traced(fx, PARENT));
    close_store(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job WHERE traceparent IS NULL"), 1);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job WHERE tracestate IS NULL"), 2);
}

static void one_that_is_damaged_is_left_out(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = put_traced(fx, PARENT "a=1");

    close_store(fx);
    change(fx, "UPDATE job SET tracestate = 'a=1' || char(10) || 'b: 2'");
    fixture_open(fx);
    assert_trace(fx, spec->id, PARENT);
    close_store(fx);
    change(fx, "UPDATE job SET tracestate = 'a=1', traceparent = 'x'");
    fixture_open(fx);
    assert_trace(fx, spec->id, "");
    job_spec_unref(spec);
}

static void traceparents_of_the_schema_before_stay(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = put_traced(fx, PARENT "a=1");

    close_store(fx);
    change(fx, "ALTER TABLE job DROP COLUMN tracestate; PRAGMA user_version = 17");
    fixture_open(fx);
    assert_int_equal(ask(fx, "PRAGMA user_version"), sqlite_migration_count);
    assert_trace(fx, spec->id, PARENT);
    job_spec_unref(spec);
    spec = put_traced(fx, PARENT "b=2");
    assert_trace(fx, spec->id, PARENT "b=2");
    job_spec_unref(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_trace_is_kept_with_its_job),
        SQLITE(it_stays_when_the_job_is_over_and_over_a_restart),
        SQLITE(a_job_without_one_has_nothing_in_its_row),
        SQLITE(one_that_is_damaged_is_left_out),
        SQLITE(traceparents_of_the_schema_before_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
