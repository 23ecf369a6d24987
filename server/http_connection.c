/* SPDX-License-Identifier: MIT */
/*
 * Connections, and by when something has to come of each.
 *
 * The library's time-out begins anew with each byte: who sends one every other second holds
 * a connection for ever. So there is an end to each state in which a client is waited for:
 *
 *     accepted ─── header_timeout ───> first request's headers
 *     idle ─────── idle_timeout, then header_timeout ───> next request's headers
 *     body ─────── body_timeout ───> its end
 *     answer ───── answer_timeout ───> TAKEN_MIN more of it taken, or all
 *
 * Each state takes equally long for all, so its connections lie in a list with the first to
 * end in front. Whose time is up is shut down, and the library, which finds the end of the
 * file, closes it. While a request waits for its answer or is answered by a stream, and of
 * one that is fed from its first line on, nothing is due: a stream holds no more than a
 * block, and ends when nothing moves for idle_timeout.
 *
 * Who takes an answer slowly holds its memory. How much he has taken only the kernel knows,
 * which counts the bytes that his side has acknowledged since the connection began. It is
 * asked when time is up, and not before, so answers that leave at once cost no system call;
 * what earlier answers on the connection have added is to the client's advantage, once.
 * Whose time is up then is reset, or the kernel would go on trying to send what it has.
 *
 * When there are more connections than max_connections, the one that has been idle longest
 * has to go; or else the one that has been without a request longest. So a flood of idle
 * connections pushes out itself. Those that have a request stay; for what comes while all
 * are at work there are HTTP_RESERVED more places, see http_is_crowded.
 */
#include "server/http_private.h"
#include "server/http_tls.h"

#include "common/fd.h"
#include "common/mem.h"

#include <errno.h>
#include <sys/socket.h>

#define TAKEN_MIN (64u << 10) /* bytes of an answer in answer_timeout */

struct connection {
    TAILQ_ENTRY(connection) link; /* unless nothing is expected */
    int fd;
    enum expectation expected;
    uint64_t due_ms; /* the loop's time */
    uint64_t
        taken; /* bytes that the client had acknowledged when it was last looked at */
};

static void forget(struct http *http, struct connection *connection)
{
    if (connection->expected != EXPECT_NOTHING)
        TAILQ_REMOVE(&http->expecting[connection->expected], connection, link);
    connection->expected = EXPECT_NOTHING;
}

static uint64_t patience_ms(const struct http *http, enum expectation what)
{
    const struct http_options *options = &http->options;

    switch (what) {
    case EXPECT_BODY:
        return options->body_timeout_ms;
    case EXPECT_TAKEN:
        return options->answer_timeout_ms;
    case EXPECT_REQUEST:
        return options->idle_timeout_s * 1000ull + options->header_timeout_ms;
    default:
        return options->header_timeout_ms;
    }
}

static void expect(struct http *http, struct connection *connection,
                   enum expectation what)
{
    forget(http, connection);
    connection->expected = what;
    if (what == EXPECT_NOTHING)
        return;
    connection->due_ms = uv_now(http->housekeeping.loop) + patience_ms(http, what);
    TAILQ_INSERT_TAIL(&http->expecting[what], connection, link);
}

static void shut(struct http *http, struct connection *connection)
{
    forget(http, connection);
    (void)shutdown(connection->fd, SHUT_RDWR);
}

/* The same without sending what the kernel still has. */
static void reset(struct http *http, struct connection *connection)
{
    const struct linger none = { .l_onoff = 1, .l_linger = 0 };

    (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    shut(http, connection);
}

/* Whether the client has taken enough since it was last looked at. */
static bool has_taken(struct connection *connection)
{
    uint64_t enough = connection->taken + TAKEN_MIN;

    connection->taken = fd_acknowledged(connection->fd);
    return connection->taken >= enough;
}

/* False: all are at work. */
static bool make_room(struct http *http)
{
    struct connection *oldest = TAILQ_FIRST(&http->expecting[EXPECT_REQUEST]);

    if (!oldest)
        oldest = TAILQ_FIRST(&http->expecting[EXPECT_HEADERS]);
    if (oldest)
        shut(http, oldest);
    return oldest != NULL;
}

void http_set_max_connections(struct http *http, unsigned max_connections)
{
    unsigned over =
        http->connections > max_connections ? http->connections - max_connections : 0;

    http->options.max_connections = max_connections;
    while (over > 0 && make_room(http))
        over--;
}

int http_socket_of(struct MHD_Connection *library)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(library, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

gnutls_session_t http_session_of(struct MHD_Connection *library)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(library, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    return info ? (gnutls_session_t)info->tls_session : NULL;
}

ssize_t http_write(int fd, gnutls_session_t session, const char *bytes, size_t len)
{
    ssize_t n;

    if (session)
        return http_tls_send(session, bytes, len);
    do {
        n = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n;
}

void http_on_connection(void *cls, struct MHD_Connection *library, void **context,
                        enum MHD_ConnectionNotificationCode code)
{
    struct http *http = cls;
    struct connection *connection = *context;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        http->connections--;
        if (connection)
            forget(http, connection);
        mem_free(connection);
        *context = NULL;
        return;
    }
    if (++http->connections > http->options.max_connections)
        (void)make_room(http);
    connection = mem_alloc(sizeof(*connection));
    *context = connection;
    if (!connection) {
        (void)shutdown(http_socket_of(library), SHUT_RDWR);
        return;
    }
    connection->fd = http_socket_of(library);
    connection->expected = EXPECT_NOTHING;
    connection->taken = 0;
    expect(http, connection, EXPECT_HEADERS);
}

struct connection *http_connection_of(struct MHD_Connection *library)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(library, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

void http_expect(struct request *request, enum expectation what)
{
    struct connection *connection = request->of;

    if (!connection || connection->expected == what)
        return;
    expect(request->http, connection, what);
}

/* The library goes by edges of what epoll tells, and one that comes together with the last
 * bytes of a client that closes its side is lost. */
static bool has_left(const struct connection *connection)
{
    char byte;

    return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void shut_those_who_left(struct http *http, enum expectation what)
{
    struct connection *connection, *next;

    for (connection = TAILQ_FIRST(&http->expecting[what]); connection;
         connection = next) {
        next = TAILQ_NEXT(connection, link);
        if (has_left(connection))
            shut(http, connection);
    }
}

void http_connections_look(struct http *http)
{
    uint64_t now_ms = uv_now(http->housekeeping.loop);

    /* Whoever has closed his side may still take an answer. */
    for (unsigned i = 0; i < EXPECT_TAKEN; i++)
        shut_those_who_left(http, i);
    for (unsigned i = 0; i < EXPECT_NOTHING; i++) {
        struct connection *first;

        while ((first = TAILQ_FIRST(&http->expecting[i])) && first->due_ms <= now_ms) {
            if (i != EXPECT_TAKEN)
                shut(http, first);
            else if (has_taken(first))
                expect(http, first, EXPECT_TAKEN);
            else
                reset(http, first);
        }
    }
}

unsigned http_max_connections(const struct http *http)
{
    return http->options.max_connections;
}

bool http_is_crowded(const struct http *http)
{
    return http->connections > http->options.max_connections;
}
