/* SPDX-License-Identifier: MIT */
#include "workers/program_line.h"

#include "common/json_scan.h"
#include "common/utf8.h"
#include "workers/frame.h"

#include <jansson.h>
#include <string.h>

/* ---- requests ---------------------------------------------------------------------- */

static void one_line(char *at, const char *end)
{
    for (; at < end; at++) {
        if (*at == '\n' || *at == '\r')
            *at = ' ';
    }
}

/* Nothing, if the value is empty. */
static void add_string(struct buf *out, const char *name, struct text value)
{
    if (value.len == 0)
        return;
    buf_add_str(out, name);
    buf_add_json_string(out, value);
}

void program_line_request(struct buf *out, uint64_t id, struct text positional,
                          struct text kwargs, struct text trace)
{
    size_t start = out->len;

    if (id > 0) {
        buf_add_str(out, "{\"id\":");
        buf_add_u64(out, id);
        buf_add_str(out, ",\"args\":[");
    } else {
        buf_add_str(out, "{\"args\":[");
    }
    buf_add_text(out, positional);
    buf_add_str(out, "],\"kwargs\":");
    buf_add_text(out, kwargs.len > 0 ? kwargs : TEXT("{}"));
    add_string(out, ",\"traceparent\":", frame_trace_parent(trace));
    add_string(out, ",\"tracestate\":", frame_trace_state(trace));
    buf_add_char(out, '}');
    if (id > 0 && !out->failed)
        one_line(out->data + start, out->data + out->len);
}

/* ---- answers ----------------------------------------------------------------------- */

bool program_line_is_json(struct text text, struct text *ret_value)
{
    struct scan s = scan_of(text);
    const uint8_t *first = scan_document_begin(&s);
    const uint8_t *end = first ? scan_value(&s, first) : NULL;

    if (!end || !scan_document_end(&s, end))
        return false;
    *ret_value = (struct text){ (const char *)first, (size_t)(end - first) };
    return true;
}

bool program_line_is_text(struct text text)
{
    while (text.len > 0) {
        size_t len = utf8_len(text.at, text.len);

        if (len == 0 || *text.at == '\0')
            return false;
        text.at += len;
        text.len -= len;
    }
    return true;
}

/* Its value is nested on its own: as deep as one that no line is around. */
static bool read_member(struct scan *s, const uint8_t **at, struct text *ret_name,
                        struct text *ret_value)
{
    const uint8_t *name = *at, *p = scan_name(s, name), *value;

    if (!p)
        return false;
    *ret_name = (struct text){ (const char *)name + 1, (size_t)(p - name) - 2 };
    value = scan_colon(s, p);
    if (!value)
        return false;
    s->depth = 0;
    p = scan_value(s, value);
    s->depth = 1;
    s->objects = 1;
    if (!p)
        return false;
    *ret_value = (struct text){ (const char *)value, (size_t)(p - value) };
    *at = scan_space(p, s->end);
    return true;
}

static bool read_id(struct text value, uint64_t *ret_id)
{
    uint64_t id = 0;

    if (value.len == 0 || value.len > 19)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return false;
        id = id * 10 + (uint64_t)(value.at[i] - '0');
    }
    *ret_id = id;
    return true;
}

struct reading {
    struct program_answer *answer;
    unsigned outcomes; /* members that are result, error or progress */
    bool has_id;
    const char *why; /* NULL: fine so far */
};

static void take_member(struct reading *reading, struct text name, struct text value)
{
    static const char *const kinds[] = {
        [PROGRAM_RESULT] = "result",
        [PROGRAM_ERROR] = "error",
        [PROGRAM_PROGRESS] = "progress",
    };

    if (text_equals(name, "id")) {
        if (reading->has_id)
            reading->why = "with two ids";
        else if (!read_id(value, &reading->answer->id))
            reading->why = "whose id is not one that it was sent";
        reading->has_id = true;
        return;
    }
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!text_equals(name, kinds[i]))
            continue;
        reading->answer->kind = (enum program_answer_kind)i;
        reading->answer->value = value;
        reading->outcomes++;
    }
}

/* p is on '{'. False: it is not JSON. */
static bool read_members(struct scan *s, const uint8_t *p, struct reading *reading)
{
    size_t members = 0;

    s->depth = 1;
    s->objects = 1;
    p = scan_space(p + 1, s->end);
    while (!scan_at_closing(s, p)) {
        struct text name, value;

        if (members++ > 0) {
            p = scan_comma(s, p);
            if (!p)
                return false;
        }
        if (!read_member(s, &p, &name, &value))
            return false;
        if (!reading->why)
            take_member(reading, name, value);
    }
    return scan_document_end(s, p + 1) != NULL;
}

/* Whether a member is there and a string, or, unless it is needed, not there. */
static bool has_string(const json_t *object, const char *name, bool needed)
{
    const json_t *value = json_object_get(object, name);

    return json_is_string(value) || (!needed && (!value || json_is_null(value)));
}

static bool is_error(struct text value)
{
    json_auto_t *error = json_loadb(value.at, value.len, 0, NULL);

    return has_string(error, "type", true) && has_string(error, "message", true) &&
           has_string(error, "traceback", false);
}

static const char *judge(const struct reading *reading)
{
    const struct program_answer *answer = reading->answer;
    struct program_progress progress;

    if (reading->why)
        return reading->why;
    if (!reading->has_id)
        return "without an id";
    if (reading->outcomes != 1)
        return "with not exactly one of result, error and progress";
    if (answer->kind == PROGRAM_ERROR && !is_error(answer->value))
        return "whose error has not the strings type and message";
    if (answer->kind == PROGRAM_PROGRESS &&
        !program_line_progress(answer->value, &progress))
        return "whose progress has not the number current";
    return NULL;
}

bool program_line_parse(struct text line, struct program_answer *ret_answer,
                        const char **ret_why)
{
    struct scan s = scan_of(line);
    const uint8_t *p = scan_document_begin(&s);
    struct reading reading = { .answer = ret_answer };
    struct text value;

    *ret_answer = (struct program_answer){ 0 };
    if (!p || p == s.end || *p != '{') {
        *ret_why = program_line_is_json(line, &value) ? "that is no JSON object"
                                                      : "that is not JSON";
        return false;
    }
    *ret_why = read_members(&s, p, &reading) ? judge(&reading) : "that is not JSON";
    return *ret_why == NULL;
}

/* ---- what is in them --------------------------------------------------------------- */

/* At most max bytes, whole characters only. */
static struct text cut(const json_t *string, size_t max)
{
    struct text text = { json_string_value(string), json_string_length(string) };

    return (struct text){ text.at, utf8_cut(text.at, text.len, max) };
}

void program_line_exception(struct text error, struct buf *out, bool *ret_is_memory)
{
    json_auto_t *json = json_loadb(error.at, error.len, 0, NULL);
    struct text type = cut(json_object_get(json, "type"), PROGRAM_TYPE_MAX);

    *ret_is_memory = text_equals(type, "MemoryError");
    buf_add_str(out, "{\"type\":");
    buf_add_json_string(out, type);
    buf_add_str(out, ",\"message\":");
    buf_add_json_string(out, cut(json_object_get(json, "message"), PROGRAM_MESSAGE_MAX));
    buf_add_str(out, ",\"traceback\":");
    buf_add_json_string(out,
                        cut(json_object_get(json, "traceback"), PROGRAM_TRACEBACK_MAX));
    buf_add_char(out, '}');
    out->failed |= !json;
}

/* Not given is 0. */
static bool read_count(const json_t *object, const char *name, uint64_t *ret_n)
{
    const json_t *value = json_object_get(object, name);
    double n = json_number_value(value);

    *ret_n = 0;
    if (!value || json_is_null(value))
        return true;
    if (!json_is_number(value) || n < 0 || n > (double)(1ull << 53))
        return false;
    *ret_n = (uint64_t)n;
    return true;
}

bool program_line_progress(struct text value, struct program_progress *ret_progress)
{
    json_auto_t *json = json_loadb(value.at, value.len, 0, NULL);
    struct text message;

    if (!json_is_number(json_object_get(json, "current")) ||
        !read_count(json, "current", &ret_progress->current) ||
        !read_count(json, "total", &ret_progress->total) ||
        !has_string(json, "message", false))
        return false;
    message = cut(json_object_get(json, "message"), sizeof(ret_progress->message) - 1);
    if (message.len > 0)
        memcpy(ret_progress->message, message.at, message.len);
    ret_progress->message[message.len] = '\0';
    return true;
}
