/* SPDX-License-Identifier: MIT */
#include "server/job_json.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/job_parse.h"
#include "server/key.h"
#include "server/progress_json.h"
#include "server/trace.h"
#include "workers/registry.h"

#include <jansson.h>
#include <string.h>
#include <xxhash.h>

#define IMAP_CHUNKSIZE 1 /* that of Pool.imap */
#define IMAP_WINDOW    1024

/* In a batch the element says what it is; false if it does not. */
static bool read_method(struct parse *parse, const struct slice_envelope *envelope)
{
    static const struct {
        const char *text;
        enum job_method method;
    } methods[] = { { "\"apply_async\"", JOB_APPLY },
                    { "\"map_async\"", JOB_MAP },
                    { "\"starmap_async\"", JOB_STARMAP } };
    const struct slice_member *member = slice_find(envelope, "method");

    for (size_t i = 0; member && i < sizeof(methods) / sizeof(*methods); i++)
        if (text_equals(member->value, methods[i].text)) {
            parse->spec.method = methods[i].method;
            parse->spec.item_count = methods[i].method == JOB_APPLY;
            return true;
        }
    parse_wrong(parse, TEXT("method"), PROBLEM_VALIDATION_FAILED,
                member ? "is not \"apply_async\", \"map_async\" or \"starmap_async\""
                       : "is missing");
    return false;
}

static void check_starmap_items(struct parse *parse)
{
    struct text rest = slice_inside(parse->spec.input), item;
    uint64_t i = 0;

    for (; slice_next(&rest, &item); i++) {
        if (item.at[0] == '[')
            continue;
        refusal_add(parse->refusal, TEXT("items"), (int64_t)i, PROBLEM_VALIDATION_FAILED,
                    "has an item that is not an array of arguments");
        return;
    }
}

/* CPython's own rule: Pool._map_async. */
static uint64_t cpython_chunksize(uint64_t items, unsigned processes)
{
    uint64_t parts = 4 * (uint64_t)(processes ? processes : 1); /* 0: no such pool */

    return items ? items / parts + (items % parts != 0) : 1;
}

/* What a job whose items come later, and are not kept, cannot have. */
static void check_fed(struct parse *parse, const struct slice_envelope *envelope)
{
    struct job_spec *spec = &parse->spec;

    if (slice_find(envelope, "items"))
        parse_wrong(parse, TEXT("items"), PROBLEM_VALIDATION_FAILED,
                    "cannot be in the first line: each item is a line behind it");
    if (spec->durability == DURABILITY_DURABLE)
        parse_wrong(parse, TEXT("durability"), PROBLEM_VALIDATION_FAILED,
                    "cannot be \"durable\": items that are fed are not stored");
    if (spec->unique_key)
        parse_wrong(parse, TEXT("unique_key"), PROBLEM_VALIDATION_FAILED,
                    "is not for a job that is fed: its items come from one client");
    if (spec->chunksize == CHUNKSIZE_CPYTHON)
        parse_wrong(parse, TEXT("chunksize"), PROBLEM_VALIDATION_FAILED,
                    "cannot be \"cpython\": the number of items is not known");
}

/* The task knows best what it needs, then the pool. A program's own time is kept by who runs it,
 * who ends the program and not its worker. */
static int64_t default_time_limit(const struct parse *parse, const struct job_pool *pool)
{
    const struct task *task =
        registry_find((struct text){ parse->task, strlen(parse->task) });

    if (task && task->time_limit_ms && task->runtime != TASK_PROGRAM)
        return task->time_limit_ms;
    return pool->time_limit_ms ? pool->time_limit_ms : parse->spec.time_limit_ms;
}

/* What can only be checked when all members have been read. */
static void check_whole(struct parse *parse, struct slice_envelope *envelope)
{
    struct job_spec *spec = &parse->spec;
    bool is_map = spec->method != JOB_APPLY;
    struct text task = TEXT("task");
    struct job_pool pool = { 0 };

    if (!slice_find(envelope, "task"))
        parse_wrong(parse, task, PROBLEM_VALIDATION_FAILED,
                    "is missing: name the task to run");
    else if (parse->task[0] && parse->rules->key &&
             !key_may_run(parse->rules->key, parse->task))
        parse_wrong(parse, task, PROBLEM_FORBIDDEN,
                    "names a task that this key is not for");
    else if (parse->task[0] &&
             !registry_find((struct text){ parse->task, strlen(parse->task) }))
        parse_wrong(parse, task, PROBLEM_UNKNOWN_TASK,
                    "names no task that is known here; GET /v1/tasks lists them");
    if (parse->intake->fed)
        check_fed(parse, envelope);
    else if (is_map && !slice_find(envelope, "items"))
        parse_wrong(parse, TEXT("items"), PROBLEM_VALIDATION_FAILED, "is missing");
    if (!parse->rules->find_pool(parse->rules->data, parse->pool, &pool) &&
        parse->pool[0])
        parse_wrong(parse, TEXT("pool"), PROBLEM_UNKNOWN_POOL,
                    "names no pool that is known here; GET /v1/pools lists them");
    if (!slice_find(envelope, "time_limit"))
        spec->time_limit_ms = default_time_limit(parse, &pool);
    if (slice_find(envelope, "delay") && slice_find(envelope, "eta"))
        parse_wrong(parse, TEXT("eta"), PROBLEM_VALIDATION_FAILED,
                    "and delay exclude each other");
    if (slice_find(envelope, "on_conflict") && !slice_find(envelope, "unique_key"))
        parse_wrong(parse, TEXT("on_conflict"), PROBLEM_VALIDATION_FAILED,
                    "needs a unique_key");
    if (spec->idempotency_key && spec->durability == DURABILITY_MEMORY)
        parse_wrong(
            parse, TEXT("durability"), PROBLEM_VALIDATION_FAILED,
            "cannot be \"memory\" with an Idempotency-Key, which has to be stored");
    if (is_map && envelope->index) {
        spec->index = envelope->index;
        envelope->index = NULL;
        spec->item_count = spec->index->count;
        if (spec->method == JOB_STARMAP)
            check_starmap_items(parse);
    }
    if (spec->chunksize == CHUNKSIZE_CPYTHON)
        spec->chunksize = cpython_chunksize(spec->item_count, pool.processes);
    if (spec->chunksize > spec->item_count && !spec->fed)
        spec->chunksize = spec->item_count ? spec->item_count : 1;
    if (parse->intake->async) /* nobody reads along */
        spec->window = 0;
    if (spec->window && spec->chunksize > spec->window)
        spec->chunksize = spec->window;
    if (spec->chunksize > UINT32_MAX)
        spec->chunksize = UINT32_MAX;
}

static void parse_init(struct parse *parse, struct blob *body,
                       const struct job_intake *intake, const struct job_rules *rules,
                       struct refusal *refusal)
{
    memset(parse, 0, sizeof(*parse));
    parse->intake = intake;
    parse->rules = rules;
    parse->refusal = refusal;
    memcpy(parse->pool, "default", sizeof("default"));
    parse->spec = (struct job_spec){
        .id = intake->id,
        .method = intake->method,
        .durability = intake->async ? DURABILITY_DURABLE : DURABILITY_RELAXED,
        .task = parse->task,
        .pool = parse->pool,
        .item_count = intake->method == JOB_APPLY,
        .chunksize =
            job_method_streams(intake->method) ? IMAP_CHUNKSIZE : JOB_CHUNKSIZE_AUTO,
        .window = job_method_streams(intake->method) ? IMAP_WINDOW : 0,
        .created_at_ms = intake->now_ms,
        .time_limit_ms = rules->time_limit_ms,
        .result_ttl_ms = rules->result_ttl_ms,
        .crash_retries = rules->crash_retries,
        .backoff = { .initial_ms = 1000, .max_ms = 60000, .factor = 2, .jitter = true },
        .owner = intake->owner,
        .idempotency_key = intake->idempotency_key,
        .trace = intake->trace,
        .body = body,
        .input = intake->fed ? TEXT("") : TEXT("[]"),
        .fed = intake->fed,
        .kwargs = { NULL, 0 },
    };
}

/* Reads the members; nothing is left to be freed but what is in parse and envelope. */
static void read_envelope(struct parse *parse, struct slice_envelope *envelope)
{
    if (parse->intake->in_batch && !read_method(parse, envelope))
        return;
    for (size_t i = 0; i < envelope->count; i++)
        parse_member(parse, &envelope->members[i]);
    check_whole(parse, envelope);
}

/* Of a body in which nothing is wrong. */
static enum status make_spec(struct parse *parse, struct job_spec **ret_spec)
{
    const struct job_intake *intake = parse->intake;
    const struct blob *body = parse->spec.body;

    parse->spec.tags = parse->tags;
    parse->spec.metadata = parse->metadata;
    parse->spec.callback = parse->callback;
    parse->spec.error_callback = parse->error_callback;
    parse->spec.request_hash =
        intake->idempotency_key
            ? XXH3_64bits_withSeed(body->data, body->len, (XXH64_hash_t)intake->method)
            : 0;
    *ret_spec = job_spec_new(&parse->spec); /* takes the index */
    parse->spec.index = NULL;
    return *ret_spec ? ST_OK : ST_NO_MEMORY;
}

/* An element's offset is told as one in the body. */
static void refuse_text(struct parse *parse, struct text text, enum slice_verdict verdict,
                        struct slice_error *error, const struct slice_limits *limits)
{
    error->offset += (size_t)(text.at - parse->spec.body->data);
    if (verdict == SLICE_NOT_OBJECT && parse->intake->in_batch)
        parse_wrong(parse, WHOLE, PROBLEM_VALIDATION_FAILED, "is not an object");
    else
        refusal_of_text(parse->refusal, verdict, error, limits);
}

enum status job_json_parse_in(struct blob *body, struct text text,
                              const struct job_intake *intake,
                              const struct job_rules *rules, struct job_spec **ret_spec,
                              struct refusal *refusal)
{
    struct slice_limits limits = { rules->max_items, rules->max_item_bytes,
                                   rules->max_depth };
    bool indexed = intake->in_batch || intake->method != JOB_APPLY;
    unsigned errors_before = refusal->error_count;
    struct slice_envelope envelope;
    struct slice_error error = { 0 };
    enum slice_verdict verdict;
    struct parse parse;
    enum status st = ST_INVALID;

    parse_init(&parse, body, intake, rules, refusal);
    verdict =
        slice_envelope_scan(text, indexed ? "items" : NULL, &limits, &envelope, &error);
    if (verdict != SLICE_OK) {
        refuse_text(&parse, text, verdict, &error, &limits);
        return ST_INVALID;
    }
    read_envelope(&parse, &envelope);
    if (parse.no_memory || refusal->no_memory)
        st = ST_NO_MEMORY;
    else if (refusal->error_count == errors_before)
        st = make_spec(&parse, ret_spec);
    if (st == ST_NO_MEMORY)
        refusal_of_text(refusal, SLICE_NO_MEMORY, &error, &limits);
    slice_index_free(parse.spec.index);
    free(parse.tags); /* of json_dumps */
    mem_free(parse.metadata);
    mem_free(parse.callback);
    mem_free(parse.error_callback);
    slice_envelope_clear(&envelope);
    return st;
}

enum status job_json_parse(struct blob *body, const struct job_intake *intake,
                           const struct job_rules *rules, struct job_spec **ret_spec,
                           struct refusal *ret_refusal)
{
    refusal_init(ret_refusal);
    return job_json_parse_in(body, blob_text(body), intake, rules, ret_spec, ret_refusal);
}

/* ---- writing ----------------------------------------------------------------------- */

static void add_time(struct buf *out, const char *name, int64_t at_ms)
{
    char text[CLOCK_TEXT_LEN + 1];

    if (!at_ms) {
        buf_addf(out, ",\"%s\":null", name);
        return;
    }
    clock_format(at_ms, text);
    buf_addf(out, ",\"%s\":\"%s\"", name, text);
}

void job_json_write_minimal(struct buf *out, const struct job_spec *spec,
                            const struct job_status *status)
{
    char id[UUID_TEXT_LEN + 1];

    uuid_format(spec->id, id);
    buf_addf(out, "{\"id\":\"%s\",\"state\":\"%s\"}", id, job_state_names[status->state]);
}

void job_json_write(struct buf *out, const struct job_spec *spec,
                    const struct job_status *status)
{
    bool ready = job_state_final(status->state);
    char id[UUID_TEXT_LEN + 1];

    uuid_format(spec->id, id);
    buf_addf(out,
             "{\"id\":\"%s\",\"method\":\"%s\",\"task\":\"%s\",\"pool\":\"%s\",\"state\":"
             "\"%s\","
             "\"ready\":%s,\"successful\":%s",
             id, job_method_names[spec->method], spec->task, spec->pool,
             job_state_names[status->state], ready ? "true" : "false",
             !ready                           ? "null"
             : status->state == JOB_SUCCEEDED ? "true"
                                              : "false");
    buf_add_str(out, ",\"progress\":");
    progress_json_write(out, job_items(spec, status), status->completed, status->failed,
                        status->said);
    buf_addf(out, ",\"priority\":%d,\"durability\":\"%s\",\"attempt\":%u", spec->priority,
             durability_names[spec->durability], status->attempt);
    buf_add_str(out, ",\"unique_key\":");
    if (spec->unique_key)
        buf_add_json_string(out,
                            (struct text){ spec->unique_key, strlen(spec->unique_key) });
    else
        buf_add_str(out, "null");
    if (spec->owner)
        buf_addf(out, ",\"owner\":\"%016llx\"", (unsigned long long)spec->owner);
    trace_write_json(out, spec->trace);
    buf_addf(out, ",\"tags\":%s,\"metadata\":%s", spec->tags ? spec->tags : "[]",
             spec->metadata ? spec->metadata : "{}");
    add_time(out, "created_at", spec->created_at_ms);
    add_time(out, "started_at", status->started_at_ms);
    add_time(out, "finished_at", status->finished_at_ms);
    buf_add_str(out, ",\"error\":");
    if (status->error)
        buf_add_text(out, blob_text(status->error));
    else
        buf_add_str(out, "null");
    buf_addf(out,
             ",\"links\":{\"self\":\"/v1/jobs/%s\",\"result\":\"/v1/jobs/%s/result\","
             "\"results\":\"/v1/jobs/%s/results\",\"events\":\"/v1/jobs/%s/events\","
             "\"cancel\":\"/v1/jobs/%s/cancel\"",
             id, id, id, id, id);
    if (spec->callback || spec->error_callback)
        buf_addf(out, ",\"deliveries\":\"/v1/jobs/%s/deliveries\"", id);
    buf_add_str(out, "}}");
}
