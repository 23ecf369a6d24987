/* SPDX-License-Identifier: MIT */
/*
 * route - method and path -> one line of a table. Pure.
 *
 * A pattern is a path whose segments are literal, or {name}: that one matches any segment
 * and is the route's parameter. A pattern has at most one. Literal paths come before
 * those with a parameter.
 */
#ifndef SERVER_ROUTE_H
#define SERVER_ROUTE_H

#include "common/blob.h"
#include "server/http.h"

#include <stddef.h>

struct api;
struct request;

/* param is the segment that matched {name}; valid during the call. */
typedef void route_handler(struct api *api, struct request *request, struct text param);

struct route {
    enum http_method method;
    const char *pattern;
    route_handler *handle;
    unsigned scope; /* that is needed, see server/key.h; 0: none, nor a key */
};

#define ROUTE_ALLOW_MAX 40

struct route_match {
    const struct route *route; /* NULL if none matches path and method */
    struct text param;
    bool known_path;             /* some route matches the path */
    char allow[ROUTE_ALLOW_MAX]; /* its methods, for the header Allow: "GET, HEAD,
                                    OPTIONS" */
};

void route_find(const struct route *routes, size_t count, enum http_method method,
                struct text path, struct route_match *ret_match);

#endif
