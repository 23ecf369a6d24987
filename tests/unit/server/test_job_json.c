/* SPDX-License-Identifier: MIT */
/*
 * What clients submit, member by member against openapi/poold.yaml: what is good, what is
 * just over the limit, what is of the wrong type, and where the answer points.
 */
#include "server/job_json.h"

#include "common/clock.h"
#include "common/mem.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#define NOW_MS    1700000000000
#define YEAR_MS   31536000000
#define MAX_ITEMS 10
#define MAX_BYTES 20
#define PROCESSES 3

static unsigned pool_processes(void *data, const char *pool)
{
    (void)data;
    return strcmp(pool, "default") == 0 || strcmp(pool, "other") == 0 ? PROCESSES : 0;
}

struct parsed {
    enum status st;
    struct job_spec *spec;
    struct job_refusal refusal;
};

static struct parsed parse_with(struct job_intake intake, const char *bytes, size_t len)
{
    static const struct job_rules rules = { .max_items = MAX_ITEMS,
                                            .max_item_bytes = MAX_BYTES,
                                            .time_limit_ms = 5000,
                                            .pool_processes = pool_processes };
    struct blob *body = blob_new(bytes, len);
    struct parsed parsed = { 0 };

    assert_non_null(body);
    intake.now_ms = NOW_MS;
    parsed.st = job_json_parse(body, &intake, &rules, &parsed.spec, &parsed.refusal);
    blob_unref(body);
    assert_int_equal(parsed.st == ST_OK, parsed.spec != NULL);
    return parsed;
}

static void clear(struct parsed *parsed)
{
    job_spec_unref(parsed->spec);
    job_refusal_clear(&parsed->refusal);
}

#define ASYNC(m)   ((struct job_intake){ .method = (m), .async = true })
#define WAITING(m) ((struct job_intake){ .method = (m) })

/* The spec of a request that is fine; to be given back. */
static struct job_spec *accepted_with(struct job_intake intake, const char *body)
{
    struct parsed parsed = parse_with(intake, body, strlen(body));

    if (parsed.st != ST_OK)
        fail_msg("%s: refused: %s", body, parsed.refusal.detail);
    assert_int_equal(parsed.refusal.error_count, 0);
    job_refusal_clear(&parsed.refusal);
    return parsed.spec;
}

/* An async map of "square" over [1,2,3] with more members. */
static struct job_spec *accepted(const char *members)
{
    char body[512];

    (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"items\":[1,2,3]%s%s}",
                   members[0] ? "," : "", members);
    return accepted_with(ASYNC(JOB_MAP), body);
}

/* The request has to be refused with this problem. pointer: of its only error, or NULL if
 * there is to be none. */
static void refused_with(struct job_intake intake, const char *body, enum problem problem,
                         const char *pointer)
{
    struct parsed parsed = parse_with(intake, body, strlen(body));
    struct buf array = BUF_INIT;
    json_t *errors;

    if (parsed.st != ST_INVALID)
        fail_msg("%s: not refused", body);
    if (parsed.refusal.problem != problem)
        fail_msg("%s: %s", body, problem_infos[parsed.refusal.problem].slug);
    assert_true(parsed.refusal.detail[0]);
    buf_addf(&array, "[%.*s]", (int)parsed.refusal.errors.len,
             parsed.refusal.errors.len ? parsed.refusal.errors.data : "");
    errors = json_loadb(array.data, array.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(errors);
    assert_int_equal(json_array_size(errors), pointer ? 1 : 0);
    assert_int_equal(parsed.refusal.error_count, pointer ? 1 : 0);
    if (pointer) {
        json_t *error = json_array_get(errors, 0);

        assert_string_equal(json_string_value(json_object_get(error, "pointer")),
                            pointer);
        assert_true(json_string_length(json_object_get(error, "detail")) > 0);
    }
    json_decref(errors);
    buf_clear(&array);
    clear(&parsed);
}

/* The same for more members of an async map. */
static void refused(const char *members, const char *pointer)
{
    char body[1024];

    (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"items\":[1,2,3],%s}",
                   members);
    refused_with(ASYNC(JOB_MAP), body, PROBLEM_VALIDATION_FAILED, pointer);
}

/* ---- documents --------------------------------------------------------------------- */

static void what_is_no_json_is_invalid_json(void **state)
{
    static const char *const bodies[] = {
        "",
        " ",
        "{",
        "{\"task\":\"square\",}",
        "{'task':1}",
        "{\"task\":\"square\"} x",
        "{\"task\":\"square\"}{}",
        "\xef\xbb\xbf{\"task\":\"square\"}",
        "{\"task\":\"\xff\"}",
        "{\"task\":\"\\ud800\"}",
        "{\"task\":\"\\u0000\"}",
        "{\"task\":\"a\tb\"}",
        "{\"task\":NaN}",
        "{\"task\":\"square\",\"task\":\"square\"}",
        "{\"task\":\"square\",\"priority\":01}",
        "{\"task\":\"square\",\"priority\":+1}",
        "{\"task\":\"square\"/**/}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
        refused_with(WAITING(JOB_APPLY), bodies[i], PROBLEM_INVALID_JSON, NULL);
}

static void detail_tells_the_byte(void **state)
{
    struct parsed parsed = parse_with(WAITING(JOB_APPLY), "{\"task\": square}", 16);

    (void)state;
    assert_non_null(strstr(parsed.refusal.detail, "at byte 9: "));
    clear(&parsed);
}

static void nul_in_the_body_is_no_end(void **state)
{
    struct parsed parsed = parse_with(WAITING(JOB_APPLY), "{\"task\":\"square\"}\0", 18);

    (void)state;
    assert_int_equal(parsed.refusal.problem, PROBLEM_INVALID_JSON);
    clear(&parsed);
}

static void envelope_has_to_be_an_object(void **state)
{
    static const char *const bodies[] = { "1", "\"x\"", "null", "[]", "true" };

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
        refused_with(WAITING(JOB_MAP), bodies[i], PROBLEM_VALIDATION_FAILED, NULL);
}

static void nesting_has_a_limit(void **state)
{
    char body[256];

    (void)state;
    for (int depth = 63; depth <= 64; depth++) { /* and the envelope's own */
        memset(body, 0, sizeof(body));
        strcpy(body, "{\"task\":\"square\",\"args\":");
        memset(body + strlen(body), '[', (size_t)depth);
        memset(body + strlen(body), ']', (size_t)depth);
        strcat(body, "}");
        if (depth == 63)
            job_spec_unref(accepted_with(WAITING(JOB_APPLY), body));
        else
            refused_with(WAITING(JOB_APPLY), body, PROBLEM_JSON_TOO_DEEP, NULL);
    }
}

static void items_have_limits_in_number_and_size(void **state)
{
    (void)state;
    job_spec_unref(accepted_with(WAITING(JOB_MAP), "{\"task\":\"square\",\"items\":"
                                                   "[0,1,2,3,4,5,6,7,8,9]}"));
    refused_with(WAITING(JOB_MAP),
                 "{\"task\":\"square\",\"items\":[0,1,2,3,4,5,6,7,8,9,10]}",
                 PROBLEM_TOO_MANY_ITEMS, NULL);
    job_spec_unref(accepted_with(
        WAITING(JOB_MAP), "{\"task\":\"square\",\"items\":[1,\"123456789012345678\"]}"));
    refused_with(WAITING(JOB_MAP),
                 "{\"task\":\"square\",\"items\":[1,\"1234567890123456789\"]}",
                 PROBLEM_ITEM_TOO_LARGE, NULL);
}

static void item_over_the_limit_is_named(void **state)
{
    static const char body[] =
        "{\"task\":\"square\",\"items\":[1,2,\"1234567890123456789\"]}";
    struct parsed parsed = parse_with(WAITING(JOB_MAP), body, sizeof(body) - 1);

    (void)state;
    assert_non_null(strstr(parsed.refusal.detail, "item 2 "));
    clear(&parsed);
}

/* ---- members: what is good --------------------------------------------------------- */

static void absent_members_have_the_defaults_of_the_contract(void **state)
{
    struct job_spec *spec = accepted_with(WAITING(JOB_APPLY), "{\"task\":\"square\"}");

    (void)state;
    assert_int_equal(spec->method, JOB_APPLY);
    assert_int_equal(spec->durability, DURABILITY_RELAXED);
    assert_string_equal(spec->task, "square");
    assert_string_equal(spec->pool, "default");
    assert_int_equal(spec->priority, 0);
    assert_int_equal(spec->item_count, 1);
    assert_int_equal(spec->chunksize, JOB_CHUNKSIZE_AUTO);
    assert_int_equal(spec->created_at_ms, NOW_MS);
    assert_int_equal(spec->start_at_ms, 0);
    assert_int_equal(spec->expires_at_ms, 0);
    assert_int_equal(spec->time_limit_ms, 5000);
    assert_int_equal(spec->result_ttl_ms, 86400000);
    assert_int_equal(spec->retries, 0);
    assert_int_equal(spec->crash_retries, 2);
    assert_int_equal(spec->backoff.initial_ms, 1000);
    assert_int_equal(spec->backoff.max_ms, 60000);
    assert_true(spec->backoff.factor == 2 && spec->backoff.jitter);
    assert_false(spec->return_exceptions || spec->stop_on_error ||
                 spec->cancel_on_disconnect);
    assert_null(spec->tags);
    assert_null(spec->metadata);
    assert_null(spec->idempotency_key);
    assert_true(text_equals(spec->input, "[]"));
    assert_int_equal(spec->kwargs.len, 0);
    assert_null(spec->index);
    job_spec_unref(spec);
    spec = accepted_with(ASYNC(JOB_APPLY), "{\"task\":\"square\"}");
    assert_int_equal(spec->durability, DURABILITY_DURABLE);
    job_spec_unref(spec);
}

static void arguments_are_kept_byte_by_byte(void **state)
{
    struct job_spec *spec =
        accepted_with(WAITING(JOB_APPLY),
                      "{\"kwargs\":{\"a\": 0.1, \"a\":1},\"task\":\"square\",\"args\":"
                      "[9223372036854775808, 1e400,-0 ,1e2]}");

    (void)state;
    assert_true(text_equals(spec->input, "[9223372036854775808, 1e400,-0 ,1e2]"));
    assert_true(text_equals(spec->kwargs, "{\"a\": 0.1, \"a\":1}"));
    assert_true(spec->input.at > spec->body->data &&
                spec->input.at < spec->body->data + spec->body->len);
    job_spec_unref(spec);
}

static void items_are_indexed(void **state)
{
    struct job_spec *spec = accepted("\"kwargs\":{\"k\":1}");
    struct text range;

    (void)state;
    assert_int_equal(spec->item_count, 3);
    assert_non_null(spec->index);
    range = slice_index_range(spec->index, spec->input, 1, 2);
    assert_true(text_equals(range, "2,3"));
    assert_true(text_equals(spec->kwargs, "{\"k\":1}"));
    job_spec_unref(spec);
}

static void empty_map_is_fine(void **state)
{
    struct job_spec *spec =
        accepted_with(WAITING(JOB_MAP), "{\"task\":\"square\",\"items\":[]}");

    (void)state;
    assert_int_equal(spec->item_count, 0);
    job_spec_unref(spec);
    spec = accepted_with(WAITING(JOB_STARMAP),
                         "{\"task\":\"power\",\"items\":[],\"chunksize\":\"cpython\"}");
    assert_int_equal(spec->chunksize, 1);
    job_spec_unref(spec);
}

static void members_of_one_kind_are_read_up_to_their_limits(void **state)
{
    static const struct {
        const char *members;
        size_t offset; /* of an int64_t or uint64_t in the spec */
        int64_t expected;
    } cases[] = {
#define AT(field) offsetof(struct job_spec, field)
        { "\"delay\":0", AT(start_at_ms), NOW_MS },
        { "\"delay\":0.0001", AT(start_at_ms), NOW_MS + 1 },
        { "\"delay\":1.5", AT(start_at_ms), NOW_MS + 1500 },
        { "\"delay\":31536000", AT(start_at_ms), NOW_MS + YEAR_MS },
        { "\"eta\":\"2023-11-14T22:13:21.5Z\"", AT(start_at_ms), NOW_MS + 1500 },
        { "\"eta\":\"2000-01-01T00:00:00+01:00\"", AT(start_at_ms), 946681200000 },
        { "\"eta\":\"2024-11-13T22:13:20Z\"", AT(start_at_ms), NOW_MS + YEAR_MS },
        { "\"expires_in\":0.001", AT(expires_at_ms), NOW_MS + 1 },
        { "\"expires_in\":0.0001", AT(expires_at_ms), NOW_MS + 1 },
        { "\"expires_in\":31536000", AT(expires_at_ms), NOW_MS + YEAR_MS },
        { "\"time_limit\":0.0001", AT(time_limit_ms), 1 },
        { "\"time_limit\":2", AT(time_limit_ms), 2000 },
        { "\"time_limit\":3.1536e7", AT(time_limit_ms), YEAR_MS },
        { "\"result_ttl\":0", AT(result_ttl_ms), 0 },
        { "\"result_ttl\":31536000", AT(result_ttl_ms), YEAR_MS },
        { "\"chunksize\":1", AT(chunksize), 1 },
        { "\"chunksize\":2", AT(chunksize), 2 },
        { "\"chunksize\":3", AT(chunksize), 3 },
        { "\"chunksize\":4", AT(chunksize), 3 }, /* there are no more items */
        { "\"chunksize\":9223372036854775807", AT(chunksize), 3 },
        { "\"retry_backoff\":{\"initial\":0}", AT(backoff.initial_ms), 0 },
        { "\"retry_backoff\":{\"initial\":31536000}", AT(backoff.initial_ms), YEAR_MS },
        { "\"retry_backoff\":{\"max\":0.5}", AT(backoff.max_ms), 500 },
        { "\"retry_backoff\":{\"max\":31536000}", AT(backoff.max_ms), YEAR_MS },
#undef AT
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct job_spec *spec = accepted(cases[i].members);
        int64_t value;

        memcpy(&value, (const char *)spec + cases[i].offset, sizeof(value));
        if (value != cases[i].expected)
            fail_msg("%s: %" PRId64, cases[i].members, value);
        job_spec_unref(spec);
    }
}

static void other_members_are_read(void **state)
{
    struct job_spec *spec = accepted(
        "\"pool\":\"other\",\"priority\":-100,\"retries\":100,\"crash_retries\":0,"
        "\"retry_backoff\":{\"factor\":1000,\"jitter\":false},\"return_exceptions\":true,"
        "\"on_error\":\"stop\",\"on_disconnect\":\"cancel\",\"durability\":\"memory\","
        "\"tags\":[\"a\",\"\\u00e9\"],\"metadata\":{\"n\": 0.10}");

    (void)state;
    assert_string_equal(spec->pool, "other");
    assert_int_equal(spec->priority, -100);
    assert_int_equal(spec->retries, 100);
    assert_int_equal(spec->crash_retries, 0);
    assert_true(spec->backoff.factor == 1000 && !spec->backoff.jitter);
    assert_true(spec->return_exceptions && spec->stop_on_error &&
                spec->cancel_on_disconnect);
    assert_int_equal(spec->durability, DURABILITY_MEMORY);
    assert_string_equal(spec->tags, "[\"a\",\"\xc3\xa9\"]");
    assert_string_equal(spec->metadata, "{\"n\": 0.10}");
    job_spec_unref(spec);
    spec =
        accepted("\"priority\":100,\"retries\":0,\"crash_retries\":100,\"on_error\":"
                 "\"continue\",\"on_disconnect\":\"continue\",\"durability\":\"relaxed\","
                 "\"return_exceptions\":false,\"tags\":[],\"metadata\":{}");
    assert_int_equal(spec->priority, 100);
    assert_int_equal(spec->crash_retries, 100);
    assert_false(spec->return_exceptions || spec->stop_on_error ||
                 spec->cancel_on_disconnect);
    assert_int_equal(spec->durability, DURABILITY_RELAXED);
    assert_null(spec->tags);
    job_spec_unref(spec);
    job_spec_unref(accepted("\"retry_backoff\":{\"factor\":1}"));
    job_spec_unref(accepted("\"retry_backoff\":{}"));
}

static void cpython_chunksize_is_that_of_pool_map(void **state)
{
    (void)state;
    for (uint64_t items = 1; items <= MAX_ITEMS; items++) {
        char body[128] = "{\"chunksize\":\"cpython\",\"task\":\"square\",\"items\":[0";
        struct job_spec *spec;
        lldiv_t parts = lldiv((long long)items, 4 * PROCESSES);

        for (uint64_t i = 1; i < items; i++)
            strcat(body, ",1");
        strcat(body, "]}");
        spec = accepted_with(WAITING(JOB_MAP), body);
        assert_int_equal(spec->chunksize, parts.quot + (parts.rem != 0));
        job_spec_unref(spec);
    }
}

/* ---- members: what is refused, and where ------------------------------------------- */

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
    static const char *const names[] = { "1",       "null",       "[]",
                                         "\"\"",    "\"Square\"", "\"../x\"",
                                         "\"A b\"", "\"a b\"",    "\"a/b\"",
                                         "\"9a\"",  "\"_a\"",     "\"a\\u00e9\"" };
    char body[256];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        (void)snprintf(body, sizeof(body), "{\"task\":%s}", names[i]);
        refused_with(WAITING(JOB_APPLY), body, PROBLEM_VALIDATION_FAILED, "#/task");
    }
    for (int len = 64; len <= 65; len++) {
        (void)snprintf(body, sizeof(body), "{\"task\":\"a%0*d\"}", len - 1, 0);
        refused_with(WAITING(JOB_APPLY), body,
                     len == 64 ? PROBLEM_UNKNOWN_TASK : PROBLEM_VALIDATION_FAILED,
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

/* ---- idempotency ------------------------------------------------------------------- */

static uint64_t hash_of(enum job_method method, const char *body)
{
    struct job_intake intake = { .method = method, .idempotency_key = "key-1" };
    struct job_spec *spec = accepted_with(intake, body);
    uint64_t hash = spec->request_hash;

    assert_string_equal(spec->idempotency_key, "key-1");
    job_spec_unref(spec);
    return hash;
}

static void request_hash_tells_method_and_body_apart(void **state)
{
    static const char body[] = "{\"task\":\"power\",\"items\":[[1,2]]}";
    uint64_t hash = hash_of(JOB_STARMAP, body);

    (void)state;
    assert_true(hash == hash_of(JOB_STARMAP, body));
    assert_true(hash != hash_of(JOB_MAP, body));
    assert_true(hash != hash_of(JOB_STARMAP, "{\"task\":\"power\",\"items\":[[1,3]]}"));
}

/* The key has to outlive a restart, and such a job does not. */
static void idempotency_key_and_memory_exclude_each_other(void **state)
{
    struct job_intake intake = { .method = JOB_APPLY, .idempotency_key = "k" };

    (void)state;
    refused_with(intake, "{\"task\":\"square\",\"durability\":\"memory\"}",
                 PROBLEM_VALIDATION_FAILED, "#/durability");
    job_spec_unref(
        accepted_with(intake, "{\"task\":\"square\",\"durability\":\"relaxed\"}"));
}

/* ---- without memory ---------------------------------------------------------------- */

static void failed_allocation_never_makes_a_job_with_something_missing(void **state)
{
    static const char text[] = "{\"task\":\"square\",\"items\":[1,2],\"tags\":[\"a\"],"
                               "\"metadata\":{\"b\":1}}";
    static const struct job_rules rules = { .max_items = 9,
                                            .max_item_bytes = 9,
                                            .pool_processes = pool_processes };
    struct job_intake intake = WAITING(JOB_MAP);
    struct blob *body = blob_new(text, sizeof(text) - 1);
    enum status st = ST_NO_MEMORY;
    unsigned long n;

    (void)state;
    assert_non_null(body);
    for (n = 1; st != ST_OK; n++) {
        struct job_spec *spec = NULL;
        struct job_refusal refusal;

        assert_true(n < 100);
        mem_fail_at(n, 0);
        st = job_json_parse(body, &intake, &rules, &spec, &refusal);
        mem_fail_at(0, 0);
        if (st != ST_OK)
            assert_int_equal(refusal.problem, PROBLEM_INTERNAL_ERROR);
        else
            assert_true(spec->tags && spec->metadata && spec->index);
        job_spec_unref(spec);
        job_refusal_clear(&refusal);
        assert_int_equal(atomic_load(&body->refs), 1);
    }
    assert_true(n > 3);
    blob_unref(body);
}

/* ---- writing ----------------------------------------------------------------------- */

static json_t *written(const struct job_spec *spec, const struct job_status *status,
                       bool minimal)
{
    struct buf out = BUF_INIT;
    json_error_t error;
    json_t *object;

    if (minimal)
        job_json_write_minimal(&out, spec, status);
    else
        job_json_write(&out, spec, status);
    assert_false(out.failed);
    object = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("%s: %s", error.text, out.data);
    buf_clear(&out);
    return object;
}

static void assert_json(json_t *object, const char *name, const char *expected)
{
    char *text = json_dumps(json_object_get(object, name),
                            JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);

    assert_non_null(text);
    if (strcmp(text, expected) != 0)
        fail_msg("%s: %s", name, text);
    free(text);
}

static void job_has_all_members_of_the_contract(void **state)
{
    static const char id[] = "01890a5d-ac96-774b-bcce-b302099a8057";
    struct job_spec *spec = accepted("\"tags\":[\"a\"],\"metadata\":{\"b\":[1]},"
                                     "\"priority\":-5");
    struct job_status status = { .state = JOB_RUNNING,
                                 .completed = 2,
                                 .failed = 1,
                                 .attempt = 3,
                                 .started_at_ms = NOW_MS + 1 };
    json_t *object, *links;

    (void)state;
    assert_true(uuid_parse(id, sizeof(id) - 1, &spec->id));
    object = written(spec, &status, false);
    assert_int_equal(json_object_size(object), 18);
    assert_json(object, "id", "\"01890a5d-ac96-774b-bcce-b302099a8057\"");
    assert_json(object, "method", "\"map\"");
    assert_json(object, "task", "\"square\"");
    assert_json(object, "pool", "\"default\"");
    assert_json(object, "state", "\"running\"");
    assert_json(object, "ready", "false");
    assert_json(object, "successful", "null");
    assert_json(object, "progress",
                "{\"completed\":2,\"failed\":1,\"message\":null,\"total\":3}");
    assert_json(object, "priority", "-5");
    assert_json(object, "durability", "\"durable\"");
    assert_json(object, "attempt", "3");
    assert_json(object, "tags", "[\"a\"]");
    assert_json(object, "metadata", "{\"b\":[1]}");
    assert_json(object, "created_at", "\"2023-11-14T22:13:20.000Z\"");
    assert_json(object, "started_at", "\"2023-11-14T22:13:20.001Z\"");
    assert_json(object, "finished_at", "null");
    assert_json(object, "error", "null");
    links = json_object_get(object, "links");
    assert_int_equal(json_object_size(links), 4);
    assert_json(links, "self", "\"/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057\"");
    assert_json(links, "result",
                "\"/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/result\"");
    assert_json(links, "results",
                "\"/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/results\"");
    assert_json(links, "cancel",
                "\"/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/cancel\"");
    json_decref(object);
    job_spec_unref(spec);
}

static void every_state_and_method_is_written(void **state)
{
    struct job_spec *spec = accepted("");

    (void)state;
    for (enum job_state i = 0; i < JOB_STATE_COUNT; i++) {
        struct job_status status = { .state = i };
        char expected[32];
        json_t *object = written(spec, &status, false);

        (void)snprintf(expected, sizeof(expected), "\"%s\"", job_state_names[i]);
        assert_json(object, "state", expected);
        assert_json(object, "ready", i >= JOB_SUCCEEDED ? "true" : "false");
        assert_json(object, "successful",
                    i < JOB_SUCCEEDED    ? "null"
                    : i == JOB_SUCCEEDED ? "true"
                                         : "false");
        assert_json(object, "tags", "[]");
        assert_json(object, "metadata", "{}");
        json_decref(object);
        object = written(spec, &status, true);
        assert_int_equal(json_object_size(object), 2);
        assert_json(object, "state", expected);
        json_decref(object);
    }
    for (enum job_method i = 0; i < JOB_METHOD_COUNT; i++) {
        struct job_status status = { .state = JOB_QUEUED };
        char expected[32];
        json_t *object;

        spec->method = i;
        object = written(spec, &status, false);
        (void)snprintf(expected, sizeof(expected), "\"%s\"", job_method_names[i]);
        assert_json(object, "method", expected);
        json_decref(object);
    }
    job_spec_unref(spec);
}

static void error_of_a_failed_job_is_its_object(void **state)
{
    static const char error[] = "{\"type\":\"/problems/task-error\",\"item\":2}";
    struct job_spec *spec = accepted("");
    struct job_status status = { .state = JOB_FAILED,
                                 .finished_at_ms = NOW_MS + 7,
                                 .error = blob_new(error, sizeof(error) - 1) };
    json_t *object = written(spec, &status, false);

    (void)state;
    assert_json(object, "error", "{\"item\":2,\"type\":\"/problems/task-error\"}");
    assert_json(object, "finished_at", "\"2023-11-14T22:13:20.007Z\"");
    json_decref(object);
    job_status_clear(&status);
    job_spec_unref(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_json_is_invalid_json),
        cmocka_unit_test(detail_tells_the_byte),
        cmocka_unit_test(nul_in_the_body_is_no_end),
        cmocka_unit_test(envelope_has_to_be_an_object),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(items_have_limits_in_number_and_size),
        cmocka_unit_test(item_over_the_limit_is_named),
        cmocka_unit_test(absent_members_have_the_defaults_of_the_contract),
        cmocka_unit_test(arguments_are_kept_byte_by_byte),
        cmocka_unit_test(items_are_indexed),
        cmocka_unit_test(empty_map_is_fine),
        cmocka_unit_test(members_of_one_kind_are_read_up_to_their_limits),
        cmocka_unit_test(other_members_are_read),
        cmocka_unit_test(cpython_chunksize_is_that_of_pool_map),
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
        cmocka_unit_test(request_hash_tells_method_and_body_apart),
        cmocka_unit_test(idempotency_key_and_memory_exclude_each_other),
        cmocka_unit_test(failed_allocation_never_makes_a_job_with_something_missing),
        cmocka_unit_test(job_has_all_members_of_the_contract),
        cmocka_unit_test(every_state_and_method_is_written),
        cmocka_unit_test(error_of_a_failed_job_is_its_object),
    };

    return cmocka_run_group_tests_name("job_json", tests, NULL, NULL);
}
