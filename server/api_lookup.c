/* SPDX-License-Identifier: MIT */
/*
 * Finding a job and waiting for it. A job is looked for in memory first: everything that
 * is not over is there. What is not found there is asked of the store, on its reading
 * thread, while the request is parked.
 */
#include "server/api.h"

#include "common/mem.h"

#include <string.h>

struct searching {
    struct api *api;
    struct request *request; /* NULL: its client has gone */
    struct lookup lookup;
    struct waiter *waiter;
};

struct job_view view_of(struct live *live)
{
    return (struct job_view){
        .live = live,
        .spec = live->job.spec,
        .status = &live->job.status,
        .outcomes = live->job.outcomes,
        .outcome_count = live->job.outcome_count,
        .gone = live->gone,
        .attempts = &live->attempts,
    };
}

bool api_job_id(struct request *request, struct text param, struct uuid *ret_id)
{
    if (uuid_parse(param.at, param.len, ret_id))
        return true;
    api_problem(request, PROBLEM_NOT_FOUND,
                "there is no such job: this is not a job's id");
    return false;
}

bool api_waiting_get(struct request *request, struct text param, struct lookup *lookup)
{
    struct preferences *preferences = mem_zalloc(sizeof(*preferences));
    struct query_param params[] = { { .name = "timeout", .ret_ms = &lookup->wait_ms } };

    if (!preferences) {
        api_problem_status(request, ST_NO_MEMORY);
        return false;
    }
    if (!api_job_id(request, param, &lookup->id) || !api_query(request, params, 1)) {
        mem_free(preferences);
        return false;
    }
    api_preferences(request, preferences);
    preferences->respond_async = preferences->lenient = false;
    if (preferences->has_wait && !params[0].seen)
        lookup->wait_ms = preferences->wait_ms;
    lookup->data = preferences;
    return true;
}

static void search_free(struct searching *search)
{
    mem_free(search->lookup.data);
    mem_free(search);
}

static void tell(struct searching *search, const struct job_view *view)
{
    search->lookup.then(search->api, search->request, view, search->lookup.data);
    search_free(search);
}

static void on_stored_job(void *data, enum status st, struct stored_job *stored)
{
    struct searching *search = data;

    if (!search->request) {
        search_free(search);
    } else if (st != ST_OK) {
        api_problem_status(search->request, st);
        search_free(search);
    } else {
        struct job_view view = { .spec = stored->spec,
                                 .status = &stored->status,
                                 .outcomes = stored->outcomes,
                                 .outcome_count = stored->outcome_count,
                                 .gone = stored->gone,
                                 .attempts = &stored->attempts,
                                 .stored = stored };

        tell(search, &view);
    }
    stored_job_clear(stored);
}

static void ask_store(struct searching *search)
{
    unsigned with = (search->lookup.with_outcomes ? STORE_WITH_OUTCOMES : 0) |
                    (search->lookup.with_attempts ? STORE_WITH_ATTEMPTS : 0);

    store_get_job(dispatch_store(search->api->dispatch), search->lookup.id, with,
                  on_stored_job, search);
}

static void on_wait_over(void *data, enum wake wake, enum status st)
{
    struct searching *search = data;
    struct live *live = dispatch_find(search->api->dispatch, search->lookup.id);
    struct job_view view;

    (void)wake;
    (void)st;
    search->waiter = NULL;
    if (!live) { /* deleted while it was waited for, or in the store by now */
        ask_store(search);
        return;
    }
    view = view_of(live);
    tell(search, &view);
}

/* The client of a parked request has gone. A search in the store still comes back. */
static void on_gone(void *data)
{
    struct searching *search = data;

    search->request = NULL;
    if (search->waiter) {
        waiter_end(search->waiter);
        search_free(search);
    }
}

void api_lookup(struct api *api, struct request *request, const struct lookup *lookup)
{
    struct searching *search = mem_zalloc(sizeof(*search));
    struct live *live = dispatch_find(api->dispatch, lookup->id);
    int64_t max_ms = api->config->max_wait_ms;
    int64_t wait_ms = lookup->wait_ms < max_ms ? lookup->wait_ms : max_ms;
    struct job_view view;

    if (!search) {
        mem_free(lookup->data);
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    *search = (struct searching){ api, request, *lookup, NULL };
    request_park(request, on_gone, search);
    if (!live) {
        ask_store(search);
        return;
    }
    if (wait_ms > 0 && !job_state_final(live->job.status.state))
        search->waiter =
            dispatch_wait(live, lookup->for_change ? WAIT_CHANGE : WAIT_READY, wait_ms,
                          on_wait_over, search);
    if (search->waiter)
        return;
    view = view_of(live); /* ready, or not to be waited for, or too many wait already */
    tell(search, &view);
}
