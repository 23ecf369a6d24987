/* SPDX-License-Identifier: MIT */
/*
 * Jobs that are kept aside: relaxed ones that are not stored yet, and those of durability
 * `memory` that are over, which are nowhere else. One timer looks after both.
 *
 * What is kept goes as in the store: first input and outcomes, then the job. Its age is
 * told by the monotonic clock, since none of it survives a restart.
 */
#include "common/clock.h"
#include "common/mem.h"
#include "server/dispatch_private.h"

#define SWEEP_IDLE_MS 1000

static void sweep_later(struct dispatch *dispatch)
{
    bool unstored = !TAILQ_EMPTY(&dispatch->unstored);

    if (!unstored && TAILQ_EMPTY(&dispatch->kept))
        (void)uv_timer_stop(dispatch->sweep);
    else if (!uv_is_active((uv_handle_t *)dispatch->sweep) ||
             (unstored && uv_timer_get_due_in(dispatch->sweep) > RELAXED_STORE_MS))
        (void)uv_timer_start(dispatch->sweep, aside_sweep,
                             unstored ? RELAXED_STORE_MS : SWEEP_IDLE_MS, 0);
}

void aside_leave(struct live *live)
{
    struct dispatch *dispatch = live->dispatch;

    if (live->aside_in == ASIDE_UNSTORED)
        TAILQ_REMOVE(&dispatch->unstored, live, aside);
    if (live->aside_in == ASIDE_KEPT) {
        TAILQ_REMOVE(&dispatch->kept, live, aside);
        dispatch->kept_count--;
        dispatch->kept_bytes -= live->job.status.bytes;
    }
    live->aside_in = ASIDE_NOWHERE;
}

/* ---- relaxed jobs that take long ---------------------------------------------------- */

void aside_add_unstored(struct live *live)
{
    live->aside_in = ASIDE_UNSTORED;
    TAILQ_INSERT_TAIL(&live->dispatch->unstored, live, aside);
    sweep_later(live->dispatch);
}

/* Only jobs without an idempotency key are kept aside. */
static void on_recorded(void *data, enum status st)
{
    struct live *live = data;

    live->stored = st == ST_OK;
    live_unpin(live);
}

void dispatch_record(struct live *live)
{
    struct dispatch *dispatch = live->dispatch;
    const struct job *job = &live->job;
    const struct attempt_log *attempts = &live->attempts;

    if (live->aside_in != ASIDE_UNSTORED || dispatch->closed)
        return;
    aside_leave(live);
    live->in_store = true;
    live_pin(live);
    store_record_job(dispatch->store, job->spec, &job->status, on_recorded, live);
    for (size_t i = 0; i < job->outcome_count; i++)
        store_put_outcome(dispatch->store, job->spec, &job->outcomes[i], NULL, NULL);
    for (size_t i = 0; i < attempts->count; i++)
        store_put_attempt(dispatch->store, job->spec, attempts->dropped + i + 1,
                          attempt_log_at(attempts, i), NULL, NULL);
}

/* ---- finished jobs of durability memory --------------------------------------------- */

/* Not while somebody reads from it. */
static void strip(struct live *live)
{
    uint64_t bytes = live->job.status.bytes;

    if (live->gone || live->pins || job_strip(&live->job) != ST_OK)
        return;
    live->dispatch->kept_bytes -= bytes;
    live->gone = true;
    attempt_log_clear(&live->attempts);
    job_log_clear(&live->log);
    mem_free(live->arrivals);
    live->arrivals = NULL;
    live->arrival_count = live->arrival_cap = 0;
}

static void keep_within_limits(struct dispatch *dispatch)
{
    const struct dispatch_options *options = &dispatch->options;
    struct live *live;

    TAILQ_FOREACH (live, &dispatch->kept, aside) {
        if (!options->max_finished_bytes ||
            dispatch->kept_bytes <= options->max_finished_bytes)
            break;
        strip(live);
    }
    while (dispatch->kept_count > MEMORY_JOBS_MAX ||
           dispatch->kept_count > options->max_finished_jobs)
        live_forget(TAILQ_FIRST(&dispatch->kept));
}

void aside_keep(struct live *live)
{
    struct dispatch *dispatch = live->dispatch;

    live->aside_in = ASIDE_KEPT;
    live->ended_ns = clock_mono_ns();
    TAILQ_INSERT_TAIL(&dispatch->kept, live, aside);
    dispatch->kept_count++;
    dispatch->kept_bytes += live->job.status.bytes;
    keep_within_limits(dispatch);
    sweep_later(dispatch);
}

static void let_go_by_age(struct dispatch *dispatch)
{
    uint64_t now_ns = clock_mono_ns();
    struct live *live, *next;

    for (live = TAILQ_FIRST(&dispatch->kept); live; live = next) {
        int64_t age_ms = (int64_t)((now_ns - live->ended_ns) / NS_PER_MS);

        next = TAILQ_NEXT(live, aside);
        if (live->gone && age_ms >= dispatch->options.job_ttl_ms)
            live_forget(live);
        else if (age_ms >= live->job.spec->result_ttl_ms)
            strip(live);
    }
}

void aside_sweep(uv_timer_t *timer)
{
    struct dispatch *dispatch = timer->data;
    uint64_t now_ns = clock_mono_ns();
    struct live *live;

    while ((live = TAILQ_FIRST(&dispatch->unstored)) &&
           now_ns - live->submitted_ns >= RELAXED_STORE_MS * NS_PER_MS)
        dispatch_record(live);
    let_go_by_age(dispatch);
    sweep_later(dispatch);
}
