/* SPDX-License-Identifier: MIT */
#include "server/event_run.h"

#include <string.h>

static void add_number(struct buf *out, uint64_t n, char behind)
{
    buf_add_u64(out, n);
    buf_add_char(out, behind);
}

static void add_name(struct buf *out, const char *name)
{
    buf_add_str(out, name);
    buf_add_char(out, ' ');
}

void event_run_add(struct buf *out, const struct event *event)
{
    char job[UUID_TEXT_LEN + 1];

    uuid_format(event->job, job);
    add_number(out, event->id, ' ');
    add_name(out, event_kind_names[event->kind]);
    add_name(out, job);
    add_name(out, job_state_names[event->state]);
    add_number(out, event->total, ' ');
    add_number(out, event->completed, ' ');
    add_number(out, event->failed, ' ');
    add_number(out, event->owner, '\n');
}

/* Takes what is before the next `end` off the front; false if there is none. */
static bool take(struct text *rest, char end, struct text *ret_part)
{
    const char *at = rest->len > 0 ? memchr(rest->at, end, rest->len) : NULL;

    if (!at)
        return false;
    *ret_part = (struct text){ rest->at, (size_t)(at - rest->at) };
    *rest = (struct text){ at + 1, rest->len - ret_part->len - 1 };
    return true;
}

static bool take_number(struct text *rest, char end, uint64_t *ret_n)
{
    struct text part;

    *ret_n = 0;
    if (!take(rest, end, &part) || part.len == 0)
        return false;
    for (size_t i = 0; i < part.len; i++) {
        if (part.at[i] < '0' || part.at[i] > '9' ||
            __builtin_mul_overflow(*ret_n, 10, ret_n) ||
            __builtin_add_overflow(*ret_n, (uint64_t)(part.at[i] - '0'), ret_n))
            return false;
    }
    return true;
}

/* *ret_index is the name's place among `count`. */
static bool take_name(struct text *rest, const char *const names[], int count,
                      int *ret_index)
{
    struct text part;

    if (!take(rest, ' ', &part))
        return false;
    for (int i = 0; i < count; i++) {
        if (text_equals(part, names[i])) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static bool read_line(struct text line, struct event *ret_event)
{
    int kind, state;
    struct text job;

    *ret_event = (struct event){ 0 };
    if (!take_number(&line, ' ', &ret_event->id) ||
        !take_name(&line, event_kind_names, EVENT_KIND_COUNT, &kind) ||
        !take(&line, ' ', &job) || !uuid_parse(job.at, job.len, &ret_event->job) ||
        !take_name(&line, job_state_names, JOB_STATE_COUNT, &state) ||
        !take_number(&line, ' ', &ret_event->total) ||
        !take_number(&line, ' ', &ret_event->completed) ||
        !take_number(&line, ' ', &ret_event->failed) ||
        !take_number(&line, '\n', &ret_event->owner))
        return false;
    ret_event->kind = (enum event_kind)kind;
    ret_event->state = (enum job_state)state;
    return true;
}

bool event_run_next(struct text *rest, struct event *ret_event)
{
    struct text line;

    while (take(rest, '\n', &line)) {
        line.len++; /* with its end */
        if (read_line(line, ret_event))
            return true;
    }
    return false;
}
