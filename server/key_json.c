/* SPDX-License-Identifier: MIT */
#include "server/key_json.h"

#include "server/member.h"

#include <jansson.h>
#include <string.h>

struct draft {
    struct key *key;
    int64_t expires_ms, keep_old_ms;
};

typedef void member_reader(struct draft *draft, struct refusal *refusal,
                           const struct slice_member *member, const json_t *value);

static void invalid(struct refusal *refusal, const struct slice_member *member,
                    const char *what)
{
    refusal_add(refusal, member->name, -1, PROBLEM_VALIDATION_FAILED, what);
}

/* ---- members ----------------------------------------------------------------------- */

static void read_name(struct draft *draft, struct refusal *refusal,
                      const struct slice_member *member, const json_t *value)
{
    const char *name = json_string_value(value);

    if (!name || key_name_check(name))
        invalid(refusal, member, "is not 1 to 64 of A-Z a-z 0-9 _ . : - @");
    else
        (void)strcpy(draft->key->name, name);
}

static void read_scopes(struct draft *draft, struct refusal *refusal,
                        const struct slice_member *member, const json_t *value)
{
    const json_t *element;
    size_t i;

    draft->key->scopes = 0;
    json_array_foreach(value, i, element)
    {
        const char *name = json_string_value(element);
        unsigned scope = name && !strchr(name, ',') ? key_scopes_parse(name) : 0;

        if (!scope)
            refusal_add(refusal, member->name, (int64_t)i, PROBLEM_VALIDATION_FAILED,
                        "has an element that is not submit, read, cancel or admin");
        draft->key->scopes |= scope;
    }
    if (!json_array_size(value))
        invalid(refusal, member, "is not an array of at least one scope");
}

static void read_tasks(struct draft *draft, struct refusal *refusal,
                       const struct slice_member *member, const json_t *value)
{
    struct key *key = draft->key;
    const json_t *element;
    size_t i;

    if (!json_is_array(value) || json_array_size(value) > KEY_TASKS_MAX) {
        invalid(refusal, member, "is not an array of at most 16 patterns");
        return;
    }
    key->task_count = 0;
    json_array_foreach(value, i, element)
    {
        const char *pattern = json_string_value(element);

        if (!pattern || key_task_check(pattern))
            refusal_add(refusal, member->name, (int64_t)i, PROBLEM_VALIDATION_FAILED,
                        "has an element that is no task's name, with * for any text");
        else
            (void)strcpy(key->tasks[key->task_count++], pattern);
    }
}

static void read_expires_in(struct draft *draft, struct refusal *refusal,
                            const struct slice_member *member, const json_t *value)
{
    if (!json_is_null(value))
        (void)member_seconds(refusal, member, value, false, &draft->expires_ms);
}

static void read_keep_old(struct draft *draft, struct refusal *refusal,
                          const struct slice_member *member, const json_t *value)
{
    (void)member_seconds(refusal, member, value, true, &draft->keep_old_ms);
}

static void read_limit(struct refusal *refusal, const struct slice_member *member,
                       const json_t *value, uint64_t *ret_limit)
{
    if (json_is_integer(value) && json_integer_value(value) >= 1)
        *ret_limit = (uint64_t)json_integer_value(value);
    else if (!json_is_null(value))
        invalid(refusal, member, "is not a whole number from 1, or null");
}

static void read_rate(struct draft *draft, struct refusal *refusal,
                      const struct slice_member *member, const json_t *value)
{
    read_limit(refusal, member, value, &draft->key->rate);
}

static void read_max_queued(struct draft *draft, struct refusal *refusal,
                            const struct slice_member *member, const json_t *value)
{
    read_limit(refusal, member, value, &draft->key->max_queued);
}

static void read_max_queued_bytes(struct draft *draft, struct refusal *refusal,
                                  const struct slice_member *member, const json_t *value)
{
    read_limit(refusal, member, value, &draft->key->max_queued_bytes);
}

struct rule {
    const char *name;
    member_reader *read;
};

static const struct rule rules_of_new[] = {
    { "name", read_name },
    { "scopes", read_scopes },
    { "tasks", read_tasks },
    { "expires_in", read_expires_in },
    { "rate", read_rate },
    { "max_queued", read_max_queued },
    { "max_queued_bytes", read_max_queued_bytes },
    { NULL, NULL },
};

static const struct rule rules_of_rotation[] = {
    { "keep_old", read_keep_old },
    { NULL, NULL },
};

/* ---- the object -------------------------------------------------------------------- */

static void read_member(const struct rule *rule, const struct slice_member *member,
                        bool lenient, struct draft *draft, struct refusal *refusal)
{
    json_t *value;

    while (rule->name && !text_equals(member->name, rule->name))
        rule++;
    if (!rule->name && !lenient)
        invalid(refusal, member, "is not a member that is known here");
    if (!rule->name)
        return;
    value = member_value(refusal, member);
    if (value)
        rule->read(draft, refusal, member, value);
    json_decref(value);
}

static enum status read_object(struct text body, const struct rule *rules, bool lenient,
                               unsigned max_depth, struct draft *draft,
                               struct refusal *refusal)
{
    const struct slice_limits limits = { .max_depth = max_depth };
    struct slice_envelope envelope;
    struct slice_error error = { 0 };
    enum slice_verdict verdict =
        slice_envelope_scan(body, NULL, &limits, &envelope, &error);

    refusal_init(refusal);
    if (verdict != SLICE_OK) {
        refusal_of_text(refusal, verdict, &error, NULL);
        return ST_INVALID;
    }
    for (size_t i = 0; i < envelope.count; i++)
        read_member(rules, &envelope.members[i], lenient, draft, refusal);
    for (size_t i = 0; rules == rules_of_new && i < 2; i++)
        if (!slice_find(&envelope, rules[i].name))
            refusal_add(refusal, (struct text){ rules[i].name, strlen(rules[i].name) },
                        -1, PROBLEM_VALIDATION_FAILED, "is missing");
    slice_envelope_clear(&envelope);
    if (refusal->no_memory) {
        refusal_of_text(refusal, SLICE_NO_MEMORY, &error, NULL);
        return ST_NO_MEMORY;
    }
    return refusal->error_count ? ST_INVALID : ST_OK;
}

enum status key_json_parse(struct text body, bool lenient, unsigned max_depth,
                           int64_t now_ms, struct key *ret_key,
                           struct refusal *ret_refusal)
{
    struct draft draft = { .key = ret_key };
    enum status st;

    memset(ret_key, 0, sizeof(*ret_key));
    ret_key->created_at_ms = now_ms;
    st = read_object(body, rules_of_new, lenient, max_depth, &draft, ret_refusal);
    if (draft.expires_ms)
        ret_key->expires_at_ms = now_ms + draft.expires_ms;
    return st;
}

enum status key_json_parse_rotation(struct text body, bool lenient, unsigned max_depth,
                                    int64_t *ret_keep_old_ms, struct refusal *ret_refusal)
{
    struct draft draft = { 0 };
    enum status st = ST_OK;

    if (body.len)
        st =
            read_object(body, rules_of_rotation, lenient, max_depth, &draft, ret_refusal);
    else
        refusal_init(ret_refusal);
    *ret_keep_old_ms = draft.keep_old_ms;
    return st;
}
