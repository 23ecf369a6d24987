/* SPDX-License-Identifier: MIT */
/*
 * Jobs that wait and are only in the store: how a job becomes a stub, what happens to it
 * while it is one, and how it becomes whole again. What is read when is in dispatch_load.c.
 *
 *     live ── accepted, stored, not begun, nobody reads from it, no room ──> stub
 *      ^                                                                      │
 *      │                     scheduled ── its time ──> queued ────────────────┤
 *      └── read, and it goes on: its turn is near, or somebody wants it <─────┤
 *      └── read, and it ends: cancelled, expired, its pool has ended <────────┘
 *
 * A stub is in exactly one place: in its pool's queue; in lane->scheduled; to end, in
 * dispatch->doomed; or, when such a one is being read, in none.
 */
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/dispatch_private.h"

#include <assert.h>
#include <string.h>

/* Stubs that are due, for one turn of the loop. */
#define DUE_EACH 1000
/* Whole jobs that are looked at until one is found that may become a stub. */
#define ROOM_TRIES 8

/* ---- times ------------------------------------------------------------------------- */

static void arm_stub_timer(struct dispatch *dispatch)
{
    const struct stub *next = stubs_next(&dispatch->stubs);
    uint64_t now_ns = clock_mono_ns(), at_ns = next ? stub_due_ns(next) : 0;

    if (!next || dispatch->closed)
        (void)uv_timer_stop(dispatch->stub_timer);
    else
        (void)uv_timer_start(
            dispatch->stub_timer, stub_on_timer,
            at_ns > now_ns ? (at_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0, 0);
}

/* Its start time has come. */
static void stub_start(struct stub *stub)
{
    struct lane *lane = stub->lane;

    TAILQ_REMOVE(&lane->scheduled, &stub->place, link);
    stub->state = JOB_QUEUED;
    stubs_retime(&lane->dispatch->stubs, stub);
    queue_push(&lane->queue, &stub->place);
    if (stub->audience)
        waiter_wake_all(&stub->audience->waiters, WAKE_CHANGE, ST_OK);
    lane_pump(lane);
}

void stub_on_timer(uv_timer_t *timer)
{
    struct dispatch *dispatch = timer->data;
    uint64_t now_ns = clock_mono_ns();
    struct stub *stub;

    for (unsigned i = 0; i < DUE_EACH; i++) {
        stub = stubs_next(&dispatch->stubs);
        if (!stub || stub_due_ns(stub) > now_ns)
            break;
        if (stub->expires_ns && stub->expires_ns <= now_ns)
            stub_end(stub, JOB_EXPIRED);
        else
            stub_start(stub);
    }
    arm_stub_timer(dispatch);
}

/* ---- who waits --------------------------------------------------------------------- */

static void audience_free(struct dispatch *dispatch, struct audience *audience)
{
    assert(TAILQ_EMPTY(&audience->waiters));
    audience->stub->audience = NULL;
    TAILQ_REMOVE(&dispatch->audiences, audience, link);
    mem_free(audience);
}

/* Nobody tells when the last one has left, so some of the others are looked at whenever a
 * new one comes: there are never many more than are needed. */
static void tidy_audiences(struct dispatch *dispatch)
{
    struct audience *audience;

    for (unsigned i = 0; i < 2; i++) {
        audience = TAILQ_FIRST(&dispatch->audiences);
        if (!audience)
            return;
        if (TAILQ_EMPTY(&audience->waiters)) {
            audience_free(dispatch, audience);
            continue;
        }
        TAILQ_REMOVE(&dispatch->audiences, audience, link);
        TAILQ_INSERT_TAIL(&dispatch->audiences, audience, link);
    }
}

struct waiter_list *stub_waiters(struct stub *stub)
{
    struct dispatch *dispatch = stub->lane->dispatch;

    if (stub->audience)
        return &stub->audience->waiters;
    tidy_audiences(dispatch);
    stub->audience = mem_alloc(sizeof(*stub->audience));
    if (!stub->audience)
        return NULL;
    stub->audience->stub = stub;
    TAILQ_INIT(&stub->audience->waiters);
    TAILQ_INSERT_TAIL(&dispatch->audiences, stub->audience, link);
    return &stub->audience->waiters;
}

static void move_audience(struct stub *stub, struct waiter_list *to)
{
    if (!stub->audience)
        return;
    waiter_move_all(&stub->audience->waiters, to);
    audience_free(stub->lane->dispatch, stub->audience);
}

void stubs_wake(struct dispatch *dispatch, enum wake wake)
{
    struct audience *audience, *next;

    for (audience = TAILQ_FIRST(&dispatch->audiences); audience; audience = next) {
        next = TAILQ_NEXT(audience, link);
        waiter_wake_all(&audience->waiters, wake, ST_OK);
    }
}

/* ---- from a whole job -------------------------------------------------------------- */

/* NULL without memory. */
static struct stub *stub_new(struct dispatch *dispatch, struct lane *lane,
                             const struct stub *from)
{
    struct stub *stub = mem_alloc(sizeof(*stub));

    if (!stub)
        return NULL;
    *stub = *from;
    stub->lane = lane;
    stub->end = JOB_STATE_COUNT;
    if (stubs_add(&dispatch->stubs, stub)) {
        if (stubs_next(&dispatch->stubs) == stub)
            arm_stub_timer(dispatch);
        return stub;
    }
    mem_free(stub);
    return NULL;
}

static void stub_free(struct stub *stub)
{
    stubs_remove(&stub->lane->dispatch->stubs, stub);
    mem_free(stub);
}

/* Whether all that the job is can be read from the store again. */
static bool may_be_stub(const struct live *live)
{
    const struct job *job = &live->job;
    bool begun = job->status.started_at_ms || job->outcome_count || job->in_flight ||
                 job->troubles || live->attempts.count;

    return live->stored && !job->spec->fed && live->findable && live->accepted &&
           !live->pins && !live->ending && !begun && job->end == JOB_STATE_COUNT &&
           (job->place.queued || job->status.state == JOB_SCHEDULED) &&
           job->status.state <= JOB_QUEUED && !job->spec->window &&
           !live->dispatch->closed;
}

/* Without memory it stays whole. */
static void become_stub(struct live *live)
{
    struct lane *lane = live->lane;
    struct queue_place *place = &live->job.place;
    struct stub *stub =
        stub_new(lane->dispatch, lane,
                 &(struct stub){
                     .place = { .bytes = place->bytes, .priority = place->priority },
                     .id = live->id,
                     .owner = live->job.spec->owner,
                     .start_ns = live->start_ns,
                     .expires_ns = live->expires_ns,
                     .state = (uint8_t)live->job.status.state,
                 });

    if (!stub)
        return;
    if (!TAILQ_EMPTY(&live->waiters) && !stub_waiters(stub)) {
        stub_free(stub);
        return;
    }
    if (stub->audience)
        waiter_move_all(&live->waiters, &stub->audience->waiters);
    unique_to_stub(live, stub);
    if (place->queued)
        queue_replace(&lane->queue, place, &stub->place);
    else
        TAILQ_INSERT_TAIL(&lane->scheduled, &stub->place, link);
    live_leave(live);
}

static bool too_much(const struct lane *lane)
{
    const struct dispatch_options *options = &lane->dispatch->options;
    size_t whole = lane->queue.count - lane->queue.stubs;

    return whole > options->queue_window ||
           (whole > 1 && lane->queue.whole_bytes > options->queue_window_bytes);
}

/* The last job in the queue that may become a stub. */
static struct live *last_of(const struct lane *lane)
{
    struct queue_place *place = queue_last_whole(&lane->queue);

    for (unsigned i = 0; place && i < ROOM_TRIES; i++) {
        struct job *job = queue_job(place);

        if (may_be_stub(job->owner))
            return job->owner;
        place = queue_whole_before(place);
    }
    return NULL;
}

void stub_make_room(struct live *live)
{
    struct lane *lane = live->lane;
    struct live *last;

    if (!may_be_stub(live))
        return;
    if (live->job.status.state == JOB_SCHEDULED) {
        if (lane->lives > lane->dispatch->options.queue_window)
            become_stub(live);
    } else if (queue_behind_stub(&lane->queue, &live->job.place)) {
        become_stub(live); /* what room there is belongs to those before it */
    } else if (too_much(lane)) {
        last = last_of(lane);
        become_stub(last ? last : live);
    }
}

/* ---- from the store ---------------------------------------------------------------- */

enum status stub_take_up(struct dispatch *dispatch, const struct stored_stub *stored)
{
    struct lane *lane = lane_or_default(dispatch, stored->pool);
    bool waits = stored->state == JOB_SCHEDULED && !stored->begun;
    struct stub *stub =
        stub_new(dispatch, lane,
                 &(struct stub){
                     .place = { .bytes = (uint32_t)stored->bytes,
                                .priority = (int8_t)stored->priority },
                     .id = stored->id,
                     .owner = stored->owner,
                     .start_ns = waits ? mono_of(stored->start_at_ms) : 0,
                     /* One that has begun expires no more. */
                     .expires_ns = stored->expires_at_ms && !stored->begun
                                       ? mono_of(stored->expires_at_ms)
                                       : 0,
                     .state = (uint8_t)(waits ? JOB_SCHEDULED : JOB_QUEUED),
                     .begun = stored->begun,
                 });

    if (stub && !usage_enter(dispatch, stub->owner, stub->place.bytes)) {
        stub_free(stub);
        stub = NULL;
    }
    if (!stub)
        return ST_NO_MEMORY;
    if (waits)
        TAILQ_INSERT_TAIL(&lane->scheduled, &stub->place, link);
    else
        queue_push(&lane->queue, &stub->place);
    if (strcmp(lane->spec->name, stored->pool) == 0) /* else its pool is gone */
        unique_enter_stub(stub, stored->unique_key, stored->idempotency_key);
    lane->jobs_total++;
    lane->jobs++;
    dispatch->jobs++;
    return ST_OK;
}

/* Only what has not begun waits as a stub, and what was replaced does not wait any more. */
void stubs_load_begun(struct dispatch *dispatch)
{
    const struct lane *lane;

    TAILQ_FOREACH (lane, &dispatch->lanes, link) {
        struct queue_place *place = queue_first_stub(&lane->queue);

        for (; place; place = queue_next_stub(&lane->queue, place))
            if (stub_of(place)->begun)
                load_stub(stub_of(place));
    }
    load_doomed(dispatch);
}

/* ---- the end ----------------------------------------------------------------------- */

/* Out of the place where it is. */
static void leave_place(struct stub *stub)
{
    struct lane *lane = stub->lane;

    if (stub->place.queued)
        queue_remove(&lane->queue, &stub->place);
    else if (stub->end == JOB_STATE_COUNT)
        TAILQ_REMOVE(&lane->scheduled, &stub->place, link);
    else if (!stub->loading)
        TAILQ_REMOVE(&lane->dispatch->doomed, &stub->place, link);
}

void stub_doom(struct stub *stub, enum job_state end)
{
    struct dispatch *dispatch = stub->lane->dispatch;

    if (stub->end != JOB_STATE_COUNT) { /* a cancellation beats the others */
        stub->end = (uint8_t)(end == JOB_CANCELLED ? end : stub->end);
        return;
    }
    leave_place(stub);
    stub->end = (uint8_t)end;
    unique_leave_stub(stub);
    stub->start_ns = stub->expires_ns = 0;
    stubs_retime(&dispatch->stubs, stub);
    if (!stub->loading)
        TAILQ_INSERT_TAIL(&dispatch->doomed, &stub->place, link);
}

void stub_end(struct stub *stub, enum job_state end)
{
    stub_doom(stub, end);
    load_doomed(stub->lane->dispatch);
}

void stub_drop(struct stub *stub, enum status why)
{
    struct waiter_list waiters = TAILQ_HEAD_INITIALIZER(waiters);
    struct lane *lane = stub->lane;
    char id[UUID_TEXT_LEN + 1];

    uuid_format(stub->id, id);
    log_error("a job that waits cannot be read, leaving it out and alone",
              "job=%s error=\"%s\"", id, status_text(why));
    leave_place(stub);
    unique_leave_stub(stub);
    move_audience(stub, &waiters);
    usage_leave(lane->dispatch, stub->owner, stub->place.bytes);
    stub_free(stub);
    lane->dispatch->jobs--;
    lane_job_over(lane);
    waiter_wake_all(&waiters, WAKE_REFUSED, why);
}

/* ---- to a whole job ---------------------------------------------------------------- */

/* It is there in the stub's stead; or ST_NO_MEMORY, and nothing has changed. */
static enum status take_stead(struct live *live, struct stub *stub)
{
    struct lane *lane = stub->lane;

    live->accepted = live->stored = true;
    live->submitted_ns = mono_since(live->job.spec->created_at_ms);
    live->start_ns = stub->start_ns;
    live->expires_ns = stub->expires_ns;
    if (live_enter(live) != ST_OK)
        return ST_NO_MEMORY;
    usage_change(lane->dispatch, stub->owner, stub->place.bytes, live->job.place.bytes);
    unique_to_live(stub, live);
    move_audience(stub, &live->waiters);
    if (stub->state == JOB_QUEUED && live->job.status.state == JOB_SCHEDULED)
        job_set_state(&live->job, JOB_QUEUED, clock_wall_ms());
    if (stub->place.queued) {
        live->job.place.priority = stub->place.priority;
        queue_replace(&lane->queue, &stub->place, &live->job.place);
    } else {
        leave_place(stub);
    }
    stub_free(stub);
    return ST_OK;
}

/* A job that was read to be ended. */
static void end_doomed(struct live *live, enum job_state end)
{
    live->doomed = true;
    live->dispatch->dooming++;
    if (end == JOB_FAILED) {
        lane_fail_job(live);
        return;
    }
    job_stop(&live->job, end);
    live_settle(live);
}

enum status stub_made_whole(struct stub *stub, struct stored_job *stored)
{
    struct lane *lane = stub->lane;
    /* It may have been read since before its pool ended. */
    enum job_state end = stub->end != JOB_STATE_COUNT ? stub->end : lane->doom;
    uint64_t expires_ns = stub->expires_ns;
    struct live *live;
    enum status st;

    if (job_state_final(stored->status.state)) {
        stored_job_clear(stored);
        return ST_CORRUPT; /* somebody else has changed it */
    }
    st = live_restore(lane, stored, &live);
    if (st != ST_OK)
        return st;
    st = take_stead(live, stub);
    if (st != ST_OK) {
        live_free(live);
        return st;
    }
    if (end == JOB_STATE_COUNT && expires_ns && clock_mono_ns() >= expires_ns)
        end = JOB_EXPIRED;
    if (end != JOB_STATE_COUNT) {
        end_doomed(live, end);
        return ST_OK;
    }
    live_pin(live);
    if (live->job.spec->fed)
        live_end_fed(live);
    else
        live_arm_due(live);
    live_settle(live); /* nothing may be left to do of one that had begun */
    waiter_wake_all(&live->waiters, WAKE_WHOLE, ST_OK);
    live_unpin_whole(live);
    return ST_OK;
}

/* ---- life -------------------------------------------------------------------------- */

static void free_one(struct stub *stub)
{
    struct audience *audience = stub->audience;

    unique_leave_stub(stub);
    if (audience) {
        waiter_wake_all(&audience->waiters, WAKE_SHUTDOWN, ST_OK);
        audience_free(stub->lane->dispatch, audience);
    }
    mem_free(stub);
}

void stubs_free(struct dispatch *dispatch)
{
    stubs_clear(&dispatch->stubs, free_one);
}
