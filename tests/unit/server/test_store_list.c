/* SPDX-License-Identifier: MIT */
/* Listings and their filter, over every back end. */
#include "tests/unit/server/test_store_fixture.h"

/* Six jobs, of which the last one is not over. */
static void put_some(struct fixture *fx, struct uuid ret_ids[6])
{
    static const struct {
        const char *task, *pool, *tags;
        enum job_state state;
    } some[6] = {
        { "square", "default", "[\"red\"]", JOB_SUCCEEDED },
        { "cube", "default", NULL, JOB_FAILED },
        { "square", "gpu", "[\"r\\u0065d\", \"blue\"]", JOB_SUCCEEDED },
        { "cube", "gpu", "[\"redder\"]", JOB_CANCELLED },
        { "square", "default", "[]", JOB_EXPIRED },
        { "square", "default", "[\"red\"]", JOB_SCHEDULED },
    };

    for (int i = 0; i < 6; i++) {
        struct job_spec plan = spec_plan(fx);
        struct job_spec *spec;

        plan.task = some[i].task;
        plan.pool = some[i].pool;
        plan.tags = some[i].tags;
        plan.owner = (uint64_t)i % 3; /* 0: nobody */
        spec = spec_make(plan, "[5]", "");
        assert_int_equal(put_job(fx, spec, some[i].state), ST_OK);
        ret_ids[i] = spec->id;
        job_spec_unref(spec);
    }
}

/* expected: the positions of the jobs as digits, newest first. */
static void assert_listed(struct fixture *fx, const struct job_filter *filter,
                          const struct uuid ids[6], const char *expected)
{
    struct answer got = { 0 };

    store_list_jobs(fx->store, filter, note_jobs, &got);
    wait_for(fx, &got, 1);
    assert_int_equal(got.st, ST_OK);
    assert_int_equal(got.job_count, strlen(expected));
    for (size_t i = 0; i < got.job_count; i++) {
        assert_true(uuid_equal(got.jobs[i].spec->id, ids[expected[i] - '0']));
        assert_int_equal(got.jobs[i].outcome_count, 0);
    }
    answer_clear(&got);
}

static void jobs_are_listed_newest_first(void **state)
{
    struct job_filter filter = { .state = JOB_STATE_COUNT, .limit = 16 };
    struct uuid ids[6];

    put_some(*state, ids);
    assert_listed(*state, &filter, ids, "543210");
    filter.limit = 2;
    assert_listed(*state, &filter, ids, "54");
}

static void a_listing_goes_on_before_the_last_one_seen(void **state)
{
    struct job_filter filter = { .state = JOB_STATE_COUNT,
                                 .limit = 2,
                                 .has_before = true };
    struct uuid ids[6];

    put_some(*state, ids);
    filter.before = ids[3];
    assert_listed(*state, &filter, ids, "21");
    filter.before = ids[0];
    assert_listed(*state, &filter, ids, "");
}

static void listings_are_filtered_by_each_member(void **state)
{
    struct job_filter any = { .state = JOB_STATE_COUNT, .limit = 16 }, filter;
    char cube[] = "cube", gpu[] = "gpu", red[] = "red", none[] = "re_";
    struct uuid ids[6];

    put_some(*state, ids);
    filter = any;
    filter.state = JOB_SUCCEEDED;
    assert_listed(*state, &filter, ids, "20");
    filter = any;
    filter.task = cube;
    assert_listed(*state, &filter, ids, "31");
    filter.pool = gpu;
    assert_listed(*state, &filter, ids, "3");
    filter = any;
    filter.tag = red;
    assert_listed(*state, &filter, ids, "520");
    filter.tag = none;
    assert_listed(*state, &filter, ids, "");
    filter = any;
    filter.state = JOB_RUNNING;
    assert_listed(*state, &filter, ids, "");
    filter.state = JOB_SCHEDULED;
    assert_listed(*state, &filter, ids, "5");
    filter.state = JOB_QUEUED; /* which it may be by now */
    assert_listed(*state, &filter, ids, "5");
}

static void a_listing_of_an_owner_shows_his_jobs_only(void **state)
{
    struct job_filter filter = { .state = JOB_STATE_COUNT, .limit = 16, .owner = 2 };
    struct uuid ids[6];

    put_some(*state, ids);
    assert_listed(*state, &filter, ids, "52");
    filter.limit = 1;
    assert_listed(*state, &filter, ids, "5");
    filter.has_before = true;
    filter.before = ids[5];
    assert_listed(*state, &filter, ids, "2");
    filter.owner = 7;
    assert_listed(*state, &filter, ids, "");
}

static void a_filter_matches_only_what_it_names(void **state)
{
    char tag[] = "red", task[] = "square";
    struct job_filter filter = { .state = JOB_QUEUED, .tag = tag, .task = task };
    struct job_spec plan = spec_plan(*state);

    plan.tags = "[\"blue\",\"red\"]";
    assert_true(job_filter_matches(&filter, &plan, JOB_QUEUED));
    assert_false(job_filter_matches(&filter, &plan, JOB_RUNNING));
    filter.has_before = true;
    filter.before = plan.id;
    assert_false(job_filter_matches(&filter, &plan, JOB_QUEUED));
    filter.before = uuid_next(&((struct fixture *)*state)->ids, 0);
    assert_true(job_filter_matches(&filter, &plan, JOB_QUEUED));
    plan.tags = NULL;
    assert_false(job_filter_matches(&filter, &plan, JOB_QUEUED));
    filter.tag = NULL;
    assert_true(job_filter_matches(&filter, &plan, JOB_QUEUED));
    filter.owner = 7;
    assert_false(job_filter_matches(&filter, &plan, JOB_QUEUED));
    plan.owner = 7;
    assert_true(job_filter_matches(&filter, &plan, JOB_QUEUED));
    plan.task = "cube";
    assert_false(job_filter_matches(&filter, &plan, JOB_QUEUED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(jobs_are_listed_newest_first),
        BOTH(a_listing_goes_on_before_the_last_one_seen),
        BOTH(listings_are_filtered_by_each_member),
        BOTH(a_listing_of_an_owner_shows_his_jobs_only),
        BOTH(a_filter_matches_only_what_it_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
