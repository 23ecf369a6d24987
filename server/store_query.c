/* SPDX-License-Identifier: MIT */
/* What is asked of the store, and which jobs a list of them wants. */
#include "server/store_backend.h"

#include "common/mem.h"
#include "server/json_load.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

/* ---- answers ------------------------------------------------------------------------ */

void stored_job_clear(struct stored_job *stored)
{
    for (size_t i = 0; i < stored->outcome_count; i++)
        blob_unref(stored->outcomes[i].text);
    mem_free(stored->outcomes);
    attempt_log_clear(&stored->attempts);
    blob_unref(stored->log);
    job_status_clear(&stored->status);
    job_spec_unref(stored->spec);
    memset(stored, 0, sizeof(*stored));
}

/* ---- which jobs -------------------------------------------------------------------- */

void job_filter_clear(struct job_filter *filter)
{
    mem_free(filter->task);
    mem_free(filter->pool);
    mem_free(filter->tag);
    memset(filter, 0, sizeof(*filter));
}

static enum status string_copy(const char *from, char **ret_copy)
{
    *ret_copy = from ? mem_strdup(from) : NULL;
    return from && !*ret_copy ? ST_NO_MEMORY : ST_OK;
}

static enum status filter_copy(const struct job_filter *from,
                               struct job_filter *ret_filter)
{
    *ret_filter = *from;
    ret_filter->task = ret_filter->pool = ret_filter->tag = NULL;
    if (string_copy(from->task, &ret_filter->task) != ST_OK ||
        string_copy(from->pool, &ret_filter->pool) != ST_OK ||
        string_copy(from->tag, &ret_filter->tag) != ST_OK) {
        job_filter_clear(ret_filter);
        return ST_NO_MEMORY;
    }
    return ST_OK;
}

/* The tags are kept as they were sent, so escapes may hide what they say. */
static bool tags_contain(const char *tags, const char *tag)
{
    struct text text = { tags, tags ? strlen(tags) : 0 };
    bool found = false, no_memory;
    json_t *array = tags ? json_load(text, 0, &no_memory) : NULL;
    json_t *element;
    size_t i;

    json_array_foreach(array, i, element)
    {
        if (json_is_string(element) && strcmp(json_string_value(element), tag) == 0)
            found = true;
    }
    json_decref(array);
    return found;
}

bool job_filter_matches(const struct job_filter *filter, const struct job_spec *spec,
                        enum job_state state)
{
    if (filter->owner && filter->owner != spec->owner)
        return false;
    if (filter->state != JOB_STATE_COUNT && filter->state != state)
        return false;
    if (filter->task && strcmp(filter->task, spec->task) != 0)
        return false;
    if (filter->pool && strcmp(filter->pool, spec->pool) != 0)
        return false;
    if (filter->has_before && uuid_key(spec->id) >= uuid_key(filter->before))
        return false;
    return !filter->tag || tags_contain(spec->tags, filter->tag);
}

/* ---- queries ----------------------------------------------------------------------- */

void store_get_job(struct store *store, struct uuid id, unsigned with, store_got_job *got,
                   void *data)
{
    struct store_command *command = store_command_new(store, STORE_GET_JOB);

    if (!command)
        return;
    command->id = id;
    command->with = with;
    command->on.job = got;
    command->data = data;
    store_command_submit(store, command);
}

void store_find_key(struct store *store, uint64_t owner, const char *idempotency_key,
                    store_put_done *found, void *data)
{
    struct store_command *command = store_command_new(store, STORE_FIND_KEY);

    if (!command)
        return;
    command->owner = owner;
    command->st = string_copy(idempotency_key, &command->key);
    command->on.put = found;
    command->data = data;
    store_command_submit(store, command);
}

void store_list_jobs(struct store *store, const struct job_filter *filter,
                     store_got_jobs *got, void *data)
{
    struct store_command *command = store_command_new(store, STORE_LIST_JOBS);

    assert(filter->limit >= 1 && filter->limit <= STORE_LIST_MAX);
    if (!command)
        return;
    command->st = filter_copy(filter, &command->filter);
    command->on.jobs = got;
    command->data = data;
    store_command_submit(store, command);
}

void store_list_deliveries(struct store *store, const struct delivery_query *query,
                           store_got_deliveries *got, void *data)
{
    struct store_command *command = store_command_new(store, STORE_LIST_DELIVERIES);

    assert(query->limit >= 1 && query->limit <= STORE_DELIVERIES_MAX);
    if (!command)
        return;
    command->deliveries_of = *query;
    command->on.deliveries = got;
    command->data = data;
    store_command_submit(store, command);
}

enum status store_load_unfinished(
    struct store *store,
    enum status (*on_stub)(void *data, const struct stored_stub *stored), void *data,
    struct uuid *ret_newest, struct error_text *err)
{
    return store->backend->load_unfinished(store, on_stub, data, ret_newest, err);
}

enum status store_load_events(struct store *store,
                              void (*on_event)(void *data, const struct event *event),
                              void *data, struct error_text *err)
{
    return store->backend->load_events(store, on_event, data, err);
}

enum status store_load_pools(struct store *store,
                             enum status (*on_pool)(void *data, struct pool_spec *spec,
                                                    enum pool_state state),
                             void *data, struct error_text *err)
{
    return store->backend->load_pools(store, on_pool, data, err);
}
