/* SPDX-License-Identifier: MIT */
/*
 * Tasks taken into use while jobs run.
 *
 * A job runs on one version of the code from its first chunk to its end. So a lane gets a
 * second set of workers, which have loaded the new catalog, and keeps the old one for the
 * jobs that it has begun:
 *
 *                    queue ──> pool        jobs that have not begun, and those that begin
 *     lane ─┤                              from now on: the newest generation
 *                old.queue ──> old.pool    jobs that had begun before
 *
 * The old workers and their forkserver end with the last of those jobs. While there are
 * any, no third generation begins: whoever wants one waits for on_reloaded. For that time
 * the lane has up to twice its processes.
 */
#include "server/dispatch_private.h"

#include "common/log.h"

#include <assert.h>

/* ---- which of the two -------------------------------------------------------------- */

static bool is_old(const struct live *live)
{
    return live->generation && live->generation != live->lane->generation;
}

struct pool *live_pool(const struct live *live)
{
    return is_old(live) ? live->lane->old.pool : live->lane->pool;
}

struct queue *live_queue(const struct live *live)
{
    return is_old(live) ? &live->lane->old.queue : &live->lane->queue;
}

void live_bind(struct live *live)
{
    if (live->generation)
        return;
    live->generation = live->lane->generation;
    live->lane->begun++;
}

/* ---- the end of the old one -------------------------------------------------------- */

bool dispatch_reloading(const struct dispatch *dispatch)
{
    const struct lane *lane;

    TAILQ_FOREACH (lane, &dispatch->lanes, link)
        if (lane->old.pool)
            return true;
    return false;
}

static void on_old_stopped(void *data)
{
    struct lane *lane = data;
    struct dispatch *dispatch = lane->dispatch;

    lane->lost_before += pool_lost_count(lane->old.pool);
    pool_free(lane->old.pool);
    lane->old.pool = NULL;
    log_info("the workers with the tasks of before have gone", "pool=%s",
             lane->spec->name);
    if (lane->stopping)
        lane_check_stopped(lane);
    if (!dispatch->draining && !dispatch_reloading(dispatch) &&
        dispatch->events.on_reloaded)
        dispatch->events.on_reloaded(dispatch->data);
}

void lane_stop_old(struct lane *lane)
{
    if (!lane->old.pool || lane->old.stopping)
        return;
    lane->old.stopping = true;
    pool_stop(lane->old.pool, on_old_stopped);
}

void live_unbind(struct live *live)
{
    struct lane *lane = live->lane;

    if (!live->generation)
        return;
    if (!is_old(live))
        lane->begun--;
    else if (--lane->old.begun == 0)
        lane_stop_old(lane);
    live->generation = 0;
}

/* ---- the new one ------------------------------------------------------------------- */

/* Jobs that have begun go to the queue of the old workers, the oldest first. Stubs have
 * not begun. */
static void divide_queue(struct lane *lane)
{
    struct live *live;

    TAILQ_FOREACH (live, &lane->dispatch->lives, link) {
        struct queue_place *place = &live->job.place;

        if (live->lane != lane || !live->generation || !place->queued)
            continue;
        queue_remove(&lane->queue, place);
        queue_push(&lane->old.queue, place);
    }
}

static enum status new_pool(struct lane *lane, struct pool **ret_pool,
                            struct error_text *err)
{
    struct pool_options options = lane_pool_options(lane->dispatch, lane->spec);
    struct forkserver forkserver;
    enum status st =
        forkserver_start(&forkserver, options.catalog, options.confinement, err);

    if (st != ST_OK)
        return st;
    st = pool_new(lane->dispatch->loop, &forkserver, &options, &lane_pool_events, lane,
                  ret_pool);
    if (st == ST_OK)
        return st;
    forkserver_stop(&forkserver);
    return error_set(err, st, "%s", status_text(st));
}

static void renew(struct lane *lane)
{
    struct error_text err = { "" };
    struct pool *pool;

    assert(!lane->old.pool);
    if (new_pool(lane, &pool, &err) != ST_OK) {
        log_error("a pool goes on with the tasks of before; SIGHUP tries again",
                  "pool=%s error=\"%s\"", lane->spec->name, err.text);
        return;
    }
    lane->old.pool = lane->pool;
    lane->old.begun = lane->begun;
    lane->old.stopping = false;
    lane->pool = pool;
    lane->begun = 0;
    lane->generation++;
    divide_queue(lane);
    pool_start(pool);
    log_info("new jobs get the new tasks", "pool=%s jobs_on_old=%zu", lane->spec->name,
             lane->old.begun);
    if (lane->old.begun == 0)
        lane_stop_old(lane);
}

enum status dispatch_reload(struct dispatch *dispatch, int catalog)
{
    struct lane *lane;

    if (dispatch->draining || dispatch_reloading(dispatch))
        return ST_STATE;
    dispatch->options.catalog = catalog;
    TAILQ_FOREACH (lane, &dispatch->lanes, link)
        if (!lane->stopping)
            renew(lane);
    return ST_OK;
}

/* ---- both together ----------------------------------------------------------------- */

struct pool *lane_pool_at(const struct lane *lane, unsigned i)
{
    return i == 0 ? lane->pool : i == 1 ? lane->old.pool : NULL;
}

unsigned lane_busy(const struct lane *lane)
{
    return pool_busy(lane->pool) + (lane->old.pool ? pool_busy(lane->old.pool) : 0);
}

unsigned lane_idle(const struct lane *lane)
{
    return pool_idle(lane->pool) + (lane->old.pool ? pool_idle(lane->old.pool) : 0);
}

size_t lane_queued(const struct lane *lane)
{
    return lane->queue.count + lane->old.queue.count;
}

uint64_t lane_workers_lost(const struct lane *lane)
{
    return lane->lost_before + pool_lost_count(lane->pool) +
           (lane->old.pool ? pool_lost_count(lane->old.pool) : 0);
}
