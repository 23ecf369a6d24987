/* SPDX-License-Identifier: MIT */
/* The timers of libuv, as far as the core uses them, on a clock that moves when it is told. */
#include "tests/sim/sim.h"

#include <assert.h>

/* In uv_handle_t.flags, which are ours here. */
#define IS_ACTIVE 1u

static struct sim *sim_of(const uv_timer_t *timer)
{
    return timer->loop->data;
}

static uint64_t loop_ms(const struct sim *sim)
{
    return sim->mono_ns / NS_PER_MS;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
    timer->loop = loop;
    timer->flags = 0;
    timer->type = UV_TIMER;
    return 0;
}

static void forget(uv_timer_t *timer)
{
    struct sim *sim = sim_of(timer);
    size_t at = 0;

    if (!(timer->flags & IS_ACTIVE))
        return;
    timer->flags &= ~IS_ACTIVE;
    while (sim->timers[at] != timer)
        at++;
    sim->timers[at] = sim->timers[--sim->timer_count];
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb on_timer, uint64_t timeout,
                   uint64_t repeat)
{
    struct sim *sim = sim_of(timer);

    forget(timer);
    assert(sim->timer_count < SIM_TIMERS);
    timer->timer_cb = on_timer;
    timer->timeout = loop_ms(sim) + timeout;
    timer->repeat = repeat;
    timer->start_id = sim->timer_starts++;
    timer->flags |= IS_ACTIVE;
    sim->timers[sim->timer_count++] = timer;
    return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
    forget(timer);
    return 0;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *timer)
{
    uint64_t now_ms = loop_ms(sim_of(timer));

    return timer->timeout > now_ms ? timer->timeout - now_ms : 0;
}

int uv_is_active(const uv_handle_t *handle)
{
    return (handle->flags & IS_ACTIVE) != 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb on_closed)
{
    struct sim *sim = handle->loop->data;

    forget((uv_timer_t *)handle);
    assert(sim->closing_count < SIM_TIMERS);
    sim->closing[sim->closing_count].handle = handle;
    sim->closing[sim->closing_count++].done = on_closed;
}

void sim_close_handles(struct sim *sim)
{
    while (sim->closing_count) {
        sim->closing_count--;
        if (sim->closing[sim->closing_count].done)
            sim->closing[sim->closing_count].done(
                sim->closing[sim->closing_count].handle);
    }
}

static uv_timer_t *first_timer(const struct sim *sim)
{
    uv_timer_t *first = NULL;

    for (size_t i = 0; i < sim->timer_count; i++) {
        uv_timer_t *timer = sim->timers[i];

        if (!first || timer->timeout < first->timeout ||
            (timer->timeout == first->timeout && timer->start_id < first->start_id))
            first = timer;
    }
    return first;
}

uint64_t sim_next_due(const struct sim *sim)
{
    const uv_timer_t *first = first_timer(sim);
    uint64_t due_ns = first ? first->timeout * NS_PER_MS : 0;

    return !first ? UINT64_MAX : due_ns > sim->mono_ns ? due_ns - sim->mono_ns : 0;
}

void sim_advance(struct sim *sim, uint64_t ns)
{
    int64_t before_ms = (int64_t)(sim->mono_ns / NS_PER_MS);

    sim->mono_ns += ns;
    sim->wall_ms += (int64_t)(sim->mono_ns / NS_PER_MS) - before_ms;
    clock_fake(sim->mono_ns, sim->wall_ms);
}

/* Those that are started meanwhile have their turn the next time, as in libuv. */
bool sim_fire(struct sim *sim)
{
    uint64_t starts = sim->timer_starts;
    bool fired = false;

    for (;;) {
        uv_timer_t *timer = first_timer(sim);

        if (!timer || timer->timeout > loop_ms(sim) || timer->start_id >= starts)
            return fired;
        forget(timer);
        if (timer->repeat)
            (void)uv_timer_start(timer, timer->timer_cb, timer->repeat, timer->repeat);
        timer->timer_cb(timer);
        fired = true;
    }
}
