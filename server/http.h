/* SPDX-License-Identifier: MIT */
/*
 * http - HTTP/1.1 on one port, inside the loop. The only user of libmicrohttpd.
 *
 * libmicrohttpd runs without a thread of its own: its epoll descriptor is one more
 * descriptor of the loop. A request is given to on_request when its body is complete. The
 * handler answers it then (request_reply), or parks it and answers later, from anywhere
 * in the loop; a parked request costs a suspended connection. Every request given out has
 * to be answered exactly once.
 *
 * Answers are a head and parts; parts are sent from where they are, without a copy. A
 * stream is an answer whose bytes are asked for as the client reads them, so a slow
 * reader holds nothing but its own place.
 *
 * A request that is fed is given out when its headers are in, and its body piece by piece;
 * it may be answered in the middle of that. See http_duplex.c.
 *
 * Wrong requests (URI, version, sizes) are answered here, by http_gate.h, before a byte
 * of the body is read.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "common/buf.h"
#include "common/status.h"
#include "common/uuid.h"
#include "server/http_gate.h"
#include "server/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http;
struct request;

/* What is known of a request when its headers are in; for the handler's use. */
struct request_tag {
    const void *route; /* where its method and path lead to; NULL: nowhere */
    struct text param; /* of the route */
    uint64_t owner;    /* id of the key that it came with; 0: none */
    unsigned scopes;   /* what it may do; see server/key.h */
    /* Told to the client with every answer, unless rate is 0: how many requests it may send
     * in a second, how many at once now, and in how many seconds there are more. */
    uint64_t rate, remaining;
    uint32_t reset_s;
    bool counted; /* it is one of the requests of its key, see keys_begin */
};

/* Looks at a request whose headers are in: fills in the route of its tag, and says whether
 * its body is to be taken as it comes. */
typedef bool http_is_fed(void *data, struct request *request);
/* Whether it may go on, when its headers are found to be well-formed: PROBLEM_COUNT; or the
 * problem that it is refused with, and err says what is wrong. Fills in the rest of its tag. */
typedef enum problem http_admit(void *data, struct request *request,
                                struct error_text *err);

#define HTTP_PEER_MAX 46

/* A request that is over: answered, or given up because its client has gone. */
struct http_record {
    const struct request *request;
    int status;                   /* 0: there was no answer */
    enum problem problem;         /* that it was answered with; PROBLEM_COUNT: none */
    uint64_t duration_ns;         /* from its first line on */
    uint64_t bytes_in, bytes_out; /* of the bodies */
    const char *method, *target;  /* as they were sent, whatever that is */
    const struct uuid *job;       /* see request_set_job, or NULL */
    const struct request_tag *tag;
};

struct http_options {
    const char *host;          /* numeric address */
    uint16_t port;             /* 0: any free one */
    uint64_t max_body_bytes;   /* of one request, if it is not fed */
    uint64_t max_bodies_bytes; /* of all that are not complete; one is always taken */
    struct gate_limits gate;   /* each connection has memory for as much */
    unsigned max_connections;  /* and HTTP_RESERVED more */
    unsigned idle_timeout_s;   /* of a connection without a request */
    /* See http_connection.c. */
    uint64_t header_timeout_ms, body_timeout_ms, answer_timeout_ms;
    bool tls;            /* http_tls_load has been called */
    bool admin;          /* see request_is_admin */
    http_is_fed *is_fed; /* NULL: no request is; data as of on_request */
    /* Of every request whose first line has come, refused ones among them. May be NULL. */
    void (*on_over)(void *data, const struct http_record *record);
    http_admit *admit; /* NULL: all are; the same */
};

/* Connections that are taken although there are max_connections, to hear what they want. */
#define HTTP_RESERVED 16

typedef void http_on_request(void *data, struct request *request);

/* Starts to listen. ST_BUSY: the port is in use; ST_DENIED; ST_IO; err names the address.
 */
NODISCARD enum status http_open(uv_loop_t *loop, const struct http_options *options,
                                http_on_request *on_request, void *data,
                                struct http **ret_http, struct error_text *err);
uint16_t http_port(const struct http *http);
unsigned http_connections(const struct http *http);
/* Another max_connections, at most the one that it was opened with. If there are more
 * connections, those that have been without a request longest have to go. */
void http_set_max_connections(struct http *http, unsigned max_connections);
unsigned http_max_connections(const struct http *http);
/* There are more connections than max_connections: only what is vital is to be answered. */
bool http_is_crowded(const struct http *http);
/* Takes no new connection, and closes each one behind its next answer. */
void http_quiesce(struct http *http);
/* Sends what is answered, closes all. Parked requests hear of it by on_gone. The handles
 * of the loop close in its next turns; on_closed is called then, and the struct is freed.
 */
void http_close(struct http *http, void (*on_closed)(void *data), void *data);

/* ---- the request ------------------------------------------------------------------- */

enum http_method {
    HTTP_GET,
    HTTP_POST,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_METHOD_COUNT
}; /* HEAD is GET here; http leaves the body out */
extern const char *const http_method_names[HTTP_METHOD_COUNT];

enum http_method request_method(const struct request *request);
/* Decoded path without the query. */
struct text request_path(const struct request *request);
struct request_tag *request_tag(struct request *request);
/* The value of a header, or NULL. Names are compared without regard to case. */
const char *request_header(const struct request *request, const char *name);
/* Calls each for the value of every header of that name, in the order in which they came. The
 * values stay as long as the request. Stops when it returns false. */
void request_headers(const struct request *request, const char *name,
                     bool (*each)(void *data, const char *value), void *data);
/* The body; empty when there is none. It lives as long as the request; reference it to
 * keep it. */
struct blob *request_body(const struct request *request);
/* Calls each for every parameter of the query, decoded; value is "" for "?name". Stops
 * when it returns false. */
void request_query(const struct request *request,
                   bool (*each)(void *data, const char *name, const char *value),
                   void *data);

/* Whether it has come to a listener that was opened with `admin`. */
bool request_is_admin(const struct request *request);
/* The address of the client without its port, numeric; "" if it is not known. */
void request_peer(const struct request *request, char ret_peer[HTTP_PEER_MAX]);
/* See request_id.h; every answer has it as X-Request-Id. */
const char *request_id(const struct request *request);
/* The job that the request has made, for its record. */
void request_set_job(struct request *request, struct uuid id);
/* A number of the handler's own, 0 at first. */
unsigned request_mark(const struct request *request);
void request_set_mark(struct request *request, unsigned mark);
/* For the handler's use: freed with the request. */
void *request_data(const struct request *request);
void request_set_data(struct request *request, void *data, void (*on_free)(void *data));

/* Puts the request aside. on_gone is called if it can no longer be answered: its
 * connection is closed, because the client has left (which is noticed within a second or so)
 * or because the server stops. It must not be answered then. */
void request_park(struct request *request, void (*on_gone)(void *data), void *data);
/* on_left is called once, before on_gone, if it is the client who has left, which is then
 * noticed at once. Or, if this is called right before request_stream: if the client closes its
 * side while the stream lasts. */
void request_watch(struct request *request, void (*on_left)(void *data), void *data);

/* ---- a body that is taken as it comes ---------------------------------------------- */

enum intake_end {
    INTAKE_COMPLETE,
    INTAKE_BROKEN, /* the client has gone, or the answer has come to its end before */
    INTAKE_IDLE    /* nothing came for idle_timeout, and nothing else was waited for */
};

struct intake {
    /* More of the body. Gives how many bytes were taken; if these are not all, the rest
     * comes again after request_take_more. */
    size_t (*on_bytes)(void *data, const char *bytes, size_t len);
    /* No more comes. Called once, but not if the request was answered with request_reply. */
    void (*on_end)(void *data, enum intake_end end);
    /* Whether nothing is waited for but more of the body. */
    bool (*is_waiting)(void *data);
    void (*on_free)(void *data); /* with the request */
};

bool request_is_fed(const struct request *request);
/* Has the body of a request that is fed given to intake, which stays with the caller. To be
 * called from on_request, or the request is answered there. */
void request_take(struct request *request, const struct intake *intake, void *data);
/* Bytes that were not taken may come again. */
void request_take_more(struct request *request);

/* ---- the answer -------------------------------------------------------------------- */

#define REPLY_HEADERS_MAX 10
#define REPLY_VALUE_MAX   256

struct reply {
    int status;
    enum problem problem;     /* that the request was refused with; PROBLEM_COUNT: none */
    const char *content_type; /* constant; NULL for an answer without a body */
    struct {
        const char *name; /* constant */
        char value[REPLY_VALUE_MAX];
    } headers[REPLY_HEADERS_MAX];
    size_t header_count;
    struct buf body;     /* the body, or what comes before the parts */
    struct blob **blobs; /* parts of the body after `body`, see reply_add_blob */
    struct text *parts;
    size_t part_count, part_cap;
    struct buf tail; /* what comes behind the parts */
};

void reply_init(struct reply *reply, int status, const char *content_type);
/* The same for a refusal, which is counted by its problem: the body has the members that
 * problem_open writes, and lacks the closing brace. */
void reply_init_problem(struct reply *reply, enum problem problem, struct text detail);
void reply_header(struct reply *reply, const char *name, const char *format, ...)
    PRINTF(3, 4);
/* The same for what need not be formatted. */
void reply_header_text(struct reply *reply, const char *name, const char *value);
/* Adds a part: text inside of blob; takes a reference of its own. false without memory.
 */
bool reply_add_part(struct reply *reply, struct blob *blob, struct text text);
void reply_clear(struct reply *reply);

/* Sends it. Takes the content of reply. The request must not be used any more. */
void request_reply(struct request *request, struct reply *reply);

/* Gives the next bytes: up to cap of them into out, returns how many; STREAM_WAIT when
 * there are none now (call request_wake when there are), STREAM_END at the end. */
#define STREAM_WAIT (-1)
#define STREAM_END  (-2)
typedef ptrdiff_t stream_pull(void *data, char *out, size_t cap);
/* Answers with a stream; head gives status, type and headers. on_free is called when it
 * is over or broken, or when its client has closed its side. */
void request_stream(struct request *request, struct reply *head, stream_pull *pull,
                    void (*on_free)(void *data), void *data);
/* A stream that said STREAM_WAIT has bytes again. */
void request_wake(struct request *request);

#endif
