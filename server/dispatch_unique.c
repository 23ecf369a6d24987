/* SPDX-License-Identifier: MIT */
/* One job at a time of an owner with the same unique_key in a pool. */
#include "common/log.h"
#include "common/mem.h"
#include "server/dispatch_private.h"

#include <assert.h>
#include <string.h>

/* What is looked for: the owner, then the key, which the owner has for himself. */
struct place {
    size_t len;
    char bytes[sizeof(uint64_t) + UNIQUE_KEY_MAX];
};

/* A key that is too long is not one that a client has sent. */
static struct place place_of(uint64_t owner, const char *unique_key)
{
    struct place place = { .len = sizeof(owner) + strnlen(unique_key, UNIQUE_KEY_MAX) };

    memcpy(place.bytes, &owner, sizeof(owner));
    memcpy(place.bytes + sizeof(owner), unique_key, place.len - sizeof(owner));
    return place;
}

static struct unique *holder_of(struct lane *lane, const struct place *place)
{
    struct unique *unique;

    HASH_FIND(hh, lane->uniques, place->bytes, place->len, unique);
    return unique;
}

/* The same request once more: the store will tell. */
static bool same_request(const struct unique *unique, const struct job_spec *spec)
{
    return unique->idempotency_key && spec->idempotency_key &&
           strcmp(unique->idempotency_key, spec->idempotency_key) == 0;
}

struct unique *unique_rival(struct lane *lane, const struct job_spec *spec)
{
    struct place place;
    struct unique *unique;

    if (!spec->unique_key)
        return NULL;
    place = place_of(spec->owner, spec->unique_key);
    unique = holder_of(lane, &place);
    return unique && same_request(unique, spec) ? NULL : unique;
}

bool unique_is_taken(struct lane *lane, const struct job_spec *spec)
{
    struct place place;

    if (!spec->unique_key)
        return false;
    place = place_of(spec->owner, spec->unique_key);
    return holder_of(lane, &place) != NULL;
}

static const struct rival *look_at(struct dispatch *dispatch, const struct unique *unique)
{
    if (!unique)
        return NULL;
    dispatch->rival = unique->live
                          ? (struct rival){ unique->live->id,
                                            unique->live->job.status.state, unique->live }
                          : (struct rival){ unique->stub->id, unique->stub->state, NULL };
    return &dispatch->rival;
}

const struct rival *dispatch_rival(struct dispatch *dispatch, const struct job_spec *spec)
{
    struct lane *lane = dispatch_lane(dispatch, spec->pool);

    return lane ? look_at(dispatch, unique_rival(lane, spec)) : NULL;
}

const struct rival *dispatch_last_rival(const struct dispatch *dispatch)
{
    return &dispatch->rival;
}

enum status unique_check(struct lane *lane, const struct job_spec *spec,
                         struct live **ret_live)
{
    const struct rival *rival = look_at(lane->dispatch, unique_rival(lane, spec));

    if (!rival)
        return ST_OK;
    *ret_live = rival->live;
    switch (spec->on_conflict) {
    case CONFLICT_REJECT:
        return ST_CONFLICT;
    case CONFLICT_REPLACE:
        return rival->state == JOB_RUNNING ? ST_CONFLICT : ST_OK;
    default:
        return ST_EXISTS;
    }
}

/* It has not started, and not ended. */
static void cancel_replaced(struct live *live)
{
    enum status st;

    unique_leave(live);
    st = dispatch_cancel(live, false);
    assert(st == ST_OK);
}

void unique_replace(struct unique *rival)
{
    struct live *heir;

    if (rival && rival->live) {
        while ((heir = TAILQ_FIRST(&rival->heirs)))
            cancel_replaced(heir);
        cancel_replaced(rival->live);
    } else if (rival) {
        stub_end(rival->stub, JOB_CANCELLED);
    }
}

/* ---- who has it -------------------------------------------------------------------- */

/* For a moment the table may hold two jobs with the same key, so that nothing can fail when
 * the one replaces the other. *ret_unique is NULL if another one but rival has the key. */
static enum status take(struct lane *lane, const struct place *place,
                        const char *idempotency_key, const struct unique *rival,
                        struct unique **ret_unique)
{
    size_t more = idempotency_key ? strlen(idempotency_key) + 1 : 0;
    const struct unique *holder = holder_of(lane, place);
    struct unique *unique;

    *ret_unique = NULL;
    if (holder && holder != rival)
        return ST_OK;
    unique = mem_zalloc(sizeof(*unique) + place->len + more);
    if (!unique)
        return ST_NO_MEMORY;
    TAILQ_INIT(&unique->heirs);
    memcpy(unique->key, place->bytes, place->len);
    if (idempotency_key)
        unique->idempotency_key = memcpy(unique->key + place->len, idempotency_key, more);
    HASH_ADD_KEYPTR(hh, lane->uniques, unique->key, place->len, unique);
    if (!hash_added(&unique->hh)) {
        mem_free(unique);
        return ST_NO_MEMORY;
    }
    *ret_unique = unique;
    return ST_OK;
}

static void disinherit(struct live *live)
{
    if (live->legacy)
        TAILQ_REMOVE(&live->legacy->heirs, live, heir);
    live->legacy = NULL;
}

static void let_go(struct lane *lane, struct unique *unique)
{
    struct live *heir;

    if (!unique)
        return;
    while ((heir = TAILQ_FIRST(&unique->heirs)))
        disinherit(heir);
    HASH_DEL(lane->uniques, unique);
    mem_free(unique);
}

enum status unique_enter(struct live *live, const struct unique *rival)
{
    const struct job_spec *spec = live->job.spec;
    struct place place;
    enum status st;

    if (!spec->unique_key)
        return ST_OK;
    place = place_of(spec->owner, spec->unique_key);
    st = take(live->lane, &place, spec->idempotency_key, rival, &live->unique);
    if (live->unique) {
        live->unique->live = live;
    } else if (st == ST_OK) {
        live->legacy = holder_of(live->lane, &place);
        TAILQ_INSERT_TAIL(&live->legacy->heirs, live, heir);
    }
    return st;
}

void unique_enter_stub(struct stub *stub, const char *unique_key,
                       const char *idempotency_key)
{
    const struct unique *before;
    struct place place;

    if (!unique_key)
        return;
    place = place_of(stub->owner, unique_key);
    before = holder_of(stub->lane, &place);
    if (before && before->stub)
        stub_doom(before->stub, JOB_CANCELLED);
    if (take(stub->lane, &place, idempotency_key, NULL, &stub->unique) != ST_OK)
        log_warn("no memory to keep a unique_key", "");
    if (stub->unique)
        stub->unique->stub = stub;
}

void unique_leave(struct live *live)
{
    struct unique *unique = live->unique;
    /* One that was accepted is what the store answers the same request with. */
    struct live *heir = unique && !live->accepted ? TAILQ_FIRST(&unique->heirs) : NULL;

    disinherit(live);
    live->unique = NULL;
    if (heir) {
        disinherit(heir);
        heir->unique = unique;
        unique->live = heir;
    } else {
        let_go(live->lane, unique);
    }
}

void unique_leave_stub(struct stub *stub)
{
    let_go(stub->lane, stub->unique);
    stub->unique = NULL;
}

void unique_to_stub(struct live *live, struct stub *stub)
{
    disinherit(live);
    stub->unique = live->unique;
    live->unique = NULL;
    if (stub->unique) {
        stub->unique->live = NULL;
        stub->unique->stub = stub;
    }
}

void unique_to_live(struct stub *stub, struct live *live)
{
    live->unique = stub->unique;
    stub->unique = NULL;
    if (live->unique) {
        live->unique->live = live;
        live->unique->stub = NULL;
    }
}
