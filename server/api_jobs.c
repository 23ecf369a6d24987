/* SPDX-License-Identifier: MIT */
#include "server/api.h"

#include "common/mem.h"
#include "server/job_json.h"

#include <string.h>
#include <xxhash.h>

#define LIST_LIMIT_DEFAULT 100
#define LIST_LIMIT_MAX     1000
#define RETRY_AFTER_S      1

/* ---- one job ----------------------------------------------------------------------- */

static void write_job(struct buf *out, const struct job_view *view, bool minimal)
{
    if (minimal)
        job_json_write_minimal(out, view->spec, view->status);
    else
        job_json_write(out, view->spec, view->status);
}

void api_reply_job(struct request *request, int status, const struct job_view *view,
                   const struct preferences *preferences, enum reuse reuse)
{
    const char *known = request_header(request, "If-None-Match");
    struct reply reply;
    char id[UUID_TEXT_LEN + 1], etag[24];

    reply_init(&reply, status, TYPE_JSON);
    write_job(&reply.body, view, preferences->minimal);
    (void)snprintf(etag, sizeof(etag), "\"%016llx\"",
                   (unsigned long long)XXH3_64bits(reply.body.data, reply.body.len));
    if (status == 200 && known && strstr(known, etag)) {
        buf_clear(&reply.body);
        reply.status = 304;
        reply.content_type = NULL;
    }
    if (status == 202) {
        uuid_format(view->spec->id, id);
        reply_header(&reply, "Location", "/v1/jobs/%s", id);
        if (!job_state_final(view->status->state))
            reply_header(&reply, "Retry-After", "%d", RETRY_AFTER_S);
    } else {
        reply_header(&reply, "ETag", "%s", etag);
    }
    api_reuse_header(&reply, reuse);
    api_preferences_applied(&reply, preferences);
    request_reply(request, &reply);
}

static void reply_job(struct api *api, struct request *request,
                      const struct job_view *view, void *data)
{
    (void)api;
    api_reply_job(request, 200, view, data, REUSE_NONE);
}

/* With a known ETag and a wait: waits for a change, but only if the ETag still holds. */
static bool etag_holds(struct request *request, const struct job_view *view, void *data)
{
    const char *known = request_header(request, "If-None-Match");
    const struct preferences *preferences = data;
    struct buf body = BUF_INIT;
    char etag[24];

    write_job(&body, view, preferences->minimal);
    (void)snprintf(etag, sizeof(etag), "\"%016llx\"",
                   (unsigned long long)XXH3_64bits(body.data, body.len));
    buf_clear(&body);
    return known && strstr(known, etag);
}

void api_job_get(struct api *api, struct request *request, struct text param)
{
    struct lookup lookup = { .then = reply_job };

    if (!api_waiting_get(request, param, &lookup))
        return;
    if (request_header(request, "If-None-Match") && lookup.wait_ms) {
        lookup.for_change = true;
        lookup.waits = etag_holds;
    }
    api_lookup(api, request, &lookup);
}

/* ---- cancel ------------------------------------------------------------------------ */

static void cancelled(struct api *api, struct request *request,
                      const struct job_view *view, void *data)
{
    const struct preferences none = { 0 };

    (void)api;
    (void)data;
    if (view->status->state == JOB_CANCELLED)
        api_reply_job(request, 200, view, &none, REUSE_NONE);
    else if (job_state_final(view->status->state))
        api_problem(request, PROBLEM_ALREADY_FINISHED, "the job has %s",
                    job_state_names[view->status->state]);
    else
        api_reply_job(request, 202, view, &none, REUSE_NONE);
}

/* The member `terminate` of the body; what is wrong with any goes to refusal. */
static bool read_members(const struct slice_envelope *envelope, struct refusal *refusal)
{
    bool terminate = false;

    for (size_t i = 0; i < envelope->count; i++) {
        const struct slice_member *member = &envelope->members[i];

        if (!text_equals(member->name, "terminate"))
            refusal_add(refusal, member->name, -1, PROBLEM_VALIDATION_FAILED,
                        "is not a member that is known here");
        else if (member->kind != SLICE_BOOL)
            refusal_add(refusal, member->name, -1, PROBLEM_VALIDATION_FAILED,
                        "is not true or false");
        else
            terminate = member->value.at[0] == 't';
    }
    return terminate;
}

/* The body: nothing, or {"terminate": bool}. Answers and returns false if it is anything
 * else. */
static bool read_terminate(const struct api *api, struct request *request,
                           bool *ret_terminate)
{
    const struct slice_limits limits = { .max_depth =
                                             (unsigned)api->config->max_json_depth };
    struct text body = blob_text(request_body(request));
    struct slice_envelope envelope;
    struct slice_error error = { 0 };
    enum slice_verdict verdict;
    struct refusal refusal;
    bool fine;

    *ret_terminate = false;
    if (!body.len)
        return true;
    if (!api_body_is_json(request))
        return false;
    refusal_init(&refusal);
    verdict = slice_envelope_scan(body, NULL, &limits, &envelope, &error);
    if (verdict != SLICE_OK)
        refusal_of_text(&refusal, verdict, &error, NULL);
    else
        *ret_terminate = read_members(&envelope, &refusal);
    fine = verdict == SLICE_OK && !refusal.error_count && !refusal.no_memory;
    if (!fine)
        api_refuse(request, &refusal);
    refusal_clear(&refusal);
    return fine;
}

void api_job_cancel(struct api *api, struct request *request, struct text param)
{
    struct lookup lookup = { .then = cancelled };
    enum job_state state;
    uint64_t owner;
    struct live *live;
    bool terminate;

    if (!api_job_id(request, param, &lookup.id) || !api_query(request, NULL, 0) ||
        !read_terminate(api, request, &terminate))
        return;
    if (dispatch_owner(api->dispatch, lookup.id, &owner) && !api_sees(request, owner)) {
        api_problem_status(request, ST_NOT_FOUND);
        return;
    }
    if (dispatch_cancel_job(api->dispatch, lookup.id, terminate) == ST_STATE) {
        api_problem(request, PROBLEM_JOB_RUNNING,
                    "the job is running; send {\"terminate\": true} to kill its workers");
        return;
    }
    /* Cancelled before it ran: only its commit is waited for. Its workers are not waited
     * for. */
    live = dispatch_find(api->dispatch, lookup.id);
    if ((live && live->ending) || dispatch_is_stub(api->dispatch, lookup.id, &state))
        lookup.wait_ms = api->config->max_wait_ms;
    api_lookup(api, request, &lookup);
}

/* ---- retry ------------------------------------------------------------------------- */

struct retrial {
    struct request *request; /* NULL: its client has gone */
};

static void on_retrial_gone(void *data)
{
    ((struct retrial *)data)->request = NULL;
}

static void on_retried(void *data, enum status st, struct live *live,
                       enum job_state state)
{
    const struct preferences none = { 0 };
    struct retrial *retrial = data;
    struct request *request = retrial->request;
    struct job_view view;

    mem_free(retrial);
    if (!request)
        return;
    if (st == ST_OK) {
        view = view_of(live);
        api_reply_job(request, 202, &view, &none, false);
    } else if (st == ST_EXISTS) {
        api_problem(request, PROBLEM_NOT_FAILED, "the job is %s", job_state_names[state]);
    } else {
        api_problem_status(request, st);
    }
}

/* A retry says nothing more than its path. */
static bool body_is_empty(struct request *request)
{
    if (!request_body(request)->len)
        return true;
    api_problem(request, PROBLEM_VALIDATION_FAILED, "a retry takes no body");
    return false;
}

static void retry_found(struct api *api, struct request *request,
                        const struct job_view *view, void *data)
{
    const struct job_spec *spec = view->spec;
    struct retrial *retrial;

    (void)data;
    if (!api_may_run(api, request, spec->task)) {
        api_problem(request, PROBLEM_FORBIDDEN, "this key is not for the task %.128s",
                    spec->task);
        return;
    }
    if (view->status->state == JOB_FAILED &&
        api_over_quota(api, request, 1, view->status->bytes)) {
        api_quota_problem(api, request);
        return;
    }
    retrial = mem_alloc(sizeof(*retrial));
    if (!retrial) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    retrial->request = request;
    request_park(request, on_retrial_gone, retrial);
    dispatch_retry(api->dispatch, spec->id, on_retried, retrial);
}

void api_job_retry(struct api *api, struct request *request, struct text param)
{
    struct lookup lookup = { .then = retry_found };

    if (api_job_id(request, param, &lookup.id) && api_query(request, NULL, 0) &&
        body_is_empty(request))
        api_lookup(api, request, &lookup);
}

/* ---- delete ------------------------------------------------------------------------ */

struct deletion {
    struct request *request; /* NULL: its client has gone */
};

static void on_deletion_gone(void *data)
{
    ((struct deletion *)data)->request = NULL;
}

static void on_deleted(void *data, enum status st)
{
    struct deletion *deletion = data;
    struct reply reply;

    if (deletion->request && st == ST_OK) {
        reply_init(&reply, 204, NULL);
        request_reply(deletion->request, &reply);
    } else if (deletion->request) {
        api_problem_status(deletion->request, st);
    }
    mem_free(deletion);
}

static void delete_found(struct api *api, struct request *request,
                         const struct job_view *view, void *data)
{
    struct uuid id = view->spec->id;
    struct deletion *deletion;

    (void)data;
    if (!job_state_final(view->status->state)) {
        api_problem(request, PROBLEM_NOT_FINISHED, "the job is %s; cancel it first",
                    job_state_names[view->status->state]);
        return;
    }
    deletion = mem_alloc(sizeof(*deletion));
    if (!deletion) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    deletion->request = request;
    request_park(request, on_deletion_gone, deletion);
    if (view->live && view->spec->durability == DURABILITY_MEMORY) {
        dispatch_forget(view->live);
        on_deleted(deletion, ST_OK);
        return;
    }
    store_delete_job(dispatch_store(api->dispatch), id, on_deleted, deletion);
}

void api_job_delete(struct api *api, struct request *request, struct text param)
{
    struct lookup lookup = { .then = delete_found };

    if (api_job_id(request, param, &lookup.id) && api_query(request, NULL, 0))
        api_lookup(api, request, &lookup);
}

/* ---- the list ---------------------------------------------------------------------- */

/* Whole jobs that match, as they were when the request came, and then those of the store.
 * What is whole has a row, too, or gets one, so none is missed; one that is in both is
 * taken from the first. A row that is not over tells how the job was submitted: memory
 * tells how it is. */
struct listing {
    struct api *api;
    struct request *request; /* NULL: its client has gone */
    struct job_filter filter;
    unsigned
        limit; /* of the page; the filter's is one more, to know if there is a next one */
    struct listed {
        struct uuid id;
        struct blob *json;
    } * lives;
    size_t live_count;
};

static void listing_free(struct listing *listing)
{
    for (size_t i = 0; i < listing->live_count; i++)
        blob_unref(listing->lives[i].json);
    mem_free(listing->lives);
    job_filter_clear(&listing->filter);
    mem_free(listing);
}

static void on_listing_gone(void *data)
{
    ((struct listing *)data)->request = NULL;
}

static struct blob *job_blob(const struct job_spec *spec, const struct job_status *status)
{
    struct buf json = BUF_INIT;

    job_json_write(&json, spec, status);
    return buf_take_blob(&json);
}

static bool collect_lives(struct listing *listing)
{
    struct live *live = dispatch_newest(listing->api->dispatch);

    listing->lives = mem_alloc((listing->limit + 1) * sizeof(*listing->lives));
    if (!listing->lives)
        return false;
    for (; live && listing->live_count <= listing->limit; live = dispatch_older(live)) {
        struct listed *listed = &listing->lives[listing->live_count];

        if (!job_filter_matches(&listing->filter, live->job.spec, live->job.status.state))
            continue;
        listed->id = live->job.spec->id;
        listed->json = job_blob(live->job.spec, &live->job.status);
        if (!listed->json)
            return false;
        listing->live_count++;
    }
    return true;
}

static void add_query_value(struct buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_addf(out, "&%s=", name);
    for (const char *c = value; *c; c++)
        if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
            (*c >= '0' && *c <= '9') || strchr("-._:", *c))
            buf_add_char(out, *c);
        else
            buf_addf(out, "%%%02X", (unsigned)(unsigned char)*c);
}

static void add_link(struct reply *reply, const struct listing *listing,
                     const char *cursor)
{
    const struct job_filter *filter = &listing->filter;
    struct buf link = BUF_INIT;

    buf_addf(&link, "/v1/jobs?limit=%u&cursor=%s", listing->limit, cursor);
    if (filter->state != JOB_STATE_COUNT)
        buf_addf(&link, "&state=%s", job_state_names[filter->state]);
    add_query_value(&link, "task", filter->task);
    add_query_value(&link, "pool", filter->pool);
    add_query_value(&link, "tag", filter->tag);
    if (!link.failed && link.len < REPLY_VALUE_MAX - 16)
        reply_header(reply, "Link", "<%s>; rel=\"next\"", link.data);
    buf_clear(&link);
}

/* Writes a job of the store as it is now; false, and nothing is written, if it does not
 * match any more. */
static bool write_stored(struct buf *out, const struct listing *listing,
                         struct stored_job *job)
{
    struct dispatch *dispatch = listing->api->dispatch;
    bool over = job_state_final(job->status.state);
    const struct live *live = over ? NULL : dispatch_find(dispatch, job->spec->id);

    if (!over && !live)
        (void)dispatch_is_stub(dispatch, job->spec->id, &job->status.state);
    if (!job_filter_matches(&listing->filter, job->spec,
                            live ? live->job.status.state : job->status.state))
        return false;
    job_json_write(out, job->spec, live ? &live->job.status : &job->status);
    return true;
}

/* Writes the jobs of both lists, newest first. Gives the id of the last one that was looked
 * at, and whether there may be more behind it. */
static bool write_page(struct buf *out, const struct listing *listing,
                       struct stored_job *jobs, size_t count, struct uuid *ret_last)
{
    bool full = count == listing->filter.limit; /* the store has more */
    size_t l = 0, s = 0;

    for (unsigned n = 0; n < listing->limit;) {
        size_t before = out->len;
        int order;

        if (s == count && (full || l == listing->live_count))
            break;
        order = l == listing->live_count ? -1
                : s == count             ? 1
                             : memcmp(&listing->lives[l].id, &jobs[s].spec->id,
                                      sizeof(struct uuid));
        *ret_last = order >= 0 ? listing->lives[l].id : jobs[s].spec->id;
        if (n)
            buf_add_char(out, ',');
        if (order >= 0)
            buf_add_text(out, blob_text(listing->lives[l].json));
        if (order >= 0 || write_stored(out, listing, &jobs[s]))
            n++;
        else
            out->len = before;
        l += order >= 0;
        s += order <= 0;
    }
    return full || l < listing->live_count || s < count;
}

static void on_listed(void *data, enum status st, struct stored_job *jobs, size_t count)
{
    struct listing *listing = data;
    struct reply reply;
    struct uuid last = { { 0 } };
    char cursor[UUID_TEXT_LEN + 1];

    if (!listing->request || st != ST_OK) {
        if (listing->request)
            api_problem_status(listing->request, st);
        listing_free(listing);
        return;
    }
    reply_init(&reply, 200, TYPE_JSON);
    buf_add_str(&reply.body, "{\"jobs\":[");
    if (write_page(&reply.body, listing, jobs, count, &last)) {
        uuid_format(last, cursor);
        buf_addf(&reply.body, "],\"next_cursor\":\"%s\"}", cursor);
        add_link(&reply, listing, cursor);
    } else {
        buf_add_str(&reply.body, "],\"next_cursor\":null}");
    }
    request_reply(listing->request, &reply);
    listing_free(listing);
}

/* Reads the query into the filter; false after an answer. */
static bool read_filter(struct request *request, struct listing *listing)
{
    struct job_filter *filter = &listing->filter;
    char *state = NULL, *cursor = NULL;
    uint64_t limit = LIST_LIMIT_DEFAULT;
    struct query_param params[] = {
        { .name = "state", .ret_string = &state },
        { .name = "task", .ret_string = &filter->task },
        { .name = "pool", .ret_string = &filter->pool },
        { .name = "tag", .ret_string = &filter->tag },
        { .name = "limit", .ret_number = &limit },
        { .name = "cursor", .ret_string = &cursor },
    };
    bool ok = api_query(request, params, sizeof(params) / sizeof(*params));

    filter->state = JOB_STATE_COUNT;
    for (enum job_state i = 0; state && i < JOB_STATE_COUNT; i++)
        if (strcmp(state, job_state_names[i]) == 0)
            filter->state = i;
    if (ok && state && filter->state == JOB_STATE_COUNT) {
        api_problem(request, PROBLEM_INVALID_PARAMETER, "state: \"%.64s\" is not a state",
                    state);
        ok = false;
    }
    if (ok && limit == 0) {
        api_problem(request, PROBLEM_INVALID_PARAMETER, "limit has to be at least 1");
        ok = false;
    }
    if (ok && cursor && !uuid_parse(cursor, strlen(cursor), &filter->before)) {
        api_problem(request, PROBLEM_INVALID_PARAMETER,
                    "cursor: \"%.64s\" is not a next_cursor of this list", cursor);
        ok = false;
    }
    filter->has_before = cursor != NULL;
    filter->owner = api_only_owner(request);
    listing->limit = limit < LIST_LIMIT_MAX ? (unsigned)limit : LIST_LIMIT_MAX;
    filter->limit = listing->limit + 1;
    mem_free(state);
    mem_free(cursor);
    return ok;
}

void api_jobs_list(struct api *api, struct request *request, struct text param)
{
    struct listing *listing = mem_zalloc(sizeof(*listing));

    (void)param;
    if (!listing) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    listing->api = api;
    if (!read_filter(request, listing)) {
        listing_free(listing);
        return;
    }
    if (!collect_lives(listing)) {
        api_problem_status(request, ST_NO_MEMORY);
        listing_free(listing);
        return;
    }
    listing->request = request;
    request_park(request, on_listing_gone, listing);
    if (listing->filter.state == JOB_RUNNING) { /* is whole in memory */
        on_listed(listing, ST_OK, NULL, 0);
        return;
    }
    store_list_jobs(dispatch_store(api->dispatch), &listing->filter, on_listed, listing);
}
