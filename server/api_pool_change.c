/* SPDX-License-Identifier: MIT */
/*
 * Pools made, changed and ended: POST and PATCH /v1/pools, /close, /terminate, /join,
 * DELETE.
 *
 * What changes is done at once and shown by the answer, which waits until the store has
 * it.
 */
#include "server/api.h"

#include "common/log.h"
#include "common/mem.h"
#include "server/failure.h"
#include "server/pool_json.h"

#include <string.h>

/* ---- problems ---------------------------------------------------------------------- */

void api_pool_not_running(struct request *request, const struct lane *lane)
{
    struct blob *problem = NULL;
    struct reply reply;

    if (lane->state != POOL_BROKEN) {
        api_problem(request, PROBLEM_POOL_CLOSED, "the pool %s is %s", lane->spec->name,
                    pool_state_names[lane->state]);
        return;
    }
    if (lane->fault)
        problem = failure_of_pool(NULL, lane->spec->name, blob_text(lane->fault));
    if (!problem) {
        api_problem(request, PROBLEM_BROKEN_POOL,
                    "the initializer of pool %s keeps failing", lane->spec->name);
        return;
    }
    reply_init(&reply, problem_infos[PROBLEM_BROKEN_POOL].status, TYPE_PROBLEM);
    reply.problem = PROBLEM_BROKEN_POOL;
    buf_add_text(&reply.body, blob_text(problem));
    blob_unref(problem);
    request_reply(request, &reply);
}

static void refuse(struct request *request, enum status st, const char *name)
{
    switch (st) {
    case ST_EXISTS:
        api_problem(request, PROBLEM_POOL_EXISTS,
                    "there is a pool %s, or it is still ending", name);
        break;
    case ST_LIMIT:
        api_problem(request, PROBLEM_TOO_MANY_PROCESSES,
                    "all pools together would have more than max_processes");
        break;
    case ST_DENIED:
        api_problem(request, PROBLEM_POOL_DEFAULT, "%s is the default pool", name);
        break;
    case ST_IO:
        api_problem(request, PROBLEM_INTERNAL_ERROR,
                    "the process that forks workers cannot be started");
        break;
    default:
        api_problem_status(request, st);
    }
}

/* ---- descriptors ------------------------------------------------------------------- */

/* Sums of all pools; of those that have workers with the tasks of before, these, too. */
static void count_processes(const struct api *api, uint64_t *ret_pools,
                            uint64_t *ret_processes)
{
    const struct lane *lane = dispatch_first_lane(api->dispatch);

    *ret_pools = *ret_processes = 0;
    for (; lane; lane = TAILQ_NEXT(lane, link)) {
        unsigned sets = lane->old.pool ? 2 : 1;

        *ret_pools += sets;
        *ret_processes += (uint64_t)sets * lane->spec->processes;
    }
}

void api_share_descriptors(struct api *api)
{
    uint64_t pools, processes;
    unsigned connections;

    count_processes(api, &pools, &processes);
    connections = descriptors_share(&api->descriptors, pools - 1, processes);
    if (connections == http_max_connections(api->http))
        return;
    http_set_max_connections(api->http, connections);
    log_info("the workers leave clients another number of descriptors",
             "connections=%u processes=%llu open_files=%llu", connections,
             (unsigned long long)processes, (unsigned long long)api->descriptors.limit);
}

/* Whether there may be so many pools and processes more; answers if not. */
static bool descriptors_suffice(const struct api *api, struct request *request,
                                unsigned more_pools, unsigned more_processes)
{
    uint64_t pools, processes;

    count_processes(api, &pools, &processes);
    if (descriptors_hold(&api->descriptors, pools - 1 + more_pools,
                         processes + more_processes))
        return true;
    api_problem(
        request, PROBLEM_TOO_MANY_PROCESSES,
        "the server may have %llu descriptors (open files) only: %llu processes in "
        "%llu pools would leave clients too few",
        (unsigned long long)api->descriptors.limit,
        (unsigned long long)(processes + more_processes),
        (unsigned long long)(pools + more_pools));
    return false;
}

/* ---- answers that wait for the store ----------------------------------------------- */

struct change {
    struct request *request; /* NULL: its client has gone */
    struct reply reply;
};

static void on_gone(void *data)
{
    struct change *change = data;

    change->request = NULL;
}

static void on_stored(void *data, enum status st)
{
    struct change *change = data;

    if (change->request && st == ST_OK) {
        request_reply(change->request, &change->reply);
    } else {
        reply_clear(&change->reply);
        if (change->request)
            api_problem_status(change->request, st);
    }
    mem_free(change);
}

/* NULL after an answer. */
static struct change *change_new(struct request *request, int status, const char *type)
{
    struct change *change = mem_zalloc(sizeof(*change));

    if (!change) {
        api_problem_status(request, ST_NO_MEMORY);
        return NULL;
    }
    change->request = request;
    reply_init(&change->reply, status, type);
    return change;
}

/* The pool as it is now, as soon as that is stored. */
static void answer_pool(struct api *api, struct request *request, struct lane *lane,
                        const struct preferences *applied, int status)
{
    struct change *change = change_new(request, status, TYPE_JSON);

    if (!change) {
        dispatch_record_pool(lane, NULL, NULL);
        return;
    }
    api_write_pool(&change->reply.body, api, lane);
    if (status == 201)
        reply_header(&change->reply, "Location", "/v1/pools/%s", lane->spec->name);
    if (applied)
        api_preferences_applied(&change->reply, applied);
    request_park(request, on_gone, change);
    dispatch_record_pool(lane, on_stored, change);
}

/* ---- making and changing ----------------------------------------------------------- */

/* Answers and returns NULL if the request is refused. */
static struct pool_spec *read_spec(const struct api *api, struct request *request,
                                   struct pool_intake *intake,
                                   struct preferences *ret_applied)
{
    struct preferences preferences;
    struct refusal refusal;
    struct pool_spec *spec = NULL;

    if (!api_body_is_json(request) || !api_query(request, NULL, 0) ||
        !api_idempotency_key(request, &intake->idempotency_key))
        return NULL;
    api_preferences(request, &preferences);
    *ret_applied = (struct preferences){ .lenient = preferences.lenient };
    intake->lenient = preferences.lenient;
    intake->max_depth = (unsigned)api->config->max_json_depth;
    if (pool_json_parse(request_body(request), intake, &spec, &refusal) != ST_OK)
        api_refuse(request, &refusal);
    refusal_clear(&refusal);
    return spec;
}

/* Whether the request came before with this key; then it is answered. */
static bool replayed(struct api *api, struct request *request,
                     const struct pool_spec *spec)
{
    struct lane *lane = dispatch_first_lane(api->dispatch);
    struct change *change;

    while (lane && (!spec->idempotency_key || !lane->spec->idempotency_key ||
                    strcmp(lane->spec->idempotency_key, spec->idempotency_key) != 0))
        lane = TAILQ_NEXT(lane, link);
    if (!lane)
        return false;
    if (lane->spec->request_hash != spec->request_hash) {
        api_problem(request, PROBLEM_IDEMPOTENCY_MISMATCH,
                    "this Idempotency-Key came with another body before");
        return true;
    }
    change = change_new(request, 201, TYPE_JSON);
    if (!change)
        return true;
    api_write_pool(&change->reply.body, api, lane);
    reply_header(&change->reply, "Location", "/v1/pools/%s", lane->spec->name);
    reply_header(&change->reply, "Idempotent-Replayed", "true");
    request_park(request, on_gone, change);
    dispatch_record_pool(lane, on_stored, change); /* behind the first one's commit */
    return true;
}

void api_pool_post(struct api *api, struct request *request, struct text param)
{
    struct pool_intake intake = {
        .processes = (unsigned)api->config->processes,
        .maxtasksperchild = api->config->max_tasks_per_child,
    };
    struct preferences applied;
    struct pool_spec *spec = read_spec(api, request, &intake, &applied);
    char name[NAME_LEN_MAX + 1];
    struct lane *lane;
    enum status st;

    (void)param;
    if (!spec)
        return;
    if (replayed(api, request, spec)) {
        pool_spec_unref(spec);
        return;
    }
    if (!descriptors_suffice(api, request, 1, spec->processes)) {
        pool_spec_unref(spec);
        return;
    }
    (void)snprintf(name, sizeof(name), "%s", spec->name);
    st = dispatch_make_pool(api->dispatch, spec, &lane);
    if (st != ST_OK) {
        refuse(request, st, name);
        return;
    }
    api_share_descriptors(api);
    answer_pool(api, request, lane, &applied, 201);
}

void api_pool_patch(struct api *api, struct request *request, struct text param)
{
    struct lane *lane = api_pool(api, request, param);
    struct pool_intake intake = { 0 };
    struct preferences applied;
    struct pool_spec *spec;
    enum status st;

    if (!lane)
        return;
    intake.old = lane->spec;
    spec = read_spec(api, request, &intake, &applied);
    if (!spec)
        return;
    if (spec->processes > lane->spec->processes &&
        !descriptors_suffice(api, request, 0, spec->processes - lane->spec->processes)) {
        pool_spec_unref(spec);
        return;
    }
    st = dispatch_change_pool(lane, spec);
    if (st == ST_NOT_RUNNING) {
        api_pool_not_running(request, lane);
    } else if (st != ST_OK) {
        refuse(request, st, lane->spec->name);
    } else {
        api_share_descriptors(api);
        answer_pool(api, request, lane, &applied, 200);
    }
}

/* ---- ending ------------------------------------------------------------------------ */

static void end_pool(struct api *api, struct request *request, struct text name,
                     enum status (*end)(struct lane *lane))
{
    struct lane *lane = api_pool(api, request, name);
    enum status st;

    if (!lane || !api_query(request, NULL, 0))
        return;
    st = end(lane);
    if (st != ST_OK)
        refuse(request, st, lane->spec->name);
    else
        answer_pool(api, request, lane, NULL, 200);
}

void api_pool_close(struct api *api, struct request *request, struct text param)
{
    end_pool(api, request, param, dispatch_close_pool);
}

void api_pool_terminate(struct api *api, struct request *request, struct text param)
{
    end_pool(api, request, param, dispatch_terminate_pool);
}

void api_pool_delete(struct api *api, struct request *request, struct text param)
{
    struct lane *lane = api_pool(api, request, param);
    struct change *change;
    enum status st;

    if (!lane || !api_query(request, NULL, 0))
        return;
    change = change_new(request, 204, NULL);
    if (!change)
        return;
    st = dispatch_delete_pool(lane, on_stored, change);
    if (st == ST_OK) {
        api_share_descriptors(api);
        request_park(request, on_gone, change);
        return;
    }
    reply_clear(&change->reply);
    mem_free(change);
    refuse(request, st, lane->spec->name);
}

/* ---- joining ----------------------------------------------------------------------- */

struct joining {
    struct api *api;
    struct request *request;
    struct lane *lane;
    struct waiter *waiter;
    struct preferences applied;
};

static void answer_join(struct joining *joining)
{
    struct reply reply;

    reply_init(&reply, joining->lane->stopped ? 200 : 202, TYPE_JSON);
    api_write_pool(&reply.body, joining->api, joining->lane);
    api_preferences_applied(&reply, &joining->applied);
    request_reply(joining->request, &reply);
    mem_free(joining);
}

static void on_joined(void *data, enum wake wake, enum status st)
{
    (void)wake;
    (void)st;
    answer_join(data);
}

static void on_joiner_gone(void *data)
{
    struct joining *joining = data;

    waiter_end(joining->waiter);
    mem_free(joining);
}

/* How long to wait; false after an answer. */
static bool read_wait(struct api *api, struct request *request,
                      struct preferences *ret_applied, int64_t *ret_ms)
{
    struct query_param params[] = { { .name = "timeout", .ret_ms = ret_ms } };
    struct preferences preferences;

    *ret_ms = api->config->max_wait_ms;
    if (!api_query(request, params, 1))
        return false;
    api_preferences(request, &preferences);
    *ret_applied = (struct preferences){ 0 };
    if (preferences.has_wait && !params[0].seen) {
        ret_applied->has_wait = true;
        *ret_ms = preferences.wait_ms;
    }
    if (*ret_ms > api->config->max_wait_ms)
        *ret_ms = api->config->max_wait_ms;
    ret_applied->wait_ms = *ret_ms;
    return true;
}

void api_pool_join(struct api *api, struct request *request, struct text param)
{
    struct lane *lane = api_pool(api, request, param);
    struct preferences applied;
    struct joining *joining;
    int64_t wait_ms;

    if (!lane || !read_wait(api, request, &applied, &wait_ms))
        return;
    if (lane->state == POOL_RUNNING) {
        api_problem(request, PROBLEM_POOL_RUNNING, "Pool is still running");
        return;
    }
    joining = mem_zalloc(sizeof(*joining));
    if (!joining) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    *joining = (struct joining){ api, request, lane, NULL, applied };
    if (lane->stopped || wait_ms == 0) {
        answer_join(joining);
        return;
    }
    joining->waiter = dispatch_join_pool(lane, wait_ms, on_joined, joining);
    if (joining->waiter) {
        request_park(request, on_joiner_gone, joining);
        return;
    }
    mem_free(joining);
    api_problem_retry(request, PROBLEM_TOO_MANY_WAITERS,
                      "as many requests wait as max_waiters allows");
}
