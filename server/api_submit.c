/* SPDX-License-Identifier: MIT */
/*
 * Submitting: POST /v1/apply, /v1/map, /v1/starmap and their _async forms; /v1/imap and
 * /v1/imap_unordered.
 *
 *     parse ─> dispatch_submit ─┬─ waiting call: over already? else WAIT_READY
 *                               │     ──> 200 or the task's failure; 202 if it takes longer
 *                               ├─ async call: accepted? else WAIT_ACCEPTED ──> 202
 *                               └─ imap: accepted? else WAIT_ACCEPTED ──> 200, a stream
 *
 * A durable job may be refused by the store after all (WAKE_REFUSED): then it does not
 * exist. If that is because its Idempotency-Key is known, the request is answered with
 * the job that exists.
 *
 * A job whose unique_key another one has is not made: the request is answered with that
 * one, as if it had made it, or refused. But a request that is sent again, with its
 * Idempotency-Key, is answered with its own job, whoever has the unique_key by now: so
 * with both keys, and a rival, the store is asked for the first one before.
 */
#include "server/api.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/job_json.h"

#include <string.h>

struct submission {
    struct api *api;
    struct request *request;
    struct live *live; /* while it is waited for: pinned */
    struct waiter *waiter;
    struct job_spec *spec; /* until it is submitted; owned */
    struct preferences applied;
    enum reuse reuse;
    int64_t wait_ms; /* for the result; 0: answer with the job, or its stream */
    bool streams;    /* imap, imap_unordered */
    uint64_t request_hash;
    bool cancel_on_disconnect;
};

static void on_wake_submission(void *data, enum wake wake, enum status st);

static void submission_free(struct submission *submission)
{
    if (submission->live)
        live_unpin(submission->live);
    job_spec_unref(submission->spec);
    mem_free(submission);
}

/* Nobody reads the stream: the job goes on without its window, unless it is another client's. */
static void leave_window(const struct submission *submission, struct live *live)
{
    if (submission->reuse == REUSE_NONE)
        dispatch_read(live, NOBODY_READS);
}

/* The client of a parked submission has gone: the job goes on. */
static void on_submission_gone(void *data)
{
    struct submission *submission = data;

    waiter_end(submission->waiter);
    leave_window(submission, submission->live);
    submission_free(submission);
}

static void on_client_left(void *data)
{
    struct submission *submission = data;

    if (dispatch_cancel(submission->live, true) != ST_OK)
        log_debug("a client left, but its job was over", "");
}

/* ---- answers ----------------------------------------------------------------------- */

/* The job goes on: 202. */
static void answer_accepted(struct submission *submission, struct live *live)
{
    struct job_view view = view_of(live);

    dispatch_record(live);
    api_reply_job(submission->request, 202, &view, &submission->applied,
                  submission->reuse);
    submission_free(submission);
}

/* Waiters are spent: the job of a stream goes on and its results can be fetched. */
static bool may_wait(const struct submission *submission)
{
    const struct api *api = submission->api;

    return dispatch_waiters(api->dispatch) < api->config->max_waiters;
}

/* The job exists: 202, or the stream of its results. */
static void answer_begun(struct submission *submission, struct live *live)
{
    struct job_view view = view_of(live);

    if (!submission->streams ||
        (!may_wait(submission) && !job_state_final(live->job.status.state))) {
        leave_window(submission, live);
        answer_accepted(submission, live);
        return;
    }
    dispatch_record(live); /* its client is told now where to take it up again */
    api_reply_stream(submission->request, &view, &submission->applied, submission->reuse);
    submission_free(submission);
}

static void answer_result(struct submission *submission, struct live *live)
{
    struct job_view view = view_of(live);

    api_reply_result(submission->request, &view, &submission->applied, submission->reuse);
    submission_free(submission);
}

/* Parks the request until the job is accepted or ready; without a waiter, answers at
 * once. */
static void wait_for(struct submission *submission, struct live *live, enum wait_for what,
                     int64_t timeout_ms)
{
    if (!submission->live)
        live_pin(live);
    submission->live = live;
    submission->waiter =
        dispatch_wait(live, what, timeout_ms, on_wake_submission, submission);
    if (!submission->waiter) {
        /* Only a job that its client can find again may be left without an answer that
         * waits. */
        if (live->accepted) {
            answer_accepted(submission, live);
        } else {
            leave_window(submission, live);
            api_problem_retry(
                submission->request, PROBLEM_STORAGE_ERROR,
                "too many requests wait; whether the job exists is not known");
            submission_free(submission);
        }
        return;
    }
    request_park(submission->request, on_submission_gone, submission);
    if (submission->cancel_on_disconnect && what == WAIT_READY)
        request_watch(submission->request, on_client_left, submission);
}

/* ---- the same Idempotency-Key again ------------------------------------------------ */

struct replay {
    struct preferences applied;
    enum reuse reuse;
    bool wants_result, streams;
};

static void answer_replay(struct api *api, struct request *request,
                          const struct job_view *view, void *data)
{
    struct replay *replay = data;

    (void)api;
    if (replay->streams)
        api_reply_stream(request, view, &replay->applied, replay->reuse);
    else if (replay->wants_result && job_state_final(view->status->state))
        api_reply_result(request, view, &replay->applied, replay->reuse);
    else
        api_reply_job(request, 202, view, &replay->applied, replay->reuse);
}

/* The answer is another job, wherever it is. */
static void answer_with(struct submission *submission, struct uuid id, enum reuse reuse)
{
    struct request *request = submission->request;
    struct replay *replay = mem_zalloc(sizeof(*replay));
    struct lookup lookup = { .id = id,
                             .wait_ms = submission->wait_ms,
                             .with_outcomes = submission->wait_ms || submission->streams,
                             .whole = submission->streams,
                             .then = answer_replay,
                             .data = replay };

    if (replay) {
        *replay = (struct replay){ submission->applied, reuse, submission->wait_ms > 0,
                                   submission->streams };
        api_lookup(submission->api, request, &lookup);
    } else {
        api_problem_status(request, ST_NO_MEMORY);
    }
    submission_free(submission);
}

static void answer_existing(struct submission *submission,
                            const struct store_existing *existing)
{
    if (existing->request_hash == submission->request_hash) {
        answer_with(submission, existing->id, REUSE_REPLAYED);
        return;
    }
    api_problem(submission->request, PROBLEM_IDEMPOTENCY_MISMATCH,
                "this Idempotency-Key came with another method or body before");
    submission_free(submission);
}

/* The job was not stored, and does not exist. */
static void answer_refused(struct submission *submission, enum status st)
{
    if (submission->reuse == REUSE_EXISTING) {
        api_problem_retry(submission->request, PROBLEM_STORAGE_ERROR,
                          "the job that had this unique_key could not be stored");
        submission_free(submission);
    } else if (st == ST_EXISTS) {
        answer_existing(submission, dispatch_existing(submission->api->dispatch));
    } else {
        api_problem_status(submission->request, st);
        submission_free(submission);
    }
}

static void on_wake_submission(void *data, enum wake wake, enum status st)
{
    struct submission *submission = data;
    struct live *live = submission->live;

    submission->waiter = NULL;
    switch (wake) {
    case WAKE_READY:
        if (submission->wait_ms)
            answer_result(submission, live);
        else
            answer_begun(submission, live);
        return;
    case WAKE_REFUSED:
        answer_refused(submission, st);
        return;
    case WAKE_TIMEOUT:
        submission->wait_ms = 0;
        if (!live->accepted) {
            wait_for(submission, live, WAIT_ACCEPTED, -1);
            return;
        }
        answer_accepted(submission, live);
        return;
    default: /* accepted, or the server stops */
        if (live->accepted) {
            answer_begun(submission, live);
        } else {
            api_problem_retry(submission->request, PROBLEM_STORAGE_ERROR,
                              "the server stops; whether the job exists is not known");
            submission_free(submission);
        }
    }
}

/* ---- the request ------------------------------------------------------------------- */

static bool find_pool(void *data, const char *name, struct job_pool *ret_pool)
{
    struct lane *lane = dispatch_lane(data, name);

    if (lane)
        *ret_pool = (struct job_pool){ lane->spec->processes, lane->spec->time_limit_ms };
    return lane != NULL;
}

struct job_rules api_job_rules(struct api *api, struct request *request)
{
    return (struct job_rules){
        .max_items = api->config->max_items,
        .max_item_bytes = api->config->max_item_bytes,
        .max_depth = (unsigned)api->config->max_json_depth,
        .crash_retries = (uint32_t)api->config->crash_retries,
        .time_limit_ms = api->config->time_limit_ms,
        .result_ttl_ms = api->config->result_ttl_ms,
        .callback_allow = api->config->callback_allow,
        .key = api_key(api, request),
        .find_pool = find_pool,
        .data = api->dispatch,
    };
}

/* Answers and returns NULL if the request is refused. */
static struct job_spec *read_spec(struct api *api, struct request *request,
                                  enum job_method method, bool async, bool lenient)
{
    struct job_rules rules = api_job_rules(api, request);
    char trace[TRACE_MAX + 1];
    struct job_intake intake = { .method = method,
                                 .async = async,
                                 .lenient = lenient,
                                 .owner = api_owner(request),
                                 .trace = api_trace(request, trace),
                                 .now_ms = clock_wall_ms() };
    struct refusal refusal;
    struct job_spec *spec = NULL;

    if (!api_body_is_json(request) || !api_query(request, NULL, 0) ||
        !api_idempotency_key(request, &intake.idempotency_key))
        return NULL;
    intake.id = dispatch_new_id(api->dispatch, intake.now_ms);
    if (job_json_parse(request_body(request), &intake, &rules, &spec, &refusal) != ST_OK)
        api_refuse(request, &refusal);
    refusal_clear(&refusal);
    return spec;
}

/* What of it applies to this call. */
static struct preferences read_preferences(const struct request *request,
                                           enum job_method method, bool async)
{
    struct preferences preferences;

    api_preferences(request, &preferences);
    if (async)
        preferences.respond_async = false; /* it is so already: nothing to apply */
    if (job_method_streams(method) && !preferences.respond_async)
        preferences.has_wait = preferences.minimal =
            false; /* there is no job in a stream */
    return preferences;
}

/* NULL without memory. */
static struct submission *submission_new(struct api *api, struct request *request,
                                         const struct job_spec *spec,
                                         const struct preferences *preferences,
                                         bool async)
{
    struct submission *submission = mem_zalloc(sizeof(*submission));
    int64_t max_ms = api->config->max_wait_ms;

    if (!submission)
        return NULL;
    submission->api = api;
    submission->request = request;
    submission->applied = *preferences;
    submission->request_hash = spec->request_hash;
    submission->cancel_on_disconnect = spec->cancel_on_disconnect;
    submission->streams = job_method_streams(spec->method) && !async;
    submission->wait_ms = preferences->has_wait          ? preferences->wait_ms
                          : async || submission->streams ? 0
                                                         : max_ms;
    if (submission->wait_ms > max_ms)
        submission->wait_ms = submission->applied.wait_ms = max_ms;
    return submission;
}

static void answer_conflict(struct submission *submission, const struct rival *rival)
{
    char detail[80];

    (void)snprintf(detail, sizeof(detail), "the job that has this unique_key is %s",
                   job_state_names[rival->state]);
    api_problem_job(submission->request, PROBLEM_UNIQUE_CONFLICT, detail, rival->id);
    submission_free(submission);
}

void api_not_submitted(struct request *request, const struct lane *lane, enum status st)
{
    if (st == ST_NOT_RUNNING)
        api_pool_not_running(request, lane);
    else
        api_problem_status(request, st);
}

/* More than the key may have: refused, unless the same request made a job before. */
static bool over_quota(const struct submission *submission)
{
    const struct job_spec *spec = submission->spec;

    return api_over_quota(submission->api, submission->request, 1, job_spec_bytes(spec));
}

static void start(struct submission *submission)
{
    struct job_spec *spec = submission->spec;
    struct lane *lane;
    struct live *live;
    enum status st;

    if (over_quota(submission)) {
        api_quota_problem(submission->api, submission->request);
        submission_free(submission);
        return;
    }
    lane = dispatch_lane(submission->api->dispatch, spec->pool);
    submission->spec = NULL;
    st = dispatch_submit(submission->api->dispatch, spec, &live);
    if (st == ST_CONFLICT) {
        answer_conflict(submission, dispatch_last_rival(submission->api->dispatch));
        return;
    }
    if (st == ST_EXISTS && !live) { /* a stub */
        answer_with(submission, dispatch_last_rival(submission->api->dispatch)->id,
                    REUSE_EXISTING);
        return;
    }
    if (st == ST_EXISTS) {
        submission->reuse = REUSE_EXISTING;
        submission->cancel_on_disconnect = false; /* the job is another client's */
    } else if (st != ST_OK) {
        api_not_submitted(submission->request, lane, st);
        submission_free(submission);
        return;
    }
    request_set_job(submission->request, live->id);
    if (job_state_final(live->job.status.state) && submission->wait_ms)
        answer_result(submission, live);
    else if (submission->wait_ms)
        wait_for(submission, live, WAIT_READY, submission->wait_ms);
    else if (live->accepted)
        answer_begun(submission, live);
    else
        wait_for(submission, live, WAIT_ACCEPTED, -1);
}

static void on_key_gone(void *data)
{
    ((struct submission *)data)->request = NULL;
}

static void on_key_found(void *data, enum status st,
                         const struct store_existing *existing)
{
    struct submission *submission = data;

    if (!submission->request) {
        submission_free(submission); /* nobody was told of a job, and there is none */
    } else if (st == ST_EXISTS) {
        answer_existing(submission, existing);
    } else if (st == ST_NOT_FOUND) {
        start(submission);
    } else {
        api_problem_status(submission->request, st);
        submission_free(submission);
    }
}

static void start_unless_replayed(struct submission *submission)
{
    const struct job_spec *spec = submission->spec;
    struct dispatch *dispatch = submission->api->dispatch;

    /* A job is refused only if the same request did not make one before. */
    if (!spec->idempotency_key ||
        (!dispatch_rival(dispatch, spec) && !over_quota(submission) &&
         dispatch_admits(dispatch, 1, job_spec_bytes(spec),
                         spec->durability != DURABILITY_MEMORY) == ST_OK &&
         dispatch_lane(dispatch, spec->pool)->state == POOL_RUNNING)) {
        start(submission);
        return;
    }
    request_park(submission->request, on_key_gone, submission);
    store_find_key(dispatch_store(dispatch), spec->owner, spec->idempotency_key,
                   on_key_found, submission);
}

static void submit(struct api *api, struct request *request, enum job_method method,
                   bool async)
{
    struct preferences preferences = read_preferences(request, method, async);
    struct submission *submission;
    struct job_spec *spec;

    async = async || preferences.respond_async;
    spec = read_spec(api, request, method, async, preferences.lenient);
    if (!spec)
        return;
    submission = submission_new(api, request, spec, &preferences, async);
    if (!submission) {
        job_spec_unref(spec);
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    submission->spec = spec;
    start_unless_replayed(submission);
}

void api_apply(struct api *api, struct request *request, struct text param)
{
    (void)param;
    submit(api, request, JOB_APPLY, false);
}

void api_map(struct api *api, struct request *request, struct text param)
{
    (void)param;
    submit(api, request, JOB_MAP, false);
}

void api_starmap(struct api *api, struct request *request, struct text param)
{
    (void)param;
    submit(api, request, JOB_STARMAP, false);
}

void api_imap(struct api *api, struct request *request, struct text param)
{
    (void)param;
    if (request_is_fed(request))
        api_feed(api, request, JOB_IMAP);
    else
        submit(api, request, JOB_IMAP, false);
}

void api_imap_unordered(struct api *api, struct request *request, struct text param)
{
    (void)param;
    if (request_is_fed(request))
        api_feed(api, request, JOB_IMAP_UNORDERED);
    else
        submit(api, request, JOB_IMAP_UNORDERED, false);
}

void api_apply_async(struct api *api, struct request *request, struct text param)
{
    (void)param;
    submit(api, request, JOB_APPLY, true);
}

void api_map_async(struct api *api, struct request *request, struct text param)
{
    (void)param;
    submit(api, request, JOB_MAP, true);
}

void api_starmap_async(struct api *api, struct request *request, struct text param)
{
    (void)param;
    submit(api, request, JOB_STARMAP, true);
}
