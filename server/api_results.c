/* SPDX-License-Identifier: MIT */
/*
 * Results: /v1/jobs/{id}/result as AsyncResult.get() gives it, and as a stream:
 * /v1/jobs/{id}/results, imap and imap_unordered.
 *
 * Results are never rebuilt: the outcomes hold the bytes that the workers wrote,
 * separated by commas, and the answer is these pieces one after another between "[" and
 * "]".
 */
#include "server/api.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/failure.h"
#include "server/job_json.h"

#include <string.h>

/* ---- /result ----------------------------------------------------------------------- */

static void open_result(struct buf *out, const struct job_view *view)
{
    char id[UUID_TEXT_LEN + 1];

    uuid_format(view->spec->id, id);
    buf_add_str(out, "{\"id\":\"");
    buf_add_str(out, id);
    buf_add_str(out, "\",\"state\":\"succeeded\",\"result\":");
}

/* Many small outcomes are copied, large ones are sent from where they are. */
#define PART_MIN 4096

/* Where the text that comes next belongs: before the first part, or behind the last one.
 */
static bool add_pieces(struct reply *reply, const struct job_view *view)
{
    static const struct text comma = { ",", 1 };

    for (size_t i = 0; i < view->outcome_count; i++) {
        struct blob *blob = view->outcomes[i].text;

        if (i && !reply_add_part(reply, NULL, comma))
            return false;
        if (!reply_add_part(reply, blob, blob_text(blob)))
            return false;
    }
    return true;
}

static size_t result_bytes(const struct job_view *view)
{
    size_t bytes = 0;

    for (size_t i = 0; i < view->outcome_count; i++)
        bytes += view->outcomes[i].text->len + 1;
    return bytes;
}

static bool write_values(struct reply *reply, const struct job_view *view)
{
    if (result_bytes(view) >= PART_MIN)
        return add_pieces(reply, view);
    for (size_t i = 0; i < view->outcome_count; i++) {
        if (i)
            buf_add_char(&reply->body, ',');
        buf_add_text(&reply->body, blob_text(view->outcomes[i].text));
    }
    return true;
}

/* With return_exceptions each value says whether it is a result or an error. */
static void write_exceptions(struct buf *out, const struct job_view *view)
{
    for (size_t i = 0; i < view->outcome_count; i++) {
        const struct outcome *outcome = &view->outcomes[i];
        struct text rest = blob_text(outcome->text), value;

        if (outcome->is_error) {
            buf_addf(out, "%s{\"ok\":false,\"error\":", i ? "," : "");
            buf_add_text(out, rest);
            buf_add_char(out, '}');
            continue;
        }
        for (bool first = i == 0; slice_next(&rest, &value); first = false) {
            buf_addf(out, "%s{\"ok\":true,\"result\":", first ? "" : ",");
            buf_add_text(out, value);
            buf_add_char(out, '}');
        }
    }
}

static bool write_result(struct reply *reply, const struct job_view *view)
{
    bool ok = true;

    open_result(&reply->body, view);
    if (view->spec->method == JOB_APPLY) {
        ok = write_values(reply, view);
        buf_add_char(&reply->tail, '}');
    } else {
        buf_add_char(&reply->body, '[');
        if (view->spec->return_exceptions)
            write_exceptions(&reply->body, view);
        else
            ok = write_values(reply, view);
        buf_add_str(&reply->tail, "]}");
    }
    if (!reply->part_count) {
        buf_add_text(&reply->body, buf_text(&reply->tail));
        buf_clear(&reply->tail);
    }
    return ok;
}

/* Results are kept for result_ttl after the end; beyond it they are gone, deleted yet or
 * not. */
static bool result_gone(const struct job_view *view)
{
    return view->gone || (job_state_final(view->status->state) &&
                          clock_believed_ms() - view->status->finished_at_ms >=
                              view->spec->result_ttl_ms);
}

static void reply_gone(struct request *request, const struct job_view *view)
{
    int64_t kept_ms = view->spec->result_ttl_ms;

    if (view->gone && clock_believed_ms() - view->status->finished_at_ms < kept_ms)
        api_problem(request, PROBLEM_RESULT_GONE,
                    "later results needed the room (max_finished_bytes)");
    else
        api_problem(request, PROBLEM_RESULT_GONE, "the result was kept for %g seconds",
                    (double)kept_ms / 1000);
}

static void reply_failed(struct request *request, const struct job_view *view,
                         enum reuse reuse)
{
    struct reply reply;

    if (view->status->error) {
        reply_init(&reply, failure_http_status(blob_text(view->status->error)),
                   TYPE_PROBLEM);
        buf_add_text(&reply.body, blob_text(view->status->error));
    } else {
        reply_init_problem(&reply, PROBLEM_INTERNAL_ERROR,
                           TEXT("the server ran out of memory while the job ran"));
        buf_add_char(&reply.body, '}');
    }
    api_reuse_header(&reply, reuse);
    request_reply(request, &reply);
}

#define ETAG_MAX (UUID_TEXT_LEN + 24)

/* Whether the client has it, with this ETag. */
static bool knows_result(const struct request *request, const struct job_view *view,
                         char ret_etag[ETAG_MAX])
{
    const char *known = request_header(request, "If-None-Match");
    char id[UUID_TEXT_LEN + 1];

    uuid_format(view->spec->id, id);
    (void)snprintf(ret_etag, ETAG_MAX, "\"%s-%lld\"", id,
                   (long long)view->status->finished_at_ms);
    return known && strstr(known, ret_etag);
}

void api_reply_result(struct request *request, const struct job_view *view,
                      const struct preferences *applied, enum reuse reuse)
{
    struct reply reply;
    bool get = request_method(request) == HTTP_GET;
    char etag[ETAG_MAX];

    if (view->gone) {
        reply_gone(request, view);
        return;
    }
    switch (view->status->state) {
    case JOB_FAILED:
        reply_failed(request, view, reuse);
        return;
    case JOB_CANCELLED:
        api_problem(request, PROBLEM_JOB_CANCELLED, "the job was cancelled");
        return;
    case JOB_EXPIRED:
        api_problem(request, PROBLEM_JOB_EXPIRED,
                    "the job was not started within its expires_in");
        return;
    default:
        break;
    }
    if (get && knows_result(request, view, etag)) {
        reply_init(&reply, 304, NULL);
    } else {
        reply_init(&reply, 200, TYPE_JSON);
        if (!write_result(&reply, view)) {
            reply_clear(&reply);
            api_problem_status(request, ST_NO_MEMORY);
            return;
        }
    }
    if (get)
        reply_header_text(&reply, "ETag", etag);
    api_reuse_header(&reply, reuse);
    api_preferences_applied(&reply, applied);
    if (view->live)
        api_timing_header(&reply, view->live);
    request_reply(request, &reply);
}

static void reply_result(struct api *api, struct request *request,
                         const struct job_view *view, void *data)
{
    struct preferences *preferences = data;

    (void)api;
    if (result_gone(view))
        reply_gone(request, view);
    else if (job_state_final(view->status->state))
        api_reply_result(request, view, preferences, REUSE_NONE);
    else
        api_reply_job(request, 202, view, preferences, REUSE_NONE);
}

void api_job_result(struct api *api, struct request *request, struct text param)
{
    struct lookup lookup = { .with_outcomes = true, .then = reply_result };

    if (api_waiting_get(request, param, &lookup))
        api_lookup(api, request, &lookup);
}

/* ---- /results ---------------------------------------------------------------------- */

/* A reader of outcomes, line by line. It reads from the job in memory, which it pins, or
 * from what the store gave, or, of a job that is fed, first from the latter what the former
 * has let go of; it has that keep the rest then. Ordered, it goes by index and waits at a
 * gap; unordered it goes by arrival. */
struct stream {
    struct request *request;
    struct live *live;        /* pinned, or NULL */
    struct stored_job stored; /* when live is NULL, or has let go of outcomes */
    bool holds;               /* live is held */
    uint64_t next_stored;     /* unordered, of both: how many of `stored` are read */
    bool follow, ordered;
    bool moves_window; /* of the live job, as its lines are sent */
    uint64_t from;     /* no line for items below this */
    uint64_t next; /* ordered: the next index; unordered: how many arrivals are read */
    struct blob *text; /* outcome being read, referenced; NULL between two */
    struct text rest;  /* of text */
    bool is_error;
    uint64_t index;  /* of the next value in rest */
    struct buf line; /* not yet sent, from line_at on */
    size_t line_at;
    uint64_t written; /* lines that were put into `line` so far */
    bool finished;    /* the last line is in `line` or sent */
    bool ended;       /* STREAM_END was said */
    struct waiter *waiter;
};

static struct job_view stream_view(const struct stream *stream)
{
    if (stream->live)
        return view_of(stream->live);
    return (struct job_view){ .spec = stream->stored.spec,
                              .status = &stream->stored.status,
                              .outcomes = stream->stored.outcomes,
                              .outcome_count = stream->stored.outcome_count };
}

/* The outcome that holds `item`, or else the first one behind it; NULL if there is none.
 */
static const struct outcome *outcome_from(const struct job_view *view, uint64_t item)
{
    size_t low = 0, high = view->outcome_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (view->outcomes[middle].first + view->outcomes[middle].count <= item)
            low = middle + 1;
        else
            high = middle;
    }
    return low < view->outcome_count ? &view->outcomes[low] : NULL;
}

/* What is left of a job in memory that the store has more of. */
static struct job_view stored_part(const struct stream *stream)
{
    return (struct job_view){ .outcomes = stream->stored.outcomes,
                              .outcome_count = stream->stored.outcome_count };
}

/* The first outcome from `next` on that clients may see; NULL: none, or not yet. */
static const struct outcome *next_shown(const struct stream *stream,
                                        const struct job_view *view, bool wait)
{
    const struct outcome *outcome = outcome_from(view, stream->next);

    while (outcome && !outcome->shown && view->live) { /* not for clients yet */
        if (wait)
            return NULL;
        outcome = outcome_from(view, outcome->first + outcome->count);
    }
    return outcome;
}

static const struct outcome *next_ordered(struct stream *stream,
                                          const struct job_view *view)
{
    bool wait = stream->follow && !job_state_final(view->status->state);
    const struct outcome *outcome = next_shown(stream, view, wait);
    struct job_view before = stored_part(stream);
    const struct outcome *known = view->live ? outcome_from(&before, stream->next) : NULL;

    if (known && (!outcome || known->first < outcome->first))
        outcome = known;
    if (!outcome || (outcome->first > stream->next && wait))
        return NULL;
    stream->next = outcome->first + outcome->count;
    return outcome;
}

static const struct outcome *next_arrived(struct stream *stream,
                                          const struct job_view *view)
{
    const struct live *live = view->live;
    struct job_view before = stored_part(stream);

    if (stream->next_stored < before.outcome_count)
        return &before.outcomes[stream->next_stored++];
    if (stream->next < live->arrivals_gone)
        stream->next = live->arrivals_gone;
    while (stream->next < live->arrivals_gone + live->arrival_count) {
        uint64_t first = live->arrivals[stream->next++ - live->arrivals_gone];
        const struct outcome *known = outcome_from(&before, first);

        if (!known || known->first > first)
            return job_outcome(&live->job, first);
    }
    return NULL;
}

/* Opens the next outcome for reading; false if there is none now. */
static bool open_outcome(struct stream *stream, const struct job_view *view)
{
    const struct outcome *outcome = !stream->ordered && view->live
                                        ? next_arrived(stream, view)
                                        : next_ordered(stream, view);

    if (!outcome)
        return false;
    stream->text = blob_ref(outcome->text);
    stream->rest = blob_text(outcome->text);
    stream->is_error = outcome->is_error;
    stream->index = outcome->first;
    if (stream->moves_window)
        dispatch_has_read(stream->live, outcome->first);
    return true;
}

/* Writes the line of the next value of the open outcome; false at its end. */
static bool write_line(struct stream *stream)
{
    struct text value = stream->rest;

    if (stream->is_error)
        stream->rest.len = 0;
    if (stream->is_error ? !value.len : !slice_next(&stream->rest, &value)) {
        blob_unref(stream->text);
        stream->text = NULL;
        return false;
    }
    if (stream->index >= stream->from) {
        buf_add_text(&stream->line, TEXT("{\"index\":"));
        buf_add_u64(&stream->line, stream->index);
        buf_add_text(&stream->line,
                     stream->is_error ? TEXT(",\"error\":") : TEXT(",\"result\":"));
        buf_add_text(&stream->line, value);
        buf_add_str(&stream->line, "}\n");
    }
    stream->index++;
    stream->written++;
    return true;
}

static void write_end(struct stream *stream, const struct job_view *view)
{
    bool done = job_state_final(view->status->state);
    struct text error = blob_text(view->status->error);

    if (done && failure_is_of_input(error)) {
        buf_add_str(&stream->line, "{\"error\":");
        buf_add_text(&stream->line, error);
        buf_add_str(&stream->line, "}\n");
    }
    buf_addf(&stream->line, "{\"done\":%s,\"state\":\"%s\",\"total\":%llu}\n",
             done ? "true" : "false", job_state_names[view->status->state],
             (unsigned long long)job_items(view->spec, view->status));
    stream->finished = true;
}

static void on_more(void *data, enum wake wake, enum status st)
{
    struct stream *stream = data;

    (void)st;
    stream->waiter = NULL;
    if (wake == WAKE_SHUTDOWN)
        stream->finished = true; /* without its last line: the client comes back */
    request_wake(stream->request);
}

static bool stream_wait(struct stream *stream)
{
    if (!stream->waiter)
        stream->waiter = dispatch_wait(stream->live, WAIT_CHANGE, -1, on_more, stream);
    return stream->waiter != NULL;
}

/* All lines so far are with the library, which sends them before it asks for more: that
 * is as close to "read" as one can see from here. */
static void lines_sent(struct stream *stream)
{
    buf_reset(&stream->line);
    stream->line_at = 0;
    if (stream->moves_window)
        dispatch_read(stream->live, stream->written);
}

/* Fills `line`; it stays empty at the end. False: there is nothing to send yet. */
static bool fill_lines(struct stream *stream, size_t cap)
{
    struct job_view view = stream_view(stream);

    while (!stream->finished && stream->line.len < cap) {
        if (stream->text && write_line(stream))
            continue;
        if (open_outcome(stream, &view))
            continue;
        if (stream->line.len)
            return true;
        if (stream->follow && !job_state_final(view.status->state))
            return !stream_wait(stream); /* else cut off: too many wait */
        write_end(stream, &view);
    }
    return true;
}

static ptrdiff_t stream_pull_lines(void *data, char *out, size_t cap)
{
    struct stream *stream = data;
    size_t n;

    if (stream->line_at == stream->line.len)
        lines_sent(stream);
    if (!fill_lines(stream, cap))
        return STREAM_WAIT;
    n = stream->line.len - stream->line_at;
    if (!n || stream->line.failed) { /* failed: cut off, no memory */
        stream->ended = true;
        return STREAM_END;
    }
    n = n < cap ? n : cap;
    memcpy(out, stream->line.data + stream->line_at, n);
    stream->line_at += n;
    return (ptrdiff_t)n;
}

/* The client of the call that made the job has closed its side. */
static void on_reader_left(void *data)
{
    struct stream *stream = data;
    struct live *live = stream->live;

    if (!live->findable || dispatch_draining(live->dispatch))
        return; /* it is over, or goes on after the restart */
    if (live->job.spec->cancel_on_disconnect && dispatch_cancel(live, true) != ST_OK)
        log_debug("a client left, but its job was over", "");
    dispatch_read(live, NOBODY_READS);
}

static void stream_free(void *data)
{
    struct stream *stream = data;

    waiter_end(stream->waiter);
    if (stream->moves_window && stream->ended)
        dispatch_read(stream->live, NOBODY_READS);
    else if (stream->moves_window)
        on_reader_left(stream);
    blob_unref(stream->text);
    buf_clear(&stream->line);
    if (stream->holds)
        live_release(stream->live);
    if (stream->live)
        live_unpin(stream->live);
    stored_job_clear(&stream->stored);
    mem_free(stream);
}

/* Takes head. */
static void answer_stream(struct request *request, const struct job_view *view,
                          const struct stream *wanted, struct reply *head)
{
    /* The call that made the job gets its results, however short they are kept. */
    bool gone = !wanted->moves_window && result_gone(view);
    struct stream *stream = gone ? NULL : mem_alloc(sizeof(*stream));

    if (!stream) {
        reply_clear(head);
        if (wanted->moves_window)
            dispatch_read(view->live, NOBODY_READS);
        if (gone)
            reply_gone(request, view);
        else
            api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    *stream = *wanted;
    stream->request = request;
    stream->next = stream->ordered || !view->live ? stream->from : 0;
    if (view->live) {
        stream->live = view->live;
        live_pin(view->live);
        if (!wanted->moves_window && view->live->job.spec->fed) {
            stream->holds = true;
            live_hold(view->live);
        }
    }
    if (view->stored) {
        stream->stored = *view->stored;
        memset(view->stored, 0, sizeof(*view->stored));
    }
    if (stream->moves_window)
        request_watch(request, on_reader_left, stream);
    request_stream(request, head, stream_pull_lines, stream_free, stream);
}

static void start_stream(struct api *api, struct request *request,
                         const struct job_view *view, void *data)
{
    struct reply head;

    (void)api;
    reply_init(&head, 200, TYPE_NDJSON);
    answer_stream(request, view, data, &head);
}

void api_reply_stream(struct request *request, const struct job_view *view,
                      const struct preferences *applied, enum reuse reuse)
{
    struct stream wanted = { .follow = true,
                             .ordered = view->spec->method == JOB_IMAP,
                             .moves_window = view->live && reuse == REUSE_NONE };
    struct reply head;
    char id[UUID_TEXT_LEN + 1];

    uuid_format(view->spec->id, id);
    reply_init(&head, 200, TYPE_NDJSON);
    reply_header(&head, "Location", "/v1/jobs/%s", id);
    api_reuse_header(&head, reuse);
    api_preferences_applied(&head, applied);
    answer_stream(request, view, &wanted, &head);
}

void api_job_results(struct api *api, struct request *request, struct text param)
{
    struct stream *wanted = mem_zalloc(sizeof(*wanted));
    struct lookup lookup = { .with_outcomes = true,
                             .then = start_stream,
                             .data = wanted };
    struct query_param params[3] = { { .name = "ordered" },
                                     { .name = "from" },
                                     { .name = "follow" } };

    if (!wanted) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    wanted->ordered = true;
    params[0].ret_bool = &wanted->ordered;
    params[1].ret_number = &wanted->from;
    params[2].ret_bool = &wanted->follow;
    if (!api_job_id(request, param, &lookup.id) || !api_query(request, params, 3)) {
        mem_free(wanted);
        return;
    }
    lookup.whole = wanted->follow;
    api_lookup(api, request, &lookup);
}
