/* SPDX-License-Identifier: MIT */
/*
 * api - the HTTP API: parse, call dispatch, reply. One file per resource:
 *
 *     api.c           the table of routes; what all handlers share: problems,
 *                     preferences, query
 *     api_submit.c    POST /v1/apply, /v1/map, ... and their _async forms
 *     api_feed.c      /v1/imap and /v1/imap_unordered whose items come line by line
 *     api_batch.c     POST /v1/batch
 *     api_jobs.c      /v1/jobs, /v1/jobs/{id}, /cancel, /retry, DELETE
 *     api_futures.c   /v1/jobs/wait and /v1/jobs/as_completed
 *     api_attempts.c  /v1/jobs/{id}/attempts
 *     api_events.c    /v1/events, /v1/jobs/{id}/events
 *     api_results.c   /v1/jobs/{id}/result and /results
 *     api_pools.c     /v1/pools, /v1/workers, /v1/tasks, to look at
 *     api_pool_change.c  pools made, changed and ended
 *     api_admin.c     /v1/admin/backup
 *     api_server.c    /v1/info, /healthz, /readyz, /problems, /openapi, /docs
 *     api_metrics.c   /metrics
 *     api_admit.c     who may come in, and what he may do
 *     api_keys.c      /v1/admin/keys
 *     api_lookup.c    finding a job in memory or in the store, and waiting for it
 *
 * The full description of every route is openapi/poold.yaml.
 */
#ifndef SERVER_API_H
#define SERVER_API_H

#include "common/status.h"
#include "server/backup.h"
#include "server/callback.h"
#include "server/config.h"
#include "server/descriptors.h"
#include "server/dispatch.h"
#include "server/http.h"
#include "server/job_json.h"
#include "server/key.h"
#include "server/problem.h"
#include "server/refusal.h"
#include "server/route.h"
#include "server/trace.h"
#include "server/traffic.h"

#include <stdbool.h>
#include <stdint.h>

struct keys;

struct api {
    const struct config *config;
    struct dispatch *dispatch;
    const struct confinement *confinement;
    struct callback *callback;
    struct http *http;
    struct http *admin; /* the second listener, or NULL */
    int64_t started_at_ms;
    const struct task_folders *folders; /* NULL: there are none */
    struct disk *disk;                  /* NULL: nothing is stored */
    struct backup *backup;              /* NULL: there is no folder for them */
    struct traffic *traffic;            /* by number of route; see api_route */
    struct keys *keys;
    struct descriptors descriptors;
};

unsigned api_route_count(void);
/* The routes, by number; NULL behind the last one. */
const struct route *api_route(unsigned number);
/* One that is over, for the http_options of the server. */
void api_on_over(void *data, const struct http_record *record);

/* The http_on_request and http_is_fed of the server; data is the struct api. */
void api_handle(void *data, struct request *request);
http_is_fed api_is_fed;
http_admit api_admit; /* see api_admit.c */

/* ---- whose request it is ----------------------------------------------------------- */

/* The owner of jobs that this request makes; 0: nobody, there are no keys. */
uint64_t api_owner(struct request *request);
/* Whose jobs it may see: only this one's; 0: everybody's. */
uint64_t api_only_owner(struct request *request);
bool api_sees(struct request *request, uint64_t owner);
/* Its key; NULL: there are none, or it was revoked since the headers came. Valid until the
 * loop's next turn. */
const struct key *api_key(const struct api *api, struct request *request);
bool api_may_run(const struct api *api, struct request *request, const char *task);
/* Whether its key may not have so many more jobs, with inputs of so many bytes. */
bool api_over_quota(const struct api *api, struct request *request, size_t jobs,
                    uint64_t bytes);
void api_quota_problem(const struct api *api, struct request *request);

/* ---- replying ---------------------------------------------------------------------- */

#define TYPE_JSON    "application/json"
#define TYPE_PROBLEM "application/problem+json"
#define TYPE_NDJSON  "application/x-ndjson"

/* Answers with a problem; the detail is a printf format. */
void api_problem(struct request *request, enum problem problem, const char *detail, ...)
    PRINTF(3, 4);
/* Answers with what a parser has refused the request for, its `errors` included. */
void api_refuse(struct request *request, const struct refusal *refusal);
/* The problem for a status, where the status says it all; see the table in api.c. */
void api_problem_status(struct request *request, enum status st);
/* The same with the member `job`. */
void api_problem_job(struct request *request, enum problem problem, const char *detail,
                     struct uuid job);
/* Answers a retryable problem with Retry-After: seconds. */
void api_problem_retry(struct request *request, enum problem problem, const char *detail);

/* ---- reading a request ------------------------------------------------------------- */

/* RFC 7240. */
struct preferences {
    bool has_wait;
    int64_t wait_ms; /* not capped */
    bool respond_async;
    bool minimal;
    bool lenient;
};
/* Preferences that are not known, or not well-formed, are ignored, as the RFC wants it.
 */
void api_preferences(const struct request *request, struct preferences *ret_preferences);
/* Adds the header Preference-Applied, if any was applied. */
void api_preferences_applied(struct reply *reply, const struct preferences *applied);

/* One parameter of a query: exactly one of the pointers is set. */
struct query_param {
    const char *name;
    char **ret_string;    /* a copy; the caller frees it */
    bool *ret_bool;       /* "true" or "false" */
    uint64_t *ret_number; /* a whole number */
    int64_t *ret_ms;      /* a number of seconds, fractions allowed */
    bool seen;
};
/* Reads the query. A parameter that is not in the list, comes twice or has a wrong value
 * is answered with 400 and false is returned. */
bool api_query(struct request *request, struct query_param *params, size_t count);

/* Whether the body is declared as JSON; answers 415 if not. */
bool api_body_is_json(struct request *request);
/* The same for lines of JSON, without an answer. */
bool api_body_is_ndjson(const struct request *request);
/* The header Idempotency-Key, or NULL if there is none. Answers 400 and returns false if
 * it is not valid. */
bool api_idempotency_key(struct request *request, const char **ret_key);
/* The trace that the request is part of, in ret_trace; NULL if it has none that is valid. */
const char *api_trace(const struct request *request, char ret_trace[TRACE_MAX + 1]);

/* ---- pools ------------------------------------------------------------------------- */

/* The pool of a path. Answers 404 and returns NULL if there is none. */
struct lane *api_pool(struct api *api, struct request *request, struct text name);
void api_write_pool(struct buf *out, const struct api *api, const struct lane *lane);
/* Answers why a pool that is not running takes nothing. */
void api_pool_not_running(struct request *request, const struct lane *lane);

/* ---- jobs -------------------------------------------------------------------------- */

/* Whether a submission is answered with a job that existed before, and is told so by a
 * header. */
enum reuse {
    REUSE_NONE,
    REUSE_REPLAYED, /* Idempotent-Replayed: the same request once more */
    REUSE_EXISTING  /* Poold-Existing: that job has the unique_key */
};
void api_reuse_header(struct reply *reply, enum reuse reuse);
/* Server-Timing, of a job that has run since the start. */
void api_timing_header(struct reply *reply, const struct live *live);
/* What submissions of this request are checked against. Valid during the call. */
struct job_rules api_job_rules(struct api *api, struct request *request);
/* A request of imap or imap_unordered that is fed; see api_feed.c. */
void api_feed(struct api *api, struct request *request, enum job_method method);
/* Answers why dispatch_submit has refused a job of this pool, other than for its unique_key.
 */
void api_not_submitted(struct request *request, const struct lane *lane, enum status st);

/* A job as it is now, wherever it is. Valid during the call that gives it. */
struct job_view {
    struct live *live; /* NULL: it is in the store only */
    struct job_spec *spec;
    const struct job_status *status;
    const struct outcome *outcomes;
    size_t outcome_count;
    bool gone; /* input and outcomes are no longer kept */
    const struct attempt_log *attempts;
    /* The same when live is NULL; else NULL, or what the store has of a job that has let go
     * of outcomes, for those that follow it. May be emptied by the receiver. */
    struct stored_job *stored;
};
struct job_view view_of(struct live *live);

/* How a job is looked up, and what happens then. */
struct lookup {
    struct uuid id;     /* of a job that the request may see; others are not there */
    int64_t wait_ms;    /* how long to wait until it is ready; 0: not */
    bool for_change;    /* rather wait for any change */
    bool with_outcomes; /* needed if it is in the store */
    bool with_attempts; /* the same */
    bool with_log;      /* the same */
    bool whole;         /* one that is not over is needed whole in memory */
    /* Whether it is worth waiting, having seen the job; NULL: it is. */
    bool (*waits)(struct request *request, const struct job_view *view, void *data);
    /* Called once, with the request that is to be answered. `done` is what the caller
     * passed on. */
    void (*then)(struct api *api, struct request *request, const struct job_view *view,
                 void *data);
    void *data; /* freed with the lookup by mem_free */
};
/* Finds the job, waits, and calls `then`; or answers 404, 500 or 503 itself. Takes
 * lookup->data. */
void api_lookup(struct api *api, struct request *request, const struct lookup *lookup);
/* What GETs that may wait for a job have in common: the id of the path, `timeout` and Prefer.
 * Sets id, wait_ms and data (a struct preferences) of the lookup; or answers and returns
 * false. */
bool api_waiting_get(struct request *request, struct text param, struct lookup *lookup);
/* The id of a path. Answers 404 if it is none. */
bool api_job_id(struct request *request, struct text param, struct uuid *ret_id);

/* 200 or 202 with the job, and its ETag; 304 if the client has it already. */
void api_reply_job(struct request *request, int status, const struct job_view *view,
                   const struct preferences *preferences, enum reuse reuse);
/* What AsyncResult.get() says of a job that is ready: the result, or why there is none;
 * 410 if that is no longer kept. */
void api_reply_result(struct request *request, const struct job_view *view,
                      const struct preferences *applied, enum reuse reuse);
/* The outcomes of a job of imap or imap_unordered as a stream, to the call that made it
 * (which then has the job's window: it moves as the client reads, and ends with the
 * connection), or to one that only uses a job that existed. */
void api_reply_stream(struct request *request, const struct job_view *view,
                      const struct preferences *applied, enum reuse reuse);

/* ---- handlers, for the table of routes --------------------------------------------- */

route_handler api_apply, api_map, api_starmap, api_imap, api_imap_unordered;
route_handler api_apply_async, api_map_async, api_starmap_async;
route_handler api_batch;
route_handler api_jobs_list, api_job_get, api_job_delete, api_job_cancel, api_job_retry;
route_handler api_jobs_wait, api_jobs_as_completed;
route_handler api_job_result, api_job_results, api_job_attempts;
route_handler api_job_log;
route_handler api_job_deliveries, api_job_redeliver;
route_handler api_events, api_job_events;
route_handler api_pools_list, api_pool_get, api_workers_list, api_tasks_list,
    api_task_get;
route_handler api_pool_post, api_pool_patch, api_pool_delete;
route_handler api_pool_close, api_pool_terminate, api_pool_join;
/* Leaves to clients what the pools, as they are now, do not need. */
void api_share_descriptors(struct api *api);
/* What keeps the server from committing and dispatching; NULL if nothing. */
const char *api_not_ready(const struct api *api);
route_handler api_admin_backup;
route_handler api_info, api_healthz, api_readyz, api_problem_get;
route_handler api_metrics;
route_handler api_keys_list, api_key_post, api_key_delete, api_key_rotate;
route_handler api_openapi_json, api_openapi_yaml, api_docs;

#endif
