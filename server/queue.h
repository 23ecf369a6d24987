/* SPDX-License-Identifier: MIT */
/*
 * queue - jobs that have items to hand over, in the order in which they get a worker.
 * Pure.
 *
 * Larger priority first. Among equals the jobs take turns: the one in front hands over
 * one chunk and goes to the back if it has more. Jobs of a single item so run first in,
 * first out, and one that comes behind a map of a million items waits for one round of
 * chunks, not for the map.
 *
 * A job is in at most one queue (job->queued). All operations take constant time.
 */
#ifndef SERVER_QUEUE_H
#define SERVER_QUEUE_H

#include "server/job.h"

#include <stddef.h>
#include <stdint.h>

TAILQ_HEAD(job_list, job);

#define QUEUE_LEVELS (JOB_PRIORITY_MAX - JOB_PRIORITY_MIN + 1)

struct queue {
    struct job_list levels[QUEUE_LEVELS];
    uint64_t nonempty[(QUEUE_LEVELS + 63) / 64]; /* bit i: levels[i] holds jobs */
    size_t count;                                /* jobs */
};

void queue_init(struct queue *queue);
/* Behind all jobs of its priority. */
void queue_push(struct queue *queue, struct job *job);
/* Before all jobs of its priority: for one that gave back what it had taken. */
void queue_push_front(struct queue *queue, struct job *job);
/* The job whose turn it is, still in the queue; NULL when empty. */
struct job *queue_front(const struct queue *queue);
/* Its turn is over: to the back of its priority. */
void queue_rotate(struct queue *queue, struct job *job);
void queue_remove(struct queue *queue, struct job *job);

#endif
