/* SPDX-License-Identifier: MIT */
/* What clients and operators ask for, and what goes wrong, at random. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const char *const sim_pool_names[SIM_POOLS] = { POOL_DEFAULT, "a", "b" };
static const char *const unique_keys[SIM_KEYS] = { "u0", "u1", "u2" };
static const char *const idempotency_keys[SIM_KEYS] = { "k0", "k1", "k2" };

/* ---- waiting ----------------------------------------------------------------------- */

static void check_existing(struct sim_job *job)
{
    struct sim *sim = job->sim;
    const struct sim_job *other = sim_job_of(sim, dispatch_existing(sim->dispatch)->id);

    SIM_DEMAND(sim,
               job->key >= 0 && other && other->key == job->key &&
                   (other->in_store || other->deleted),
               "job %d: its idempotency key is said to be that of a job that has it not",
               (int)sim_number(job));
}

static void on_accepted(void *data, enum wake wake, enum status st)
{
    struct sim_job *job = data;

    job->waits--;
    if (job->sim->dying)
        return;
    sim_say(job->sim, "job %d: told %s", (int)sim_number(job),
            wake == WAKE_ACCEPTED ? "that it is accepted" : status_text(st));
    if (wake == WAKE_ACCEPTED) {
        sim_check_told_accepted(job->sim, job);
        return;
    }
    if (wake == WAKE_REFUSED && st == ST_EXISTS)
        check_existing(job);
    job->word = wake == WAKE_REFUSED && st != ST_UNKNOWN ? SIM_REFUSED : SIM_UNSURE;
}

static void on_ready(void *data, enum wake wake, enum status st)
{
    struct sim_job *job = data;

    (void)st;
    job->waits--;
    if (job->sim->dying || wake != WAKE_READY)
        return;
    sim_check_told_end(job->sim, job);
    sim_say(job->sim, "job %d: told its end, %s", (int)sim_number(job),
            job_state_names[job->told_state]);
}

/* Unless it can be seen that it is over: then there is nothing to wait for. */
static void wait_for_end(struct sim *sim, struct sim_job *job, int64_t timeout_ms)
{
    const struct live *live = dispatch_find(sim->dispatch, job->id);

    if (live && job_state_final(live->job.status.state))
        return;
    job->waits++;
    if (!dispatch_wait_for(sim->dispatch, job->id, WAIT_READY, timeout_ms, on_ready, job))
        job->waits--;
}

/* ---- submitting -------------------------------------------------------------------- */

static const char *const inputs[SIM_ITEMS + 1] = {
    "[]", "[0]", "[0,1]", "[0,1,2]", "[0,1,2,3]", "[0,1,2,3,4]", "[0,1,2,3,4,5]",
};

static struct sim_job *new_job(struct sim *sim)
{
    struct sim_job *job = &sim->jobs[sim->job_count++];

    memset(job, 0, sizeof(*job));
    job->sim = sim;
    job->id = dispatch_new_id(sim->dispatch, sim->wall_ms);
    job->durability = sim_chance(sim, 60)   ? DURABILITY_DURABLE
                      : sim_chance(sim, 70) ? DURABILITY_RELAXED
                                            : DURABILITY_MEMORY;
    job->items = 1 + sim_below(sim, SIM_ITEMS);
    job->retries = (unsigned)sim_below(sim, 3);
    job->bad = sim_chance(sim, 15);
    job->crash_retries = (unsigned)sim_below(sim, 3);
    job->priority = sim_chance(sim, 70) ? 0 : (int)sim_below(sim, 3) - 1;
    job->pool = sim_chance(sim, 60) ? 0 : (unsigned)sim_below(sim, SIM_POOLS);
    job->unique = job->key = -1;
    job->state = JOB_STATE_COUNT;
    job->result_ttl_ms = sim_chance(sim, 30) ? 1000 : 100000;
    if (sim_chance(sim, 15))
        job->start_at_ms = sim->wall_ms + (int64_t)sim_below(sim, 3000);
    if (sim_chance(sim, 15))
        job->expires_at_ms = sim->wall_ms + (int64_t)sim_below(sim, 4000);
    if (job->start_at_ms > sim->wall_ms)
        job->start_ns =
            sim->mono_ns + (uint64_t)(job->start_at_ms - sim->wall_ms) * NS_PER_MS;
    if (sim_chance(sim, 25))
        job->window = 1 + sim_below(sim, 3);
    return job;
}

/* Of one job alone: not in a batch. */
static void make_fed(struct sim_job *job)
{
    job->fed = job->feeds = job->reads = true;
    job->items = 0;
    job->unique = job->key = -1;
    job->start_at_ms = 0;
    job->start_ns = 0;
    if (job->durability == DURABILITY_DURABLE)
        job->durability = DURABILITY_RELAXED;
}

static struct job_spec *spec_of(struct sim *sim, const struct sim_job *job)
{
    static const enum job_method methods[] = { JOB_MAP, JOB_STARMAP, JOB_IMAP };
    const char *input = inputs[job->items];
    struct job_spec *spec, from = {
        .id = job->id,
        .method = job->window || job->fed                  ? JOB_IMAP
                  : job->items == 1 && sim_chance(sim, 50) ? JOB_APPLY
                                                           : methods[sim_below(sim, 3)],
        .durability = job->durability,
        .task = sim_chance(sim, 50) ? "t" : "slow",
        .pool = sim_pool_names[job->pool],
        .priority = job->priority,
        .item_count = job->items,
        .window = job->window,
        .fed = job->fed,
        .chunksize = sim_chance(sim, 50)
                         ? JOB_CHUNKSIZE_AUTO
                         : 1 + sim_below(sim, job->window ? job->window : 3),
        .created_at_ms = sim->wall_ms,
        .start_at_ms = job->start_at_ms,
        .expires_at_ms = job->expires_at_ms,
        .time_limit_ms = sim_chance(sim, 40) ? 500 : 0,
        .result_ttl_ms = job->result_ttl_ms,
        .retries = job->retries,
        .crash_retries = job->crash_retries,
        .backoff = { .initial_ms = 10, .max_ms = 1000, .factor = 2, .jitter = true },
        .return_exceptions = sim_chance(sim, 20),
        .stop_on_error = sim_chance(sim, 30),
        .idempotency_key = job->key >= 0 ? idempotency_keys[job->key] : NULL,
        .unique_key = job->unique >= 0 ? unique_keys[job->unique] : NULL,
        .on_conflict = (enum job_conflict)sim_below(sim, CONFLICT_COUNT),
    };

    if (job->fed) {
        spec = job_spec_new(&from);
        assert(spec);
        return spec;
    }
    from.body = blob_new(input, strlen(input));
    assert(from.body);
    from.input = blob_text(from.body);
    from.index = from.method == JOB_APPLY ? NULL : slice_index_new(from.input);
    spec = job_spec_new(&from);
    assert(spec);
    blob_unref(from.body);
    return spec;
}

/* The job that this one takes the place of, if it is made. */
static struct sim_job *rival_of(struct sim *sim, const struct job_spec *spec)
{
    const struct rival *rival = NULL;

    if (spec->on_conflict == CONFLICT_REPLACE)
        rival = dispatch_rival(sim->dispatch, spec);
    return rival ? sim_job_of(sim, rival->id) : NULL;
}

static void submit(struct sim *sim)
{
    struct sim_job *job, *rival;
    struct job_spec *spec;
    struct live *live = NULL;
    enum status st;

    if (sim->job_count == SIM_JOBS)
        return;
    job = new_job(sim);
    job->unique = sim_chance(sim, 25) ? (int)sim_below(sim, SIM_KEYS) : -1;
    if (job->durability != DURABILITY_MEMORY && sim_chance(sim, 20))
        job->key = (int)sim_below(sim, SIM_KEYS);
    if (sim_chance(sim, 15))
        make_fed(job);
    job->lane = dispatch_lane(sim->dispatch, sim_pool_names[job->pool]);
    spec = spec_of(sim, job);
    rival = rival_of(sim, spec);
    job->word =
        job->durability == DURABILITY_DURABLE || job->key >= 0 ? SIM_ASKED : SIM_ACCEPTED;
    sim_say(sim,
            "job %d: submitted, %s, %d items, pool %s, priority %d, unique %d, key %d",
            (int)sim_number(job), durability_names[job->durability], (int)job->items,
            sim_pool_names[job->pool], job->priority, job->unique, job->key);
    st = dispatch_submit(sim->dispatch, spec, &live);
    if (st != ST_OK) {
        sim_say(sim, "job %d: refused: %s", (int)sim_number(job), status_text(st));
        job->word = SIM_REFUSED;
        return;
    }
    job->reads = job->window || job->fed;
    sim_feed_begin(job, live);
    if (rival)
        rival->cancelled = true;
    SIM_DEMAND(sim, dispatch_jobs(sim->dispatch) <= sim->max_jobs, "too many jobs wait");
    if (job->word == SIM_ASKED) {
        job->waits++;
        if (!dispatch_wait(live, WAIT_ACCEPTED, -1, on_accepted, job))
            sim_breach(sim, "a client cannot wait");
    }
    if (sim_chance(sim, 70))
        wait_for_end(sim, job, -1);
}

static void on_batch(void *data, enum status st, struct live *const lives[], size_t count)
{
    struct sim *sim = data;

    for (size_t i = 0; i < count; i++) {
        struct sim_job *job = sim_job_of(sim, lives[i]->id);

        if (sim->dying)
            continue;
        if (st == ST_OK)
            sim_check_told_accepted(sim, job);
        else
            job->word = st == ST_UNKNOWN ? SIM_UNSURE : SIM_REFUSED;
    }
    sim_say(sim, "a batch of %zu: %s", count, status_text(st));
}

static void submit_batch(struct sim *sim)
{
    size_t count = 2 + sim_below(sim, 2);
    struct job_spec *specs[3];
    struct sim_job *jobs[3] = { NULL };
    enum status st;

    if (sim->job_count + count > SIM_JOBS)
        return;
    for (size_t i = 0; i < count; i++) {
        jobs[i] = new_job(sim);
        jobs[i]->word = SIM_ASKED;
        jobs[i]->window = 0; /* nobody reads along */
        jobs[i]->lane = dispatch_lane(sim->dispatch, sim_pool_names[jobs[i]->pool]);
        specs[i] = spec_of(sim, jobs[i]);
    }
    sim_say(sim, "a batch of jobs %d+%zu", (int)sim_number(jobs[0]), count);
    st = dispatch_submit_batch(sim->dispatch, specs, count, on_batch, sim);
    for (size_t i = 0; i < count && st != ST_OK; i++)
        jobs[i]->word = SIM_REFUSED;
}

/* ---- what is done with jobs -------------------------------------------------------- */

static struct sim_job *some_job(struct sim *sim)
{
    struct sim_job *job =
        sim->job_count ? &sim->jobs[sim_below(sim, sim->job_count)] : NULL;

    return job && (job->word == SIM_ACCEPTED || job->word == SIM_UNSURE) ? job : NULL;
}

static void cancel(struct sim *sim, bool terminate)
{
    struct sim_job *job = some_job(sim);
    enum status st;

    if (!job)
        return;
    st = dispatch_cancel_job(sim->dispatch, job->id, terminate);
    sim_say(sim, "job %d: cancel%s: %s", (int)sim_number(job),
            terminate ? " for good" : "", status_text(st));
    job->cancelled = job->cancelled || st == ST_OK;
}

static void on_retried(void *data, enum status st, struct live *live,
                       enum job_state state)
{
    struct sim_job *job = data;

    (void)live;
    (void)state;
    job->retrying = false;
    if (job->sim->dying || st != ST_OK)
        return;
    sim_say(job->sim, "job %d: it is run again", (int)sim_number(job));
    SIM_DEMAND(job->sim,
               job->durability != DURABILITY_DURABLE || job->stored_state == JOB_QUEUED,
               "job %d: it is said to run again, and that is not committed",
               (int)sim_number(job));
    job->state = JOB_QUEUED;
    job->word = SIM_ACCEPTED;
    job->forgiven = true;
    job->told_end = job->begun = job->cancelled = false;
    job->reads = false; /* whoever read it has seen its end: it has no window any more */
    job->queued_at = 0;
    job->sim->crash_due = job->sim->crash_due || sim_chance(job->sim, 10);
    for (unsigned i = 0; i < SIM_ITEMS; i++) {
        struct sim_item *item = &job->item[i];

        item->errors = item->crashes = 0;
        item->shown = item->shown_error ? 0 : item->shown;
    }
}

/* One that has failed, if there is any: mostly there are few. */
static struct sim_job *some_failed_job(struct sim *sim)
{
    uint64_t from = sim_below(sim, SIM_JOBS);

    for (unsigned i = 0; i < sim->job_count; i++) {
        struct sim_job *job = &sim->jobs[(from + i) % sim->job_count];

        if (job->state == JOB_FAILED ||
            (job->in_store && job->stored_state == JOB_FAILED))
            return job;
    }
    return some_job(sim);
}

void sim_client_retry(struct sim *sim)
{
    struct sim_job *job = some_failed_job(sim);

    if (!job || job->retrying)
        return;
    sim_say(sim, "job %d: retry", (int)sim_number(job));
    job->retrying = job->retry_asked = true;
    dispatch_retry(sim->dispatch, job->id, on_retried, job);
}

/* As the API does: only what is over, and has left memory. */
static void delete (struct sim *sim)
{
    struct sim_job *job = some_job(sim);

    if (!job || !job->in_store || !job_state_final(job->stored_state) || job->retrying ||
        dispatch_find(sim->dispatch, job->id))
        return;
    sim_say(sim, "job %d: delete", (int)sim_number(job));
    store_delete_job(sim->store, job->id, NULL, NULL);
}

static void wait_some(struct sim *sim)
{
    struct sim_job *job = some_job(sim);

    if (job)
        wait_for_end(sim, job, sim_chance(sim, 50) ? 100 : -1);
}

/* ---- what is done with pools ------------------------------------------------------- */

static void on_pool_deleted(void *data, enum status st)
{
    (void)data;
    (void)st;
}

static struct pool_spec *some_pool(struct sim *sim, const char *name)
{
    struct pool_spec spec = { .name = name,
                              .processes = 1 + (unsigned)sim_below(sim, 3),
                              .maxtasksperchild = sim_chance(sim, 30) ? 1 : 0,
                              .initializer = sim_chance(sim, 30) ? "init" : NULL,
                              .initargs = "[]" };

    return pool_spec_new(&spec);
}

static void make_pool(struct sim *sim, const char *name)
{
    struct lane *lane;

    if (dispatch_make_pool(sim->dispatch, some_pool(sim, name), &lane) != ST_OK)
        return;
    sim_say(sim, "pool %s is made", name);
    dispatch_record_pool(lane, NULL, NULL);
}

static void change_pool(struct sim *sim, struct lane *lane, uint64_t how)
{
    static const char *const words[] = { "close", "terminate", "delete", "change" };
    enum status st = ST_OK;

    sim_say(sim, "pool %s: %s", lane->spec->name, words[how]);
    if (how == 0)
        st = dispatch_close_pool(lane);
    else if (how == 1)
        st = dispatch_terminate_pool(lane);
    else if (how == 2)
        st = dispatch_delete_pool(lane, on_pool_deleted, NULL);
    else
        st = dispatch_change_pool(lane, some_pool(sim, lane->spec->name));
    if (how != 2 && st == ST_OK)
        dispatch_record_pool(lane, NULL, NULL);
}

static void step_pool(struct sim *sim)
{
    const char *name = sim_pool_names[1 + sim_below(sim, SIM_POOLS - 1)];
    struct lane *lane = dispatch_lane(sim->dispatch, name);

    if (!lane)
        make_pool(sim, name);
    else if (sim_chance(sim, 40))
        change_pool(sim, lane, sim_below(sim, 4));
    else if (dispatch_reload(sim->dispatch, -1) == ST_OK)
        sim_say(sim, "the tasks are loaded again");
}

void sim_client_step(struct sim *sim)
{
    uint64_t what = sim_below(sim, 100);

    if (what < 50)
        submit(sim);
    else if (what < 56)
        submit_batch(sim);
    else if (what < 66)
        cancel(sim, false);
    else if (what < 72)
        cancel(sim, true);
    else if (what < 82)
        sim_client_retry(sim);
    else if (what < 85)
        delete (sim);
    else if (what < 90)
        wait_some(sim);
    else
        step_pool(sim);
}

/* ---- what goes wrong --------------------------------------------------------------- */

static void set_trouble(struct sim *sim)
{
    static const enum status troubles[] = { ST_OK, ST_STORAGE_FULL, ST_NO_MEMORY,
                                            ST_BUSY };

    sim->disk.trouble = sim->disk.trouble ? ST_OK : troubles[sim_below(sim, 4)];
    sim_say(sim, "the disk: %s", status_text(sim->disk.trouble));
}

static void jump(struct sim *sim)
{
    int64_t by_ms = (int64_t)sim_below(sim, 600000) - 300000;

    sim_say(sim, "the wall clock jumps by %d ms", (int)by_ms);
    sim->jumped = true;
    sim->wall_ms += by_ms;
    sim_advance(sim, 0);
}

void sim_fault_step(struct sim *sim)
{
    switch (sim_below(sim, 8)) {
    case 0:
        sim_server_crash(sim);
        sim_server_start(sim);
        break;
    case 1:
        sim_server_stop(sim, false);
        sim_server_start(sim);
        break;
    case 2:
        (void)sim_store_fail(sim);
        break;
    case 3:
        set_trouble(sim);
        break;
    case 4:
        sim->disk.read_trouble = !sim->disk.read_trouble;
        break;
    case 5:
        dispatch_set_disk(sim->dispatch, (enum disk_level)sim_below(sim, 3));
        break;
    case 6:
        jump(sim);
        break;
    default:
        sim_pool_disaster(sim);
        break;
    }
}

void sim_heal(struct sim *sim)
{
    sim_say(sim, "---- everything works again");
    sim->quiet = true;
    sim->disk.trouble = ST_OK;
    sim->disk.read_trouble = false;
    dispatch_set_disk(sim->dispatch, DISK_ENOUGH);
}
