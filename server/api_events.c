/* SPDX-License-Identifier: MIT */
/*
 * Server-sent events: GET /v1/events of all jobs, GET /v1/jobs/{id}/events of one, until
 * its end.
 *
 * A client that comes back names the last event that it has seen. If what followed is no
 * longer kept, `gap` is the first that it gets. A job whose end is not among the events
 * (they are from before a restart, or too old) is told as it is now, and one whose end
 * the client has seen is answered 204: that is how an EventSource learns not to come back.
 */
#include "server/api.h"

#include "common/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How long an EventSource waits until it comes back, in milliseconds. */
#define RETRY_MS 1000

struct event_stream {
    struct request *request;
    struct event_reader *reader;
    bool of_job;
    bool finished;
    struct buf out; /* not yet sent, from out_at on */
    size_t out_at;
};

static void on_more(void *data)
{
    request_wake(((struct event_stream *)data)->request);
}

/* Adds what there is to tell now; false if it has to be waited for. */
static bool gather(struct event_stream *stream, size_t cap)
{
    const struct event *event = NULL;

    while (!stream->finished && stream->out.len < cap) {
        switch (event_reader_next(stream->reader, &event)) {
        case EVENT_READ:
            event_write(&stream->out, event);
            /* A job that was retried goes on behind its end. */
            stream->finished = stream->of_job && job_state_final(event->state) &&
                               event_reader_sees_nothing(stream->reader);
            break;
        case EVENT_READ_NOTHING:
            return stream->out.len > 0;
        case EVENT_READ_QUIET:
            buf_add_str(&stream->out, ":\n\n");
            return true;
        case EVENT_READ_CUT:
            stream->finished = true;
            break;
        }
    }
    return true;
}

static ptrdiff_t pull(void *data, char *out, size_t cap)
{
    struct event_stream *stream = data;
    size_t n;

    if (stream->out_at == stream->out.len) {
        buf_reset(&stream->out);
        stream->out_at = 0;
        if (!gather(stream, cap))
            return STREAM_WAIT;
    }
    n = stream->out.len - stream->out_at;
    if (n == 0 || stream->out.failed) /* the end; without memory the client comes back */
        return STREAM_END;
    n = n < cap ? n : cap;
    memcpy(out, stream->out.data + stream->out_at, n);
    stream->out_at += n;
    return (ptrdiff_t)n;
}

static void stream_free(void *data)
{
    struct event_stream *stream = data;

    event_reader_close(stream->reader);
    buf_clear(&stream->out);
    mem_free(stream);
}

static void add_gap(struct event_stream *stream)
{
    uint64_t behind;

    if (event_reader_missed(stream->reader, &behind))
        buf_addf(&stream->out, "id: %llu\nevent: gap\ndata: {\"behind\":%llu}\n\n",
                 (unsigned long long)behind, (unsigned long long)behind);
}

/* The end of a job that no kept event tells. */
static void add_end(struct event_stream *stream, const struct api *api,
                    const struct job_view *view)
{
    struct event event = { .id = dispatch_newest_event(api->dispatch),
                           .kind = event_of_end(view->status->state),
                           .job = view->spec->id,
                           .owner = view->spec->owner,
                           .state = view->status->state,
                           .total = job_items(view->spec, view->status),
                           .completed = view->status->completed,
                           .failed = view->status->failed };

    event_write(&stream->out, &event);
    stream->finished = true;
}

/* NULL after an answer. */
static struct event_stream *open_stream(struct api *api, struct request *request,
                                        const struct event_from *from)
{
    struct event_stream *stream = mem_zalloc(sizeof(*stream));

    if (!stream) {
        api_problem_status(request, ST_NO_MEMORY);
        return NULL;
    }
    stream->request = request;
    stream->of_job = from->job != NULL;
    stream->reader = dispatch_follow(api->dispatch, from, on_more, stream);
    if (!stream->reader) {
        mem_free(stream);
        api_problem_retry(request, PROBLEM_TOO_MANY_WAITERS,
                          "as many requests as max_waiters allows are waiting");
        return NULL;
    }
    buf_addf(&stream->out, "retry: %d\n\n", RETRY_MS);
    add_gap(stream);
    return stream;
}

static void start_stream(struct request *request, struct event_stream *stream)
{
    struct reply head;

    reply_init(&head, 200, "text/event-stream");
    reply_header(&head, "Cache-Control", "no-store");
    request_stream(request, &head, pull, stream_free, stream);
}

/* Where the client wants to go on: the header counts more than the parameter, since an
 * EventSource that comes back sends it beside the URL that it was made with. */
static bool read_from(struct request *request, struct event_from *ret_from)
{
    struct query_param params[] = { { .name = "last_event_id",
                                      .ret_number = &ret_from->after } };
    const char *header = request_header(request, "Last-Event-ID");
    char *end;

    if (!api_query(request, params, 1))
        return false;
    ret_from->owner = api_only_owner(request);
    ret_from->resumes = params[0].seen;
    if (!header || !header[0])
        return true;
    errno = 0;
    ret_from->after = strtoull(header, &end, 10);
    if (header[0] < '0' || header[0] > '9' || *end || errno) {
        api_problem(request, PROBLEM_INVALID_PARAMETER,
                    "Last-Event-ID: \"%.64s\" is not the id of an event", header);
        return false;
    }
    ret_from->resumes = true;
    return true;
}

void api_events(struct api *api, struct request *request, struct text param)
{
    struct event_from from = { 0 };
    struct event_stream *stream;

    (void)param;
    if (!read_from(request, &from))
        return;
    stream = open_stream(api, request, &from);
    if (stream)
        start_stream(request, stream);
}

static void follow_job(struct api *api, struct request *request,
                       const struct job_view *view, void *data)
{
    struct event_from *from = data;
    struct event_stream *stream;
    struct reply reply;
    uint64_t behind;

    from->job = &view->spec->id;
    stream = open_stream(api, request, from);
    if (!stream)
        return;
    if (job_state_final(view->status->state) && !event_reader_sees_end(stream->reader)) {
        if (from->resumes && !event_reader_missed(stream->reader, &behind)) {
            stream_free(stream);
            reply_init(&reply, 204, NULL);
            request_reply(request, &reply);
            return;
        }
        add_end(stream, api, view);
    }
    start_stream(request, stream);
}

void api_job_events(struct api *api, struct request *request, struct text param)
{
    struct event_from *from = mem_zalloc(sizeof(*from));
    struct lookup lookup = { .then = follow_job, .data = from };

    if (!from) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    if (!api_job_id(request, param, &lookup.id) || !read_from(request, from)) {
        mem_free(from);
        return;
    }
    api_lookup(api, request, &lookup);
}
