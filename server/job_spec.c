/* SPDX-License-Identifier: MIT */
#include "server/job.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

const char *const job_method_names[JOB_METHOD_COUNT] = {
    [JOB_APPLY] = "apply",
    [JOB_MAP] = "map",
    [JOB_STARMAP] = "starmap",
    [JOB_IMAP] = "imap",
    [JOB_IMAP_UNORDERED] = "imap_unordered",
};

const char *const durability_names[DURABILITY_COUNT] = {
    [DURABILITY_DURABLE] = "durable",
    [DURABILITY_RELAXED] = "relaxed",
    [DURABILITY_MEMORY] = "memory",
};

const char *const job_conflict_names[CONFLICT_COUNT] = {
    [CONFLICT_RETURN] = "return",
    [CONFLICT_REJECT] = "reject",
    [CONFLICT_REPLACE] = "replace",
};

const char *const job_state_names[JOB_STATE_COUNT] = {
    [JOB_SCHEDULED] = "scheduled", [JOB_QUEUED] = "queued", [JOB_RUNNING] = "running",
    [JOB_SUCCEEDED] = "succeeded", [JOB_FAILED] = "failed", [JOB_CANCELLED] = "cancelled",
    [JOB_EXPIRED] = "expired",
};

bool job_state_final(enum job_state state)
{
    return state >= JOB_SUCCEEDED && state < JOB_STATE_COUNT;
}

bool job_method_streams(enum job_method method)
{
    return method == JOB_IMAP || method == JOB_IMAP_UNORDERED;
}

const char *job_spec_callback(const struct job_spec *spec, enum job_state state)
{
    if (!job_state_final(state))
        return NULL;
    return state == JOB_SUCCEEDED ? spec->callback : spec->error_callback;
}

static size_t string_size(const char *string)
{
    return string ? strlen(string) + 1 : 0;
}

/* Copies the string to *at, moves *at behind it, and gives the copy. NULL stays NULL. */
static const char *string_put(char **at, const char *string)
{
    size_t size = string_size(string);
    char *copy = *at;

    if (!string)
        return NULL;
    memcpy(copy, string, size);
    *at += size;
    return copy;
}

struct job_spec *job_spec_new(const struct job_spec *from)
{
    size_t size = string_size(from->task) + string_size(from->pool) +
                  string_size(from->tags) + string_size(from->metadata) +
                  string_size(from->callback) + string_size(from->error_callback) +
                  string_size(from->idempotency_key) + string_size(from->trace) +
                  string_size(from->unique_key);
    struct job_spec *spec = mem_alloc(sizeof(*spec) + size);
    char *at;

    if (!spec) {
        slice_index_free(from->index);
        return NULL;
    }
    at = (char *)(spec + 1);
    memcpy(spec, from, sizeof(*spec));
    atomic_init(&spec->refs, 1);
    spec->task = string_put(&at, from->task);
    spec->pool = string_put(&at, from->pool);
    spec->tags = string_put(&at, from->tags);
    spec->metadata = string_put(&at, from->metadata);
    spec->callback = string_put(&at, from->callback);
    spec->error_callback = string_put(&at, from->error_callback);
    spec->idempotency_key = string_put(&at, from->idempotency_key);
    spec->trace = string_put(&at, from->trace);
    spec->unique_key = string_put(&at, from->unique_key);
    blob_ref(spec->body);
    return spec;
}

struct job_spec *job_spec_strip(const struct job_spec *from)
{
    struct job_spec bare;

    memcpy(&bare, from, sizeof(bare));
    bare.body = NULL;
    bare.index = NULL;
    bare.input = bare.kwargs = (struct text){ NULL, 0 };
    return job_spec_new(&bare);
}

enum status job_spec_own_body(struct job_spec *spec)
{
    size_t input_len = spec->input.len, kwargs_len = spec->kwargs.len;
    struct blob *body = blob_new_uninit(input_len + kwargs_len);

    assert(atomic_load(&spec->refs) == 1);
    if (!body)
        return ST_NO_MEMORY;
    if (input_len)
        memcpy(body->data, spec->input.at, input_len);
    if (kwargs_len)
        memcpy(body->data + input_len, spec->kwargs.at, kwargs_len);
    blob_unref(spec->body);
    spec->body = body;
    spec->input = (struct text){ body->data, input_len };
    spec->kwargs = (struct text){ body->data + input_len, kwargs_len };
    return ST_OK;
}

struct job_spec *job_spec_ref(struct job_spec *spec)
{
    if (spec)
        atomic_fetch_add_explicit(&spec->refs, 1, memory_order_relaxed);
    return spec;
}

enum status job_spec_make_index(struct job_spec *spec)
{
    if (spec->index || spec->fed || spec->method == JOB_APPLY)
        return ST_OK;
    assert(atomic_load(&spec->refs) == 1);
    spec->index = slice_index_new(spec->input);
    if (!spec->index)
        return ST_NO_MEMORY;
    return spec->index->count == spec->item_count ? ST_OK : ST_CORRUPT;
}

void job_spec_unref(struct job_spec *spec)
{
    unsigned before;

    if (!spec)
        return;
    /* Whoever frees must see what all others did with it before they let go. */
    before = atomic_fetch_sub_explicit(&spec->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before > 1)
        return;
    blob_unref(spec->body);
    slice_index_free(spec->index);
    mem_free(spec);
}

uint64_t job_spec_bytes(const struct job_spec *spec)
{
    return (uint64_t)spec->input.len + spec->kwargs.len;
}

struct job_status job_status_copy(const struct job_status *status)
{
    struct job_status copy = *status;

    blob_ref(copy.error);
    blob_ref(copy.said);
    return copy;
}

void job_status_clear(struct job_status *status)
{
    blob_unref(status->error);
    blob_unref(status->said);
    memset(status, 0, sizeof(*status));
}

uint64_t job_items(const struct job_spec *spec, const struct job_status *status)
{
    return spec->fed ? status->fed : spec->item_count;
}
