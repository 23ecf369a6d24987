/* SPDX-License-Identifier: MIT */
/*
 * Clients at both ends of a job: readers of `imap`, that move its window on or leave, and
 * those that feed items line by line, end their input or break off. As api_results.c and
 * api_feed.c: who reads or feeds keeps the job pinned, and does nothing any more when the
 * server stops.
 */
#include "tests/sim/sim.h"

#include "server/failure.h"

#include <stdlib.h>

static void on_room(void *data)
{
    (void)data; /* never: so many items are not fed here */
}

static void leave(struct sim_job *job)
{
    struct live *live = job->at;

    if (!live)
        return;
    dispatch_set_feeder(live, NULL);
    job->at = NULL;
    live_unpin(live);
}

void sim_feed_begin(struct sim_job *job, struct live *live)
{
    if (!job->window && !job->fed)
        return;
    job->at = live;
    live_pin(live);
    if (!job->fed)
        return;
    job->feeder = (struct feeder){ .on_room = on_room, .data = job };
    dispatch_set_feeder(live, &job->feeder);
    dispatch_record(live);
}

void sim_feed_leave_all(struct sim *sim)
{
    for (unsigned i = 0; i < sim->job_count; i++) {
        leave(&sim->jobs[i]);
        sim->jobs[i].reads = sim->jobs[i].feeds = false;
    }
}

/* ---- reading ----------------------------------------------------------------------- */

static const struct outcome *next_outcome(const struct sim_job *job)
{
    for (size_t i = 0; i < job->at->job.outcome_count; i++) {
        const struct outcome *outcome = &job->at->job.outcomes[i];

        if (outcome->shown && outcome->first == job->read)
            return outcome;
    }
    return NULL;
}

/* The next outcome, if it is there; the window moves with it. */
static bool read_one(struct sim *sim, struct sim_job *job)
{
    const struct outcome *outcome = next_outcome(job);
    bool too_far;

    if (!outcome)
        return false;
    job->read += outcome->count;
    dispatch_has_read(job->at, outcome->first);
    sim_say(sim, "job %d: %d items are read", (int)sim_number(job), (int)job->read);
    too_far = sim_plant_due(sim, PLANT_WIDE_WINDOW);
    dispatch_read(job->at, job->read + (too_far ? SIM_ITEMS : 0));
    return true;
}

static void stop_reading(struct sim *sim, struct sim_job *job)
{
    sim_say(sim, "job %d: its reader leaves", (int)sim_number(job));
    job->reads = false;
    dispatch_read(job->at, NOBODY_READS);
}

/* ---- feeding ----------------------------------------------------------------------- */

static void feed_one(struct sim *sim, struct sim_job *job)
{
    if (!dispatch_takes_items(job->at)) { /* cancelled, or stopped by an error */
        job->feeds = false;
        return;
    }
    SIM_DEMAND(sim, !dispatch_feed_full(job->at), "job %d: there is no room for %d items",
               (int)sim_number(job), (int)job->items + 1);
    sim_say(sim, "job %d: item %d comes", (int)sim_number(job), (int)job->items);
    if (dispatch_feed(job->at, TEXT("0")) != ST_OK)
        abort();
    job->items++;
    dispatch_fed(job->at);
}

static void end_input(struct sim *sim, struct sim_job *job, bool broken)
{
    sim_say(sim, "job %d: its input %s", (int)sim_number(job),
            broken ? "breaks off" : "ends");
    job->feeds = false;
    job->cut = broken && dispatch_takes_items(job->at);
    if (sim_plant_due(sim, PLANT_NO_END))
        return;
    dispatch_end_input(job->at, broken ? failure_of_input(&job->id, "left", 0) : NULL);
}

static void step_feeder(struct sim *sim, struct sim_job *job)
{
    if (job->items == SIM_ITEMS || sim_chance(sim, sim->quiet ? 50 : 10))
        end_input(sim, job, sim_chance(sim, 30));
    else
        feed_one(sim, job);
}

/* ---- steps ------------------------------------------------------------------------- */

static bool is_over(const struct sim_job *job)
{
    return !job->at->findable || job_state_final(job->at->job.status.state);
}

static void step(struct sim *sim, struct sim_job *job)
{
    if (is_over(job))
        job->reads = job->feeds = false;
    else if (job->feeds && (!job->reads || sim_chance(sim, 50)))
        step_feeder(sim, job);
    else if (job->reads && !read_one(sim, job) && sim_chance(sim, sim->quiet ? 0 : 10))
        stop_reading(sim, job);
    if (!job->reads && !job->feeds)
        leave(job);
}

bool sim_feed_step(struct sim *sim)
{
    uint64_t from = sim_below(sim, SIM_JOBS);

    for (unsigned i = 0; i < sim->job_count; i++) {
        struct sim_job *job = &sim->jobs[(from + i) % sim->job_count];

        if (!job->at)
            continue;
        step(sim, job);
        return true;
    }
    return false;
}
