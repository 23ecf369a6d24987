/* SPDX-License-Identifier: MIT */
#include "server/http_gate.h"

#include "common/hex.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static enum problem refuse(struct error_text *err, enum problem problem, const char *text)
{
    (void)error_set(err, ST_INVALID, "%s", text);
    return problem;
}

/* Decodes %XX in the path. Only visible ASCII that does not change the path's structure
 * may be written that way. */
static bool decode_path(const char *path, size_t len, char *ret_path, size_t *ret_len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        char c = path[i];

        if (c == '%') {
            int high = i + 2 < len ? hex_value(path[i + 1]) : -1;
            int low = high >= 0 ? hex_value(path[i + 2]) : -1;

            if (low < 0)
                return false;
            c = (char)(high * 16 + low);
            if (c <= ' ' || c > '~' || strchr("/\\.%", c))
                return false;
            i += 2;
        }
        ret_path[out++] = c;
    }
    ret_path[out] = '\0';
    *ret_len = out;
    return true;
}

enum problem gate_uri(const struct gate_limits *limits, const char *uri, char *ret_path,
                      size_t *ret_len, struct error_text *err)
{
    size_t len = strlen(uri);
    size_t path_len = strcspn(uri, "?");

    if (len > limits->uri_bytes) {
        (void)error_set(err, ST_LIMIT,
                        "the request target is over %zu bytes (max_uri_bytes)",
                        limits->uri_bytes);
        return PROBLEM_URI_TOO_LONG;
    }
    if (uri[0] != '/')
        return refuse(err, PROBLEM_INVALID_URI, "the path does not start with a slash");
    for (size_t i = 0; i < len; i++)
        if (uri[i] <= ' ' || uri[i] > '~')
            return refuse(err, PROBLEM_INVALID_URI,
                          "the request target has a byte that is not visible ASCII");
    for (size_t i = 0; i < path_len; i++) {
        const char *segment = uri + i + 1;
        size_t segment_len;

        if (uri[i] != '/')
            continue;
        segment_len = strcspn(segment, "/?");
        if (segment_len == 0 && i + 1 < path_len)
            return refuse(err, PROBLEM_INVALID_URI, "the path has an empty segment");
        if ((segment_len == 1 && segment[0] == '.') ||
            (segment_len == 2 && segment[0] == '.' && segment[1] == '.'))
            return refuse(err, PROBLEM_INVALID_URI, "the path has a dot segment");
    }
    if (!decode_path(uri, path_len, ret_path, ret_len))
        return refuse(
            err, PROBLEM_INVALID_URI,
            "the path has a percent sign that does not encode a plain character");
    return PROBLEM_COUNT;
}

enum problem gate_version(const char *version, struct error_text *err)
{
    if (strcmp(version, "HTTP/1.1") == 0 || strcmp(version, "HTTP/1.0") == 0)
        return PROBLEM_COUNT;
    return refuse(err, PROBLEM_VERSION_NOT_SUPPORTED, "use HTTP/1.1");
}

/* A second one of these would let two programs read the same bytes as different requests.
 */
static const struct {
    const char *name;
    size_t len;
} singles[GATE_SINGLE_COUNT] = {
#define SINGLE(name)                                                                     \
    {                                                                                    \
        name, sizeof(name) - 1                                                           \
    }
    [GATE_HOST] = SINGLE("Host"),
    [GATE_CONTENT_LENGTH] = SINGLE("Content-Length"),
    [GATE_TRANSFER_ENCODING] = SINGLE("Transfer-Encoding"),
    [GATE_CONTENT_TYPE] = SINGLE("Content-Type"),
    [GATE_AUTHORIZATION] = SINGLE("Authorization"),
    [GATE_IDEMPOTENCY_KEY] = SINGLE("Idempotency-Key"),
    [GATE_EXPECT] = SINGLE("Expect"),
    [GATE_ORIGIN] = SINGLE("Origin"),
    [GATE_CONTENT_ENCODING] = SINGLE("Content-Encoding"),
};

/* One that may come only once; GATE_SINGLE_COUNT for others. */
static enum gate_single single_of(const char *name)
{
    size_t len = strlen(name);
    enum gate_single i = 0;

    while (i < GATE_SINGLE_COUNT &&
           (singles[i].len != len || strcasecmp(singles[i].name, name) != 0))
        i++;
    return i;
}

static bool is_token(const char *name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
              (*c >= '0' && *c <= '9') || strchr(others, *c)))
            return false;
    return name[0] != '\0';
}

enum problem gate_header(const struct gate_limits *limits, struct gate_headers *state,
                         const char *name, const char *value, struct error_text *err)
{
    size_t len = strlen(value);
    enum gate_single single;

    if (++state->count > limits->headers) {
        (void)error_set(err, ST_LIMIT, "there are more than %u headers (max_headers)",
                        limits->headers);
        return PROBLEM_HEADERS_TOO_LARGE;
    }
    if (len > limits->header_bytes) {
        (void)error_set(err, ST_LIMIT,
                        "a header has more than %zu bytes (max_header_bytes)",
                        limits->header_bytes);
        return PROBLEM_HEADERS_TOO_LARGE;
    }
    if (!is_token(name))
        return refuse(err, PROBLEM_BAD_REQUEST, "a header's name is not a token");
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)value[i] < ' ' && value[i] != '\t') || value[i] == 0x7f)
            return refuse(err, PROBLEM_BAD_REQUEST,
                          "a header's value has a control byte");
    single = single_of(name);
    if (single == GATE_SINGLE_COUNT)
        return PROBLEM_COUNT;
    if (state->single[single]) {
        (void)error_set(err, ST_INVALID, "there are two headers %s",
                        singles[single].name);
        return PROBLEM_BAD_REQUEST;
    }
    state->single[single] = value;
    return PROBLEM_COUNT;
}

enum problem gate_body(const struct gate_headers *headers, const char *version,
                       uint64_t max_bytes, int64_t *ret_length, struct error_text *err)
{
    const char *transfer_encoding = headers->single[GATE_TRANSFER_ENCODING];
    const char *content_length = headers->single[GATE_CONTENT_LENGTH];
    const char *expect = headers->single[GATE_EXPECT];
    const char *content_encoding = headers->single[GATE_CONTENT_ENCODING];
    char *end = NULL;
    unsigned long long length;

    *ret_length = content_length ? 0 : -1;
    if (transfer_encoding) {
        if (strcasecmp(transfer_encoding, "chunked") != 0)
            return refuse(err, PROBLEM_BAD_REQUEST,
                          "the only Transfer-Encoding that works is chunked");
        if (content_length)
            return refuse(err, PROBLEM_BAD_REQUEST,
                          "Transfer-Encoding and Content-Length exclude each other");
        if (strcmp(version, "HTTP/1.0") == 0)
            return refuse(err, PROBLEM_BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding");
    }
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return refuse(err, PROBLEM_EXPECTATION_FAILED,
                      "the only expectation that works is 100-continue");
    if (content_encoding && strcasecmp(content_encoding, "identity") != 0)
        return refuse(err, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                      "the body must not be compressed: send no Content-Encoding");
    if (!content_length)
        return PROBLEM_COUNT;
    if (content_length[0] < '0' || content_length[0] > '9')
        return refuse(err, PROBLEM_BAD_REQUEST, "Content-Length is not a decimal number");
    length = strtoull(content_length, &end, 10);
    if (*end)
        return refuse(err, PROBLEM_BAD_REQUEST, "Content-Length is not a decimal number");
    if (length > max_bytes) {
        (void)error_set(err, ST_LIMIT,
                        "the body has %llu bytes, the limit (max_body_bytes) is %llu",
                        length, (unsigned long long)max_bytes);
        return PROBLEM_BODY_TOO_LARGE;
    }
    *ret_length = (int64_t)length;
    return PROBLEM_COUNT;
}
