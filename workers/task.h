/* SPDX-License-Identifier: MIT */
/*
 * task - what a task is, and what a built-in one may do during a call.
 *
 * A task is a C function that is called once per item inside a worker process. It reads
 * its arguments, which are valid JSON text bound to its parameters by position or name,
 * and either sets one result or raises. Exactly as in Python, a call with missing,
 * unexpected or doubled arguments raises TypeError before the function is called.
 *
 *     static void run_half(struct task_call *call)
 *     {
 *         struct number x;
 *
 *         if (call_number(call, 0, &x))
 *             call_return_real(call, x.real / 2);
 *     }
 *
 * Everything a call hands out lives until the function returns. workers/tasks/README.md
 * tells how to add a task.
 */
#ifndef WORKERS_TASK_H
#define WORKERS_TASK_H

#include "common/blob.h"
#include "common/buf.h"
#include "common/status.h"
#include "workers/frame.h"
#include "workers/limits.h"
#include "workers/number.h"
#include "workers/page.h"
#include "workers/progress.h"

#include <stdbool.h>
#include <stdint.h>

#define TASK_NAME_MAX   128 /* bytes */
#define TASK_PARAMS_MAX 8

/* What runs it: the "runtime" of the API. */
enum task_runtime {
    TASK_NATIVE,  /* C, in the worker: built in, or from a plugin */
    TASK_PYTHON,  /* a Python function, in a runner beside the worker */
    TASK_PROGRAM, /* any program */
    TASK_RUNTIME_COUNT
};
extern const char *const task_runtime_names[TASK_RUNTIME_COUNT]; /* "native", ... */

struct task_call;

struct task {
    const char *name;      /* task_name_valid */
    const char *summary;   /* one sentence */
    const char *signature; /* as Python shows it: "power(base, exp)" */
    const char
        *params[TASK_PARAMS_MAX]; /* names in order, all required; NULL-terminated */
    /* NULL in the server and where its file could not be loaded. */
    void (*run)(struct task_call *call);
    enum task_runtime runtime;
    /* The task binds its arguments itself: `run` finds them in call->positional and
     * call->kwargs, and `params` is not used. */
    bool unbound;
    /* Chunks go whole to the worker's runner (workers/runner.h): `run` is not used. */
    bool relayed;
    struct limits limits;  /* where they are stricter than those of its pool */
    int64_t time_limit_ms; /* for jobs that do not say; 0: the pool's */
    void *data;            /* the runtime's own */
    /* Absolute path of where it comes from; NULL: it is built in. What a task from a file
     * leaves in its worker is cleared away (tidy.h). */
    const char *file;
};

/* [A-Za-z_][A-Za-z0-9_.:-]*, 1 to TASK_NAME_MAX bytes. */
bool task_name_valid(struct text name);

/* The JSON text of parameter i, without white space around it. */
struct text call_arg(const struct task_call *call, unsigned i);
/* Parameter i as a number / an integer that fits, true and false being 1 and 0; else
 * raises TypeError (not a number, not an integer) or OverflowError (over 128 or 64 bits,
 * or over the range of a double) and returns false: then just return. */
bool call_number(struct task_call *call, unsigned i, struct number *ret_number);
bool call_int64(struct task_call *call, unsigned i, int64_t *ret_n);

/* Ends the call with a result. At most one of these, once. */
void call_return_int(struct task_call *call, int128 n);
void call_return_real(struct task_call *call,
                      double n); /* not finite: raises OverflowError */
/* Valid JSON text that was checked before (an argument, for instance). */
void call_return_text(struct task_call *call, struct text json);
/* Or write JSON text into this buffer and then call call_return_written. Appending is all
 * that may be done to it: the results of earlier calls stand before. */
struct buf *call_out(struct task_call *call);
void call_return_written(struct task_call *call);

/* One JSON value of which nobody knows whether it is any. It is copied without the white
 * space around it, and line ends in it become blanks, as results are lines elsewhere. If it
 * is no JSON the call ends with FAILURE_INVALID_RESULT. */
void call_return_unchecked(struct task_call *call, struct text json);

/* Says how far the call is: clients see it at the job and are told by events. current of
 * total, in whatever the task counts; total 0: not known. The message may be NULL; it is cut
 * at PROGRESS_MESSAGE_MAX bytes. May be called as often as the task likes: few of many
 * leave the worker. */
void call_progress(struct task_call *call, uint64_t current, uint64_t total,
                   const char *message);

/* Whether the job has been cancelled (page.h). Who asks is given time to end by itself. */
bool call_cancelled(const struct task_call *call);

/* Ends the call with an error. type is a Python exception's name; the message is cut at
 * CALL_MESSAGE_MAX bytes. The first one counts. */
#define CALL_MESSAGE_MAX 1024
void call_raise(struct task_call *call, const char *type, const char *format, ...)
    PRINTF(3, 4);
/* TypeError: parameter i must be `wanted` ("a number"), and is something else. */
void call_raise_type(struct task_call *call, unsigned i, const char *wanted);
/* As call_raise, with texts from anywhere: what is no UTF-8 in them is replaced. The traceback is
 * cut at CALL_TRACEBACK_MAX bytes; without one (at is NULL) it names the call. */
#define CALL_TYPE_MAX      128
#define CALL_TRACEBACK_MAX (64u << 10)
void call_raise_texts(struct task_call *call, struct text type, struct text message,
                      struct text traceback);
/* Ends the call with a failure that is not the task's own exception. */
void call_fail_as(struct task_call *call, enum failure_kind kind, const char *type,
                  const char *format, ...) PRINTF(4, 5);
/* The same with an exception that is JSON already, {"type","message","traceback"}, and
 * another kind of failure than that the task raised. An empty one: there was no memory
 * for it. */
void call_fail(struct task_call *call, enum failure_kind kind, struct text exception);

/* ---- for child.c ------------------------------------------------------------------- */

enum call_end { CALL_RUNNING, CALL_RETURNED, CALL_RAISED };

struct task_call {
    const struct task *task;
    struct text args[TASK_PARAMS_MAX];
    /* As given: the elements of the array, or one value; and an object, or nothing. */
    struct text positional, kwargs;
    bool single;         /* positional is one value, */
    bool one_to_one;     /* and the only argument, as in most long maps */
    uint64_t result_max; /* bytes; set by the caller. More is refused: stop early */
    int64_t cpu_ms;      /* set by the caller: processor time that other processes may
                                * use for it, which its runtime sees to; 0: any */
    struct text trace;   /* set by the caller: as in struct frame_chunk */
    struct buf *out;     /* where results are gathered */
    size_t out_start;    /* this call's result starts here */
    struct progress *progress; /* or NULL: nobody wants to know */
    struct worker_page *page;  /* set by the caller; NULL: nobody can cancel it */
    enum call_end end;
    enum failure_kind kind; /* of what was raised; MemoryError is FAILURE_OUT_OF_MEMORY */
    struct buf exception;   /* owned; empty unless CALL_RAISED: see call_exception */
};

/* What the calls of a task have in common: keyword arguments (JSON object text, or empty);
 * whether what stands in its place is one positional argument or several; where results are
 * gathered, and who wants to know how far a call is (or NULL). It needs no initialisation but
 * result_max, cpu_ms, trace and page. */
void task_call_init(struct task_call *call, const struct task *task, bool single,
                    struct text kwargs, struct buf *out, struct progress *progress);
/* Binds positional arguments (JSON array text without its brackets; or one value without
 * white space around it when `single`) and the keyword arguments to the parameters and runs
 * the task. After it, call->end is CALL_RETURNED, with the result appended to out, or
 * CALL_RAISED, with out as it was: it is no failed buffer, unless it came as one. A task that
 * returns without a result has returned null.
 *
 * It may be run again after a task_call_clear, which costs nothing after a result. */
void task_call_run(struct task_call *call, struct text positional);
/* Both, for one call. */
void task_run(struct task_call *call, const struct task *task, struct text positional,
              bool single, struct text kwargs, struct buf *out,
              struct progress *progress);
/* {"type","message","traceback"} after CALL_RAISED, valid until the clear; never empty.
 */
struct text call_exception(const struct task_call *call);
/* Frees what the struct owns, not the out buffer. */
static inline void task_call_clear(struct task_call *call)
{
    if (call->exception.data)
        buf_clear(&call->exception);
}

#endif
