/* SPDX-License-Identifier: MIT */
/*
 * Submissions. The input's first byte says how it came in, the rest is the body.
 *
 * - What is accepted has a task, is within its limits, has as many items as it says, and is
 *   a job that clients can read.
 * - What is refused has a reason; its errors are JSON and point to something.
 */
#include "tests/fuzz/fuzz.h"

#include "server/job_json.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

/* Bits of the first byte; '@' is a waiting apply, 'I' a map_async. */
#define BITS_METHOD  0x07
#define BIT_ASYNC    0x08
#define BIT_LENIENT  0x10
#define BIT_IN_BATCH 0x20
#define BIT_FED      0x80

/* Small, so that small inputs reach them. */
#define MAX_ITEMS 300
#define MAX_BYTES 200

#define YEAR_MS 31536000000

static bool find_pool(void *data, const char *name, struct job_pool *ret_pool)
{
    (void)data;
    *ret_pool = (struct job_pool){ .processes = 3, .time_limit_ms = 7000 };
    return strcmp(name, "default") == 0 || strcmp(name, "other") == 0;
}

static const struct job_rules rules = { .max_items = MAX_ITEMS,
                                        .max_item_bytes = MAX_BYTES,
                                        .max_depth = SLICE_DEPTH_MAX,
                                        .time_limit_ms = 5000,
                                        .result_ttl_ms = 7000,
                                        .callback_allow = "hooks.example",
                                        .find_pool = find_pool };

static struct job_intake intake_of(uint8_t bits)
{
    struct job_intake intake = { .method = (bits & BITS_METHOD) % JOB_METHOD_COUNT,
                                 .async = bits & BIT_ASYNC,
                                 .lenient = bits & BIT_LENIENT,
                                 .in_batch = bits & BIT_IN_BATCH,
                                 .now_ms = 1700000000000,
                                 .idempotency_key = "key" };

    intake.fed = bits & BIT_FED && !intake.in_batch && job_method_streams(intake.method);
    return intake;
}

/* jansson refuses numbers that its types cannot hold. NULL: this has some. */
static json_t *load(const struct buf *text)
{
    json_error_t error;
    json_t *json;

    assert(!text->failed);
    json = json_loadb(text->data, text->len, JSON_REJECT_DUPLICATES, &error);
    assert(json || json_error_code(&error) == json_error_numeric_overflow);
    return json;
}

static void check_inside(struct text part, const struct blob *body)
{
    assert(part.at >= body->data && part.at + part.len <= body->data + body->len);
}

static void check_written(const struct job_spec *spec)
{
    static const struct job_status status = { .state = JOB_QUEUED };
    struct buf out = BUF_INIT;
    json_t *json;

    job_json_write(&out, spec, &status);
    json = load(&out);
    if (json) {
        assert(strcmp(json_string_value(json_object_get(json, "task")), spec->task) == 0);
        assert(json_is_array(json_object_get(json, "tags")));
        assert(json_is_object(json_object_get(json, "metadata")));
    }
    json_decref(json);
    buf_clear(&out);
}

static void check_spec(const struct job_spec *spec, const struct job_intake *intake,
                       const struct blob *body)
{
    struct job_pool pool;

    assert(spec->task[0] && find_pool(NULL, spec->pool, &pool));
    assert(intake->in_batch || spec->method == intake->method);
    assert(spec->method < JOB_METHOD_COUNT && spec->durability < DURABILITY_COUNT);
    assert(spec->priority >= JOB_PRIORITY_MIN && spec->priority <= JOB_PRIORITY_MAX);
    assert(spec->window <= JOB_WINDOW_MAX && spec->item_count <= MAX_ITEMS);
    assert(spec->start_at_ms <= intake->now_ms + YEAR_MS);
    assert(spec->expires_at_ms == 0 || spec->expires_at_ms > intake->now_ms);
    assert(spec->time_limit_ms >= 0 && spec->result_ttl_ms >= 0);
    assert(!spec->unique_key || strlen(spec->unique_key) <= UNIQUE_KEY_MAX);
    assert(spec->backoff.initial_ms >= 0 && spec->backoff.max_ms >= 0);
    assert(spec->backoff.factor >= 1);
    if (spec->index)
        assert(spec->index->count == spec->item_count);
    else
        assert(spec->method == JOB_APPLY ? spec->item_count == 1 : spec->item_count == 0);
    if (spec->kwargs.len > 0)
        check_inside(spec->kwargs, body);
    check_written(spec);
}

static void check_problem(const struct refusal *refusal)
{
    struct buf out = BUF_INIT;
    json_t *json;

    problem_open(&out, refusal->problem,
                 (struct text){ refusal->detail, strlen(refusal->detail) });
    buf_add_char(&out, '}');
    json = load(&out);
    assert(json_string_length(json_object_get(json, "detail")) > 0);
    json_decref(json);
    buf_clear(&out);
}

static void check_refusal(const struct refusal *refusal)
{
    struct buf array = BUF_INIT;
    json_t *errors, *error;
    size_t i;

    assert(refusal->problem < PROBLEM_COUNT && refusal->detail[0]);
    assert(memchr(refusal->detail, '\0', sizeof(refusal->detail)));
    assert(!refusal->no_memory);
    check_problem(refusal);
    buf_add_char(&array, '[');
    buf_add(&array, refusal->errors.data, refusal->errors.len);
    buf_add_char(&array, ']');
    errors = load(&array);
    assert(json_array_size(errors) == refusal->error_count);
    json_array_foreach(errors, i, error)
    {
        const char *pointer = json_string_value(json_object_get(error, "pointer"));

        assert(pointer && pointer[0] == '#');
        assert(json_string_length(json_object_get(error, "detail")) > 0);
    }
    json_decref(errors);
    buf_clear(&array);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct job_intake intake;
    struct refusal refusal;
    struct job_spec *spec = NULL;
    struct blob *body;
    enum status st;

    if (size == 0)
        return 0;
    intake = intake_of(data[0]);
    body = blob_new(data + 1, size - 1);
    assert(body);
    st = job_json_parse(body, &intake, &rules, &spec, &refusal);
    if (st == ST_OK) {
        assert(refusal.error_count == 0);
        check_spec(spec, &intake, body);
    } else {
        assert(st == ST_INVALID && !spec);
        check_refusal(&refusal);
    }
    job_spec_unref(spec);
    refusal_clear(&refusal);
    blob_unref(body);
    return 0;
}
