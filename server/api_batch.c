/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/batch: many jobs in one request and one commit, all or none. It is answered
 * behind the commit, whatever the durability of the jobs.
 */
#include "server/api.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/job_batch.h"

struct submission {
    struct request *request; /* NULL: its client has gone */
    struct preferences applied;
};

static void on_submission_gone(void *data)
{
    ((struct submission *)data)->request = NULL;
}

static void reply_jobs(const struct submission *submission, struct live *const lives[],
                       size_t count)
{
    struct reply reply;

    reply_init(&reply, 202, TYPE_JSON);
    buf_add_str(&reply.body, "{\"jobs\":[");
    for (size_t i = 0; i < count; i++) {
        const struct job *job = &lives[i]->job;

        if (i)
            buf_add_char(&reply.body, ',');
        if (submission->applied.minimal)
            job_json_write_minimal(&reply.body, job->spec, &job->status);
        else
            job_json_write(&reply.body, job->spec, &job->status);
    }
    buf_add_str(&reply.body, "]}");
    api_preferences_applied(&reply, &submission->applied);
    request_reply(submission->request, &reply);
}

static void on_submitted(void *data, enum status st, struct live *const lives[],
                         size_t count)
{
    struct submission *submission = data;

    if (submission->request && st == ST_OK)
        reply_jobs(submission, lives, count);
    else if (submission->request)
        api_problem_status(submission->request, st);
    mem_free(submission);
}

/* ---- the request ------------------------------------------------------------------- */

static struct uuid new_id(void *data, int64_t now_ms)
{
    return dispatch_new_id(data, now_ms);
}

/* Which jobs a key belongs to would have to be kept for each of them. */
static bool has_no_key(struct request *request)
{
    if (!request_header(request, "Idempotency-Key"))
        return true;
    api_problem(request, PROBLEM_VALIDATION_FAILED,
                "a batch takes no Idempotency-Key; submit jobs that need one alone");
    return false;
}

/* Answers and returns false if the request is refused. */
static bool read_specs(struct api *api, struct request *request, bool lenient,
                       struct job_spec **ret_specs, size_t *ret_count)
{
    char trace[TRACE_MAX + 1];
    const struct batch_intake intake = {
        .max_jobs = (size_t)api->config->max_batch_jobs,
        .owner = api_owner(request),
        .trace = api_trace(request, trace),
        .lenient = lenient,
        .now_ms = clock_wall_ms(),
        .new_id = new_id,
        .data = api->dispatch,
    };
    struct job_rules rules = api_job_rules(api, request);
    struct refusal refusal;
    enum status st;

    if (!api_body_is_json(request) || !api_query(request, NULL, 0) ||
        !has_no_key(request))
        return false;
    st = job_batch_parse(request_body(request), &intake, &rules, ret_specs, ret_count,
                         &refusal);
    if (st != ST_OK)
        api_refuse(request, &refusal);
    refusal_clear(&refusal);
    return st == ST_OK;
}

/* The first pool that takes no jobs; NULL if there is none. */
static struct lane *lane_not_running(struct api *api, struct job_spec *const specs[],
                                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct lane *lane = dispatch_lane(api->dispatch, specs[i]->pool);

        if (lane && lane->state != POOL_RUNNING)
            return lane;
    }
    return NULL;
}

static void submit(struct api *api, struct submission *submission,
                   struct job_spec *const specs[], size_t count)
{
    struct lane *lane = lane_not_running(api, specs, count);
    struct request *request = submission->request;
    uint64_t bytes = 0;
    enum status st;

    for (size_t i = 0; i < count; i++)
        bytes += job_spec_bytes(specs[i]);
    if (api_over_quota(api, request, count, bytes)) {
        for (size_t i = 0; i < count; i++)
            job_spec_unref(specs[i]);
        api_quota_problem(api, request);
        mem_free(submission);
        return;
    }
    request_park(request, on_submission_gone, submission);
    st = dispatch_submit_batch(api->dispatch, specs, count, on_submitted, submission);
    if (st == ST_OK)
        return;
    if (st == ST_NOT_RUNNING)
        api_pool_not_running(request, lane);
    else
        api_problem_status(request, st);
    mem_free(submission);
}

void api_batch(struct api *api, struct request *request, struct text param)
{
    struct job_spec **specs =
        mem_alloc((size_t)api->config->max_batch_jobs * sizeof(struct job_spec *));
    struct submission *submission = mem_zalloc(sizeof(*submission));
    struct preferences preferences;
    size_t count;

    (void)param;
    api_preferences(request, &preferences);
    if (!specs || !submission) {
        api_problem_status(request, ST_NO_MEMORY);
        mem_free(submission);
    } else if (!read_specs(api, request, preferences.lenient, specs, &count)) {
        mem_free(submission);
    } else {
        submission->request = request;
        submission->applied = (struct preferences){ .minimal = preferences.minimal,
                                                    .lenient = preferences.lenient };
        submit(api, submission, specs, count);
    }
    mem_free(specs);
}
