/* SPDX-License-Identifier: MIT */
#include "server/queue.h"

#include <assert.h>
#include <stddef.h>

/* ---- levels ------------------------------------------------------------------------ */

/* Level 0 is the largest priority. */
static unsigned level_of(const struct queue_place *place)
{
    return (unsigned)(JOB_PRIORITY_MAX - place->priority);
}

static void mark(uint64_t words[QUEUE_LEVEL_WORDS], unsigned level, bool on)
{
    uint64_t bit = UINT64_C(1) << (level % 64);

    if (on)
        words[level / 64] |= bit;
    else
        words[level / 64] &= ~bit;
}

/* The first level from `from` on that is marked; QUEUE_LEVELS if none is. */
static unsigned first_marked(const uint64_t words[QUEUE_LEVEL_WORDS], unsigned from)
{
    for (unsigned i = from / 64; i < QUEUE_LEVEL_WORDS; i++) {
        uint64_t word = words[i];

        if (i == from / 64)
            word &= ~UINT64_C(0) << (from % 64);
        if (word)
            return i * 64 + (unsigned)__builtin_ctzll(word);
    }
    return QUEUE_LEVELS;
}

struct job *queue_job(struct queue_place *place)
{
    assert(place->whole);
    return (struct job *)((char *)place - offsetof(struct job, place));
}

void queue_init(struct queue *queue)
{
    *queue = (struct queue){ 0 };
    for (unsigned i = 0; i < QUEUE_LEVELS; i++)
        TAILQ_INIT(&queue->levels[i].places);
}

/* ---- the first stub ---------------------------------------------------------------- */

static void set_first_stub(struct queue *queue, unsigned level, struct queue_place *stub)
{
    queue->levels[level].first_stub = stub;
    mark(queue->stubbed, level, stub != NULL);
}

/* The first stub at or behind this place; the whole jobs up to it have none before them. */
static struct queue_place *pass_whole(struct queue_place *place)
{
    for (; place && place->whole; place = TAILQ_NEXT(place, link))
        place->ahead = true;
    return place;
}

/* The first stub leaves, or becomes whole: `next` is what stands there then. */
static void advance(struct queue *queue, unsigned level, struct queue_place *next)
{
    set_first_stub(queue, level, pass_whole(next));
}

/* A place that had no stub before it is one now. */
static void become_first_stub(struct queue *queue, unsigned level,
                              struct queue_place *stub)
{
    struct queue_place *before = queue->levels[level].first_stub;

    for (struct queue_place *p = stub; p && p != before; p = TAILQ_NEXT(p, link))
        p->ahead = false;
    set_first_stub(queue, level, stub);
}

/* ---- in and out -------------------------------------------------------------------- */

static void count_in(struct queue *queue, struct queue_place *place)
{
    mark(queue->filled, level_of(place), true);
    place->queued = true;
    queue->count++;
    if (place->whole)
        queue->whole_bytes += place->bytes;
    else
        queue->stubs++;
}

static void count_out(struct queue *queue, struct queue_place *place)
{
    place->queued = false;
    queue->count--;
    if (place->whole)
        queue->whole_bytes -= place->bytes;
    else
        queue->stubs--;
}

void queue_push(struct queue *queue, struct queue_place *place)
{
    struct queue_level *level = &queue->levels[level_of(place)];

    assert(!place->queued);
    TAILQ_INSERT_TAIL(&level->places, place, link);
    place->ahead = place->whole && !level->first_stub;
    if (!place->whole && !level->first_stub)
        set_first_stub(queue, level_of(place), place);
    count_in(queue, place);
}

void queue_push_front(struct queue *queue, struct queue_place *place)
{
    assert(!place->queued && place->whole);
    TAILQ_INSERT_HEAD(&queue->levels[level_of(place)].places, place, link);
    place->ahead = true;
    count_in(queue, place);
}

struct queue_place *queue_front(const struct queue *queue)
{
    unsigned level = first_marked(queue->filled, 0);

    return level < QUEUE_LEVELS ? TAILQ_FIRST(&queue->levels[level].places) : NULL;
}

void queue_rotate(struct queue *queue, struct queue_place *place)
{
    struct queue_level *level = &queue->levels[level_of(place)];

    assert(place->queued && place->whole);
    TAILQ_REMOVE(&level->places, place, link);
    if (level->first_stub)
        TAILQ_INSERT_BEFORE(level->first_stub, place, link);
    else
        TAILQ_INSERT_TAIL(&level->places, place, link);
    place->ahead = true;
}

void queue_remove(struct queue *queue, struct queue_place *place)
{
    unsigned at = level_of(place);
    struct queue_level *level = &queue->levels[at];
    struct queue_place *next = TAILQ_NEXT(place, link);

    assert(place->queued);
    TAILQ_REMOVE(&level->places, place, link);
    if (level->first_stub == place)
        advance(queue, at, next);
    count_out(queue, place);
    mark(queue->filled, at, !TAILQ_EMPTY(&level->places));
}

void queue_replace(struct queue *queue, struct queue_place *place, struct queue_place *by)
{
    unsigned at = level_of(place);
    struct queue_level *level = &queue->levels[at];
    bool ahead = place->ahead || level->first_stub == place;

    assert(place->queued && !by->queued && by->priority == place->priority);
    TAILQ_INSERT_BEFORE(place, by, link);
    TAILQ_REMOVE(&level->places, place, link);
    count_out(queue, place);
    count_in(queue, by);
    by->ahead = false;
    if (level->first_stub == place)
        advance(queue, at, by);
    else if (ahead && !by->whole)
        become_first_stub(queue, at, by);
    else
        by->ahead = ahead;
}

/* ---- looking around ---------------------------------------------------------------- */

struct queue_place *queue_first_stub(const struct queue *queue)
{
    unsigned level = first_marked(queue->stubbed, 0);

    return level < QUEUE_LEVELS ? queue->levels[level].first_stub : NULL;
}

struct queue_place *queue_next_stub(const struct queue *queue,
                                    const struct queue_place *stub)
{
    struct queue_place *next = TAILQ_NEXT(stub, link);
    unsigned level;

    while (next && next->whole)
        next = TAILQ_NEXT(next, link);
    if (next)
        return next;
    level = first_marked(queue->stubbed, level_of(stub) + 1);
    return level < QUEUE_LEVELS ? queue->levels[level].first_stub : NULL;
}

bool queue_behind_stub(const struct queue *queue, const struct queue_place *place)
{
    unsigned level = level_of(place), first = first_marked(queue->stubbed, 0);

    return first < level || (first == level && !place->ahead);
}

size_t queue_ahead(const struct queue *queue, size_t max)
{
    unsigned level = first_marked(queue->filled, 0);
    size_t count = 0;

    while (level < QUEUE_LEVELS && count < max) {
        const struct queue_place *place = TAILQ_FIRST(&queue->levels[level].places);

        for (; place && place->whole && count < max; place = TAILQ_NEXT(place, link))
            count++;
        if (place)
            break;
        level = first_marked(queue->filled, level + 1);
    }
    return count;
}

struct queue_place *queue_last_whole(const struct queue *queue)
{
    for (unsigned i = QUEUE_LEVELS; i-- > 0;) {
        const struct queue_level *level = &queue->levels[i];
        struct queue_place *stub = level->first_stub;
        struct queue_place *last = stub ? TAILQ_PREV(stub, queue_place_list, link)
                                        : TAILQ_LAST(&level->places, queue_place_list);

        if (last)
            return last;
    }
    return NULL;
}

struct queue_place *queue_whole_before(const struct queue_place *place)
{
    return TAILQ_PREV(place, queue_place_list, link);
}
