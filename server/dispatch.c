/* SPDX-License-Identifier: MIT */
/*
 * Jobs from submission to end. How the items get to the workers and back is in
 * dispatch_lane.c, what becomes of the pools in dispatch_pool.c, start and stop of the whole in
 * dispatch_life.c.
 *
 * Where a live job is, and who lets it go:
 *
 *     submitted
 *       ├─ durable ─> findable, not accepted ─ commit ─> accepted, in_store ─┐
 *       ├─ relaxed ─> accepted, in `unstored` ─ 50 ms, or over ─> in_store ──┤ over
 *       └─ memory ──> accepted ─ over ─> `kept`                              └─> ending
 *                                          │ ttl                                 │ commit
 *                                          └──────────> forgotten <──────────────┘
 *                                                           └─> freed when not pinned
 */
#include "server/dispatch.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/dispatch_private.h"

#include <assert.h>
#include <string.h>

/* ---- small things ------------------------------------------------------------------ */

/* xorshift64: good enough to spread retries. */
double dispatch_random(struct dispatch *dispatch)
{
    dispatch->random ^= dispatch->random << 13;
    dispatch->random ^= dispatch->random >> 7;
    dispatch->random ^= dispatch->random << 17;
    return (double)(dispatch->random >> 11) / (double)(UINT64_C(1) << 53);
}

struct uuid dispatch_new_id(struct dispatch *dispatch, int64_t now_ms)
{
    return uuid_next(&dispatch->ids, now_ms);
}

static struct task_cost *cost_of(struct dispatch *dispatch, const char *task)
{
    size_t len = strlen(task);
    struct task_cost *cost;

    HASH_FIND(hh, dispatch->costs, task, len, cost);
    if (cost)
        return cost;
    cost = mem_zalloc(sizeof(*cost) + len + 1);
    if (!cost)
        return NULL;
    memcpy(cost->task, task, len + 1);
    HASH_ADD_KEYPTR(hh, dispatch->costs, cost->task, len, cost);
    if (hash_added(&cost->hh))
        return cost;
    mem_free(cost);
    return NULL;
}

/* ---- the life of a live job -------------------------------------------------------- */

void live_pin(struct live *live)
{
    live->pins++;
}

void live_free(struct live *live)
{
    assert(TAILQ_EMPTY(&live->chunks) && !live->job.place.queued);
    dispatch_timer_free(live->timer);
    mem_free(live->arrivals);
    attempt_log_clear(&live->attempts);
    job_log_clear(&live->log);
    job_clear(&live->job);
    lane_job_leaves(live->lane);
    mem_free(live);
}

void live_unpin_whole(struct live *live)
{
    assert(live->pins);
    if (!--live->pins && !live->findable)
        live_free(live);
}

void live_unpin(struct live *live)
{
    if (live->pins > 1 || !live->findable) {
        live_unpin_whole(live);
        return;
    }
    live->pins = 0;
    stub_make_room(live);
}

bool live_arrived(struct live *live, uint64_t first)
{
    if (live->arrival_count == live->arrival_cap) {
        size_t cap = live->arrival_cap ? live->arrival_cap * 2 : 4;
        uint64_t *bigger = mem_realloc(live->arrivals, cap * sizeof(*bigger));

        if (!bigger)
            return false;
        live->arrivals = bigger;
        live->arrival_cap = cap;
    }
    live->arrivals[live->arrival_count++] = first;
    return true;
}

bool live_all_arrived(struct live *live)
{
    live->arrival_count = 0;
    for (size_t i = 0; i < live->job.outcome_count; i++) {
        live->job.outcomes[i].shown = true;
        if (!live_arrived(live, live->job.outcomes[i].first))
            return false;
    }
    return true;
}

static void job_over(struct live *live)
{
    live->dispatch->jobs--;
    usage_leave(live->dispatch, live->job.spec->owner, live->job.place.bytes);
    live_unbind(live);
    lane_job_over(live->lane);
}

void live_leave(struct live *live)
{
    struct dispatch *dispatch = live->dispatch;

    HASH_DEL(dispatch->by_id, live);
    if (dispatch->entered == live)
        dispatch->entered = TAILQ_PREV(live, live_list, link);
    TAILQ_REMOVE(&dispatch->lives, live, link);
    live->findable = false;
    if (!live->pins)
        live_free(live);
}

void live_forget(struct live *live)
{
    aside_leave(live);
    unique_leave(live);
    live_hush(live);
    if (!job_state_final(live->job.status.state))
        job_over(live);
    live_leave(live);
}

void dispatch_forget(struct live *live)
{
    assert(live->aside_in == ASIDE_KEPT);
    live_forget(live);
}

struct live *live_new(struct dispatch *dispatch, struct lane *lane, struct job_spec *spec)
{
    struct live *live = mem_zalloc(sizeof(*live));
    struct task_cost *cost = cost_of(dispatch, spec->task);

    if (!live || !cost) {
        job_spec_unref(spec);
        mem_free(live);
        return NULL;
    }
    live->dispatch = dispatch;
    live->lane = lane;
    lane_job_enters(lane);
    live->cost = cost;
    live->id = spec->id;
    live->submitted_ns = clock_mono_ns();
    TAILQ_INIT(&live->chunks);
    TAILQ_INIT(&live->waiters);
    job_init(&live->job, spec, clock_wall_ms());
    live->job.owner = live;
    return live;
}

/* A new job is the newest one. Those that were stubs come back in the order of their queue, so
 * the place of the next one is beside that of the last one; jobs that are run again may be of
 * any age. */
static void insert_by_age(struct dispatch *dispatch, struct live *live)
{
    struct live_list *lives = &dispatch->lives;
    uint64_t key = uuid_key(live->id);
    struct live *older = TAILQ_LAST(lives, live_list), *next;

    if (older && uuid_key(older->id) > key) {
        older = dispatch->entered ? dispatch->entered : TAILQ_FIRST(lives);
        while (older && uuid_key(older->id) > key)
            older = TAILQ_PREV(older, live_list, link);
        while (older && (next = TAILQ_NEXT(older, link)) && uuid_key(next->id) <= key)
            older = next;
        dispatch->entered = live;
    }
    if (older)
        TAILQ_INSERT_AFTER(lives, older, live, link);
    else
        TAILQ_INSERT_HEAD(lives, live, link);
}

enum status live_enter(struct live *live)
{
    HASH_ADD(hh, live->dispatch->by_id, id, sizeof(live->id), live);
    if (!hash_added(&live->hh))
        return ST_NO_MEMORY;
    insert_by_age(live->dispatch, live);
    live->findable = true;
    return ST_OK;
}

enum status live_add(struct live *live, const struct unique *rival)
{
    enum status st = unique_enter(live, rival);
    uint64_t owner = live->job.spec->owner;

    if (st == ST_OK && !usage_enter(live->dispatch, owner, live->job.place.bytes))
        st = ST_NO_MEMORY;
    else if (st == ST_OK && live_enter(live) != ST_OK) {
        usage_leave(live->dispatch, owner, live->job.place.bytes);
        st = ST_NO_MEMORY;
    }
    if (st != ST_OK) {
        unique_leave(live);
        return st;
    }
    live->lane->jobs_total++;
    live->lane->jobs++;
    live->dispatch->jobs++;
    return ST_OK;
}

void live_begin(struct live *live)
{
    const struct job_spec *spec = live->job.spec;

    live->accepted = true;
    /* One that had started before a restart of the server expires no more. */
    if (spec->expires_at_ms && !live->job.status.started_at_ms &&
        !live->job.outcome_count)
        live->expires_ns = mono_of(spec->expires_at_ms);
    if (live->job.status.state == JOB_SCHEDULED)
        live->start_ns = mono_of(spec->start_at_ms);
    live_arm_due(live);
    if (live->job.status.state != JOB_SCHEDULED)
        lane_offer(live->lane, live);
    live_settle(live);
}

/* ---- the end ----------------------------------------------------------------------- */

/* Shows the end to everybody who waits. */
static void show_end(struct live *live)
{
    struct job_status status = job_end_status(&live->job, live->end, live->end_at_ms);
    struct dispatch *dispatch = live->dispatch;

    if (live->result_waits)
        live_show_outcome(live, 0);
    live->ending = live->result_waits = false;
    dispatch->counts.ended[live->end]++;
    if (live->began_ns) {
        uint64_t since_ns = live_waits_since_ns(live);

        live->timing.queue_ns = live->began_ns > since_ns ? live->began_ns - since_ns : 0;
        live->timing.run_ns = live->decided_ns - live->began_ns;
        live->timing.commit_ns = clock_mono_ns() - live->decided_ns;
        histogram_add(&dispatch->counts.run, live->timing.run_ns);
    }
    live->began_ns = 0;
    blob_unref(live->job.status.error);
    live->job.status.error = status.error;
    live->job.status.bytes = status.bytes + live->log.bytes;
    job_set_state(&live->job, live->end, live->end_at_ms);
    job_over(live);
    live_told(live, event_of_end(live->end), true);
    waiter_wake_all(&live->waiters, WAKE_READY, ST_OK);
}

static void tell_end(const struct live *live)
{
    const struct dispatch *dispatch = live->dispatch;

    if (dispatch->events.on_ended)
        dispatch->events.on_ended(dispatch->data, live->job.spec, &live->job.status);
}

/* Only a restart can tell how the job ended: the disk has failed, or the store was closed while
 * it could not be written. */
static bool end_is_unsure(const struct live *live, enum status st)
{
    return live->ending &&
           (st == ST_UNKNOWN || (st != ST_OK && st != ST_NOT_FOUND &&
                                 live->job.spec->durability == DURABILITY_DURABLE));
}

static void on_end_stored(void *data, enum status st)
{
    struct live *live = data;

    if (st != ST_OK)
        log_error("the end of a job could not be stored", "status=\"%s\"",
                  status_text(st));
    if (live->doomed) {
        live->doomed = false;
        live->dispatch->dooming--;
        load_doomed(live->dispatch);
    }
    live->ends--;
    if (end_is_unsure(live, st)) {
        if (st == ST_UNKNOWN) /* else the shutdown tells */
            waiter_wake_all(&live->waiters, WAKE_REFUSED, st);
    } else if (!live->ends) { /* else it was run again meanwhile, and has ended again */
        if (live->ending)
            show_end(live);
        if (live->findable && job_state_final(live->job.status.state))
            live_forget(live);
    }
    if (st == ST_OK)
        tell_end(live);
    live_unpin(live);
}

static void live_leave_queue(struct live *live)
{
    if (live->job.place.queued)
        queue_remove(live_queue(live), &live->job.place);
}

void live_store_log(struct live *live)
{
    struct blob *log = job_log_blob(&live->log);

    if (log)
        store_put_log(live->dispatch->store, live->job.spec, log);
    blob_unref(log);
}

/* With the result, if that is not there yet. */
static void store_end(struct live *live, const struct job_status *status)
{
    struct store *store = live->dispatch->store;
    struct event buffer;
    const struct event *event =
        live_announce(live, event_of_end(live->end), live->end, &buffer);

    if (live->result_waits)
        store_put_end(store, live->job.spec, status, &live->job.outcomes[0], event,
                      on_end_stored, live);
    else
        store_put_status(store, live->job.spec, status, event, on_end_stored, live);
}

static void end(struct live *live, enum job_state state)
{
    struct dispatch *dispatch = live->dispatch;
    struct job *job = &live->job;
    struct job_status status;
    /* A fed one may have let go of outcomes: when it is over, the store has them all. */
    bool show = job->spec->durability == DURABILITY_RELAXED && !job->spec->fed &&
                store_backlog(dispatch->store) < RELAXED_BACKLOG_MAX;

    live_hush(live);
    live->ending = true;
    unique_leave(live);
    live->end = state;
    live->end_at_ms = clock_wall_ms();
    live->decided_ns = clock_mono_ns();
    live_arm(live, 0);
    live_leave_queue(live);
    if (job->spec->durability == DURABILITY_MEMORY) {
        show_end(live);
        tell_end(live);
        aside_keep(live);
        return;
    }
    aside_leave(live);
    live_pin(live);
    live->ends++;
    status = job_end_status(job, state, live->end_at_ms);
    status.bytes += live->log.bytes;
    if (live->in_store) {
        live_store_log(live);
        store_end(live, &status);
    } else {
        struct blob *log = job_log_blob(&live->log);

        live->in_store = true;
        store_put_finished(dispatch->store, job->spec, &status, job->outcomes,
                           job->outcome_count, &live->attempts, log, on_end_stored, live);
        blob_unref(log);
    }
    job_status_clear(&status);
    if (show)
        show_end(live);
}

void live_settle(struct live *live)
{
    enum job_state state;

    live_feed_on(live);
    if (!live->accepted || live->ending || job_state_final(live->job.status.state))
        return;
    if (live->job.status.state == JOB_SCHEDULED && live->job.end == JOB_STATE_COUNT)
        return;
    if (job_is_over(&live->job, &state))
        end(live, state);
}

void live_out_of_memory(struct live *live)
{
    char id[UUID_TEXT_LEN + 1];

    uuid_format(live->job.spec->id, id);
    log_error("out of memory, the job fails", "job=%s", id);
    if (live->job.status.state == JOB_SCHEDULED) /* only what may run can fail */
        job_set_state(&live->job, JOB_QUEUED, clock_wall_ms());
    job_stop(&live->job, JOB_FAILED);
    live_leave_queue(live);
}

void live_fail(struct live *live, struct blob *problem)
{
    job_fail(&live->job, problem);
    if (live->job.status.state == JOB_SCHEDULED) /* there is nothing to wait for */
        job_set_state(&live->job, JOB_QUEUED, clock_wall_ms());
    live_leave_queue(live);
    lane_recall(live->lane, live, true);
    live_settle(live);
}

/* ---- submitting -------------------------------------------------------------------- */

static void on_job_stored(void *data, enum status st,
                          const struct store_existing *existing)
{
    struct live *live = data;
    struct dispatch *dispatch = live->dispatch;

    live_told(live, EVENT_CREATED, st == ST_OK);
    if (st == ST_OK) {
        live->accepted = live->stored = true;
        live_count(live);
        waiter_wake_all(&live->waiters, WAKE_ACCEPTED, ST_OK);
        live_begin(live);
    } else {
        if (existing)
            dispatch->existing = *existing;
        waiter_wake_all(&live->waiters, WAKE_REFUSED, st);
        live_forget(live);
    }
    live_unpin(live);
}

enum status dispatch_submit(struct dispatch *dispatch, struct job_spec *spec,
                            struct live **ret_live)
{
    struct lane *lane = dispatch_lane(dispatch, spec->pool);
    enum status st = dispatch->draining            ? ST_STATE
                     : !lane                       ? ST_NOT_FOUND
                     : lane->state != POOL_RUNNING ? ST_NOT_RUNNING
                                                   : ST_OK;
    struct event event;
    struct unique *rival;
    struct live *live;

    if (st == ST_OK)
        st = unique_check(lane, spec, ret_live);
    if (st == ST_OK)
        st = dispatch_admits(dispatch, 1, job_spec_bytes(spec),
                             spec->durability != DURABILITY_MEMORY);
    if (st != ST_OK) {
        job_spec_unref(spec);
        return st;
    }
    live = live_new(dispatch, lane, spec);
    if (!live)
        return ST_NO_MEMORY;
    rival = unique_rival(lane, spec);
    if (live_add(live, rival) != ST_OK) {
        live_free(live);
        return ST_NO_MEMORY;
    }
    unique_replace(rival);
    *ret_live = live;
    if (spec->durability == DURABILITY_DURABLE || spec->idempotency_key) {
        live->in_store = true;
        live_pin(live);
        store_put_job(dispatch->store, spec, &live->job.status,
                      live_announce(live, EVENT_CREATED, live->job.status.state, &event),
                      on_job_stored, live);
        return ST_OK;
    }
    live_count(live);
    live_told(live, EVENT_CREATED, true);
    if (spec->durability == DURABILITY_RELAXED)
        aside_add_unstored(live);
    live_begin(live);
    return ST_OK;
}

const struct store_existing *dispatch_existing(const struct dispatch *dispatch)
{
    return &dispatch->existing;
}

/* Whether none of its items has begun: what was handed over is taken back where the workers
 * have not touched it. Otherwise what came back is queued again. */
static bool take_back_all(struct live *live)
{
    lane_recall(live->lane, live, false);
    if (TAILQ_EMPTY(&live->chunks) && !live->job.status.completed &&
        !live->job.status.failed && !live->job.troubles)
        return true;
    lane_offer(live->lane, live);
    return false;
}

enum status dispatch_cancel(struct live *live, bool terminate)
{
    enum job_state state = live->job.status.state;

    if (live->ending || job_state_final(state))
        return ST_EXISTS;
    if (live->job.end == JOB_CANCELLED)
        return ST_OK; /* under way */
    if (state == JOB_RUNNING && !terminate && !take_back_all(live))
        return ST_STATE;
    job_stop(&live->job, JOB_CANCELLED);
    live_leave_queue(live);
    lane_recall(live->lane, live, true);
    live_settle(live);
    return ST_OK;
}

enum status dispatch_cancel_job(struct dispatch *dispatch, struct uuid id, bool terminate)
{
    struct live *live = dispatch_find(dispatch, id);
    struct stub *stub = live ? NULL : stubs_find(&dispatch->stubs, id);

    if (live)
        return dispatch_cancel(live, terminate);
    if (!stub)
        return ST_NOT_FOUND;
    stub_end(stub, JOB_CANCELLED);
    return ST_OK;
}
