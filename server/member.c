/* SPDX-License-Identifier: MIT */
#include "server/member.h"

#include "server/json_load.h"

#include <math.h>
#include <string.h>

static void invalid(struct refusal *refusal, const struct slice_member *member,
                    const char *what)
{
    refusal_add(refusal, member->name, -1, PROBLEM_VALIDATION_FAILED, what);
}

bool name_valid(const char *name, size_t len)
{
    if (!len || len > NAME_LEN_MAX || name[0] < 'a' || name[0] > 'z')
        return false;
    for (size_t i = 1; i < len; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
              strchr("_.:-", name[i])))
            return false;
    return true;
}

static bool pool_name_valid(struct text name)
{
    return name_valid(name.at, name.len);
}

json_t *member_value(struct refusal *refusal, const struct slice_member *member)
{
    bool no_memory;
    json_t *value =
        json_load(member->value, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &no_memory);

    refusal->no_memory |= no_memory;
    if (!value && !no_memory)
        invalid(refusal, member, "is out of range");
    return value;
}

static void read_name(struct refusal *refusal, const struct slice_member *member,
                      bool (*valid)(struct text), const char *what, char *ret_name)
{
    bool escaped = memchr(member->value.at, '\\', member->value.len) != NULL;
    json_auto_t *decoded = escaped ? member_value(refusal, member) : NULL;
    struct text name = { member->value.at + 1, member->value.len - 2 };

    if (escaped && !decoded)
        return;
    if (decoded)
        name = (struct text){ json_string_value(decoded), json_string_length(decoded) };
    if (member->kind != SLICE_STRING || !valid(name)) {
        invalid(refusal, member, what);
        return;
    }
    memcpy(ret_name, name.at, name.len);
    ret_name[name.len] = '\0';
}

void member_name(struct refusal *refusal, const struct slice_member *member,
                 char ret_name[NAME_LEN_MAX + 1])
{
    read_name(refusal, member, pool_name_valid,
              "is not a name: a lower-case letter, then up to 63 of a-z 0-9 _ . : -",
              ret_name);
}

void member_task(struct refusal *refusal, const struct slice_member *member,
                 char ret_name[TASK_NAME_MAX + 1])
{
    read_name(
        refusal, member, task_name_valid,
        "is not a task's name: a letter or _, then up to 127 of A-Z a-z 0-9 _ . : -",
        ret_name);
}

bool member_seconds(struct refusal *refusal, const struct slice_member *member,
                    const json_t *value, bool zero_is_fine, int64_t *ret_ms)
{
    double seconds = json_number_value(value);

    if (!json_is_number(value) || seconds < 0 || (seconds == 0 && !zero_is_fine) ||
        seconds > MEMBER_SECONDS_MAX) {
        invalid(refusal, member,
                zero_is_fine ? "is not a number of seconds from 0 to 31536000"
                             : "is not a number of seconds above 0 and up to 31536000");
        return false;
    }
    *ret_ms = (int64_t)ceil(seconds * 1000);
    return true;
}
