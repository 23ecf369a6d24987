/* SPDX-License-Identifier: MIT */
/*
 * What http.c (the loop and the library's life), http_request.c (requests as they come
 * in), http_reply.c (answers and streams), http_duplex.c (both at the same time),
 * http_connection.c and http_leave.c (by when something has to come, and whose client has
 * left) share. Nobody else includes this.
 */
#ifndef SERVER_HTTP_PRIVATE_H
#define SERVER_HTTP_PRIVATE_H

#include "server/http.h"
#include "server/problem.h"
#include "server/request_id.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <sys/queue.h>

/* How long a parked request stays awake (http.c), and how many may be. */
#define HTTP_AWAKE_MS  5
#define HTTP_AWAKE_MAX 256u

/* What is waited for on a connection; see http_connection.c. */
enum expectation {
    EXPECT_HEADERS, /* of its first request, or the rest of those that have begun */
    EXPECT_REQUEST, /* the next one */
    EXPECT_BODY,
    EXPECT_TAKEN, /* that the client takes an answer which is there as a whole */
    EXPECT_NOTHING
};

struct connection;

struct http {
    struct MHD_Daemon *daemon;
    TAILQ_HEAD(connection_list, connection) expecting[EXPECT_NOTHING];
    unsigned connections;
    uint64_t bodies_bytes; /* of bodies that are not complete: reserved or there */
    struct http_options options;
    http_on_request *on_request;
    void *data;
    uint16_t port;
    bool resumed; /* a parked request was answered since the last MHD_run */
    bool
        queued; /* an answer has been queued in this MHD_run that may leave in the next */
    uint64_t runs; /* calls of MHD_run */
    /* Requests that this MHD_run has touched and that may have to go on by themselves. */
    unsigned touched;
    unsigned awake; /* requests that are parked and not suspended */
    bool quiescing; /* answers close their connection */
    bool closing;   /* requests are no longer given to on_request */
    TAILQ_HEAD(request_list, request) parked;
    struct request_list fed;
    TAILQ_HEAD(duplex_list, duplex) ready; /* that may have something to write */
    int watch_fd;                          /* epoll on the sockets of watched requests */
    uv_poll_t poll, watch_poll;
    uv_prepare_t prepare;
    uv_idle_t again;
    uv_timer_t housekeeping, doze;
    int open_handles;
    void (*on_closed)(void *data);
    void *closed_data;
    uint64_t id_state; /* see request_id.h */
};

#define METHOD_SENT_MAX 16 /* longer ones are cut */

enum request_phase {
    REQUEST_HEADERS, /* the first call of the access handler is still to come */
    REQUEST_BODY,
    REQUEST_FED,     /* given to on_request, the body is taken as it comes */
    REQUEST_HANDLED, /* given to on_request */
    REQUEST_PARKED,  /* waits for its answer, suspended or awake */
    REQUEST_ANSWERED
};

struct request {
    struct http *http;
    TAILQ_ENTRY(request) link; /* while parked, or in phase REQUEST_FED */
    struct MHD_Connection *connection;
    struct connection *of; /* the same, as http_connection.c knows it; or NULL */
    enum request_phase phase;
    enum http_method method;
    unsigned mark;
    uint64_t began_ns; /* CLOCK_MONOTONIC */
    uint64_t bytes_in, bytes_out;
    struct uuid job;
    bool has_job;
    char method_sent[METHOD_SENT_MAX];
    char id[REQUEST_ID_MAX + 1];
    /* As sent, and decoded; both behind the struct. A uri that is longer than it may be is cut
     * behind the first byte too many, and refused by the gate. */
    char *uri, *path;
    size_t path_len;
    struct request_tag tag;
    struct blob *body;
    struct buf upload;
    uint64_t max_body; /* bytes */
    uint64_t reserved; /* the same, of http->bodies_bytes */
    bool no_room;      /* for its body, with those of others */
    size_t overrun;
    uint64_t touched;   /* the last of http->runs that has touched it */
    uint64_t parked_ms; /* the loop's time when it was parked */
    bool awake;
    struct MHD_Response *response; /* answered while parked: queued when resumed */
    int status;
    enum problem problem; /* see struct http_record */
    void *data;
    void (*on_data_free)(void *data);
    void (*on_gone)(void *data);
    void *gone_data;
    void (*on_left)(void *data);
    void *left_data;
    int watched_fd; /* socket in http->watch_fd, or -1 */
    bool interim;   /* its client knows interim answers: HTTP/1.1 */
    bool left;      /* parked, and its client has left: the library is to close it */
    struct duplex *duplex; /* of a request that is fed, or NULL */
    bool streaming;
    bool stream_waits; /* suspended inside of the stream */
    bool stream_left;  /* its client has closed its side */
};

/* http_request.c: the library's callbacks. */
void *http_on_uri(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_on_access(void *cls, struct MHD_Connection *connection,
                               const char *url, const char *method, const char *version,
                               const char *bytes, size_t *len, void **con_cls);
void http_on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                       enum MHD_RequestTerminationCode code);
/* This MHD_run has done something for the request, or will have to go on with it. */
void http_touch(struct request *request);

/* http_leave.c: clients that leave. */
/* From here on it is noticed at once if the request's client leaves; false: it is not. */
bool http_watch(struct request *request);
void http_unwatch(struct request *request);
/* The same for all parked ones that are suspended; every second or so. */
void http_watch_parked(struct http *http);
/* Clients of watched requests may have left. */
void http_on_watch(struct http *http);

/* http_connection.c */
/* The connection's socket, or -1; its TLS session, or NULL. */
int http_socket_of(struct MHD_Connection *library);
gnutls_session_t http_session_of(struct MHD_Connection *library);
/* As send(2) without waiting, beside the library: only while it has nothing to write. After
 * EAGAIN it has to be given the same bytes again. */
ssize_t http_write(int fd, gnutls_session_t session, const char *bytes, size_t len);
void http_on_connection(void *cls, struct MHD_Connection *library, void **context,
                        enum MHD_ConnectionNotificationCode code);
struct connection *http_connection_of(struct MHD_Connection *library);
/* The request's connection is waited for in this way from now on. */
void http_expect(struct request *request, enum expectation what);
/* Shuts those down whose time is up, or whose clients have left; every second or so. */
void http_connections_look(struct http *http);

/* http_duplex.c: requests that are fed. */
/* Begins to feed, when the headers are in; false without memory. */
bool http_feed(struct request *request, const char *version);
/* The body, or (no bytes) its end. */
enum MHD_Result http_fed_access(struct request *request, const char *bytes, size_t *len);
/* Whether the answer is to be written here: not before the first byte of the body is asked
 * for. */
bool http_answers_duplex(const struct request *request);
/* As request_reply, request_stream, request_wake. */
void http_duplex_reply(struct request *request, struct reply *reply);
void http_duplex_stream(struct request *request, struct reply *head, stream_pull *pull,
                        void (*on_free)(void *data), void *data);
void http_duplex_wake(struct request *request);
/* Writes what there is to write. */
void http_duplex_run(struct http *http);
/* Looks for those that are idle; every second or so. */
void http_duplex_look(struct http *http);
void http_fed_free(struct request *request); /* the request is over */
void http_fed_close_all(struct http *http);

/* http_reply.c */
/* Answers with a problem and closes the connection. */
void http_refuse(struct request *request, enum problem problem, const char *detail);

#endif
