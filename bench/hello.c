/* SPDX-License-Identifier: MIT */
/*
 * hello - the least that an HTTP server on libmicrohttpd can do: read a POST's body,
 * answer a small constant JSON text, keep the connection. One thread with epoll, as poold
 * has.
 *
 * The number of requests per second that it answers is the ceiling for poold on the same
 * machine, so bench/run divides poold's number by it.
 *
 *     hello       listens on a free port of 127.0.0.1, prints it, and serves until
 * SIGTERM
 */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* As long as poold's answer to `square`, so both write the same number of bytes. */
static char answer[] = "{\"id\":\"01900000-0000-7000-8000-000000000000\",\"state\":"
                       "\"succeeded\",\"result\":49}";

static enum MHD_Result on_request(void *data, struct MHD_Connection *connection,
                                  const char *url, const char *method,
                                  const char *version, const char *body, size_t *body_len,
                                  void **request)
{
    static int seen;
    struct MHD_Response *response = data;

    (void)url;
    (void)method;
    (void)version;
    (void)body;
    if (!*request) { /* first call: headers only */
        *request = &seen;
        return MHD_YES;
    }
    if (*body_len > 0) {
        *body_len = 0;
        return MHD_YES;
    }
    return MHD_queue_response(connection, MHD_HTTP_OK, response);
}

int main(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct MHD_Response *response;
    struct MHD_Daemon *daemon;
    sigset_t stop;
    int received;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);

    response = MHD_create_response_from_buffer(sizeof(answer) - 1, answer,
                                               MHD_RESPMEM_PERSISTENT);
    if (!response)
        return 1;
    if (MHD_add_response_header(response, "Content-Type", "application/json") != MHD_YES)
        return 1;
    daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_request,
                              response, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
                              MHD_OPTION_LISTEN_BACKLOG_SIZE, 1024u, MHD_OPTION_END);
    if (!daemon)
        return 1;
    printf("hello ready listen=127.0.0.1:%u\n",
           (unsigned)MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    sigwait(&stop, &received);
    MHD_stop_daemon(daemon);
    MHD_destroy_response(response);
    return 0;
}
