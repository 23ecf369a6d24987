/* SPDX-License-Identifier: MIT */
/*
 * What clients submit, against openapi/poold.yaml: documents, and what is good, up to the
 * limits. What is just over them or of the wrong type is in test_job_json_refused.c.
 */
#include "tests/unit/server/test_job_json_fixture.h"

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
    assert_int_equal(spec->result_ttl_ms, 7000);
    assert_int_equal(spec->retries, 0);
    assert_int_equal(spec->crash_retries, 3); /* that of the rules */
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
    struct job_spec *spec = accepted_with(
        WAITING(JOB_APPLY),
        "{\"kwargs\":{\"a\": 0.1, \"\\u0062\":1},\"task\":\"square\",\"args\":"
        "[9223372036854775808, 1e400,-0 ,1e2]}");

    (void)state;
    assert_true(text_equals(spec->input, "[9223372036854775808, 1e400,-0 ,1e2]"));
    assert_true(text_equals(spec->kwargs, "{\"a\": 0.1, \"\\u0062\":1}"));
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
        { "\"priority\":0", AT(result_ttl_ms), 7000 },
        { "\"result_ttl\":0", AT(result_ttl_ms), 0 },
        { "\"result_ttl\":31536000", AT(result_ttl_ms), YEAR_MS },
        { "\"chunksize\":1", AT(chunksize), 1 },
        { "\"chunksize\":2", AT(chunksize), 2 },
        { "\"chunksize\":3", AT(chunksize), 3 },
        { "\"chunksize\":4", AT(chunksize), 3 }, /* there are no more items */
        { "\"chunksize\":9223372036854775807", AT(chunksize), 3 },
        { "\"chunksize\":\"auto\"", AT(chunksize), JOB_CHUNKSIZE_AUTO },
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
    assert_null(spec->unique_key);
    job_spec_unref(spec);
    spec = accepted("\"unique_key\":\"c\"");
    assert_string_equal(spec->unique_key, "c");
    assert_int_equal(spec->on_conflict, CONFLICT_RETURN);
    job_spec_unref(spec);
    for (enum job_conflict i = 0; i < CONFLICT_COUNT; i++) {
        char members[256];

        (void)snprintf(members, sizeof(members),
                       "\"on_conflict\":\"%s\",\"unique_key\":\"%0128d\"",
                       job_conflict_names[i], 0);
        spec = accepted(members);
        assert_int_equal(strlen(spec->unique_key), 128);
        assert_int_equal(spec->on_conflict, i);
        job_spec_unref(spec);
    }
    job_spec_unref(accepted("\"retry_backoff\":{\"factor\":1}"));
    job_spec_unref(accepted("\"retry_backoff\":{}"));
}

static void job_that_is_fed_has_no_items_yet(void **state)
{
    static const struct job_intake fed = { .method = JOB_IMAP, .fed = true };
    struct job_spec *spec =
        accepted_with(fed, "{\"task\":\"square\",\"chunksize\":7,\"kwargs\":{}}");

    (void)state;
    assert_true(spec->fed);
    assert_int_equal(spec->item_count, 0);
    assert_int_equal(spec->input.len, 0);
    assert_int_equal(spec->chunksize, 7);
    assert_int_equal(spec->window, 1024);
    assert_int_equal(spec->durability, DURABILITY_RELAXED);
    assert_null(spec->index);
    job_spec_unref(spec);
    spec = accepted_with(WAITING(JOB_IMAP), "{\"task\":\"square\",\"items\":[]}");
    assert_false(spec->fed);
    job_spec_unref(spec);
}

static void imap_has_chunks_of_one_and_a_window(void **state)
{
    static const struct {
        const char *members;
        uint64_t chunksize, window;
    } cases[] = {
        { "", 1, 1024 },
        { ",\"window\":1", 1, 1 },
        { ",\"window\":100000", 1, JOB_WINDOW_MAX },
        { ",\"chunksize\":3", 3, 1024 },
        { ",\"window\":2,\"chunksize\":3", 2, 2 }, /* a chunk has to fit */
        { ",\"window\":2,\"chunksize\":\"auto\"", JOB_CHUNKSIZE_AUTO, 2 },
    };
    char body[128];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (enum job_method m = JOB_IMAP; m <= JOB_IMAP_UNORDERED; m++)
            for (int async = 0; async < 2; async++) {
                struct job_intake intake = { .method = m, .async = async };
                struct job_spec *spec;

                (void)snprintf(body, sizeof(body),
                               "{\"task\":\"square\",\"items\":[1,2,3,4]%s}",
                               cases[i].members);
                spec = accepted_with(intake, body);
                assert_int_equal(spec->window, async ? 0 : cases[i].window);
                if (!async)
                    assert_int_equal(spec->chunksize, cases[i].chunksize);
                assert_int_equal(spec->durability,
                                 async ? DURABILITY_DURABLE : DURABILITY_RELAXED);
                job_spec_unref(spec);
            }
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
                                            .max_depth = SLICE_DEPTH_MAX,
                                            .find_pool = find_pool };
    struct job_intake intake = WAITING(JOB_MAP);
    struct blob *body = blob_new(text, sizeof(text) - 1);
    enum status st = ST_NO_MEMORY;
    unsigned long n;

    (void)state;
    assert_non_null(body);
    for (n = 1; st != ST_OK; n++) {
        struct job_spec *spec = NULL;
        struct refusal refusal;

        assert_true(n < 100);
        mem_fail_at(n, 0);
        st = job_json_parse(body, &intake, &rules, &spec, &refusal);
        mem_fail_at(0, 0);
        if (st != ST_OK)
            assert_int_equal(refusal.problem, PROBLEM_NO_MEMORY);
        else
            assert_true(spec->tags && spec->metadata && spec->index);
        job_spec_unref(spec);
        refusal_clear(&refusal);
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
    assert_int_equal(json_object_size(object), 19);
    assert_json(object, "id", "\"01890a5d-ac96-774b-bcce-b302099a8057\"");
    assert_json(object, "method", "\"map\"");
    assert_json(object, "task", "\"square\"");
    assert_json(object, "pool", "\"default\"");
    assert_json(object, "unique_key", "null");
    assert_json(object, "state", "\"running\"");
    assert_json(object, "ready", "false");
    assert_json(object, "successful", "null");
    assert_json(
        object, "progress",
        "{\"completed\":2,\"failed\":1,\"message\":null,\"task\":null,\"total\":3}");
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
    assert_int_equal(json_object_size(links), 5);
    assert_json(links, "self", "\"/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057\"");
    assert_json(links, "result",
                "\"/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/result\"");
    assert_json(links, "results",
                "\"/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/results\"");
    assert_json(links, "events",
                "\"/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/events\"");
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

static void callbacks_to_allowed_hosts_are_kept(void **state)
{
    struct job_spec *spec = accepted("\"callback\":\"https://hooks.example/a\","
                                     "\"error_callback\":\"https://hooks.example/b\"");
    struct job_status status = { .state = JOB_QUEUED };
    struct buf out = BUF_INIT;

    (void)state;
    assert_string_equal(job_spec_callback(spec, JOB_SUCCEEDED),
                        "https://hooks.example/a");
    for (enum job_state i = JOB_FAILED; i < JOB_STATE_COUNT; i++)
        assert_string_equal(job_spec_callback(spec, i), "https://hooks.example/b");
    assert_null(job_spec_callback(spec, JOB_RUNNING));
    job_json_write(&out, spec, &status);
    assert_non_null(strstr(out.data, "/deliveries\"}}"));
    buf_clear(&out);
    job_spec_unref(spec);
}

static void time_limit_of_the_pool_comes_before_that_of_the_setting(void **state)
{
    static const struct {
        const char *text;
        int64_t limit_ms;
    } cases[] = {
        { "{\"task\":\"square\"}", 5000 },
        { "{\"task\":\"square\",\"pool\":\"other\"}", 7000 },
        { "{\"task\":\"square\",\"pool\":\"other\",\"time_limit\":1}", 1000 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct job_spec *spec = accepted_with(WAITING(JOB_APPLY), cases[i].text);

        assert_int_equal(spec->time_limit_ms, cases[i].limit_ms);
        job_spec_unref(spec);
    }
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
        cmocka_unit_test(job_that_is_fed_has_no_items_yet),
        cmocka_unit_test(imap_has_chunks_of_one_and_a_window),
        cmocka_unit_test(cpython_chunksize_is_that_of_pool_map),
        cmocka_unit_test(request_hash_tells_method_and_body_apart),
        cmocka_unit_test(idempotency_key_and_memory_exclude_each_other),
        cmocka_unit_test(failed_allocation_never_makes_a_job_with_something_missing),
        cmocka_unit_test(job_has_all_members_of_the_contract),
        cmocka_unit_test(every_state_and_method_is_written),
        cmocka_unit_test(error_of_a_failed_job_is_its_object),
        cmocka_unit_test(callbacks_to_allowed_hosts_are_kept),
        cmocka_unit_test(time_limit_of_the_pool_comes_before_that_of_the_setting),
    };

    return cmocka_run_group_tests_name("job_json", tests, NULL, NULL);
}
