/* SPDX-License-Identifier: MIT */
/*
 * The store without a disk. Commands are carried out at once and answered with the next
 * store_drain, so that a user of the store sees the order of events that it sees with
 * SQLite.
 *
 * Jobs lie in one array that is sorted by key. Ids rise, so new ones are appended; a
 * deleted job leaves a hole, and the holes are closed when they are half of the array.
 * Keys that make a request idempotent are in a search tree beside it, and jobs that are
 * over in a list, in the order in which they ended.
 */
#include "server/store_memory.h"

#include "common/mem.h"

#include <search.h>
#include <string.h>

static struct memory_store *memory_of(struct store *store)
{
    return (struct memory_store *)store;
}

static int compare_idempotency_keys(const void *left, const void *right)
{
    const struct kept *a = left, *b = right;

    if (a->job.spec->owner != b->job.spec->owner)
        return a->job.spec->owner < b->job.spec->owner ? -1 : 1;
    return strcmp(a->job.spec->idempotency_key, b->job.spec->idempotency_key);
}

/* ---- the array -------------------------------------------------------------------- */

/* The first slot whose key is not smaller. */
static size_t lower_bound(const struct memory_store *memory, uint64_t key)
{
    size_t low = 0, high = memory->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (memory->slots[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct slot *memory_find(const struct memory_store *memory, struct uuid id)
{
    size_t at = lower_bound(memory, uuid_key(id));
    struct slot *slot;

    if (at == memory->count)
        return NULL;
    slot = &memory->slots[at];
    return slot->kept && uuid_equal(slot->kept->job.spec->id, id) ? slot : NULL;
}

static bool insert(struct memory_store *memory, struct kept *kept)
{
    uint64_t key = uuid_key(kept->job.spec->id);
    size_t at = lower_bound(memory, key);

    if (memory->count == memory->cap) {
        size_t cap = memory->cap ? 2 * memory->cap : 64;
        struct slot *slots = mem_realloc(memory->slots, cap * sizeof(*slots));

        if (!slots)
            return false;
        memory->slots = slots;
        memory->cap = cap;
    }
    memmove(&memory->slots[at + 1], &memory->slots[at],
            (memory->count - at) * sizeof(*memory->slots));
    memory->slots[at] = (struct slot){ key, kept };
    memory->count++;
    return true;
}

static void close_holes(struct memory_store *memory)
{
    size_t kept = 0;

    for (size_t i = 0; i < memory->count; i++) {
        if (memory->slots[i].kept)
            memory->slots[kept++] = memory->slots[i];
    }
    memory->count = kept;
    memory->holes = 0;
}

/* ---- copies ----------------------------------------------------------------------- */

static enum status outcomes_reserve(struct stored_job *job, size_t count)
{
    struct outcome *outcomes = mem_realloc(job->outcomes, count * sizeof(*outcomes));

    if (!outcomes)
        return ST_NO_MEMORY;
    job->outcomes = outcomes;
    return ST_OK;
}

static enum status copy_job(const struct stored_job *from, unsigned with,
                            struct stored_job *ret_job)
{
    if ((with & STORE_WITH_ATTEMPTS) &&
        !attempt_log_copy(&ret_job->attempts, &from->attempts))
        return ST_NO_MEMORY;
    if ((with & STORE_WITH_LOG) && from->log)
        ret_job->log = blob_ref(from->log);
    if ((with & STORE_WITH_OUTCOMES) && from->outcome_count > 0) {
        if (outcomes_reserve(ret_job, from->outcome_count) != ST_OK)
            return ST_NO_MEMORY;
        memcpy(ret_job->outcomes, from->outcomes,
               from->outcome_count * sizeof(*from->outcomes));
        ret_job->outcome_count = from->outcome_count;
        for (size_t i = 0; i < from->outcome_count; i++)
            blob_ref(from->outcomes[i].text);
    }
    ret_job->gone = from->gone;
    ret_job->spec = job_spec_ref(from->spec);
    ret_job->status = job_status_copy(&from->status);
    return ST_OK;
}

/* ---- commands --------------------------------------------------------------------- */

static void finished_add(struct memory_store *memory, struct kept *kept)
{
    if (!job_state_final(kept->job.status.state))
        return;
    TAILQ_INSERT_TAIL(&memory->finished, kept, link);
    memory->finished_jobs++;
    memory->finished_bytes += kept->job.status.bytes;
}

static void finished_remove(struct memory_store *memory, struct kept *kept)
{
    if (!job_state_final(kept->job.status.state))
        return;
    TAILQ_REMOVE(&memory->finished, kept, link);
    memory->finished_jobs--;
    memory->finished_bytes -= kept->job.status.bytes;
}

static void kept_free(struct kept *kept)
{
    stored_job_clear(&kept->job);
    mem_free(kept);
}

void memory_remove_job(struct memory_store *memory, struct slot *slot)
{
    struct kept *kept = slot->kept;

    if (kept->job.spec->idempotency_key)
        tdelete(kept, &memory->by_idempotency_key, compare_idempotency_keys);
    finished_remove(memory, kept);
    outbox_drop_job(&memory->outbox, kept->job.spec->id);
    kept_free(kept);
    slot->kept = NULL;
    memory->holes++;
    if (2 * memory->holes > memory->count)
        close_holes(memory);
}

/* Of the end of the job, if this is one, and it has a callback for it. */
static enum status add_delivery(struct memory_store *memory, const struct job_spec *spec,
                                const struct job_status *status)
{
    enum status st = outbox_add(&memory->outbox, spec, status);

    return st == ST_NOT_FOUND ? ST_OK : st;
}

/* Not ST_OK: nothing has changed. */
static enum status add_job(struct memory_store *memory, struct job_spec *spec,
                           const struct job_status *status,
                           struct store_existing *ret_existing)
{
    struct kept *kept = mem_zalloc(sizeof(*kept)), **node = NULL;
    bool keyed = spec->idempotency_key;

    if (!kept)
        return ST_NO_MEMORY;
    kept->job.spec = job_spec_ref(spec);
    kept->job.status = job_status_copy(status);
    if (outcomes_reserve(&kept->job, 1) != ST_OK) { /* its end may bring one */
        kept_free(kept);
        return ST_NO_MEMORY;
    }
    if (keyed)
        node = tsearch(kept, &memory->by_idempotency_key, compare_idempotency_keys);
    if (node && *node != kept) {
        ret_existing->id = (*node)->job.spec->id;
        ret_existing->request_hash = (*node)->job.spec->request_hash;
        kept_free(kept);
        return ST_EXISTS;
    }
    if ((keyed && !node) || !insert(memory, kept)) {
        if (node)
            tdelete(kept, &memory->by_idempotency_key, compare_idempotency_keys);
        kept_free(kept);
        return ST_NO_MEMORY;
    }
    if (add_delivery(memory, spec, status) != ST_OK) {
        finished_add(memory, kept);
        memory_remove_job(memory, memory_find(memory, spec->id));
        return ST_NO_MEMORY;
    }
    finished_add(memory, kept);
    return ST_OK;
}

static enum status put_job(struct memory_store *memory, struct store_command *command)
{
    return add_job(memory, command->spec, &command->status, &command->existing);
}

static enum status add_outcome(struct stored_job *job, const struct outcome *outcome)
{
    size_t at = job->outcome_count;

    while (at > 0 && job->outcomes[at - 1].first >= outcome->first)
        at--;
    if (at < job->outcome_count && job->outcomes[at].first == outcome->first)
        return ST_OK;
    /* At first there is room for one; it doubles at each power of two. */
    if ((job->outcome_count > 0 || !job->outcomes) &&
        (job->outcome_count & (job->outcome_count - 1)) == 0 &&
        outcomes_reserve(job, job->outcome_count ? 2 * job->outcome_count : 1) != ST_OK)
        return ST_NO_MEMORY;
    memmove(&job->outcomes[at + 1], &job->outcomes[at],
            (job->outcome_count - at) * sizeof(*job->outcomes));
    job->outcomes[at] = *outcome;
    job->outcomes[at].shown = true;
    blob_ref(outcome->text);
    job->outcome_count++;
    return ST_OK;
}

static enum status put_outcome(struct memory_store *memory, struct store_command *command)
{
    struct slot *slot = memory_find(memory, command->id);

    return slot ? add_outcome(&slot->kept->job, &command->outcomes[0]) : ST_NOT_FOUND;
}

static enum status put_attempt(struct memory_store *memory, struct store_command *command)
{
    struct slot *slot = memory_find(memory, command->id);

    if (!slot)
        return ST_NOT_FOUND;
    if (slot->kept->job.attempts.count == 0)
        slot->kept->job.attempts.dropped = command->attempt_number - 1;
    return attempt_log_add(&slot->kept->job.attempts, blob_ref(command->attempt))
               ? ST_OK
               : ST_NO_MEMORY;
}

static void keep_log(struct stored_job *job, struct blob *log)
{
    blob_unref(job->log);
    job->log = log ? blob_ref(log) : NULL;
}

static enum status put_log(struct memory_store *memory, struct store_command *command)
{
    struct slot *slot = memory_find(memory, command->id);

    if (!slot || slot->kept->job.gone)
        return ST_NOT_FOUND;
    keep_log(&slot->kept->job, command->log);
    return ST_OK;
}

/* This store does not outlive those who remember the events. */
static enum status put_events(struct memory_store *memory, struct store_command *command)
{
    (void)memory;
    (void)command;
    return ST_OK;
}

static void forget_errors(struct stored_job *job)
{
    size_t kept = 0;

    for (size_t i = 0; i < job->outcome_count; i++) {
        if (job->outcomes[i].is_error)
            blob_unref(job->outcomes[i].text);
        else
            job->outcomes[kept++] = job->outcomes[i];
    }
    job->outcome_count = kept;
}

static enum status put_delivery(struct memory_store *memory,
                                struct store_command *command)
{
    return outbox_put(&memory->outbox, &command->delivery);
}

static enum status put_status(struct memory_store *memory, struct store_command *command)
{
    struct slot *slot = memory_find(memory, command->id);
    enum status st;

    if (!slot || slot->kept->job.gone)
        return ST_NOT_FOUND;
    st = add_delivery(memory, command->spec, &command->status);
    if (st != ST_OK)
        return st;
    if (command->outcome_count > 0)
        st = add_outcome(&slot->kept->job, &command->outcomes[0]);
    if (st != ST_OK)
        return st;
    if (command->status.state == JOB_QUEUED)
        forget_errors(&slot->kept->job);
    finished_remove(memory, slot->kept);
    job_status_clear(&slot->kept->job.status);
    slot->kept->job.status = job_status_copy(&command->status);
    finished_add(memory, slot->kept);
    return ST_OK;
}

static enum status delete_job(struct memory_store *memory, struct store_command *command)
{
    struct slot *slot = memory_find(memory, command->id);

    if (!slot)
        return ST_NOT_FOUND;
    memory_remove_job(memory, slot);
    return ST_OK;
}

static enum status put_jobs(struct memory_store *memory, struct store_command *command)
{
    enum status st = ST_OK;
    size_t n = 0;

    for (; n < command->job_count && st == ST_OK; n++)
        st = add_job(memory, command->jobs[n].spec, &command->jobs[n].status,
                     &command->existing);
    if (st == ST_OK)
        return ST_OK;
    for (n--; n-- > 0;) /* the last one has not been added */
        memory_remove_job(memory, memory_find(memory, command->jobs[n].spec->id));
    return st;
}

static enum status put_finished(struct memory_store *memory,
                                struct store_command *command)
{
    enum status st = put_job(memory, command);
    struct slot *slot = st == ST_OK ? memory_find(memory, command->id) : NULL;

    for (size_t i = 0; i < command->outcome_count && st == ST_OK; i++)
        st = add_outcome(&slot->kept->job, &command->outcomes[i]);
    if (st == ST_OK && !attempt_log_copy(&slot->kept->job.attempts, &command->attempts))
        st = ST_NO_MEMORY;
    if (st == ST_OK)
        keep_log(&slot->kept->job, command->log);
    if (slot && st != ST_OK)
        (void)delete_job(memory, command);
    return st;
}

static enum status get_job(struct memory_store *memory, struct store_command *command)
{
    struct slot *slot = memory_find(memory, command->id);

    if (!slot)
        return ST_NOT_FOUND;
    return copy_job(&slot->kept->job, command->with, &command->job);
}

/* As it was submitted: one that was scheduled then may be queued now. */
static bool is_listed(const struct job_filter *filter, const struct stored_job *job)
{
    enum job_state state = job->status.state;

    if (filter->state == JOB_QUEUED && state == JOB_SCHEDULED)
        state = JOB_QUEUED;
    return job_filter_matches(filter, job->spec, state);
}

static enum status list_jobs(struct memory_store *memory, struct store_command *command)
{
    const struct job_filter *filter = &command->filter;

    command->jobs = mem_zalloc(filter->limit * sizeof(*command->jobs));
    if (!command->jobs)
        return ST_NO_MEMORY;
    for (size_t i = memory->count; i-- > 0 && command->job_count < filter->limit;) {
        const struct kept *kept = memory->slots[i].kept;
        const struct stored_job *job = kept ? &kept->job : NULL;

        if (!job || !is_listed(filter, job))
            continue;
        if (copy_job(job, 0, &command->jobs[command->job_count]) != ST_OK)
            return ST_NO_MEMORY;
        command->job_count++;
    }
    return ST_OK;
}

static enum status find_key(struct memory_store *memory, struct store_command *command)
{
    struct job_spec spec = { .owner = command->owner, .idempotency_key = command->key };
    struct kept wanted = { .job = { .spec = &spec } };
    struct kept **node =
        tfind(&wanted, &memory->by_idempotency_key, compare_idempotency_keys);

    if (!node)
        return ST_NOT_FOUND;
    command->existing.id = (*node)->job.spec->id;
    command->existing.request_hash = (*node)->job.spec->request_hash;
    return ST_EXISTS;
}

/* ---- retention -------------------------------------------------------------------- */

/* Nothing here waits for a disk, so what is too much goes at once. */
static enum status purge(struct memory_store *memory, struct store_command *command)
{
    if (command->limits.now_ms)
        memory_purge_by_age(memory, &command->limits, &command->purged);
    command->purged.more = command->purged.by_age == STORE_PURGE_JOBS;
    memory_purge_by_size(memory, &command->limits, &command->purged);
    return ST_OK;
}

/* Pools are read at the start only, when a store of this kind is empty. */
static enum status forget_pool(struct memory_store *memory, struct store_command *command)
{
    (void)memory;
    (void)command;
    return ST_OK;
}

static enum status list_deliveries(struct memory_store *memory,
                                   struct store_command *command)
{
    return outbox_list(&memory->outbox, &command->deliveries_of, &command->deliveries,
                       &command->delivery_count);
}

static void memory_submit(struct store *store, struct store_command *command)
{
    static enum status (*const handlers[])(struct memory_store *,
                                           struct store_command *) = {
        [STORE_PUT_JOB] = put_job,           [STORE_PUT_JOBS] = put_jobs,
        [STORE_RECORD_JOB] = put_job,        [STORE_PUT_OUTCOME] = put_outcome,
        [STORE_PUT_ATTEMPT] = put_attempt,   [STORE_PUT_LOG] = put_log,
        [STORE_PUT_EVENTS] = put_events,     [STORE_PUT_STATUS] = put_status,
        [STORE_PUT_DELIVERY] = put_delivery, [STORE_DELETE_JOB] = delete_job,
        [STORE_PUT_FINISHED] = put_finished, [STORE_PURGE] = purge,
        [STORE_PUT_POOL] = forget_pool,      [STORE_DELETE_POOL] = forget_pool,
        [STORE_GET_JOB] = get_job,           [STORE_FIND_KEY] = find_key,
        [STORE_LIST_JOBS] = list_jobs,       [STORE_LIST_DELIVERIES] = list_deliveries,
    };

    command->st = handlers[command->kind](memory_of(store), command);
    if (store_command_writes(command)) {
        atomic_fetch_add(&store->commits, 1);
        atomic_fetch_add(&store->commands, 1);
    }
    store_answer_one(store, command);
}

/* ---- life cycle ------------------------------------------------------------------- */

/* A new store is empty, and this is for new stores only. */
static enum status memory_load_unfinished(
    struct store *store,
    enum status (*on_stub)(void *data, const struct stored_stub *stored), void *data,
    struct uuid *ret_newest, struct error_text *err)
{
    (void)store;
    (void)on_stub;
    (void)data;
    (void)err;
    memset(ret_newest, 0, sizeof(*ret_newest));
    return ST_OK;
}

static enum status memory_load_events(struct store *store,
                                      void (*on_event)(void *data,
                                                       const struct event *event),
                                      void *data, struct error_text *err)
{
    (void)store;
    (void)on_event;
    (void)data;
    (void)err;
    return ST_OK;
}

static enum status memory_load_pools(struct store *store,
                                     enum status (*on_pool)(void *data,
                                                            struct pool_spec *spec,
                                                            enum pool_state state),
                                     void *data, struct error_text *err)
{
    (void)store;
    (void)on_pool;
    (void)data;
    (void)err;
    return ST_OK;
}

static void memory_get_info(struct store *store, struct store_info *ret_info)
{
    (void)store;
    (void)ret_info;
}

static void memory_stop(struct store *store)
{
    (void)store;
}

static void keep_node(void *node)
{
    (void)node;
}

static void memory_free(struct store *store)
{
    struct memory_store *memory = memory_of(store);

    tdestroy(memory->by_idempotency_key, keep_node);
    for (size_t i = 0; i < memory->count; i++) {
        if (memory->slots[i].kept)
            kept_free(memory->slots[i].kept);
    }
    mem_free(memory->slots);
    outbox_clear(&memory->outbox);
    store_base_clear(store);
    mem_free(memory);
}

static const struct store_backend memory_backend = {
    .kind = "memory",
    .submit = memory_submit,
    .load_unfinished = memory_load_unfinished,
    .load_events = memory_load_events,
    .load_pools = memory_load_pools,
    .get_info = memory_get_info,
    .stop = memory_stop,
    .free = memory_free,
};

enum status store_open_memory(const struct store_events *events, void *data,
                              struct store **ret_store, struct error_text *err)
{
    struct memory_store *memory = mem_zalloc(sizeof(*memory));

    if (!memory)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    TAILQ_INIT(&memory->finished);
    if (store_base_init(&memory->base, &memory_backend, events, data) != ST_OK) {
        memory_free(&memory->base);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    *ret_store = &memory->base;
    return ST_OK;
}
