/* SPDX-License-Identifier: MIT */
#include "server/watch.h"

#include "common/mem.h"
#include "server/job_json.h"

static struct blob *job_blob(const struct job_spec *spec, const struct job_status *status)
{
    struct buf json = BUF_INIT;

    job_json_write(&json, spec, status);
    return buf_take_blob(&json);
}

static void remember(struct watched *job, const struct job_spec *spec,
                     const struct job_status *status)
{
    struct watch *watch = job->watch;

    blob_unref(job->json);
    job->json = job_blob(spec, status);
    if (!job->json)
        watch->st = ST_NO_MEMORY;
    if (!job_state_final(status->state))
        return;
    job->over = true;
    job->raised = status->state == JOB_FAILED;
    watch->raised_count += job->raised;
    if (watch->found)
        watch->ended[watch->ended_count++] = (size_t)(job - watch->jobs);
}

/* ---- jobs that are not over -------------------------------------------------------- */

static void on_job_woken(void *data, enum wake wake, enum status st)
{
    struct watched *job = data;
    struct watch *watch = job->watch;

    struct live *live = dispatch_find(watch->dispatch, job->id);

    job->waiter = NULL;
    if (live) /* else a stub, and nothing has happened to it but the shutdown */
        remember(job, live->job.spec, &live->job.status);
    if (wake == WAKE_SHUTDOWN)
        watch->stopping = true;
    else if (wake != WAKE_READY) /* how it has ended only a restart can tell */
        watch->st = st;
    if (watch->found)
        watch->on_change(watch->data);
}

static void attach(struct watched *job)
{
    struct watch *watch = job->watch;

    job->waiter = dispatch_wait_one_of(watch->dispatch, job->id, &watch->waiting,
                                       on_job_woken, job);
    if (!job->waiter)
        watch->st = ST_NO_MEMORY;
}

/* Whether who watches may know of the job. */
static bool is_his(const struct watched *job, const struct job_spec *spec)
{
    return !job->watch->owner || job->watch->owner == spec->owner;
}

static void attach_live(struct watched *job, const struct live *live)
{
    if (!is_his(job, live->job.spec))
        job->unknown = true;
    else if (job_state_final(live->job.status.state))
        remember(job, live->job.spec, &live->job.status);
    else
        attach(job);
}

/* ---- jobs in the store ------------------------------------------------------------- */

static void found_all(struct watch *watch)
{
    watch->found = true;
    for (size_t i = 0; i < watch->count; i++) {
        if (watch->jobs[i].over)
            watch->ended[watch->ended_count++] = i;
        watch->unknown_count += watch->jobs[i].unknown;
    }
    watch->on_change(watch->data);
}

static void ask_next(struct watch *watch);

/* Not over: it is a stub, or has become whole meanwhile; or it has ended since it was read,
 * then the store is asked once more. */
static void found_stored(struct watched *job, struct stored_job *stored)
{
    struct dispatch *dispatch = job->watch->dispatch;
    bool over = job_state_final(stored->status.state);
    const struct live *live = over ? NULL : dispatch_find(dispatch, job->id);
    bool is_stub = !over && dispatch_is_stub(dispatch, job->id, &stored->status.state);

    if (!is_his(job, stored->spec)) {
        job->unknown = true;
    } else if (live) {
        attach_live(job, live);
    } else if (is_stub) {
        remember(job, stored->spec, &stored->status);
        attach(job);
    } else if (over || job->asked) {
        remember(job, stored->spec, &stored->status);
    }
    job->asked = true;
}

static void on_stored_job(void *data, enum status st, struct stored_job *stored)
{
    struct watched *job = data;
    struct watch *watch = job->watch;

    watch->asking = false;
    if (watch->freed) {
        watch_free(watch);
    } else if (st == ST_OK) {
        found_stored(job, stored);
        ask_next(watch);
    } else {
        job->unknown = st == ST_NOT_FOUND;
        watch->st = job->unknown ? watch->st : st;
        ask_next(watch);
    }
    stored_job_clear(stored);
}

/* One at a time: others want to read, too. */
static void ask_next(struct watch *watch)
{
    for (size_t i = 0; i < watch->count && watch->st == ST_OK; i++) {
        struct watched *job = &watch->jobs[i];

        if (job->waiter || job->json || job->unknown)
            continue;
        watch->asking = true;
        store_get_job(dispatch_store(watch->dispatch), job->id, 0, on_stored_job, job);
        return;
    }
    found_all(watch);
}

/* ---- the watch --------------------------------------------------------------------- */

static void on_watch_woken(void *data, enum wake wake, enum status st)
{
    struct watch *watch = data;

    (void)st;
    watch->waiter = NULL;
    watch->time_is_up = wake == WAKE_TIMEOUT;
    watch->stopping = watch->stopping || wake == WAKE_SHUTDOWN;
    if (watch->found)
        watch->on_change(watch->data);
}

enum status watch_new(struct dispatch *dispatch, const struct uuid *ids, size_t count,
                      uint64_t owner, int64_t timeout_ms, void (*on_change)(void *data),
                      void *data, struct watch **ret_watch)
{
    struct watch *watch = mem_zalloc(sizeof(*watch));

    if (!watch)
        return ST_NO_MEMORY;
    watch->jobs = mem_zalloc((count + 1) * sizeof(*watch->jobs));
    watch->ended = mem_alloc((count + 1) * sizeof(*watch->ended));
    watch->dispatch = dispatch;
    watch->owner = owner;
    watch->on_change = on_change;
    watch->data = data;
    if (!watch->jobs || !watch->ended) {
        watch_free(watch);
        return ST_NO_MEMORY;
    }
    watch->waiter = dispatch_wait_many(dispatch, timeout_ms, on_watch_woken, watch);
    if (!watch->waiter) {
        watch_free(watch);
        return ST_LIMIT;
    }
    watch->count = count;
    for (size_t i = 0; i < count; i++) {
        watch->jobs[i].id = ids[i];
        watch->jobs[i].watch = watch;
    }
    *ret_watch = watch;
    return ST_OK;
}

void watch_start(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        const struct live *live = dispatch_find(watch->dispatch, watch->jobs[i].id);

        if (live)
            attach_live(&watch->jobs[i], live);
    }
    ask_next(watch);
}

void watch_free(struct watch *watch)
{
    if (!watch)
        return;
    waiter_end(watch->waiter);
    watch->waiter = NULL;
    for (size_t i = 0; i < watch->count; i++) {
        waiter_end(watch->jobs[i].waiter);
        watch->jobs[i].waiter = NULL;
    }
    watch->freed = true;
    if (watch->asking) /* the answer comes all the same */
        return;
    for (size_t i = 0; i < watch->count; i++)
        blob_unref(watch->jobs[i].json);
    mem_free(watch->jobs);
    mem_free(watch->ended);
    mem_free(watch);
}

bool watch_write(const struct watch *watch, size_t index, struct buf *out)
{
    const struct watched *job = &watch->jobs[index];
    const struct live *live = job->over ? NULL : dispatch_find(watch->dispatch, job->id);

    if (live)
        job_json_write(out, live->job.spec, &live->job.status);
    else if (job->json)
        buf_add_text(out, blob_text(job->json));
    return (live || job->json) && !out->failed;
}
