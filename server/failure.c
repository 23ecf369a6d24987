/* SPDX-License-Identifier: MIT */
#include "server/failure.h"

#include "server/json_load.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const enum problem problem_of_failure[FAILURE_KIND_COUNT] = {
    [FAILURE_TASK] = PROBLEM_TASK_ERROR,
    [FAILURE_RESULT_TOO_LARGE] = PROBLEM_RESULT_TOO_LARGE,
    [FAILURE_INVALID_RESULT] = PROBLEM_INVALID_RESULT,
    [FAILURE_OUT_OF_MEMORY] = PROBLEM_OUT_OF_MEMORY,
    [FAILURE_PROTOCOL] = PROBLEM_PROTOCOL_ERROR,
    [FAILURE_TIME_LIMIT] = PROBLEM_TIME_LIMIT,
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

static json_t *load_exception(struct text text)
{
    bool no_memory;
    json_t *exception = json_load(text, JSON_REJECT_DUPLICATES, &no_memory);

    if (json_is_string(json_object_get(exception, "type")) &&
        json_is_string(json_object_get(exception, "message")))
        return exception;
    json_decref(exception);
    return NULL;
}

void failure_cause_clear(struct failure_cause *cause)
{
    buf_clear(&cause->detail);
    json_decref(cause->exception);
    cause->exception = NULL;
}

void failure_cause_of_task(const struct frame_failure *failure,
                           struct failure_cause *ret_cause)
{
    *ret_cause =
        (struct failure_cause){ .problem = problem_of_failure[failure->kind],
                                .exception = load_exception(failure->exception) };
    if (ret_cause->exception) {
        add_summary(&ret_cause->detail, ret_cause->exception);
        return;
    }
    ret_cause->problem = PROBLEM_PROTOCOL_ERROR;
    buf_add_str(&ret_cause->detail, "the worker reported a failure that is not readable");
}

struct blob *failure_exception(struct text exception)
{
    static const char unreadable[] =
        "{\"type\":\"ProtocolError\",\"message\":\"the worker reported an exception that "
        "is not readable\",\"traceback\":\"\"}";
    json_auto_t *loaded = load_exception(exception);

    return loaded ? blob_new(exception.at, exception.len)
                  : blob_new(unreadable, sizeof(unreadable) - 1);
}

struct blob *failure_of_pool(const struct uuid *job, const char *pool,
                             struct text exception)
{
    struct buf out = BUF_INIT, detail = BUF_INIT;
    json_auto_t *loaded = load_exception(exception);
    char id[UUID_TEXT_LEN + 1];

    buf_addf(&detail, "the initializer of pool %s keeps failing: ", pool);
    add_summary(&detail, loaded);
    problem_open(&out, PROBLEM_BROKEN_POOL, buf_text(&detail));
    if (job) {
        uuid_format(*job, id);
        buf_addf(&out, ",\"job\":\"%s\"", id);
    }
    buf_add_str(&out, ",\"exception\":");
    buf_add_text(&out, exception);
    buf_add_char(&out, '}');
    out.failed |= detail.failed;
    buf_clear(&detail);
    return buf_take_blob(&out);
}

struct blob *failure_of_input(const struct uuid *job, const char *detail, uint64_t line)
{
    struct buf out = BUF_INIT;
    char id[UUID_TEXT_LEN + 1];

    uuid_format(*job, id);
    problem_open(&out, PROBLEM_INPUT_INCOMPLETE, (struct text){ detail, strlen(detail) });
    buf_addf(&out, ",\"job\":\"%s\"", id);
    if (line)
        buf_addf(&out, ",\"line\":%llu", (unsigned long long)line);
    buf_add_char(&out, '}');
    return buf_take_blob(&out);
}

struct blob *failure_of_results(const struct uuid *job, uint64_t max_bytes)
{
    struct buf out = BUF_INIT, detail = BUF_INIT;
    char id[UUID_TEXT_LEN + 1];

    uuid_format(*job, id);
    buf_addf(&detail,
             "the results and errors of the job have more bytes together than "
             "max_job_result_bytes allows, %llu",
             (unsigned long long)max_bytes);
    problem_open(&out, PROBLEM_RESULT_TOO_LARGE, buf_text(&detail));
    buf_addf(&out, ",\"job\":\"%s\"}", id);
    out.failed |= detail.failed;
    buf_clear(&detail);
    return buf_take_blob(&out);
}

bool failure_is_of_input(struct text problem)
{
    static const char begin[] = "{\"type\":\"/problems/input-incomplete\"";

    return problem.len >= sizeof(begin) - 1 &&
           memcmp(problem.at, begin, sizeof(begin) - 1) == 0;
}

struct blob *failure_of_task(const struct failure_place *place,
                             const struct frame_failure *failure)
{
    struct buf out = BUF_INIT;
    struct failure_cause cause;

    failure_cause_of_task(failure, &cause);
    problem_open(&out, cause.problem, buf_text(&cause.detail));
    add_place(&out, place);
    if (cause.exception) {
        buf_add_str(&out, ",\"exception\":");
        buf_add_text(&out, failure->exception);
    }
    buf_add_char(&out, '}');
    out.failed |= cause.detail.failed;
    failure_cause_clear(&cause);
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

void failure_cause_of_exit(const struct worker_exit *exit, int64_t time_limit_ms,
                           struct failure_cause *ret_cause)
{
    struct buf *detail = &ret_cause->detail;

    *ret_cause = (struct failure_cause){ .problem = PROBLEM_WORKER_LOST };
    switch (exit->cause) {
    case EXIT_TIME_LIMIT:
        ret_cause->problem = PROBLEM_TIME_LIMIT;
        buf_addf(detail, "the item ran longer than %g seconds",
                 (double)time_limit_ms / 1000);
        break;
    case EXIT_CPU_LIMIT:
        ret_cause->problem = PROBLEM_TIME_LIMIT;
        buf_add_str(detail, "the item used more processor time than its cpu_limit");
        break;
    case EXIT_MEMORY_LIMIT:
        ret_cause->problem = PROBLEM_OUT_OF_MEMORY;
        buf_add_str(detail,
                    "the item, with all that it had started, used more memory than "
                    "its memory_limit and was killed");
        break;
    case EXIT_PROTOCOL:
        ret_cause->problem = PROBLEM_PROTOCOL_ERROR;
        buf_add_str(detail,
                    "the worker wrote something that is not the protocol and was killed");
        break;
    case EXIT_SIGNAL:
        signal_name(exit->code, ret_cause->signal, sizeof(ret_cause->signal));
        buf_addf(detail, "the worker was killed by %s%s", ret_cause->signal,
                 exit->code == SIGKILL ? " (by hand, or out of memory)" : "");
        break;
    default:
        ret_cause->has_exit_code = true;
        buf_addf(detail, "the worker exited with code %d before it had a result",
                 exit->code);
    }
}

struct blob *failure_of_exit(const struct failure_place *place,
                             const struct worker_exit *exit, int64_t time_limit_ms)
{
    struct buf out = BUF_INIT;
    struct failure_cause cause;

    failure_cause_of_exit(exit, time_limit_ms, &cause);
    problem_open(&out, cause.problem, buf_text(&cause.detail));
    add_place(&out, place);
    if (cause.signal[0])
        buf_addf(&out, ",\"signal\":\"%s\"", cause.signal);
    if (cause.has_exit_code)
        buf_addf(&out, ",\"exit_code\":%d", exit->code);
    buf_add_char(&out, '}');
    out.failed |= cause.detail.failed;
    failure_cause_clear(&cause);
    return buf_take_blob(&out);
}

int failure_http_status(struct text problem)
{
    bool no_memory;
    json_auto_t *loaded = json_load(problem, 0, &no_memory);
    json_int_t status = json_integer_value(json_object_get(loaded, "status"));

    return status >= 400 && status < 600 ? (int)status : 422;
}
