/* SPDX-License-Identifier: MIT */
/*
 * Which stubs are read from the store, and when.
 *
 *     those in front of a queue   when less than half of the window is whole, up to the
 *                                 whole of it; and always a few before the first stub, so
 *                                 that the queue moves whatever fills the window
 *     those that are to end       so many at a time that the store is not flooded
 *     one that somebody wants     at once
 *
 * They are read one by one, by the reading thread, while the workers are busy with what
 * was read before.
 */
#include "common/log.h"
#include "common/mem.h"
#include "server/dispatch_private.h"

#define LOADS_MAX     64 /* of one pool's queue at a time */
#define LOAD_LEAST    8  /* whole jobs before the first stub, if the window has so many */
#define DOOMED_MAX    256 /* that are read or whose end is stored at a time */
#define LOAD_PAUSE_MS 1000

static bool paused(const struct dispatch *dispatch)
{
    return dispatch->closed || uv_is_active((const uv_handle_t *)dispatch->load_pause);
}

/* ---- the answer -------------------------------------------------------------------- */

static void go_on(struct dispatch *dispatch, struct lane *lane)
{
    load_doomed(dispatch);
    lane_pump(lane);
}

/* It stays a stub for now. */
static void try_later(struct stub *stub, enum status why)
{
    struct dispatch *dispatch = stub->lane->dispatch;

    stub->loading = false;
    if (stub->end != JOB_STATE_COUNT)
        TAILQ_INSERT_HEAD(&dispatch->doomed, &stub->place, link);
    if (dispatch->closed)
        return;
    if (!paused(dispatch))
        log_warn("jobs that wait cannot be read now, trying again", "error=\"%s\"",
                 status_text(why));
    (void)uv_timer_start(dispatch->load_pause, load_on_pause_over, LOAD_PAUSE_MS, 0);
    if (stub->audience)
        waiter_wake_all(&stub->audience->waiters, WAKE_WHOLE, why);
}

static void on_loaded(void *data, enum status st, struct stored_job *stored)
{
    struct stub *stub = data;
    struct lane *lane = stub->lane;
    struct dispatch *dispatch = lane->dispatch;

    lane->loading--;
    lane->loading_bytes -= stub->place.bytes;
    dispatch->dooming -= stub->doom_read;
    stub->doom_read = false;
    if (st == ST_OK && !dispatch->closed)
        st = stub_made_whole(stub, stored);
    else
        stored_job_clear(stored);
    if (st == ST_NOT_FOUND || st == ST_CORRUPT)
        stub_drop(stub, st);
    else if (st != ST_OK || dispatch->closed)
        try_later(stub, st);
    if (!dispatch->closed)
        go_on(dispatch, lane);
}

void load_stub(struct stub *stub)
{
    struct lane *lane = stub->lane;

    if (stub->loading)
        return;
    stub->loading = true;
    lane->loading++;
    lane->loading_bytes += stub->place.bytes;
    store_get_job(lane->dispatch->store, stub->id,
                  STORE_WITH_INPUT | STORE_WITH_OUTCOMES | STORE_WITH_ATTEMPTS |
                      STORE_WITH_LOG,
                  on_loaded, stub);
}

void load_on_pause_over(uv_timer_t *timer)
{
    struct dispatch *dispatch = timer->data;
    struct lane *lane;

    load_doomed(dispatch);
    TAILQ_FOREACH (lane, &dispatch->lanes, link)
        lane_pump(lane);
}

/* ---- what comes next --------------------------------------------------------------- */

/* How many more may be read. */
static size_t room_of(const struct lane *lane, size_t ahead, size_t least)
{
    uint64_t window = lane->dispatch->options.queue_window;
    uint64_t whole = lane->queue.count - lane->queue.stubs + lane->loading;
    size_t room = whole <= window / 2 ? (size_t)(window - whole) : 0;

    if (ahead + lane->loading < least && room < least - ahead - lane->loading)
        room = least - ahead - lane->loading;
    return room < LOADS_MAX - lane->loading ? room : LOADS_MAX - lane->loading;
}

static bool bytes_fit(const struct lane *lane, const struct stub *stub)
{
    return lane->queue.whole_bytes + lane->loading_bytes + stub->place.bytes <=
           lane->dispatch->options.queue_window_bytes;
}

void lane_fill(struct lane *lane)
{
    uint64_t window = lane->dispatch->options.queue_window;
    size_t least = window < LOAD_LEAST ? (size_t)window : LOAD_LEAST;
    struct queue_place *place, *next;
    size_t ahead, room;

    if (!lane->queue.stubs || lane->loading >= LOADS_MAX || lane->dispatch->draining ||
        lane->doom != JOB_STATE_COUNT || paused(lane->dispatch))
        return;
    ahead = queue_ahead(&lane->queue, least);
    room = room_of(lane, ahead, least);
    for (place = queue_first_stub(&lane->queue); place && room; place = next) {
        struct stub *stub = stub_of(place);

        next = queue_next_stub(&lane->queue, place);
        if (stub->loading)
            continue;
        if (!bytes_fit(lane, stub) && (ahead || lane->loading))
            break;
        load_stub(stub);
        room--;
    }
}

/* One that is to end; NULL if there is none. */
static struct stub *next_doomed(struct dispatch *dispatch)
{
    struct stub *stub;

    while (TAILQ_EMPTY(&dispatch->doomed)) {
        stub = lanes_doomed_stub(dispatch);
        if (!stub)
            return NULL;
        stub_doom(stub, stub->lane->doom);
    }
    return stub_of(TAILQ_FIRST(&dispatch->doomed));
}

void load_doomed(struct dispatch *dispatch)
{
    struct stub *stub;

    while (dispatch->dooming < DOOMED_MAX && !paused(dispatch) &&
           (stub = next_doomed(dispatch))) {
        TAILQ_REMOVE(&dispatch->doomed, &stub->place, link);
        stub->doom_read = true;
        dispatch->dooming++;
        load_stub(stub);
    }
}
