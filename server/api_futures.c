/* SPDX-License-Identifier: MIT */
/*
 * Waiting for many jobs, as concurrent.futures does: POST /v1/jobs/wait answers when
 * enough of them are over, POST /v1/jobs/as_completed streams each one as it ends.
 */
#include "server/api.h"

#include "common/mem.h"
#include "server/wait_json.h"
#include "server/watch.h"

#include <string.h>

struct waiting {
    struct request *request;
    struct wait_request wanted;
    struct watch *watch;
    /* as_completed */
    bool streaming;
    struct buf line; /* not yet sent, from line_at on */
    size_t line_at;
    size_t next;   /* of watch->ended */
    bool finished; /* the last line is in `line` or sent */
};

static void waiting_free(void *data)
{
    struct waiting *waiting = data;

    watch_free(waiting->watch);
    buf_clear(&waiting->line);
    mem_free(waiting);
}

/* ---- refusing ---------------------------------------------------------------------- */

static void refuse_unknown(struct waiting *waiting)
{
    struct refusal refusal;

    refusal_init(&refusal);
    for (size_t i = 0; i < waiting->watch->count; i++)
        if (waiting->watch->jobs[i].unknown)
            refusal_add(&refusal, TEXT("ids"), waiting->wanted.places[i],
                        PROBLEM_VALIDATION_FAILED, "has an id that no job has");
    api_refuse(waiting->request, &refusal);
    refusal_clear(&refusal);
}

/* Answers and returns true if it is not known how all of the jobs are. */
static bool refuse(struct waiting *waiting)
{
    if (waiting->watch->st != ST_OK)
        api_problem_status(waiting->request, waiting->watch->st);
    else if (waiting->watch->unknown_count)
        refuse_unknown(waiting);
    else
        return false;
    waiting_free(waiting);
    return true;
}

/* ---- wait -------------------------------------------------------------------------- */

static bool enough(const struct waiting *waiting)
{
    const struct watch *watch = waiting->watch;

    if (watch->ended_count == watch->count || watch->time_is_up || watch->stopping)
        return true;
    if (waiting->wanted.return_when == RETURN_FIRST_COMPLETED)
        return watch->ended_count > 0;
    return waiting->wanted.return_when == RETURN_FIRST_EXCEPTION &&
           watch->raised_count > 0;
}

static bool write_jobs(struct buf *out, const struct watch *watch, bool over)
{
    bool first = true;

    for (size_t i = 0; i < watch->count; i++) {
        if (watch->jobs[i].over != over)
            continue;
        if (!first)
            buf_add_char(out, ',');
        first = false;
        if (!watch_write(watch, i, out))
            return false;
    }
    return true;
}

static void on_wait_change(void *data)
{
    struct waiting *waiting = data;
    struct reply reply;
    bool ok;

    if (refuse(waiting) || !enough(waiting))
        return;
    reply_init(&reply, 200, TYPE_JSON);
    buf_add_str(&reply.body, "{\"done\":[");
    ok = write_jobs(&reply.body, waiting->watch, true);
    buf_add_str(&reply.body, "],\"not_done\":[");
    ok = ok && write_jobs(&reply.body, waiting->watch, false);
    buf_add_str(&reply.body, "]}");
    if (ok) {
        request_reply(waiting->request, &reply);
    } else {
        reply_clear(&reply);
        api_problem_status(waiting->request, ST_NO_MEMORY);
    }
    waiting_free(waiting);
}

/* ---- as_completed ------------------------------------------------------------------ */

static void write_last_line(struct waiting *waiting)
{
    const struct watch *watch = waiting->watch;
    size_t unfinished = watch->count - watch->ended_count;

    if (unfinished)
        buf_addf(&waiting->line, "{\"done\":false,\"unfinished\":%zu,\"total\":%zu}\n",
                 unfinished, watch->count);
    else
        buf_addf(&waiting->line, "{\"done\":true,\"total\":%zu}\n", watch->count);
    waiting->finished = true;
}

/* Writes the next line; false if there is none now. */
static bool write_line(struct waiting *waiting)
{
    const struct watch *watch = waiting->watch;

    if (waiting->finished)
        return false;
    if (waiting->next < watch->ended_count) {
        if (!watch_write(watch, watch->ended[waiting->next++], &waiting->line))
            waiting->line.failed = true;
        buf_add_char(&waiting->line, '\n');
        return true;
    }
    if (watch->ended_count == watch->count || watch->time_is_up) {
        write_last_line(waiting);
        return true;
    }
    return false;
}

static ptrdiff_t pull_lines(void *data, char *out, size_t cap)
{
    struct waiting *waiting = data;
    const struct watch *watch = waiting->watch;
    size_t n;

    if (waiting->line_at == waiting->line.len) {
        buf_reset(&waiting->line);
        waiting->line_at = 0;
    }
    while (waiting->line.len < cap && !waiting->line.failed && write_line(waiting))
        continue;
    if (waiting->line.failed || watch->st != ST_OK)
        return STREAM_END; /* cut off */
    n = waiting->line.len - waiting->line_at;
    if (!n) /* at a stop without its last line: the client comes back */
        return waiting->finished || watch->stopping ? STREAM_END : STREAM_WAIT;
    n = n < cap ? n : cap;
    memcpy(out, waiting->line.data + waiting->line_at, n);
    waiting->line_at += n;
    return (ptrdiff_t)n;
}

static void on_client_left(void *data)
{
    struct waiting *waiting = data;

    waiting->finished = true;
    waiting->line_at = waiting->line.len;
    request_wake(waiting->request);
}

static void on_stream_change(void *data)
{
    struct waiting *waiting = data;
    struct reply head;

    if (waiting->streaming) {
        request_wake(waiting->request);
        return;
    }
    if (refuse(waiting))
        return;
    waiting->streaming = true;
    reply_init(&head, 200, "application/x-ndjson");
    request_watch(waiting->request, on_client_left, waiting);
    request_stream(waiting->request, &head, pull_lines, waiting_free, waiting);
}

/* ---- the request ------------------------------------------------------------------- */

static bool read_wanted(const struct api *api, struct request *request,
                        bool has_return_when, struct wait_request *ret_wanted)
{
    struct preferences preferences;
    struct refusal refusal;
    enum status st;

    if (!api_body_is_json(request) || !api_query(request, NULL, 0))
        return false;
    api_preferences(request, &preferences);
    st = wait_json_parse(blob_text(request_body(request)), has_return_when,
                         preferences.lenient, (unsigned)api->config->max_json_depth,
                         ret_wanted, &refusal);
    if (st != ST_OK)
        api_refuse(request, &refusal);
    refusal_clear(&refusal);
    return st == ST_OK;
}

/* max_ms < 0: there is no longest wait. */
static void wait_for_many(struct api *api, struct request *request, bool has_return_when,
                          int64_t max_ms, void (*on_change)(void *data))
{
    struct waiting *waiting = mem_zalloc(sizeof(*waiting));
    struct wait_request *wanted;
    enum status st;

    if (!waiting) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    wanted = &waiting->wanted;
    waiting->request = request;
    if (!read_wanted(api, request, has_return_when, wanted)) {
        waiting_free(waiting);
        return;
    }
    if (max_ms >= 0 && (wanted->timeout_ms < 0 || wanted->timeout_ms > max_ms))
        wanted->timeout_ms = max_ms;
    st = watch_new(api->dispatch, wanted->ids, wanted->count, api_only_owner(request),
                   wanted->timeout_ms, on_change, waiting, &waiting->watch);
    if (st != ST_OK) {
        if (st == ST_LIMIT)
            api_problem_retry(request, PROBLEM_TOO_MANY_WAITERS,
                              "as many requests as max_waiters allows wait already");
        else
            api_problem_status(request, st);
        waiting_free(waiting);
        return;
    }
    request_park(request, waiting_free, waiting);
    watch_start(waiting->watch);
}

void api_jobs_wait(struct api *api, struct request *request, struct text param)
{
    (void)param;
    wait_for_many(api, request, true, api->config->max_wait_ms, on_wait_change);
}

void api_jobs_as_completed(struct api *api, struct request *request, struct text param)
{
    (void)param;
    wait_for_many(api, request, false, -1, on_stream_change);
}
