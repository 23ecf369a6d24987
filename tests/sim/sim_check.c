/* SPDX-License-Identifier: MIT */
/* The promises, each as a comparison of the server with the book. */
#include "server/dispatch_private.h"
#include "tests/sim/sim.h"

#include <string.h>

static int number_of(const struct sim_job *job)
{
    return (int)sim_number(job);
}

/* ---- one job in memory ------------------------------------------------------------- */

static bool moves(enum job_state from, enum job_state to)
{
    return from == to || (!job_state_final(from) && to > from) ||
           (from == JOB_RUNNING && to == JOB_QUEUED);
}

static void check_state(struct sim *sim, struct sim_job *job, const struct live *live)
{
    enum job_state state = live->job.status.state;

    SIM_DEMAND(sim,
               job->state == JOB_STATE_COUNT || job->retrying || moves(job->state, state),
               "job %d: it was %s, and is %s now", number_of(job),
               job_state_names[job->state % JOB_STATE_COUNT], job_state_names[state]);
    job->state = state;
    SIM_DEMAND(
        sim, !job->told_end || job->retrying || live->job.status.state == job->told_state,
        "job %d: a client was told that it is %s, and it is %s", number_of(job),
        job_state_names[job->told_state], job_state_names[state]);
    SIM_DEMAND(sim,
               !job_state_final(state) || job->durability != DURABILITY_DURABLE ||
                   job->retrying || job->stored_state == state,
               "job %d: it is shown as %s, and that is not committed", number_of(job),
               job_state_names[state]);
}

/* An item fails with its task's error when it has had all of its attempts, unless the job is
 * being stopped. */
static void check_error(struct sim *sim, const struct sim_job *job,
                        const struct live *live, const struct outcome *outcome)
{
    const struct sim_item *item = &job->item[outcome->first];

    SIM_DEMAND(sim,
               item->shown || item->stored || live->job.end != JOB_STATE_COUNT ||
                   !strstr(outcome->text->data, "/problems/task-error") ||
                   item->errors > job->retries,
               "job %d: item %d has failed after %u of %u attempts", number_of(job),
               (int)outcome->first, item->errors, job->retries + 1);
}

/* Every item has one outcome, for good; and a durable one is committed before it is shown. */
static void check_outcomes(struct sim *sim, struct sim_job *job, const struct live *live)
{
    uint64_t values[SIM_ITEMS], counts[2] = { 0 }, next = 0;

    for (size_t i = 0; i < live->job.outcome_count; i++) {
        const struct outcome *outcome = &live->job.outcomes[i];

        SIM_DEMAND(
            sim, outcome->first >= next && outcome->first + outcome->count <= job->items,
            "job %d: two outcomes of an item, or of one that is not there",
            number_of(job));
        next = outcome->first + outcome->count;
        counts[outcome->is_error] += outcome->count;
        if (outcome->is_error)
            check_error(sim, job, live, outcome);
        sim_values(sim, outcome, values);
        for (uint64_t n = 0; n < outcome->count && outcome->shown; n++) {
            struct sim_item *item = &job->item[outcome->first + n];

            SIM_DEMAND(sim, !item->shown || item->shown == values[n],
                       "job %d: the outcome of item %d has changed", number_of(job),
                       (int)(outcome->first + n));
            SIM_DEMAND(sim,
                       job->durability != DURABILITY_DURABLE || item->stored == values[n],
                       "job %d: the outcome of item %d is shown, and is not committed",
                       number_of(job), (int)(outcome->first + n));
            item->shown = values[n];
            item->shown_error = outcome->is_error;
        }
    }
    SIM_DEMAND(sim,
               live->gone || live_let_go_of(live) ||
                   (counts[0] == live->job.status.completed &&
                    counts[1] == live->job.status.failed),
               "job %d: its progress is not the number of its outcomes", number_of(job));
}

/* Items that are to be handed over, the window's or not. */
static uint64_t to_do(const struct job *job)
{
    uint64_t count = job_items(job->spec, &job->status) - job->next_item;

    for (size_t i = 0; i < job->returned_count; i++)
        count += job->returned[i].count;
    return count + job->waiting_count;
}

/* Each item is done, with a worker, or still to do. */
static void check_items(struct sim *sim, const struct sim_job *job,
                        const struct live *live)
{
    const struct job_status *status = &live->job.status;
    uint64_t with_workers = 0, all;
    const struct chunk *chunk;

    TAILQ_FOREACH (chunk, &live->chunks, link)
        with_workers += chunk->count;
    SIM_DEMAND(sim, with_workers == live->job.in_flight,
               "job %d: %d items are with workers, and it counts %d", number_of(job),
               (int)with_workers, (int)live->job.in_flight);
    all = status->completed + status->failed + with_workers + to_do(&live->job);
    SIM_DEMAND(sim, all == job_items(live->job.spec, status) || live->gone,
               "job %d: %d of %d items are done, with workers or to do", number_of(job),
               (int)all, (int)job->items);
    SIM_DEMAND(sim,
               !job->at || live != job->at || status->fed == (job->fed ? job->items : 0),
               "job %d: %d items have come, and it counts %d", number_of(job),
               (int)job->items, (int)status->fed);
}

static bool is_over(const struct live *live)
{
    return live->ending || job_state_final(live->job.status.state);
}

static void check_live(struct sim *sim, const struct live *live)
{
    struct sim_job *job = sim_job_of(sim, live->id);

    SIM_DEMAND(sim, job, "there is a job that nobody has submitted");
    job->lane = live->lane;
    check_state(sim, job, live);
    check_outcomes(sim, job, live);
    check_items(sim, job, live);
}

/* ---- all of them ------------------------------------------------------------------- */

/* Where the book finds a job. */
struct place {
    const struct live *live;
    const struct stub *stub;
};

static struct place place_of(struct sim *sim, const struct sim_job *job)
{
    struct place place = { NULL, NULL };
    struct live *live;

    HASH_FIND(hh, sim->dispatch->by_id, job->id.bytes, sizeof(job->id.bytes), live);
    place.live = live;
    if (!live)
        place.stub = stubs_find(&sim->dispatch->stubs, job->id);
    return place;
}

/* Nothing that was acknowledged is forgotten. */
static void check_kept(struct sim *sim, const struct sim_job *job,
                       const struct place *place)
{
    bool known = place->live || place->stub;

    if (job->deleted || job->lost ||
        (job->durability == DURABILITY_MEMORY && job_state_final(job->state)))
        return;
    SIM_DEMAND(sim, job->word != SIM_ACCEPTED || known || job->in_store || sim->fatal,
               "job %d: it was acknowledged, and nobody knows it", number_of(job));
    SIM_DEMAND(sim,
               job->word != SIM_ACCEPTED || job->durability != DURABILITY_DURABLE ||
                   job->in_store,
               "job %d: it was acknowledged as durable, and is not stored",
               number_of(job));
    SIM_DEMAND(
        sim, !job->in_store || job_state_final(job->stored_state) || known || sim->fatal,
        "job %d: it is stored and not over, and the server has forgotten it",
        number_of(job));
}

static void check_unique(struct sim *sim, const struct sim_job *job, unsigned at)
{
    for (unsigned i = 0; i < at; i++) {
        const struct sim_job *other = &sim->jobs[i];

        SIM_DEMAND(sim,
                   !other->holds_key || other->unique != job->unique ||
                       other->pool != job->pool || other->lane != job->lane,
                   "jobs %u and %u have the same unique_key", i, at);
    }
}

static bool is_queued(const struct place *place)
{
    return place->live ? place->live->job.place.queued
                       : place->stub && place->stub->place.queued;
}

/* The order in which jobs come into the queue; not of those that are scheduled, fed or run
 * again, of which several may come in one step. */
static void note_queued(struct sim *sim, struct sim_job *job, const struct place *place)
{
    if (is_queued(place) && !job->queued_at && !job->start_at_ms && !job->forgiven &&
        !job->fed)
        job->queued_at = ++sim->queue_order;
}

void sim_check(struct sim *sim)
{
    size_t unfinished = 0;
    const struct live *live;

    TAILQ_FOREACH (live, &sim->dispatch->lives, link) {
        check_live(sim, live);
        unfinished += !job_state_final(live->job.status.state);
    }
    for (unsigned i = 0; i < sim->job_count; i++) {
        struct sim_job *job = &sim->jobs[i];
        struct place place = place_of(sim, job);

        unfinished += place.stub != NULL;
        check_kept(sim, job, &place);
        note_queued(sim, job, &place);
        job->holds_key =
            job->unique >= 0 && !job->cancelled &&
            (job->key < 0 || job->word != SIM_ASKED) && /* sent again? */
            (place.live ? !is_over(place.live) && place.live->job.end == JOB_STATE_COUNT
                        : place.stub && place.stub->end == JOB_STATE_COUNT);
        if (job->holds_key)
            check_unique(sim, job, i);
    }
    SIM_DEMAND(sim, unfinished == dispatch_jobs(sim->dispatch),
               "%zu jobs are not over, and the server counts %zu", unfinished,
               dispatch_jobs(sim->dispatch));
    SIM_DEMAND(sim, dispatch_take_census(sim->dispatch) == 0,
               "jobs and workers do not agree on how many items are with workers");
}

/* ---- handing over ------------------------------------------------------------------ */

static bool is_old(const struct live *live)
{
    return live->generation && live->generation != live->lane->generation;
}

/* The others of its pool have no better right. */
static void check_turn(struct sim *sim, const struct sim_job *job,
                       const struct live *live)
{
    const struct live *whole;

    TAILQ_FOREACH (whole, &sim->dispatch->lives, link)
        SIM_DEMAND(
            sim,
            whole == live || whole->lane != live->lane || is_old(whole) != is_old(live) ||
                !whole->job.place.queued || whole->job.spec->priority <= job->priority,
            "job %d was handed over before one of higher priority", number_of(job));
    for (unsigned i = 0; i < sim->job_count && job->queued_at && !job->begun; i++) {
        const struct sim_job *other = &sim->jobs[i];

        struct place place = place_of(sim, other);

        SIM_DEMAND(sim,
                   !is_queued(&place) || other->begun || other->lane != live->lane ||
                       !other->queued_at || other->priority < job->priority ||
                       other->queued_at > job->queued_at || other == job,
                   "job %d was handed over before job %u, which came first",
                   number_of(job), i);
    }
}

void sim_check_handed_over(struct sim *sim, const struct live *live, uint64_t first,
                           uint64_t count)
{
    struct sim_job *job = sim_job_of(sim, live->id);

    if (sim->dying)
        return;
    SIM_DEMAND(sim, first + count <= job->items, "items that are not there");
    SIM_DEMAND(sim, job->word == SIM_ACCEPTED || job->word == SIM_UNSURE || job->key >= 0,
               "job %d was handed over before it was acknowledged", number_of(job));
    SIM_DEMAND(sim, job->durability != DURABILITY_DURABLE || job->in_store,
               "job %d was handed over before it was stored", number_of(job));
    SIM_DEMAND(sim, !job->cancelled, "job %d was handed over after it was cancelled",
               number_of(job));
    SIM_DEMAND(sim, !job->told_end || job->retrying,
               "job %d was handed over after its end", number_of(job));
    SIM_DEMAND(sim,
               !job->reads || !job->window || first + count <= job->read + job->window,
               "job %d: items up to %d were handed over, its window ends at %d",
               number_of(job), (int)(first + count), (int)(job->read + job->window));
    SIM_DEMAND(sim, sim->jumped || sim->mono_ns + NS_PER_MS > job->start_ns,
               "job %d was handed over too early", number_of(job));
    for (uint64_t i = first; i < first + count; i++) {
        const struct sim_item *item = &job->item[i];

        SIM_DEMAND(
            sim, (!item->stored || (item->stored_error && job->forgiven)) && !item->shown,
            "job %d: item %d was handed over, and has an outcome", number_of(job),
            (int)i);
        SIM_DEMAND(sim,
                   item->errors <= job->retries && item->crashes <= job->crash_retries,
                   "job %d: item %d has no attempts left", number_of(job), (int)i);
    }
    check_turn(sim, job, live);
    job->begun = true;
}

void sim_check_charged(struct sim *sim, const struct live *live, uint64_t item,
                       bool crash)
{
    struct sim_job *job = sim_job_of(sim, live->id);

    if (crash)
        job->item[item].crashes++;
    else
        job->item[item].errors++;
}

/* ---- what clients are told --------------------------------------------------------- */

void sim_check_told_accepted(struct sim *sim, struct sim_job *job)
{
    SIM_DEMAND(sim, job->durability != DURABILITY_DURABLE || job->in_store,
               "job %d: it is acknowledged as durable, and is not committed",
               number_of(job));
    if (job->word != SIM_ACCEPTED)
        job->word = SIM_ACCEPTED;
}

void sim_check_told_end(struct sim *sim, struct sim_job *job)
{
    struct place place = place_of(sim, job);
    enum job_state state = place.live ? place.live->job.status.state : job->stored_state;
    uint64_t values = 0;

    SIM_DEMAND(sim, job_state_final(state), "job %d: its end is told, and it is %s",
               number_of(job), job_state_names[state]);
    SIM_DEMAND(sim, !job->cut || state != JOB_SUCCEEDED,
               "job %d: it has succeeded, and its input was not complete",
               number_of(job));
    job->told_end = true;
    job->told_state = state;
    if (job->durability != DURABILITY_DURABLE)
        return;
    SIM_DEMAND(sim, job->in_store && job->stored_state == state,
               "job %d: it is told as %s, and that is not committed", number_of(job),
               job_state_names[state]);
    for (unsigned i = 0; i < SIM_ITEMS; i++)
        values += job->item[i].stored != 0;
    SIM_DEMAND(sim, job->deleted || values == job->stored_completed + job->stored_failed,
               "job %d: its end is told, and not all of its outcomes are committed",
               number_of(job));
    SIM_DEMAND(sim, state != JOB_SUCCEEDED || values == job->items,
               "job %d: it has succeeded, and has not as many outcomes as items",
               number_of(job));
}

/* ---- the end ----------------------------------------------------------------------- */

bool sim_at_rest(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->job_count; i++)
        if (sim->jobs[i].waits || sim->jobs[i].retrying || sim->jobs[i].word == SIM_ASKED)
            return false;
    return dispatch_jobs(sim->dispatch) == 0 && store_backlog(sim->store) == 0;
}

void sim_check_end(struct sim *sim)
{
    for (unsigned i = 0; i < sim->job_count; i++) {
        const struct sim_job *job = &sim->jobs[i];

        if (job->word != SIM_ACCEPTED || job->deleted || job->lost)
            continue;
        SIM_DEMAND(sim, !job->cut || !job->in_store || job->stored_state != JOB_SUCCEEDED,
                   "job %u: it has succeeded, and its input was not complete", i);
        SIM_DEMAND(sim,
                   job->in_store ? job_state_final(job->stored_state)
                                 : job_state_final(job->state),
                   "job %u: it was acknowledged, and is not over", i);
    }
}
