/* SPDX-License-Identifier: MIT */
#include "server/pool_json.h"

#include "common/mem.h"
#include "workers/registry.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define HASH_SEED 0x706f6f6c /* so that no job's request has the same hash */

struct parse {
    const struct pool_intake *intake;
    struct refusal *refusal;
    struct pool_spec spec; /* the draft; texts point to the strings below */
    char name[NAME_LEN_MAX + 1], initializer[TASK_NAME_MAX + 1];
    char *initargs;
    bool no_memory;
};

static void invalid(struct parse *parse, const struct slice_member *member,
                    const char *what)
{
    refusal_add(parse->refusal, member->name, -1, PROBLEM_VALIDATION_FAILED, what);
}

/* ---- members ----------------------------------------------------------------------- */

typedef void member_reader(struct parse *parse, const struct slice_member *member,
                           const json_t *value);

static void read_name(struct parse *parse, const struct slice_member *member,
                      const json_t *value)
{
    (void)value;
    member_name(parse->refusal, member, parse->name);
}

/* A whole number; false if it is none or out of range. */
static bool whole_number(const json_t *value, uint64_t min, uint64_t max,
                         uint64_t *ret_number)
{
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < (json_int_t)min || number > (json_int_t)max)
        return false;
    *ret_number = (uint64_t)number;
    return true;
}

static void read_processes(struct parse *parse, const struct slice_member *member,
                           const json_t *value)
{
    uint64_t number;

    if (json_is_null(value) && !parse->intake->old)
        return;
    if (whole_number(value, 1, POOL_PROCESSES_MAX, &number))
        parse->spec.processes = (unsigned)number;
    else
        invalid(parse, member, "is not a whole number from 1 to 1024");
}

static void read_maxtasksperchild(struct parse *parse, const struct slice_member *member,
                                  const json_t *value)
{
    if (json_is_null(value))
        parse->spec.maxtasksperchild = 0;
    else if (!whole_number(value, 1, INT64_MAX, &parse->spec.maxtasksperchild))
        invalid(parse, member, "is not a whole number from 1, or null");
}

static void read_start_method(struct parse *parse, const struct slice_member *member,
                              const json_t *value)
{
    const char *word = json_string_value(value);

    for (enum start_method i = 0; word && i < START_METHOD_COUNT; i++)
        if (strcmp(word, start_method_names[i]) == 0) {
            parse->spec.start_method = i;
            return;
        }
    invalid(parse, member, "is not \"forkserver\", \"fork\" or \"spawn\"");
}

static void read_initializer(struct parse *parse, const struct slice_member *member,
                             const json_t *value)
{
    (void)value;
    if (member->kind == SLICE_NULL)
        return;
    member_task(parse->refusal, member, parse->initializer);
    if (!parse->initializer[0])
        return;
    parse->spec.initializer = parse->initializer;
    if (!registry_find((struct text){ parse->initializer, strlen(parse->initializer) }))
        refusal_add(parse->refusal, member->name, -1, PROBLEM_UNKNOWN_TASK,
                    "names no task that is known here; GET /v1/tasks lists them");
}

/* Passed on byte for byte, as the arguments of jobs are. */
static void read_initargs(struct parse *parse, const struct slice_member *member,
                          const json_t *value)
{
    (void)value;
    if (member->kind != SLICE_ARRAY) {
        invalid(parse, member, "is not an array");
    } else if (member->value.len > POOL_INITARGS_MAX) {
        invalid(parse, member, "has more than 65536 bytes");
    } else {
        parse->initargs = mem_strndup(member->value.at, member->value.len);
        parse->no_memory |= !parse->initargs;
    }
}

static void read_time_limit(struct parse *parse, const struct slice_member *member,
                            const json_t *value)
{
    if (json_is_null(value))
        parse->spec.time_limit_ms = 0;
    else
        (void)member_seconds(parse->refusal, member, value, false,
                             &parse->spec.time_limit_ms);
}

static void read_limit(struct parse *parse, const struct slice_member *member,
                       const json_t *value)
{
    char what[96];
    unsigned i = 0;

    while (!text_equals(member->name, limit_kinds[i].name))
        i++;
    if (json_is_null(value)) {
        parse->spec.limits.at[i] = 0;
    } else if (!whole_number(value, limit_kinds[i].min, limit_kinds[i].max,
                             &parse->spec.limits.at[i])) {
        (void)snprintf(what, sizeof(what), "is not %s, or null", limit_kinds[i].range);
        invalid(parse, member, what);
    }
}

static void read_cpu_limit(struct parse *parse, const struct slice_member *member,
                           const json_t *value)
{
    if (json_is_null(value))
        parse->spec.limits.cpu_ms = 0;
    else if (member_seconds(parse->refusal, member, value, false,
                            &parse->spec.limits.cpu_ms) &&
             parse->spec.limits.cpu_ms > CPU_LIMIT_MAX_MS)
        invalid(parse, member, "is not a number of seconds up to 2592000, or null");
}

static const struct member_rule {
    const char *name;
    bool lasting; /* cannot be changed */
    bool sliced;  /* the reader wants no tree */
    member_reader *read;
} member_rules[] = {
    { "name", true, true, read_name },
    { "processes", false, false, read_processes },
    { "maxtasksperchild", false, false, read_maxtasksperchild },
    { "start_method", true, false, read_start_method },
    { "initializer", true, true, read_initializer },
    { "initargs", true, true, read_initargs },
    { "time_limit", false, false, read_time_limit },
    { CPU_LIMIT_NAME, false, false, read_cpu_limit },
    { "memory_limit", false, false, read_limit },
    { "file_size_limit", false, false, read_limit },
    { "open_files_limit", false, false, read_limit },
    { "process_limit", false, false, read_limit },
};

static const struct member_rule *find_rule(struct text name)
{
    for (size_t i = 0; i < sizeof(member_rules) / sizeof(*member_rules); i++)
        if (text_equals(name, member_rules[i].name))
            return &member_rules[i];
    return NULL;
}

static void read_member(struct parse *parse, const struct slice_member *member)
{
    const struct member_rule *rule = find_rule(member->name);
    json_t *value = NULL;

    if (!rule) {
        if (!parse->intake->lenient)
            invalid(parse, member, "is not a member that is known here");
        return;
    }
    if (rule->lasting && parse->intake->old) {
        invalid(parse, member, "cannot be changed; make another pool");
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

/* ---- the whole --------------------------------------------------------------------- */

static void parse_init(struct parse *parse, const struct pool_intake *intake,
                       struct blob *body, struct refusal *refusal)
{
    memset(parse, 0, sizeof(*parse));
    parse->intake = intake;
    parse->refusal = refusal;
    if (intake->old) {
        parse->spec = *intake->old;
        return;
    }
    parse->spec = (struct pool_spec){
        .name = parse->name,
        .processes = intake->processes,
        .maxtasksperchild = intake->maxtasksperchild,
        .initargs = "[]",
        .idempotency_key = intake->idempotency_key,
    };
    if (intake->idempotency_key)
        parse->spec.request_hash = XXH3_64bits_withSeed(body->data, body->len, HASH_SEED);
}

static enum status finish(struct parse *parse, struct pool_spec **ret_spec)
{
    bool no_memory = parse->no_memory || parse->refusal->no_memory;

    if (parse->refusal->error_count && !no_memory)
        return ST_INVALID;
    if (parse->initargs)
        parse->spec.initargs = parse->initargs;
    *ret_spec = no_memory ? NULL : pool_spec_new(&parse->spec);
    if (*ret_spec)
        return ST_OK;
    refusal_of_text(parse->refusal, SLICE_NO_MEMORY, NULL, NULL);
    return ST_NO_MEMORY;
}

enum status pool_json_parse(struct blob *body, const struct pool_intake *intake,
                            struct pool_spec **ret_spec, struct refusal *ret_refusal)
{
    const struct slice_limits limits = { .max_depth = intake->max_depth };
    struct slice_envelope envelope;
    struct slice_error error = { 0 };
    enum slice_verdict verdict =
        slice_envelope_scan(blob_text(body), NULL, &limits, &envelope, &error);
    struct parse parse;
    enum status st;

    refusal_init(ret_refusal);
    if (verdict != SLICE_OK) {
        refusal_of_text(ret_refusal, verdict, &error, NULL);
        return ST_INVALID;
    }
    parse_init(&parse, intake, body, ret_refusal);
    for (size_t i = 0; i < envelope.count; i++)
        read_member(&parse, &envelope.members[i]);
    if (!intake->old && !slice_find(&envelope, "name"))
        refusal_add(ret_refusal, TEXT("name"), -1, PROBLEM_VALIDATION_FAILED,
                    "is missing");
    st = finish(&parse, ret_spec);
    mem_free(parse.initargs);
    slice_envelope_clear(&envelope);
    return st;
}

/* ---- writing ----------------------------------------------------------------------- */

static void add_number(struct buf *out, const char *name, uint64_t number)
{
    if (number)
        buf_addf(out, ",\"%s\":%llu", name, (unsigned long long)number);
    else
        buf_addf(out, ",\"%s\":null", name);
}

static void add_seconds(struct buf *out, const char *name, int64_t ms)
{
    if (ms)
        buf_addf(out, ",\"%s\":%.12g", name, (double)ms / 1000);
    else
        buf_addf(out, ",\"%s\":null", name);
}

void pool_json_write(struct buf *out, const struct pool_spec *spec)
{
    buf_addf(out, "\"name\":\"%s\",\"processes\":%u,\"start_method\":\"%s\"", spec->name,
             spec->processes, start_method_names[spec->start_method]);
    add_number(out, "maxtasksperchild", spec->maxtasksperchild);
    if (spec->initializer)
        buf_addf(out, ",\"initializer\":\"%s\"", spec->initializer);
    else
        buf_add_str(out, ",\"initializer\":null");
    buf_addf(out, ",\"initargs\":%s", spec->initargs);
    add_seconds(out, "time_limit", spec->time_limit_ms);
    add_seconds(out, CPU_LIMIT_NAME, spec->limits.cpu_ms);
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        add_number(out, limit_kinds[i].name, spec->limits.at[i]);
}
