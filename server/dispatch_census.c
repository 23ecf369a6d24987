/* SPDX-License-Identifier: MIT */
/*
 * Looking at all jobs at once, for who looks from outside: how many there are in each
 * state, who waits longest, and whether jobs and workers agree on what runs.
 */
#include "server/dispatch_private.h"

#include "common/clock.h"

#include <string.h>

uint64_t live_waits_since_ns(const struct live *live)
{
    return live->start_ns > live->submitted_ns ? live->start_ns : live->submitted_ns;
}

uint64_t mono_since(int64_t wall_ms)
{
    int64_t ago_ms = clock_wall_ms() - wall_ms;
    uint64_t ago_ns = ago_ms > 0 ? (uint64_t)ago_ms * NS_PER_MS : 0;
    uint64_t now_ns = clock_mono_ns();

    return ago_ns < now_ns ? now_ns - ago_ns : 1;
}

void live_count(struct live *live)
{
    live->cost->submitted[live->job.spec->method]++;
}

static void see(struct lane *lane, uint64_t since_ns)
{
    if (!lane->census.oldest_ns || since_ns < lane->census.oldest_ns)
        lane->census.oldest_ns = since_ns;
}

/* Those in the queue. */
static void see_stubs(struct lane *lane)
{
    struct queue_place *place;

    lane->census.states[JOB_QUEUED] += lane->queue.stubs;
    /* Of each priority the first one has waited longest. */
    for (unsigned i = 0; i < QUEUE_LEVELS; i++) {
        struct stub *stub;
        uint64_t since_ns;

        place = lane->queue.levels[i].first_stub;
        if (!place)
            continue;
        stub = stub_of(place);
        since_ns = mono_since(uuid_time_ms(stub->id));
        see(lane, stub->start_ns > since_ns ? stub->start_ns : since_ns);
    }
}

/* The stubs that are not in the queue: there may be too many to look at. */
static void see_scheduled(struct lane *lane)
{
    size_t seen = 0;

    for (enum job_state state = 0; state < JOB_STATE_COUNT; state++)
        if (!job_state_final(state))
            seen += lane->census.states[state];
    if (lane->jobs > seen)
        lane->census.states[JOB_SCHEDULED] += lane->jobs - seen;
}

int64_t dispatch_take_census(struct dispatch *dispatch)
{
    int64_t mismatch = 0;
    struct live *live;
    struct lane *lane;

    TAILQ_FOREACH (lane, &dispatch->lanes, link) {
        memset(&lane->census, 0, sizeof(lane->census));
        see_stubs(lane);
        for (unsigned i = 0; lane_pool_at(lane, i); i++)
            mismatch -= (int64_t)pool_items(lane_pool_at(lane, i));
    }
    TAILQ_FOREACH (lane, &dispatch->leaving, link)
        for (unsigned i = 0; lane_pool_at(lane, i); i++)
            mismatch -= (int64_t)pool_items(lane_pool_at(lane, i));
    TAILQ_FOREACH (live, &dispatch->lives, link) {
        enum job_state state = live->job.status.state;

        mismatch += (int64_t)live->job.in_flight;
        live->lane->census.states[state]++;
        if (state == JOB_QUEUED)
            see(live->lane, live_waits_since_ns(live));
    }
    TAILQ_FOREACH (lane, &dispatch->lanes, link)
        see_scheduled(lane);
    return mismatch;
}

void dispatch_each_task(const struct dispatch *dispatch,
                        void (*each)(void *data, const char *task,
                                     const uint64_t submitted[JOB_METHOD_COUNT]),
                        void *data)
{
    const struct task_cost *cost;

    for (cost = dispatch->costs; cost; cost = cost->hh.next)
        each(data, cost->task, cost->submitted);
}

const struct dispatch_counts *dispatch_counts(const struct dispatch *dispatch)
{
    return &dispatch->counts;
}
