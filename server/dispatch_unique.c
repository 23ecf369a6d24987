/* SPDX-License-Identifier: MIT */
/* One job at a time with the same unique_key in a pool. */
#include "server/dispatch_private.h"

#include <assert.h>
#include <string.h>

static struct live *holder_of(struct lane *lane, const char *unique_key)
{
    struct live *live;

    HASH_FIND(unique_hh, lane->uniques, unique_key, strlen(unique_key), live);
    return live;
}

/* The same request once more: the store will tell. */
static bool same_request(const struct job_spec *a, const struct job_spec *b)
{
    return a->idempotency_key && b->idempotency_key &&
           strcmp(a->idempotency_key, b->idempotency_key) == 0;
}

static struct live *rival_in(struct lane *lane, const struct job_spec *spec)
{
    struct live *live = spec->unique_key ? holder_of(lane, spec->unique_key) : NULL;

    return live && same_request(live->job.spec, spec) ? NULL : live;
}

const struct live *dispatch_rival(struct dispatch *dispatch, const struct job_spec *spec)
{
    struct lane *lane = dispatch_lane(dispatch, spec->pool);

    return lane ? rival_in(lane, spec) : NULL;
}

enum status unique_check(struct lane *lane, const struct job_spec *spec,
                         struct live **ret_live)
{
    struct live *rival = rival_in(lane, spec);

    if (!rival)
        return ST_OK;
    *ret_live = rival;
    switch (spec->on_conflict) {
    case CONFLICT_REJECT:
        return ST_CONFLICT;
    case CONFLICT_REPLACE:
        return rival->job.status.state == JOB_RUNNING ? ST_CONFLICT : ST_OK;
    default:
        return ST_EXISTS;
    }
}

void unique_replace(struct lane *lane, const struct job_spec *spec)
{
    struct live *rival = rival_in(lane, spec);
    enum status st;

    if (!rival)
        return;
    unique_leave(rival);
    st = dispatch_cancel(rival, false);
    assert(st == ST_OK); /* it has not started, and not ended */
}

void unique_enter(struct live *live)
{
    const struct job_spec *spec = live->job.spec;
    struct lane *lane = live->lane;

    if (!spec->unique_key || holder_of(lane, spec->unique_key))
        return;
    HASH_ADD_KEYPTR(unique_hh, lane->uniques, spec->unique_key, strlen(spec->unique_key),
                    live);
    live->unique = true;
}

void unique_leave(struct live *live)
{
    if (live->unique)
        HASH_DELETE(unique_hh, live->lane->uniques, live);
    live->unique = false;
}
