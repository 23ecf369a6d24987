/* SPDX-License-Identifier: MIT */
#include "server/failure.h"

#include "server/problem.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const enum problem problem_of_failure[FAILURE_KIND_COUNT] = {
    [FAILURE_TASK] = PROBLEM_TASK_ERROR,
    [FAILURE_RESULT_TOO_LARGE] = PROBLEM_RESULT_TOO_LARGE,
    [FAILURE_INVALID_RESULT] = PROBLEM_INVALID_RESULT,
    [FAILURE_OUT_OF_MEMORY] = PROBLEM_OUT_OF_MEMORY,
};

static void add_place(struct buf *out, const struct failure_place *place)
{
    char id[UUID_TEXT_LEN + 1];

    uuid_format(place->job, id);
    buf_addf(out, ",\"job\":\"%s\",\"item\":%llu,\"attempt\":%u", id,
             (unsigned long long)place->item, place->attempt);
}

/* "ValueError: Negative input not allowed", as Python prints it. */
static void add_summary(struct buf *out, json_t *exception)
{
    json_t *type = json_object_get(exception, "type");
    json_t *message = json_object_get(exception, "message");

    buf_add(out, json_string_value(type), json_string_length(type));
    if (!json_string_length(message))
        return;
    buf_add_str(out, ": ");
    buf_add(out, json_string_value(message), json_string_length(message));
}

struct blob *failure_of_task(const struct failure_place *place,
                             const struct frame_failure *failure)
{
    struct buf out = BUF_INIT, detail = BUF_INIT;
    json_auto_t *exception = json_loadb(failure->exception.at, failure->exception.len,
                                        JSON_REJECT_DUPLICATES, NULL);

    if (json_is_string(json_object_get(exception, "type")) &&
        json_is_string(json_object_get(exception, "message"))) {
        add_summary(&detail, exception);
        problem_open(&out, problem_of_failure[failure->kind], buf_text(&detail));
        add_place(&out, place);
        buf_add_str(&out, ",\"exception\":");
        buf_add_text(&out, failure->exception);
    } else {
        problem_open(&out, PROBLEM_PROTOCOL_ERROR,
                     TEXT("the worker reported a failure that is not readable"));
        add_place(&out, place);
    }
    buf_add_char(&out, '}');
    out.failed |= detail.failed;
    buf_clear(&detail);
    return buf_take_blob(&out);
}

/* "SIGKILL"; for a number without a name "signal 42". */
static void signal_name(int signal, char *ret_name, size_t size)
{
    const char *name = sigabbrev_np(signal);

    if (name)
        (void)snprintf(ret_name, size, "SIG%s", name);
    else
        (void)snprintf(ret_name, size, "signal %d", signal);
}

struct blob *failure_of_exit(const struct failure_place *place,
                             const struct worker_exit *exit, int64_t time_limit_ms)
{
    struct buf out = BUF_INIT;
    char detail[160], name[32];
    enum problem problem = PROBLEM_WORKER_LOST;

    signal_name(exit->code, name, sizeof(name));
    switch (exit->cause) {
    case EXIT_TIME_LIMIT:
        problem = PROBLEM_TIME_LIMIT;
        (void)snprintf(detail, sizeof(detail), "the item ran longer than %g seconds",
                       (double)time_limit_ms / 1000);
        break;
    case EXIT_PROTOCOL:
        problem = PROBLEM_PROTOCOL_ERROR;
        (void)snprintf(
            detail, sizeof(detail),
            "the worker wrote something that is not the protocol and was killed");
        break;
    case EXIT_SIGNAL:
        (void)snprintf(detail, sizeof(detail), "the worker was killed by %s%s", name,
                       exit->code == SIGKILL ? " (by hand, or out of memory)" : "");
        break;
    default:
        (void)snprintf(detail, sizeof(detail),
                       "the worker exited with code %d before it had a result",
                       exit->code);
    }
    problem_open(&out, problem, (struct text){ detail, strlen(detail) });
    add_place(&out, place);
    if (exit->cause == EXIT_SIGNAL)
        buf_addf(&out, ",\"signal\":\"%s\"", name);
    else if (problem == PROBLEM_WORKER_LOST)
        buf_addf(&out, ",\"exit_code\":%d", exit->code);
    buf_add_char(&out, '}');
    return buf_take_blob(&out);
}
