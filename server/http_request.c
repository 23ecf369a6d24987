/* SPDX-License-Identifier: MIT */
/*
 * Requests as the library hands them over, in pieces, and what handlers may ask of them.
 *
 * The library calls once when the headers are in, then for each piece of the body, then
 * once with no bytes when the body is complete. A response queued in the first call
 * refuses the body and closes the connection; in between none can be queued.
 */
#include "server/http_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BODY_FIRST_RESERVE                                                               \
    (1u << 20) /* bytes reserved on the word of Content-Length alone */
/* Bytes over the limit that are read and thrown away, so that a client that does not
 * announce its length still gets to read the answer. */
#define BODY_OVERRUN_MAX (1u << 20)
/* Of a request that is not for a body, a GET or DELETE. */
#define BODY_UNUSED_MAX (64u << 10)

/* ---- the request ------------------------------------------------------------------- */

enum http_method request_method(const struct request *request)
{
    return request->method;
}

struct text request_path(const struct request *request)
{
    return (struct text){ request->path, request->path_len };
}

struct request_tag *request_tag(struct request *request)
{
    return &request->tag;
}

const char *request_header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct header_each {
    const char *wanted;
    bool (*each)(void *data, const char *value);
    void *data;
};

static enum MHD_Result header_value(void *cls, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    const struct header_each *header = cls;

    (void)kind;
    if (!name || !value || strcasecmp(name, header->wanted) != 0)
        return MHD_YES;
    return header->each(header->data, value) ? MHD_YES : MHD_NO;
}

void request_headers(const struct request *request, const char *name,
                     bool (*each)(void *data, const char *value), void *data)
{
    struct header_each header = { name, each, data };

    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, header_value,
                              &header);
}

struct blob *request_body(const struct request *request)
{
    return request->body;
}

struct query_each {
    bool (*each)(void *data, const char *name, const char *value);
    void *data;
};

static enum MHD_Result query_value(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    const struct query_each *query = cls;

    (void)kind;
    return query->each(query->data, name ? name : "", value ? value : "") ? MHD_YES
                                                                          : MHD_NO;
}

void request_query(const struct request *request,
                   bool (*each)(void *data, const char *name, const char *value),
                   void *data)
{
    struct query_each query = { each, data };

    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, query_value,
                              &query);
}

bool request_is_admin(const struct request *request)
{
    return request->http->options.admin;
}

void request_peer(const struct request *request, char ret_peer[HTTP_PEER_MAX])
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    const void *bytes = NULL;

    if (address && address->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    if (address && address->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    ret_peer[0] = '\0';
    if (bytes)
        (void)inet_ntop(address->sa_family, bytes, ret_peer, HTTP_PEER_MAX);
}

const char *request_id(const struct request *request)
{
    return request->id;
}

void request_set_job(struct request *request, struct uuid id)
{
    request->job = id;
    request->has_job = true;
}

unsigned request_mark(const struct request *request)
{
    return request->mark;
}

void request_set_mark(struct request *request, unsigned mark)
{
    request->mark = mark;
}

void *request_data(const struct request *request)
{
    return request->data;
}

void request_set_data(struct request *request, void *data, void (*on_free)(void *data))
{
    request->data = data;
    request->on_data_free = on_free;
}

void request_park(struct request *request, void (*on_gone)(void *data), void *data)
{
    /* Who parks it anew takes over: what the one before has watched it for may be gone. */
    http_unwatch(request);
    request->on_left = NULL;
    request->on_gone = on_gone;
    request->gone_data = data;
}

/* ---- parked requests, awake or suspended ------------------------------------------- */

void http_touch(struct request *request)
{
    if (request->touched == request->http->runs)
        return;
    request->touched = request->http->runs;
    request->http->touched++;
}

/* It waits for something that is announced, or is over. */
static void untouch(struct request *request)
{
    if (request->touched != request->http->runs)
        return;
    request->touched = 0;
    request->http->touched--;
}

static void park(struct request *request)
{
    struct http *http = request->http;

    request->phase = REQUEST_PARKED;
    TAILQ_INSERT_TAIL(&http->parked, request, link);
    untouch(request);
    if (http->awake == HTTP_AWAKE_MAX) {
        MHD_suspend_connection(request->connection);
        return;
    }
    request->awake = true;
    request->parked_ms = uv_now(http->doze.loop);
    http->awake++;
}

static void no_longer_awake(struct request *request)
{
    if (!request->awake)
        return;
    request->awake = false;
    request->http->awake--;
}

/* The library asks for the answer of one that is awake, and there is none yet. */
static void doze(struct request *request)
{
    if (uv_now(request->http->doze.loop) - request->parked_ms < HTTP_AWAKE_MS)
        return;
    no_longer_awake(request);
    MHD_suspend_connection(request->connection);
}

/* ---- from libmicrohttpd ------------------------------------------------------------ */

/* The first thing that is known of a request: its target, not decoded. What is returned
 * here is the con_cls of the later calls. */
void *http_on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct http *http = cls;
    size_t max = http->options.gate.uri_bytes, len;
    struct request *request = mem_alloc(sizeof(*request) + max + 2 + max + 1);

    if (!request)
        return NULL; /* http_on_access closes the connection */
    memset(request, 0, sizeof(*request));
    request->uri = (char *)(request + 1);
    request->path = request->uri + max + 2;
    request->http = http;
    request->connection = connection;
    request->watched_fd = -1;
    request->problem = PROBLEM_COUNT;
    request->of = http_connection_of(connection);
    http_expect(request, EXPECT_HEADERS);
    request->began_ns = clock_mono_ns();
    len = strnlen(uri, max + 1);
    memcpy(request->uri, uri, len);
    request->uri[len] = '\0';
    http_touch(request);
    return request;
}

/* ---- the room for bodies that are not complete ------------------------------------- */

/* There is always room for one. */
static bool reserve_body(struct request *request, uint64_t bytes)
{
    struct http *http = request->http;
    uint64_t others = http->bodies_bytes - request->reserved;

    if (bytes <= request->reserved)
        return true;
    if (others && others + bytes > http->options.max_bodies_bytes)
        return false;
    http->bodies_bytes = others + bytes;
    request->reserved = bytes;
    return true;
}

static void release_body(struct request *request)
{
    request->http->bodies_bytes -= request->reserved;
    request->reserved = 0;
}

static void tell_over(const struct request *request)
{
    const struct http *http = request->http;
    const struct http_record record = {
        .request = request,
        .status = request->status,
        .problem = request->problem,
        .duration_ns = clock_mono_ns() - request->began_ns,
        .bytes_in = request->bytes_in,
        .bytes_out = request->bytes_out,
        .method = request->method_sent,
        .target = request->uri,
        .job = request->has_job ? &request->job : NULL,
        .tag = &request->tag,
    };

    if (http->options.on_over)
        http->options.on_over(http->data, &record);
}

void http_on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                       enum MHD_RequestTerminationCode code)
{
    struct request *request = *con_cls;

    (void)cls;
    (void)connection;
    (void)code;
    *con_cls = NULL;
    if (!request)
        return;
    http_expect(request, EXPECT_REQUEST);
    release_body(request);
    untouch(request);
    http_unwatch(request);
    /* The library notices that the client of one that is awake has left. */
    if (request->awake && request->phase == REQUEST_PARKED && request->on_left)
        request->on_left(request->left_data);
    no_longer_awake(request);
    if (request->phase == REQUEST_PARKED)
        TAILQ_REMOVE(&request->http->parked, request, link);
    if (request->duplex)
        http_fed_free(request);
    if (request->on_gone)
        request->on_gone(request->gone_data);
    tell_over(request);
    if (request->on_data_free)
        request->on_data_free(request->data);
    if (request->response)
        MHD_destroy_response(request->response);
    blob_unref(request->body);
    buf_clear(&request->upload);
    mem_free(request);
}

static enum problem method_of(const char *name, enum http_method *ret_method)
{
    if (strcmp(name, "HEAD") == 0) {
        *ret_method = HTTP_GET;
        return PROBLEM_COUNT;
    }
    for (enum http_method i = 0; i < HTTP_METHOD_COUNT; i++)
        if (strcmp(name, http_method_names[i]) == 0) {
            *ret_method = i;
            return PROBLEM_COUNT;
        }
    if (strcmp(name, "PUT") == 0 || strcmp(name, "TRACE") == 0 ||
        strcmp(name, "CONNECT") == 0) {
        *ret_method = HTTP_METHOD_COUNT; /* no route has it: 405 with Allow, or 404 */
        return PROBLEM_COUNT;
    }
    return PROBLEM_NOT_IMPLEMENTED;
}

struct header_walk {
    struct gate_headers state;
    struct request *request;
    enum problem problem;
    struct error_text *err;
};

static enum MHD_Result each_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct header_walk *walk = cls;

    (void)kind;
    if ((*name == 'X' || *name == 'x') && strcasecmp(name, "X-Request-Id") == 0 &&
        !walk->request->id[0] && !request_id_take(value ? value : "", walk->request->id))
        walk->request->id[0] = '\0';
    walk->problem = gate_header(&walk->request->http->options.gate, &walk->state, name,
                                value ? value : "", walk->err);
    return walk->problem == PROBLEM_COUNT ? MHD_YES : MHD_NO;
}

/* Leaves in *ret_state what they are. */
static enum problem check_headers(struct request *request, struct gate_headers *ret_state,
                                  struct error_text *err)
{
    struct header_walk walk = { .problem = PROBLEM_COUNT,
                                .request = request,
                                .err = err };

    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, each_header, &walk);
    *ret_state = walk.state;
    return walk.problem;
}

/* The request is given out without its body. */
static void begin_feed(struct request *request, const char *version)
{
    struct http *http = request->http;

    request->body = blob_new("", 0);
    if (http->closing)
        http_refuse(request, PROBLEM_SHUTTING_DOWN, "the server is shutting down");
    else if (!request->body || !http_feed(request, version))
        http_refuse(request, PROBLEM_NO_MEMORY, "no memory for the request");
    else
        http->on_request(http->data, request);
}

/* What the target, the method and the headers say by themselves. */
static enum problem check_head(struct request *request, const char *method,
                               const char *version, struct gate_headers *ret_headers,
                               struct error_text *err)
{
    enum problem problem = gate_version(version, err);

    size_t len = strnlen(method, sizeof(request->method_sent) - 1);

    memcpy(request->method_sent, method, len);
    request->method_sent[len] = '\0';
    if (problem == PROBLEM_COUNT)
        problem = gate_uri(&request->http->options.gate, request->uri, request->path,
                           &request->path_len, err);
    if (problem == PROBLEM_COUNT) {
        problem = method_of(method, &request->method);
        if (problem != PROBLEM_COUNT)
            (void)error_set(err, ST_INVALID, "%.32s does not work here", method);
    }
    if (problem == PROBLEM_COUNT)
        problem = check_headers(request, ret_headers, err);
    if (!request->id[0])
        request_id_make(&request->http->id_state, request->id);
    return problem;
}

/* What has no use for a body may send a short one. */
static uint64_t max_body_of(const struct request *request, bool fed)
{
    uint64_t max = request->http->options.max_body_bytes;
    bool takes_one = request->method == HTTP_POST || request->method == HTTP_PATCH;

    if (fed)
        return UINT64_MAX;
    return takes_one || max < BODY_UNUSED_MAX ? max : BODY_UNUSED_MAX;
}

/* The headers are in. Refuses, or makes room for the body. */
static void on_headers(struct request *request, const char *method, const char *version)
{
    const struct http_options *options = &request->http->options;
    struct gate_headers headers = { 0 };
    struct error_text err = { "" };
    bool fed = false;
    int64_t length = -1;
    enum problem problem = check_head(request, method, version, &headers, &err);

    request->interim = strcmp(version, "HTTP/1.0") != 0;
    if (problem == PROBLEM_COUNT && options->is_fed)
        fed = options->is_fed(request->http->data, request);
    request->max_body = max_body_of(request, fed);
    if (problem == PROBLEM_COUNT)
        problem = gate_body(&headers, version, request->max_body, &length, &err);
    if (problem == PROBLEM_COUNT && options->admit)
        problem = options->admit(request->http->data, request, &err);
    if (problem == PROBLEM_COUNT && !fed && length > 0 &&
        !reserve_body(request, (uint64_t)length)) {
        (void)error_set(&err, ST_LIMIT, "the bodies that come at once have no more room");
        problem = PROBLEM_TOO_MANY_BODIES;
    }
    if (problem != PROBLEM_COUNT) {
        http_refuse(request, problem, err.text);
        return;
    }
    http_expect(request, EXPECT_BODY);
    if (fed) {
        begin_feed(request, version);
        return;
    }
    request->phase = REQUEST_BODY;
    if (length > 0)
        (void)buf_reserve(
            &request->upload,
            (size_t)(length < BODY_FIRST_RESERVE ? length : BODY_FIRST_RESERVE));
}

static enum MHD_Result on_body(struct request *request, const char *bytes, size_t *len)
{
    request->bytes_in += *len;
    if (!request->overrun && request->upload.len + *len <= request->max_body &&
        !reserve_body(request, request->upload.len + *len))
        request->no_room = true;
    if (request->overrun || request->no_room ||
        request->upload.len + *len > request->max_body) {
        request->overrun += *len;
        if (request->overrun > BODY_OVERRUN_MAX)
            return MHD_NO;
    } else {
        buf_add(&request->upload, bytes, *len);
    }
    *len = 0;
    return MHD_YES;
}

/* Whether it may not be given out. */
static bool refused(struct request *request)
{
    if (request->no_room)
        http_refuse(request, PROBLEM_TOO_MANY_BODIES,
                    "the bodies that come at once have no more room");
    else if (request->overrun)
        http_refuse(request, PROBLEM_BODY_TOO_LARGE,
                    "the body is over the limit (max_body_bytes)");
    else if (!request->body)
        http_refuse(request, PROBLEM_NO_MEMORY, "no memory for the body");
    else if (request->http->closing)
        http_refuse(request, PROBLEM_SHUTTING_DOWN, "the server is shutting down");
    else
        return false;
    return true;
}

static void on_complete(struct request *request)
{
    request->phase = REQUEST_HANDLED;
    http_expect(request, EXPECT_NOTHING);
    release_body(request);
    /* One without bytes may be one that there was no memory for. */
    if (!request->overrun)
        request->body = request->upload.len || request->upload.failed
                            ? buf_take_blob(&request->upload)
                            : blob_new("", 0);
    if (refused(request))
        return;
    request->http->on_request(request->http->data, request);
    if (request->phase == REQUEST_HANDLED)
        park(request);
}

static enum MHD_Result queue_answer(struct request *request)
{
    enum MHD_Result result;

    if (!request->response)
        return MHD_NO; /* no memory even for the shortest answer */
    result = MHD_queue_response(request->connection, (unsigned)request->status,
                                request->response);
    MHD_destroy_response(request->response);
    request->response = NULL;
    if (!request->streaming)
        http_expect(request, EXPECT_TAKEN);
    return result;
}

enum MHD_Result http_on_access(void *cls, struct MHD_Connection *connection,
                               const char *url, const char *method, const char *version,
                               const char *bytes, size_t *len, void **con_cls)
{
    struct request *request = *con_cls;

    (void)cls;
    (void)connection;
    (void)url;
    if (!request)
        return MHD_NO;
    if (request->phase == REQUEST_PARKED) {
        if (request->left)
            return MHD_NO;
        doze(request);
        return MHD_YES;
    }
    http_touch(request);
    /* The answer of one that was suspended leaves in this run or, when its socket was not
     * seen to be writable yet, in the next one: behind the last one there is none. */
    if (request->awake || request->http->closing)
        request->http->queued = true;
    no_longer_awake(request);
    if (request->phase == REQUEST_HEADERS)
        on_headers(request, method, version);
    else if (request->phase == REQUEST_FED)
        return http_fed_access(request, bytes, len);
    else if (request->phase == REQUEST_BODY && *len)
        return on_body(request, bytes, len);
    else if (request->phase == REQUEST_BODY)
        on_complete(request);
    return request->phase == REQUEST_ANSWERED ? queue_answer(request) : MHD_YES;
}
