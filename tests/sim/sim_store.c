/* SPDX-License-Identifier: MIT */
/*
 * A store whose disk is the store in memory. Commands wait in their order until a step commits
 * some of them, as one: all, or none. What waits is lost when the server crashes; the disk is
 * what the next server starts with.
 *
 * It does what store.h promises and what the SQLite back end does: while a commit is not
 * possible it refuses new jobs and keeps the rest in order; after a commit whose outcome is not
 * known it knows nothing any more.
 *
 * What was committed is also noted in the book (sim_book.c).
 */
#include "tests/sim/sim.h"

#include "common/mem.h"
#include "server/attempt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct sim_store {
    struct store base;
    struct sim *sim;
    struct store_command_list writes, reads;
    bool failed, cut;
};

static struct sim_store *store_of(struct store *base)
{
    return (struct sim_store *)base;
}

/* ---- the disk ---------------------------------------------------------------------- */

static void nobody_wakes(void *data)
{
    (void)data;
}

static void nobody_fails(void *data, const struct error_text *why)
{
    (void)data;
    (void)why;
    abort();
}

void sim_disk_open(struct sim *sim)
{
    static const struct store_events events = { nobody_wakes, nobody_fails };
    struct error_text err;
    enum status st = store_open_memory(&events, NULL, &sim->disk.rows, &err);

    assert(st == ST_OK);
}

void sim_disk_close(struct sim *sim)
{
    for (size_t i = 0; i < sizeof(sim->disk.pools) / sizeof(sim->disk.pools[0]); i++)
        pool_spec_unref(sim->disk.pools[i].spec);
    store_close(sim->disk.rows);
}

/* The store in memory carries it out and gives it back at once. */
static void carry_out(struct sim *sim, struct store_command *command)
{
    struct store *rows = sim->disk.rows;

    rows->backend->submit(rows, command);
    assert(STAILQ_FIRST(&rows->answers) == command);
    STAILQ_REMOVE_HEAD(&rows->answers, link);
}

static size_t pool_place(const struct sim *sim, const char *name)
{
    size_t at = 0;

    while (sim->disk.pools[at].spec && strcmp(sim->disk.pools[at].spec->name, name) != 0)
        at++;
    return at;
}

static void put_pool(struct sim *sim, struct store_command *command)
{
    size_t at = pool_place(sim, command->pool->name);

    assert(at + 1 < sizeof(sim->disk.pools) / sizeof(sim->disk.pools[0]));
    pool_spec_unref(sim->disk.pools[at].spec);
    sim->disk.pools[at].spec = pool_spec_ref(command->pool);
    sim->disk.pools[at].state = command->pool_state;
}

static void delete_pool(struct sim *sim, struct store_command *command)
{
    size_t at = pool_place(sim, command->pool->name);

    if (!sim->disk.pools[at].spec) {
        command->st = ST_NOT_FOUND;
        return;
    }
    pool_spec_unref(sim->disk.pools[at].spec);
    for (; sim->disk.pools[at].spec; at++)
        sim->disk.pools[at] = sim->disk.pools[at + 1];
}

static const char *const command_names[] = {
    [STORE_RECORD_JOB] = "record_job",     [STORE_PUT_JOB] = "put_job",
    [STORE_PUT_JOBS] = "put_jobs",         [STORE_PUT_OUTCOME] = "put_outcome",
    [STORE_PUT_ATTEMPT] = "put_attempt",   [STORE_PUT_LOG] = "put_log",
    [STORE_PUT_EVENTS] = "put_events",     [STORE_PUT_STATUS] = "put_status",
    [STORE_PUT_FINISHED] = "put_finished", [STORE_PUT_DELIVERY] = "put_delivery",
    [STORE_DELETE_JOB] = "delete_job",     [STORE_PUT_POOL] = "put_pool",
    [STORE_DELETE_POOL] = "delete_pool",   [STORE_PURGE] = "purge",
};

/* ---- commits ----------------------------------------------------------------------- */

static bool may_be_lost(const struct store_command *command)
{
    return command->kind == STORE_PUT_JOB || command->kind == STORE_PUT_STATUS ||
           command->kind == STORE_PUT_FINISHED;
}

/* As many digits, another number; the book does not know. */
static bool change_result(struct sim *sim, struct store_command *command)
{
    struct outcome *outcome = &command->outcome;
    struct text text;
    struct blob *other;

    if (command->kind != STORE_PUT_OUTCOME || outcome->is_error ||
        !sim_plant_due(sim, PLANT_OTHER_RESULT))
        return false;
    sim_book_note(sim, command);
    text = blob_text(outcome->text);
    other = blob_new(text.at, text.len);
    assert(other);
    other->data[0] = other->data[0] == '9' ? '8' : (char)(other->data[0] + 1);
    blob_unref(outcome->text);
    outcome->text = other;
    return true;
}

static void apply(struct sim *sim, struct store_command *command)
{
    const struct sim_job *job = sim_job_of(sim, command->id);
    bool changed;

    sim_say(sim, "commit: %s, job %d", command_names[command->kind],
            job ? (int)sim_number(job) : -1);
    command->st = ST_OK;
    if ((may_be_lost(command) && sim_plant_due(sim, PLANT_LOST_COMMAND)) ||
        (command->kind == STORE_PUT_OUTCOME && sim_plant_due(sim, PLANT_RUN_AGAIN))) {
        sim_book_note(sim, command);
    } else if (command->kind == STORE_PUT_POOL) {
        put_pool(sim, command);
    } else if (command->kind == STORE_DELETE_POOL) {
        delete_pool(sim, command);
    } else {
        changed = change_result(sim, command);
        carry_out(sim, command);
        if (command->st == ST_OK && !changed)
            sim_book_note(sim, command);
    }
}

static bool puts_job(const struct store_command *command)
{
    return command->kind == STORE_PUT_JOB || command->kind == STORE_PUT_JOBS;
}

/* New jobs are refused, all else waits. */
static void refuse_new(struct sim_store *store)
{
    struct store_command_list kept = STAILQ_HEAD_INITIALIZER(kept);
    struct store_command_list refused = STAILQ_HEAD_INITIALIZER(refused);
    struct store_command *command;

    sim_say(store->sim, "a commit is not possible now");
    while ((command = STAILQ_FIRST(&store->writes))) {
        STAILQ_REMOVE_HEAD(&store->writes, link);
        if (puts_job(command)) {
            command->st = store->sim->disk.trouble;
            STAILQ_INSERT_TAIL(&refused, command, link);
        } else {
            STAILQ_INSERT_TAIL(&kept, command, link);
        }
    }
    STAILQ_CONCAT(&store->writes, &kept);
    store_answer(&store->base, &refused);
}

static void commit(struct sim_store *store, uint64_t count)
{
    struct store_command_list done = STAILQ_HEAD_INITIALIZER(done);
    struct store_command *command;
    size_t commands = 0;

    while (count-- && (command = STAILQ_FIRST(&store->writes))) {
        STAILQ_REMOVE_HEAD(&store->writes, link);
        apply(store->sim, command);
        commands++;
        if (may_be_lost(command) && sim_plant_due(store->sim, PLANT_NO_ANSWER))
            command->on.done = NULL;
        STAILQ_INSERT_TAIL(&done, command, link);
    }
    store_committed(&store->base, commands, 1000);
    store_answer(&store->base, &done);
}

static void answer_query(struct sim_store *store)
{
    struct store_command *command = STAILQ_FIRST(&store->reads);

    STAILQ_REMOVE_HEAD(&store->reads, link);
    if (store->sim->disk.read_trouble)
        command->st = ST_IO;
    else
        carry_out(store->sim, command);
    if (command->st == ST_OK && command->kind == STORE_GET_JOB) {
        /* As it is read from a row: a spec of its own, without what is not stored. */
        struct job_spec from = *command->job.spec;

        from.window = 0;
        from.on_conflict = CONFLICT_RETURN;
        from.index = from.index ? slice_index_new(from.input) : NULL;
        job_spec_unref(command->job.spec);
        command->job.spec = job_spec_new(&from);
        assert(command->job.spec);
    }
    store_answer_one(&store->base, command);
}

bool sim_store_step(struct sim *sim)
{
    struct sim_store *store = store_of(sim->store);
    bool reads = !STAILQ_EMPTY(&store->reads), writes = !STAILQ_EMPTY(&store->writes);

    if (reads && (!writes || sim_chance(sim, 50)))
        answer_query(store);
    else if (writes && sim->disk.trouble != ST_OK)
        refuse_new(store);
    else if (writes)
        commit(store, 1 + sim_below(sim, sim_chance(sim, 50) ? 2 : 100));
    return reads || writes;
}

static void answer_all(struct sim_store *store, struct store_command_list *list,
                       enum status st)
{
    struct store_command *command;

    STAILQ_FOREACH(command, list, link)
    command->st = st;
    store_answer(&store->base, list);
}

bool sim_store_fail(struct sim *sim)
{
    struct sim_store *store = store_of(sim->store);
    struct store_command_list batch = STAILQ_HEAD_INITIALIZER(batch);
    bool happens = sim_chance(sim, 50);
    struct store_command *command;

    if (STAILQ_EMPTY(&store->writes) || store->failed)
        return false;
    sim_say(sim, "a commit fails, and has%s happened", happens ? "" : " not");
    store->failed = true;
    while ((command = STAILQ_FIRST(&store->writes))) {
        STAILQ_REMOVE_HEAD(&store->writes, link);
        if (happens)
            apply(sim, command);
        STAILQ_INSERT_TAIL(&batch, command, link);
    }
    store_fail(&store->base, "the disk has failed");
    answer_all(store, &batch, ST_UNKNOWN);
    return true;
}

void sim_store_cut(struct sim *sim)
{
    struct sim_store *store = store_of(sim->store);

    store->cut = true;
    answer_all(store, &store->reads, ST_CLOSED);
    answer_all(store, &store->writes, ST_CLOSED);
}

/* ---- the back end ------------------------------------------------------------------ */

static void submit(struct store *base, struct store_command *command)
{
    struct sim_store *store = store_of(base);

    if (store->cut || store->failed) {
        command->st = store->cut ? ST_CLOSED : ST_UNKNOWN;
        store_answer_one(base, command);
    } else if (!store_command_writes(command)) {
        STAILQ_INSERT_TAIL(&store->reads, command, link);
    } else if (puts_job(command) && sim_plant_due(store->sim, PLANT_EARLY_ANSWER)) {
        command->st = ST_OK;
        store_answer_one(base, command);
    } else {
        STAILQ_INSERT_TAIL(&store->writes, command, link);
    }
}

/* What is on the disk of this job. The caller clears it. */
static struct stored_job row_of(struct sim *sim, struct uuid id)
{
    struct store_command command = { .kind = STORE_GET_JOB,
                                     .id = id,
                                     .with = STORE_WITH_INPUT | STORE_WITH_OUTCOMES };

    carry_out(sim, &command);
    assert(command.st == ST_OK || command.st == ST_NOT_FOUND);
    return command.job;
}

static enum status load_row(const struct stored_job *row,
                            enum status (*on_stub)(void *data,
                                                   const struct stored_stub *stored),
                            void *data)
{
    const struct job_spec *spec = row->spec;
    struct stored_stub stub = {
        .id = spec->id,
        .owner = spec->owner,
        .state = row->status.state,
        .begun = row->status.started_at_ms > 0 || row->outcome_count > 0,
        .priority = spec->priority,
        .start_at_ms = spec->start_at_ms,
        .expires_at_ms = spec->expires_at_ms,
        .bytes = spec->input.len,
        .pool = spec->pool,
        .unique_key = spec->unique_key,
        .idempotency_key = spec->idempotency_key,
    };

    return on_stub(data, &stub);
}

/* The ids rise as the jobs in the book do. */
static enum status load_unfinished(
    struct store *base,
    enum status (*on_stub)(void *data, const struct stored_stub *stored), void *data,
    struct uuid *ret_newest, struct error_text *err)
{
    struct sim *sim = store_of(base)->sim;
    enum status st = ST_OK;

    (void)err;
    memset(ret_newest, 0, sizeof(*ret_newest));
    for (unsigned i = 0; i < sim->job_count && st == ST_OK; i++) {
        struct stored_job row = row_of(sim, sim->jobs[i].id);

        if (row.spec)
            *ret_newest = sim->jobs[i].id;
        if (row.spec && !job_state_final(row.status.state))
            st = load_row(&row, on_stub, data);
        stored_job_clear(&row);
    }
    return st;
}

static enum status load_events(struct store *base,
                               void (*on_event)(void *data, const struct event *event),
                               void *data, struct error_text *err)
{
    (void)base;
    (void)on_event;
    (void)data;
    (void)err;
    return ST_OK;
}

static enum status load_pools(struct store *base,
                              enum status (*on_pool)(void *data, struct pool_spec *spec,
                                                     enum pool_state state),
                              void *data, struct error_text *err)
{
    const struct sim_disk *disk = &store_of(base)->sim->disk;
    enum status st = ST_OK;

    (void)err;
    for (size_t i = 0; disk->pools[i].spec && st == ST_OK; i++)
        st = on_pool(data, pool_spec_ref(disk->pools[i].spec), disk->pools[i].state);
    return st;
}

static void get_info(struct store *base, struct store_info *ret_info)
{
    (void)base;
    (void)ret_info;
}

/* What is queued is committed, if it can be. */
static void stop(struct store *base)
{
    struct sim_store *store = store_of(base);

    while (!STAILQ_EMPTY(&store->reads))
        answer_query(store);
    if (store->sim->disk.trouble == ST_OK)
        commit(store, UINT64_MAX);
    else
        answer_all(store, &store->writes, store->sim->disk.trouble);
}

static void free_store(struct store *base)
{
    store_base_clear(base);
    mem_free(base);
}

static const struct store_backend backend = {
    .kind = "simulated",
    .submit = submit,
    .load_unfinished = load_unfinished,
    .load_events = load_events,
    .load_pools = load_pools,
    .get_info = get_info,
    .stop = stop,
    .free = free_store,
};

struct store *sim_store_open(struct sim *sim, const struct store_events *events)
{
    struct sim_store *store = mem_zalloc(sizeof(*store));
    enum status st;

    assert(store);
    store->sim = sim;
    STAILQ_INIT(&store->writes);
    STAILQ_INIT(&store->reads);
    st = store_base_init(&store->base, &backend, events, sim);
    assert(st == ST_OK);
    return &store->base;
}

void sim_disk_check(struct sim *sim)
{
    for (unsigned i = 0; i < sim->job_count; i++) {
        struct sim_job *job = &sim->jobs[i];
        struct stored_job row = row_of(sim, job->id);

        if (job->in_store && (!row.spec || row.gone)) {
            SIM_DEMAND(sim, sim_book_may_be_gone(sim, job), "job %u: let go of too early",
                       i);
            job->in_store = row.spec != NULL;
            job->deleted = true;
        }
        SIM_DEMAND(sim, !job->in_store == !row.spec, "job %u: %s", i,
                   row.spec ? "it is on the disk, and nobody has put it there"
                            : "it was committed, and the disk does not have it");
        if (row.spec)
            sim_book_check(sim, job, &row);
        stored_job_clear(&row);
    }
}
