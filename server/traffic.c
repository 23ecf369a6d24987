/* SPDX-License-Identifier: MIT */
#include "server/traffic.h"

#include "common/mem.h"

const uint16_t traffic_codes[TRAFFIC_CODES] = {
    0,   200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411,
    412, 413, 414, 415, 416, 417, 422, 428, 429, 431, 500, 501, 502, 503, 504, 505, 507,
};

struct traffic *traffic_new(unsigned routes)
{
    struct traffic *traffic =
        mem_zalloc(sizeof(*traffic) + (routes + 1) * sizeof(traffic->by_route[0]));

    if (!traffic)
        return NULL;
    traffic->routes = routes;
    for (unsigned i = 0; i <= routes; i++)
        traffic->by_route[i].duration.scale = &histogram_durations;
    return traffic;
}

void traffic_add(struct traffic *traffic, unsigned route, int status,
                 enum problem problem, uint64_t duration_ns)
{
    struct traffic_route *at =
        &traffic->by_route[route < traffic->routes ? route : traffic->routes];
    unsigned code = 0;

    while (code < TRAFFIC_CODES && traffic_codes[code] != status)
        code++;
    at->codes[code]++;
    if (problem < PROBLEM_COUNT)
        traffic->problems[problem]++;
    histogram_add(&at->duration, duration_ns);
}
