/* SPDX-License-Identifier: MIT */
/*
 * The table of functions that a plugin sees. Its functions take what comes from foreign
 * code: a call that is over ignores what comes after, texts may be of any bytes.
 *
 * Scratch memory is a list of blocks, the newest first. One of the smallest size is kept
 * from item to item, so that a task that uses little of it allocates once.
 */
#include "workers/plugin_call.h"

#include "common/json_scan.h"
#include "common/mem.h"
#include "include/poold/task.h"
#include "workers/json_write.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdalign.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_MIN (64u << 10) /* bytes */

static_assert(POOLD_PARAMS_MAX == TASK_PARAMS_MAX, "plugins have as many parameters");

struct block {
    struct block *next;
    size_t used, cap; /* bytes of data */
    alignas(max_align_t) char data[];
};

/* What a plugin's struct poold_call really is. */
struct plugin_call {
    struct poold_call open; /* first: the rest is not the plugin's */
    struct task_call *call;
};

static struct block *blocks;

static struct task_call *call_of(const struct poold_call *call)
{
    return ((const struct plugin_call *)call)->call;
}

static bool is_over(const struct task_call *call)
{
    return call->end != CALL_RUNNING;
}

static struct text text_of(const char *string)
{
    return (struct text){ string, string ? strlen(string) : 0 };
}

static struct poold_text given(struct text text)
{
    return (struct poold_text){ text.at, text.len };
}

static void raise_no_memory(struct task_call *call)
{
    if (!is_over(call))
        call_raise(call, "MemoryError", "out of memory");
}

/* ---- scratch memory ---------------------------------------------------------------- */

static struct block *block_new(size_t size)
{
    size_t cap = size > BLOCK_MIN ? size : BLOCK_MIN;
    struct block *block =
        cap < SIZE_MAX - sizeof(*block) ? mem_alloc(sizeof(*block) + cap) : NULL;

    if (!block)
        return NULL;
    *block = (struct block){ .next = blocks, .cap = cap };
    blocks = block;
    return block;
}

static void *scratch(struct task_call *call, size_t size)
{
    const size_t align = alignof(max_align_t);
    struct block *block = blocks;
    size_t room =
        size <= SIZE_MAX - align ? (size + align - 1) / align * align : SIZE_MAX;

    if (!block || room > block->cap - block->used)
        block = block_new(room);
    if (!block) {
        raise_no_memory(call);
        return NULL;
    }
    block->used += room;
    return block->data + block->used - room;
}

static void scratch_clear(void)
{
    while (blocks && (blocks->next || blocks->cap > BLOCK_MIN)) {
        struct block *block = blocks;

        blocks = block->next;
        mem_free(block);
    }
    if (blocks)
        blocks->used = 0;
}

/* ---- arguments --------------------------------------------------------------------- */

/* A plugin that asks for a parameter that it does not have is to be told, not to crash. */
static bool has_param(struct task_call *call, unsigned i)
{
    if (i < TASK_PARAMS_MAX && call->task->params[i])
        return true;
    if (!is_over(call))
        call_raise(call, "IndexError", "%s() has no parameter number %u",
                   call->task->name, i);
    return false;
}

static struct poold_text op_arg(const struct poold_call *call, unsigned i)
{
    return has_param(call_of(call), i) ? given(call_arg(call_of(call), i))
                                       : (struct poold_text){ "null", 4 };
}

static struct poold_text op_args(struct poold_call *call)
{
    struct task_call *task_call = call_of(call);
    struct text inside = task_call->positional;
    char *array = scratch(task_call, inside.len + 2);

    if (!array)
        return (struct poold_text){ "[]", 2 };
    array[0] = '[';
    if (inside.len > 0)
        memcpy(array + 1, inside.at, inside.len);
    array[inside.len + 1] = ']';
    return (struct poold_text){ array, inside.len + 2 };
}

static struct poold_text op_kwargs(const struct poold_call *call)
{
    struct text kwargs = call_of(call)->kwargs;

    return kwargs.len > 0 ? given(kwargs) : (struct poold_text){ "{}", 2 };
}

/* The number is written where the plugin wants it: the two structs are one. A copy of the 16
 * bytes of an integer that was written in halves just now would hold up every item. */
static_assert(sizeof(struct poold_number) == sizeof(struct number) &&
                  offsetof(struct poold_number, is_int) ==
                      offsetof(struct number, is_int) &&
                  offsetof(struct poold_number, integer) ==
                      offsetof(struct number, integer) &&
                  offsetof(struct poold_number, real) == offsetof(struct number, real),
              "plugins have the same numbers");

static bool op_arg_number(struct poold_call *call, unsigned i,
                          struct poold_number *ret_number)
{
    struct task_call *task_call = call_of(call);
    void *number = ret_number;

    return !is_over(task_call) && has_param(task_call, i) &&
           call_number(task_call, i, number);
}

static bool op_arg_int64(struct poold_call *call, unsigned i, int64_t *ret_n)
{
    struct task_call *task_call = call_of(call);

    return !is_over(task_call) && has_param(task_call, i) &&
           call_int64(task_call, i, ret_n);
}

static const char *op_arg_string(struct poold_call *call, unsigned i, size_t *ret_len)
{
    struct task_call *task_call = call_of(call);
    struct text json;
    json_t *string;
    char *copy = NULL;
    size_t len;

    if (is_over(task_call) || !has_param(task_call, i))
        return NULL;
    json = call_arg(task_call, i);
    if (json.len == 0 || json.at[0] != '"') {
        call_raise_type(task_call, i, "a string");
        return NULL;
    }
    string = json_loadb(json.at, json.len, JSON_DECODE_ANY, NULL);
    len = json_string_length(string);
    if (!string)
        raise_no_memory(task_call);
    else
        copy = scratch(task_call, len + 1);
    if (copy)
        memcpy(copy, json_string_value(string), len + 1);
    json_decref(string);
    if (copy && ret_len)
        *ret_len = len;
    return copy;
}

/* ---- ends -------------------------------------------------------------------------- */

static void op_return_int(struct poold_call *call, poold_int128 n)
{
    if (!is_over(call_of(call)))
        call_return_int(call_of(call), n);
}

static void op_return_real(struct poold_call *call, double n)
{
    struct task_call *task_call = call_of(call);

    if (is_over(task_call))
        return;
    if (isfinite(n))
        call_return_real(task_call, n);
    else
        call_fail_as(task_call, FAILURE_INVALID_RESULT, "InvalidResult",
                     "%s() result is %s, which JSON does not have", task_call->task->name,
                     isnan(n) ? "NaN" : "infinite");
}

static void op_return_json(struct poold_call *call, const char *json, size_t len)
{
    if (!is_over(call_of(call)))
        call_return_unchecked(call_of(call), (struct text){ json, len });
}

/* What is written into the results already is no failure of theirs. */
static void return_written(struct task_call *call)
{
    struct buf *out = call->out;
    struct text json;
    struct slice_error error;
    enum slice_kind kind;

    if (out->failed) {
        call_return_written(call);
        return;
    }
    json = (struct text){ out->data + call->out_start, out->len - call->out_start };
    if (slice_check(json, &kind, &error) == SLICE_OK) {
        call_return_written(call);
        return;
    }
    call_fail_as(call, FAILURE_INVALID_RESULT, "InvalidResult",
                 "%s() result is no JSON at byte %zu: %s", call->task->name, error.offset,
                 error.reason);
}

static void op_return_string(struct poold_call *call, const char *bytes, size_t len)
{
    struct task_call *task_call = call_of(call);

    if (is_over(task_call))
        return;
    buf_add_json_string(call_out(task_call), (struct text){ bytes, len });
    return_written(task_call);
}

static void op_raise(struct poold_call *call, const char *type, const char *message,
                     const char *traceback)
{
    if (!is_over(call_of(call)))
        call_raise_texts(call_of(call), text_of(type), text_of(message),
                         text_of(traceback));
}

/* ---- while it runs ----------------------------------------------------------------- */

static void op_progress(struct poold_call *call, uint64_t current, uint64_t total,
                        const char *message)
{
    call_progress(call_of(call), current, total, message);
}

static bool op_cancelled(const struct poold_call *call)
{
    return call_cancelled(call_of(call));
}

static void op_log(struct poold_call *call, const char *line)
{
    size_t len = strlen(line);

    (void)call;
    /* Nothing can be done about a log that is closed. */
    (void)dprintf(STDERR_FILENO, "%s%s", line, len && line[len - 1] == '\n' ? "" : "\n");
}

static void *op_alloc(struct poold_call *call, size_t size)
{
    return scratch(call_of(call), size);
}

static struct poold_text op_traceparent(const struct poold_call *call)
{
    return given(frame_trace_parent(call_of(call)->trace));
}

static struct poold_text op_tracestate(const struct poold_call *call)
{
    return given(frame_trace_state(call_of(call)->trace));
}

static const struct poold_call_ops ops = {
    .arg = op_arg,
    .args = op_args,
    .kwargs = op_kwargs,
    .arg_number = op_arg_number,
    .arg_int64 = op_arg_int64,
    .arg_string = op_arg_string,
    .return_int = op_return_int,
    .return_real = op_return_real,
    .return_json = op_return_json,
    .return_string = op_return_string,
    .raise = op_raise,
    .progress = op_progress,
    .cancelled = op_cancelled,
    .log = op_log,
    .alloc = op_alloc,
    .traceparent = op_traceparent,
    .tracestate = op_tracestate,
};

/* ---- tasks on text ----------------------------------------------------------------- */

void plugin_call_run(struct task_call *call)
{
    const struct poold_task *task = call->task->data;
    struct plugin_call plugin_call = { { &ops }, call };

    task->run(&plugin_call.open);
    scratch_clear();
}

/* ---- tasks on values --------------------------------------------------------------- */

/* NULL: it has raised. */
static json_t *load(struct task_call *call, struct poold_text json)
{
    json_error_t error;
    json_t *value = json_loadb(json.at, json.len, JSON_DECODE_ANY, &error);

    if (value)
        return value;
    if (json_error_code(&error) == json_error_numeric_overflow)
        call_raise(call, "OverflowError",
                   "%s() has a number among its arguments that fits neither in 64 bits "
                   "nor in a double",
                   call->task->name);
    else
        raise_no_memory(call); /* the text has been checked */
    return NULL;
}

/* One value for each parameter, in their order. */
static json_t *load_bound(struct task_call *call)
{
    json_t *array = json_array();

    for (unsigned i = 0; array && i < TASK_PARAMS_MAX && call->task->params[i]; i++) {
        json_t *value = load(call, given(call_arg(call, i)));

        if (!value || json_array_append_new(array, value) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    if (!array)
        raise_no_memory(call);
    return array;
}

/* Takes the value. */
static void return_value(struct task_call *call, json_t *value)
{
    enum status st;

    if (!value || is_over(call)) {
        json_decref(value);
        return;
    }
    st = json_write(call_out(call), value);
    json_decref(value);
    if (st == ST_OK)
        return_written(call);
    else
        call_fail_as(call, FAILURE_INVALID_RESULT, "InvalidResult", "%s() result is %s",
                     call->task->name,
                     st == ST_LIMIT ? "nested too deep"
                                    : "a number that JSON does not have");
}

void plugin_call_value(struct task_call *call)
{
    const struct poold_task *task = call->task->data;
    struct plugin_call plugin_call = { { &ops }, call };
    struct poold_call *open = &plugin_call.open;
    bool bound = !call->task->unbound;
    json_t *args = bound ? load_bound(call) : load(call, op_args(open)), *kwargs = NULL;

    if (args)
        kwargs = bound ? json_object() : load(call, op_kwargs(open));
    if (args && kwargs)
        return_value(call, task->value(open, args, kwargs));
    else
        raise_no_memory(call); /* unless it has raised what is wrong */
    json_decref(args);
    json_decref(kwargs);
    scratch_clear();
}
