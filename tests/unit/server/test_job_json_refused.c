/* SPDX-License-Identifier: MIT */
/*
 * What clients submit, member by member against openapi/poold.yaml: what is just over the
 * limit or of the wrong type, and where the answer points.
 */
#include "tests/unit/server/test_job_json_fixture.h"

/* ---- members: what is refused, and where ------------------------------------------- */

static void job_that_is_fed_is_neither_durable_nor_shared(void **state)
{
    static const struct job_intake fed = { .method = JOB_IMAP_UNORDERED, .fed = true };
    static const char *const members[][2] = {
        { "\"items\":[]", "#/items" },
        { "\"durability\":\"durable\"", "#/durability" },
        { "\"unique_key\":\"a\"", "#/unique_key" },
        { "\"chunksize\":\"cpython\"", "#/chunksize" },
    };
    char body[128];

    (void)state;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        (void)snprintf(body, sizeof(body), "{\"task\":\"square\",%s}", members[i][0]);
        refused_with(fed, body, PROBLEM_VALIDATION_FAILED, members[i][1]);
    }
}

static void window_is_a_whole_number_in_its_range(void **state)
{
    static const char *const values[] = { "0", "-1", "100001", "1.0", "\"1\"", "null" };
    char body[128];

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        (void)snprintf(body, sizeof(body),
                       "{\"task\":\"square\",\"items\":[],\"window\":%s}", values[i]);
        refused_with(WAITING(JOB_IMAP), body, PROBLEM_VALIDATION_FAILED, "#/window");
    }
}

static void wrong_members_are_pointed_at(void **state)
{
    static const struct {
        const char *members, *pointer;
    } cases[] = {
        { "\"chunksize\":0", "#/chunksize" },
        { "\"chunksize\":-1", "#/chunksize" },
        { "\"chunksize\":1.5", "#/chunksize" },
        { "\"chunksize\":\"5\"", "#/chunksize" },
        { "\"chunksize\":null", "#/chunksize" },
        { "\"chunksize\":\"Auto\"", "#/chunksize" },
        { "\"window\":1", "#/window" }, /* not for this call */
        { "\"chunksize\":9223372036854775808", "#/chunksize" },
        { "\"kwargs\":[]", "#/kwargs" },
        { "\"kwargs\":null", "#/kwargs" },
        { "\"pool\":1", "#/pool" },
        { "\"pool\":\"\"", "#/pool" },
        { "\"pool\":\"A\"", "#/pool" },
        { "\"priority\":101", "#/priority" },
        { "\"priority\":-101", "#/priority" },
        { "\"priority\":1.0", "#/priority" },
        { "\"priority\":\"1\"", "#/priority" },
        { "\"priority\":1e400", "#/priority" },
        { "\"priority\":true", "#/priority" },
        { "\"delay\":-0.001", "#/delay" },
        { "\"delay\":31536000.001", "#/delay" },
        { "\"delay\":\"1\"", "#/delay" },
        { "\"delay\":null", "#/delay" },
        { "\"eta\":1700000000", "#/eta" },
        { "\"eta\":\"tomorrow\"", "#/eta" },
        { "\"eta\":\"2023-11-14\"", "#/eta" },
        { "\"eta\":\"2024-11-13T22:13:20.001Z\"", "#/eta" },
        { "\"eta\":\"2033-11-14T22:13:20Z\"", "#/eta" },
        { "\"delay\":1,\"eta\":\"2023-11-14T22:13:21Z\"", "#/eta" },
        { "\"eta\":\"2023-11-14T22:13:21Z\",\"delay\":1", "#/eta" },
        { "\"expires_in\":0", "#/expires_in" },
        { "\"expires_in\":-1", "#/expires_in" },
        { "\"expires_in\":31536001", "#/expires_in" },
        { "\"expires_in\":[]", "#/expires_in" },
        { "\"time_limit\":0", "#/time_limit" },
        { "\"time_limit\":-1", "#/time_limit" },
        { "\"time_limit\":31536001", "#/time_limit" },
        { "\"time_limit\":\"5\"", "#/time_limit" },
        { "\"time_limit\":1e400", "#/time_limit" },
        { "\"retries\":-1", "#/retries" },
        { "\"retries\":101", "#/retries" },
        { "\"retries\":1.5", "#/retries" },
        { "\"retries\":false", "#/retries" },
        { "\"crash_retries\":-1", "#/crash_retries" },
        { "\"crash_retries\":101", "#/crash_retries" },
        { "\"crash_retries\":\"2\"", "#/crash_retries" },
        { "\"retry_backoff\":1", "#/retry_backoff" },
        { "\"retry_backoff\":{\"initial\":-1}", "#/retry_backoff" },
        { "\"retry_backoff\":{\"initial\":\"1\"}", "#/retry_backoff" },
        { "\"retry_backoff\":{\"initial\":31536001}", "#/retry_backoff" },
        { "\"retry_backoff\":{\"max\":-1}", "#/retry_backoff" },
        { "\"retry_backoff\":{\"max\":31536001}", "#/retry_backoff" },
        { "\"retry_backoff\":{\"factor\":0.99}", "#/retry_backoff" },
        { "\"retry_backoff\":{\"factor\":1000.1}", "#/retry_backoff" },
        { "\"retry_backoff\":{\"jitter\":1}", "#/retry_backoff" },
        { "\"retry_backoff\":{\"jitters\":true}", "#/retry_backoff" },
        { "\"return_exceptions\":1", "#/return_exceptions" },
        { "\"return_exceptions\":null", "#/return_exceptions" },
        { "\"on_error\":\"Stop\"", "#/on_error" },
        { "\"on_error\":true", "#/on_error" },
        { "\"on_disconnect\":\"stop\"", "#/on_disconnect" },
        { "\"on_disconnect\":0", "#/on_disconnect" },
        { "\"unique_key\":\"\"", "#/unique_key" },
        { "\"unique_key\":\"a b\"", "#/unique_key" },
        { "\"unique_key\":\"\\u00e9\"", "#/unique_key" },
        { "\"unique_key\":7", "#/unique_key" },
        { "\"unique_key\":null", "#/unique_key" },
        { "\"unique_key\":"
          "\"0123456789012345678901234567890123456789012345678901234567890123"
          "01234567890123456789012345678901234567890123456789012345678901234\"",
          "#/unique_key" },
        { "\"unique_key\":\"k\",\"on_conflict\":\"ignore\"", "#/on_conflict" },
        { "\"unique_key\":\"k\",\"on_conflict\":true", "#/on_conflict" },
        { "\"on_conflict\":\"return\"", "#/on_conflict" },
        { "\"durability\":\"Durable\"", "#/durability" },
        { "\"durability\":\"\"", "#/durability" },
        { "\"durability\":1", "#/durability" },
        { "\"callback\":\"http://127.0.0.1/\"", "#/callback" },
        { "\"callback\":1", "#/callback" },
        { "\"error_callback\":\"http://a/\"", "#/error_callback" },
        { "\"tags\":\"a\"", "#/tags" },
        { "\"tags\":[1]", "#/tags" },
        { "\"tags\":[\"a\",\"\"]", "#/tags" },
        { "\"metadata\":[]", "#/metadata" },
        { "\"metadata\":null", "#/metadata" },
        { "\"result_ttl\":-1", "#/result_ttl" },
        { "\"result_ttl\":31536001", "#/result_ttl" },
        { "\"result_ttl\":\"1\"", "#/result_ttl" },
        { "\"args\":[]", "#/args" }, /* only for apply */
        { "\"chunk_size\":1", "#/chunk_size" },
        { "\"a/b~c\":1", "#/a~1b~0c" },
        { "\"\":1", "#/" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        refused(cases[i].members, cases[i].pointer);
}

static void names_of_tasks_have_a_form(void **state)
{
    static const char *const names[] = {
        "1",       "null",    "[]",      "\"\"",   "\"-a\"", "\"../x\"",
        "\"A b\"", "\"a b\"", "\"a/b\"", "\"9a\"", "\":a\"", "\"a\\u00e9\""
    };
    char body[256];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        (void)snprintf(body, sizeof(body), "{\"task\":%s}", names[i]);
        refused_with(WAITING(JOB_APPLY), body, PROBLEM_VALIDATION_FAILED, "#/task");
    }
    for (int len = 128; len <= 129; len++) {
        (void)snprintf(body, sizeof(body), "{\"task\":\"a%0*d\"}", len - 1, 0);
        refused_with(WAITING(JOB_APPLY), body,
                     len == 128 ? PROBLEM_UNKNOWN_TASK : PROBLEM_VALIDATION_FAILED,
                     "#/task");
    }
}

static void missing_members_are_pointed_at(void **state)
{
    (void)state;
    refused_with(WAITING(JOB_APPLY), "{}", PROBLEM_VALIDATION_FAILED, "#/task");
    refused_with(WAITING(JOB_MAP), "{\"task\":\"square\"}", PROBLEM_VALIDATION_FAILED,
                 "#/items");
}

static void inputs_have_to_be_arrays(void **state)
{
    static const char *const values[] = { "1", "{}", "null", "\"[]\"" };
    char body[128];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"items\":%s}",
                       values[i]);
        refused_with(WAITING(JOB_MAP), body, PROBLEM_VALIDATION_FAILED, "#/items");
        (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"args\":%s}",
                       values[i]);
        refused_with(WAITING(JOB_APPLY), body, PROBLEM_VALIDATION_FAILED, "#/args");
    }
}

static void unknown_task_and_pool_have_problems_of_their_own(void **state)
{
    (void)state;
    refused_with(WAITING(JOB_APPLY), "{\"task\":\"nope\"}", PROBLEM_UNKNOWN_TASK,
                 "#/task");
    refused_with(WAITING(JOB_APPLY), "{\"task\":\"square\",\"pool\":\"nope\"}",
                 PROBLEM_UNKNOWN_POOL, "#/pool");
}

/* It has no processes to divide by. */
static void unknown_pool_with_cpython_chunksize_is_refused(void **state)
{
    (void)state;
    refused_with(WAITING(JOB_MAP),
                 "{\"task\":\"square\",\"items\":[1],\"pool\":\"nope\",\"chunksize\":"
                 "\"cpython\"}",
                 PROBLEM_UNKNOWN_POOL, "#/pool");
}

static void members_of_another_call_are_refused(void **state)
{
    static const char *const of_map[] = { "items", "chunksize", "return_exceptions",
                                          "on_error" };
    static const char *const of_async[] = { "delay", "eta" };
    char body[128], pointer[64];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"%s\":[]}", of_map[i]);
        (void)snprintf(pointer, sizeof(pointer), "#/%s", of_map[i]);
        refused_with(WAITING(JOB_APPLY), body, PROBLEM_VALIDATION_FAILED, pointer);
    }
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"%s\":1}", of_async[i]);
        (void)snprintf(pointer, sizeof(pointer), "#/%s", of_async[i]);
        refused_with(WAITING(JOB_APPLY), body, PROBLEM_VALIDATION_FAILED, pointer);
    }
}

static void items_of_starmap_have_to_be_arrays(void **state)
{
    (void)state;
    job_spec_unref(accepted_with(WAITING(JOB_STARMAP),
                                 "{\"task\":\"power\",\"items\":[[2,3], [ ],[[1]]]}"));
    refused_with(WAITING(JOB_STARMAP),
                 "{\"task\":\"power\",\"items\":[[2,3],{\"a\":[]},4]}",
                 PROBLEM_VALIDATION_FAILED, "#/items/1");
}

static void tags_have_limits(void **state)
{
    char body[4096] = "\"tags\":[\"0\"";
    struct job_spec *spec;

    (void)state;
    for (unsigned i = 1; i < 32; i++)
        strcat(body, ",\"a\"");
    strcat(body, "]");
    job_spec_unref(accepted(body));
    body[strlen(body) - 1] = '\0';
    strcat(body, ",\"a\"]");
    refused(body, "#/tags");
    (void)snprintf(body, sizeof(body), "\"tags\":[\"%064d\"]", 0);
    spec = accepted(body);
    assert_int_equal(strlen(spec->tags), 68);
    job_spec_unref(spec);
    (void)snprintf(body, sizeof(body), "\"tags\":[\"%065d\"]", 0);
    refused(body, "#/tags");
}

static void metadata_may_have_4096_bytes(void **state)
{
    static const char start[] = "{\"task\":\"square\",\"metadata\":";
    char body[5000];

    (void)state;
    for (int len = 4096; len <= 4097; len++) {
        (void)snprintf(body, sizeof(body), "%s{\"a\":\"%0*d\"}}", start, len - 8, 0);
        assert_int_equal(strlen(body), sizeof(start) - 1 + (size_t)len + 1);
        if (len == 4096)
            job_spec_unref(accepted_with(WAITING(JOB_APPLY), body));
        else
            refused_with(WAITING(JOB_APPLY), body, PROBLEM_VALIDATION_FAILED,
                         "#/metadata");
    }
}

static void lenient_skips_only_what_is_unknown(void **state)
{
    struct job_intake lenient = { .method = JOB_APPLY, .lenient = true };

    (void)state;
    job_spec_unref(
        accepted_with(lenient, "{\"task\":\"square\",\"foo\":{\"bar\":1},\"\":2}"));
    refused_with(lenient, "{\"task\":\"square\",\"priority\":101,\"foo\":1}",
                 PROBLEM_VALIDATION_FAILED, "#/priority");
    refused_with(lenient, "{\"task\":\"square\",\"items\":[]}", PROBLEM_VALIDATION_FAILED,
                 "#/items");
}

static void all_wrong_members_are_listed(void **state)
{
    static const char body[] =
        "{\"task\":\"nope\",\"priority\":101,\"retries\":-1,\"x\":1}";
    struct parsed parsed = parse_with(WAITING(JOB_MAP), body, sizeof(body) - 1);
    struct buf array = BUF_INIT;
    json_t *errors;

    (void)state;
    assert_int_equal(parsed.st, ST_INVALID);
    assert_int_equal(parsed.refusal.problem, PROBLEM_VALIDATION_FAILED);
    assert_int_equal(parsed.refusal.error_count, 5);
    assert_true(strncmp(parsed.refusal.detail, "priority is not", 15) == 0);
    buf_addf(&array, "[%s]", parsed.refusal.errors.data);
    errors = json_loadb(array.data, array.len, 0, NULL);
    assert_int_equal(json_array_size(errors), 5);
    json_decref(errors);
    buf_clear(&array);
    clear(&parsed);
}

static void long_member_names_are_cut_in_the_detail_only(void **state)
{
    char body[400], pointer[310];
    struct parsed parsed;

    (void)state;
    (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"%0300d\":1}", 0);
    (void)snprintf(pointer, sizeof(pointer), "#/%0300d", 0);
    refused_with(WAITING(JOB_APPLY), body, PROBLEM_VALIDATION_FAILED, pointer);
    parsed = parse_with(WAITING(JOB_APPLY), body, strlen(body));
    assert_true(strlen(parsed.refusal.detail) < 130);
    clear(&parsed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(job_that_is_fed_is_neither_durable_nor_shared),
        cmocka_unit_test(window_is_a_whole_number_in_its_range),
        cmocka_unit_test(wrong_members_are_pointed_at),
        cmocka_unit_test(names_of_tasks_have_a_form),
        cmocka_unit_test(missing_members_are_pointed_at),
        cmocka_unit_test(inputs_have_to_be_arrays),
        cmocka_unit_test(unknown_task_and_pool_have_problems_of_their_own),
        cmocka_unit_test(unknown_pool_with_cpython_chunksize_is_refused),
        cmocka_unit_test(members_of_another_call_are_refused),
        cmocka_unit_test(items_of_starmap_have_to_be_arrays),
        cmocka_unit_test(tags_have_limits),
        cmocka_unit_test(metadata_may_have_4096_bytes),
        cmocka_unit_test(lenient_skips_only_what_is_unknown),
        cmocka_unit_test(all_wrong_members_are_listed),
        cmocka_unit_test(long_member_names_are_cut_in_the_detail_only),
    };

    return cmocka_run_group_tests_name("job_json_refused", tests, NULL, NULL);
}
