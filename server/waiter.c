/* SPDX-License-Identifier: MIT */
#include "server/waiter.h"

#include "common/mem.h"

struct waiter {
    TAILQ_ENTRY(waiter) link;
    struct waiter_list *list;
    size_t *count;
    enum wait_for wait_for;
    waiter_woken *on_wake;
    void *data;
    uv_timer_t timer;
};

static void on_timer_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void waiter_end(struct waiter *waiter)
{
    if (!waiter)
        return;
    TAILQ_REMOVE(waiter->list, waiter, link);
    --*waiter->count;
    uv_close((uv_handle_t *)&waiter->timer, on_timer_closed);
}

static void wake(struct waiter *waiter, enum wake why, enum status st)
{
    waiter_woken *on_wake = waiter->on_wake;
    void *data = waiter->data;

    waiter_end(waiter);
    on_wake(data, why, st);
}

static void on_timer(uv_timer_t *timer)
{
    wake(timer->data, WAKE_TIMEOUT, ST_OK);
}

struct waiter *waiter_new(uv_loop_t *loop, struct waiter_list *list,
                          enum wait_for wait_for, int64_t timeout_ms, size_t *count,
                          waiter_woken *on_wake, void *data)
{
    struct waiter *waiter = mem_alloc(sizeof(*waiter));

    if (!waiter)
        return NULL;
    waiter->list = list;
    waiter->count = count;
    ++*count;
    waiter->wait_for = wait_for;
    waiter->on_wake = on_wake;
    waiter->data = data;
    (void)uv_timer_init(loop, &waiter->timer);
    waiter->timer.data = waiter;
    if (timeout_ms >= 0)
        (void)uv_timer_start(&waiter->timer, on_timer, (uint64_t)timeout_ms, 0);
    TAILQ_INSERT_TAIL(list, waiter, link);
    return waiter;
}

void waiter_move_all(struct waiter_list *from, struct waiter_list *to)
{
    struct waiter *waiter;

    TAILQ_FOREACH (waiter, from, link)
        waiter->list = to;
    TAILQ_CONCAT(to, from, link);
}

void waiter_wake_all(struct waiter_list *list, enum wake why, enum status st)
{
    struct waiter_list woken = TAILQ_HEAD_INITIALIZER(woken);
    struct waiter *waiter, *next;

    /* Moved aside first: a call may add waiters to the list, or end others of it. */
    for (waiter = TAILQ_FIRST(list); waiter; waiter = next) {
        next = TAILQ_NEXT(waiter, link);
        if ((why == WAKE_ACCEPTED && waiter->wait_for != WAIT_ACCEPTED) ||
            (why == WAKE_WHOLE && waiter->wait_for != WAIT_WHOLE) ||
            (why == WAKE_CHANGE && waiter->wait_for != WAIT_CHANGE))
            continue;
        TAILQ_REMOVE(list, waiter, link);
        TAILQ_INSERT_TAIL(&woken, waiter, link);
        waiter->list = &woken;
    }
    while ((waiter = TAILQ_FIRST(&woken)))
        wake(waiter, why, st);
}
