/* SPDX-License-Identifier: MIT */
#include "server/attempt.h"

#include "common/clock.h"
#include "server/json_load.h"

#include <string.h>

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

static void open_attempt(struct buf *out, const struct failure_place *place,
                         enum problem problem, struct text detail)
{
    buf_addf(out, "{\"item\":%llu,\"attempt\":%u,\"kind\":\"%s\",\"detail\":",
             (unsigned long long)place->item, place->attempt,
             problem_infos[problem].slug);
    buf_add_json_string(out, detail);
}

static void add_time(struct buf *out, const char *name, int64_t at_ms)
{
    char text[CLOCK_TEXT_LEN + 1];

    if (at_ms == 0) {
        buf_addf(out, ",\"%s\":null", name);
        return;
    }
    clock_format(at_ms, text);
    buf_addf(out, ",\"%s\":\"%s\"", name, text);
}

static void add_times(struct buf *out, uint64_t began_ns)
{
    int64_t now_ms = clock_wall_ms();
    uint64_t now_ns = clock_mono_ns();
    bool known = began_ns > 0 && began_ns <= now_ns;

    add_time(out, "started_at",
             known ? now_ms - (int64_t)((now_ns - began_ns) / NS_PER_MS) : 0);
    add_time(out, "finished_at", now_ms);
}

/* The output is foreign, and may begin in the middle of a character. */
static struct blob *close_attempt(struct buf *out, const struct worker_trace *trace)
{
    struct text output = trace->output;

    if (output.len > ATTEMPT_OUTPUT_MAX) {
        output.at += output.len - ATTEMPT_OUTPUT_MAX;
        output.len = ATTEMPT_OUTPUT_MAX;
    }
    buf_add_str(out, ",\"output\":");
    buf_add_json_bytes(out, output);
    buf_add_char(out, '}');
    return buf_take_blob(out);
}

struct blob *attempt_of_task(const struct failure_place *place,
                             const struct frame_failure *failure,
                             const struct worker_trace *trace)
{
    struct buf out = BUF_INIT;
    struct failure_cause cause;

    failure_cause_of_task(failure, &cause);
    open_attempt(&out, place, cause.problem, buf_text(&cause.detail));
    if (cause.exception) {
        json_t *type = json_object_get(cause.exception, "type");
        json_t *message = json_object_get(cause.exception, "message");

        buf_add_str(&out, ",\"exception\":{\"type\":");
        buf_add_json_string(&out, text_of(json_string_value(type)));
        buf_add_str(&out, ",\"message\":");
        buf_add_json_string(&out, text_of(json_string_value(message)));
        buf_add_char(&out, '}');
    } else {
        buf_add_str(&out, ",\"exception\":null");
    }
    out.failed |= cause.detail.failed;
    failure_cause_clear(&cause);
    buf_add_str(&out, ",\"exit_code\":null,\"signal\":null");
    add_times(&out, trace->began_ns);
    buf_addf(&out, ",\"pid\":%d,\"cpu_seconds\":null,\"max_rss_bytes\":null",
             (int)trace->pid);
    return close_attempt(&out, trace);
}

struct blob *attempt_of_exit(const struct failure_place *place,
                             const struct worker_exit *exit, int64_t time_limit_ms)
{
    struct buf out = BUF_INIT;
    struct failure_cause cause;

    failure_cause_of_exit(exit, time_limit_ms, &cause);
    open_attempt(&out, place, cause.problem, buf_text(&cause.detail));
    buf_add_str(&out, ",\"exception\":null,\"exit_code\":");
    if (cause.has_exit_code)
        buf_addf(&out, "%d", exit->code);
    else
        buf_add_str(&out, "null");
    if (cause.signal[0])
        buf_addf(&out, ",\"signal\":\"%s\"", cause.signal);
    else
        buf_add_str(&out, ",\"signal\":null");
    add_times(&out, exit->trace.began_ns);
    buf_addf(&out, ",\"pid\":%d,\"cpu_seconds\":%.6f,\"max_rss_bytes\":%llu",
             (int)exit->trace.pid, (double)exit->cpu_ns / (double)NS_PER_SEC,
             (unsigned long long)exit->max_rss_bytes);
    out.failed |= cause.detail.failed;
    failure_cause_clear(&cause);
    return close_attempt(&out, &exit->trace);
}

/* Of a worker that has ended the time of its processor is known; a limit that it ran into is
 * paid as an error of the task (dispatch_lane.c, is_limit). */
enum status attempt_read(struct text attempt, struct attempt_cost *ret_cost)
{
    bool no_memory = false;
    json_t *root = json_load(attempt, 0, &no_memory);
    json_t *item = json_object_get(root, "item");
    json_t *number = json_object_get(root, "attempt");
    const char *kind = json_string_value(json_object_get(root, "kind"));
    enum status st = no_memory ? ST_NO_MEMORY : ST_INVALID;

    if (json_integer_value(item) >= 0 && json_is_integer(item) &&
        json_integer_value(number) >= 1 && json_integer_value(number) <= UINT32_MAX &&
        kind) {
        ret_cost->item = (uint64_t)json_integer_value(item);
        ret_cost->number = (uint32_t)json_integer_value(number);
        ret_cost->is_crash = json_is_number(json_object_get(root, "cpu_seconds")) &&
                             strcmp(kind, problem_infos[PROBLEM_TIME_LIMIT].slug) != 0 &&
                             strcmp(kind, problem_infos[PROBLEM_OUT_OF_MEMORY].slug) != 0;
        st = ST_OK;
    }
    json_decref(root);
    return st;
}
