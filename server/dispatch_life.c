/* SPDX-License-Identifier: MIT */
/* Start and stop of the dispatcher: what it is made of, and the jobs that it takes up again. */
#include "server/dispatch_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/attempt.h"

#include <string.h>

static void free_timers(struct dispatch *dispatch)
{
    dispatch_timer_free(dispatch->sweep);
    dispatch_timer_free(dispatch->stopped);
    dispatch_timer_free(dispatch->stub_timer);
    dispatch_timer_free(dispatch->load_pause);
}

enum status dispatch_new(uv_loop_t *loop, struct store *store,
                         const struct dispatch_options *options,
                         const struct dispatch_events *events, void *data,
                         struct dispatch **ret_dispatch)
{
    struct dispatch *dispatch = mem_zalloc(sizeof(*dispatch));

    if (!dispatch)
        return ST_NO_MEMORY;
    dispatch->loop = loop;
    if (live_events_new(dispatch) != ST_OK) {
        mem_free(dispatch);
        return ST_NO_MEMORY;
    }
    dispatch->sweep = dispatch_timer_new(dispatch);
    dispatch->stopped = dispatch_timer_new(dispatch);
    dispatch->stub_timer = dispatch_timer_new(dispatch);
    dispatch->load_pause = dispatch_timer_new(dispatch);
    if (!dispatch->sweep || !dispatch->stopped || !dispatch->stub_timer ||
        !dispatch->load_pause) {
        free_timers(dispatch);
        live_events_free(dispatch);
        mem_free(dispatch);
        return ST_NO_MEMORY;
    }
    dispatch->store = store;
    dispatch->options = *options;
    dispatch->events = *events;
    dispatch->data = data;
    dispatch->random = clock_mono_ns() | 1;
    dispatch->counts.wait.scale = dispatch->counts.run.scale = &histogram_durations;
    TAILQ_INIT(&dispatch->lives);
    TAILQ_INIT(&dispatch->unstored);
    TAILQ_INIT(&dispatch->kept);
    TAILQ_INIT(&dispatch->lanes);
    TAILQ_INIT(&dispatch->retries);
    TAILQ_INIT(&dispatch->for_many);
    TAILQ_INIT(&dispatch->leaving);
    TAILQ_INIT(&dispatch->audiences);
    TAILQ_INIT(&dispatch->doomed);
    *ret_dispatch = dispatch;
    return ST_OK;
}

static void drop_all(struct dispatch *dispatch)
{
    struct live *live;

    while ((live = TAILQ_FIRST(&dispatch->lives))) {
        waiter_wake_all(&live->waiters, WAKE_SHUTDOWN, ST_OK);
        if (live->job.place.queued)
            queue_remove(live_queue(live), &live->job.place);
        live_forget(live);
    }
}

void dispatch_free(struct dispatch *dispatch)
{
    struct task_cost *cost, *next;

    if (!dispatch)
        return;
    dispatch->closed = true;
    drop_all(dispatch);
    stubs_free(dispatch);
    dispatch_free_pools(dispatch);
    usages_free(dispatch);
    HASH_ITER (hh, dispatch->costs, cost, next) {
        HASH_DEL(dispatch->costs, cost);
        mem_free(cost);
    }
    free_timers(dispatch);
    live_events_free(dispatch);
    mem_free(dispatch);
}

struct lane *lane_or_default(struct dispatch *dispatch, const char *name)
{
    struct lane *lane = dispatch_lane(dispatch, name);

    return lane ? lane : dispatch_first_lane(dispatch);
}

/* What its items have used up of their budgets before the restart. */
static enum status restore_budgets(struct live *live)
{
    uint64_t number = live->attempts.dropped;
    enum status st = ST_OK;

    for (size_t i = 0; i < live->attempts.count && st == ST_OK; i++) {
        struct attempt_cost cost;

        if (++number <= live->job.status.forgiven)
            continue;
        st = attempt_read(blob_text(attempt_log_at(&live->attempts, i)), &cost);
        if (st == ST_OK)
            st = job_restore_trouble(&live->job, cost.item, cost.number, cost.is_crash);
        else if (st == ST_INVALID) /* a record for people: it has no checksum */
            st = ST_OK;
    }
    return st;
}

enum status live_restore(struct lane *lane, struct stored_job *stored,
                         struct live **ret_live)
{
    struct live *live = live_new(lane->dispatch, lane, job_spec_ref(stored->spec));
    enum status st;

    if (!live) {
        stored_job_clear(stored);
        return ST_NO_MEMORY;
    }
    live->attempts = stored->attempts;
    if (stored->log && job_log_restore(&live->log, blob_text(stored->log)) != ST_OK)
        log_warn("the log of a job cannot be read, and is begun anew", "");
    blob_unref(stored->log);
    job_clear(&live->job);
    st = job_restore(&live->job, stored->spec, &stored->status, stored->outcomes,
                     stored->outcome_count);
    memset(stored, 0, sizeof(*stored));
    if (st != ST_OK) {
        attempt_log_clear(&live->attempts);
        job_log_clear(&live->log);
        lane_job_leaves(live->lane);
        mem_free(live);
        return st;
    }
    live->job.owner = live;
    if (!live_all_arrived(live) || restore_budgets(live) != ST_OK) {
        live_free(live);
        return ST_NO_MEMORY;
    }
    live->in_store = true;
    *ret_live = live;
    return ST_OK;
}

static enum status take_up(void *data, const struct stored_stub *stored)
{
    return stub_take_up(data, stored);
}

static void take_up_event(void *data, const struct event *event)
{
    events_restore(((struct dispatch *)data)->events_log, event);
}

enum status dispatch_start(struct dispatch *dispatch, struct error_text *err)
{
    struct uuid newest = { { 0 } };
    enum status st = dispatch_load_pools(dispatch, err);

    if (st == ST_OK)
        st = store_load_unfinished(dispatch->store, take_up, dispatch, &newest, err);
    if (st == ST_OK)
        st = store_load_events(dispatch->store, take_up_event, dispatch, err);
    if (st != ST_OK)
        return st;
    uuid_generator_after(&dispatch->ids, newest);
    if (dispatch->jobs)
        log_info("unfinished jobs go on", "jobs=%zu", dispatch->jobs);
    stubs_load_begun(dispatch);
    dispatch_start_pools(dispatch);
    return ST_OK;
}

void dispatch_drain(struct dispatch *dispatch)
{
    struct live *live, *next;

    if (dispatch->draining)
        return;
    dispatch->draining = true;
    while ((live = TAILQ_FIRST(&dispatch->unstored)))
        dispatch_record(live);
    TAILQ_FOREACH (live, &dispatch->lives, link)
        lane_recall(live->lane, live, false);
    for (live = TAILQ_FIRST(&dispatch->lives); live; live = next) {
        next = TAILQ_NEXT(live, link);
        if (live->job.spec->fed)
            live_end_fed(live);
    }
    if (!dispatch_in_flight(dispatch))
        dispatch->events.on_drained(dispatch->data);
}

bool dispatch_draining(const struct dispatch *dispatch)
{
    return dispatch->draining;
}

enum status dispatch_admits(const struct dispatch *dispatch, size_t count, uint64_t bytes,
                            bool stored)
{
    uint64_t max_bytes = dispatch->options.max_queued_bytes;

    if (dispatch->draining)
        return ST_STATE;
    if (dispatch->jobs + count > dispatch->options.max_queued_jobs)
        return ST_LIMIT;
    if (max_bytes && dispatch->bytes && dispatch->bytes + bytes > max_bytes)
        return ST_LIMIT;
    return stored && dispatch->disk != DISK_ENOUGH ? ST_STORAGE_FULL : ST_OK;
}

void dispatch_set_disk(struct dispatch *dispatch, enum disk_level level)
{
    struct lane *lane;

    dispatch->disk = level;
    TAILQ_FOREACH (lane, &dispatch->lanes, link)
        lane_pump(lane);
}

void dispatch_wake_all(struct dispatch *dispatch)
{
    struct live *live, *next;

    dispatch->closed = true;
    (void)uv_timer_stop(dispatch->sweep);
    (void)uv_timer_stop(dispatch->stub_timer);
    (void)uv_timer_stop(dispatch->load_pause);
    TAILQ_FOREACH (live, &dispatch->lives, link)
        live_arm(live, 0);
    for (live = TAILQ_FIRST(&dispatch->lives); live; live = next) {
        next = TAILQ_NEXT(live, link);
        waiter_wake_all(&live->waiters, WAKE_SHUTDOWN, ST_OK);
    }
    stubs_wake(dispatch, WAKE_SHUTDOWN);
    waiter_wake_all(&dispatch->for_many, WAKE_SHUTDOWN, ST_OK);
    events_end(dispatch->events_log);
}
