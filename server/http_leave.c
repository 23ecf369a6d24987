/* SPDX-License-Identifier: MIT */
/*
 * Clients that leave. The library notices that only of a connection that it reads from or
 * writes to, so not of a parked request, and not of a stream that has nothing to say: their
 * sockets are in an epoll of their own (watch_fd).
 *
 * To put one there and take it out costs two system calls. Who has asked for it
 * (request_watch), and streams, are watched at once. The others once they are suspended and
 * the second has passed in which that happened: short waits pay nothing.
 *
 * Who has closed his side may still read (shutdown(2) behind the request), and TCP does not
 * tell him from who has gone. So he is told something that he has to skip:
 *
 *     end of file ──> "100 Continue" ─┬─> nothing comes back: he reads, and is answered
 *                                     └─> reset: he has left ──> on_left, on_gone, closed
 *
 * Whoever cannot be asked has left: a client of HTTP/1.0 knows no interim answers, and who
 * takes no 25 bytes does not read. The reader of a stream cannot be asked in the middle of
 * it: there the end of file is enough, see docs/design.md.
 */
#include "server/http_private.h"

#include "common/log.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#define RESET ((uint32_t)EPOLLHUP | EPOLLERR)
#define ONCE  ((uint32_t)EPOLLONESHOT)

static bool control(struct request *request, int what, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = request };

    return epoll_ctl(request->http->watch_fd, what, fd, &event) == 0;
}

bool http_watch(struct request *request)
{
    int fd = request->watched_fd;

    if (fd >= 0)
        return true;
    fd = http_socket_of(request->connection);
    if (!control(request, EPOLL_CTL_ADD, fd, EPOLLRDHUP | RESET | ONCE)) {
        log_warn("cannot watch a client, it will not be noticed if it leaves", "error=%s",
                 strerror(errno));
        return false;
    }
    request->watched_fd = fd;
    return true;
}

void http_unwatch(struct request *request)
{
    if (request->watched_fd < 0)
        return;
    (void)control(request, EPOLL_CTL_DEL, request->watched_fd, 0);
    request->watched_fd = -1;
}

void http_watch_parked(struct http *http)
{
    struct request *request;

    TAILQ_FOREACH (request, &http->parked, link)
        if (!request->awake && !request->left && !http_watch(request))
            return; /* it is tried again */
}

void request_watch(struct request *request, void (*on_left)(void *data), void *data)
{
    request->on_left = on_left;
    request->left_data = data;
    if (!http_answers_duplex(request)) /* it looks for itself */
        (void)http_watch(request);
}

/* Whether he takes what somebody who still reads would. A reset may follow. */
static bool takes_more(const struct request *request)
{
    static const char still_here[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t len = sizeof(still_here) - 1;

    return request->interim &&
           http_write(request->watched_fd, http_session_of(request->connection),
                      still_here, len) == (ssize_t)len;
}

/* The library closes the connection when it asks for the answer, and http_on_completed says
 * that it has gone. */
static void give_up(struct request *request)
{
    void (*on_left)(void *data) = request->on_left;

    http_unwatch(request);
    request->on_left = NULL;
    if (on_left)
        on_left(request->left_data);
    if (request->phase != REQUEST_PARKED)
        return; /* it was answered by that */
    request->left = true;
    request->http->resumed = true;
    if (!request->awake)
        MHD_resume_connection(request->connection);
}

static void stream_left(struct request *request)
{
    http_unwatch(request);
    if (request->on_left)
        request->on_left(request->left_data);
    request->stream_left = true;
    request_wake(request);
}

void http_on_watch(struct http *http)
{
    struct epoll_event event;

    /* One at a time: the callback may answer, and so free, other requests of the same
     * batch. */
    while (epoll_wait(http->watch_fd, &event, 1, 0) == 1) {
        struct request *request = event.data.ptr;

        if (request->streaming)
            stream_left(request);
        else if ((event.events & RESET) || !takes_more(request) ||
                 !control(request, EPOLL_CTL_MOD, request->watched_fd, RESET | ONCE))
            give_up(request);
    }
}
