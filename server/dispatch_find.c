/* SPDX-License-Identifier: MIT */
/* Jobs by their ids, whole or stubs; waiting for them; and what else can be seen. */
#include "server/dispatch_private.h"

/* ---- by id ------------------------------------------------------------------------- */

struct live *dispatch_find(struct dispatch *dispatch, struct uuid id)
{
    struct live *live;

    HASH_FIND(hh, dispatch->by_id, id.bytes, sizeof(id.bytes), live);
    return live && live->accepted ? live : NULL;
}

bool dispatch_is_stub(const struct dispatch *dispatch, struct uuid id,
                      enum job_state *ret_state)
{
    const struct stub *stub = stubs_find(&dispatch->stubs, id);

    if (stub)
        *ret_state = stub->state;
    return stub != NULL;
}

bool dispatch_owner(struct dispatch *dispatch, struct uuid id, uint64_t *ret_owner)
{
    const struct live *live = dispatch_find(dispatch, id);
    const struct stub *stub = live ? NULL : stubs_find(&dispatch->stubs, id);

    if (live)
        *ret_owner = live->job.spec->owner;
    else if (stub)
        *ret_owner = stub->owner;
    return live || stub;
}

void dispatch_fetch(struct dispatch *dispatch, struct uuid id)
{
    struct stub *stub = stubs_find(&dispatch->stubs, id);

    if (stub)
        load_stub(stub);
}

/* ---- waiting ----------------------------------------------------------------------- */

static struct waiter *wait_in(struct dispatch *dispatch, struct waiter_list *list,
                              enum wait_for wait_for, int64_t timeout_ms,
                              waiter_woken *on_wake, void *data)
{
    /* Who waits to be accepted does so for one commit only, and could not be told
     * otherwise whether the job exists. */
    if (wait_for != WAIT_ACCEPTED && dispatch->waiters >= dispatch->options.max_waiters)
        return NULL;
    return waiter_new(dispatch->loop, list, wait_for, timeout_ms, &dispatch->waiters,
                      on_wake, data);
}

struct waiter *dispatch_wait(struct live *live, enum wait_for wait_for,
                             int64_t timeout_ms, waiter_woken *on_wake, void *data)
{
    return wait_in(live->dispatch, &live->waiters, wait_for, timeout_ms, on_wake, data);
}

/* NULL also without memory. */
static struct waiter_list *waiters_of(struct dispatch *dispatch, struct uuid id)
{
    struct live *live = dispatch_find(dispatch, id);
    struct stub *stub = live ? NULL : stubs_find(&dispatch->stubs, id);

    return live ? &live->waiters : stub ? stub_waiters(stub) : NULL;
}

struct waiter *dispatch_wait_for(struct dispatch *dispatch, struct uuid id,
                                 enum wait_for wait_for, int64_t timeout_ms,
                                 waiter_woken *on_wake, void *data)
{
    struct waiter_list *list = waiters_of(dispatch, id);

    return list ? wait_in(dispatch, list, wait_for, timeout_ms, on_wake, data) : NULL;
}

struct waiter *dispatch_wait_many(struct dispatch *dispatch, int64_t timeout_ms,
                                  waiter_woken *on_wake, void *data)
{
    if (dispatch->waiters >= dispatch->options.max_waiters)
        return NULL;
    return waiter_new(dispatch->loop, &dispatch->for_many, WAIT_READY, timeout_ms,
                      &dispatch->waiters, on_wake, data);
}

struct waiter *dispatch_wait_one_of(struct dispatch *dispatch, struct uuid id,
                                    size_t *count, waiter_woken *on_wake, void *data)
{
    struct waiter_list *list = waiters_of(dispatch, id);

    return list ? waiter_new(dispatch->loop, list, WAIT_READY, -1, count, on_wake, data)
                : NULL;
}

/* ---- inspection -------------------------------------------------------------------- */

struct live *dispatch_newest(struct dispatch *dispatch)
{
    struct live *live = TAILQ_LAST(&dispatch->lives, live_list);

    return live && !live->accepted ? dispatch_older(live) : live;
}

struct live *dispatch_older(struct live *live)
{
    do {
        live = TAILQ_PREV(live, live_list, link);
    } while (live && !live->accepted);
    return live;
}

size_t dispatch_jobs(const struct dispatch *dispatch)
{
    return dispatch->jobs;
}

uint64_t dispatch_bytes(const struct dispatch *dispatch)
{
    return dispatch->bytes;
}

size_t dispatch_waiters(const struct dispatch *dispatch)
{
    return dispatch->waiters;
}

struct store *dispatch_store(struct dispatch *dispatch)
{
    return dispatch->store;
}
