/* SPDX-License-Identifier: MIT */
/*
 * The members of a submission: a table at the end of this file says for which calls each of them
 * is, and which function reads it into the draft.
 */
#include "server/job_parse.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/webhook.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define TAGS_MAX     32
#define TAG_LEN_MAX  64
#define METADATA_MAX 4096

void parse_wrong(struct parse *parse, struct text member, enum problem problem,
                 const char *what)
{
    refusal_add(parse->refusal, member, -1, problem, what);
}

static void invalid(struct parse *parse, const struct slice_member *member,
                    const char *what)
{
    parse_wrong(parse, member->name, PROBLEM_VALIDATION_FAILED, what);
}

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
    member_task(parse->refusal, member, parse->task);
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

void parse_member(struct parse *parse, const struct slice_member *member)
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
        value = member_value(parse->refusal, member);
        if (!value)
            return;
    }
    rule->read(parse, member, value);
    json_decref(value);
}
