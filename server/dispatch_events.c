/* SPDX-License-Identifier: MIT */
/* What is told of jobs to those who follow events. */
#include "server/dispatch_private.h"

#include "common/clock.h"
#include "common/mem.h"

#define PROGRESS_EACH_NS (PROGRESS_EACH_MS * NS_PER_MS)
#define PROGRESS_LOOK_MS 50 /* how late progress may be told */

static struct event event_of(const struct live *live, enum event_kind kind,
                             enum job_state state)
{
    const struct job *job = &live->job;

    return (struct event){ .kind = kind,
                           .job = job->spec->id,
                           .owner = job->spec->owner,
                           .state = state,
                           .total = job_items(job->spec, &job->status),
                           .completed = job->status.completed,
                           .failed = job->status.failed };
}

const struct event *live_announce(struct live *live, enum event_kind kind,
                                  enum job_state state, struct event *ret_event)
{
    if (live->job.spec->durability != DURABILITY_DURABLE)
        return NULL;
    dispatch_store_started(live->dispatch); /* ids rise in the store */
    *ret_event = event_of(live, kind, state);
    live->event_id = events_add(live->dispatch->events_log, ret_event, false);
    return ret_event;
}

void live_told(struct live *live, enum event_kind kind, bool happened)
{
    struct events *events = live->dispatch->events_log;
    struct event event = event_of(live, kind, live->job.status.state);

    if (live->event_id && happened)
        events_tell(events, live->event_id);
    else if (live->event_id)
        events_drop(events, live->event_id);
    else if (happened)
        events_add(events, &event, true);
    live->event_id = 0;
}

/* Nobody's promise depends on it: it is told at once and stored behind that. */
void live_started(struct live *live)
{
    struct dispatch *dispatch = live->dispatch;
    struct event event = event_of(live, EVENT_STARTED, JOB_RUNNING);

    events_add(dispatch->events_log, &event, true);
    if (live->job.spec->durability != DURABILITY_DURABLE)
        return;
    dispatch->started[dispatch->started_count++] = event;
    if (dispatch->started_count == STARTED_MAX)
        dispatch_store_started(dispatch);
}

void dispatch_store_started(struct dispatch *dispatch)
{
    size_t count = dispatch->started_count;

    dispatch->started_count = 0;
    if (count > 0)
        store_put_events(dispatch->store, dispatch->started, count);
}

/* ---- progress ---------------------------------------------------------------------- */

static void tell_progress(struct live *live, uint64_t now_ns)
{
    struct event event = event_of(live, EVENT_PROGRESS, live->job.status.state);

    event.said = live->job.status.said;
    live->progress_ns = now_ns;
    events_add(live->dispatch->events_log, &event, true);
}

void live_hush(struct live *live)
{
    if (live->progress_due)
        TAILQ_REMOVE(&live->dispatch->unsaid, live, unsaid);
    live->progress_due = false;
}

static void on_progress_timer(uv_timer_t *timer)
{
    struct dispatch *dispatch = timer->data;
    uint64_t now_ns = clock_mono_ns();
    struct live *live, *next;

    for (live = TAILQ_FIRST(&dispatch->unsaid); live; live = next) {
        next = TAILQ_NEXT(live, unsaid);
        if (now_ns - live->progress_ns < PROGRESS_EACH_NS)
            continue;
        live_hush(live);
        tell_progress(live, now_ns);
    }
    if (TAILQ_EMPTY(&dispatch->unsaid))
        (void)uv_timer_stop(timer);
}

void live_progressed(struct live *live)
{
    const struct job_status *status = &live->job.status;
    struct dispatch *dispatch = live->dispatch;
    uint64_t now_ns;

    /* The last one is told by the job's end. */
    if (live->progress_due || live->ending || !live->findable ||
        job_state_final(status->state) ||
        (!live->job.open &&
         status->completed + status->failed >= job_items(live->job.spec, status)))
        return;
    now_ns = clock_mono_ns();
    if (now_ns - live->progress_ns >= PROGRESS_EACH_NS) {
        tell_progress(live, now_ns);
        return;
    }
    live->progress_due = true;
    TAILQ_INSERT_TAIL(&dispatch->unsaid, live, unsaid);
    if (!uv_is_active((uv_handle_t *)dispatch->progress))
        (void)uv_timer_start(dispatch->progress, on_progress_timer, PROGRESS_LOOK_MS,
                             PROGRESS_LOOK_MS);
}

/* ---- readers ----------------------------------------------------------------------- */

struct event_reader *dispatch_follow(struct dispatch *dispatch,
                                     const struct event_from *from,
                                     void (*on_wake)(void *data), void *data)
{
    if (dispatch->waiters >= dispatch->options.max_waiters)
        return NULL;
    return event_reader_open(dispatch->events_log, from, &dispatch->waiters, on_wake,
                             data);
}

uint64_t dispatch_newest_event(const struct dispatch *dispatch)
{
    return events_newest(dispatch->events_log);
}

/* ---- life -------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
    mem_free(handle);
}

enum status live_events_new(struct dispatch *dispatch)
{
    TAILQ_INIT(&dispatch->unsaid);
    dispatch->progress = mem_zalloc(sizeof(*dispatch->progress));
    if (!dispatch->progress)
        return ST_NO_MEMORY;
    dispatch->events_log = events_new(dispatch->loop, clock_wall_ms());
    if (!dispatch->events_log) {
        mem_free(dispatch->progress);
        return ST_NO_MEMORY;
    }
    (void)uv_timer_init(dispatch->loop, dispatch->progress);
    dispatch->progress->data = dispatch;
    return ST_OK;
}

void live_events_free(struct dispatch *dispatch)
{
    events_free(dispatch->events_log);
    uv_close((uv_handle_t *)dispatch->progress, on_timer_closed);
}
