/* SPDX-License-Identifier: MIT */
#include "server/refusal.h"

#include <stdio.h>
#include <string.h>

void refusal_init(struct refusal *refusal)
{
    memset(refusal, 0, sizeof(*refusal));
    refusal->element = -1;
}

void refusal_clear(struct refusal *refusal)
{
    buf_clear(&refusal->errors);
}

static void add_pointer(struct refusal *refusal, struct text member, int64_t index)
{
    struct buf pointer = BUF_INIT;

    buf_add_char(&pointer, '#');
    if (refusal->element >= 0)
        buf_addf(&pointer, "/%lld", (long long)refusal->element);
    if (member.at)
        buf_add_char(&pointer, '/');
    for (size_t i = 0; i < member.len; i++) {
        if (member.at[i] == '~')
            buf_add_str(&pointer, "~0");
        else if (member.at[i] == '/')
            buf_add_str(&pointer, "~1");
        else
            buf_add_char(&pointer, member.at[i]);
    }
    if (index >= 0)
        buf_addf(&pointer, "/%lld", (long long)index);
    buf_add_json_string(&refusal->errors, buf_text(&pointer));
    refusal->errors.failed |= pointer.failed;
    buf_clear(&pointer);
}

static void write_detail(struct refusal *refusal, struct text member, const char *what)
{
    char element[40] = "";
    int shown = member.len < 80 ? (int)member.len : 80;

    if (refusal->element >= 0)
        (void)snprintf(element, sizeof(element), "element %lld%s",
                       (long long)refusal->element, member.at ? ": " : " ");
    else if (!member.at)
        (void)snprintf(element, sizeof(element), "the body ");
    (void)snprintf(refusal->detail, sizeof(refusal->detail), "%s%.*s%s%s", element, shown,
                   member.at ? member.at : "", member.at ? " " : "", what);
}

/* What is wrong cannot be told: half of it would not be JSON. */
static void forget(struct refusal *refusal)
{
    refusal->errors.len = 0;
    refusal->no_memory = true;
    refusal->problem = PROBLEM_NO_MEMORY;
    (void)snprintf(refusal->detail, sizeof(refusal->detail), "out of memory");
}

void refusal_add(struct refusal *refusal, struct text member, int64_t index,
                 enum problem problem, const char *what)
{
    struct buf *errors = &refusal->errors;

    if (!refusal->error_count) {
        refusal->problem = problem;
        write_detail(refusal, member, what);
    } else {
        refusal->problem = PROBLEM_VALIDATION_FAILED;
        buf_add_char(errors, ',');
    }
    refusal->error_count++;
    buf_add_str(errors, "{\"pointer\":");
    add_pointer(refusal, member, index);
    buf_add_str(errors, ",\"detail\":");
    buf_add_json_string(errors, (struct text){ what, strlen(what) });
    buf_add_char(errors, '}');
    if (errors->failed)
        forget(refusal);
}

static const enum problem problem_of_verdict[] = {
    [SLICE_MALFORMED] = PROBLEM_INVALID_JSON,
    [SLICE_TOO_DEEP] = PROBLEM_JSON_TOO_DEEP,
    [SLICE_NOT_OBJECT] = PROBLEM_VALIDATION_FAILED,
    [SLICE_TOO_MANY] = PROBLEM_TOO_MANY_ITEMS,
    [SLICE_ITEM_TOO_LARGE] = PROBLEM_ITEM_TOO_LARGE,
    [SLICE_NO_MEMORY] = PROBLEM_NO_MEMORY,
};

void refusal_of_text(struct refusal *refusal, enum slice_verdict verdict,
                     const struct slice_error *error, const struct slice_limits *limits)
{
    char *detail = refusal->detail;
    size_t size = sizeof(refusal->detail);

    refusal->problem = problem_of_verdict[verdict];
    if (verdict == SLICE_TOO_MANY)
        (void)snprintf(detail, size, "there are more than %llu items (max_items)",
                       (unsigned long long)limits->max_items);
    else if (verdict == SLICE_ITEM_TOO_LARGE)
        (void)snprintf(
            detail, size, "item %llu has more than %llu bytes (max_item_bytes)",
            (unsigned long long)error->item, (unsigned long long)limits->max_item_bytes);
    else if (verdict == SLICE_NOT_OBJECT)
        (void)snprintf(detail, size, "the body is JSON, but not an object");
    else if (verdict == SLICE_TOO_DEEP)
        (void)snprintf(detail, size, "at byte %zu: %s (max_json_depth)", error->offset,
                       error->reason);
    else if (verdict == SLICE_NO_MEMORY)
        (void)snprintf(detail, size, "out of memory");
    else
        (void)snprintf(detail, size, "at byte %zu: %s", error->offset, error->reason);
}
