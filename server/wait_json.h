/* SPDX-License-Identifier: MIT */
/*
 * wait_json - what POST /v1/jobs/wait and /v1/jobs/as_completed take:
 *
 *     {"ids": ["0192…", …], "return_when": "FIRST_COMPLETED", "timeout": 30}
 *
 * The ids are a set, as the futures are in Python: one that comes twice counts once. Pure.
 */
#ifndef SERVER_WAIT_JSON_H
#define SERVER_WAIT_JSON_H

#include "common/uuid.h"
#include "server/refusal.h"

#include <stdbool.h>

#define WAIT_IDS_MAX 1000

enum return_when {
    RETURN_ALL_COMPLETED,
    RETURN_FIRST_COMPLETED,
    RETURN_FIRST_EXCEPTION, /* or, if there is none, as ALL_COMPLETED */
    RETURN_WHEN_COUNT
};

struct wait_request {
    size_t count;
    struct uuid ids[WAIT_IDS_MAX];
    unsigned places[WAIT_IDS_MAX]; /* where in the array of the request each first was */
    enum return_when return_when;
    int64_t timeout_ms; /* -1: none was given */
};

/* Without `has_return_when` that member is not known; max_depth is that of the JSON. Not
 * ST_OK: *ret_refusal says why; clear it in any case. */
NODISCARD enum status wait_json_parse(struct text body, bool has_return_when,
                                      bool lenient, unsigned max_depth,
                                      struct wait_request *ret_request,
                                      struct refusal *ret_refusal);

#endif
