/* SPDX-License-Identifier: MIT */
/*
 * job_json - JSON <-> job: every check of what a client submits, and the job as clients
 * see it.
 *
 * The members of a request are one table in job_members.c. To add one: a line there, a field
 * in struct job_spec, a column in schema/, a property in openapi/poold.yaml.
 */
#ifndef SERVER_JOB_JSON_H
#define SERVER_JOB_JSON_H

#include "common/buf.h"
#include "server/job.h"
#include "server/member.h"
#include "server/refusal.h"

#include <stdbool.h>
#include <stdint.h>

#define RETRIES_MAX 100 /* of the members retries and crash_retries */

/* What a submission has to know of its pool. */
struct job_pool {
    unsigned processes;
    int64_t time_limit_ms; /* default of the pool's jobs; 0: that of the rules */
};

struct key;

/* What a submission is checked against. */
struct job_rules {
    uint64_t max_items;
    uint64_t max_item_bytes;
    unsigned max_depth;         /* of the JSON; 1 .. SLICE_DEPTH_MAX */
    uint32_t crash_retries;     /* default */
    int64_t time_limit_ms;      /* default; 0: none */
    int64_t result_ttl_ms;      /* default */
    const char *callback_allow; /* see server/webhook.h; NULL: no callbacks */
    const struct key *key;      /* whose tasks are meant; NULL: all are */
    /* false: there is no pool of this name. */
    bool (*find_pool)(void *data, const char *name, struct job_pool *ret_pool);
    void *data;
};

/* How it came in. */
struct job_intake {
    enum job_method method;
    bool async;
    bool lenient;  /* unknown members are skipped */
    bool fed;      /* its items come behind it, line by line */
    bool in_batch; /* the member `method` says which method it is */
    struct uuid id;
    uint64_t owner;              /* see struct job_spec */
    int64_t now_ms;              /* wall time */
    const char *idempotency_key; /* or NULL */
    const char *trace;           /* of the request, see trace.h; or NULL */
};

/* Reads a request body. On success *ret_spec has one reference for the caller. On failure
 * *ret_refusal says why; clear it in any case. */
NODISCARD enum status job_json_parse(struct blob *body, const struct job_intake *intake,
                                     const struct job_rules *rules,
                                     struct job_spec **ret_spec,
                                     struct refusal *ret_refusal);

/* The same for a text inside of body, an element of a batch: what is wrong is added to
 * refusal, which has its place. */
NODISCARD enum status job_json_parse_in(struct blob *body, struct text text,
                                        const struct job_intake *intake,
                                        const struct job_rules *rules,
                                        struct job_spec **ret_spec,
                                        struct refusal *refusal);

/* The job as an object, or only id and state. */
void job_json_write(struct buf *out, const struct job_spec *spec,
                    const struct job_status *status);
void job_json_write_minimal(struct buf *out, const struct job_spec *spec,
                            const struct job_status *status);

#endif
