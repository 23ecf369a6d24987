/* SPDX-License-Identifier: MIT */
/*
 * Requests that are fed: the body is taken as it comes, and the answer begins before its end.
 *
 * The library cannot do that (0.9.75: a response queued in the middle of a body is refused),
 * but it need not know. It goes on reading and decoding the body; the answer is written to
 * the connection's socket here, on a duplicate of its descriptor, and ends the connection:
 *
 *     headers ──> on_request ──> request_take          wrong: answered by the library
 *     body    ──> intake; not all taken: suspended, and TCP pushes back
 *     answer  ──> out ──> socket; full: watched until it can be written
 *
 * When the answer has left, nothing more is written (shutdown). What still comes of the
 * body is read and thrown away, so that the client gets to read all of the answer; when the
 * body is complete, or after idle_timeout, the library is made to close the connection: by
 * refusing its next call, or by an end of file.
 *
 * Under TLS both use the connection's session, from the same thread: GnuTLS lets one side
 * read and the other write in turns of any kind.
 *
 * The library never writes meanwhile: it has sent "100 Continue" before the first byte of
 * the body is read, and no response is ever queued.
 */
#include "server/http_private.h"
#include "server/http_tls.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK      (64u * 1024) /* that a stream is asked for at once */
#define RUN_BLOCKS 8            /* in one turn of the loop */
#define CHUNK_HEAD 10           /* "0000ffff" CR LF */

struct duplex {
    uv_poll_t poll;
    struct request *request; /* NULL: it is over, and the handle closes */
    const struct intake *intake;
    void *intake_data;
    bool chunked;  /* the client knows the chunked transfer coding */
    bool begun;    /* bytes of the body have come, or its end */
    bool complete; /* all of the body is here */
    bool taken;    /* the intake has heard of the end, or need not */
    bool held;     /* the connection is suspended */
    bool cut;      /* the connection is to be closed by the library's next call */
    uint64_t
        heard_ns; /* CLOCK_MONOTONIC: the client was last heard of, or not waited for */

    bool opened;              /* there is an answer: fd and the handle are there */
    int fd;                   /* duplicate */
    gnutls_session_t session; /* NULL: without TLS */
    struct buf out;
    size_t out_at;
    stream_pull *pull; /* NULL: nothing follows `out` */
    void (*on_free)(void *data);
    void *data;
    bool blocked;      /* the socket is full */
    bool left;         /* the client has closed its side, or takes nothing */
    bool said;         /* all of the answer is with the kernel */
    uint64_t moved_ns; /* when it took something for the last time */
    bool ready;
    TAILQ_ENTRY(duplex) ready_link;
};

/* ---- the body ---------------------------------------------------------------------- */

bool http_feed(struct request *request, const char *version)
{
    struct duplex *duplex = mem_zalloc(sizeof(*duplex));

    if (!duplex)
        return false;
    duplex->request = request;
    duplex->chunked = strcmp(version, "HTTP/1.0") != 0;
    duplex->heard_ns = clock_mono_ns();
    duplex->fd = -1;
    request->duplex = duplex;
    request->phase = REQUEST_FED;
    TAILQ_INSERT_TAIL(&request->http->fed, request, link);
    return true;
}

bool request_is_fed(const struct request *request)
{
    return request->duplex;
}

bool http_answers_duplex(const struct request *request)
{
    return request->duplex && request->duplex->begun;
}

void request_take(struct request *request, const struct intake *intake, void *data)
{
    request->duplex->intake = intake;
    request->duplex->intake_data = data;
}

static void hold(struct duplex *duplex)
{
    duplex->held = true;
    MHD_suspend_connection(duplex->request->connection);
}

static void release(struct duplex *duplex)
{
    if (!duplex->held)
        return;
    duplex->held = false;
    duplex->request->http->resumed = true;
    MHD_resume_connection(duplex->request->connection);
}

void request_take_more(struct request *request)
{
    if (!request->duplex->complete)
        release(request->duplex);
}

/* The connection is to be closed, whatever it is at. */
static void cut(struct duplex *duplex)
{
    duplex->cut = true;
    if (duplex->held)
        release(duplex);
    else if (duplex->fd >= 0)
        (void)shutdown(duplex->fd, SHUT_RDWR);
}

static void end_intake(struct duplex *duplex, enum intake_end end)
{
    if (duplex->taken)
        return;
    duplex->taken = true;
    if (duplex->intake)
        duplex->intake->on_end(duplex->intake_data, end);
}

enum MHD_Result http_fed_access(struct request *request, const char *bytes, size_t *len)
{
    struct duplex *duplex = request->duplex;
    size_t taken = *len;

    duplex->begun = true;
    if (duplex->cut || (duplex->complete && duplex->said))
        return MHD_NO;
    if (!duplex->taken)
        duplex->heard_ns = clock_mono_ns();
    if (!*len) {
        duplex->complete = true;
        end_intake(duplex, INTAKE_COMPLETE);
        if (duplex->cut || duplex->said)
            return MHD_NO;
        hold(duplex); /* until the answer is over */
        return MHD_YES;
    }
    request->bytes_in += *len;
    if (!duplex->taken)
        taken = duplex->intake->on_bytes(duplex->intake_data, bytes, *len);
    if (duplex->taken) /* it may be so by now */
        taken = *len;
    *len -= taken;
    request->bytes_in -= *len; /* it comes again */
    if (*len)
        hold(duplex);
    return duplex->cut ? MHD_NO : MHD_YES;
}

/* ---- the answer -------------------------------------------------------------------- */

static void get_ready(struct duplex *duplex)
{
    if (duplex->ready || !duplex->opened)
        return;
    duplex->ready = true;
    TAILQ_INSERT_TAIL(&duplex->request->http->ready, duplex, ready_link);
}

static void not_ready(struct duplex *duplex)
{
    if (duplex->ready)
        TAILQ_REMOVE(&duplex->request->http->ready, duplex, ready_link);
    duplex->ready = false;
}

/* Nobody is told any more that the client has left. */
static void free_stream(struct duplex *duplex)
{
    if (duplex->pull)
        duplex->on_free(duplex->data);
    duplex->pull = NULL;
    duplex->request->on_left = NULL;
}

/* All is said: the connection ends with the body. */
static void finish(struct duplex *duplex)
{
    duplex->said = true;
    end_intake(duplex,
               INTAKE_BROKEN); /* an answer that is cut off takes the rest along */
    (void)uv_poll_stop(&duplex->poll);
    if (duplex->session)
        http_tls_end(duplex->session);
    (void)shutdown(duplex->fd, SHUT_WR);
    duplex->heard_ns = clock_mono_ns();
    if (duplex->complete)
        cut(duplex);
    else
        release(duplex); /* the rest is thrown away */
}

/* The client reads no more. What it has fed, and may still be on its way, goes on. */
static void leave(struct duplex *duplex)
{
    struct request *request = duplex->request;

    if (duplex->left || duplex->said)
        return;
    duplex->left = true;
    (void)uv_poll_stop(&duplex->poll);
    buf_clear(&duplex->out);
    duplex->out_at = 0;
    if (request->on_left)
        request->on_left(request->left_data);
    free_stream(duplex);
    duplex->said = true;
    if (duplex->complete || duplex->taken)
        cut(duplex);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct duplex *duplex)
{
    int events = UV_DISCONNECT | (duplex->blocked ? UV_WRITABLE : 0);

    (void)uv_poll_start(&duplex->poll, events, on_poll);
}

/* Whether all of `out` has been written. */
static bool flush(struct duplex *duplex)
{
    struct buf *out = &duplex->out;

    while (duplex->out_at < out->len) {
        ssize_t n = http_write(duplex->fd, duplex->session, out->data + duplex->out_at,
                               out->len - duplex->out_at);

        if (n < 0 && errno != EAGAIN) {
            leave(duplex);
            return false;
        }
        if (n < 0) {
            duplex->blocked = true;
            watch(duplex);
            return false;
        }
        duplex->out_at += (size_t)n;
        duplex->request->bytes_out += (size_t)n;
        duplex->moved_ns = clock_mono_ns();
    }
    buf_reset(out);
    duplex->out_at = 0;
    return true;
}

/* The stream's next block as a chunk; *ret_n as stream_pull gives it. */
static void pull_block(struct duplex *duplex, ptrdiff_t *ret_n)
{
    struct buf *out = &duplex->out;
    size_t head = duplex->chunked ? CHUNK_HEAD : 0;
    char size[CHUNK_HEAD + 1]; /* BLOCK has fewer digits */

    *ret_n = STREAM_END;
    if (!buf_reserve(out, head + BLOCK + 2))
        return; /* cut off */
    *ret_n = duplex->pull(duplex->data, out->data + head, BLOCK);
    if (*ret_n <= 0)
        return;
    out->len = head + (size_t)*ret_n;
    if (!duplex->chunked)
        return;
    (void)snprintf(size, sizeof(size), "%08x\r\n", (unsigned)*ret_n);
    memcpy(out->data, size, CHUNK_HEAD);
    buf_add_str(out, "\r\n");
}

static void run_one(struct duplex *duplex)
{
    ptrdiff_t n;

    for (int i = 0; i < RUN_BLOCKS; i++) {
        if (duplex->blocked || duplex->said || !flush(duplex))
            return;
        if (!duplex->pull) {
            finish(duplex);
            return;
        }
        pull_block(duplex, &n);
        if (n == STREAM_WAIT && !duplex->request->http->closing)
            return;
        if (n > 0)
            continue;
        free_stream(duplex);
        if (duplex->chunked)
            buf_add_str(&duplex->out, "0\r\n\r\n");
    }
    get_ready(duplex);
}

void http_duplex_run(struct http *http)
{
    struct duplex *last = TAILQ_LAST(&http->ready, duplex_list), *duplex;

    while (last && (duplex = TAILQ_FIRST(&http->ready))) {
        bool was_last = duplex == last;

        not_ready(duplex);
        run_one(duplex);
        if (was_last)
            break;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct duplex *duplex = poll->data;

    if (status < 0 || (events & UV_DISCONNECT)) {
        leave(duplex);
        return;
    }
    duplex->blocked = false;
    watch(duplex);
    get_ready(duplex);
}

/* From here on the answer is ours. false: it cannot be given. */
static bool open_answer(struct duplex *duplex)
{
    struct request *request = duplex->request;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    assert(!duplex->opened);
    duplex->fd = info ? fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (duplex->fd < 0 ||
        uv_poll_init(request->http->poll.loop, &duplex->poll, duplex->fd) != 0) {
        log_error("a request that is fed cannot be answered", "error=%s",
                  strerror(errno));
        fd_close(&duplex->fd);
        cut(duplex);
        return false;
    }
    duplex->poll.data = duplex;
    duplex->opened = true;
    duplex->session = http_session_of(request->connection);
    duplex->moved_ns = clock_mono_ns();
    /* Idle is looked after here from now on: who waits for a result feeds nothing. */
    (void)MHD_set_connection_option(request->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                    0u);
    http_expect(request, EXPECT_NOTHING);
    watch(duplex);
    return true;
}

static void write_head(struct duplex *duplex, const struct reply *reply)
{
    struct buf *out = &duplex->out;
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    char date[32];

    duplex->request->status = reply->status;
    (void)gmtime_r(&now, &tm);
    (void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buf_addf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\n", reply->status,
             MHD_get_reason_phrase_for((unsigned)reply->status), date);
    if (reply->content_type)
        buf_addf(out, "Content-Type: %s\r\n", reply->content_type);
    buf_addf(out, "X-Content-Type-Options: nosniff\r\nX-Request-Id: %s\r\n",
             duplex->request->id);
    for (size_t i = 0; i < reply->header_count; i++)
        buf_addf(out, "%s: %s\r\n", reply->headers[i].name, reply->headers[i].value);
}

static void begin_answer(struct duplex *duplex)
{
    if (duplex->out.failed)
        leave(duplex);
    else
        get_ready(duplex);
}

void http_duplex_reply(struct request *request, struct reply *reply)
{
    struct duplex *duplex = request->duplex;
    struct buf *out = &duplex->out;
    size_t len = reply->body.len + reply->tail.len;

    for (size_t i = 0; i < reply->part_count; i++)
        len += reply->parts[i].len;
    duplex->taken = true;
    if (open_answer(duplex)) {
        write_head(duplex, reply);
        buf_addf(out, "Content-Length: %zu\r\n\r\n", len);
        buf_add_text(out, buf_text(&reply->body));
        for (size_t i = 0; i < reply->part_count; i++)
            buf_add_text(out, reply->parts[i]);
        buf_add_text(out, buf_text(&reply->tail));
        out->failed |= reply->body.failed || reply->tail.failed;
        begin_answer(duplex);
    }
    reply_clear(reply);
}

void http_duplex_stream(struct request *request, struct reply *head, stream_pull *pull,
                        void (*on_free)(void *data), void *data)
{
    struct duplex *duplex = request->duplex;

    duplex->pull = pull;
    duplex->on_free = on_free;
    duplex->data = data;
    if (open_answer(duplex)) {
        write_head(duplex, head);
        buf_add_str(&duplex->out,
                    duplex->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
        begin_answer(duplex);
    } else {
        free_stream(duplex);
    }
    reply_clear(head);
}

void http_duplex_wake(struct request *request)
{
    if (request->duplex->pull)
        get_ready(request->duplex);
}

/* ---- those that are idle, and the end ---------------------------------------------- */

/* Since when the client might send something: its last bytes, or the last that it was sent,
 * which may be what it waited for. */
static uint64_t silent_since(const struct duplex *duplex)
{
    return duplex->heard_ns > duplex->moved_ns ? duplex->heard_ns : duplex->moved_ns;
}

static void look_at(struct duplex *duplex, uint64_t now_ns, uint64_t idle_ns)
{
    if (duplex->blocked && !duplex->said && now_ns - duplex->moved_ns > idle_ns)
        leave(duplex);
    if (!duplex->opened || duplex->complete)
        return;
    if (!duplex->taken && !duplex->intake->is_waiting(duplex->intake_data))
        duplex->heard_ns = now_ns;
    if (now_ns - silent_since(duplex) <= idle_ns)
        return;
    if (duplex->taken && duplex->said) {
        cut(duplex); /* it had time to read the answer */
        return;
    }
    end_intake(duplex, INTAKE_IDLE);
    duplex->heard_ns = now_ns;
}

void http_duplex_look(struct http *http)
{
    uint64_t now_ns = clock_mono_ns();
    struct request *request, *next;

    for (request = TAILQ_FIRST(&http->fed); request; request = next) {
        next = TAILQ_NEXT(request, link);
        look_at(request->duplex, now_ns, http->options.idle_timeout_s * NS_PER_SEC);
    }
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct duplex *duplex = handle->data;

    fd_close(&duplex->fd);
    mem_free(duplex);
}

void http_fed_free(struct request *request)
{
    struct duplex *duplex = request->duplex;

    TAILQ_REMOVE(&request->http->fed, request, link);
    not_ready(duplex);
    /* First what the end of the connection means, then that the body is not complete: a
     * job that is to be cancelled with its reader shall not fail instead. */
    free_stream(duplex);
    end_intake(duplex, INTAKE_BROKEN);
    if (duplex->intake)
        duplex->intake->on_free(duplex->intake_data);
    buf_clear(&duplex->out);
    duplex->request = NULL;
    request->duplex = NULL;
    if (duplex->opened)
        uv_close((uv_handle_t *)&duplex->poll, on_poll_closed);
    else
        mem_free(duplex);
}

void http_fed_close_all(struct http *http)
{
    struct request *request, *next;

    for (request = TAILQ_FIRST(&http->fed); request; request = next) {
        next = TAILQ_NEXT(request, link);
        if (request->duplex->opened && !request->duplex->said)
            run_one(request->duplex);
        cut(request->duplex);
    }
}
