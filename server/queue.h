/* SPDX-License-Identifier: MIT */
/*
 * queue - jobs that have items to hand over, in the order in which they get a worker.
 * Pure.
 *
 * Larger priority first. Among equals the jobs take turns: the one in front hands over
 * one chunk and goes behind the others if it has more. Jobs of a single item so run first
 * in, first out, and one that comes behind a map of a million items waits for one round of
 * chunks, not for the map.
 *
 * What stands in line is a place (server/job.h). Behind it is a whole job, or a stub: a
 * job that has not begun and is only in the store. A job keeps its place when it becomes
 * the one or the other (queue_replace), so the order does not depend on what is in memory.
 *
 *     priority 5    J J J | S S S S J S      J: whole, S: stub, |: the first stub
 *     priority 0    J J J J
 *
 * Turns are taken among those before the first stub of their priority: the stubs come in
 * when there is room for them. Otherwise every job of a long line would have to be whole
 * at once, having handed over one chunk.
 *
 * A place is in at most one queue. All operations take constant time, but for
 * queue_replace by a stub, which looks at the whole jobs between it and the first stub,
 * and their counterpart: each of these is passed once when the stub has become whole.
 */
#ifndef SERVER_QUEUE_H
#define SERVER_QUEUE_H

#include "server/job.h"

#include <stddef.h>
#include <stdint.h>

#define QUEUE_LEVELS      (JOB_PRIORITY_MAX - JOB_PRIORITY_MIN + 1)
#define QUEUE_LEVEL_WORDS ((QUEUE_LEVELS + 63) / 64)

struct queue_level {
    struct queue_place_list places;
    struct queue_place *first_stub; /* or NULL */
};

struct queue {
    struct queue_level levels[QUEUE_LEVELS];
    uint64_t filled[QUEUE_LEVEL_WORDS];  /* bit i: levels[i] is not empty */
    uint64_t stubbed[QUEUE_LEVEL_WORDS]; /* bit i: levels[i] has a stub */
    size_t count;                        /* places */
    size_t stubs;                        /* of them */
    uint64_t whole_bytes;                /* of the others */
};

/* The job around a place that is whole. */
struct job *queue_job(struct queue_place *place);

void queue_init(struct queue *queue);
/* Behind all of its priority. */
void queue_push(struct queue *queue, struct queue_place *place);
/* Before all of its priority: for a whole job that gave back what it had taken. */
void queue_push_front(struct queue *queue, struct queue_place *place);
/* Whose turn it is, still in the queue; NULL when empty. */
struct queue_place *queue_front(const struct queue *queue);
/* The turn of a whole job is over: behind those of its priority that take turns. */
void queue_rotate(struct queue *queue, struct queue_place *place);
void queue_remove(struct queue *queue, struct queue_place *place);
/* `by`, of the same priority, takes the place of `place`. */
void queue_replace(struct queue *queue, struct queue_place *place,
                   struct queue_place *by);

/* The stub whose turn comes first, and the one behind it; NULL if there is none. */
struct queue_place *queue_first_stub(const struct queue *queue);
struct queue_place *queue_next_stub(const struct queue *queue,
                                    const struct queue_place *stub);
/* Whether a stub is before this place. */
bool queue_behind_stub(const struct queue *queue, const struct queue_place *place);
/* How many whole jobs are before the first stub; counts up to max. */
size_t queue_ahead(const struct queue *queue, size_t max);
/* The last of the whole jobs that take turns, of the smallest priority that has one; and
 * the one before it, of the same priority. NULL if there is none. */
struct queue_place *queue_last_whole(const struct queue *queue);
struct queue_place *queue_whole_before(const struct queue_place *place);

#endif
