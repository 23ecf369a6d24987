/* SPDX-License-Identifier: MIT */
/*
 * Jobs that come in together, and failed jobs that come back.
 *
 * A batch is stored as one command, whatever the durability of its jobs, and none of them
 * begins before that: so all of them are accepted in the same moment, or none.
 *
 * A failed job mostly is in the store only. It is read, made a live job that nobody can
 * find, and its new state is committed; then it is accepted like a new one. Meanwhile it
 * is in `retries` or among the lives, so that nobody else brings it back from what was
 * read before.
 */
#include "server/dispatch_private.h"

#include "common/clock.h"
#include "common/mem.h"

/* Whether this failed job may come back: its input is still there, and no other job has its
 * unique_key meanwhile. */
static enum status may_return(struct dispatch *dispatch, const struct job_spec *spec,
                              bool gone)
{
    if (gone || spec->fed)
        return ST_GONE;
    return unique_is_taken(lane_or_default(dispatch, spec->pool), spec) ? ST_CONFLICT
                                                                        : ST_OK;
}

/* ---- batches ----------------------------------------------------------------------- */

struct batch {
    dispatch_batch_done *done;
    void *data;
    size_t count;
    struct live *lives[]; /* each pinned */
};

static void on_batch_stored(void *data, enum status st)
{
    struct batch *batch = data;

    for (size_t i = 0; i < batch->count; i++) {
        batch->lives[i]->accepted = st == ST_OK;
        batch->lives[i]->stored = st == ST_OK && batch->lives[i]->in_store;
        if (st == ST_OK)
            live_count(batch->lives[i]);
        live_told(batch->lives[i], EVENT_CREATED, st == ST_OK);
    }
    batch->done(batch->data, st, batch->lives, batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        if (st == ST_OK)
            live_begin(batch->lives[i]);
        else
            live_forget(batch->lives[i]);
        live_unpin(batch->lives[i]);
    }
    mem_free(batch);
}

/* Takes the specs. NULL without memory. */
static struct batch *batch_new(struct dispatch *dispatch, struct job_spec *const specs[],
                               size_t count)
{
    struct batch *batch = mem_zalloc(sizeof(*batch) + count * sizeof(*batch->lives));
    bool failed = !batch;

    for (size_t i = 0; i < count; i++) {
        struct lane *lane = dispatch_lane(dispatch, specs[i]->pool);

        if (batch)
            batch->lives[i] = live_new(dispatch, lane, specs[i]);
        else
            job_spec_unref(specs[i]);
        failed = failed || !batch->lives[i];
    }
    if (!failed) {
        batch->count = count;
        return batch;
    }
    for (size_t i = 0; batch && i < count; i++)
        if (batch->lives[i])
            live_free(batch->lives[i]);
    mem_free(batch);
    return NULL;
}

/* All of them can be found once they are accepted; or ST_NO_MEMORY, and the batch is freed. */
static enum status batch_add(struct batch *batch)
{
    size_t added = 0;

    while (added < batch->count && live_add(batch->lives[added], NULL) == ST_OK)
        added++;
    if (added == batch->count) {
        for (size_t i = 0; i < batch->count; i++)
            live_pin(batch->lives[i]);
        return ST_OK;
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (i < added)
            live_forget(batch->lives[i]);
        else
            live_free(batch->lives[i]);
    }
    mem_free(batch);
    return ST_NO_MEMORY;
}

/* Gives the jobs that are to be stored to the store. */
static void batch_store(struct dispatch *dispatch, struct batch *batch)
{
    struct job_spec **specs = mem_alloc((batch->count + 1) * sizeof(struct job_spec *));
    struct job_status *statuses = mem_alloc((batch->count + 1) * sizeof(*statuses));
    struct event *events = mem_zalloc((batch->count + 1) * sizeof(*events));
    bool ok = specs && statuses && events;
    size_t count = 0;

    for (size_t i = 0; ok && i < batch->count; i++) {
        struct live *live = batch->lives[i];

        if (live->job.spec->durability == DURABILITY_MEMORY)
            continue;
        live->in_store = true;
        specs[count] = live->job.spec;
        (void)live_announce(live, EVENT_CREATED, live->job.status.state, &events[count]);
        statuses[count++] = live->job.status;
    }
    if (ok && count)
        store_put_jobs(dispatch->store, specs, statuses, events, count, on_batch_stored,
                       batch);
    else
        on_batch_stored(batch, ok ? ST_OK : ST_NO_MEMORY);
    mem_free(events);
    mem_free(specs);
    mem_free(statuses);
}

enum status dispatch_submit_batch(struct dispatch *dispatch,
                                  struct job_spec *const specs[], size_t count,
                                  dispatch_batch_done *done, void *data)
{
    bool stored = false;
    uint64_t bytes = 0;
    enum status st;
    struct batch *batch;

    for (size_t i = 0; i < count; i++) {
        stored = stored || specs[i]->durability != DURABILITY_MEMORY;
        bytes += job_spec_bytes(specs[i]);
    }
    st = dispatch_admits(dispatch, count, bytes, stored);
    for (size_t i = 0; i < count && st == ST_OK; i++) {
        const struct lane *lane = dispatch_lane(dispatch, specs[i]->pool);

        st = !lane ? ST_NOT_FOUND : lane->state != POOL_RUNNING ? ST_NOT_RUNNING : ST_OK;
    }
    if (st != ST_OK) {
        for (size_t i = 0; i < count; i++)
            job_spec_unref(specs[i]);
        return st;
    }
    batch = batch_new(dispatch, specs, count);
    if (!batch || batch_add(batch) != ST_OK)
        return ST_NO_MEMORY;
    batch->done = done;
    batch->data = data;
    batch_store(dispatch, batch);
    return ST_OK;
}

/* ---- failed jobs again ------------------------------------------------------------- */

struct retry {
    TAILQ_ENTRY(retry) link; /* while it is read */
    struct dispatch *dispatch;
    struct uuid id;
    dispatch_retried *done;
    void *data;
    struct live *live; /* while it is stored: pinned */
};

static void on_retry_stored(void *data, enum status st)
{
    struct retry *retry = data;
    struct live *live = retry->live;

    live->accepted = st == ST_OK;
    live_told(live, EVENT_RETRIED, st == ST_OK);
    retry->done(retry->data, st, live, JOB_QUEUED);
    if (st == ST_OK)
        live_begin(live);
    else
        live_forget(live);
    live_unpin(live);
    mem_free(retry);
}

static enum status run_again(struct live *live)
{
    enum status st = job_retry(&live->job);

    if (st == ST_OK)
        live->job.status.forgiven = live->attempts.dropped + live->attempts.count;
    return st;
}

/* Makes the job that was read a live one; takes the content of stored. */
static enum status revive(struct retry *retry, struct stored_job *stored)
{
    struct event event;
    struct live *live;
    enum status st =
        dispatch_admits(retry->dispatch, 1, job_spec_bytes(stored->spec), true);

    if (st == ST_OK)
        st = may_return(retry->dispatch, stored->spec, stored->gone);
    if (st == ST_OK)
        st = job_spec_make_index(stored->spec);
    if (st == ST_OK)
        st = live_restore(lane_or_default(retry->dispatch, stored->spec->pool), stored,
                          &live);
    if (st != ST_OK)
        return st;
    st = live->lane->state == POOL_RUNNING ? run_again(live) : ST_NOT_RUNNING;
    if (st == ST_OK && !live_all_arrived(live))
        st = ST_NO_MEMORY;
    if (st == ST_OK)
        st = live_add(live, NULL);
    if (st != ST_OK) {
        live_free(live);
        return st;
    }
    live_pin(live);
    retry->live = live;
    store_put_status(retry->dispatch->store, live->job.spec, &live->job.status,
                     live_announce(live, EVENT_RETRIED, JOB_QUEUED, &event),
                     on_retry_stored, retry);
    return ST_OK;
}

static void on_retry_read(void *data, enum status st, struct stored_job *stored)
{
    struct retry *retry = data;
    enum job_state state = stored->status.state;

    TAILQ_REMOVE(&retry->dispatch->retries, retry, link);
    if (st == ST_OK)
        st = state == JOB_FAILED ? revive(retry, stored) : ST_EXISTS;
    if (st != ST_OK) {
        retry->done(retry->data, st, NULL, state);
        mem_free(retry);
    }
    stored_job_clear(stored);
}

/* A failed job in memory: it is kept there, or relaxed and its end on the way to the
 * store; then the store sees its new state behind that. */
static enum status retry_live(struct live *live)
{
    struct dispatch *dispatch = live->dispatch;
    enum status st = dispatch_admits(dispatch, 1, live->job.place.bytes, live->in_store);

    if (st == ST_OK && live->lane->state != POOL_RUNNING)
        st = ST_NOT_RUNNING;
    if (st == ST_OK)
        st = may_return(dispatch, live->job.spec, live->gone);
    if (st == ST_OK)
        st = unique_enter(live, NULL);
    if (st == ST_OK &&
        !usage_enter(dispatch, live->job.spec->owner, live->job.place.bytes))
        st = ST_NO_MEMORY;
    else if (st == ST_OK && (st = run_again(live)) != ST_OK)
        usage_leave(dispatch, live->job.spec->owner, live->job.place.bytes);
    if (st != ST_OK) {
        unique_leave(live);
        return st;
    }
    aside_leave(live);
    live->unbegun_losses = 0;
    live->expires_ns = 0; /* it had started */
    live->submitted_ns = clock_mono_ns();
    dispatch->jobs++;
    live->lane->jobs++;
    if (!live_all_arrived(live))
        live_out_of_memory(live);
    if (live->in_store)
        store_put_status(dispatch->store, live->job.spec, &live->job.status, NULL, NULL,
                         NULL);
    live_told(live, EVENT_RETRIED, true);
    return ST_OK;
}

static bool being_read(const struct dispatch *dispatch, struct uuid id)
{
    const struct retry *retry;

    TAILQ_FOREACH (retry, &dispatch->retries, link)
        if (uuid_equal(retry->id, id))
            return true;
    return false;
}

static void retry_stored(struct dispatch *dispatch, struct uuid id,
                         dispatch_retried *done, void *data)
{
    struct retry *retry = mem_zalloc(sizeof(*retry));

    if (!retry) {
        done(data, ST_NO_MEMORY, NULL, JOB_FAILED);
        return;
    }
    *retry = (struct retry){ .dispatch = dispatch, .id = id, .done = done, .data = data };
    TAILQ_INSERT_TAIL(&dispatch->retries, retry, link);
    store_get_job(dispatch->store, id,
                  STORE_WITH_INPUT | STORE_WITH_OUTCOMES | STORE_WITH_ATTEMPTS |
                      STORE_WITH_LOG,
                  on_retry_read, retry);
}

void dispatch_retry(struct dispatch *dispatch, struct uuid id, dispatch_retried *done,
                    void *data)
{
    struct live *live;
    enum job_state state;
    enum status st = ST_EXISTS;

    if (dispatch_is_stub(dispatch, id, &state)) {
        done(data, ST_EXISTS, NULL, state);
        return;
    }
    HASH_FIND(hh, dispatch->by_id, id.bytes, sizeof(id.bytes), live);
    if (!live && !being_read(dispatch, id)) {
        retry_stored(dispatch, id, done, data);
        return;
    }
    if (!live || !live->accepted) {
        done(data, ST_EXISTS, NULL, JOB_QUEUED);
        return;
    }
    if (live->job.status.state == JOB_FAILED)
        st = retry_live(live);
    done(data, st, live, live->job.status.state);
    if (st == ST_OK)
        live_begin(live);
}
