/* SPDX-License-Identifier: MIT */
#include "server/stub.h"

#include "common/mem.h"

#include <assert.h>
#include <search.h>
#include <stddef.h>
#include <string.h>

struct stub *stub_of(struct queue_place *place)
{
    assert(!place->whole);
    return (struct stub *)((char *)place - offsetof(struct stub, place));
}

uint64_t stub_due_ns(const struct stub *stub)
{
    if (stub->state != JOB_SCHEDULED)
        return stub->expires_ns;
    return stub->expires_ns && stub->expires_ns < stub->start_ns ? stub->expires_ns
                                                                 : stub->start_ns;
}

/* ---- times: a binary heap, each stub knows where it is ------------------------------ */

static void time_put(struct stubs *stubs, size_t at, struct stub *stub)
{
    stubs->times[at] = stub;
    stub->timed_at = (uint32_t)at + 1;
}

static bool earlier(const struct stub *a, const struct stub *b)
{
    return stub_due_ns(a) < stub_due_ns(b);
}

/* The stub belongs at `at` or somewhere above. */
static void time_up(struct stubs *stubs, size_t at, struct stub *stub)
{
    while (at > 0 && earlier(stub, stubs->times[(at - 1) / 2])) {
        time_put(stubs, at, stubs->times[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    time_put(stubs, at, stub);
}

/* The stub belongs at `at` or somewhere below. */
static void time_down(struct stubs *stubs, size_t at, struct stub *stub)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < stubs->time_count &&
            earlier(stubs->times[child + 1], stubs->times[child]))
            child++;
        if (child >= stubs->time_count || !earlier(stubs->times[child], stub))
            break;
        time_put(stubs, at, stubs->times[child]);
        at = child;
    }
    time_put(stubs, at, stub);
}

static void time_settle(struct stubs *stubs, size_t at, struct stub *stub)
{
    if (at > 0 && earlier(stub, stubs->times[(at - 1) / 2]))
        time_up(stubs, at, stub);
    else
        time_down(stubs, at, stub);
}

static bool time_add(struct stubs *stubs, struct stub *stub)
{
    if (stubs->time_count == stubs->time_cap) {
        size_t cap = stubs->time_cap ? 2 * stubs->time_cap : 64;
        struct stub **times = mem_realloc(stubs->times, cap * sizeof(*times));

        if (!times)
            return false;
        stubs->times = times;
        stubs->time_cap = cap;
    }
    time_up(stubs, stubs->time_count++, stub);
    return true;
}

static void time_remove(struct stubs *stubs, struct stub *stub)
{
    size_t at = stub->timed_at;
    struct stub *last;

    if (!at)
        return;
    stub->timed_at = 0;
    last = stubs->times[--stubs->time_count];
    if (last != stub)
        time_settle(stubs, at - 1, last);
}

void stubs_retime(struct stubs *stubs, struct stub *stub)
{
    if (!stub_due_ns(stub))
        time_remove(stubs, stub);
    else if (stub->timed_at)
        time_settle(stubs, stub->timed_at - 1, stub);
}

struct stub *stubs_next(const struct stubs *stubs)
{
    return stubs->time_count ? stubs->times[0] : NULL;
}

/* ---- by id ------------------------------------------------------------------------- */

static int compare_ids(const void *left, const void *right)
{
    const struct stub *a = left, *b = right;

    return memcmp(&a->id, &b->id, sizeof(a->id));
}

bool stubs_add(struct stubs *stubs, struct stub *stub)
{
    struct stub **node = tsearch(stub, &stubs->by_id, compare_ids);

    if (!node)
        return false;
    assert(*node == stub);
    stub->timed_at = 0;
    if (stub_due_ns(stub) && !time_add(stubs, stub)) {
        tdelete(stub, &stubs->by_id, compare_ids);
        return false;
    }
    stubs->count++;
    return true;
}

void stubs_remove(struct stubs *stubs, struct stub *stub)
{
    time_remove(stubs, stub);
    tdelete(stub, &stubs->by_id, compare_ids);
    stubs->count--;
}

struct stub *stubs_find(const struct stubs *stubs, struct uuid id)
{
    struct stub wanted = { .id = id };
    struct stub **node = tfind(&wanted, (void *const *)&stubs->by_id, compare_ids);

    return node ? *node : NULL;
}

static void (*each_of)(struct stub *stub); /* tdestroy(3) takes no context */

static void call_each(void *stub)
{
    each_of(stub);
}

void stubs_clear(struct stubs *stubs, void (*each)(struct stub *stub))
{
    each_of = each;
    tdestroy(stubs->by_id, call_each);
    mem_free(stubs->times);
    memset(stubs, 0, sizeof(*stubs));
}
