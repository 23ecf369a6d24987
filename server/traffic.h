/* SPDX-License-Identifier: MIT */
/*
 * traffic - requests counted by route and status, and how long they took; what was refused, by
 * its problem. Pure.
 *
 * A request that no route matches, or that is refused before it comes to one, counts
 * under the number behind the last route.
 */
#ifndef SERVER_TRAFFIC_H
#define SERVER_TRAFFIC_H

#include "common/status.h"
#include "server/histogram.h"
#include "server/problem.h"

#include <stdint.h>

/* Every status that the service answers with, in rising order; the first one is 0: the
 * connection ended before there was an answer. */
#define TRAFFIC_CODES 34
extern const uint16_t traffic_codes[TRAFFIC_CODES];

struct traffic_route {
    uint64_t codes[TRAFFIC_CODES + 1]; /* the last one: any other status */
    struct histogram duration;
};

struct traffic {
    uint64_t problems[PROBLEM_COUNT];
    unsigned routes; /* without the one for all others */
    struct traffic_route by_route[];
};

struct traffic *traffic_new(unsigned routes); /* NULL without memory; mem_free */
/* route: 0 .. routes. problem: PROBLEM_COUNT if there was none. */
void traffic_add(struct traffic *traffic, unsigned route, int status,
                 enum problem problem, uint64_t duration_ns);

#endif
