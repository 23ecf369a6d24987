/* SPDX-License-Identifier: MIT */
/* Batches as a whole; their elements are read by job_json, which has tests of its own. */
#include "server/job_batch.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_JOBS 5

static struct job_spec *specs[MAX_JOBS];
static size_t count;
static struct refusal refusal;
static struct uuid_generator ids;
static unsigned fail_at; /* this allocation; 0: none */

static bool find_pool(void *data, const char *name, struct job_pool *ret_pool)
{
    (void)data;
    ret_pool->processes = 2;
    return strcmp(name, "default") == 0;
}

static struct uuid new_id(void *data, int64_t now_ms)
{
    return uuid_next(data, now_ms);
}

static enum status parse(const char *text)
{
    const struct job_rules rules = { .max_items = 3,
                                     .max_item_bytes = 20,
                                     .max_depth = SLICE_DEPTH_MAX,
                                     .find_pool = find_pool };
    const struct batch_intake intake = {
        .max_jobs = MAX_JOBS, .now_ms = 1700000000000, .new_id = new_id, .data = &ids
    };
    struct blob *body = blob_new(text, strlen(text));
    enum status st;

    assert_non_null(body);
    mem_fail_at(fail_at, fail_at ? 1 : 0);
    st = job_batch_parse(body, &intake, &rules, specs, &count, &refusal);
    mem_fail_at(0, 0);
    blob_unref(body);
    return st;
}

static void drop(void)
{
    for (size_t i = 0; i < count; i++)
        job_spec_unref(specs[i]);
    count = 0;
    refusal_clear(&refusal);
}

static void assert_text(struct text text, const char *expected)
{
    assert_true(text_equals(text, expected));
}

static void elements_become_jobs_with_bodies_of_their_own(void **state)
{
    (void)state;
    assert_int_equal(
        parse(" [ {\"method\":\"apply_async\",\"task\":\"power\",\"args\":[2],\"kwargs\":"
              "{\"exp\": 3}}, {\"task\":\"square\",\"items\":[1, 2,3],\"method\":"
              "\"map_async\",\"durability\":\"memory\"} ,{\"method\":\"starmap_async\","
              "\"task\":\"power\",\"items\":[[2,3]]}]"),
        ST_OK);
    assert_int_equal(count, 3);
    assert_int_equal(specs[0]->method, JOB_APPLY);
    assert_int_equal(specs[0]->item_count, 1);
    assert_int_equal(specs[0]->durability, DURABILITY_DURABLE);
    assert_text(specs[0]->input, "[2]");
    assert_text(specs[0]->kwargs, "{\"exp\": 3}");
    assert_int_equal(specs[1]->method, JOB_MAP);
    assert_int_equal(specs[1]->item_count, 3);
    assert_int_equal(specs[1]->durability, DURABILITY_MEMORY);
    assert_text(specs[1]->input, "[1, 2,3]");
    assert_text(slice_index_range(specs[1]->index, specs[1]->input, 1, 2), "2,3");
    assert_int_equal(specs[2]->method, JOB_STARMAP);
    assert_true(uuid_key(specs[0]->id) < uuid_key(specs[1]->id));
    assert_text(blob_text(specs[0]->body), "[2]{\"exp\": 3}");
    assert_text(blob_text(specs[2]->body), "[[2,3]]");
    drop();
    assert_int_equal(parse("[]"), ST_OK);
    assert_int_equal(count, 0);
    drop();
}

static void refused(const char *text, enum problem problem, const char *part)
{
    assert_int_equal(parse(text), ST_INVALID);
    if (refusal.problem != problem)
        fail_msg("%s: %s", text, problem_infos[refusal.problem].slug);
    assert_int_equal(count, 0);
    if (!part)
        assert_int_equal(refusal.error_count, 0);
    else if (!refusal.errors.data || !strstr(refusal.errors.data, part))
        fail_msg("%s: %s", text, refusal.errors.data);
    drop();
}

#define GOOD "{\"method\":\"apply_async\",\"task\":\"square\",\"args\":[1]}"

static void what_is_wrong_is_pointed_at(void **state)
{
    (void)state;
    refused("{}", PROBLEM_VALIDATION_FAILED, "\"#\"");
    refused("[" GOOD ",7]", PROBLEM_VALIDATION_FAILED, "\"#/1\"");
    refused("[" GOOD ",{\"task\":\"square\"}]", PROBLEM_VALIDATION_FAILED,
            "\"#/1/method\"");
    refused("[{\"method\":\"map\",\"task\":\"square\",\"items\":[]}]",
            PROBLEM_VALIDATION_FAILED, "\"#/0/method\"");
    refused("[{\"method\":7}]", PROBLEM_VALIDATION_FAILED, "\"#/0/method\"");
    refused("[" GOOD ",{\"method\":\"apply_async\",\"task\":\"no\"}]",
            PROBLEM_UNKNOWN_TASK, "\"#/1/task\"");
    refused("[{\"method\":\"apply_async\",\"task\":\"square\",\"items\":[1]}]",
            PROBLEM_VALIDATION_FAILED, "\"#/0/items\"");
    refused("[{\"method\":\"starmap_async\",\"task\":\"power\",\"items\":[[1],2]}]",
            PROBLEM_VALIDATION_FAILED, "\"#/0/items/1\"");
    refused("[7,{\"method\":\"apply_async\",\"task\":\"no\"}]", PROBLEM_VALIDATION_FAILED,
            "\"#/1/task\"");
}

static void limits_hold_for_each_element(void **state)
{
    (void)state;
    refused("[{\"method\":\"map_async\",\"task\":\"square\",\"items\":[1,2,3,4]}]",
            PROBLEM_TOO_MANY_ITEMS, NULL);
    refused("[{\"method\":\"map_async\",\"task\":\"echo\",\"items\":["
            "\"more than twenty bytes\"]}]",
            PROBLEM_ITEM_TOO_LARGE, NULL);
}

static void a_text_that_is_wrong_is_refused_at_its_byte(void **state)
{
    char expected[32];

    (void)state;
    assert_int_equal(parse("[" GOOD ",{\"a\":1,\"a\":2}]"), ST_INVALID);
    assert_int_equal(refusal.problem, PROBLEM_INVALID_JSON);
    (void)snprintf(expected, sizeof(expected),
                   "at byte %zu:", sizeof("[" GOOD ",{\"a\":1,") - 1);
    assert_memory_equal(refusal.detail, expected, strlen(expected));
    drop();
    refused("[" GOOD ",", PROBLEM_INVALID_JSON, NULL);
    refused("", PROBLEM_INVALID_JSON, NULL);
}

static void there_is_a_limit_to_the_jobs(void **state)
{
    struct buf body = BUF_INIT;

    (void)state;
    for (unsigned jobs = MAX_JOBS - 1; jobs <= MAX_JOBS; jobs++) {
        buf_reset(&body);
        buf_add_char(&body, '[');
        for (unsigned i = 0; i < jobs; i++)
            buf_addf(&body, "%s" GOOD, i ? "," : "");
        buf_add_char(&body, ']');
        buf_add(&body, "", 1);
        assert_int_equal(parse(body.data), ST_OK);
        assert_int_equal(count, jobs);
        drop();
    }
    body.len--;
    body.len--;
    buf_add_str(&body, "," GOOD "]");
    refused(body.data, PROBLEM_VALIDATION_FAILED, "\"#\"");
    buf_clear(&body);
}

static void no_allocation_that_fails_leaves_anything(void **state)
{
    enum status st = ST_NO_MEMORY;

    (void)state;
    for (unsigned n = 1; st != ST_OK; n++) {
        fail_at = n;
        st =
            parse("[" GOOD ",{\"method\":\"map_async\",\"task\":\"square\",\"items\":[1],"
                  "\"metadata\":{\"a\":1}}]");
        fail_at = 0;
        assert_int_equal(count, st == ST_OK ? 2 : 0);
        if (st != ST_OK)
            assert_int_equal(refusal.problem, PROBLEM_NO_MEMORY);
        drop();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_become_jobs_with_bodies_of_their_own),
        cmocka_unit_test(what_is_wrong_is_pointed_at),
        cmocka_unit_test(limits_hold_for_each_element),
        cmocka_unit_test(a_text_that_is_wrong_is_refused_at_its_byte),
        cmocka_unit_test(there_is_a_limit_to_the_jobs),
        cmocka_unit_test(no_allocation_that_fails_leaves_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
