/* SPDX-License-Identifier: MIT */
/* What holds for every back end: each test runs over SQLite and over memory. */
#include "tests/unit/server/test_store_fixture.h"

/* ---- jobs ------------------------------------------------------------------------- */

static struct job_spec full_plan(struct fixture *fx)
{
    struct job_spec plan = spec_plan(fx);

    plan.method = JOB_IMAP_UNORDERED;
    plan.durability = DURABILITY_RELAXED;
    plan.task = "images.thumbnail";
    plan.pool = "gpu";
    plan.priority = -7;
    plan.item_count = 3;
    plan.chunksize = 2;
    plan.start_at_ms = 1700000000001;
    plan.expires_at_ms = 1700000000002;
    plan.time_limit_ms = 1500;
    plan.retries = 4;
    plan.crash_retries = 5;
    plan.backoff = (struct job_backoff){ 1000, 60000, 2.5, true };
    plan.return_exceptions = true;
    plan.stop_on_error = true;
    plan.cancel_on_disconnect = true;
    plan.tags = "[\"a\",\"b\"]";
    plan.metadata = "{\"k\": 0.1}";
    plan.idempotency_key = "key-1";
    plan.unique_key = "customer-7";
    plan.request_hash = 0xfedcba9876543210;
    return plan;
}

static void assert_same_spec(const struct job_spec *a, const struct job_spec *b)
{
    assert_true(uuid_equal(a->id, b->id));
    assert_int_equal(a->method, b->method);
    assert_int_equal(a->durability, b->durability);
    assert_string_equal(a->task, b->task);
    assert_string_equal(a->pool, b->pool);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->item_count, b->item_count);
    assert_int_equal(a->chunksize, b->chunksize);
    assert_int_equal(a->created_at_ms, b->created_at_ms);
    assert_int_equal(a->start_at_ms, b->start_at_ms);
    assert_int_equal(a->expires_at_ms, b->expires_at_ms);
    assert_int_equal(a->time_limit_ms, b->time_limit_ms);
    assert_int_equal(a->result_ttl_ms, b->result_ttl_ms);
    assert_int_equal(a->retries, b->retries);
    assert_int_equal(a->crash_retries, b->crash_retries);
    assert_int_equal(a->backoff.initial_ms, b->backoff.initial_ms);
    assert_int_equal(a->backoff.max_ms, b->backoff.max_ms);
    assert_true(a->backoff.factor >= b->backoff.factor &&
                a->backoff.factor <= b->backoff.factor);
    assert_int_equal(a->backoff.jitter, b->backoff.jitter);
    assert_int_equal(a->return_exceptions, b->return_exceptions);
    assert_int_equal(a->stop_on_error, b->stop_on_error);
    assert_int_equal(a->cancel_on_disconnect, b->cancel_on_disconnect);
    assert_string_equal(a->tags, b->tags);
    assert_string_equal(a->metadata, b->metadata);
    assert_string_equal(a->idempotency_key, b->idempotency_key);
    assert_string_equal(a->unique_key, b->unique_key);
    assert_true(a->request_hash == b->request_hash);
    assert_true(text_equal(a->input, b->input));
    assert_true(text_equal(a->kwargs, b->kwargs));
}

static void a_job_comes_back_with_every_member(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_make(full_plan(fx), "[1, 2,\n3]", "{\"w\": 1e2}");
    struct job_status status = { .state = JOB_FAILED,
                                 .completed = 2,
                                 .failed = 1,
                                 .attempt = 3,
                                 .started_at_ms = 1700000000100,
                                 .finished_at_ms = 1700000000200,
                                 .error = blob_new("{\"e\":1}", 7),
                                 .bytes = 24 };
    struct answer put = { 0 }, got;

    store_put_job(fx->store, spec, &status, NULL, note_put, &put);
    wait_for(fx, &put, 1);
    assert_int_equal(put.st, ST_OK);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
    assert_same_spec(got.job.spec, spec);
    assert_int_equal(got.job.status.state, JOB_FAILED);
    assert_int_equal(got.job.status.completed, 2);
    assert_int_equal(got.job.status.failed, 1);
    assert_int_equal(got.job.status.attempt, 3);
    assert_int_equal(got.job.status.started_at_ms, 1700000000100);
    assert_int_equal(got.job.status.finished_at_ms, 1700000000200);
    assert_text_is(blob_text(got.job.status.error), "{\"e\":1}");
    assert_int_equal(got.job.status.bytes, 24);
    assert_false(got.job.gone);
    assert_int_equal(got.job.outcome_count, 0);
    answer_clear(&got);
    job_status_clear(&status);
    job_spec_unref(spec);
}

/* Its count of items grows, and there is no input to be read. */
static void a_job_that_is_fed_comes_back_as_such(void **state)
{
    static const char *const kwargs[] = { "", "{\"w\": 1}" };
    struct fixture *fx = *state;

    for (unsigned i = 0; i < 2; i++) {
        struct job_spec from = full_plan(fx), *spec;
        struct job_status status = { .state = JOB_RUNNING };
        struct answer done = { 0 }, got;

        from.method = JOB_IMAP;
        from.fed = true;
        from.idempotency_key = from.unique_key = NULL;
        from.body = blob_new(kwargs[i], strlen(kwargs[i]));
        from.input = (struct text){ from.body->data, 0 };
        from.kwargs = blob_text(from.body);
        spec = job_spec_new(&from);
        blob_unref(from.body);
        store_put_job(fx->store, spec, &status, NULL, NULL, NULL);
        status.state = JOB_FAILED;
        status.fed = 12345;
        store_put_status(fx->store, spec, &status, NULL, note_done, &done);
        wait_for(fx, &done, 1);
        assert_int_equal(done.st, ST_OK);
        assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
        assert_true(got.job.spec->fed);
        assert_int_equal(job_items(got.job.spec, &got.job.status), 12345);
        assert_int_equal(got.job.spec->input.len, 0);
        assert_text_is(got.job.spec->kwargs, kwargs[i]);
        answer_clear(&got);
        job_spec_unref(spec);
    }
}

static void a_job_with_a_large_input_comes_back_with_it(void **state)
{
    struct fixture *fx = *state;
    char *input = malloc(100000);
    struct job_spec *spec;
    struct answer got;

    assert_non_null(input);
    memset(input, 'x', 100000);
    memcpy(input, "[\"", 2);
    memcpy(input + 99997, "\"]", 3);
    spec = spec_make(spec_plan(fx), input, "{\"k\":1}");
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_text_is(got.job.spec->input, input);
    assert_text_is(got.job.spec->kwargs, "{\"k\":1}");
    answer_clear(&got);
    job_spec_unref(spec);
    free(input);
}

static void texts_that_were_not_given_stay_away(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_null(got.job.spec->tags);
    assert_null(got.job.spec->metadata);
    assert_null(got.job.spec->idempotency_key);
    assert_null(got.job.status.error);
    assert_int_equal(got.job.spec->kwargs.len, 0);
    answer_clear(&got);
    job_spec_unref(spec);
}

static void an_unknown_id_is_not_found(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct uuid guessed = spec->id;
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    guessed.bytes[15] ^= 1; /* the same row key, other random bits */
    assert_int_equal(get_job(fx, guessed, true, &got), ST_NOT_FOUND);
    assert_null(got.job.spec);
    assert_int_equal(get_job(fx, uuid_next(&fx->ids, 0), true, &got), ST_NOT_FOUND);
    assert_null(got.job.spec);
    job_spec_unref(spec);
}

static void put_status_replaces_the_status(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_RUNNING);
    assert_int_equal(got.job.status.started_at_ms, 1700000000100);
    assert_text_is(got.job.spec->input, "[5]");
    answer_clear(&got);
    job_spec_unref(spec);
}

static void a_deleted_job_leaves_nothing(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_spec *spec, *again;
    struct answer got;

    plan.idempotency_key = "once";
    spec = spec_make(plan, "[5]", "");
    plan.id = uuid_next(&fx->ids, 1700000000000);
    again = spec_make(plan, "[5]", "");
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 0, 1, false, "25"), ST_OK);
    assert_int_equal(delete_job(fx, spec->id), ST_OK);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_NOT_FOUND);
    assert_int_equal(delete_job(fx, spec->id), ST_NOT_FOUND);
    assert_int_equal(put_job(fx, again, JOB_QUEUED), ST_OK);
    /* The first one's outcome must not come back with the same id either. */
    assert_int_equal(delete_job(fx, again->id), ST_OK);
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, 0);
    answer_clear(&got);
    job_spec_unref(again);
    job_spec_unref(spec);
}

static enum status put_jobs(struct fixture *fx, struct job_spec *specs[], size_t count)
{
    struct job_status statuses[3] = { status_of(JOB_QUEUED), status_of(JOB_SCHEDULED),
                                      status_of(JOB_QUEUED) };
    struct answer answer = { 0 };

    store_put_jobs(fx->store, specs, statuses, NULL, count, note_done, &answer);
    wait_for(fx, &answer, 1);
    return answer.st;
}

static void jobs_that_are_put_together_are_all_there_after_one_commit(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_spec *specs[3];
    struct store_info info;
    struct answer got;

    specs[0] = spec_of(fx);
    plan.durability = DURABILITY_RELAXED;
    specs[1] = spec_make(plan, "[6]", "{\"k\":1}");
    specs[2] = map_of_ten(fx);
    assert_int_equal(put_jobs(fx, specs, 3), ST_OK);
    store_get_info(fx->store, &info);
    assert_int_equal(info.commits, 1);
    assert_int_equal(info.commands, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(get_job(fx, specs[i]->id, false, &got), ST_OK);
        assert_int_equal(got.job.status.state, i == 1 ? JOB_SCHEDULED : JOB_QUEUED);
        assert_int_equal(got.job.spec->durability, specs[i]->durability);
        assert_true(text_equal(got.job.spec->input, specs[i]->input));
        assert_true(text_equal(got.job.spec->kwargs, specs[i]->kwargs));
        answer_clear(&got);
        job_spec_unref(specs[i]);
    }
}

static void one_job_that_cannot_be_stored_refuses_all_that_come_with_it(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *specs[3] = { spec_of(fx), spec_of(fx), spec_of(fx) };
    struct text input = specs[1]->input;
    struct answer got;

    specs[1]->input.len = (size_t)STORE_BYTES_MAX + 1; /* never read: it is refused */
    assert_int_equal(put_jobs(fx, specs, 3), ST_LIMIT);
    specs[1]->input = input;
    for (int i = 0; i < 3; i++)
        assert_int_equal(get_job(fx, specs[i]->id, false, &got), ST_NOT_FOUND);
    assert_int_equal(put_jobs(fx, specs, 3), ST_OK);
    for (int i = 0; i < 3; i++)
        job_spec_unref(specs[i]);
}

/* ---- idempotency ------------------------------------------------------------------ */

static void an_idempotency_key_belongs_to_the_first_job(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_status queued = status_of(JOB_QUEUED);
    struct answer put = { 0 }, got;
    struct job_spec *first, *second;

    plan.idempotency_key = "order-17";
    plan.request_hash = UINT64_MAX - 1;
    first = spec_make(plan, "[5]", "");
    plan.id = uuid_next(&fx->ids, 1700000000000);
    plan.request_hash = 2;
    second = spec_make(plan, "[6]", "");
    assert_int_equal(put_job(fx, first, JOB_QUEUED), ST_OK);
    store_put_job(fx->store, second, &queued, NULL, note_put, &put);
    wait_for(fx, &put, 1);
    assert_int_equal(put.st, ST_EXISTS);
    assert_true(uuid_equal(put.existing.id, first->id));
    assert_true(put.existing.request_hash == UINT64_MAX - 1);
    assert_int_equal(get_job(fx, second->id, false, &got), ST_NOT_FOUND);
    job_spec_unref(second);
    job_spec_unref(first);
}

static void each_owner_has_idempotency_keys_of_his_own(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct answer found = { 0 }, got;
    struct job_spec *first, *second;

    plan.idempotency_key = "order-17";
    plan.owner = 1;
    first = spec_make(plan, "[5]", "");
    plan.id = uuid_next(&fx->ids, 1700000000000);
    plan.owner = UINT64_MAX;
    second = spec_make(plan, "[6]", "");
    assert_int_equal(put_job(fx, first, JOB_QUEUED), ST_OK);
    assert_int_equal(put_job(fx, second, JOB_QUEUED), ST_OK);
    store_find_key(fx->store, UINT64_MAX, "order-17", note_put, &found);
    wait_for(fx, &found, 1);
    assert_int_equal(found.st, ST_EXISTS);
    assert_true(uuid_equal(found.existing.id, second->id));
    store_find_key(fx->store, 2, "order-17", note_put, &found);
    wait_for(fx, &found, 2);
    assert_int_equal(found.st, ST_NOT_FOUND);
    assert_int_equal(get_job(fx, second->id, false, &got), ST_OK);
    assert_true(got.job.spec->owner == UINT64_MAX);
    answer_clear(&got);
    job_spec_unref(second);
    job_spec_unref(first);
}

static void two_jobs_with_one_key_given_together_make_one(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_status queued = status_of(JOB_QUEUED);
    struct answer puts[2] = { { 0 } };
    struct job_spec *specs[2];

    plan.idempotency_key = "order-18";
    for (int i = 0; i < 2; i++) {
        plan.id = uuid_next(&fx->ids, 1700000000000);
        specs[i] = spec_make(plan, "[5]", "");
        store_put_job(fx->store, specs[i], &queued, NULL, note_put, &puts[i]);
    }
    wait_for(fx, &puts[1], 1);
    assert_int_equal(puts[0].st, ST_OK);
    assert_int_equal(puts[1].st, ST_EXISTS);
    assert_true(uuid_equal(puts[1].existing.id, specs[0]->id));
    job_spec_unref(specs[0]);
    job_spec_unref(specs[1]);
}

static void what_follows_a_refused_job_is_not_stored(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_spec *first, *second;
    struct answer got;

    plan.idempotency_key = "order-19";
    first = spec_make(plan, "[5]", "");
    plan.id = uuid_next(&fx->ids, 1700000000000);
    second = spec_make(plan, "[5]", "");
    assert_int_equal(put_job(fx, first, JOB_QUEUED), ST_OK);
    assert_int_equal(put_job(fx, second, JOB_QUEUED), ST_EXISTS);
    assert_int_equal(put_outcome(fx, second, 0, 1, false, "25"), ST_NOT_FOUND);
    assert_int_equal(put_status(fx, second, JOB_SUCCEEDED), ST_NOT_FOUND);
    assert_int_equal(get_job(fx, first->id, true, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_QUEUED);
    assert_int_equal(got.job.outcome_count, 0);
    answer_clear(&got);
    job_spec_unref(second);
    job_spec_unref(first);
}

/* ---- outcomes --------------------------------------------------------------------- */

static void outcomes_come_back_in_input_order(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = map_of_ten(fx);
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 6, 4, false, "36,49,64,81"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 0, 2, false, "0,1"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 5, 1, false, "25"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 2, 1, true, "{\"e\":0.1}"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 3, 2, false, "9, 16"), ST_OK);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, 5);
    assert_outcome(&got.job.outcomes[0], 0, 2, false, "0,1");
    assert_outcome(&got.job.outcomes[1], 2, 1, true, "{\"e\":0.1}");
    assert_outcome(&got.job.outcomes[2], 3, 2, false, "9, 16");
    assert_outcome(&got.job.outcomes[3], 5, 1, false, "25");
    assert_outcome(&got.job.outcomes[4], 6, 4, false, "36,49,64,81");
    answer_clear(&got);
    job_spec_unref(spec);
}

static void outcomes_are_left_out_unless_asked_for(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 0, 1, false, "25"), ST_OK);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, 0);
    assert_null(got.job.outcomes);
    answer_clear(&got);
    job_spec_unref(spec);
}

static void the_first_outcome_of_an_item_stays(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 0, 1, false, "25"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 0, 1, true, "{}"), ST_OK);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, 1);
    assert_outcome(&got.job.outcomes[0], 0, 1, false, "25");
    answer_clear(&got);
    job_spec_unref(spec);
}

static void a_finished_job_is_stored_with_its_outcomes(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = map_of_ten(fx);
    struct job_status failed = status_of(JOB_FAILED);
    struct outcome outcomes[] = {
        { .first = 0, .count = 9, .text = blob_new("0,1,4,9,16,25,36,49,64", 22) },
        { .first = 9, .count = 1, .is_error = true, .text = blob_new("{}", 2) },
    };
    struct answer done = { 0 }, got;

    store_put_finished(fx->store, spec, &failed, outcomes, 2, NULL, NULL, note_done,
                       &done);
    wait_for(fx, &done, 1);
    assert_int_equal(done.st, ST_OK);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_FAILED);
    assert_int_equal(got.job.outcome_count, 2);
    assert_outcome(&got.job.outcomes[0], 0, 9, false, "0,1,4,9,16,25,36,49,64");
    assert_outcome(&got.job.outcomes[1], 9, 1, true, "{}");
    answer_clear(&got);
    blob_unref(outcomes[0].text);
    blob_unref(outcomes[1].text);
    job_spec_unref(spec);
}

static void a_finished_job_with_a_known_key_changes_nothing(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_status succeeded = status_of(JOB_SUCCEEDED);
    struct outcome outcome = { .first = 0, .count = 1, .text = blob_new("25", 2) };
    struct job_spec *first, *second;
    struct answer done = { 0 }, got;

    plan.idempotency_key = "order-21";
    first = spec_make(plan, "[5]", "");
    plan.id = uuid_next(&fx->ids, 1700000000000);
    second = spec_make(plan, "[5]", "");
    assert_int_equal(put_job(fx, first, JOB_QUEUED), ST_OK);
    store_put_finished(fx->store, second, &succeeded, &outcome, 1, NULL, NULL, note_done,
                       &done);
    wait_for(fx, &done, 1);
    assert_int_equal(done.st, ST_EXISTS);
    assert_int_equal(get_job(fx, second->id, true, &got), ST_NOT_FOUND);
    assert_int_equal(get_job(fx, first->id, true, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, 0);
    answer_clear(&got);
    blob_unref(outcome.text);
    job_spec_unref(second);
    job_spec_unref(first);
}

static void a_retry_forgets_errors_and_keeps_results(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = map_of_ten(fx);
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 0, 3, false, "0,1,4"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 3, 1, true, "{\"e\":3}"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 4, 1, true, "{\"e\":4}"), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 5, 5, false, "25,36,49,64,81"), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_FAILED), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(put_outcome(fx, spec, 3, 2, false, "9,16"), ST_OK);
    assert_int_equal(get_job(fx, spec->id, true, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, 3);
    assert_outcome(&got.job.outcomes[0], 0, 3, false, "0,1,4");
    assert_outcome(&got.job.outcomes[1], 3, 2, false, "9,16");
    assert_outcome(&got.job.outcomes[2], 5, 5, false, "25,36,49,64,81");
    answer_clear(&got);
    job_spec_unref(spec);
}

/* ---- order and ends --------------------------------------------------------------- */

static char order[8];

static void note_a(void *data, enum status st)
{
    (void)data;
    (void)st;
    strcat(order, "a");
}

static void note_b(void *data, enum status st)
{
    note_done(data, st);
    strcat(order, "b");
}

static void answers_come_in_the_order_of_the_commands(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct job_status running = status_of(JOB_RUNNING);
    struct answer last = { 0 };

    order[0] = '\0';
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    store_put_status(fx->store, spec, &running, NULL, note_a, NULL);
    store_put_status(fx->store, spec, &running, NULL, NULL, NULL);
    store_put_status(fx->store, spec, &running, NULL, note_b, &last);
    wait_for(fx, &last, 1);
    assert_string_equal(order, "ab");
    assert_int_equal(store_backlog(fx->store), 0);
    job_spec_unref(spec);
}

static void a_text_over_the_limit_is_refused(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer got;

    spec->input.len = (size_t)STORE_BYTES_MAX + 1;
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_LIMIT);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_NOT_FOUND);
    assert_int_equal(store_backlog(fx->store), 0);
    job_spec_unref(spec);
}

struct late {
    struct fixture *fx;
    struct job_spec *spec;
    struct answer first, second;
};

static void give_more(void *data, enum status st)
{
    struct late *late = data;
    struct job_status status = status_of(JOB_RUNNING);

    note_done(&late->first, st);
    store_put_status(late->fx->store, late->spec, &status, NULL, note_done,
                     &late->second);
}

static void close_answers_what_is_due_and_takes_nothing_more(void **state)
{
    struct fixture *fx = *state;
    struct late late = { .fx = fx, .spec = spec_of(fx) };
    struct job_status running = status_of(JOB_RUNNING);

    assert_int_equal(put_job(fx, late.spec, JOB_QUEUED), ST_OK);
    store_put_status(fx->store, late.spec, &running, NULL, give_more, &late);
    store_close(fx->store);
    fx->store = NULL;
    assert_int_equal(late.first.called, 1);
    assert_int_equal(late.first.st, ST_OK);
    assert_int_equal(late.second.called, 1);
    assert_int_equal(late.second.st, ST_CLOSED);
    job_spec_unref(late.spec);
}

static void info_counts_commits_and_commands(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct store_info info;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_RUNNING), ST_OK);
    store_get_info(fx->store, &info);
    assert_int_equal(info.commits, 2);
    assert_int_equal(info.commands, 2);
    assert_true(info.writable);
    job_spec_unref(spec);
}

/* ---- attempts ---------------------------------------------------------------------- */

static void put_attempt(struct fixture *fx, struct job_spec *spec, uint64_t number,
                        const char *text, enum status expected)
{
    struct blob *attempt = blob_new(text, strlen(text));
    struct answer answer = { 0 };

    assert_non_null(attempt);
    store_put_attempt(fx->store, spec, number, attempt, note_done, &answer);
    blob_unref(attempt);
    wait_for(fx, &answer, 1);
    assert_int_equal(answer.st, expected);
}

static void get_attempts(struct fixture *fx, struct uuid id, struct answer *ret_answer)
{
    memset(ret_answer, 0, sizeof(*ret_answer));
    store_get_job(fx->store, id, STORE_WITH_ATTEMPTS, note_job, ret_answer);
    wait_for(fx, ret_answer, 1);
    assert_int_equal(ret_answer->st, ST_OK);
    assert_int_equal(ret_answer->job.outcome_count, 0);
}

static void attempts_come_back_in_order(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer answer;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    put_attempt(fx, spec, 1, "{\"n\":1}", ST_OK);
    put_attempt(fx, spec, 2, "{\"n\":2}", ST_OK);
    put_attempt(fx, spec, 2, "{\"n\":3}", ST_OK); /* is raised */
    get_attempts(fx, spec->id, &answer);
    assert_int_equal(answer.job.attempts.count, 3);
    assert_int_equal(answer.job.attempts.dropped, 0);
    assert_string_equal(attempt_log_at(&answer.job.attempts, 0)->data, "{\"n\":1}");
    assert_string_equal(attempt_log_at(&answer.job.attempts, 2)->data, "{\"n\":3}");
    answer_clear(&answer);
    assert_int_equal(get_job(fx, spec->id, true, &answer), ST_OK);
    assert_int_equal(answer.job.attempts.count, 0);
    answer_clear(&answer);
    job_spec_unref(spec);
}

static void attempts_need_a_job_and_go_with_it(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);

    put_attempt(fx, spec, 1, "{}", ST_NOT_FOUND);
    assert_int_equal(put_job(fx, spec, JOB_SUCCEEDED), ST_OK);
    put_attempt(fx, spec, 1, "{}", ST_OK);
    assert_int_equal(delete_job(fx, spec->id), ST_OK);
    put_attempt(fx, spec, 2, "{}", ST_NOT_FOUND);
    job_spec_unref(spec);
}

static void the_newest_attempts_are_kept_and_the_others_counted(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer answer;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    put_attempt(fx, spec, 5, "\"first\"", ST_OK);
    put_attempt(fx, spec, 6, "\"second\"", ST_OK);
    for (unsigned i = 2; i < ATTEMPTS_MAX; i++)
        store_put_attempt(fx->store, spec, 5 + i, spec->body, NULL, NULL);
    put_attempt(fx, spec, 5 + ATTEMPTS_MAX, "\"last\"", ST_OK);
    get_attempts(fx, spec->id, &answer);
    assert_int_equal(answer.job.attempts.count, ATTEMPTS_MAX);
    assert_int_equal(answer.job.attempts.dropped, 5);
    assert_string_equal(attempt_log_at(&answer.job.attempts, 0)->data, "\"second\"");
    assert_string_equal(attempt_log_at(&answer.job.attempts, ATTEMPTS_MAX - 1)->data,
                        "\"last\"");
    answer_clear(&answer);
    job_spec_unref(spec);
}

static void a_finished_job_is_stored_with_its_attempts(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct job_status status = status_of(JOB_FAILED);
    struct attempt_log attempts = { .dropped = 7 };
    struct answer done = { 0 }, answer;

    assert_true(attempt_log_add(&attempts, blob_new("{}", 2)));
    store_put_finished(fx->store, spec, &status, NULL, 0, &attempts, NULL, note_done,
                       &done);
    attempt_log_clear(&attempts);
    wait_for(fx, &done, 1);
    assert_int_equal(done.st, ST_OK);
    get_attempts(fx, spec->id, &answer);
    assert_int_equal(answer.job.attempts.count, 1);
    assert_int_equal(answer.job.attempts.dropped, 7);
    answer_clear(&answer);
    job_spec_unref(spec);
}

static void put_log(struct fixture *fx, struct job_spec *spec, const char *json)
{
    struct blob *log = blob_new(json, strlen(json));

    assert_non_null(log);
    store_put_log(fx->store, spec, log);
    blob_unref(log);
}

static void the_newest_log_of_a_job_is_kept(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer answer = { 0 };

    put_log(fx, spec, "no job"); /* is passed over */
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    put_log(fx, spec, "old");
    put_log(fx, spec, "new");
    assert_int_equal(put_status(fx, spec, JOB_SUCCEEDED), ST_OK);
    store_get_job(fx->store, spec->id, STORE_WITH_LOG, note_job, &answer);
    wait_for(fx, &answer, 1);
    assert_int_equal(answer.st, ST_OK);
    assert_string_equal(answer.job.log->data, "new");
    answer_clear(&answer);
    assert_int_equal(get_job(fx, spec->id, true, &answer), ST_OK);
    assert_null(answer.job.log);
    answer_clear(&answer);
    job_spec_unref(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_job_comes_back_with_every_member),
        BOTH(a_job_that_is_fed_comes_back_as_such),
        BOTH(a_job_with_a_large_input_comes_back_with_it),
        BOTH(texts_that_were_not_given_stay_away),
        BOTH(an_unknown_id_is_not_found),
        BOTH(put_status_replaces_the_status),
        BOTH(a_deleted_job_leaves_nothing),
        BOTH(jobs_that_are_put_together_are_all_there_after_one_commit),
        BOTH(one_job_that_cannot_be_stored_refuses_all_that_come_with_it),
        BOTH(an_idempotency_key_belongs_to_the_first_job),
        BOTH(each_owner_has_idempotency_keys_of_his_own),
        BOTH(two_jobs_with_one_key_given_together_make_one),
        BOTH(what_follows_a_refused_job_is_not_stored),
        BOTH(outcomes_come_back_in_input_order),
        BOTH(outcomes_are_left_out_unless_asked_for),
        BOTH(the_first_outcome_of_an_item_stays),
        BOTH(a_finished_job_is_stored_with_its_outcomes),
        BOTH(a_finished_job_with_a_known_key_changes_nothing),
        BOTH(a_retry_forgets_errors_and_keeps_results),
        BOTH(attempts_come_back_in_order),
        BOTH(attempts_need_a_job_and_go_with_it),
        BOTH(the_newest_attempts_are_kept_and_the_others_counted),
        BOTH(a_finished_job_is_stored_with_its_attempts),
        BOTH(the_newest_log_of_a_job_is_kept),
        BOTH(answers_come_in_the_order_of_the_commands),
        BOTH(a_text_over_the_limit_is_refused),
        BOTH(close_answers_what_is_due_and_takes_nothing_more),
        BOTH(info_counts_commits_and_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
