/* SPDX-License-Identifier: MIT */
/*
 * poold/task.h - tasks in C, as plugins of poold. This header is the manual.
 *
 * A plugin is a shared library, NAME.so, in a folder that poold is started with (--tasks
 * DIR). It needs this header and links against nothing of poold:
 *
 *     #include <poold/task.h>
 *
 *     static void run_gcd(struct poold_call *call)
 *     {
 *         int64_t a, b;
 *
 *         if (!poold_arg_int64(call, 0, &a) || !poold_arg_int64(call, 1, &b))
 *             return;                                  // it has raised TypeError
 *         while (b != 0) {
 *             int64_t rest = a % b;
 *
 *             a = b;
 *             b = rest;
 *         }
 *         poold_return_int64(call, a < 0 ? -a : a);
 *     }
 *
 *     static const struct poold_task gcd = {
 *         .name = "gcd",
 *         .summary = "The greatest common divisor of two integers.",
 *         .signature = "gcd(a, b)",
 *         .params = { "a", "b" },
 *         .run = run_gcd,
 *     };
 *
 *     POOLD_PLUGIN(&gcd);
 *
 *     cc -shared -fPIC -O2 $(pkg-config --cflags poold) -o tasks/gcd.so gcd.c
 *     poold tasks tasks            # what is in the folder, and what is wrong with it
 *     poold serve --tasks tasks
 *     curl -s localhost:8080/v1/apply --json '{"task": "gcd", "args": [12, 18]}'
 *
 * `cmake --install` puts the header where $(pkg-config --cflags poold) finds it, and CMake:
 *
 *     find_package(poold REQUIRED)
 *     add_library(gcd MODULE gcd.c)
 *     target_link_libraries(gcd PRIVATE poold::task)
 *     set_target_properties(gcd PROPERTIES PREFIX "")
 *
 * Where the code runs
 *
 *     The library is loaded by a process that looks at it and ends (a constructor that
 *     crashes or hangs is found out there, and the file is refused), and by forkservers,
 *     of which workers are forked. So a constructor must neither start threads nor open
 *     what copies of the process cannot share. The run functions are called in workers:
 *     one item at a time in each, always from the worker's one thread. What a task keeps in
 *     static variables is there for the next item of the same worker, and for no other.
 *     The server's process never loads a plugin.
 *
 *     poold loads a copy of the file. It can be overwritten at any time, and is read again
 *     at SIGHUP: jobs that have begun go on with the code that they began with.
 *
 *     A task may do what a process of its user may do. If it crashes, exits, or runs
 *     longer than its time limit, the item fails and the worker is replaced; the other
 *     items do not notice. Descendants of a worker are killed when it ends.
 *
 * The call
 *
 *     `run` gets a call that is valid until it returns. It returns one result or raises;
 *     the first of these counts, later ones do nothing, and a task that returns without
 *     either has returned null, as in Python. After it raised it should just return.
 *
 *     Everything that a call hands out (texts, strings, memory, values) belongs to poold and
 *     lives until `run` returns. Everything that is given to a call is copied, or is read
 *     before the function returns.
 *
 *     All functions below may be called from `run`, and from functions that it calls, on
 *     the same thread: not from a constructor, not from signal handlers, not after `run`
 *     has returned. A task may start threads (not so a constructor). Of the functions below
 *     they may call poold_cancelled only, and that until `run` returns. Those that go on
 *     after it end with the worker, which nobody tells them.
 *
 * Arguments
 *
 *     With `params` a task is called as a Python function with these parameters, all of
 *     them required: by position or by name, and a call with missing, unexpected or doubled
 *     arguments raises TypeError before `run` is called. Without `params` the task gets
 *     whatever was sent: poold_args and poold_kwargs.
 *
 *     Arguments are JSON text (RFC 8259) that has been checked: UTF-8, at most 64 levels
 *     deep, no NUL in strings. The text is as the client wrote it.
 *
 *     Numbers are as in Python: one without fraction and exponent is an integer, exact to
 *     128 bits; every other one is a double. true and false are 1 and 0.
 *
 * Text or values
 *
 *     `run` works on JSON text and needs no library. A task with `value` in its place gets
 *     its arguments as values of jansson (https://jansson.readthedocs.io) and returns one:
 *     #include <jansson.h> and link with -ljansson. It is more convenient for what is
 *     nested, and slower: `run` costs nothing per item that a built-in task does not cost.
 *     jansson has integers of 64 bits: larger ones in the arguments raise OverflowError.
 *
 * Limits
 *
 *     Messages are cut at 1024 bytes, tracebacks at 64 KiB, lines of the log at 4 KiB. A
 *     result above the setting max_result_bytes fails the item: result-too-large. One that
 *     is no JSON (NaN, invalid UTF-8, more than 64 levels) fails it: invalid-result.
 *
 *     A task may have stricter limits of time, memory and files than its pool: `limits`.
 *
 * Versions
 *
 *     POOLD_ABI is raised by every change of the structs and function tables below. They
 *     change at their ends only, so a plugin goes on working with every later poold that
 *     still takes its number; one that was made for a newer interface than the poold that
 *     loads it has is refused, with the reason. The inline functions are not part of the
 *     interface: they are compiled into the plugin.
 */
#ifndef POOLD_TASK_H
#define POOLD_TASK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POOLD_ABI        4
#define POOLD_PARAMS_MAX 8

#define POOLD_PRINTF(format_at, args_at)                                                 \
    __attribute__((format(printf, format_at, args_at)))

__extension__ typedef __int128 poold_int128;

struct json_t; /* of jansson */
struct poold_call;

/* Bytes of somebody else, without a NUL at their end. */
struct poold_text {
    const char *at;
    size_t len;
};

struct poold_number {
    bool is_int;
    poold_int128 integer; /* when is_int */
    double real;          /* always set; rounded when the integer has more than 53 bits */
};

/* What an attempt at one item may use, where the task wants less than its pool or the server
 * allows; more it does not get. 0: no limit of its own. Those of memory, files and
 * descriptors are soft limits (setrlimit) of the worker while it runs the task; what the
 * task starts inherits them. Beyond the first two the item fails with time-limit; beyond the
 * others malloc returns NULL, or calls fail with EFBIG, EMFILE, EAGAIN. */
struct poold_limits {
    double time_limit;         /* seconds, 0.001 to 2592000; for jobs that have none */
    double cpu_limit;          /* seconds of processor time, the same range */
    uint64_t memory_limit;     /* bytes of address space, the worker's own MiB included */
    uint64_t file_size_limit;  /* bytes */
    uint64_t open_files_limit; /* descriptors, the worker's own (some ten) included */
    uint64_t process_limit;    /* processes and threads of the user; not for root */
};

struct poold_task {
    /* A letter or _, then letters, digits, and _ . : - ; at most 128 bytes. No other task
     * of the server may have it. */
    const char *name;
    const char *summary;   /* one sentence */
    const char *signature; /* as Python shows it: "power(base, exp)" */
    /* Names in order, NULL behind the last one. None at all: see above. */
    const char *params[POOLD_PARAMS_MAX + 1];
    /* One of these two is set. */
    void (*run)(struct poold_call *call);
    /* args: an array; with params, of one value for each in their order. kwargs: an object,
     * empty with params. Both are borrowed. Returns a new reference, which poold takes;
     * NULL is null, or what was raised before. */
    struct json_t *(*value)(struct poold_call *call, const struct json_t *args,
                            const struct json_t *kwargs);
    struct poold_limits limits; /* since POOLD_ABI 2 */
};

/* What a library exports under the name poold_plugin. */
struct poold_plugin {
    uint32_t abi;                          /* POOLD_ABI */
    const struct poold_task *const *tasks; /* NULL behind the last one; at least one */
};

/* Exports these tasks: POOLD_PLUGIN(&gcd, &lcm); */
#define POOLD_PLUGIN(...)                                                                \
    extern const struct poold_plugin poold_plugin;                                       \
    static const struct poold_task *const poold_plugin_tasks[] = { __VA_ARGS__, NULL };  \
    __attribute__((visibility("default")))                                               \
    const struct poold_plugin poold_plugin = { POOLD_ABI, poold_plugin_tasks }

/* How a call reaches poold. Plugins use the functions below instead. */
struct poold_call_ops {
    struct poold_text (*arg)(const struct poold_call *call, unsigned i);
    struct poold_text (*args)(struct poold_call *call);
    struct poold_text (*kwargs)(const struct poold_call *call);
    bool (*arg_number)(struct poold_call *call, unsigned i, struct poold_number *number);
    bool (*arg_int64)(struct poold_call *call, unsigned i, int64_t *n);
    const char *(*arg_string)(struct poold_call *call, unsigned i, size_t *len);
    void (*return_int)(struct poold_call *call, poold_int128 n);
    void (*return_real)(struct poold_call *call, double n);
    void (*return_json)(struct poold_call *call, const char *json, size_t len);
    void (*return_string)(struct poold_call *call, const char *bytes, size_t len);
    void (*raise)(struct poold_call *call, const char *type, const char *message,
                  const char *traceback);
    void (*progress)(struct poold_call *call, uint64_t current, uint64_t total,
                     const char *message);
    bool (*cancelled)(const struct poold_call *call);
    void (*log)(struct poold_call *call, const char *line);
    void *(*alloc)(struct poold_call *call, size_t size);
    struct poold_text (*traceparent)(const struct poold_call *call); /* since 3 */
    struct poold_text (*tracestate)(const struct poold_call *call);  /* since 4 */
};

struct poold_call {
    const struct poold_call_ops *ops;
};

/* ---- arguments --------------------------------------------------------------------- */

/* The JSON text of parameter i, without white space around it. */
static inline struct poold_text poold_arg(const struct poold_call *call, unsigned i)
{
    return call->ops->arg(call, i);
}

/* Parameter i as a number, an integer, a double: else raises TypeError (it is none) or
 * OverflowError (it does not fit) and returns false. */
static inline bool poold_arg_number(struct poold_call *call, unsigned i,
                                    struct poold_number *ret_number)
{
    return call->ops->arg_number(call, i, ret_number);
}

static inline bool poold_arg_int64(struct poold_call *call, unsigned i, int64_t *ret_n)
{
    return call->ops->arg_int64(call, i, ret_n);
}

static inline bool poold_arg_real(struct poold_call *call, unsigned i, double *ret_n)
{
    struct poold_number number;

    if (!call->ops->arg_number(call, i, &number))
        return false;
    *ret_n = number.real;
    return true;
}

/* Parameter i as a string in UTF-8, without quotes and escapes and with a NUL behind it,
 * which its *ret_len bytes do not count (ret_len may be NULL). NULL: it has raised. */
static inline const char *poold_arg_string(struct poold_call *call, unsigned i,
                                           size_t *ret_len)
{
    return call->ops->arg_string(call, i, ret_len);
}

/* All that was sent: the positional arguments as a JSON array, the others as a JSON
 * object. For tasks without params. */
static inline struct poold_text poold_args(struct poold_call *call)
{
    return call->ops->args(call);
}

static inline struct poold_text poold_kwargs(const struct poold_call *call)
{
    return call->ops->kwargs(call);
}

/* ---- results ----------------------------------------------------------------------- */

static inline void poold_return_int64(struct poold_call *call, int64_t n)
{
    call->ops->return_int(call, n);
}

static inline void poold_return_int128(struct poold_call *call, poold_int128 n)
{
    call->ops->return_int(call, n);
}

/* As Python's repr() writes it. Infinite or NaN: the item fails, invalid-result. */
static inline void poold_return_real(struct poold_call *call, double n)
{
    call->ops->return_real(call, n);
}

/* One JSON value as text. It is checked; line ends in it become blanks. */
static inline void poold_return_json(struct poold_call *call, const char *json,
                                     size_t len)
{
    call->ops->return_json(call, json, len);
}

/* A string: text in UTF-8, of which a JSON string is made. */
static inline void poold_return_string(struct poold_call *call, const char *bytes,
                                       size_t len)
{
    call->ops->return_string(call, bytes, len);
}

/* ---- errors ------------------------------------------------------------------------ */

/* Ends the call with an error. type is a name such as Python's exceptions have,
 * "ValueError"; traceback is any text that helps to find the place, or NULL: then it names
 * the task and its arguments. "MemoryError" fails the item as out-of-memory. */
static inline void poold_raise_with(struct poold_call *call, const char *type,
                                    const char *message, const char *traceback)
{
    call->ops->raise(call, type, message, traceback);
}

/* The same with a message as by printf. */
POOLD_PRINTF(3, 4)
static inline void poold_raise(struct poold_call *call, const char *type,
                               const char *format, ...)
{
    char message[1024];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    call->ops->raise(call, type, message, NULL);
}

/* ---- while it runs ----------------------------------------------------------------- */

/* How far the item is: current of total, in whatever the task counts; total 0: not known.
 * The message may be NULL. May be called as often as the task likes: few of many are told
 * to those who look at the job. */
static inline void poold_progress(struct poold_call *call, uint64_t current,
                                  uint64_t total, const char *message)
{
    call->ops->progress(call, current, total, message);
}

/* Whether the job has been cancelled. A task that has never asked in this item is killed
 * at once when that happens; one that has asked is given the time of the setting
 * cancel_grace (seconds) to put things in order and return, and is killed after it. What
 * it returns then is nobody's. Costs two accesses to memory: ask as often as you like, and
 * a first time before anything is begun that must not be cut off. */
static inline bool poold_cancelled(const struct poold_call *call)
{
    return call->ops->cancelled(call);
}

/* The trace that the job is part of, for the header `traceparent` of requests that the task
 * makes: as it came with the job (W3C Trace Context), so that the parent of what the task
 * records is the caller's span; poold adds none of its own. Empty (len 0): the job has none.
 * Since POOLD_ABI 3. */
static inline struct poold_text poold_traceparent(const struct poold_call *call)
{
    return call->ops->traceparent(call);
}

/* What systems before poold have noted of that trace, for the header `tracestate`: valid, as
 * one header, at most 512 bytes. Empty: there is nothing. Since POOLD_ABI 4. */
static inline struct poold_text poold_tracestate(const struct poold_call *call)
{
    return call->ops->tracestate(call);
}

/* Writes a line, by printf, to the log of the item: its standard error. */
POOLD_PRINTF(2, 3)
static inline void poold_log(struct poold_call *call, const char *format, ...)
{
    char line[4096];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    call->ops->log(call, line);
}

/* Scratch memory, aligned for any type and not zeroed, which is freed when `run` returns.
 * NULL: there is none, and it has raised MemoryError. */
static inline void *poold_alloc(struct poold_call *call, size_t size)
{
    return call->ops->alloc(call, size);
}

#ifdef __cplusplus
}
#endif

#endif
