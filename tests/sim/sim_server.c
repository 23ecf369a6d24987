/* SPDX-License-Identifier: MIT */
/* The server's life: start, turns of the loop, the ways in which it ends. Its forkservers are
 * nothing but a number. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <string.h>

/* ---- forkservers ------------------------------------------------------------------- */

enum status forkserver_start(struct forkserver *fs, int catalog,
                             const struct confinement *confinement,
                             struct error_text *err)
{
    (void)catalog;
    (void)confinement;
    (void)err;
    *fs = (struct forkserver){ .pid = 1, .sock = -1, .pidfd = -1 };
    return ST_OK;
}

void forkserver_stop(struct forkserver *fs)
{
    *fs = (struct forkserver){ .pid = 0, .sock = -1, .pidfd = -1 };
}

/* ---- the server --------------------------------------------------------------------- */

static void on_wake(void *data)
{
    ((struct sim *)data)->wake_due = true;
}

static void on_fatal(void *data, const struct error_text *why)
{
    (void)why;
    ((struct sim *)data)->fatal = true;
}

static void on_drained(void *data)
{
    ((struct sim *)data)->drained = true;
}

static void on_stopped(void *data)
{
    ((struct sim *)data)->stopped = true;
}

void sim_turn(struct sim *sim)
{
    do {
        sim->wake_due = false;
        if (sim->store)
            store_drain(sim->store);
        sim_pool_turn(sim);
    } while (sim->wake_due);
    if (!sim->dispatch)
        sim_close_handles(sim);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* What clients knew of jobs that were in memory only is worth nothing now. */
static void reopen_book(struct sim *sim)
{
    for (unsigned i = 0; i < sim->job_count; i++) {
        struct sim_job *job = &sim->jobs[i];

        if (job->word == SIM_ASKED)
            job->word = SIM_UNSURE;
        job->lost = job->lost || !job->in_store;
        job->state = JOB_STATE_COUNT;
        if (!job_state_final(job->stored_state))
            job->told_end = false; /* that was lost, or it is run again */
        job->cut = job->cut || (job->fed && !job_state_final(job->stored_state));
        job->retrying = job->begun = job->forgiven = false;
        job->cancelled = job->told_end && job->told_state == JOB_CANCELLED;
        job->queued_at = job->start_ns = 0;
        job->lane = NULL;
        for (unsigned n = 0; n < SIM_ITEMS; n++) {
            struct sim_item *item = &job->item[n];

            /* One whose last error was not committed has another try. */
            item->errors = least(item->stored_errors, job->retries);
            item->crashes = least(item->stored_crashes, job->crash_retries);
            item->shown = item->stored;
            item->shown_error = item->stored_error;
        }
    }
}

/* Jobs of a pool that is gone are the default pool's. */
static void note_lanes(struct sim *sim)
{
    for (unsigned i = 0; i < sim->job_count; i++) {
        struct sim_job *job = &sim->jobs[i];

        job->lane = dispatch_lane(sim->dispatch, sim_pool_names[job->pool]);
        if (!job->lane)
            job->lane = dispatch_first_lane(sim->dispatch);
    }
}

static struct pool_spec *default_pool(struct sim *sim)
{
    struct pool_spec spec = { .name = POOL_DEFAULT,
                              .processes = 1 + (unsigned)sim_below(sim, 2),
                              .maxtasksperchild = sim_chance(sim, 20) ? 2 : 0,
                              .initargs = "[]" };

    return pool_spec_new(&spec);
}

void sim_server_start(struct sim *sim)
{
    static const struct store_events store_events = { on_wake, on_fatal };
    static const struct dispatch_events events = { .on_drained = on_drained };
    const struct retention_options keep = { .job_ttl_ms = 3000, .max_jobs = 1000 };
    struct forkserver forkserver = { 1, -1, -1 };
    struct dispatch_options options = {
        .max_queued_jobs = sim->max_jobs,
        .queue_window = 1 + sim_below(sim, 4),
        .queue_window_bytes = sim_chance(sim, 20) ? 16 : 1 << 20,
        .max_waiters = 1000,
        .job_ttl_ms = 3000,
        .max_finished_jobs = 1000,
        .max_processes = 8,
        .max_result_bytes = 100000,
        .max_log_bytes = 1000,
        .cancel_grace_ms = sim_chance(sim, 50) ? 100 : 0,
        .catalog = -1,
    };
    struct error_text err = { "" };
    enum status st;

    sim_say(sim, "---- the server starts");
    sim->drained = sim->stopped = sim->fatal = sim->dying = false;
    reopen_book(sim);
    sim->store = sim_store_open(sim, &store_events);
    st = dispatch_new(&sim->loop, sim->store, &options, &events, sim, &sim->dispatch);
    assert(st == ST_OK);
    st = dispatch_add_pool(sim->dispatch, &forkserver, default_pool(sim));
    assert(st == ST_OK);
    st = dispatch_start(sim->dispatch, &err);
    SIM_DEMAND(sim, st == ST_OK, "the server does not start: %s", err.text);
    note_lanes(sim);
    st = retention_new(&sim->loop, sim->store, &keep, &sim->retention);
    assert(st == ST_OK);
    sim_check(sim);
}

/* All workers have gone; in the order of serve.c. */
static void take_apart(struct sim *sim)
{
    store_stop(sim->store);
    retention_free(sim->retention);
    dispatch_wake_all(sim->dispatch);
    store_drain(sim->store);
    sim_feed_leave_all(sim);
    dispatch_free(sim->dispatch);
    sim->dispatch = NULL;
    store_close(sim->store);
    sim->store = NULL;
    sim->dying = true;
    sim_turn(sim);
    SIM_DEMAND(sim, sim->timer_count == 0, "the server has left a timer behind");
    SIM_DEMAND(sim, !sim->pools, "the server has left a pool behind");
    for (unsigned i = 0; i < sim->job_count; i++)
        SIM_DEMAND(sim, sim->jobs[i].waits == 0, "job %u: a client waits for ever", i);
    sim_disk_check(sim);
}

static void until_stopped(struct sim *sim)
{
    for (unsigned i = 0; !sim->stopped; i++) {
        sim_fire(sim);
        if (sim_chance(sim, 80))
            (void)sim_pool_step(sim);
        else
            (void)sim_store_step(sim);
        sim_turn(sim);
        if (!sim->dying)
            sim_check(sim);
        SIM_DEMAND(sim, i < 10000, "the server does not stop");
    }
}

void sim_server_crash(struct sim *sim)
{
    sim_say(sim, "---- the server crashes");
    sim->dying = true;
    sim_store_cut(sim);
    dispatch_stop(sim->dispatch, true, on_stopped);
    sim_turn(sim);
    sim_pool_kill_all(sim);
    until_stopped(sim);
    take_apart(sim);
}

void sim_server_stop(struct sim *sim, bool at_once)
{
    unsigned patience = (unsigned)sim_below(sim, 40);

    sim_say(sim, "---- the server stops%s", at_once ? " at once" : "");
    if (!at_once)
        dispatch_drain(sim->dispatch);
    while (!at_once && !sim->drained && patience-- && !sim->fatal) {
        sim_fire(sim);
        (void)(sim_chance(sim, 70) ? sim_pool_step(sim) : sim_store_step(sim));
        sim_turn(sim);
        sim_check(sim);
    }
    dispatch_stop(sim->dispatch, at_once || !sim->drained, on_stopped);
    until_stopped(sim);
    take_apart(sim);
}
