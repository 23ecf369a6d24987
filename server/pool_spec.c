/* SPDX-License-Identifier: MIT */
#include "server/pool_spec.h"

#include "common/mem.h"

#include <string.h>

const char *const pool_state_names[POOL_STATE_COUNT] = {
    [POOL_RUNNING] = "running",
    [POOL_CLOSED] = "closed",
    [POOL_TERMINATED] = "terminated",
    [POOL_BROKEN] = "broken",
};

const char *const start_method_names[START_METHOD_COUNT] = {
    [START_FORKSERVER] = "forkserver",
    [START_FORK] = "fork",
    [START_SPAWN] = "spawn",
};

static size_t size_of(const char *string)
{
    return string ? strlen(string) + 1 : 0;
}

/* Copies the string to *at and moves *at behind it; NULL stays NULL. */
static const char *put(char **at, const char *string)
{
    char *copy = *at;

    if (!string)
        return NULL;
    memcpy(copy, string, size_of(string));
    *at += size_of(string);
    return copy;
}

struct pool_spec *pool_spec_new(const struct pool_spec *from)
{
    size_t len = size_of(from->name) + size_of(from->initializer) +
                 size_of(from->initargs) + size_of(from->idempotency_key);
    struct pool_spec *spec = mem_alloc(sizeof(*spec) + len);
    char *at;

    if (!spec)
        return NULL;
    at = (char *)(spec + 1);
    *spec = *from;
    atomic_init(&spec->refs, 1);
    spec->name = put(&at, from->name);
    spec->initializer = put(&at, from->initializer);
    spec->initargs = put(&at, from->initargs);
    spec->idempotency_key = put(&at, from->idempotency_key);
    return spec;
}

struct pool_spec *pool_spec_ref(struct pool_spec *spec)
{
    atomic_fetch_add(&spec->refs, 1);
    return spec;
}

void pool_spec_unref(struct pool_spec *spec)
{
    if (spec && atomic_fetch_sub(&spec->refs, 1) == 1)
        mem_free(spec);
}
