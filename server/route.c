/* SPDX-License-Identifier: MIT */
#include "server/route.h"

#include <stdio.h>
#include <string.h>

/* Whether path fits the pattern. */
static bool fits(const char *pattern, struct text path, struct text *ret_param)
{
    size_t i = 0;

    while (*pattern) {
        if (*pattern == '{') {
            size_t start = i;

            while (i < path.len && path.at[i] != '/')
                i++;
            if (i == start)
                return false;
            *ret_param = (struct text){ path.at + start, i - start };
            pattern = strchr(pattern, '}') + 1;
        } else if (i < path.len && path.at[i] == *pattern) {
            i++;
            pattern++;
        } else {
            return false;
        }
    }
    return i == path.len;
}

static void write_allow(unsigned methods, char ret_allow[ROUTE_ALLOW_MAX])
{
    size_t len = 0;

    for (enum http_method m = 0; m < HTTP_METHOD_COUNT; m++)
        if (methods & (1u << m))
            len += (size_t)snprintf(ret_allow + len, ROUTE_ALLOW_MAX - len, "%s%s%s",
                                    len ? ", " : "", http_method_names[m],
                                    m == HTTP_GET ? ", HEAD" : "");
}

void route_find(const struct route *routes, size_t count, enum http_method method,
                struct text path, struct route_match *ret_match)
{
    unsigned methods = 1u << HTTP_OPTIONS;

    ret_match->route = NULL;
    ret_match->known_path = false;
    ret_match->param = (struct text){ NULL, 0 };
    for (size_t i = 0; i < count; i++) {
        struct text param = { NULL, 0 };

        if (!fits(routes[i].pattern, path, &param))
            continue;
        ret_match->known_path = true;
        methods |= 1u << routes[i].method;
        if (routes[i].method == method) {
            ret_match->route = &routes[i];
            ret_match->param = param;
            return;
        }
    }
    write_allow(methods, ret_match->allow);
}
