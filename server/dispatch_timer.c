/* SPDX-License-Identifier: MIT */
/* Timers: when a job that has not started is to start, or expires. */
#include "server/dispatch_private.h"

#include "common/clock.h"
#include "common/mem.h"

static uv_timer_t *timer_new(struct dispatch *dispatch, void *data)
{
    uv_timer_t *timer = mem_alloc(sizeof(*timer));

    if (!timer)
        return NULL;
    (void)uv_timer_init(dispatch->loop, timer);
    timer->data = data;
    return timer;
}

uv_timer_t *dispatch_timer_new(struct dispatch *dispatch)
{
    return timer_new(dispatch, dispatch);
}

static void on_timer_closed(uv_handle_t *handle)
{
    mem_free(handle);
}

void dispatch_timer_free(uv_timer_t *timer)
{
    if (timer)
        uv_close((uv_handle_t *)timer, on_timer_closed);
}

/* When something happens to a job that has not started: its start, or its expiry. */
static uint64_t next_due_ns(const struct live *live)
{
    if (live->job.status.state != JOB_SCHEDULED)
        return live->expires_ns;
    return live->expires_ns && live->expires_ns < live->start_ns ? live->expires_ns
                                                                 : live->start_ns;
}

static void live_due(struct live *live)
{
    uint64_t now_ns = clock_mono_ns();
    enum job_state state = live->job.status.state;

    if (live->ending || job_state_final(state))
        return;
    if (state <= JOB_QUEUED && live->expires_ns && now_ns >= live->expires_ns) {
        job_stop(&live->job, JOB_EXPIRED);
        live_settle(live);
        return;
    }
    if (state == JOB_SCHEDULED && now_ns >= live->start_ns) {
        job_set_state(&live->job, JOB_QUEUED, clock_wall_ms());
        waiter_wake_all(&live->waiters, WAKE_CHANGE, ST_OK);
    }
    if (live->job.status.state <= JOB_QUEUED)
        live_arm_due(live);
    if (live->job.status.state != JOB_SCHEDULED)
        lane_offer(live->lane, live);
    live_settle(live);
}

static void on_live_timer(uv_timer_t *timer)
{
    live_due(timer->data);
}

void live_arm_due(struct live *live)
{
    live_arm(live, next_due_ns(live));
}

void live_arm(struct live *live, uint64_t at_ns)
{
    uint64_t now_ns;

    if (!at_ns) {
        if (live->timer)
            (void)uv_timer_stop(live->timer);
        return;
    }
    if (!live->timer)
        live->timer = timer_new(live->dispatch, live);
    if (!live->timer) {
        live_out_of_memory(live);
        return;
    }
    /* The loop's time may be older than now, and the timer then early: live_due looks at
     * the clock and arms it again. */
    now_ns = clock_mono_ns();
    (void)uv_timer_start(
        live->timer, on_live_timer,
        at_ns > now_ns ? (at_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0, 0);
}

uint64_t mono_of(int64_t wall_ms)
{
    int64_t delta_ms = wall_ms - clock_wall_ms();

    return clock_mono_ns() + (delta_ms > 0 ? (uint64_t)delta_ms * NS_PER_MS : 0);
}
