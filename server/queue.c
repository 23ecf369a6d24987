/* SPDX-License-Identifier: MIT */
#include "server/queue.h"

#include <assert.h>

/* Level 0 is the largest priority. */
static unsigned level_of(const struct job *job)
{
    return (unsigned)(JOB_PRIORITY_MAX - job->spec->priority);
}

void queue_init(struct queue *queue)
{
    *queue = (struct queue){ 0 };
    for (unsigned i = 0; i < QUEUE_LEVELS; i++)
        TAILQ_INIT(&queue->levels[i]);
}

static void note_added(struct queue *queue, struct job *job, unsigned level)
{
    queue->nonempty[level / 64] |= UINT64_C(1) << (level % 64);
    queue->count++;
    job->queued = true;
}

void queue_push(struct queue *queue, struct job *job)
{
    unsigned level = level_of(job);

    assert(!job->queued);
    TAILQ_INSERT_TAIL(&queue->levels[level], job, queue_link);
    note_added(queue, job, level);
}

void queue_push_front(struct queue *queue, struct job *job)
{
    unsigned level = level_of(job);

    assert(!job->queued);
    TAILQ_INSERT_HEAD(&queue->levels[level], job, queue_link);
    note_added(queue, job, level);
}

struct job *queue_front(const struct queue *queue)
{
    for (unsigned i = 0; i < sizeof(queue->nonempty) / sizeof(*queue->nonempty); i++)
        if (queue->nonempty[i])
            return TAILQ_FIRST(
                &queue->levels[i * 64 + (unsigned)__builtin_ctzll(queue->nonempty[i])]);
    return NULL;
}

void queue_rotate(struct queue *queue, struct job *job)
{
    struct job_list *level = &queue->levels[level_of(job)];

    assert(job->queued);
    TAILQ_REMOVE(level, job, queue_link);
    TAILQ_INSERT_TAIL(level, job, queue_link);
}

void queue_remove(struct queue *queue, struct job *job)
{
    unsigned level = level_of(job);

    assert(job->queued);
    TAILQ_REMOVE(&queue->levels[level], job, queue_link);
    if (TAILQ_EMPTY(&queue->levels[level]))
        queue->nonempty[level / 64] &= ~(UINT64_C(1) << (level % 64));
    queue->count--;
    job->queued = false;
}
