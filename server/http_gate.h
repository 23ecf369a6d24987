/* SPDX-License-Identifier: MIT */
/*
 * http_gate - what a request has to look like before a byte of its body is read. Pure.
 */
#ifndef SERVER_HTTP_GATE_H
#define SERVER_HTTP_GATE_H

#include "common/blob.h"
#include "common/status.h"
#include "server/problem.h"

#include <stdbool.h>
#include <stddef.h>

struct gate_limits {
    size_t uri_bytes; /* of path and query */
    unsigned headers;
    size_t header_bytes; /* of one's value */
};

/* Checks the request target as it was sent and writes the decoded path (at most
 * limits->uri_bytes and a NUL) to ret_path. PROBLEM_COUNT: all is well. Otherwise the
 * problem, and err says what is wrong. */
enum problem gate_uri(const struct gate_limits *limits, const char *uri, char *ret_path,
                      size_t *ret_len, struct error_text *err);
/* "HTTP/1.0" or "HTTP/1.1". */
enum problem gate_version(const char *version, struct error_text *err);
/* One header after another; *state is all-zero before the first. A name has to be a token
 * (RFC 9110), a value without control bytes, and those that frame, route or authorise a
 * request may come only once. */
enum gate_single {
    GATE_HOST,
    GATE_CONTENT_LENGTH,
    GATE_TRANSFER_ENCODING,
    GATE_CONTENT_TYPE,
    GATE_AUTHORIZATION,
    GATE_IDEMPOTENCY_KEY,
    GATE_EXPECT,
    GATE_ORIGIN,
    GATE_CONTENT_ENCODING,
    GATE_SINGLE_COUNT
};
struct gate_headers {
    unsigned count;
    const char *single[GATE_SINGLE_COUNT]; /* their values, not copied; NULL: absent */
};
enum problem gate_header(const struct gate_limits *limits, struct gate_headers *state,
                         const char *name, const char *value, struct error_text *err);
/* What the headers say of a body. *ret_length is the announced length, or -1 when it is not
 * known. */
enum problem gate_body(const struct gate_headers *headers, const char *version,
                       uint64_t max_bytes, int64_t *ret_length, struct error_text *err);

#endif
