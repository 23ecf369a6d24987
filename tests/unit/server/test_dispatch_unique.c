/* SPDX-License-Identifier: MIT */
/* One job at a time with the same unique_key. */
#include "tests/unit/server/dispatch_rig.h"

static struct job_spec unique_plan(struct rig *rig, const char *task,
                                   enum job_conflict on_conflict)
{
    struct job_spec from = plan(rig, task, DURABILITY_DURABLE);

    from.unique_key = "customer-7";
    from.on_conflict = on_conflict;
    return from;
}

/* A job that has the key and does not start. */
static struct live *scheduled_holder(struct rig *rig)
{
    struct job_spec from = unique_plan(rig, "square", CONFLICT_RETURN);
    struct live *live;

    from.start_at_ms = clock_wall_ms() + 3600000;
    live = submit_as(rig, from, "[3]");
    WAIT(rig, live->accepted);
    return live;
}

static enum status submit_rival(struct rig *rig, enum job_conflict on_conflict,
                                struct live **ret_live)
{
    struct job_spec from = unique_plan(rig, "square", on_conflict);

    return dispatch_submit(rig->dispatch, spec_of(from, "[4]"), ret_live);
}

static void unique_key_is_of_one_job_until_its_end(void **state)
{
    struct rig *rig = *state;
    struct live *holder = scheduled_holder(rig), *rival = NULL;

    assert_int_equal(submit_rival(rig, CONFLICT_RETURN, &rival), ST_EXISTS);
    assert_ptr_equal(rival, holder);
    rival = NULL;
    assert_int_equal(submit_rival(rig, CONFLICT_REJECT, &rival), ST_CONFLICT);
    assert_ptr_equal(rival, holder);
    assert_int_equal(dispatch_jobs(rig->dispatch), 1);
    assert_int_equal(dispatch_cancel(holder, false), ST_OK);
    assert_int_equal(submit_rival(rig, CONFLICT_REJECT, &rival), ST_OK);
    assert_ends(rig, rival, JOB_SUCCEEDED);
    live_unpin(rival);
}

static void other_unique_keys_do_not_matter(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = unique_plan(rig, "square", CONFLICT_REJECT);
    struct live *other;

    scheduled_holder(rig);
    from.unique_key = "customer-8";
    other = submit_as(rig, from, "[3]");
    assert_ends(rig, other, JOB_SUCCEEDED);
    live_unpin(other);
}

static void unique_keys_of_other_owners_do_not_matter(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = unique_plan(rig, "square", CONFLICT_REJECT);
    struct live *other, *rival = NULL;

    scheduled_holder(rig);
    from.owner = 7;
    from.start_at_ms = clock_wall_ms() + 3600000;
    other = submit_as(rig, from, "[3]");
    WAIT(rig, other->accepted);
    from.id = dispatch_new_id(rig->dispatch, clock_wall_ms());
    assert_int_equal(dispatch_submit(rig->dispatch, spec_of(from, "[4]"), &rival),
                     ST_CONFLICT);
    assert_ptr_equal(rival, other);
    assert_int_equal(dispatch_cancel(other, false), ST_OK);
    assert_ends(rig, other, JOB_CANCELLED);
    live_unpin(other);
}

static void replaced_job_is_cancelled_and_the_new_one_runs(void **state)
{
    struct rig *rig = *state;
    struct live *holder = scheduled_holder(rig), *rival;
    struct uuid id = holder->id;

    assert_int_equal(submit_rival(rig, CONFLICT_REPLACE, &rival), ST_OK);
    assert_ptr_not_equal(rival, holder);
    assert_ends(rig, rival, JOB_SUCCEEDED);
    assert_int_equal(in_store(rig, id).state, JOB_CANCELLED);
    live_unpin(rival);
}

/* The one that was to be replaced goes on when there is no memory for the new one. */
static void job_is_replaced_or_left_alone_whatever_allocation_fails(void **state)
{
    struct rig *rig = *state;
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        struct live *holder = scheduled_holder(rig), *rival = NULL;
        struct job_spec from = unique_plan(rig, "square", CONFLICT_REPLACE);
        struct job_spec *spec;
        enum status st;

        from.durability = DURABILITY_RELAXED;
        spec = spec_of(from, "[4]");
        mem_fail_at(n, 0);
        st = dispatch_submit(rig->dispatch, spec, &rival);
        failed = mem_calls() >= n;
        mem_fail_at(0, 0);
        if (st != ST_OK) {
            assert_int_equal(st, ST_NO_MEMORY);
            assert_false(holder->ending);
            assert_int_equal(submit_rival(rig, CONFLICT_RETURN, &rival), ST_EXISTS);
            assert_ptr_equal(rival, holder);
            assert_int_equal(dispatch_cancel(holder, false), ST_OK);
        } else {
            assert_true(job_state_final(end_of(rig, rival)));
            live_unpin(rival);
        }
        WAIT(rig, dispatch_jobs(rig->dispatch) == 0);
    }
}

static void job_that_waits_for_its_commit_can_be_replaced(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = unique_plan(rig, "square", CONFLICT_RETURN);
    struct live *first, *second;
    struct uuid id;

    rig->holding = true;
    first = submit_as(rig, from, "[3]");
    id = first->id;
    assert_int_equal(submit_rival(rig, CONFLICT_REPLACE, &second), ST_OK);
    release(rig);
    assert_ends(rig, second, JOB_SUCCEEDED);
    assert_int_equal(in_store(rig, id).state, JOB_CANCELLED);
    live_unpin(second);
}

static void running_job_is_not_replaced(void **state)
{
    struct rig *rig = *state;
    struct live *holder, *rival = NULL;

    holder = submit_as(rig, unique_plan(rig, "sleep", CONFLICT_RETURN), "[30]");
    WAIT(rig, holder->job.status.state == JOB_RUNNING);
    assert_int_equal(submit_rival(rig, CONFLICT_REPLACE, &rival), ST_CONFLICT);
    assert_ptr_equal(rival, holder);
}

static void full_queue_refuses_before_it_replaces(void **state)
{
    struct rig *rig = *state;
    struct live *holder = scheduled_holder(rig), *rival;

    while (dispatch_jobs(rig->dispatch) < MAX_JOBS)
        submit(rig, "sleep", "[30]", DURABILITY_MEMORY);
    assert_int_equal(submit_rival(rig, CONFLICT_REPLACE, &rival), ST_LIMIT);
    assert_int_equal(holder->job.status.state, JOB_SCHEDULED);
    assert_int_equal(submit_rival(rig, CONFLICT_RETURN, &rival), ST_EXISTS);
}

static void same_idempotency_key_is_no_rival(void **state)
{
    struct rig *rig = *state;
    struct job_spec from = unique_plan(rig, "square", CONFLICT_REPLACE);
    struct live *first, *second;
    struct told told;

    from.start_at_ms = clock_wall_ms() + 3600000;
    from.idempotency_key = "k";
    first = submit_as(rig, from, "[3]");
    WAIT(rig, first->accepted);
    from.id = dispatch_new_id(rig->dispatch, clock_wall_ms());
    second = submit_as(rig, from, "[3]");
    wait_for(second, WAIT_ACCEPTED, &told);
    WAIT(rig, told.times);
    assert_int_equal(told.st, ST_EXISTS);
    assert_int_equal(first->job.status.state, JOB_SCHEDULED);
    from.idempotency_key = "other";
    from.id = dispatch_new_id(rig->dispatch, clock_wall_ms());
    assert_ptr_equal(dispatch_rival(rig->dispatch, &from)->live, first);
    from.idempotency_key = "k";
    assert_null(dispatch_rival(rig->dispatch, &from));
}

/* One request that is sent twice. The store has no memory for it the first time: that is the
 * allocation that fails last. */
struct sent_twice {
    struct live *first, *second;
    struct told told, told_again;
};

static void send_twice(struct rig *rig, struct sent_twice *ret_sent)
{
    struct job_spec from = unique_plan(rig, "square", CONFLICT_RETURN);
    enum status st = ST_NO_MEMORY;
    bool last = false;
    char key[16];

    from.start_at_ms = clock_wall_ms() + 3600000;
    from.unique_key = "customer-8"; /* tables have something in them from here on */
    submit_as(rig, from, "[3]");
    from.unique_key = "customer-7";
    from.idempotency_key = key;
    for (unsigned n = 1; !last; n++) {
        struct job_spec *spec;

        (void)snprintf(key, sizeof(key), "%u", n);
        from.id = dispatch_new_id(rig->dispatch, clock_wall_ms());
        spec = spec_of(from, "[3]");
        rig->holding = true;
        mem_fail_at(n, 0);
        st = dispatch_submit(rig->dispatch, spec, &ret_sent->first);
        last = st == ST_OK && mem_calls() == n;
        mem_fail_at(0, 0);
        if (st == ST_OK && !last) { /* it does without */
            release(rig);
            assert_int_equal(dispatch_cancel(ret_sent->first, false), ST_OK);
        }
    }
    wait_for(ret_sent->first, WAIT_ACCEPTED, &ret_sent->told);
    from.id = dispatch_new_id(rig->dispatch, clock_wall_ms());
    ret_sent->second = submit_as(rig, from, "[3]");
    wait_for(ret_sent->second, WAIT_ACCEPTED, &ret_sent->told_again);
}

static void unique_key_passes_to_the_request_that_was_sent_again(void **state)
{
    struct rig *rig = *state;
    struct sent_twice sent;
    struct live *rival = NULL;

    send_twice(rig, &sent);
    release(rig);
    WAIT(rig, sent.told.times && sent.told_again.times);
    assert_int_equal(sent.told.st, ST_NO_MEMORY);
    assert_int_equal(sent.told_again.st, ST_OK);
    assert_int_equal(submit_rival(rig, CONFLICT_RETURN, &rival), ST_EXISTS);
    assert_ptr_equal(rival, sent.second);
    assert_int_equal(dispatch_cancel(sent.second, false), ST_OK);
    assert_int_equal(submit_rival(rig, CONFLICT_REJECT, &rival), ST_OK);
}

/* Who replaces a job that is not accepted yet replaces it in each of its requests. */
static void request_that_was_sent_again_is_replaced_with_the_first(void **state)
{
    struct rig *rig = *state;
    struct sent_twice sent;
    struct live *rival;

    send_twice(rig, &sent);
    assert_int_equal(submit_rival(rig, CONFLICT_REPLACE, &rival), ST_OK);
    release(rig);
    WAIT(rig, sent.told.times && sent.told_again.times);
    assert_int_equal(sent.told.st, ST_NO_MEMORY);
    assert_ends(rig, rival, JOB_SUCCEEDED);
    live_unpin(rival);
    WAIT(rig, dispatch_jobs(rig->dispatch) == 1); /* the one with the other key */
}

static void unique_key_is_known_after_a_restart(void **state)
{
    struct rig *rig = *state;
    struct uuid id = scheduled_holder(rig)->id;
    struct live *rival = NULL;

    close_all(rig);
    open_all(rig);
    assert_int_equal(submit_rival(rig, CONFLICT_RETURN, &rival), ST_EXISTS);
    assert_null(rival); /* a stub */
    assert_true(uuid_equal(dispatch_last_rival(rig->dispatch)->id, id));
    assert_int_equal(dispatch_last_rival(rig->dispatch)->state, JOB_SCHEDULED);
}

static void note_put(void *data, enum status st, const struct store_existing *existing)
{
    (void)existing;
    *(enum status *)data = st;
}

/* A stub has to be read for its end to be stored: the server may crash after the new job has
 * been stored, and before that. */
static void job_that_was_replaced_before_a_crash_is_cancelled_after_it(void **state)
{
    struct rig *rig = *state;
    struct uuid first = scheduled_holder(rig)->id;
    struct job_spec *second =
        spec_of(unique_plan(rig, "square", CONFLICT_REPLACE), "[4]");
    const struct job_status queued = { .state = JOB_QUEUED };
    enum status st = ST_AGAIN;

    store_put_job(rig->store, second, &queued, NULL, note_put, &st);
    WAIT(rig, st == ST_OK);
    close_all(rig);
    open_all(rig);
    WAIT(rig, dispatch_jobs(rig->dispatch) == 0);
    assert_int_equal(in_store(rig, first).state, JOB_CANCELLED);
    assert_int_equal(in_store(rig, second->id).state, JOB_SUCCEEDED);
    job_spec_unref(second);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_SQLITE(name) cmocka_unit_test_setup_teardown(name, set_up_sqlite, tear_down)
        CASE(unique_key_is_of_one_job_until_its_end),
        CASE(other_unique_keys_do_not_matter),
        CASE(unique_keys_of_other_owners_do_not_matter),
        CASE(replaced_job_is_cancelled_and_the_new_one_runs),
        CASE(job_is_replaced_or_left_alone_whatever_allocation_fails),
        CASE(job_that_waits_for_its_commit_can_be_replaced),
        CASE(running_job_is_not_replaced),
        CASE(full_queue_refuses_before_it_replaces),
        CASE(same_idempotency_key_is_no_rival),
        CASE(unique_key_passes_to_the_request_that_was_sent_again),
        CASE(request_that_was_sent_again_is_replaced_with_the_first),
        CASE_SQLITE(unique_key_is_known_after_a_restart),
        CASE_SQLITE(job_that_was_replaced_before_a_crash_is_cancelled_after_it),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("dispatch_unique", tests, NULL, NULL);
}
