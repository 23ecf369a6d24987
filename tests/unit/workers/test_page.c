/* SPDX-License-Identifier: MIT */
#include "workers/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

static void page_claim_wins_what_was_offered_once(void **state)
{
    struct worker_page page = { 0 };

    (void)state;
    assert_false(page_claim(&page, 1));
    page_offer(&page, 1);
    assert_int_equal(page_claim_state(&page, 1), CLAIM_OFFERED);
    assert_true(page_claim(&page, 1));
    assert_int_equal(page_claim_state(&page, 1), CLAIM_CLAIMED);
    assert_false(page_claim(&page, 1));
}

static void page_revoke_is_too_late_after_the_claim(void **state)
{
    struct worker_page page = { 0 };

    (void)state;
    page_offer(&page, 1);
    assert_true(page_claim(&page, 1));
    assert_false(page_revoke(&page, 1));
    assert_int_equal(page_claim_state(&page, 1), CLAIM_CLAIMED);
}

static void page_claim_is_too_late_after_the_revocation(void **state)
{
    struct worker_page page = { 0 };

    (void)state;
    page_offer(&page, 1);
    assert_true(page_revoke(&page, 1));
    assert_false(page_claim(&page, 1));
    assert_int_equal(page_claim_state(&page, 1), CLAIM_REVOKED);
}

static void page_holds_as_many_chunks_as_a_worker_does(void **state)
{
    struct worker_page page = { 0 };

    (void)state;
    page_offer(&page, 1);
    page_offer(&page, 2);
    assert_true(page_claim(&page, 1));
    assert_true(page_revoke(&page, 2));
    assert_int_equal(page_claim_state(&page, 1), CLAIM_CLAIMED);
}

static void page_slot_offered_again_knows_nothing_of_the_old_chunk(void **state)
{
    struct worker_page page = { 0 };

    (void)state;
    page_offer(&page, 2);
    assert_true(page_revoke(&page, 2));
    page_offer(&page, 2 + WORKER_PIPELINE);
    assert_int_equal(page_claim_state(&page, 2), CLAIM_NONE);
    assert_false(page_claim(&page, 2));
    assert_true(page_claim(&page, 2 + WORKER_PIPELINE));
}

static void only_a_task_that_asks_is_heard_to_listen(void **state)
{
    struct worker_page page = { 0 };

    (void)state;
    assert_false(page_ask_cancelled(&page)); /* the initializer */
    assert_false(page_cancel(&page, 1));
    atomic_store(&page.item_chunk, 2);
    assert_false(page_ask_cancelled(&page));
    assert_false(page_is_cancelled(&page, 2));
    assert_true(page_cancel(&page, 2));
    assert_true(page_ask_cancelled(&page));
    assert_true(page_is_cancelled(&page, 2));
    atomic_store(&page.item_chunk, 3); /* the next one has not */
    assert_false(page_is_cancelled(&page, 3));
    assert_false(page_cancel(&page, 3));
    assert_true(page_ask_cancelled(&page));
}

#define ROUNDS 20000u

struct race {
    struct worker_page page;
    _Atomic uint64_t round; /* the chunk that is on offer */
    _Atomic uint64_t done;
    unsigned claimed;
};

static void *claim_all(void *data)
{
    struct race *race = data;

    for (uint64_t id = 1; id <= ROUNDS; id++) {
        while (atomic_load(&race->round) < id)
            ;
        race->claimed += page_claim(&race->page, id);
        atomic_store(&race->done, id);
    }
    return NULL;
}

static void exactly_one_of_claim_and_revoke_wins(void **state)
{
    static struct race race;
    unsigned revoked = 0;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, claim_all, &race), 0);
    for (uint64_t id = 1; id <= ROUNDS; id++) {
        page_offer(&race.page, id);
        atomic_store(&race.round, id);
        revoked += page_revoke(&race.page, id);
        while (atomic_load(&race.done) < id)
            ;
    }
    pthread_join(thread, NULL);
    assert_int_equal(revoked + race.claimed, ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_claim_wins_what_was_offered_once),
        cmocka_unit_test(page_revoke_is_too_late_after_the_claim),
        cmocka_unit_test(page_claim_is_too_late_after_the_revocation),
        cmocka_unit_test(page_holds_as_many_chunks_as_a_worker_does),
        cmocka_unit_test(page_slot_offered_again_knows_nothing_of_the_old_chunk),
        cmocka_unit_test(only_a_task_that_asks_is_heard_to_listen),
        cmocka_unit_test(exactly_one_of_claim_and_revoke_wins),
    };

    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
