/* SPDX-License-Identifier: MIT */
/*
 * job_batch - several submissions in one request: an array of what the _async calls take,
 * each with the member `method`. All of them are fine, or none is taken. Each has a copy of
 * its own of its input, since the others may be over long before it.
 */
#ifndef SERVER_JOB_BATCH_H
#define SERVER_JOB_BATCH_H

#include "server/job_json.h"

struct batch_intake {
    size_t max_jobs;   /* more are refused */
    bool lenient;      /* unknown members are skipped */
    const char *trace; /* as of struct job_intake */
    uint64_t owner;    /* see struct job_spec */
    int64_t now_ms;    /* wall time */
    struct uuid (*new_id)(void *data, int64_t now_ms);
    void *data;
};

/* ret_specs has room for max_jobs. On success it has *ret_count specs with one reference each
 * for the caller. On failure *ret_refusal says why, with a pointer into the array; clear it in
 * any case. */
NODISCARD enum status job_batch_parse(struct blob *body,
                                      const struct batch_intake *intake,
                                      const struct job_rules *rules,
                                      struct job_spec **ret_specs, size_t *ret_count,
                                      struct refusal *ret_refusal);

#endif
