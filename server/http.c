/* SPDX-License-Identifier: MIT */
/*
 * libmicrohttpd (0.9.75) in external epoll mode, inside of the loop. What a reader must know:
 *
 * - A suspended connection does not notice that its client has left, and has no time-out:
 *   see http_leave.c.
 * - A resumed connection is looked at in the next MHD_run. The prepare callback of the loop
 *   runs it before the loop sleeps, so all that is answered in one turn leaves together.
 * - To suspend and resume costs three system calls. So a parked request is awake at first:
 *   not suspended, and the library asks for its answer in each MHD_run; the answer then
 *   leaves in the next one. It is suspended once it has waited for HTTP_AWAKE_MS, or at
 *   once where there are many.
 * - MHD_get_timeout says 0 while there is work left that no descriptor will announce
 *   (pipelined requests, for instance); an idle callback then keeps the loop from sleeping.
 *   It also says so for as long as a request is awake. Then there is work left only if a
 *   request was touched in this run and neither parked nor completed; what is missed by that
 *   (headers longer than one read) goes on when the timer of the awake ones fires.
 */
#include "server/http_private.h"
#include "server/http_tls.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#define LISTEN_BACKLOG 1024
/* Of a connection, for the head of a request, the headers of its answer, and pieces of bodies. What
 * is larger is mapped anew for each connection, which takes two more system calls. */
#define CONNECTION_MEMORY (32u * 1024)
#define HOUSEKEEPING_MS   1000

static void run(struct http *http);

static void on_again(uv_idle_t *idle)
{
    run(idle->data);
}

/* Whether there is something to do that nothing will announce. */
static bool has_more(const struct http *http)
{
    unsigned long long timeout_ms;

    if (http->resumed || !TAILQ_EMPTY(&http->ready))
        return true;
    if (http->awake > 0 && http->touched == 0)
        return false;
    return MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES && timeout_ms == 0;
}

/* Until what was answered before has been sent, too. */
static void run_library(struct http *http)
{
    do {
        http->resumed = http->queued = false;
        http->touched = 0;
        http->runs++;
        (void)MHD_run(http->daemon);
    } while (http->queued);
}

static void on_doze(uv_timer_t *timer)
{
    run(timer->data);
}

static void run(struct http *http)
{
    run_library(http);
    if (has_more(http))
        (void)uv_idle_start(&http->again, on_again);
    else
        (void)uv_idle_stop(&http->again);
    if (http->awake > 0 && !uv_is_active((uv_handle_t *)&http->doze))
        (void)uv_timer_start(&http->doze, on_doze, HTTP_AWAKE_MS, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct http *http = prepare->data;

    http_duplex_run(http);
    if (http->resumed || !TAILQ_EMPTY(&http->ready))
        run(http);
}

static void on_housekeeping(uv_timer_t *timer)
{
    http_duplex_look(timer->data);
    http_watch_parked(timer->data);
    http_connections_look(timer->data);
    run(timer->data);
}

static void on_watch_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    http_on_watch(poll->data);
}

PRINTF(2, 0)
static void on_library_log(void *cls, const char *format, va_list args)
{
    char line[512];

    (void)cls;
    (void)vsnprintf(line, sizeof(line), format, args);
    line[strcspn(line, "\n")] = '\0';
    log_debug("http library", "text=\"%s\"", line);
}

/* ---- life cycle -------------------------------------------------------------------- */

static enum status listen_socket(const struct http_options *options, int *ret_fd,
                                 uint16_t *ret_port, struct error_text *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
    struct addrinfo *address = NULL;
    struct sockaddr_storage bound;
    socklen_t bound_len = sizeof(bound);
    char port[8];
    bool v6 = strchr(options->host, ':') != NULL;
    int fd = -1, on = 1;
    enum status st = ST_IO;

    (void)snprintf(port, sizeof(port), "%u", options->port);
    if (getaddrinfo(options->host, port, &hints, &address) != 0)
        return error_set(err, ST_INVALID,
                         "cannot listen on %s: it is not a numeric address",
                         options->host);
    fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) < 0 ||
        listen(fd, LISTEN_BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &bound_len) < 0) {
        st = errno == EADDRINUSE ? ST_BUSY : errno == EACCES ? ST_DENIED : ST_IO;
        (void)error_set(err, st, "cannot listen on %s%s%s:%u: %s%s", v6 ? "[" : "",
                        options->host, v6 ? "]" : "", options->port, strerror(errno),
                        st == ST_BUSY
                            ? "; stop the other program or choose another address "
                              "with --listen HOST:PORT"
                            : "");
        fd_close(&fd);
    } else {
        *ret_port =
            ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                              : ((struct sockaddr_in *)&bound)->sin_port);
        *ret_fd = fd;
        st = ST_OK;
    }
    freeaddrinfo(address);
    return st;
}

/* The library reads into one half, and has the other one for what it makes of that, 56 bytes for
 * each header, and for the answer. A head that is a little too large in one respect has to fit, or
 * the library refuses it without our saying why. */
static size_t connection_memory(const struct gate_limits *gate)
{
    size_t text = gate->uri_bytes + gate->header_bytes + 32 * gate->headers + 4096;
    size_t rest = 64 * (size_t)gate->headers + 8192;
    size_t half = text > rest ? text : rest;

    return 2 * half > CONNECTION_MEMORY ? 2 * half : CONNECTION_MEMORY;
}

static struct MHD_Daemon *start_daemon(struct http *http, int listen_fd)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[] = {
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)HTTP_TLS_PRIORITIES },
        { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)http_tls_retrieve },
        { MHD_OPTION_END, 0, NULL },
    };
    struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };

    if (http->options.tls)
        flags |= MHD_USE_TLS;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_on_access, http, MHD_OPTION_EXTERNAL_LOGGER,
        on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_URI_LOG_CALLBACK, http_on_uri, http, MHD_OPTION_NOTIFY_COMPLETED,
        http_on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, http,
        MHD_OPTION_CONNECTION_LIMIT, http->options.max_connections + HTTP_RESERVED,
        MHD_OPTION_CONNECTION_TIMEOUT, http->options.idle_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, connection_memory(&http->options.gate),
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, http->options.tls ? tls : none,
        MHD_OPTION_END);
}

static void start_handles(struct http *http, uv_loop_t *loop, int epoll_fd)
{
    http->poll.data = http->watch_poll.data = http->prepare.data = http;
    http->again.data = http->housekeeping.data = http->doze.data = http;
    (void)uv_poll_init(loop, &http->poll, epoll_fd);
    (void)uv_poll_init(loop, &http->watch_poll, http->watch_fd);
    (void)uv_prepare_init(loop, &http->prepare);
    (void)uv_idle_init(loop, &http->again);
    (void)uv_timer_init(loop, &http->housekeeping);
    (void)uv_timer_init(loop, &http->doze);
    http->open_handles = 6;
    (void)uv_poll_start(&http->poll, UV_READABLE, on_poll);
    (void)uv_poll_start(&http->watch_poll, UV_READABLE, on_watch_poll);
    (void)uv_prepare_start(&http->prepare, on_prepare);
    (void)uv_timer_start(&http->housekeeping, on_housekeeping, HOUSEKEEPING_MS,
                         HOUSEKEEPING_MS);
}

static uint64_t first_id_state(void)
{
    uint64_t state = clock_mono_ns();

    (void)getrandom(&state, sizeof(state), GRND_NONBLOCK);
    return state;
}

enum status http_open(uv_loop_t *loop, const struct http_options *options,
                      http_on_request *on_request, void *data, struct http **ret_http,
                      struct error_text *err)
{
    struct http *http = mem_zalloc(sizeof(*http));
    const union MHD_DaemonInfo *info;
    int listen_fd = -1;
    enum status st;

    if (!http)
        return error_set(err, ST_NO_MEMORY, "no memory to listen");
    http->options = *options;
    http->id_state = first_id_state();
    http->on_request = on_request;
    http->data = data;
    for (unsigned i = 0; i < EXPECT_NOTHING; i++)
        TAILQ_INIT(&http->expecting[i]);
    TAILQ_INIT(&http->parked);
    TAILQ_INIT(&http->fed);
    TAILQ_INIT(&http->ready);
    st = listen_socket(options, &listen_fd, &http->port, err);
    if (st != ST_OK)
        goto out_free;
    http->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    http->daemon = http->watch_fd < 0 ? NULL : start_daemon(http, listen_fd);
    if (!http->daemon) {
        st = error_set(err, ST_IO, "cannot start the HTTP server on %s:%u: %s",
                       options->host, options->port, strerror(errno));
        goto out_close;
    }
    info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    start_handles(http, loop, info->epoll_fd);
    *ret_http = http;
    return ST_OK;
out_close:
    fd_close(&listen_fd);
    fd_close(&http->watch_fd);
out_free:
    mem_free(http);
    return st;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

unsigned http_connections(const struct http *http)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return info ? info->num_connections : 0;
}

void http_quiesce(struct http *http)
{
    int listen_fd;

    if (http->quiescing)
        return;
    http->quiescing = true;
    listen_fd = MHD_quiesce_daemon(http->daemon);
    fd_close(&listen_fd);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http *http = handle->data;
    void (*on_closed)(void *data) = http->on_closed;
    void *data = http->closed_data;

    if (--http->open_handles)
        return;
    fd_close(&http->watch_fd);
    mem_free(http);
    on_closed(data);
}

/* No connection may be suspended when the library stops. */
static void resume_all(struct http *http)
{
    struct request *request;

    while ((request = TAILQ_FIRST(&http->parked))) {
        void (*on_gone)(void *data) = request->on_gone;

        request->on_gone = NULL;
        if (on_gone)
            on_gone(request->gone_data);
        http_refuse(request, PROBLEM_SHUTTING_DOWN, "the server is shutting down");
    }
}

void http_close(struct http *http, void (*on_closed)(void *data), void *data)
{
    http->on_closed = on_closed;
    http->closed_data = data;
    http->closing = true;
    http_quiesce(http);
    resume_all(http);
    http_fed_close_all(http);
    /* The handles first: they must not outlive the descriptors that the library closes.
     */
    uv_close((uv_handle_t *)&http->poll, on_handle_closed);
    uv_close((uv_handle_t *)&http->watch_poll, on_handle_closed);
    uv_close((uv_handle_t *)&http->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&http->again, on_handle_closed);
    uv_close((uv_handle_t *)&http->housekeeping, on_handle_closed);
    uv_close((uv_handle_t *)&http->doze, on_handle_closed);
    run_library(http);
    MHD_stop_daemon(http->daemon);
}
