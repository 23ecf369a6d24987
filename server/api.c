/* SPDX-License-Identifier: MIT */
#include "server/api.h"

#include "common/mem.h"
#include "server/access_log.h"
#include "server/keys.h"
#include "server/timing.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RETRY_AFTER_S       1
#define SECONDS_MAX         1e9
#define IDEMPOTENCY_KEY_MAX 128

static const struct route routes[] = {
    { HTTP_POST, "/v1/apply", api_apply, SCOPE_SUBMIT },
    { HTTP_POST, "/v1/map", api_map, SCOPE_SUBMIT },
    { HTTP_POST, "/v1/starmap", api_starmap, SCOPE_SUBMIT },
    { HTTP_POST, "/v1/imap", api_imap, SCOPE_SUBMIT },
    { HTTP_POST, "/v1/imap_unordered", api_imap_unordered, SCOPE_SUBMIT },
    { HTTP_POST, "/v1/apply_async", api_apply_async, SCOPE_SUBMIT },
    { HTTP_POST, "/v1/map_async", api_map_async, SCOPE_SUBMIT },
    { HTTP_POST, "/v1/starmap_async", api_starmap_async, SCOPE_SUBMIT },
    { HTTP_POST, "/v1/batch", api_batch, SCOPE_SUBMIT },
    { HTTP_GET, "/v1/jobs", api_jobs_list, SCOPE_READ },
    { HTTP_POST, "/v1/jobs/wait", api_jobs_wait, SCOPE_READ },
    { HTTP_POST, "/v1/jobs/as_completed", api_jobs_as_completed, SCOPE_READ },
    { HTTP_GET, "/v1/jobs/{id}", api_job_get, SCOPE_READ },
    { HTTP_DELETE, "/v1/jobs/{id}", api_job_delete, SCOPE_CANCEL },
    { HTTP_GET, "/v1/jobs/{id}/result", api_job_result, SCOPE_READ },
    { HTTP_GET, "/v1/jobs/{id}/results", api_job_results, SCOPE_READ },
    { HTTP_GET, "/v1/jobs/{id}/attempts", api_job_attempts, SCOPE_READ },
    { HTTP_GET, "/v1/jobs/{id}/events", api_job_events, SCOPE_READ },
    { HTTP_GET, "/v1/jobs/{id}/log", api_job_log, SCOPE_READ },
    { HTTP_POST, "/v1/jobs/{id}/cancel", api_job_cancel, SCOPE_CANCEL },
    { HTTP_POST, "/v1/jobs/{id}/retry", api_job_retry, SCOPE_SUBMIT },
    { HTTP_GET, "/v1/jobs/{id}/deliveries", api_job_deliveries, SCOPE_READ },
    { HTTP_POST, "/v1/jobs/{id}/redeliver", api_job_redeliver, SCOPE_SUBMIT },
    { HTTP_GET, "/v1/events", api_events, SCOPE_READ },
    { HTTP_GET, "/v1/pools", api_pools_list, SCOPE_ADMIN },
    { HTTP_POST, "/v1/pools", api_pool_post, SCOPE_ADMIN },
    { HTTP_GET, "/v1/pools/{name}", api_pool_get, SCOPE_ADMIN },
    { HTTP_PATCH, "/v1/pools/{name}", api_pool_patch, SCOPE_ADMIN },
    { HTTP_DELETE, "/v1/pools/{name}", api_pool_delete, SCOPE_ADMIN },
    { HTTP_POST, "/v1/pools/{name}/close", api_pool_close, SCOPE_ADMIN },
    { HTTP_POST, "/v1/pools/{name}/terminate", api_pool_terminate, SCOPE_ADMIN },
    { HTTP_POST, "/v1/pools/{name}/join", api_pool_join, SCOPE_ADMIN },
    { HTTP_GET, "/v1/workers", api_workers_list, SCOPE_ADMIN },
    { HTTP_GET, "/v1/tasks", api_tasks_list, SCOPE_READ },
    { HTTP_GET, "/v1/tasks/{name}", api_task_get, SCOPE_READ },
    { HTTP_POST, "/v1/admin/backup", api_admin_backup, SCOPE_ADMIN },
    { HTTP_GET, "/v1/info", api_info, SCOPE_READ },
    { HTTP_GET, "/healthz", api_healthz, 0 },
    { HTTP_GET, "/readyz", api_readyz, 0 },
    { HTTP_GET, "/metrics", api_metrics, SCOPE_ADMIN },
    { HTTP_GET, "/problems/{slug}", api_problem_get, 0 },
    { HTTP_GET, "/openapi.json", api_openapi_json, 0 },
    { HTTP_GET, "/openapi.yaml", api_openapi_yaml, 0 },
    { HTTP_GET, "/docs", api_docs, 0 },
    { HTTP_GET, "/v1/admin/keys", api_keys_list, SCOPE_ADMIN },
    { HTTP_POST, "/v1/admin/keys", api_key_post, SCOPE_ADMIN },
    { HTTP_DELETE, "/v1/admin/keys/{id}", api_key_delete, SCOPE_ADMIN },
    { HTTP_POST, "/v1/admin/keys/{id}/rotate", api_key_rotate, SCOPE_ADMIN },
};

#define ROUTE_COUNT (sizeof(routes) / sizeof(*routes))

unsigned api_route_count(void)
{
    return ROUTE_COUNT;
}

const struct route *api_route(unsigned number)
{
    return number < ROUTE_COUNT ? &routes[number] : NULL;
}

/* Their marks are the numbers from 1 on: 0 is that of requests that have not come here. */
void api_on_over(void *data, const struct http_record *record)
{
    const struct api *api = data;
    const struct request_tag *tag = record->tag;
    unsigned mark = request_mark(record->request);

    if (tag->counted)
        keys_end(api->keys, tag->owner);
    traffic_add(api->traffic, mark ? mark - 1 : (unsigned)ROUTE_COUNT, record->status,
                record->problem, record->duration_ns);
    access_log_write(api->config->access_log, mark ? routes[mark - 1].pattern : NULL,
                     record);
}

/* Whether the listener of the request has this route. */
static bool is_served(const struct api *api, const struct request *request,
                      const struct route *route)
{
    static const char *const both[] = { "/healthz", "/readyz", "/v1/info",
                                        "/problems/{slug}" };
    bool admin_only = strcmp(route->pattern, "/metrics") == 0 ||
                      strncmp(route->pattern, "/v1/admin/", 10) == 0;

    if (!api->config->admin_listen)
        return true;
    for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++)
        if (strcmp(route->pattern, both[i]) == 0)
            return true;
    return request_is_admin(request) == admin_only;
}

static struct route_match match_of(const struct request *request)
{
    struct route_match match;

    route_find(routes, ROUTE_COUNT, request_method(request), request_path(request),
               &match);
    return match;
}

bool api_is_fed(void *data, struct request *request)
{
    struct route_match match = match_of(request);
    struct request_tag *tag = request_tag(request);

    if (match.route && !is_served(data, request, match.route))
        match.route = NULL;
    tag->route = match.route;
    if (match.route)
        request_set_mark(request, (unsigned)(match.route - routes) + 1);
    tag->param = match.param;
    return match.route && api_body_is_ndjson(request) &&
           (match.route->handle == api_imap || match.route->handle == api_imap_unordered);
}

/* Nothing is at the path, or nothing for this method. */
static void answer_no_route(struct request *request)
{
    struct route_match match = match_of(request);
    struct reply reply;

    if (match.route) {
        api_problem(request, PROBLEM_NOT_FOUND,
                    request_is_admin(request) ? "this is on the other address (listen)"
                                              : "there is nothing at this path");
        return;
    }
    if (!match.known_path) {
        api_problem(request, PROBLEM_NOT_FOUND, "there is nothing at this path");
        return;
    }
    if (request_method(request) == HTTP_OPTIONS) {
        reply_init(&reply, 204, NULL);
    } else {
        reply_init_problem(&reply, PROBLEM_METHOD_NOT_ALLOWED,
                           (struct text){ match.allow, strlen(match.allow) });
        buf_add_char(&reply.body, '}');
    }
    reply_header(&reply, "Allow", "%s", match.allow);
    request_reply(request, &reply);
}

void api_handle(void *data, struct request *request)
{
    const struct request_tag *tag = request_tag(request);
    const struct route *route = tag->route;

    if (route)
        route->handle(data, request, tag->param);
    else
        answer_no_route(request);
}

/* ---- problems ---------------------------------------------------------------------- */

/* members: more of the problem's, each with a comma before it. */
static void problem_reply(struct request *request, enum problem problem,
                          const char *detail, struct text members, bool retry)
{
    struct reply reply;

    reply_init_problem(&reply, problem, (struct text){ detail, strlen(detail) });
    buf_add_str(&reply.body, ",\"instance\":");
    buf_add_json_string(&reply.body, request_path(request));
    buf_add_text(&reply.body, members);
    if (problem == PROBLEM_STORAGE_ERROR) /* unlike other answers with 503 */
        buf_add_str(&reply.body, ",\"outcome\":\"unknown\"");
    buf_add_char(&reply.body, '}');
    if (retry || problem == PROBLEM_NO_MEMORY)
        reply_header(&reply, "Retry-After", "%d", RETRY_AFTER_S);
    request_reply(request, &reply);
}

void api_problem(struct request *request, enum problem problem, const char *detail, ...)
{
    char text[512];
    va_list args;

    va_start(args, detail);
    (void)vsnprintf(text, sizeof(text), detail, args);
    va_end(args);
    problem_reply(request, problem, text, (struct text){ NULL, 0 }, false);
}

void api_refuse(struct request *request, const struct refusal *refusal)
{
    struct buf members = BUF_INIT;
    struct text errors = buf_text(&refusal->errors);

    if (errors.len) {
        buf_add_str(&members, ",\"errors\":[");
        buf_add_text(&members, errors);
        buf_add_char(&members, ']');
    }
    if (members.failed)
        api_problem_status(request, ST_NO_MEMORY);
    else
        problem_reply(request, refusal->problem, refusal->detail, buf_text(&members),
                      false);
    buf_clear(&members);
}

void api_problem_job(struct request *request, enum problem problem, const char *detail,
                     struct uuid job)
{
    char id[UUID_TEXT_LEN + 1], member[sizeof(id) + 16];
    int len;

    uuid_format(job, id);
    len = snprintf(member, sizeof(member), ",\"job\":\"%s\"", id);
    problem_reply(request, problem, detail, (struct text){ member, (size_t)len }, false);
}

void api_problem_retry(struct request *request, enum problem problem, const char *detail)
{
    problem_reply(request, problem, detail, (struct text){ NULL, 0 }, true);
}

static const struct {
    enum problem problem;
    bool retry;
    const char *detail;
} status_problems[ST_COUNT] = {
    [ST_NO_MEMORY] = { PROBLEM_NO_MEMORY, true, "the server is out of memory" },
    [ST_NOT_FOUND] = { PROBLEM_NOT_FOUND, false, "there is no such job" },
    [ST_STATE] = { PROBLEM_SHUTTING_DOWN, true, "the server is shutting down" },
    [ST_LIMIT] = { PROBLEM_QUEUE_FULL, true,
                   "jobs that are not over yet are as many as max_queued_jobs, or have "
                   "as many bytes as max_queued_bytes, allow" },
    [ST_GONE] = { PROBLEM_RESULT_GONE, false, "the input of the job is no longer kept" },
    [ST_CONFLICT] = { PROBLEM_UNIQUE_CONFLICT, false,
                      "a job with this unique_key is not over yet" },
    [ST_NOT_RUNNING] = { PROBLEM_POOL_CLOSED, false, "the pool is not running" },
    [ST_CORRUPT] = { PROBLEM_RESULT_CORRUPT, false,
                     "what is stored of this job does not match its checksum" },
    [ST_STORAGE_FULL] = { PROBLEM_STORAGE_FULL, true,
                          "the disk is full, or has less free space than disk_high" },
    [ST_UNKNOWN] = { PROBLEM_STORAGE_ERROR, true, "the disk failed during the commit" },
    [ST_IO] = { PROBLEM_STORAGE_UNREADABLE, true, "the store could not be read" },
    [ST_BUSY] = { PROBLEM_STORAGE_FULL, true,
                  "another program keeps the database locked; nothing was changed" },
    [ST_CLOSED] = { PROBLEM_SHUTTING_DOWN, true, "the server is shutting down" },
};

void api_problem_status(struct request *request, enum status st)
{
    const char *detail = status_problems[st].detail;

    problem_reply(request, detail ? status_problems[st].problem : PROBLEM_INTERNAL_ERROR,
                  detail ? detail : status_text(st), (struct text){ NULL, 0 },
                  status_problems[st].retry);
}

void api_timing_header(struct reply *reply, const struct live *live)
{
    char text[TIMING_TEXT_MAX];

    if (!live->timing.run_ns)
        return;
    timing_format(live->timing.queue_ns, live->timing.run_ns, live->timing.commit_ns,
                  text);
    reply_header_text(reply, "Server-Timing", text);
}

void api_reuse_header(struct reply *reply, enum reuse reuse)
{
    if (reuse == REUSE_REPLAYED)
        reply_header(reply, "Idempotent-Replayed", "true");
    else if (reuse == REUSE_EXISTING)
        reply_header(reply, "Poold-Existing", "true");
}

/* ---- preferences ------------------------------------------------------------------- */

/* Seconds as a decimal number, in milliseconds; false if it is none. */
static bool parse_seconds(const char *text, int64_t *ret_ms)
{
    char *end;
    double seconds;

    if (text[0] < '0' || text[0] > '9' || strpbrk(text, "xXpP"))
        return false;
    seconds = strtod(text, &end);
    if (*end || seconds > SECONDS_MAX)
        return false;
    *ret_ms = (int64_t)ceil(seconds * 1000);
    return true;
}

static void read_preference(const char *token, struct preferences *preferences)
{
    if (strcasecmp(token, "respond-async") == 0)
        preferences->respond_async = true;
    else if (strcasecmp(token, "return=minimal") == 0)
        preferences->minimal = true;
    else if (strcasecmp(token, "handling=lenient") == 0)
        preferences->lenient = true;
    else if (strncasecmp(token, "wait=", 5) == 0)
        preferences->has_wait = parse_seconds(token + 5, &preferences->wait_ms);
}

void api_preferences(const struct request *request, struct preferences *ret_preferences)
{
    const char *header = request_header(request, "Prefer");
    char copy[256], *rest = copy, *token;

    *ret_preferences = (struct preferences){ 0 };
    if (!header)
        return;
    (void)snprintf(copy, sizeof(copy), "%s", header);
    while ((token = strsep(&rest, ",;"))) {
        token += strspn(token, " \t");
        token[strcspn(token, " \t")] = '\0';
        read_preference(token, ret_preferences);
    }
}

void api_preferences_applied(struct reply *reply, const struct preferences *applied)
{
    char text[REPLY_VALUE_MAX] = "";
    size_t len = 0;

    if (applied->has_wait)
        len += (size_t)snprintf(text + len, sizeof(text) - len, ", wait=%g",
                                (double)applied->wait_ms / 1000);
    if (applied->respond_async)
        len += (size_t)snprintf(text + len, sizeof(text) - len, ", respond-async");
    if (applied->minimal)
        len += (size_t)snprintf(text + len, sizeof(text) - len, ", return=minimal");
    if (applied->lenient)
        len += (size_t)snprintf(text + len, sizeof(text) - len, ", handling=lenient");
    if (len)
        reply_header(reply, "Preference-Applied", "%s", text + 2);
}

/* ---- the query --------------------------------------------------------------------- */

struct query_read {
    struct query_param *params;
    size_t count;
    bool no_memory;
    char error[160];
};

static bool read_param(struct query_read *read, struct query_param *param,
                       const char *value)
{
    char *end;

    if (param->ret_string) {
        *param->ret_string = mem_strdup(value);
        read->no_memory |= !*param->ret_string;
        return value[0];
    }
    if (param->ret_bool) {
        *param->ret_bool = strcmp(value, "true") == 0;
        return *param->ret_bool || strcmp(value, "false") == 0;
    }
    if (param->ret_number) {
        errno = 0;
        *param->ret_number = strtoull(value, &end, 10);
        return value[0] >= '0' && value[0] <= '9' && !*end && !errno;
    }
    return parse_seconds(value, param->ret_ms);
}

static const char *param_wants(const struct query_param *param)
{
    return param->ret_string   ? "a text that is not empty"
           : param->ret_bool   ? "true or false"
           : param->ret_number ? "a whole number"
                               : "a number of seconds";
}

static bool each_param(void *data, const char *name, const char *value)
{
    struct query_read *read = data;

    for (size_t i = 0; i < read->count; i++) {
        struct query_param *param = &read->params[i];

        if (strcmp(param->name, name) != 0)
            continue;
        if (param->seen) {
            (void)snprintf(read->error, sizeof(read->error), "%s is given twice", name);
            return false;
        }
        param->seen = true;
        if (!read_param(read, param, value))
            (void)snprintf(read->error, sizeof(read->error), "%s: \"%.64s\" is not %s",
                           name, value, param_wants(param));
        return !read->error[0] && !read->no_memory;
    }
    (void)snprintf(read->error, sizeof(read->error),
                   "%.64s is not a parameter that is known "
                   "here",
                   name);
    return false;
}

bool api_query(struct request *request, struct query_param *params, size_t count)
{
    struct query_read read = { params, count, false, "" };

    request_query(request, each_param, &read);
    if (read.error[0])
        api_problem(request, PROBLEM_INVALID_PARAMETER, "%s", read.error);
    else if (read.no_memory)
        api_problem_status(request, ST_NO_MEMORY);
    return !read.error[0] && !read.no_memory;
}

/* ---- the body ---------------------------------------------------------------------- */

/* The characters of a header value without parameters' white space: "application/json",
 * optionally with charset=utf-8. */
static bool type_is(const char *type, const char *wanted)
{
    const char *rest;

    if (strncasecmp(type, wanted, strlen(wanted)) != 0)
        return false;
    rest = type + strlen(wanted);
    rest += strspn(rest, " \t");
    if (!*rest)
        return true;
    if (*rest++ != ';')
        return false;
    rest += strspn(rest, " \t");
    return strcasecmp(rest, "charset=utf-8") == 0 ||
           strcasecmp(rest, "charset=\"utf-8\"") == 0;
}

bool api_body_is_json(struct request *request)
{
    const char *type = request_header(request, "Content-Type");

    if (type && type_is(type, TYPE_JSON))
        return true;
    api_problem(request, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                type ? "Content-Type is %.80s; send application/json"
                     : "there is no Content-Type%s; send application/json",
                type ? type : "");
    return false;
}

bool api_body_is_ndjson(const struct request *request)
{
    const char *type = request_header(request, "Content-Type");

    return type && type_is(type, TYPE_NDJSON);
}

bool api_idempotency_key(struct request *request, const char **ret_key)
{
    size_t len;

    *ret_key = request_header(request, "Idempotency-Key");
    if (!*ret_key)
        return true;
    len = strlen(*ret_key);
    for (const char *c = *ret_key; *c; c++)
        if (*c < '!' || *c > '~')
            len = 0;
    if (len >= 1 && len <= IDEMPOTENCY_KEY_MAX)
        return true;
    api_problem(request, PROBLEM_INVALID_PARAMETER,
                "Idempotency-Key has to be 1 to 128 visible ASCII characters");
    return false;
}

static bool add_trace_state(void *data, const char *value)
{
    trace_state_add(data, value);
    return true;
}

const char *api_trace(const struct request *request, char ret_trace[TRACE_MAX + 1])
{
    const char *parent = request_header(request, "traceparent");
    struct trace_state state;

    if (!parent || !trace_parent_take(parent, ret_trace))
        return NULL;
    trace_state_init(&state);
    request_headers(request, "tracestate", add_trace_state, &state);
    trace_state_write(&state, ret_trace + TRACE_PARENT_LEN);
    return ret_trace;
}
