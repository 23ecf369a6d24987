/* SPDX-License-Identifier: MIT */
/*
 * A call that ends well allocates nothing: the arguments are slices of the chunk, the
 * result is written straight behind the earlier ones, and only an exception has a buffer
 * of its own.
 *
 * Arguments are bound in CPython's order (positional, keywords, then too many, then
 * missing), so that a call with more than one fault raises what CPython would raise.
 */
#include "workers/task.h"

#include "common/json_scan.h"
#include "common/utf8.h"
#include "workers/items.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 200 /* bytes of the arguments in a traceback */

const char *const task_runtime_names[TASK_RUNTIME_COUNT] = {
    [TASK_NATIVE] = "native",
    [TASK_PYTHON] = "python",
    [TASK_PROGRAM] = "program",
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool task_name_valid(struct text name)
{
    if (name.len == 0 || name.len > TASK_NAME_MAX || !is_letter(name.at[0]))
        return false;
    for (size_t i = 1; i < name.len; i++) {
        char c = name.at[i];

        if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '.' && c != ':' && c != '-')
            return false;
    }
    return true;
}

/* ---- exceptions -------------------------------------------------------------------- */

/* At most max bytes, whole UTF-8 sequences only. */
static struct text cut(struct text text, size_t max)
{
    return (struct text){ text.at, utf8_cut(text.at, text.len, max) };
}

static void add_shown(struct buf *buf, struct text text)
{
    struct text shown = cut(text, SHOWN_MAX);

    buf_add_text(buf, shown);
    if (shown.len < text.len)
        buf_add_str(buf, "...");
}

static void add_traceback(struct buf *buf, const struct task_call *call, struct text type,
                          struct text message)
{
    buf_add_str(buf, "Traceback (most recent call last):\n  task \"");
    buf_add_str(buf, call->task->name);
    buf_add_str(buf, "\", called with (");
    add_shown(buf, call->positional);
    if (call->kwargs.len > 0) {
        buf_add_str(buf, call->positional.len > 0 ? ", **" : "**");
        add_shown(buf, call->kwargs);
    }
    buf_add_str(buf, ")\n");
    buf_add_text(buf, type);
    if (message.len > 0) {
        buf_add_str(buf, ": ");
        buf_add_text(buf, message);
    }
}

static void write_exception(struct task_call *call, struct text type, struct text message,
                            struct text traceback)
{
    struct buf *json = &call->exception;

    buf_add_str(json, "{\"type\":");
    buf_add_json_bytes(json, type);
    buf_add_str(json, ",\"message\":");
    buf_add_json_bytes(json, message);
    buf_add_str(json, ",\"traceback\":");
    buf_add_json_bytes(json, traceback);
    buf_add_char(json, '}');
}

static void end_with_exception(struct task_call *call, enum failure_kind kind,
                               struct text type, struct text message,
                               struct text traceback)
{
    struct buf own = BUF_INIT;

    assert(call->end == CALL_RUNNING);
    call->end = CALL_RAISED;
    call->kind = kind;
    if (!traceback.at) {
        add_traceback(&own, call, type, message);
        traceback = buf_text(&own);
    }
    write_exception(call, type, message, traceback);
    if (own.failed || call->exception.failed) {
        call->kind = FAILURE_OUT_OF_MEMORY;
        buf_clear(&call->exception);
    }
    buf_clear(&own);
}

static enum failure_kind kind_of_type(struct text type)
{
    return text_equals(type, "MemoryError") ? FAILURE_OUT_OF_MEMORY : FAILURE_TASK;
}

/* Writes a message of at most CALL_MESSAGE_MAX bytes. */
PRINTF(2, 0)
static struct text print(char *message, const char *format, va_list args)
{
    int len = vsnprintf(message, CALL_MESSAGE_MAX + 1, format, args);

    assert(len >= 0);
    if (len <= CALL_MESSAGE_MAX)
        return (struct text){ message, (size_t)len };
    /* The last byte is the first that goes: it tells whether it begins a character. */
    return cut((struct text){ message, CALL_MESSAGE_MAX }, CALL_MESSAGE_MAX - 1);
}

void call_raise(struct task_call *call, const char *type, const char *format, ...)
{
    char message[CALL_MESSAGE_MAX + 1];
    struct text type_text = { type, strlen(type) }, text;
    va_list args;

    if (call->end == CALL_RAISED)
        return;
    va_start(args, format);
    text = print(message, format, args);
    va_end(args);
    end_with_exception(call, kind_of_type(type_text), type_text, text,
                       (struct text){ 0 });
}

void call_fail_as(struct task_call *call, enum failure_kind kind, const char *type,
                  const char *format, ...)
{
    char message[CALL_MESSAGE_MAX + 1];
    struct text text;
    va_list args;

    va_start(args, format);
    text = print(message, format, args);
    va_end(args);
    end_with_exception(call, kind, (struct text){ type, strlen(type) }, text,
                       (struct text){ 0 });
}

void call_raise_texts(struct task_call *call, struct text type, struct text message,
                      struct text traceback)
{
    if (type.len == 0)
        type = TEXT("Exception");
    end_with_exception(call, kind_of_type(type), cut(type, CALL_TYPE_MAX),
                       cut(message, CALL_MESSAGE_MAX),
                       cut(traceback, CALL_TRACEBACK_MAX));
}

void call_fail(struct task_call *call, enum failure_kind kind, struct text exception)
{
    if (call->end == CALL_RAISED)
        return;
    assert(call->end == CALL_RUNNING);
    call->end = CALL_RAISED;
    call->kind = kind;
    buf_add_text(&call->exception, exception);
    if (exception.len == 0 || call->exception.failed) {
        call->kind = FAILURE_OUT_OF_MEMORY;
        buf_clear(&call->exception);
    }
}

struct text call_exception(const struct task_call *call)
{
    assert(call->end == CALL_RAISED);
    if (call->exception.len > 0)
        return buf_text(&call->exception);
    return TEXT(
        "{\"type\":\"MemoryError\",\"message\":\"out of memory\",\"traceback\":\"\"}");
}

/* ---- arguments --------------------------------------------------------------------- */

struct text call_arg(const struct task_call *call, unsigned i)
{
    assert(i < TASK_PARAMS_MAX && call->task->params[i]);
    return call->args[i];
}

static bool is_real(struct text number)
{
    for (size_t i = 0; i < number.len; i++) {
        if (number.at[i] == '.' || number.at[i] == 'e' || number.at[i] == 'E')
            return true;
    }
    return false;
}

/* What Python's json makes of the value. */
static const char *type_name(struct text json)
{
    switch (json.len > 0 ? json.at[0] : 'n') {
    case '"':
        return "str";
    case '[':
        return "list";
    case '{':
        return "dict";
    case 'n':
        return "NoneType";
    case 't':
    case 'f':
        return "bool";
    default:
        return is_real(json) ? "float" : "int";
    }
}

void call_raise_type(struct task_call *call, unsigned i, const char *wanted)
{
    call_raise(call, "TypeError", "%s() argument '%s' must be %s, not %s",
               call->task->name, call->task->params[i], wanted, type_name(call->args[i]));
}

static void raise_range(struct task_call *call, unsigned i, const char *room)
{
    call_raise(call, "OverflowError", "%s() argument '%s' does not fit in %s",
               call->task->name, call->task->params[i], room);
}

bool call_number(struct task_call *call, unsigned i, struct number *ret_number)
{
    struct text arg = call_arg(call, i);
    enum status st = number_parse(arg, ret_number);

    if (st == ST_OK)
        return true;
    if (st == ST_NO_MEMORY)
        call_raise(call, "MemoryError", "out of memory for a number");
    else if (st == ST_LIMIT)
        raise_range(call, i, is_real(arg) ? "a double" : "128 bits");
    else
        call_raise_type(call, i, "a number");
    return false;
}

bool call_int64(struct task_call *call, unsigned i, int64_t *ret_n)
{
    struct text arg = call_arg(call, i);
    struct number number;
    enum status st = number_parse(arg, &number);

    if (st == ST_OK && number.is_int && number.integer == (int64_t)number.integer) {
        *ret_n = (int64_t)number.integer;
        return true;
    }
    if (st == ST_INVALID || is_real(arg))
        call_raise_type(call, i, "an integer");
    else
        raise_range(call, i, "64 bits");
    return false;
}

/* ---- progress ---------------------------------------------------------------------- */

void call_progress(struct task_call *call, uint64_t current, uint64_t total,
                   const char *message)
{
    if (call->progress)
        progress_tell(call->progress, current, total, message);
}

bool call_cancelled(const struct task_call *call)
{
    return call->page && page_ask_cancelled(call->page);
}

/* ---- results ----------------------------------------------------------------------- */

void call_return_int(struct task_call *call, int128 n)
{
    struct buf *out = call->out;

    assert(call->end == CALL_RUNNING);
    call->end = CALL_RETURNED;
    if (out->cap - out->len <= NUMBER_TEXT_MAX && !buf_reserve(out, NUMBER_TEXT_MAX + 1))
        return; /* the buffer has failed: task_run sees it */
    out->len += number_format_int(n, out->data + out->len);
    out->data[out->len] = '\0';
}

void call_return_real(struct task_call *call, double n)
{
    char text[NUMBER_TEXT_MAX];

    if (!isfinite(n)) {
        call_raise(call, "OverflowError", "%s() result is out of the range of a double",
                   call->task->name);
        return;
    }
    call_return_text(call, (struct text){ text, number_format_real(n, text) });
}

void call_return_text(struct task_call *call, struct text json)
{
    assert(call->end == CALL_RUNNING);
    call->end = CALL_RETURNED;
    buf_add_text(call->out, json);
}

struct buf *call_out(struct task_call *call)
{
    return call->out;
}

/* Without the white space around it, which is no part of the value. */
static struct text trim(struct text json)
{
    const uint8_t *at = (const uint8_t *)json.at, *end = at + json.len;

    at = scan_space(at, end);
    while (end > at && scan_is_space(end[-1]))
        end--;
    return (struct text){ (const char *)at, (size_t)(end - at) };
}

/* Line ends that JSON text has are white space: none can be inside of a string. */
static void flatten(char *at, const char *end)
{
    for (; at < end; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
}

void call_return_unchecked(struct task_call *call, struct text json)
{
    struct buf *out = call->out;
    struct slice_error error;
    enum slice_kind kind;
    size_t start;

    json = json.len > 0 ? trim(json) : json;
    if (slice_check(json, &kind, &error) != SLICE_OK) {
        call_fail_as(call, FAILURE_INVALID_RESULT, "InvalidResult",
                     "%s() result is no JSON at byte %zu: %s", call->task->name,
                     error.offset, error.reason);
        return;
    }
    start = out->len;
    call_return_text(call, json);
    if (!out->failed)
        flatten(out->data + start, out->data + out->len);
}

void call_return_written(struct task_call *call)
{
    assert(call->end == CALL_RUNNING);
    assert(call->out->failed || call->out->len > call->out_start);
    call->end = CALL_RETURNED;
}

/* ---- binding ----------------------------------------------------------------------- */

static unsigned param_count(const struct task *task)
{
    unsigned count = 0;

    while (count < TASK_PARAMS_MAX && task->params[count])
        count++;
    return count;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character at the start of raw, and in *ret_len what it takes up; -1 for every
 * escape but \u00xx, as no name of a parameter needs another. */
static int name_char(struct text raw, size_t *ret_len)
{
    int high, low;

    *ret_len = 1;
    if (raw.at[0] != '\\')
        return (unsigned char)raw.at[0];
    if (raw.len < 6 || memcmp(raw.at, "\\u00", 4) != 0)
        return -1;
    high = hex_value(raw.at[4]);
    low = hex_value(raw.at[5]);
    *ret_len = 6;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool name_is(struct text raw, const char *param)
{
    while (raw.len > 0) {
        size_t len;

        if (*param == '\0' || name_char(raw, &len) != (unsigned char)*param++)
            return false;
        raw = (struct text){ raw.at + len, raw.len - len };
    }
    return *param == '\0';
}

/* How many positional arguments there are; those that have a place are put there. */
static size_t bind_positional(struct task_call *call)
{
    struct text rest = call->positional, item;
    size_t given = 0;

    if (call->single) {
        call->args[0] = rest;
        return 1;
    }
    while (items_next(&rest, &item)) {
        if (given < TASK_PARAMS_MAX)
            call->args[given] = item;
        given++;
    }
    return given;
}

/* A name that stands twice in the object has the last of its values, as in a Python dict.
 */
static bool bind_keywords(struct task_call *call, unsigned params, size_t given,
                          unsigned *bound)
{
    const struct task *task = call->task;
    struct text rest = items_inside(call->kwargs), name, value;

    while (items_next_member(&rest, &name, &value)) {
        unsigned i = 0;

        while (i < params && !name_is(name, task->params[i]))
            i++;
        if (i == params) {
            name = cut(name, SHOWN_MAX);
            call_raise(call, "TypeError",
                       "%s() got an unexpected keyword argument '%.*s'", task->name,
                       (int)name.len, name.at);
            return false;
        }
        if (i < given) {
            call_raise(call, "TypeError", "%s() got multiple values for argument '%s'",
                       task->name, task->params[i]);
            return false;
        }
        call->args[i] = value;
        *bound |= 1u << i;
    }
    return true;
}

/* 'a'; 'a' and 'b'; 'a', 'b', and 'c': as CPython lists them. */
static void raise_missing(struct task_call *call, unsigned params, unsigned bound)
{
    char names[CALL_MESSAGE_MAX];
    unsigned total = params - (unsigned)__builtin_popcount(bound), listed = 0;
    size_t len = 0;

    for (unsigned i = 0; i < params; i++) {
        const char *before = "";

        if (bound & 1u << i)
            continue;
        if (listed > 0)
            before = listed + 1 < total ? ", " : total > 2 ? ", and " : " and ";
        len += (size_t)snprintf(names + len, sizeof(names) - len, "%s'%s'", before,
                                call->task->params[i]);
        assert(len < sizeof(names));
        listed++;
    }
    call_raise(call, "TypeError", "%s() missing %u required positional argument%s: %s",
               call->task->name, total, total == 1 ? "" : "s", names);
}

static bool bind(struct task_call *call)
{
    unsigned params = param_count(call->task), bound;
    size_t given = bind_positional(call);

    bound = (1u << (given < params ? given : params)) - 1;
    if (call->kwargs.len > 0 && !bind_keywords(call, params, given, &bound))
        return false;
    if (given > params) {
        call_raise(call, "TypeError",
                   "%s() takes %u positional argument%s but %zu %s given",
                   call->task->name, params, params == 1 ? "" : "s", given,
                   given == 1 ? "was" : "were");
        return false;
    }
    if (bound != (1u << params) - 1) {
        raise_missing(call, params, bound);
        return false;
    }
    return true;
}

/* ---- the call ---------------------------------------------------------------------- */

/* Takes back what the call has written, and the failure to write more. */
static void rewind_out(struct task_call *call)
{
    struct buf *out = call->out;

    out->failed = false;
    out->len = call->out_start;
    if (out->data)
        out->data[out->len] = '\0';
}

void task_call_init(struct task_call *call, const struct task *task, bool single,
                    struct text kwargs, struct buf *out, struct progress *progress)
{
    call->task = task;
    call->single = single;
    call->kwargs = kwargs;
    call->out = out;
    call->progress = progress;
    call->kind = FAILURE_TASK;
    call->exception = (struct buf)BUF_INIT;
    call->one_to_one = single && kwargs.len == 0 && task->params[0] && !task->params[1];
}

void task_call_run(struct task_call *call, struct text positional)
{
    const struct task *task = call->task;
    struct buf *out = call->out;

    call->positional = positional;
    call->out_start = out->len;
    call->end = CALL_RUNNING;
    if (out->failed) {
        call_raise(call, "MemoryError", "out of memory for results");
        return;
    }
    /* Not read back from where it has just been stored in other pieces. */
    if (call->one_to_one)
        call->args[0] = positional;
    if (!task->run)
        call_raise(call, "LookupError", "the file of task %s could not be loaded",
                   task->name);
    else if (call->one_to_one || task->unbound || bind(call))
        task->run(call);
    if (call->end == CALL_RUNNING && !out->failed) {
        rewind_out(call);
        call_return_text(call, TEXT("null"));
    }
    if (call->end == CALL_RETURNED && !out->failed)
        return;
    rewind_out(call);
    if (call->end == CALL_RAISED)
        return;
    call->end = CALL_RUNNING; /* what it returned could not be kept */
    call_raise(call, "MemoryError", "out of memory for the result");
}

void task_run(struct task_call *call, const struct task *task, struct text positional,
              bool single, struct text kwargs, struct buf *out, struct progress *progress)
{
    task_call_init(call, task, single, kwargs, out, progress);
    task_call_run(call, positional);
}
