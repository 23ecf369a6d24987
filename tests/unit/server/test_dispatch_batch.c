/* SPDX-License-Identifier: MIT */
/* Jobs that come in together, and failed jobs that come back. */
#include "tests/unit/server/dispatch_rig.h"

/* What a batch or a retry was told. */
struct heard {
    unsigned times;
    enum status st;
    size_t count;
    struct live *lives[4];
    enum job_state state;
};

static void on_batch(void *data, enum status st, struct live *const lives[], size_t count)
{
    struct heard *heard = data;

    heard->times++;
    heard->st = st;
    heard->count = count;
    for (size_t i = 0; i < count && i < 4; i++) {
        heard->lives[i] = lives[i];
        if (st != ST_OK)
            continue;
        assert_true(lives[i]->accepted);
        assert_int_equal(lives[i]->job.in_flight, 0); /* none has begun yet */
        live_pin(lives[i]);
    }
}

static void on_retried(void *data, enum status st, struct live *live,
                       enum job_state state)
{
    struct heard *heard = data;

    heard->times++;
    heard->st = st;
    heard->state = state;
    heard->lives[0] = live;
    if (st == ST_OK)
        live_pin(live);
}

static enum status submit_three(struct rig *rig, const enum durability how[3],
                                struct heard *heard, struct uuid ret_ids[3])
{
    struct job_spec *specs[3];

    memset(heard, 0, sizeof(*heard));
    for (int i = 0; i < 3; i++) {
        specs[i] = spec_of(plan(rig, "square", how[i]), i ? "[3]" : "[]");
        ret_ids[i] = specs[i]->id;
    }
    return dispatch_submit_batch(rig->dispatch, specs, 3, on_batch, heard);
}

/* ---- batches ----------------------------------------------------------------------- */

static void batch_is_accepted_as_one_after_its_commit(void **state)
{
    const enum durability how[] = { DURABILITY_DURABLE, DURABILITY_RELAXED,
                                    DURABILITY_MEMORY };
    struct rig *rig = *state;
    struct heard heard;
    struct uuid ids[3];

    rig->holding = true;
    assert_int_equal(submit_three(rig, how, &heard, ids), ST_OK);
    some_turns(rig);
    assert_int_equal(heard.times, 0);
    assert_int_equal(dispatch_jobs(rig->dispatch), 3);
    for (int i = 0; i < 3; i++)
        assert_null(dispatch_find(rig->dispatch, ids[i]));
    release(rig);
    assert_int_equal(heard.times, 1);
    assert_int_equal(heard.st, ST_OK);
    assert_int_equal(heard.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(uuid_equal(heard.lives[i]->job.spec->id, ids[i]));
        assert_ends(rig, heard.lives[i], JOB_SUCCEEDED);
        assert_outcomes(heard.lives[i], i ? "9" : "");
        live_unpin(heard.lives[i]);
        live_unpin(heard.lives[i]);
    }
    assert_int_equal(in_store(rig, ids[0]).st, ST_OK);
    assert_int_equal(in_store(rig, ids[1]).st, ST_OK);
    assert_int_equal(in_store(rig, ids[2]).st, ST_NOT_FOUND);
}

static void batch_that_is_not_stored_is_accepted_at_once(void **state)
{
    const enum durability how[] = { DURABILITY_MEMORY, DURABILITY_MEMORY,
                                    DURABILITY_MEMORY };
    struct rig *rig = *state;
    struct heard heard;
    struct uuid ids[3];

    rig->holding = true;
    assert_int_equal(submit_three(rig, how, &heard, ids), ST_OK);
    assert_int_equal(heard.times, 1);
    for (int i = 0; i < 3; i++) {
        assert_ends(rig, heard.lives[i], JOB_SUCCEEDED);
        live_unpin(heard.lives[i]);
        live_unpin(heard.lives[i]);
    }
}

static void batch_without_room_for_all_makes_none(void **state)
{
    const enum durability how[] = { DURABILITY_MEMORY, DURABILITY_MEMORY,
                                    DURABILITY_MEMORY };
    struct rig *rig = *state;
    struct heard heard;
    struct uuid ids[3];

    occupy_workers(rig);
    for (unsigned i = PROCESSES; i < MAX_JOBS - 2; i++)
        submit(rig, "square", "[1]", DURABILITY_MEMORY);
    assert_int_equal(submit_three(rig, how, &heard, ids), ST_LIMIT);
    assert_int_equal(heard.times, 0);
    assert_int_equal(dispatch_jobs(rig->dispatch), MAX_JOBS - 2);
    dispatch_drain(rig->dispatch);
    assert_int_equal(submit_three(rig, how, &heard, ids), ST_STATE);
}

static void batch_is_whole_or_not_there_whatever_allocation_fails(void **state)
{
    const enum durability how[] = { DURABILITY_DURABLE, DURABILITY_RELAXED,
                                    DURABILITY_DURABLE };
    struct rig *rig = *state;
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        struct job_spec *specs[3];
        struct heard heard = { 0 };
        struct uuid ids[3];
        enum status st;

        for (int i = 0; i < 3; i++) {
            specs[i] = spec_of(plan(rig, "square", how[i]), "[3]");
            ids[i] = specs[i]->id;
        }
        mem_fail_at(n, 0);
        st = dispatch_submit_batch(rig->dispatch, specs, 3, on_batch, &heard);
        failed = mem_calls() >= n;
        mem_fail_at(0, 0);
        if (st == ST_OK)
            WAIT(rig, heard.times);
        else
            assert_int_equal(heard.times, 0);
        for (int i = 0; i < 3; i++) {
            if (st == ST_OK && heard.st == ST_OK) {
                assert_ends(rig, heard.lives[i], JOB_SUCCEEDED);
                live_unpin(heard.lives[i]);
                live_unpin(heard.lives[i]);
            }
            assert_int_equal(in_store(rig, ids[i]).st,
                             st == ST_OK && heard.st == ST_OK ? ST_OK : ST_NOT_FOUND);
        }
        assert_int_equal(dispatch_jobs(rig->dispatch), 0);
    }
}

/* ---- retries ----------------------------------------------------------------------- */

static struct heard retry(struct rig *rig, struct uuid id)
{
    struct heard heard = { 0 };

    dispatch_retry(rig->dispatch, id, on_retried, &heard);
    WAIT(rig, heard.times);
    return heard;
}

/* Fails at -1, with a result on both sides. */
static struct uuid failed_job(struct rig *rig, enum durability durability)
{
    struct live *live = submit(rig, "safe_square", "[2,-1,3]", durability);
    struct uuid id = live->job.spec->id;

    assert_ends(rig, live, JOB_FAILED);
    live_unpin(live);
    return id;
}

static void failed_job_is_run_again_from_the_store(void **state)
{
    struct rig *rig = *state;
    struct uuid id = failed_job(rig, DURABILITY_DURABLE);
    struct heard heard, second = { 0 };

    WAIT(rig, !dispatch_find(rig->dispatch, id));
    memset(&heard, 0, sizeof(heard));
    rig->holding = true;
    dispatch_retry(rig->dispatch, id, on_retried, &heard);
    dispatch_retry(rig->dispatch, id, on_retried, &second);
    assert_int_equal(second.times, 1); /* the first one is on its way */
    assert_int_equal(second.st, ST_EXISTS);
    release(rig); /* it is read, and its new state given to the store */
    WAIT(rig, heard.times);
    assert_int_equal(heard.st, ST_OK);
    assert_int_equal(heard.lives[0]->job.status.completed, 2);
    assert_ptr_equal(dispatch_find(rig->dispatch, id), heard.lives[0]);
    assert_ends(rig, heard.lives[0], JOB_FAILED);
    assert_int_equal(heard.lives[0]->job.status.completed, 2);
    assert_int_equal(heard.lives[0]->job.status.failed, 1);
    assert_error(heard.lives[0], "Negative input");
    live_unpin(heard.lives[0]);
    live_unpin(heard.lives[0]);
    assert_int_equal(in_store(rig, id).state, JOB_FAILED);
    assert_int_equal(dispatch_jobs(rig->dispatch), 0);
}

static void retried_job_has_its_place_among_newer_ones(void **state)
{
    struct rig *rig = *state;
    struct uuid id = failed_job(rig, DURABILITY_DURABLE);
    struct live *newer;
    struct heard heard;

    occupy_workers(rig);
    newer = submit(rig, "square", "[1]", DURABILITY_MEMORY);
    heard = retry(rig, id);
    assert_int_equal(heard.st, ST_OK);
    assert_ptr_equal(dispatch_newest(rig->dispatch), newer);
    for (struct live *live = newer; live; live = dispatch_older(live))
        assert_int_equal(dispatch_older(live) == NULL, live == heard.lives[0]);
    live_unpin(heard.lives[0]);
}

static void failed_job_is_run_again_where_it_is(void **state)
{
    struct rig *rig = *state;
    struct uuid memory = failed_job(rig, DURABILITY_MEMORY);
    struct heard heard = retry(rig, memory);

    assert_int_equal(heard.st, ST_OK);
    assert_int_equal(heard.lives[0]->aside_in, ASIDE_NOWHERE);
    assert_ends(rig, heard.lives[0], JOB_FAILED);
    assert_int_equal(heard.lives[0]->arrival_count, 3);
    live_unpin(heard.lives[0]);
    live_unpin(heard.lives[0]);
}

static void job_whose_end_is_not_stored_yet_may_be_run_again(void **state)
{
    struct rig *rig = *state;
    struct heard heard;
    struct uuid id;

    rig->holding = true;
    id = failed_job(rig, DURABILITY_RELAXED);
    heard = retry(rig, id);
    assert_int_equal(heard.st, ST_OK);
    assert_ends(rig, heard.lives[0], JOB_FAILED);
    assert_ptr_equal(dispatch_find(rig->dispatch, id), heard.lives[0]);
    release(rig);
    assert_null(dispatch_find(rig->dispatch, id));
    assert_int_equal(in_store(rig, id).state, JOB_FAILED);
    assert_int_equal(in_store(rig, id).outcome_count, 3);
    live_unpin(heard.lives[0]);
    live_unpin(heard.lives[0]);
}

static void only_what_has_failed_is_run_again(void **state)
{
    struct rig *rig = *state;
    struct live *live = submit(rig, "square", "[2]", DURABILITY_DURABLE);
    struct uuid id = live->job.spec->id;
    struct heard heard;

    heard = retry(rig, id);
    assert_int_equal(heard.st, ST_EXISTS);
    assert_ends(rig, live, JOB_SUCCEEDED);
    live_unpin(live);
    WAIT(rig, !dispatch_find(rig->dispatch, id));
    heard = retry(rig, id);
    assert_int_equal(heard.st, ST_EXISTS);
    assert_int_equal(heard.state, JOB_SUCCEEDED);
    heard = retry(rig, dispatch_new_id(rig->dispatch, clock_wall_ms()));
    assert_int_equal(heard.st, ST_NOT_FOUND);
    id = failed_job(rig, DURABILITY_DURABLE);
    dispatch_drain(rig->dispatch);
    heard = retry(rig, id);
    assert_int_equal(heard.st, ST_STATE);
}

static void job_has_failed_as_before_if_its_retry_is_without_memory(void **state)
{
    struct rig *rig = *state;
    struct uuid id = failed_job(rig, DURABILITY_DURABLE);
    struct heard heard = { .st = ST_NO_MEMORY };

    WAIT(rig, !dispatch_find(rig->dispatch, id));
    for (unsigned n = 1; n < 12; n++) {
        struct heard once = { 0 };

        rig->holding = true;
        mem_fail_at(n, 0);
        dispatch_retry(rig->dispatch, id, on_retried, &once);
        release(rig);
        mem_fail_at(0, 0);
        WAIT(rig, once.times);
        if (once.st != ST_OK) {
            assert_int_equal(in_store(rig, id).state, JOB_FAILED);
            assert_int_equal(dispatch_jobs(rig->dispatch), 0);
            continue;
        }
        heard = once;
        assert_ends(rig, heard.lives[0], JOB_FAILED);
        live_unpin(heard.lives[0]);
        live_unpin(heard.lives[0]);
        WAIT(rig, !dispatch_find(rig->dispatch, id));
    }
    assert_int_equal(heard.st, ST_OK);
}

static void job_whose_input_is_gone_is_not_run_again(void **state)
{
    struct rig *rig = *state;
    struct uuid id = failed_job(rig, DURABILITY_MEMORY);
    struct live *live = dispatch_find(rig->dispatch, id);
    struct heard heard;

    assert_non_null(live);
    live->gone = true;
    assert_int_equal(retry(rig, id).st, ST_GONE);
    assert_int_equal(live->job.status.state, JOB_FAILED);
    live->gone = false;
    heard = retry(rig, id);
    assert_int_equal(heard.st, ST_OK);
    live_unpin(heard.lives[0]);
}

static void retried_job_goes_on_after_a_restart_and_expires_no_more(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "safe_square", DURABILITY_DURABLE);
    struct heard heard;
    struct live *live;
    struct uuid id;

    from.expires_at_ms = clock_wall_ms() + 2000;
    live = submit_as(rig, from, "[2,-1]");
    id = live->job.spec->id;
    assert_ends(rig, live, JOB_FAILED);
    live_unpin(live);
    WAIT(rig, !dispatch_find(rig->dispatch, id));
    WAIT(rig, clock_wall_ms() > from.expires_at_ms);
    occupy_workers(rig);
    heard = retry(rig, id);
    assert_int_equal(heard.st, ST_OK);
    live_unpin(heard.lives[0]);
    close_all(rig);
    open_all(rig);
    WAIT(rig, dispatch_find(rig->dispatch, id));
    live = dispatch_find(rig->dispatch, id);
    assert_int_equal(live->job.status.completed, 1);
    assert_ends(rig, live, JOB_FAILED); /* not expired */
    assert_error(live, "Negative input");
    live_unpin(live);
}

/* What it has spent of its budgets before the retry counts no more, also if the server is gone
 * before anything is tried again. */
static void retried_job_has_new_budgets_after_a_restart(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = plan(rig, "safe_square", DURABILITY_DURABLE);
    struct heard heard;
    struct live *live;
    struct uuid id;

    from.retries = 1;
    from.backoff = (struct job_backoff){ .initial_ms = 1, .factor = 1, .max_ms = 1 };
    live = submit_as(rig, from, "[-1]");
    id = live->job.spec->id;
    assert_ends(rig, live, JOB_FAILED);
    assert_int_equal(live->attempts.count, 2);
    live_unpin(live);
    for (unsigned n = 1; n <= 2;
         n++) { /* in the second one those of the first are forgiven, too */
        WAIT(rig, !dispatch_find(rig->dispatch, id));
        occupy_workers(rig);
        heard = retry(rig, id);
        assert_int_equal(heard.st, ST_OK);
        live_unpin(heard.lives[0]);
        close_all(rig);
        open_all(rig);
        WAIT(rig, dispatch_find(rig->dispatch, id));
        live = dispatch_find(rig->dispatch, id);
        assert_ends(rig, live, JOB_FAILED);
        assert_int_equal(live->attempts.count, 2 + 2 * n);
        assert_non_null(
            strstr(attempt_log_at(&live->attempts, 2 * n)->data, "\"attempt\":1,"));
        live_unpin(live);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_SQLITE(name) cmocka_unit_test_setup_teardown(name, set_up_sqlite, tear_down)
        CASE(batch_is_accepted_as_one_after_its_commit),
        CASE(batch_that_is_not_stored_is_accepted_at_once),
        CASE(batch_without_room_for_all_makes_none),
        CASE(batch_is_whole_or_not_there_whatever_allocation_fails),
        CASE(failed_job_is_run_again_from_the_store),
        CASE_SQLITE(failed_job_is_run_again_from_the_store),
        CASE(retried_job_has_its_place_among_newer_ones),
        CASE(job_whose_input_is_gone_is_not_run_again),
        CASE(failed_job_is_run_again_where_it_is),
        CASE(job_whose_end_is_not_stored_yet_may_be_run_again),
        CASE(only_what_has_failed_is_run_again),
        CASE(job_has_failed_as_before_if_its_retry_is_without_memory),
        CASE_SQLITE(retried_job_goes_on_after_a_restart_and_expires_no_more),
        CASE_SQLITE(retried_job_has_new_budgets_after_a_restart),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch_batch", tests, NULL, NULL);
}
