/* SPDX-License-Identifier: MIT */
/*
 * The target of a request, up to its route. The input's first byte is the method, the rest
 * the target as it was sent.
 *
 * - A path that is let in is visible ASCII, without an empty or a dot segment, and no longer
 *   than it was.
 * - Of the table, the first pattern is found that fits segment by segment; its parameter is
 *   one whole segment of the path.
 * - A path is known if a method fits it, and then Allow has each of these methods.
 */
#include "tests/fuzz/fuzz.h"

#include "server/http_gate.h"
#include "server/route.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Every kind of pattern that the server has. */
static const struct route routes[] = {
    { HTTP_GET, "/", NULL, 0 },
    { HTTP_POST, "/v1/map", NULL, 0 },
    { HTTP_GET, "/v1/jobs", NULL, 0 },
    { HTTP_POST, "/v1/jobs/wait", NULL, 0 },
    { HTTP_GET, "/v1/jobs/{id}", NULL, 0 },
    { HTTP_DELETE, "/v1/jobs/{id}", NULL, 0 },
    { HTTP_GET, "/v1/jobs/{id}/result", NULL, 0 },
    { HTTP_GET, "/v1/jobs/{id}/results", NULL, 0 },
    { HTTP_POST, "/v1/jobs/{id}/cancel", NULL, 0 },
    { HTTP_PATCH, "/v1/pools/{name}", NULL, 0 },
    { HTTP_POST, "/v1/admin/keys/{id}/rotate", NULL, 0 },
    { HTTP_GET, "/problems/{slug}", NULL, 0 },
};

#define URI_MAX 2048
static const struct gate_limits limits = { URI_MAX, 64, 8192 };

#define ROUTE_COUNT (sizeof(routes) / sizeof(*routes))

static void check_path(const char *uri, const char *path, size_t len)
{
    assert(len == strlen(path) && len <= strcspn(uri, "?") && len <= URI_MAX);
    assert(path[0] == '/' && !strstr(path, "//"));
    for (size_t i = 0; i < len; i++)
        assert(path[i] > ' ' && path[i] <= '~');
    for (const char *at = path; at; at = strchr(at + 1, '/')) {
        size_t segment = strcspn(at + 1, "/");

        assert(!(segment == 1 && at[1] == '.'));
        assert(!(segment == 2 && at[1] == '.' && at[2] == '.'));
    }
}

/* Segment by segment, unlike route.c. */
static bool fits(const char *pattern, const char *path, struct text *ret_param)
{
    *ret_param = (struct text){ NULL, 0 };
    while (*pattern == '/' && *path == '/') {
        size_t want = strcspn(++pattern, "/"), have = strcspn(++path, "/");

        if (pattern[0] == '{' && have > 0)
            *ret_param = (struct text){ path, have };
        else if (want != have || memcmp(pattern, path, want) != 0)
            return false;
        pattern += want;
        path += have;
    }
    return !*pattern && !*path;
}

static bool allows(const struct route_match *match, const char *method)
{
    size_t len = strlen(method);
    const char *at = match->allow;

    for (; *at; at += strcspn(at, " "), at += strspn(at, " "))
        if (strncmp(at, method, len) == 0 && strchr(",", at[len]))
            return true;
    return false;
}

static void check_route(enum http_method method, const char *path, size_t len)
{
    const struct route *found = NULL;
    struct text param = { NULL, 0 }, one;
    struct route_match match;
    bool known = false;

    memset(&match, 'x', sizeof(match));
    route_find(routes, ROUTE_COUNT, method, (struct text){ path, len }, &match);
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!fits(routes[i].pattern, path, &one))
            continue;
        known = true;
        assert(match.route || allows(&match, http_method_names[routes[i].method]));
        if (!found && routes[i].method == method) {
            found = &routes[i];
            param = one;
        }
    }
    assert(match.route == found && match.known_path == known);
    assert(match.param.at == param.at && match.param.len == param.len);
    assert(found || allows(&match, "OPTIONS"));
    assert(found || !allows(&match, http_method_names[method]) || method == HTTP_OPTIONS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[URI_MAX + 1];
    struct error_text err = { "" };
    enum problem problem;
    size_t len;
    char *uri;

    if (size == 0)
        return 0;
    uri = strndup((const char *)data + 1, size - 1);
    assert(uri);
    problem = gate_uri(&limits, uri, path, &len, &err);
    if (problem == PROBLEM_COUNT) {
        check_path(uri, path, len);
        check_route(data[0] % HTTP_METHOD_COUNT, path, len);
    } else {
        assert(err.text[0]);
    }
    free(uri);
    return 0;
}
