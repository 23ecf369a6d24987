/* SPDX-License-Identifier: MIT */
/*
 * Submits a request body to job_json_parse. What the tests of job_json share.
 */
#ifndef TESTS_TEST_JOB_JSON_FIXTURE_H
#define TESTS_TEST_JOB_JSON_FIXTURE_H

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

static inline bool find_pool(void *data, const char *name, struct job_pool *ret_pool)
{
    (void)data;
    ret_pool->processes = PROCESSES;
    ret_pool->time_limit_ms = strcmp(name, "other") == 0 ? 7000 : 0;
    return strcmp(name, "default") == 0 || strcmp(name, "other") == 0;
}

struct parsed {
    enum status st;
    struct job_spec *spec;
    struct refusal refusal;
};

static inline struct parsed parse_with(struct job_intake intake, const char *bytes,
                                       size_t len)
{
    static const struct job_rules rules = { .max_items = MAX_ITEMS,
                                            .max_item_bytes = MAX_BYTES,
                                            .max_depth = SLICE_DEPTH_MAX,
                                            .crash_retries = 3,
                                            .time_limit_ms = 5000,
                                            .result_ttl_ms = 7000,
                                            .callback_allow = "hooks.example",
                                            .find_pool = find_pool };
    struct blob *body = blob_new(bytes, len);
    struct parsed parsed = { 0 };

    assert_non_null(body);
    intake.now_ms = NOW_MS;
    parsed.st = job_json_parse(body, &intake, &rules, &parsed.spec, &parsed.refusal);
    blob_unref(body);
    assert_int_equal(parsed.st == ST_OK, parsed.spec != NULL);
    return parsed;
}

static inline void clear(struct parsed *parsed)
{
    job_spec_unref(parsed->spec);
    refusal_clear(&parsed->refusal);
}

#define ASYNC(m)   ((struct job_intake){ .method = (m), .async = true })
#define WAITING(m) ((struct job_intake){ .method = (m) })

/* The spec of a request that is fine; to be given back. */
static inline struct job_spec *accepted_with(struct job_intake intake, const char *body)
{
    struct parsed parsed = parse_with(intake, body, strlen(body));

    if (parsed.st != ST_OK)
        fail_msg("%s: refused: %s", body, parsed.refusal.detail);
    assert_int_equal(parsed.refusal.error_count, 0);
    refusal_clear(&parsed.refusal);
    return parsed.spec;
}

/* An async map of "square" over [1,2,3] with more members. */
static inline struct job_spec *accepted(const char *members)
{
    char body[512];

    (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"items\":[1,2,3]%s%s}",
                   members[0] ? "," : "", members);
    return accepted_with(ASYNC(JOB_MAP), body);
}

/* The request has to be refused with this problem. pointer: of its only error, or NULL if
 * there is to be none. */
static inline void refused_with(struct job_intake intake, const char *body,
                                enum problem problem, const char *pointer)
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
static inline void refused(const char *members, const char *pointer)
{
    char body[1024];

    (void)snprintf(body, sizeof(body), "{\"task\":\"square\",\"items\":[1,2,3],%s}",
                   members);
    refused_with(ASYNC(JOB_MAP), body, PROBLEM_VALIDATION_FAILED, pointer);
}

#endif
