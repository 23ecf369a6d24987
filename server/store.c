/* SPDX-License-Identifier: MIT */
#include "server/store.h"

#include "common/log.h"
#include "common/mem.h"
#include "server/store_backend.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Enough for what the loop gives between two drains when memory has just run out. */
#define RESERVE_COUNT 256

/* ---- commands --------------------------------------------------------------------- */

static struct store_command *reserve_take(struct store *store)
{
    struct store_command *command = STAILQ_FIRST(&store->reserve);

    if (!command)
        return NULL;
    STAILQ_REMOVE_HEAD(&store->reserve, link);
    store->reserve_count--;
    memset(command, 0, sizeof(*command));
    return command;
}

struct store_command *store_command_new(struct store *store, enum store_command_kind kind)
{
    struct store_command *command = mem_zalloc(sizeof(*command));

    if (!command)
        command = reserve_take(store);
    if (!command) {
        log_error("no memory for a store command, stopping", "reserve=%d", RESERVE_COUNT);
        store_fail(store, "out of memory: a change could not be given to the store");
        return NULL;
    }
    command->kind = kind;
    return command;
}

static void command_free(struct store *store, struct store_command *command)
{
    job_spec_unref(command->spec);
    pool_spec_unref(command->pool);
    job_status_clear(&command->status);
    for (size_t i = 0; i < command->outcome_count; i++)
        blob_unref(command->outcomes[i].text);
    if (command->outcomes != &command->outcome)
        mem_free(command->outcomes);
    blob_unref(command->attempt);
    blob_unref(command->log);
    attempt_log_clear(&command->attempts);
    if (command->events != &command->event)
        mem_free(command->events);
    job_filter_clear(&command->filter);
    mem_free(command->key);
    stored_job_clear(&command->job);
    for (size_t i = 0; i < command->job_count; i++)
        stored_job_clear(&command->jobs[i]);
    mem_free(command->jobs);
    delivery_clear(&command->delivery);
    delivery_list_free(command->deliveries, command->delivery_count);
    if (store->reserve_count < RESERVE_COUNT) {
        STAILQ_INSERT_HEAD(&store->reserve, command, link);
        store->reserve_count++;
    } else {
        mem_free(command);
    }
}

void store_command_submit(struct store *store, struct store_command *command)
{
    if (store_command_writes(command))
        atomic_fetch_add(&store->backlog, 1);
    if (store->closing)
        command->st = ST_CLOSED;
    if (command->st != ST_OK)
        store_answer_one(store, command);
    else
        store->backend->submit(store, command);
}

/* Of what becomes one row. */
static void command_count(struct store_command *command, size_t len)
{
    command->bytes += len;
    if (len > STORE_BYTES_MAX)
        command->st = ST_LIMIT;
}

static void command_add_outcomes(struct store_command *command,
                                 const struct outcome *outcomes, size_t count)
{
    command->outcomes = &command->outcome;
    if (count > 1)
        command->outcomes = mem_alloc(count * sizeof(*outcomes));
    if (!command->outcomes) {
        command->st = ST_NO_MEMORY;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        command->outcomes[i] = outcomes[i];
        blob_ref(outcomes[i].text);
        command_count(command, outcomes[i].text->len);
    }
    command->outcome_count = count;
}

static void command_add_events(struct store_command *command, const struct event *events,
                               size_t count)
{
    if (!events)
        return;
    command->events = &command->event;
    if (count > 1)
        command->events = mem_alloc(count * sizeof(*events));
    if (!command->events) {
        command->st = ST_NO_MEMORY;
        return;
    }
    memcpy(command->events, events, count * sizeof(*events));
    command->event_count = count;
}

static void command_add_job(struct store_command *command, struct job_spec *spec,
                            const struct job_status *status)
{
    assert(spec->durability != DURABILITY_MEMORY);
    command->spec = job_spec_ref(spec);
    command->id = spec->id;
    command->status = job_status_copy(status);
    command_count(command, job_spec_bytes(spec));
}

void store_put_job(struct store *store, struct job_spec *spec,
                   const struct job_status *status, const struct event *event,
                   store_put_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PUT_JOB);

    if (!command)
        return;
    command_add_job(command, spec, status);
    command_add_events(command, event, 1);
    command->on.put = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_record_job(struct store *store, struct job_spec *spec,
                      const struct job_status *status, store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_RECORD_JOB);

    assert(!spec->idempotency_key);
    if (!command)
        return;
    command_add_job(command, spec, status);
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

static void command_add_jobs(struct store_command *command,
                             struct job_spec *const specs[],
                             const struct job_status statuses[], size_t count)
{
    struct job_spec *strictest = specs[0];

    command->jobs = mem_zalloc(count * sizeof(*command->jobs));
    if (!command->jobs)
        command->st = ST_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        assert(specs[i]->durability != DURABILITY_MEMORY && !specs[i]->idempotency_key);
        if (specs[i]->durability == DURABILITY_DURABLE)
            strictest = specs[i];
        if (!command->jobs)
            continue;
        command->jobs[i].spec = job_spec_ref(specs[i]);
        command->jobs[i].status = job_status_copy(&statuses[i]);
        command->job_count++;
        command_count(command, job_spec_bytes(specs[i]));
    }
    command->spec = job_spec_ref(strictest);
}

void store_put_jobs(struct store *store, struct job_spec *const specs[],
                    const struct job_status statuses[], const struct event events[],
                    size_t count, store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PUT_JOBS);

    assert(count >= 1);
    if (!command)
        return;
    command_add_jobs(command, specs, statuses, count);
    command_add_events(command, events, count);
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_put_outcome(struct store *store, struct job_spec *spec,
                       const struct outcome *outcome, store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PUT_OUTCOME);

    if (!command)
        return;
    command->spec = job_spec_ref(spec);
    command->id = spec->id;
    command_add_outcomes(command, outcome, 1);
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_put_attempt(struct store *store, struct job_spec *spec, uint64_t number,
                       struct blob *attempt, store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PUT_ATTEMPT);

    if (!command)
        return;
    command->spec = job_spec_ref(spec);
    command->id = spec->id;
    command->attempt = blob_ref(attempt);
    command->attempt_number = number;
    command->bytes = attempt->len;
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_put_log(struct store *store, struct job_spec *spec, struct blob *log)
{
    struct store_command *command = store_command_new(store, STORE_PUT_LOG);

    if (!command)
        return;
    command->spec = job_spec_ref(spec);
    command->id = spec->id;
    command->log = blob_ref(log);
    command->bytes = log->len;
    store_command_submit(store, command);
}

/* result: or NULL. */
static void put_status(struct store *store, struct job_spec *spec,
                       const struct job_status *status, const struct outcome *result,
                       const struct event *event, store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PUT_STATUS);

    if (!command)
        return;
    command->spec = job_spec_ref(spec);
    command->id = spec->id;
    command->status = job_status_copy(status);
    if (result)
        command_add_outcomes(command, result, 1);
    command_add_events(command, event, 1);
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_put_status(struct store *store, struct job_spec *spec,
                      const struct job_status *status, const struct event *event,
                      store_done *done, void *data)
{
    put_status(store, spec, status, NULL, event, done, data);
}

void store_put_end(struct store *store, struct job_spec *spec,
                   const struct job_status *status, const struct outcome *result,
                   const struct event *event, store_done *done, void *data)
{
    assert(job_state_final(status->state));
    assert(result->first == 0 && result->count == job_items(spec, status));
    assert(!result->is_error && result->text->len <= STORE_RESULT_MAX);
    put_status(store, spec, status, result, event, done, data);
}

void store_put_events(struct store *store, const struct event events[], size_t count)
{
    struct store_command *command = store_command_new(store, STORE_PUT_EVENTS);

    if (!command)
        return;
    command_add_events(command, events, count);
    store_command_submit(store, command);
}

void store_put_finished(struct store *store, struct job_spec *spec,
                        const struct job_status *status, const struct outcome *outcomes,
                        size_t count, const struct attempt_log *attempts,
                        struct blob *log, store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PUT_FINISHED);

    assert(spec->durability != DURABILITY_MEMORY && job_state_final(status->state));
    if (!command)
        return;
    command->spec = job_spec_ref(spec);
    command->id = spec->id;
    command->status = job_status_copy(status);
    command_count(command, job_spec_bytes(spec));
    command_add_outcomes(command, outcomes, count);
    if (attempts && !attempt_log_copy(&command->attempts, attempts))
        log_warn("no memory to store the failed attempts of a job", "");
    if (log) {
        command->log = blob_ref(log);
        command->bytes += log->len;
    }
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_put_delivery(struct store *store, const struct delivery *delivery,
                        store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PUT_DELIVERY);

    if (!command)
        return;
    command->id = delivery->job;
    command->st = delivery_copy(delivery, &command->delivery);
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_delete_job(struct store *store, struct uuid id, store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_DELETE_JOB);

    if (!command)
        return;
    command->id = id;
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_put_pool(struct store *store, struct pool_spec *spec, enum pool_state state,
                    store_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PUT_POOL);

    if (!command)
        return;
    command->pool = pool_spec_ref(spec);
    command->pool_state = state;
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_delete_pool(struct store *store, struct pool_spec *spec, store_done *done,
                       void *data)
{
    struct store_command *command = store_command_new(store, STORE_DELETE_POOL);

    if (!command)
        return;
    command->pool = pool_spec_ref(spec);
    command->on.done = done;
    command->data = data;
    store_command_submit(store, command);
}

void store_purge(struct store *store, const struct store_limits *limits,
                 store_purge_done *done, void *data)
{
    struct store_command *command = store_command_new(store, STORE_PURGE);

    if (!command)
        return;
    command->limits = *limits;
    command->on.purge = done;
    command->data = data;
    store_command_submit(store, command);
}

/* ---- answers ---------------------------------------------------------------------- */

void store_answer(struct store *store, struct store_command_list *list)
{
    struct store_command *command;
    size_t writes = 0;
    bool first;

    STAILQ_FOREACH(command, list, link)
    writes += store_command_writes(command);
    atomic_fetch_sub(&store->backlog, writes);
    if (STAILQ_EMPTY(list))
        return;
    pthread_mutex_lock(&store->lock);
    first = STAILQ_EMPTY(&store->answers);
    STAILQ_CONCAT(&store->answers, list);
    pthread_mutex_unlock(&store->lock);
    /* As long as answers wait, a call of store_drain is on its way. */
    if (first)
        store->events.on_wake(store->data);
}

void store_answer_one(struct store *store, struct store_command *command)
{
    struct store_command_list list = STAILQ_HEAD_INITIALIZER(list);

    STAILQ_INSERT_TAIL(&list, command, link);
    store_answer(store, &list);
}

void store_fail(struct store *store, const char *format, ...)
{
    va_list args;
    bool said;

    pthread_mutex_lock(&store->lock);
    said = store->fatal_said;
    store->fatal_said = true;
    pthread_mutex_unlock(&store->lock);
    if (said)
        return;
    va_start(args, format);
    vsnprintf(store->fatal_why.text, sizeof(store->fatal_why.text), format, args);
    va_end(args);
    store->fatal.kind = STORE_FATAL;
    store_answer_one(store, &store->fatal);
}

static void deliver(struct store *store, struct store_command *command)
{
    switch (command->kind) {
    case STORE_PUT_JOB:
    case STORE_FIND_KEY:
        if (command->on.put)
            command->on.put(command->data, command->st,
                            command->st == ST_EXISTS ? &command->existing : NULL);
        break;
    case STORE_PUT_JOBS:
    case STORE_RECORD_JOB:
    case STORE_PUT_OUTCOME:
    case STORE_PUT_ATTEMPT:
    case STORE_PUT_LOG:
    case STORE_PUT_EVENTS:
    case STORE_PUT_STATUS:
    case STORE_PUT_FINISHED:
    case STORE_PUT_DELIVERY:
    case STORE_PUT_POOL:
    case STORE_DELETE_POOL:
    case STORE_DELETE_JOB:
        if (command->on.done)
            command->on.done(command->data, command->st);
        break;
    case STORE_PURGE:
        if (command->st != ST_OK)
            memset(&command->purged, 0, sizeof(command->purged));
        command->on.purge(command->data, command->st, &command->purged);
        break;
    case STORE_GET_JOB: {
        struct stored_job job = command->job;

        memset(&command->job, 0, sizeof(command->job)); /* the receiver's from here on */
        command->on.job(command->data, command->st, &job);
        break;
    }
    case STORE_LIST_JOBS:
        command->on.jobs(command->data, command->st, command->jobs,
                         command->st == ST_OK ? command->job_count : 0);
        break;
    case STORE_LIST_DELIVERIES:
        command->on.deliveries(command->data, command->st, command->deliveries,
                               command->st == ST_OK ? command->delivery_count : 0);
        break;
    case STORE_FATAL:
        store->events.on_fatal(store->data, &store->fatal_why);
        break;
    }
}

void store_drain(struct store *store)
{
    struct store_command_list due = STAILQ_HEAD_INITIALIZER(due);
    struct store_command *command;

    pthread_mutex_lock(&store->lock);
    STAILQ_CONCAT(&due, &store->answers);
    pthread_mutex_unlock(&store->lock);
    while ((command = STAILQ_FIRST(&due))) {
        STAILQ_REMOVE_HEAD(&due, link);
        deliver(store, command);
        if (command != &store->fatal)
            command_free(store, command);
    }
}

/* ---- life cycle ------------------------------------------------------------------- */

enum status store_base_init(struct store *store, const struct store_backend *backend,
                            const struct store_events *events, void *data)
{
    store->backend = backend;
    store->events = *events;
    store->data = data;
    STAILQ_INIT(&store->answers);
    STAILQ_INIT(&store->reserve);
    atomic_init(&store->backlog, 0);
    atomic_init(&store->writable, true);
    atomic_init(&store->commits, 0);
    atomic_init(&store->commands, 0);
    store->commit_ns.scale = &histogram_durations;
    store->commit_commands.scale = &histogram_sizes;
    while (store->reserve_count < RESERVE_COUNT) {
        struct store_command *command = mem_zalloc(sizeof(*command));

        if (!command)
            return ST_NO_MEMORY;
        STAILQ_INSERT_HEAD(&store->reserve, command, link);
        store->reserve_count++;
    }
    if (pthread_mutex_init(&store->lock, NULL) != 0)
        return ST_NO_MEMORY;
    store->lock_made = true;
    return ST_OK;
}

void store_base_clear(struct store *store)
{
    struct store_command *command;

    while ((command = reserve_take(store)))
        mem_free(command);
    if (store->lock_made)
        pthread_mutex_destroy(&store->lock);
    store->lock_made = false;
}

static void answer_all(struct store *store)
{
    /* The threads are gone: only callbacks can add to the answers now. */
    while (!STAILQ_EMPTY(&store->answers))
        store_drain(store);
}

void store_stop(struct store *store)
{
    if (!store || store->closing)
        return;
    store->backend->stop(store);
    store->closing = true;
    answer_all(store);
}

void store_close(struct store *store)
{
    if (!store)
        return;
    store_stop(store);
    answer_all(store);
    store->backend->free(store);
}

size_t store_backlog(const struct store *store)
{
    return atomic_load(&store->backlog);
}

void store_committed(struct store *store, size_t commands, uint64_t duration_ns)
{
    atomic_fetch_add(&store->commits, 1);
    atomic_fetch_add(&store->commands, commands);
    pthread_mutex_lock(&store->lock);
    histogram_add(&store->commit_ns, duration_ns);
    histogram_add(&store->commit_commands, commands);
    pthread_mutex_unlock(&store->lock);
}

void store_get_info(struct store *store, struct store_info *ret_info)
{
    memset(ret_info, 0, sizeof(*ret_info));
    ret_info->kind = store->backend->kind;
    ret_info->path = "";
    ret_info->writable = atomic_load(&store->writable);
    ret_info->commits = atomic_load(&store->commits);
    ret_info->commands = atomic_load(&store->commands);
    pthread_mutex_lock(&store->lock);
    ret_info->commit_ns = store->commit_ns;
    ret_info->commit_commands = store->commit_commands;
    pthread_mutex_unlock(&store->lock);
    store->backend->get_info(store, ret_info);
}
