/* SPDX-License-Identifier: MIT */
#include "server/job_json.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/webhook.h"
#include "workers/registry.h"

#include <jansson.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

#define RETRIES_MAX       100
#define TAGS_MAX          32
#define TAG_LEN_MAX       64
#define METADATA_MAX      4096
#define UNIQUE_KEY_MAX    128
#define CRASH_RETRIES     2
#define IMAP_CHUNKSIZE    1 /* that of Pool.imap */
#define IMAP_WINDOW       1024
#define CHUNKSIZE_CPYTHON UINT64_MAX /* replaced when the number of items is known */

struct parse {
    const struct job_intake *intake;
    const struct job_rules *rules;
    struct job_spec spec; /* the draft; texts point to the strings below */
    struct refusal *refusal;
    char task[NAME_LEN_MAX + 1], pool[NAME_LEN_MAX + 1];
    char unique_key[UNIQUE_KEY_MAX + 1];
    char *tags, *metadata, *callback, *error_callback;
    bool no_memory;
};

/* ---- refusing ---------------------------------------------------------------------- */

static void wrong_element(struct parse *parse, struct text member, int64_t element,
                          enum problem problem, const char *what)
{
    refusal_add(parse->refusal, member, element, problem, what);
}

static void wrong(struct parse *parse, struct text member, enum problem problem,
                  const char *what)
{
    wrong_element(parse, member, -1, problem, what);
}

static void invalid(struct parse *parse, const struct slice_member *member,
                    const char *what)
{
    wrong(parse, member->name, PROBLEM_VALIDATION_FAILED, what);
}

/* ---- members ----------------------------------------------------------------------- */

typedef void member_reader(struct parse *parse, const struct slice_member *member,
                           json_t *value);

static void read_bool(struct parse *parse, const struct slice_member *member,
                      json_t *value, bool *ret_bool)
{
    if (json_is_boolean(value))
        *ret_bool = json_boolean_value(value);
    else
        invalid(parse, member, "is not true or false");
}

/* One of two words; the second sets the flag. */
static void read_choice(struct parse *parse, const struct slice_member *member,
                        json_t *value, const char *no, const char *yes, const char *what,
                        bool *ret_bool)
{
    const char *word = json_string_value(value);

    if (word && strcmp(word, yes) == 0)
        *ret_bool = true;
    else if (word && strcmp(word, no) == 0)
        *ret_bool = false;
    else
        invalid(parse, member, what);
}

static void read_task(struct parse *parse, const struct slice_member *member,
                      json_t *value)
{
    (void)value;
    member_name(parse->refusal, member, parse->task);
}

static void read_pool(struct parse *parse, const struct slice_member *member,
                      json_t *value)
{
    parse->pool[0] = '\0';
    (void)value;
    member_name(parse->refusal, member, parse->pool);
}

static void read_array(struct parse *parse, const struct slice_member *member,
                       json_t *value)
{
    (void)value;
    if (member->kind == SLICE_ARRAY)
        parse->spec.input = member->value;
    else
        invalid(parse, member, "is not an array");
}

static void read_kwargs(struct parse *parse, const struct slice_member *member,
                        json_t *value)
{
    (void)value;
    if (member->kind == SLICE_OBJECT)
        parse->spec.kwargs = member->value;
    else
        invalid(parse, member, "is not an object");
}

static void read_chunksize(struct parse *parse, const struct slice_member *member,
                           json_t *value)
{
    const char *word = json_string_value(value);

    if (json_is_integer(value) && json_integer_value(value) >= 1)
        parse->spec.chunksize = (uint64_t)json_integer_value(value);
    else if (word && strcmp(word, "auto") == 0)
        parse->spec.chunksize = JOB_CHUNKSIZE_AUTO;
    else if (word && strcmp(word, "cpython") == 0)
        parse->spec.chunksize = CHUNKSIZE_CPYTHON;
    else
        invalid(parse, member, "is not a whole number from 1, \"auto\" or \"cpython\"");
}

static void read_window(struct parse *parse, const struct slice_member *member,
                        json_t *value)
{
    json_int_t n = json_integer_value(value);

    if (json_is_integer(value) && n >= 1 && n <= JOB_WINDOW_MAX)
        parse->spec.window = (uint64_t)n;
    else
        invalid(parse, member, "is not a whole number from 1 to 100000");
}

static void read_priority(struct parse *parse, const struct slice_member *member,
                          json_t *value)
{
    json_int_t n = json_integer_value(value);

    if (json_is_integer(value) && n >= JOB_PRIORITY_MIN && n <= JOB_PRIORITY_MAX)
        parse->spec.priority = (int)n;
    else
        invalid(parse, member, "is not a whole number from -100 to 100");
}

static void read_delay(struct parse *parse, const struct slice_member *member,
                       json_t *value)
{
    int64_t delay_ms = 0;

    if (!parse->intake->async) {
        invalid(parse, member, "is only for the _async calls");
    } else if (member_seconds(parse->refusal, member, value, true, &delay_ms)) {
        parse->spec.start_at_ms = parse->intake->now_ms + delay_ms;
    }
}

static void read_eta(struct parse *parse, const struct slice_member *member,
                     json_t *value)
{
    int64_t latest_ms = parse->intake->now_ms + (int64_t)MEMBER_SECONDS_MAX * 1000;

    if (!parse->intake->async)
        invalid(parse, member, "is only for the _async calls");
    else if (!json_is_string(value) ||
             clock_parse(json_string_value(value), json_string_length(value),
                         &parse->spec.start_at_ms) != ST_OK)
        invalid(parse, member,
                "is not a time in RFC 3339, like \"2026-01-02T03:04:05Z\"");
    else if (parse->spec.start_at_ms > latest_ms)
        invalid(parse, member, "is more than a year away");
}

static void read_expires_in(struct parse *parse, const struct slice_member *member,
                            json_t *value)
{
    int64_t ms = 0;

    if (member_seconds(parse->refusal, member, value, false, &ms))
        parse->spec.expires_at_ms = parse->intake->now_ms + ms;
}

static void read_time_limit(struct parse *parse, const struct slice_member *member,
                            json_t *value)
{
    (void)member_seconds(parse->refusal, member, value, false,
                         &parse->spec.time_limit_ms);
}

static void read_count(struct parse *parse, const struct slice_member *member,
                       json_t *value, uint32_t *ret_count)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) <= RETRIES_MAX)
        *ret_count = (uint32_t)json_integer_value(value);
    else
        invalid(parse, member, "is not a whole number from 0 to 100");
}

static void read_retries(struct parse *parse, const struct slice_member *member,
                         json_t *value)
{
    read_count(parse, member, value, &parse->spec.retries);
}

static void read_crash_retries(struct parse *parse, const struct slice_member *member,
                               json_t *value)
{
    read_count(parse, member, value, &parse->spec.crash_retries);
}

static void read_retry_backoff(struct parse *parse, const struct slice_member *member,
                               json_t *value)
{
    struct job_backoff *backoff = &parse->spec.backoff;
    const char *name;
    json_t *part;

    if (!json_is_object(value)) {
        invalid(parse, member, "is not an object");
        return;
    }
    json_object_foreach(value, name, part)
    {
        double number = json_number_value(part);
        bool is_number =
            json_is_number(part) && number >= 0 && number <= MEMBER_SECONDS_MAX;

        if (strcmp(name, "initial") == 0 && is_number)
            backoff->initial_ms = (int64_t)ceil(number * 1000);
        else if (strcmp(name, "max") == 0 && is_number)
            backoff->max_ms = (int64_t)ceil(number * 1000);
        else if (strcmp(name, "factor") == 0 && is_number && number >= 1 &&
                 number <= 1000)
            backoff->factor = number;
        else if (strcmp(name, "jitter") == 0 && json_is_boolean(part))
            backoff->jitter = json_boolean_value(part);
        else
            invalid(
                parse, member,
                "may have initial and max (seconds), factor (1 to 1000) and jitter (true "
                "or false)");
    }
}

static void read_return_exceptions(struct parse *parse, const struct slice_member *member,
                                   json_t *value)
{
    read_bool(parse, member, value, &parse->spec.return_exceptions);
}

static void read_on_error(struct parse *parse, const struct slice_member *member,
                          json_t *value)
{
    read_choice(parse, member, value, "continue", "stop",
                "is not \"continue\" or \"stop\"", &parse->spec.stop_on_error);
}

static void read_on_disconnect(struct parse *parse, const struct slice_member *member,
                               json_t *value)
{
    read_choice(parse, member, value, "continue", "cancel",
                "is not \"continue\" or \"cancel\"", &parse->spec.cancel_on_disconnect);
}

static void read_durability(struct parse *parse, const struct slice_member *member,
                            json_t *value)
{
    const char *word = json_string_value(value);

    for (enum durability i = 0; word && i < DURABILITY_COUNT; i++)
        if (strcmp(word, durability_names[i]) == 0) {
            parse->spec.durability = i;
            return;
        }
    invalid(parse, member, "is not \"durable\", \"relaxed\" or \"memory\"");
}

static void read_url(struct parse *parse, const struct slice_member *member,
                     json_t *value, char **ret_url)
{
    struct webhook_target target;
    const char *refusal;

    if (!json_is_string(value)) {
        invalid(parse, member, "is not a string");
        return;
    }
    refusal = webhook_url_check(json_string_value(value), parse->rules->callback_allow,
                                &target);
    if (refusal) {
        invalid(parse, member, refusal);
        return;
    }
    *ret_url = mem_strdup(json_string_value(value));
    parse->no_memory |= !*ret_url;
}

static void read_callback(struct parse *parse, const struct slice_member *member,
                          json_t *value)
{
    read_url(parse, member, value, &parse->callback);
}

static void read_error_callback(struct parse *parse, const struct slice_member *member,
                                json_t *value)
{
    read_url(parse, member, value, &parse->error_callback);
}

static void read_tags(struct parse *parse, const struct slice_member *member,
                      json_t *value)
{
    size_t i;
    json_t *tag;

    if (!json_is_array(value) || json_array_size(value) > TAGS_MAX) {
        invalid(parse, member, "is not an array of at most 32 strings");
        return;
    }
    json_array_foreach(value, i, tag)
    {
        size_t len = json_string_length(tag);

        if (!json_is_string(tag) || !len || len > TAG_LEN_MAX) {
            invalid(parse, member, "has a member that is not a string of 1 to 64 bytes");
            return;
        }
    }
    if (!i)
        return;
    parse->tags = json_dumps(value, JSON_COMPACT);
    parse->no_memory |= !parse->tags;
}

static void read_metadata(struct parse *parse, const struct slice_member *member,
                          json_t *value)
{
    (void)value;
    if (member->kind != SLICE_OBJECT) {
        invalid(parse, member, "is not an object");
    } else if (member->value.len > METADATA_MAX) {
        invalid(parse, member, "has more than 4096 bytes");
    } else {
        parse->metadata = mem_strndup(member->value.at, member->value.len);
        parse->no_memory |= !parse->metadata;
    }
}

static void read_result_ttl(struct parse *parse, const struct slice_member *member,
                            json_t *value)
{
    (void)member_seconds(parse->refusal, member, value, true, &parse->spec.result_ttl_ms);
}

static void read_unique_key(struct parse *parse, const struct slice_member *member,
                            json_t *value)
{
    const char *key = json_string_value(value);
    size_t len = json_string_length(value);

    for (size_t i = 0; i < len; i++)
        if (key[i] < '!' || key[i] > '~')
            key = NULL, len = 0;
    if (!key || !len || len > UNIQUE_KEY_MAX) {
        invalid(parse, member, "is not a string of 1 to 128 visible ASCII characters");
        return;
    }
    memcpy(parse->unique_key, key, len + 1);
    parse->spec.unique_key = parse->unique_key;
}

static void read_on_conflict(struct parse *parse, const struct slice_member *member,
                             json_t *value)
{
    const char *word = json_string_value(value);

    for (enum job_conflict i = 0; word && i < CONFLICT_COUNT; i++)
        if (strcmp(word, job_conflict_names[i]) == 0) {
            parse->spec.on_conflict = i;
            return;
        }
    invalid(parse, member, "is not \"return\", \"reject\" or \"replace\"");
}

enum member_use { FOR_ALL, FOR_APPLY, FOR_MAP, FOR_IMAP, FOR_BATCH, FOR_SINGLE };
static const char *const use_texts[] = {
    [FOR_APPLY] = "is only for apply",
    [FOR_MAP] = "is only for the map family",
    [FOR_IMAP] = "is only for imap and imap_unordered",
    [FOR_SINGLE] = "is not for the jobs of a batch",
};

static const struct member_rule {
    const char *name;
    enum member_use use;
    bool sliced; /* the reader wants no tree */
    member_reader *read;
} member_rules[] = {
    { "method", FOR_BATCH, true, NULL },
    { "task", FOR_ALL, true, read_task },
    { "args", FOR_APPLY, true, read_array },
    { "items", FOR_MAP, true, read_array },
    { "kwargs", FOR_ALL, true, read_kwargs },
    { "chunksize", FOR_MAP, false, read_chunksize },
    { "window", FOR_IMAP, false, read_window },
    { "pool", FOR_ALL, true, read_pool },
    { "priority", FOR_ALL, false, read_priority },
    { "delay", FOR_ALL, false, read_delay },
    { "eta", FOR_ALL, false, read_eta },
    { "expires_in", FOR_ALL, false, read_expires_in },
    { "time_limit", FOR_ALL, false, read_time_limit },
    { "retries", FOR_ALL, false, read_retries },
    { "retry_backoff", FOR_ALL, false, read_retry_backoff },
    { "crash_retries", FOR_ALL, false, read_crash_retries },
    { "return_exceptions", FOR_MAP, false, read_return_exceptions },
    { "on_error", FOR_MAP, false, read_on_error },
    { "on_disconnect", FOR_ALL, false, read_on_disconnect },
    { "durability", FOR_ALL, false, read_durability },
    { "callback", FOR_ALL, false, read_callback },
    { "error_callback", FOR_ALL, false, read_error_callback },
    { "tags", FOR_ALL, false, read_tags },
    { "metadata", FOR_ALL, true, read_metadata },
    { "result_ttl", FOR_ALL, false, read_result_ttl },
    { "unique_key", FOR_SINGLE, false, read_unique_key },
    { "on_conflict", FOR_SINGLE, false, read_on_conflict },
};

static const struct member_rule *find_rule(struct text name)
{
    for (size_t i = 0; i < sizeof(member_rules) / sizeof(*member_rules); i++)
        if (text_equals(name, member_rules[i].name))
            return &member_rules[i];
    return NULL;
}

static bool use_fits(enum member_use use, const struct parse *parse)
{
    enum job_method method = parse->spec.method;

    return use == FOR_ALL || (use == FOR_SINGLE && !parse->intake->in_batch) ||
           (use == FOR_APPLY && method == JOB_APPLY) ||
           (use == FOR_MAP && method != JOB_APPLY) ||
           (use == FOR_IMAP && job_method_streams(method));
}

static void read_member(struct parse *parse, const struct slice_member *member)
{
    const struct member_rule *rule = find_rule(member->name);
    json_t *value = NULL;

    if (rule && rule->use == FOR_BATCH && parse->intake->in_batch)
        return; /* it has been read before all others */
    if (!rule || rule->use == FOR_BATCH) {
        if (!parse->intake->lenient)
            invalid(parse, member, "is not a member that is known here");
        return;
    }
    if (!use_fits(rule->use, parse)) {
        invalid(parse, member, use_texts[rule->use]);
        return;
    }
    if (!rule->sliced) {
        value = json_loadb(member->value.at, member->value.len,
                           JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        if (!value) {
            invalid(parse, member, "is out of range");
            return;
        }
    }
    rule->read(parse, member, value);
    json_decref(value);
}

/* ---- the whole ----- */

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
    wrong(parse, TEXT("method"), PROBLEM_VALIDATION_FAILED,
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
        wrong_element(parse, TEXT("items"), (int64_t)i, PROBLEM_VALIDATION_FAILED,
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

/* What can only be checked when all members have been read. */
static void check_whole(struct parse *parse, struct slice_envelope *envelope)
{
    struct job_spec *spec = &parse->spec;
    bool is_map = spec->method != JOB_APPLY;
    struct text task = TEXT("task");
    struct job_pool pool = { 0 };

    if (!slice_find(envelope, "task"))
        wrong(parse, task, PROBLEM_VALIDATION_FAILED, "is missing: name the task to run");
    else if (parse->task[0] &&
             !registry_find((struct text){ parse->task, strlen(parse->task) }))
        wrong(parse, task, PROBLEM_UNKNOWN_TASK,
              "names no task that is known here; GET /v1/tasks lists them");
    if (is_map && !slice_find(envelope, "items"))
        wrong(parse, TEXT("items"), PROBLEM_VALIDATION_FAILED, "is missing");
    if (!parse->rules->find_pool(parse->rules->data, parse->pool, &pool) &&
        parse->pool[0])
        wrong(parse, TEXT("pool"), PROBLEM_UNKNOWN_POOL,
              "names no pool that is known here; GET /v1/pools lists them");
    if (pool.time_limit_ms && !slice_find(envelope, "time_limit"))
        spec->time_limit_ms = pool.time_limit_ms;
    if (slice_find(envelope, "delay") && slice_find(envelope, "eta"))
        wrong(parse, TEXT("eta"), PROBLEM_VALIDATION_FAILED,
              "and delay exclude each other");
    if (slice_find(envelope, "on_conflict") && !slice_find(envelope, "unique_key"))
        wrong(parse, TEXT("on_conflict"), PROBLEM_VALIDATION_FAILED,
              "needs a unique_key");
    if (spec->idempotency_key && spec->durability == DURABILITY_MEMORY)
        wrong(parse, TEXT("durability"), PROBLEM_VALIDATION_FAILED,
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
    if (spec->chunksize > spec->item_count)
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
        .crash_retries = CRASH_RETRIES,
        .backoff = { .initial_ms = 1000, .max_ms = 60000, .factor = 2, .jitter = true },
        .idempotency_key = intake->idempotency_key,
        .body = body,
        .input = TEXT("[]"),
        .kwargs = { NULL, 0 },
    };
}

/* Reads the members; nothing is left to be freed but what is in parse and envelope. */
static void read_envelope(struct parse *parse, struct slice_envelope *envelope)
{
    if (parse->intake->in_batch && !read_method(parse, envelope))
        return;
    for (size_t i = 0; i < envelope->count; i++)
        read_member(parse, &envelope->members[i]);
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
        wrong(parse, WHOLE, PROBLEM_VALIDATION_FAILED, "is not an object");
    else
        refusal_of_text(parse->refusal, verdict, error, limits);
}

enum status job_json_parse_in(struct blob *body, struct text text,
                              const struct job_intake *intake,
                              const struct job_rules *rules, struct job_spec **ret_spec,
                              struct refusal *refusal)
{
    struct slice_limits limits = { rules->max_items, rules->max_item_bytes };
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
    if (parse.no_memory)
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
    buf_addf(out,
             ",\"progress\":{\"total\":%llu,\"completed\":%llu,\"failed\":%llu,"
             "\"message\":null},\"priority\":%d,\"durability\":\"%s\",\"attempt\":%u",
             (unsigned long long)spec->item_count, (unsigned long long)status->completed,
             (unsigned long long)status->failed, spec->priority,
             durability_names[spec->durability], status->attempt);
    buf_add_str(out, ",\"unique_key\":");
    if (spec->unique_key)
        buf_add_json_string(out,
                            (struct text){ spec->unique_key, strlen(spec->unique_key) });
    else
        buf_add_str(out, "null");
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
