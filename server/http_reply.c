/* SPDX-License-Identifier: MIT */
/*
 * Answers and streams. An answer to a parked request is kept until its connection has
 * been resumed and the library asks for it; see http_request.c.
 */
#include "server/http_private.h"

#include "common/log.h"
#include "common/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STREAM_BLOCK  (64u * 1024)
#define RETRY_AFTER_S 1
/* Pieces of an answer. Of more than the kernel takes at a time (IOV_MAX, 1024) the library
 * loses count: it aborts, or waits for room that there is already. */
#define PIECES_MAX   1000
#define PIECES_BLOCK (256u * 1024)

void reply_init(struct reply *reply, int status, const char *content_type)
{
    reply->status = status;
    reply->problem = PROBLEM_COUNT;
    reply->content_type = content_type;
    reply->header_count = 0;
    reply->body = (struct buf)BUF_INIT;
    reply->blobs = NULL;
    reply->parts = NULL;
    reply->part_count = reply->part_cap = 0;
    reply->tail = (struct buf)BUF_INIT;
}

void reply_init_problem(struct reply *reply, enum problem problem, struct text detail)
{
    reply_init(reply, problem_infos[problem].status, "application/problem+json");
    reply->problem = problem;
    problem_open(&reply->body, problem, detail);
}

void reply_header(struct reply *reply, const char *name, const char *format, ...)
{
    va_list args;

    assert(reply->header_count < REPLY_HEADERS_MAX);
    va_start(args, format);
    (void)vsnprintf(reply->headers[reply->header_count].value, REPLY_VALUE_MAX, format,
                    args);
    va_end(args);
    reply->headers[reply->header_count++].name = name;
}

void reply_header_text(struct reply *reply, const char *name, const char *value)
{
    size_t len = strnlen(value, REPLY_VALUE_MAX - 1);

    assert(reply->header_count < REPLY_HEADERS_MAX);
    memcpy(reply->headers[reply->header_count].value, value, len);
    reply->headers[reply->header_count].value[len] = '\0';
    reply->headers[reply->header_count++].name = name;
}

bool reply_add_part(struct reply *reply, struct blob *blob, struct text text)
{
    if (reply->part_count == reply->part_cap) {
        size_t cap = reply->part_cap ? reply->part_cap * 2 : 16;
        struct blob **blobs = mem_realloc(reply->blobs, cap * sizeof(struct blob *));
        struct text *parts;

        if (!blobs)
            return false;
        reply->blobs = blobs;
        parts = mem_realloc(reply->parts, cap * sizeof(*parts));
        if (!parts)
            return false;
        reply->parts = parts;
        reply->part_cap = cap;
    }
    reply->blobs[reply->part_count] = blob_ref(blob);
    reply->parts[reply->part_count++] = text;
    return true;
}

void reply_clear(struct reply *reply)
{
    for (size_t i = 0; i < reply->part_count; i++)
        blob_unref(reply->blobs[i]);
    mem_free(reply->blobs);
    mem_free(reply->parts);
    buf_clear(&reply->body);
    buf_clear(&reply->tail);
    reply_init(reply, 0, NULL);
}

static void free_blob(void *cls)
{
    blob_unref(cls);
}

static void free_parts(void *cls)
{
    struct reply *reply = cls;

    reply_clear(reply);
    mem_free(reply);
}

/* The answer with parts: an iovec over the body, the parts and the tail, which live in a
 * copy of the reply until the answer is sent. */
static struct MHD_Response *response_of_parts(struct reply *reply)
{
    struct reply *kept = mem_alloc(sizeof(*kept));
    struct MHD_IoVec *iov = mem_alloc((reply->part_count + 2) * sizeof(*iov));
    struct MHD_Response *response = NULL;
    unsigned n = 0;

    if (kept && iov) {
        iov[n++] = (struct MHD_IoVec){ reply->body.data, reply->body.len };
        for (size_t i = 0; i < reply->part_count; i++)
            iov[n++] = (struct MHD_IoVec){ reply->parts[i].at, reply->parts[i].len };
        iov[n++] = (struct MHD_IoVec){ reply->tail.data, reply->tail.len };
        response = MHD_create_response_from_iovec(iov, n, free_parts, kept);
    }
    if (response) {
        *kept = *reply;
        reply_init(reply, 0, NULL);
    } else {
        mem_free(kept);
    }
    mem_free(iov);
    return response;
}

/* An answer of more pieces: the library asks for it block by block. */
struct pieces {
    struct request *request;
    struct reply reply;
    size_t at;     /* of the piece that is next: the body, the parts, the tail */
    size_t offset; /* in it */
};

static struct text piece_at(const struct pieces *pieces)
{
    const struct reply *reply = &pieces->reply;

    if (pieces->at == 0)
        return buf_text(&reply->body);
    return pieces->at <= reply->part_count ? reply->parts[pieces->at - 1]
                                           : buf_text(&reply->tail);
}

/* Blocks are asked for in order, and only while there is more. */
static ssize_t read_pieces(void *cls, uint64_t pos, char *block, size_t max)
{
    struct pieces *pieces = cls;
    size_t len = 0;

    (void)pos;
    http_touch(pieces->request);
    while (len < max && pieces->at < pieces->reply.part_count + 2) {
        struct text piece = piece_at(pieces);
        size_t rest = piece.len - pieces->offset;
        size_t some = rest < max - len ? rest : max - len;

        if (some)
            memcpy(block + len, piece.at + pieces->offset, some);
        len += some;
        pieces->offset += some;
        if (some == rest) {
            pieces->at++;
            pieces->offset = 0;
        }
    }
    return len ? (ssize_t)len : MHD_CONTENT_READER_END_OF_STREAM;
}

static void free_pieces(void *cls)
{
    struct pieces *pieces = cls;

    reply_clear(&pieces->reply);
    mem_free(pieces);
}

static uint64_t reply_len(const struct reply *reply)
{
    uint64_t len = reply->body.len + reply->tail.len;

    for (size_t i = 0; i < reply->part_count; i++)
        len += reply->parts[i].len;
    return len;
}

static struct MHD_Response *response_of_pieces(struct request *request,
                                               struct reply *reply)
{
    struct pieces *pieces = mem_zalloc(sizeof(*pieces));
    struct MHD_Response *response = NULL;

    if (pieces)
        response = MHD_create_response_from_callback(reply_len(reply), PIECES_BLOCK,
                                                     read_pieces, pieces, free_pieces);
    if (response) {
        pieces->request = request;
        pieces->reply = *reply;
        reply_init(reply, 0, NULL);
    } else {
        mem_free(pieces);
    }
    return response;
}

static struct MHD_Response *response_of(struct request *request, struct reply *reply)
{
    struct blob *blob;
    struct MHD_Response *response;

    if (reply->body.failed || reply->tail.failed)
        return NULL;
    if (reply->part_count + 2 > PIECES_MAX)
        return response_of_pieces(request, reply);
    if (reply->part_count)
        return response_of_parts(reply);
    if (!reply->body.len)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    blob = buf_take_blob(&reply->body);
    if (!blob)
        return NULL;
    response = MHD_create_response_from_buffer_with_free_callback_cls(
        blob->len, blob->data, free_blob, blob);
    if (!response)
        blob_unref(blob);
    return response;
}

/* draft-ietf-httpapi-ratelimit-headers. */
static void add_rate(const struct request *request, struct reply *reply)
{
    const struct request_tag *tag = &request->tag;

    if (!tag->rate)
        return;
    reply_header(reply, "RateLimit-Policy", "\"key\";q=%llu;w=1",
                 (unsigned long long)tag->rate);
    reply_header(reply, "RateLimit", "\"key\";r=%llu;t=%u",
                 (unsigned long long)tag->remaining, tag->reset_s);
}

static void add_headers(struct request *request, struct MHD_Response *response,
                        const char *content_type, const struct reply *reply)
{
    if (content_type)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                                      content_type);
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(response, "X-Request-Id", request->id);
    for (size_t i = 0; i < reply->header_count; i++)
        (void)MHD_add_response_header(response, reply->headers[i].name,
                                      reply->headers[i].value);
    if (request->http->quiescing)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}

/* Queues now, or when the connection has been resumed. */
static void send_response(struct request *request, struct MHD_Response *response,
                          int status)
{
    bool parked = request->phase == REQUEST_PARKED;

    assert(request->phase != REQUEST_ANSWERED);
    request->phase = REQUEST_ANSWERED;
    request->response = response;
    request->status = status;
    request->on_gone = NULL;
    if (!request->streaming)
        http_unwatch(request);
    if (parked) {
        TAILQ_REMOVE(&request->http->parked, request, link);
        request->http->resumed = true;
        if (!request->awake)
            MHD_resume_connection(request->connection);
    }
}

/* What is left to say when memory for the real answer was refused. */
static void send_without_memory(struct request *request, int status)
{
    static char text[] =
        "{\"type\":\"/problems/no-memory\",\"title\":\"The server is short of "
        "memory\",\"status\":503,\"detail\":\"no memory for the answer\"}";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(sizeof(text) - 1, text, MHD_RESPMEM_PERSISTENT);
    struct reply head;

    log_error("no memory for an answer", "status=%d request_id=%s", status, request->id);
    request->problem = PROBLEM_NO_MEMORY;
    request->bytes_out = sizeof(text) - 1;
    reply_init(&head, problem_infos[PROBLEM_NO_MEMORY].status,
               "application/problem+json");
    reply_header(&head, "Retry-After", "%d", RETRY_AFTER_S);
    if (response)
        add_headers(request, response, head.content_type, &head);
    send_response(request, response, head.status);
}

void request_reply(struct request *request, struct reply *reply)
{
    int status = reply->status;
    const char *content_type = reply->content_type;
    struct reply head;
    struct MHD_Response *response;

    add_rate(request, reply);
    request->problem = reply->problem;
    head = *reply; /* the headers outlive the move of the parts */
    if (http_answers_duplex(request)) {
        http_duplex_reply(request, reply);
        return;
    }
    request->bytes_out = reply_len(reply);
    response = response_of(request, reply);
    if (response)
        add_headers(request, response, content_type, &head);
    reply_clear(reply);
    if (response)
        send_response(request, response, status);
    else
        send_without_memory(request, status);
}

struct stream {
    struct request *request;
    stream_pull *pull;
    void (*on_free)(void *data);
    void *data;
};

static ssize_t stream_read(void *cls, uint64_t pos, char *out, size_t cap)
{
    struct stream *stream = cls;
    struct request *request = stream->request;
    ptrdiff_t n =
        request->stream_left ? STREAM_END : stream->pull(stream->data, out, cap);

    (void)pos;
    /* No connection may be suspended when the library stops. */
    if (n == STREAM_END || (n == STREAM_WAIT && request->http->closing))
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == STREAM_WAIT) {
        (void)http_watch(request);
        request->stream_waits = true;
        MHD_suspend_connection(request->connection);
        return 0;
    }
    http_touch(request);
    request->bytes_out += (size_t)n;
    return n;
}

static void stream_free(void *cls)
{
    struct stream *stream = cls;

    stream->on_free(stream->data);
    mem_free(stream);
}

void request_stream(struct request *request, struct reply *head, stream_pull *pull,
                    void (*on_free)(void *data), void *data)
{
    struct MHD_Response *response = NULL;
    int status = head->status;
    struct stream *stream;

    add_rate(request, head);
    if (http_answers_duplex(request)) {
        http_duplex_stream(request, head, pull, on_free, data);
        return;
    }
    stream = mem_alloc(sizeof(*stream));
    if (stream) {
        *stream = (struct stream){ request, pull, on_free, data };
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                     stream_read, stream, stream_free);
    }
    if (response) {
        request->streaming = true;
        add_headers(request, response, head->content_type, head);
    } else {
        mem_free(stream);
        on_free(data);
    }
    reply_clear(head);
    if (response)
        send_response(request, response, status);
    else
        send_without_memory(request, status);
}

void request_wake(struct request *request)
{
    if (request->duplex) {
        http_duplex_wake(request);
        return;
    }
    if (!request->stream_waits)
        return;
    request->stream_waits = false;
    request->http->resumed = true;
    MHD_resume_connection(request->connection);
}

void http_refuse(struct request *request, enum problem problem, const char *detail)
{
    struct reply reply;

    reply_init_problem(&reply, problem, (struct text){ detail, strlen(detail) });
    buf_add_char(&reply.body, '}');
    reply_header(&reply, "Connection", "close");
    if (reply.status == 401)
        reply_header(&reply, "WWW-Authenticate", "Bearer realm=\"poold\"");
    if (reply.status == 429 || reply.status == 503)
        reply_header(&reply, "Retry-After", "%d", RETRY_AFTER_S);
    request_reply(request, &reply);
}
