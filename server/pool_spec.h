/* SPDX-License-Identifier: MIT */
/*
 * pool_spec - what was asked for when a pool was made, and the states of pools. Pure.
 *
 * A spec never changes: a pool that is changed gets another one. So the threads of the
 * store may read it beside the loop.
 */
#ifndef SERVER_POOL_SPEC_H
#define SERVER_POOL_SPEC_H

#include "workers/limits.h"

#include <stdatomic.h>
#include <stdint.h>

#define POOL_DEFAULT "default" /* the pool of the settings: always there, never stored */

enum pool_state {
    POOL_RUNNING,
    POOL_CLOSED,     /* takes no new jobs; ends when those it has are over */
    POOL_TERMINATED, /* its workers were killed and its jobs cancelled */
    POOL_BROKEN,     /* its initializer has failed too often, and its jobs with it */
    POOL_STATE_COUNT
};
extern const char *const pool_state_names[POOL_STATE_COUNT];

enum start_method {
    START_FORKSERVER,
    START_FORK,  /* the same: the server itself never forks */
    START_SPAWN, /* a freshly executed worker */
    START_METHOD_COUNT
};
extern const char *const start_method_names[START_METHOD_COUNT];

struct pool_spec {
    atomic_uint refs;
    const char *name; /* this and the texts below are in the same allocation */
    unsigned processes;
    uint64_t maxtasksperchild; /* chunks; 0: no limit */
    enum start_method start_method;
    const char *initializer; /* name of a task, or NULL */
    const char *initargs;    /* JSON array text */
    int64_t time_limit_ms;   /* per item, for jobs that do not say; 0: the setting's */
    struct limits limits;    /* 0: the setting's */
    const char *idempotency_key; /* or NULL */
    uint64_t request_hash;       /* of the request that carried the key */
};

/* A spec with one reference, filled from `from` by copying. NULL without memory. */
struct pool_spec *pool_spec_new(const struct pool_spec *from);
struct pool_spec *pool_spec_ref(struct pool_spec *spec);
void pool_spec_unref(struct pool_spec *spec); /* NULL is fine; any thread */

#endif
