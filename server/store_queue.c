/* SPDX-License-Identifier: MIT */
#include "server/store_queue.h"

#include "common/clock.h"

#include <errno.h>
#include <time.h>

enum status store_queue_init(struct store_queue *queue)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    STAILQ_INIT(&queue->list);
    if (rc != 0)
        return ST_NO_MEMORY;
    /* The wall clock may jump while the taker waits. */
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (rc == 0)
        rc = pthread_cond_init(&queue->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (rc != 0)
        return ST_NO_MEMORY;
    if (pthread_mutex_init(&queue->lock, NULL) != 0) {
        pthread_cond_destroy(&queue->changed);
        return ST_NO_MEMORY;
    }
    queue->made = true;
    return ST_OK;
}

void store_queue_clear(struct store_queue *queue)
{
    if (!queue->made)
        return;
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->changed);
    queue->made = false;
}

void store_queue_push(struct store_queue *queue, struct store_command *command,
                      bool urgent)
{
    pthread_mutex_lock(&queue->lock);
    if (STAILQ_EMPTY(&queue->list) || (urgent && !queue->urgent))
        pthread_cond_signal(&queue->changed);
    queue->urgent = queue->urgent || urgent;
    STAILQ_INSERT_TAIL(&queue->list, command, link);
    pthread_mutex_unlock(&queue->lock);
}

void store_queue_close(struct store_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

/* Not from clock.h: a test that stops that clock must not stop the waiting. */
static struct timespec deadline_in(int timeout_ms)
{
    struct timespec at;
    int64_t ns;

    clock_gettime(CLOCK_MONOTONIC, &at);
    ns = at.tv_nsec + (int64_t)(timeout_ms % 1000) * (int64_t)NS_PER_MS;
    at.tv_sec += timeout_ms / 1000 + (time_t)(ns / (int64_t)NS_PER_SEC);
    at.tv_nsec = (long)(ns % (int64_t)NS_PER_SEC);
    return at;
}

enum store_queue_state store_queue_wait(struct store_queue *queue, int timeout_ms)
{
    enum store_queue_state state = STORE_QUEUE_READY;
    struct timespec deadline = { 0 };
    int rc = 0;

    if (timeout_ms >= 0)
        deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&queue->lock);
    while (STAILQ_EMPTY(&queue->list) && !queue->closed && rc != ETIMEDOUT) {
        if (timeout_ms < 0)
            rc = pthread_cond_wait(&queue->changed, &queue->lock);
        else
            rc = pthread_cond_timedwait(&queue->changed, &queue->lock, &deadline);
    }
    if (STAILQ_EMPTY(&queue->list))
        state = queue->closed ? STORE_QUEUE_CLOSED : STORE_QUEUE_IDLE;
    pthread_mutex_unlock(&queue->lock);
    return state;
}

void store_queue_gather(struct store_queue *queue, int timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    int rc = 0;

    pthread_mutex_lock(&queue->lock);
    while (!queue->urgent && !queue->closed && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&queue->changed, &queue->lock, &deadline);
    pthread_mutex_unlock(&queue->lock);
}

void store_queue_pause(struct store_queue *queue, int timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    int rc = 0;

    pthread_mutex_lock(&queue->lock);
    while (!queue->closed && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&queue->changed, &queue->lock, &deadline);
    pthread_mutex_unlock(&queue->lock);
}

bool store_queue_closed(struct store_queue *queue)
{
    bool closed;

    pthread_mutex_lock(&queue->lock);
    closed = queue->closed;
    pthread_mutex_unlock(&queue->lock);
    return closed;
}

size_t store_queue_take(struct store_queue *queue, size_t max_count, size_t max_bytes,
                        struct store_command_list *ret_list)
{
    size_t count = 0, bytes = 0;

    pthread_mutex_lock(&queue->lock);
    while (count < max_count && bytes < max_bytes && !STAILQ_EMPTY(&queue->list)) {
        struct store_command *command = STAILQ_FIRST(&queue->list);

        STAILQ_REMOVE_HEAD(&queue->list, link);
        STAILQ_INSERT_TAIL(ret_list, command, link);
        bytes += command->bytes;
        count++;
    }
    if (STAILQ_EMPTY(&queue->list))
        queue->urgent = false;
    pthread_mutex_unlock(&queue->lock);
    return count;
}

void store_queue_put_back(struct store_queue *queue, struct store_command_list *list)
{
    pthread_mutex_lock(&queue->lock);
    STAILQ_CONCAT(list, &queue->list);
    STAILQ_CONCAT(&queue->list, list);
    queue->urgent = true;
    pthread_mutex_unlock(&queue->lock);
}

void store_queue_take_kind(struct store_queue *queue, enum store_command_kind kind,
                           struct store_command_list *ret_list)
{
    struct store_command_list rest = STAILQ_HEAD_INITIALIZER(rest);
    struct store_command *command;

    pthread_mutex_lock(&queue->lock);
    while ((command = STAILQ_FIRST(&queue->list))) {
        STAILQ_REMOVE_HEAD(&queue->list, link);
        STAILQ_INSERT_TAIL(command->kind == kind ? ret_list : &rest, command, link);
    }
    STAILQ_CONCAT(&queue->list, &rest);
    pthread_mutex_unlock(&queue->lock);
}
