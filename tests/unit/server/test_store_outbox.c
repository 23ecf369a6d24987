/* SPDX-License-Identifier: MIT */
/* Deliveries, over SQLite and over memory: added with the end of their job, or not at all. */
#include "server/callback.h"
#include "tests/unit/server/test_store_fixture.h"

struct listed {
    unsigned called;
    enum status st;
    struct delivery list[8];
    size_t count;
};

static void note_list(void *data, enum status st, const struct delivery *list,
                      size_t count)
{
    struct listed *listed = data;

    listed->called++;
    listed->st = st;
    listed->count = count;
    assert_in_range(count, 0, 8);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(delivery_copy(&list[i], &listed->list[i]), ST_OK);
}

/* id NULL: those that are pending. To be cleared. */
static struct listed list_of(struct fixture *fx, const struct uuid *id, unsigned limit)
{
    struct delivery_query query = { .of_job = id != NULL, .limit = limit };
    struct listed listed = { 0 };

    if (id)
        query.job = *id;
    store_list_deliveries(fx->store, &query, note_list, &listed);
    while (!listed.called) {
        while (sem_wait(&fx->wake) != 0)
            assert_int_equal(errno, EINTR);
        store_drain(fx->store);
    }
    assert_int_equal(listed.st, ST_OK);
    return listed;
}

static void clear(struct listed *listed)
{
    for (size_t i = 0; i < listed->count; i++)
        delivery_clear(&listed->list[i]);
}

static size_t count_of(struct fixture *fx, const struct uuid *id)
{
    struct listed listed = list_of(fx, id, 8);

    clear(&listed);
    return listed.count;
}

static struct job_spec *spec_with_callbacks(struct fixture *fx)
{
    struct job_spec plan = spec_plan(fx);

    plan.callback = "https://a.example/done";
    plan.error_callback = "https://a.example/bad";
    return spec_make(plan, "[5]", "");
}

static enum status put_delivery(struct fixture *fx, const struct delivery *delivery)
{
    struct answer answer = { 0 };

    store_put_delivery(fx->store, delivery, note_done, &answer);
    wait_for(fx, &answer, 1);
    return answer.st;
}

static void the_end_of_a_job_adds_its_message(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_with_callbacks(fx);
    struct listed listed;
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_RUNNING), ST_OK);
    assert_int_equal(count_of(fx, &spec->id), 0);
    assert_int_equal(put_status(fx, spec, JOB_FAILED), ST_OK);
    listed = list_of(fx, &spec->id, 8);
    assert_int_equal(listed.count, 1);
    assert_true(uuid_equal(listed.list[0].job, spec->id));
    assert_int_equal(listed.list[0].number, 1);
    assert_int_equal(listed.list[0].state, DELIVERY_PENDING);
    assert_int_equal(listed.list[0].due_at_ms, 1700000000200);
    assert_string_equal(listed.list[0].url, "https://a.example/bad");
    assert_string_equal(listed.list[0].attempts, "[]");
    assert_non_null(strstr(listed.list[0].body, "\"type\":\"job.failed\""));
    clear(&listed);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_string_equal(got.job.spec->callback, spec->callback);
    assert_string_equal(got.job.spec->error_callback, spec->error_callback);
    answer_clear(&got);
    job_spec_unref(spec);
}

static void a_job_that_ends_twice_has_two_messages(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_with_callbacks(fx);
    struct listed listed;

    assert_int_equal(put_job(fx, spec, JOB_FAILED), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_SUCCEEDED), ST_OK);
    listed = list_of(fx, &spec->id, 8);
    assert_int_equal(listed.count, 2);
    assert_int_equal(listed.list[0].number, 2);
    assert_string_equal(listed.list[0].url, "https://a.example/done");
    assert_int_equal(listed.list[1].number, 1);
    clear(&listed);
    listed = list_of(fx, &spec->id, 1);
    assert_int_equal(listed.count, 1);
    assert_int_equal(listed.list[0].number, 2);
    clear(&listed);
    job_spec_unref(spec);
}

static void a_job_without_a_callback_for_its_end_has_none(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_spec *spec;

    plan.callback = "https://a.example/done";
    spec = spec_make(plan, "[5]", "");
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, spec, JOB_CANCELLED), ST_OK);
    assert_int_equal(count_of(fx, &spec->id), 0);
    assert_int_equal(count_of(fx, NULL), 0);
    job_spec_unref(spec);
}

static void what_becomes_of_a_message_is_kept(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_with_callbacks(fx);
    struct listed listed, after;

    assert_int_equal(put_job(fx, spec, JOB_SUCCEEDED), ST_OK);
    listed = list_of(fx, NULL, 8);
    assert_int_equal(listed.count, 1);
    assert_int_equal(delivery_add_attempt(&listed.list[0], 1700000000300, 500, NULL),
                     ST_OK);
    listed.list[0].due_at_ms = 1700000005300;
    assert_int_equal(put_delivery(fx, &listed.list[0]), ST_OK);
    after = list_of(fx, NULL, 8);
    assert_int_equal(after.count, 1);
    assert_int_equal(after.list[0].tries, 1);
    assert_int_equal(after.list[0].due_at_ms, 1700000005300);
    assert_string_equal(after.list[0].attempts,
                        "[{\"at\":\"2023-11-14T22:13:20.300Z\",\"status\":500,\"error\":"
                        "null}]");
    clear(&after);
    listed.list[0].state = DELIVERY_DELIVERED;
    assert_int_equal(put_delivery(fx, &listed.list[0]), ST_OK);
    assert_int_equal(count_of(fx, NULL), 0);
    assert_int_equal(count_of(fx, &spec->id), 1);
    assert_int_equal(delete_job(fx, spec->id), ST_OK);
    assert_int_equal(count_of(fx, &spec->id), 0);
    assert_int_equal(put_delivery(fx, &listed.list[0]), ST_NOT_FOUND);
    clear(&listed);
    job_spec_unref(spec);
}

static void pending_messages_come_in_the_order_in_which_they_are_due(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *specs[3];
    struct listed listed;

    for (int i = 0; i < 3; i++) {
        specs[i] = spec_with_callbacks(fx);
        assert_int_equal(put_job(fx, specs[i], JOB_SUCCEEDED), ST_OK);
        listed = list_of(fx, &specs[i]->id, 8);
        listed.list[0].due_at_ms = 1700000000000 + (i + 1) % 3;
        assert_int_equal(put_delivery(fx, &listed.list[0]), ST_OK);
        clear(&listed);
    }
    listed = list_of(fx, NULL, 2);
    assert_int_equal(listed.count, 2);
    assert_true(uuid_equal(listed.list[0].job, specs[2]->id));
    assert_true(uuid_equal(listed.list[1].job, specs[0]->id));
    clear(&listed);
    for (int i = 0; i < 3; i++)
        job_spec_unref(specs[i]);
}

/* ---- without a store --------------------------------------------------------------- */

static void the_oldest_attempts_are_forgotten(void **state)
{
    struct job_spec spec = { .task = "square", .callback = "https://a.example/" };
    struct job_status status = { .state = JOB_SUCCEEDED };
    struct delivery delivery;

    (void)state;
    assert_int_equal(delivery_of_end(&spec, &status, &delivery), ST_OK);
    for (long i = 0; i < DELIVERY_ATTEMPTS_MAX + 5; i++)
        assert_int_equal(delivery_add_attempt(&delivery, 0, 100 + i, NULL), ST_OK);
    assert_null(strstr(delivery.attempts, "\"status\":104"));
    assert_non_null(strstr(delivery.attempts, "\"status\":105"));
    assert_non_null(strstr(delivery.attempts, "\"status\":124"));
    delivery_clear(&delivery);
}

static void a_full_outbox_drops_what_is_delivered_first(void **state)
{
    struct job_spec spec = { .task = "square", .callback = "https://a.example/" };
    struct job_status status = { .state = JOB_SUCCEEDED };
    struct outbox outbox = { 0 };

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(outbox_add(&outbox, &spec, &status), ST_OK);
    outbox.items[1].state = DELIVERY_DELIVERED;
    outbox_drop_oldest(&outbox);
    assert_int_equal(outbox.count, 2);
    assert_int_equal(outbox.items[1].number, 3);
    outbox_drop_oldest(&outbox);
    assert_int_equal(outbox.count, 1);
    assert_int_equal(outbox.items[0].number, 3);
    outbox_clear(&outbox);
}

static void pauses_grow_from_the_first_in_proportion(void **state)
{
    (void)state;
    assert_int_equal(callback_pause_ms(5000, 1), 5000);
    assert_int_equal(callback_pause_ms(5000, 2), 300000);
    assert_int_equal(callback_pause_ms(5000, 9), 86400000);
    assert_int_equal(callback_pause_ms(10, 2), 600);
    assert_int_equal(callback_pause_ms(0, 9), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(the_end_of_a_job_adds_its_message),
        BOTH(a_job_that_ends_twice_has_two_messages),
        BOTH(a_job_without_a_callback_for_its_end_has_none),
        BOTH(what_becomes_of_a_message_is_kept),
        BOTH(pending_messages_come_in_the_order_in_which_they_are_due),
        cmocka_unit_test(the_oldest_attempts_are_forgotten),
        cmocka_unit_test(a_full_outbox_drops_what_is_delivered_first),
        cmocka_unit_test(pauses_grow_from_the_first_in_proportion),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
