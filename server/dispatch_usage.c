/* SPDX-License-Identifier: MIT */
/* What each owner, and all of them together, have in jobs that are not over. */
#include "server/dispatch_private.h"

#include "common/mem.h"

struct usage {
    UT_hash_handle hh;
    uint64_t owner;
    struct dispatch_usage sum; /* of at least one job */
};

static struct usage *usage_of(const struct dispatch *dispatch, uint64_t owner)
{
    struct usage *usage;

    HASH_FIND(hh, dispatch->usages, &owner, sizeof(owner), usage);
    return usage;
}

struct dispatch_usage dispatch_usage(const struct dispatch *dispatch, uint64_t owner)
{
    const struct usage *usage = usage_of(dispatch, owner);

    return usage ? usage->sum : (struct dispatch_usage){ 0, 0 };
}

bool usage_enter(struct dispatch *dispatch, uint64_t owner, uint64_t bytes)
{
    struct usage *usage = owner ? usage_of(dispatch, owner) : NULL;

    if (owner && !usage) {
        usage = mem_zalloc(sizeof(*usage));
        if (!usage)
            return false;
        usage->owner = owner;
        HASH_ADD(hh, dispatch->usages, owner, sizeof(owner), usage);
        if (!hash_added(&usage->hh)) {
            mem_free(usage);
            return false;
        }
    }
    dispatch->bytes += bytes;
    if (usage) {
        usage->sum.jobs++;
        usage->sum.bytes += bytes;
    }
    return true;
}

void usage_change(struct dispatch *dispatch, uint64_t owner, uint64_t from, uint64_t to)
{
    struct usage *usage = owner ? usage_of(dispatch, owner) : NULL;

    dispatch->bytes += to - from;
    if (usage)
        usage->sum.bytes += to - from;
}

void usage_leave(struct dispatch *dispatch, uint64_t owner, uint64_t bytes)
{
    struct usage *usage = owner ? usage_of(dispatch, owner) : NULL;

    dispatch->bytes -= bytes;
    if (!usage)
        return;
    usage->sum.bytes -= bytes;
    if (--usage->sum.jobs)
        return;
    HASH_DEL(dispatch->usages, usage);
    mem_free(usage);
}

void usages_free(struct dispatch *dispatch)
{
    struct usage *usage, *next;

    HASH_ITER (hh, dispatch->usages, usage, next) {
        HASH_DEL(dispatch->usages, usage);
        mem_free(usage);
    }
}
