/* SPDX-License-Identifier: MIT */
/*
 * Pools made, changed and ended while the server runs.
 *
 *                                          ┌──────────── terminate ─────────────┐
 *     made ──> RUNNING ── close ──> CLOSED ┴─ last job over ─> workers end ──┐  │
 *                 │                                                          │  │
 *                 ├── terminate ──> TERMINATED ── workers are killed ────────┤<─┘
 *                 └── initializer fails ──> BROKEN ── the same ──────────────┴─> stopped
 *
 * Deleting is terminating, and forgetting the pool when it has stopped and the ends of
 * its jobs are on their way to the store: a restart in between ends them again, and no
 * other pool gets them.
 *
 * The state is changed here at once, and the store follows (dispatch_record_pool). A
 * restart makes the pools that are stored again, each in its state.
 */
#include "server/dispatch_private.h"

#include "common/log.h"
#include "common/mem.h"
#include "server/failure.h"

#include <assert.h>
#include <string.h>

/* What a worker's frame has around the largest result. */
#define FRAME_MORE (1u << 20)

/* ---- looking around ---------------------------------------------------------------- */

struct lane *dispatch_lane(struct dispatch *dispatch, const char *name)
{
    struct lane *lane;

    TAILQ_FOREACH (lane, &dispatch->lanes, link)
        if (strcmp(lane->spec->name, name) == 0)
            return lane;
    return NULL;
}

struct lane *dispatch_first_lane(struct dispatch *dispatch)
{
    return TAILQ_FIRST(&dispatch->lanes);
}

bool lane_is_default(const struct lane *lane)
{
    return lane == TAILQ_FIRST(&lane->dispatch->lanes);
}

/* Goes through all lanes, those that are leaving behind the others. */
static struct lane *any_lane(const struct dispatch *dispatch)
{
    struct lane *lane = TAILQ_FIRST(&dispatch->lanes);

    return lane ? lane : TAILQ_FIRST(&dispatch->leaving);
}

static struct lane *any_next(const struct lane *lane)
{
    struct lane *next = TAILQ_NEXT(lane, link);

    return next || lane->deleted ? next : TAILQ_FIRST(&lane->dispatch->leaving);
}

bool dispatch_has_forkserver(const struct dispatch *dispatch, pid_t pid)
{
    for (struct lane *lane = any_lane(dispatch); lane; lane = any_next(lane))
        if (pool_forkserver_pid(lane->pool) == pid ||
            (lane->old.pool && pool_forkserver_pid(lane->old.pool) == pid))
            return true;
    return false;
}

bool dispatch_in_flight(const struct dispatch *dispatch)
{
    for (struct lane *lane = any_lane(dispatch); lane; lane = any_next(lane))
        if (lane->in_flight)
            return true;
    return false;
}

/* ---- making ------------------------------------------------------------------------ */

struct pool_options lane_pool_options(const struct dispatch *dispatch,
                                      const struct pool_spec *spec)
{
    return (struct pool_options){
        .name = spec->name,
        .processes = spec->processes,
        .chunks_per_worker = spec->maxtasksperchild,
        .initializer = spec->initializer,
        .initargs = spec->initargs,
        .init_limit_ms = spec->time_limit_ms,
        .worker = { .result_max = dispatch->options.max_result_bytes,
                    .limits = limits_or(&spec->limits, &dispatch->options.limits),
                    .rss_max = dispatch->options.max_worker_rss,
                    .fresh = spec->start_method == START_SPAWN },
        .output_max = dispatch->options.max_attempt_log_bytes,
        .result_frame_max = dispatch->options.max_result_bytes + FRAME_MORE,
        .confinement = dispatch->options.confinement,
        .catalog = dispatch->options.catalog,
    };
}

/* Takes over the forkserver; takes the reference to spec. */
static enum status add_lane(struct dispatch *dispatch, struct forkserver *forkserver,
                            struct pool_spec *spec, struct lane **ret_lane)
{
    struct pool_options options = lane_pool_options(dispatch, spec);
    struct lane *lane = mem_zalloc(sizeof(*lane));
    enum status st = ST_NO_MEMORY;

    if (lane)
        st = pool_new(dispatch->loop, forkserver, &options, &lane_pool_events, lane,
                      &lane->pool);
    if (st != ST_OK) {
        pool_spec_unref(spec);
        mem_free(lane);
        return st;
    }
    lane->dispatch = dispatch;
    lane->spec = spec;
    lane->generation = 1;
    queue_init(&lane->queue);
    TAILQ_INIT(&lane->scheduled);
    lane->doom = JOB_STATE_COUNT;
    queue_init(&lane->old.queue);
    TAILQ_INIT(&lane->waiters);
    TAILQ_INSERT_TAIL(&dispatch->lanes, lane, link);
    *ret_lane = lane;
    return ST_OK;
}

/* The same, with a forkserver of its own. */
static enum status add_new_lane(struct dispatch *dispatch, struct pool_spec *spec,
                                struct lane **ret_lane)
{
    struct forkserver forkserver;
    struct error_text err = { "" };
    enum status st = forkserver_start(&forkserver, dispatch->options.catalog,
                                      dispatch->options.confinement, &err);

    if (st != ST_OK) {
        log_error("a pool cannot be made", "pool=%s error=\"%s\"", spec->name, err.text);
        pool_spec_unref(spec);
        return st;
    }
    st = add_lane(dispatch, &forkserver, spec, ret_lane);
    if (st != ST_OK)
        forkserver_stop(&forkserver);
    return st;
}

enum status dispatch_add_pool(struct dispatch *dispatch, struct forkserver *forkserver,
                              struct pool_spec *spec)
{
    struct lane *lane;

    return add_lane(dispatch, forkserver, spec, &lane);
}

/* Whether the pools may have so many processes more. */
static bool processes_fit(const struct dispatch *dispatch, uint64_t more)
{
    const struct lane *lane;

    TAILQ_FOREACH (lane, &dispatch->lanes, link)
        more += lane->spec->processes;
    return more <= dispatch->options.max_processes;
}

/* ---- ending ------------------------------------------------------------------------ */

static void release(struct lane *lane)
{
    if (!lane->forgotten || lane->lives)
        return;
    TAILQ_REMOVE(&lane->dispatch->leaving, lane, link);
    pool_free(lane->pool);
    pool_spec_unref(lane->spec);
    blob_unref(lane->fault);
    buf_clear(&lane->gathered.text);
    mem_free(lane);
}

static void on_forgotten(void *data, enum status st)
{
    struct lane *lane = data;

    lane->forgotten = true;
    lane->on_deleted(lane->deleted_data, st);
    release(lane);
}

/* A deleted lane is forgotten when nothing of it is left. */
static void check_deleted(struct lane *lane)
{
    if (!lane->deleted || !lane->stopped || lane->jobs || lane->forgetting ||
        lane->dispatch->closed)
        return;
    lane->forgetting = true;
    store_delete_pool(lane->dispatch->store, lane->spec, on_forgotten, lane);
}

/* What is not over goes on after the next start, its log too. */
static void store_logs(struct dispatch *dispatch)
{
    struct live *live;

    TAILQ_FOREACH (live, &dispatch->lives, link)
        if (live->in_store && !live->ending && !job_state_final(live->job.status.state))
            live_store_log(live);
}

/* After dispatch_stop: once, when all workers have gone. */
static void check_stopped(struct dispatch *dispatch)
{
    void (*on_stopped)(void *data) = dispatch->on_stopped;

    for (struct lane *lane = any_lane(dispatch); lane; lane = any_next(lane))
        if (!lane->stopped)
            return;
    dispatch->on_stopped = NULL;
    if (!on_stopped)
        return;
    store_logs(dispatch);
    on_stopped(dispatch->data);
}

void lane_check_stopped(struct lane *lane)
{
    struct dispatch *dispatch = lane->dispatch;

    if (!lane->pool_stopped || lane->old.pool)
        return;
    lane->stopped = true;
    waiter_wake_all(&lane->waiters, WAKE_READY, ST_OK);
    check_deleted(lane);
    check_stopped(dispatch);
}

static void on_pool_stopped(void *data)
{
    struct lane *lane = data;

    lane->pool_stopped = true;
    lane_check_stopped(lane);
}

static void kill_workers(struct lane *lane)
{
    pool_kill(lane->pool);
    if (lane->old.pool)
        pool_kill(lane->old.pool);
}

static void stop(struct lane *lane)
{
    if (lane->stopping)
        return;
    lane->stopping = true;
    lane_stop_old(lane);
    pool_stop(lane->pool, on_pool_stopped);
}

/* A closed lane ends with its last job. */
static void check_closed(struct lane *lane)
{
    if (lane->state == POOL_CLOSED && !lane->jobs)
        stop(lane);
}

void lane_job_enters(struct lane *lane)
{
    lane->lives++;
}

void lane_job_over(struct lane *lane)
{
    lane->jobs--;
    check_closed(lane);
    check_deleted(lane);
}

void lane_job_leaves(struct lane *lane)
{
    lane->lives--;
    release(lane);
}

/* The next job of the lane, from this one on, that is not over. */
static struct live *unfinished(struct live *live, const struct lane *lane)
{
    while (live && (live->lane != lane || live->ending ||
                    job_state_final(live->job.status.state)))
        live = TAILQ_NEXT(live, link);
    return live;
}

/* Ends all jobs of the lane. Those that are over may leave memory on the way, so the
 * next one is chosen among the others. */
static void end_jobs(struct lane *lane, void (*end)(struct live *live))
{
    struct live *live = unfinished(TAILQ_FIRST(&lane->dispatch->lives), lane), *next;

    for (; live; live = next) {
        next = unfinished(TAILQ_NEXT(live, link), lane);
        end(live);
    }
}

static void end_cancelled(struct live *live)
{
    if (dispatch_cancel(live, true) != ST_OK)
        log_debug("a job of a pool that ends was over", "");
}

void lane_fail_job(struct live *live)
{
    const struct lane *lane = live->lane;

    live_fail(live, lane->fault ? failure_of_pool(&live->job.spec->id, lane->spec->name,
                                                  blob_text(lane->fault))
                                : NULL);
}

struct stub *lanes_doomed_stub(struct dispatch *dispatch)
{
    for (struct lane *lane = any_lane(dispatch); lane; lane = any_next(lane)) {
        struct queue_place *place = queue_first_stub(&lane->queue);

        if (!place)
            place = TAILQ_FIRST(&lane->scheduled);
        if (place && lane->doom != JOB_STATE_COUNT)
            return stub_of(place);
    }
    return NULL;
}

/* Nobody works for it any more; its jobs are ended first, so that none runs again. Those
 * that are stubs follow as they are read. */
static void end_lane(struct lane *lane, enum job_state doom,
                     void (*end)(struct live *live))
{
    lane->doom = doom;
    end_jobs(lane, end);
    load_doomed(lane->dispatch);
    stop(lane);
    kill_workers(lane);
}

void lane_break(struct lane *lane, struct text exception)
{
    lane->fault = failure_exception(exception);
    if (lane->state != POOL_TERMINATED)
        lane->state = POOL_BROKEN;
    end_lane(lane, JOB_FAILED, lane_fail_job);
}

/* ---- what clients ask for ---------------------------------------------------------- */

void dispatch_record_pool(struct lane *lane, store_done *done, void *data)
{
    /* A broken one tries again after a restart. */
    enum pool_state state = lane->state == POOL_BROKEN ? POOL_RUNNING : lane->state;

    if (!lane_is_default(lane))
        store_put_pool(lane->dispatch->store, lane->spec, state, done, data);
    else if (done)
        done(data, ST_OK);
}

/* One that is deleted keeps its name until it is forgotten. */
static bool name_taken(const struct dispatch *dispatch, const char *name)
{
    for (struct lane *lane = any_lane(dispatch); lane; lane = any_next(lane))
        if (!lane->forgotten && strcmp(lane->spec->name, name) == 0)
            return true;
    return false;
}

enum status dispatch_make_pool(struct dispatch *dispatch, struct pool_spec *spec,
                               struct lane **ret_lane)
{
    enum status st = dispatch->draining                          ? ST_STATE
                     : name_taken(dispatch, spec->name)          ? ST_EXISTS
                     : !processes_fit(dispatch, spec->processes) ? ST_LIMIT
                                                                 : ST_OK;

    if (st != ST_OK) {
        pool_spec_unref(spec);
        return st;
    }
    st = add_new_lane(dispatch, spec, ret_lane);
    if (st != ST_OK)
        return st;
    pool_start((*ret_lane)->pool);
    log_info("pool made", "pool=%s processes=%u", spec->name, spec->processes);
    return ST_OK;
}

enum status dispatch_change_pool(struct lane *lane, struct pool_spec *spec)
{
    struct dispatch *dispatch = lane->dispatch;
    uint64_t before = lane->spec->processes, after = spec->processes;
    enum status st = dispatch->draining            ? ST_STATE
                     : lane->state != POOL_RUNNING ? ST_NOT_RUNNING
                     : after > before && !processes_fit(dispatch, after - before)
                         ? ST_LIMIT
                         : ST_OK;
    struct pool_options options;

    if (st != ST_OK) {
        pool_spec_unref(spec);
        return st;
    }
    pool_spec_unref(lane->spec);
    lane->spec = spec;
    options = lane_pool_options(dispatch, spec);
    pool_change(lane->pool, &options);
    if (lane->old.pool && !lane->old.stopping)
        pool_change(lane->old.pool, &options);
    log_info("pool changed", "pool=%s processes=%u", spec->name, spec->processes);
    return ST_OK;
}

enum status dispatch_close_pool(struct lane *lane)
{
    if (lane->dispatch->draining)
        return ST_STATE;
    if (lane->state == POOL_RUNNING)
        lane->state = POOL_CLOSED;
    log_info("pool closed", "pool=%s jobs=%zu", lane->spec->name, lane->jobs);
    check_closed(lane);
    return ST_OK;
}

static void terminate(struct lane *lane)
{
    if (lane->state != POOL_BROKEN)
        lane->state = POOL_TERMINATED;
    log_info("pool terminated", "pool=%s jobs=%zu", lane->spec->name, lane->jobs);
    end_lane(lane, JOB_CANCELLED, end_cancelled);
}

enum status dispatch_terminate_pool(struct lane *lane)
{
    if (lane->dispatch->draining)
        return ST_STATE;
    terminate(lane);
    return ST_OK;
}

enum status dispatch_delete_pool(struct lane *lane, store_done *done, void *data)
{
    struct dispatch *dispatch = lane->dispatch;

    if (dispatch->draining)
        return ST_STATE;
    if (lane_is_default(lane))
        return ST_DENIED;
    lane->state = POOL_TERMINATED;
    dispatch_record_pool(lane, NULL, NULL);
    TAILQ_REMOVE(&dispatch->lanes, lane, link);
    TAILQ_INSERT_TAIL(&dispatch->leaving, lane, link);
    lane->deleted = true;
    lane->on_deleted = done;
    lane->deleted_data = data;
    terminate(lane);
    check_deleted(lane);
    return ST_OK;
}

struct waiter *dispatch_join_pool(struct lane *lane, int64_t timeout_ms,
                                  waiter_woken *on_wake, void *data)
{
    struct dispatch *dispatch = lane->dispatch;

    if (dispatch->waiters >= dispatch->options.max_waiters)
        return NULL;
    return waiter_new(dispatch->loop, &lane->waiters, WAIT_READY, timeout_ms,
                      &dispatch->waiters, on_wake, data);
}

/* ---- start and stop ---------------------------------------------------------------- */

static enum status take_up_pool(void *data, struct pool_spec *spec, enum pool_state state)
{
    struct lane *lane;
    enum status st = add_new_lane(data, spec, &lane);

    if (st == ST_OK)
        lane->state = state;
    return st;
}

enum status dispatch_load_pools(struct dispatch *dispatch, struct error_text *err)
{
    return store_load_pools(dispatch->store, take_up_pool, dispatch, err);
}

void dispatch_start_pools(struct dispatch *dispatch)
{
    struct lane *lane;

    TAILQ_FOREACH (lane, &dispatch->lanes, link) {
        check_closed(lane);
        if (lane->state == POOL_TERMINATED)
            terminate(lane);
        if (!lane->stopping)
            pool_start(lane->pool);
    }
}

static void on_nothing_to_stop(uv_timer_t *timer)
{
    check_stopped(timer->data);
}

void dispatch_stop(struct dispatch *dispatch, bool kill, void (*on_stopped)(void *data))
{
    struct lane *lane;

    dispatch->draining = true;
    if (!dispatch->stopping) {
        dispatch->stopping = true;
        dispatch->on_stopped = on_stopped;
        TAILQ_FOREACH (lane, &dispatch->lanes, link)
            stop(lane);
        /* If all had stopped before, nobody else will tell. */
        (void)uv_timer_start(dispatch->stopped, on_nothing_to_stop, 0, 0);
    }
    if (kill)
        TAILQ_FOREACH (lane, &dispatch->lanes, link)
            kill_workers(lane);
}

void dispatch_free_pools(struct dispatch *dispatch)
{
    struct lane *lane;

    while ((lane = any_lane(dispatch))) {
        assert(lane->stopped && !lane->lives);
        if (lane->deleted && !lane->forgotten)
            lane->on_deleted(lane->deleted_data, ST_CLOSED);
        if (!lane->deleted) {
            TAILQ_REMOVE(&dispatch->lanes, lane, link);
            TAILQ_INSERT_TAIL(&dispatch->leaving, lane, link);
        }
        lane->forgotten = true;
        release(lane);
    }
}
