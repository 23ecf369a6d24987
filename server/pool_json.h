/* SPDX-License-Identifier: MIT */
/*
 * pool_json - JSON <-> pool_spec: every check of what a client asks of a pool. Pure.
 *
 * The members are one table in pool_json.c. To add one: a line there, a field in struct
 * pool_spec, a column in schema/, a property in openapi/poold.yaml.
 */
#ifndef SERVER_POOL_JSON_H
#define SERVER_POOL_JSON_H

#include "common/status.h"
#include "server/member.h"
#include "server/pool_spec.h"

#define POOL_PROCESSES_MAX 1024
#define POOL_INITARGS_MAX  65536 /* bytes */

struct pool_intake {
    const struct pool_spec *old; /* the pool that is to be changed; NULL: a new one */
    bool lenient;                /* unknown members are skipped */
    unsigned max_depth;          /* of the JSON; 1 .. SLICE_DEPTH_MAX */
    unsigned processes;          /* of a new one that does not say */
    uint64_t maxtasksperchild;   /* the same */
    const char *idempotency_key; /* or NULL */
};

/* Reads a request body. On success *ret_spec has one reference for the caller. On failure
 * *ret_refusal says why; clear it in any case. */
NODISCARD enum status pool_json_parse(struct blob *body, const struct pool_intake *intake,
                                      struct pool_spec **ret_spec,
                                      struct refusal *ret_refusal);

/* Writes the members of the spec, from "name":… on, without braces. */
void pool_json_write(struct buf *out, const struct pool_spec *spec);

#endif
