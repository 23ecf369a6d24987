/* SPDX-License-Identifier: MIT */
/*
 * Finding a job and waiting for it. A job is looked for in memory first. What is not whole
 * there is asked of the store, on its reading thread, while the request is parked: it is
 * over, or a stub, whose state memory knows better. A stub is waited for without being made
 * whole.
 */
#include "server/api.h"

#include "common/mem.h"

#include <string.h>

struct searching {
    struct api *api;
    struct request *request; /* NULL: its client has gone */
    struct lookup lookup;
    struct waiter *waiter;
    bool again; /* the store was asked in vain */
    struct live
        *live; /* held while the store is asked for what it has let go of; or NULL */
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

static struct job_view view_of_stored(struct stored_job *stored)
{
    return (struct job_view){ .spec = stored->spec,
                              .status = &stored->status,
                              .outcomes = stored->outcomes,
                              .outcome_count = stored->outcome_count,
                              .gone = stored->gone,
                              .attempts = &stored->attempts,
                              .stored = stored };
}

static void ask_store(struct searching *search);

/* Of a job in memory. What it has let go of is in the store, and has all been committed
 * before: held from now on, nothing is missing from both. */
static void tell_live(struct searching *search, struct live *live)
{
    struct job_view view = view_of(live);

    if (!search->lookup.with_outcomes || !live_let_go_of(live)) {
        tell(search, &view);
        return;
    }
    if (!job_state_final(view.status->state)) {
        search->live = live;
        live_hold(live);
    }
    ask_store(search);
}

/* To whom a job does not belong it is not there. */
static bool hidden(struct searching *search, uint64_t owner)
{
    if (api_sees(search->request, owner))
        return false;
    api_problem_status(search->request, ST_NOT_FOUND);
    search_free(search);
    return true;
}

/* Both were asked. If the job was over by now, the store would know, or knows when it is
 * asked again. */
static void tell_both(struct searching *search, struct stored_job *stored)
{
    struct live *live = search->live;
    struct job_view view = view_of(live), stored_view = view_of_stored(stored);

    view.stored = stored;
    search->live = NULL;
    if (!job_state_final(view.status->state))
        tell(search, &view);
    else if (job_state_final(stored->status.state))
        tell(search, &stored_view);
    else
        ask_store(search);
    live_release(live);
}

static void on_wait_over(void *data, enum wake wake, enum status st)
{
    struct searching *search = data;
    struct live *live = dispatch_find(search->api->dispatch, search->lookup.id);

    (void)wake;
    (void)st;
    search->waiter = NULL;
    search->lookup.wait_ms = 0;
    search->lookup.whole = false; /* it is now, or cannot be */
    if (live)
        tell_live(search, live);
    else /* deleted while it was waited for, a stub, or in the store by now */
        ask_store(search);
}

/* Waits for the job that the view shows, if it is to be waited for. False: not, or too many
 * wait already. */
static bool wait_for_it(struct searching *search, const struct job_view *view)
{
    struct lookup *lookup = &search->lookup;

    if (lookup->wait_ms <= 0 || job_state_final(view->status->state) ||
        (lookup->waits && !lookup->waits(search->request, view, lookup->data)))
        return false;
    search->waiter = dispatch_wait_for(search->api->dispatch, lookup->id,
                                       lookup->for_change ? WAIT_CHANGE : WAIT_READY,
                                       lookup->wait_ms, on_wait_over, search);
    return search->waiter != NULL;
}

/* A whole job is there: the answer, or the wait. */
static void found_live(struct searching *search, struct live *live)
{
    struct job_view view = view_of(live);

    if (!hidden(search, view.spec->owner) && !wait_for_it(search, &view))
        tell_live(search, live);
}

/* It was read as one that is not over, and nobody has it in memory any more: it has ended
 * since. Once more, then. */
static bool reads_again(struct searching *search, bool is_stub,
                        const struct stored_job *stored)
{
    if (is_stub || job_state_final(stored->status.state) || search->again)
        return false;
    search->again = true;
    ask_store(search);
    return true;
}

static void found_stored(struct searching *search, struct stored_job *stored)
{
    struct dispatch *dispatch = search->api->dispatch;
    struct live *live = dispatch_find(dispatch, search->lookup.id);
    bool is_stub = dispatch_is_stub(dispatch, search->lookup.id, &stored->status.state);
    struct job_view view = view_of_stored(stored);

    if (hidden(search, stored->spec->owner))
        return;
    if (live && !job_state_final(stored->status.state))
        found_live(search, live);
    else if (!reads_again(search, is_stub, stored) && !wait_for_it(search, &view))
        tell(search, &view);
}

static void on_stored_job(void *data, enum status st, struct stored_job *stored)
{
    struct searching *search = data;

    if (!search->request || st != ST_OK) {
        if (search->request)
            api_problem_status(search->request, st);
        if (search->live)
            live_release(search->live);
        search_free(search);
    } else if (search->live) {
        tell_both(search, stored);
    } else {
        found_stored(search, stored);
    }
    stored_job_clear(stored);
}

static void ask_store(struct searching *search)
{
    unsigned with = (search->lookup.with_outcomes ? STORE_WITH_OUTCOMES : 0) |
                    (search->lookup.with_attempts ? STORE_WITH_ATTEMPTS : 0) |
                    (search->lookup.with_log ? STORE_WITH_LOG : 0);

    store_get_job(dispatch_store(search->api->dispatch), search->lookup.id, with,
                  on_stored_job, search);
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

/* Has a stub read, to go on with the whole job; false if it is none, or too many wait. */
static bool fetch(struct searching *search)
{
    struct dispatch *dispatch = search->api->dispatch;
    enum job_state state;
    uint64_t owner;

    if (!search->lookup.whole || !dispatch_is_stub(dispatch, search->lookup.id, &state) ||
        !dispatch_owner(dispatch, search->lookup.id, &owner) ||
        !api_sees(search->request, owner))
        return false;
    search->waiter = dispatch_wait_for(dispatch, search->lookup.id, WAIT_WHOLE, -1,
                                       on_wait_over, search);
    if (search->waiter)
        dispatch_fetch(dispatch, search->lookup.id);
    return search->waiter != NULL;
}

void api_lookup(struct api *api, struct request *request, const struct lookup *lookup)
{
    struct searching *search = mem_zalloc(sizeof(*search));
    struct live *live = dispatch_find(api->dispatch, lookup->id);

    if (!search) {
        mem_free(lookup->data);
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    *search = (struct searching){ .api = api, .request = request, .lookup = *lookup };
    if (search->lookup.wait_ms > api->config->max_wait_ms)
        search->lookup.wait_ms = api->config->max_wait_ms;
    request_park(request, on_gone, search);
    if (live)
        found_live(search, live);
    else if (!fetch(search))
        ask_store(search);
}
