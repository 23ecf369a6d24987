/* SPDX-License-Identifier: MIT */
/*
 * /metrics: what the parts have counted for themselves, gathered when somebody asks. What
 * is counted by request or job is a plain number on the loop's thread; what can be looked
 * up (processes, files) is looked up here.
 */
#include "server/api.h"

#include "common/clock.h"
#include "server/disk.h"
#include "server/http_tls.h"
#include "server/metrics.h"
#include "server/process_use.h"
#include "server/setting.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Tasks that have a label of their own; what others have is under this one. */
#define TASKS_MAX   200
#define OTHER_TASKS "(other)"

static void add_value(struct metrics_text *text, enum metric family, double value)
{
    metrics_family(text, family);
    metrics_add(text, value, NULL);
}

/* ---- settings ---------------------------------------------------------------------- */

static void add_limits(struct metrics_text *text, const struct config *config)
{
    double value;

    metrics_family(text, METRIC_LIMIT);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (setting_limit(&settings[i], config, &value))
            metrics_add(text, value, "setting", settings[i].name, NULL);
}

/* ---- jobs -------------------------------------------------------------------------- */

struct submitted {
    struct metrics_text *text;
    unsigned tasks;
    uint64_t others[JOB_METHOD_COUNT];
};

static void add_submitted_of(struct metrics_text *text, const char *task,
                             const uint64_t submitted[JOB_METHOD_COUNT])
{
    for (enum job_method method = 0; method < JOB_METHOD_COUNT; method++)
        if (submitted[method])
            metrics_add(text, (double)submitted[method], "task", task, "method",
                        job_method_names[method], NULL);
}

static void each_task(void *data, const char *task,
                      const uint64_t submitted[JOB_METHOD_COUNT])
{
    struct submitted *all = data;

    if (all->tasks++ < TASKS_MAX) {
        add_submitted_of(all->text, task, submitted);
        return;
    }
    for (enum job_method method = 0; method < JOB_METHOD_COUNT; method++)
        all->others[method] += submitted[method];
}

static void add_attempts(struct metrics_text *text, const struct dispatch_counts *counts)
{
    metrics_family(text, METRIC_ATTEMPTS);
    metrics_add(text, (double)counts->succeeded, "outcome", "succeeded", NULL);
    metrics_add(text, (double)counts->raised, "outcome", "raised", NULL);
    for (enum exit_cause cause = EXIT_CODE; cause < EXIT_CAUSE_COUNT; cause++)
        metrics_add(text, (double)counts->lost[cause], "outcome", exit_cause_names[cause],
                    NULL);
}

static void add_jobs(struct metrics_text *text, const struct api *api)
{
    const struct dispatch_counts *counts = dispatch_counts(api->dispatch);
    struct submitted submitted = { .text = text };

    metrics_family(text, METRIC_JOBS_SUBMITTED);
    dispatch_each_task(api->dispatch, each_task, &submitted);
    add_submitted_of(text, OTHER_TASKS, submitted.others);
    metrics_family(text, METRIC_JOBS_FINISHED);
    for (enum job_state state = 0; state < JOB_STATE_COUNT; state++)
        if (job_state_final(state))
            metrics_add(text, (double)counts->ended[state], "state",
                        job_state_names[state], NULL);
    metrics_family(text, METRIC_JOB_WAIT);
    metrics_add_histogram(text, &counts->wait, NULL);
    metrics_family(text, METRIC_JOB_RUN);
    metrics_add_histogram(text, &counts->run, NULL);
    add_attempts(text, counts);
    metrics_family(text, METRIC_WORKER_EXITS);
    for (enum exit_cause cause = 0; cause < EXIT_CAUSE_COUNT; cause++)
        metrics_add(text, (double)counts->worker_exits[cause], "cause",
                    exit_cause_names[cause], NULL);
}

/* ---- pools ------------------------------------------------------------------------- */

/* One sample of a family for each pool. */
static void add_by_pool(struct metrics_text *text, const struct api *api,
                        enum metric family, double (*value)(const struct lane *lane))
{
    const struct lane *lane;

    metrics_family(text, family);
    for (lane = dispatch_first_lane(api->dispatch); lane; lane = TAILQ_NEXT(lane, link))
        metrics_add(text, value(lane), "pool", lane->spec->name, NULL);
}

static double queued(const struct lane *lane)
{
    return (double)lane_queued(lane);
}

static double queue_memory(const struct lane *lane)
{
    return (double)(lane->queue.whole_bytes + lane->old.queue.whole_bytes);
}

static double oldest(const struct lane *lane)
{
    uint64_t now_ns = clock_mono_ns(), since_ns = lane->census.oldest_ns;

    return since_ns && now_ns > since_ns ? (double)(now_ns - since_ns) / NS_PER_SEC : 0;
}

static double processes(const struct lane *lane)
{
    return lane->spec->processes;
}

static void add_states(struct metrics_text *text, const struct api *api)
{
    const struct lane *lane;

    add_value(text, METRIC_JOBS_BYTES, (double)dispatch_bytes(api->dispatch));
    metrics_family(text, METRIC_JOBS);
    for (lane = dispatch_first_lane(api->dispatch); lane; lane = TAILQ_NEXT(lane, link))
        for (enum job_state state = 0; state < JOB_STATE_COUNT; state++)
            if (!job_state_final(state))
                metrics_add(text, (double)lane->census.states[state], "pool",
                            lane->spec->name, "state", job_state_names[state], NULL);
}

static void add_workers(struct metrics_text *text, const struct api *api)
{
    const struct lane *lane;

    metrics_family(text, METRIC_WORKERS);
    for (lane = dispatch_first_lane(api->dispatch); lane; lane = TAILQ_NEXT(lane, link)) {
        unsigned all[WORKER_STATE_COUNT] = { 0 }, some[WORKER_STATE_COUNT];

        for (unsigned i = 0; lane_pool_at(lane, i); i++) {
            pool_count_states(lane_pool_at(lane, i), some);
            for (enum worker_state state = 0; state < WORKER_STATE_COUNT; state++)
                all[state] += some[state];
        }
        for (enum worker_state state = 0; state < WORKER_STATE_COUNT; state++)
            metrics_add(text, all[state], "pool", lane->spec->name, "state",
                        worker_state_names[state], NULL);
    }
}

/* The newest forkserver's and what is below it; while tasks are reloaded the older one's
 * with it. */
static struct process_use use_of(const struct lane *lane)
{
    struct process_use all = { 0 };

    for (unsigned i = 0; lane_pool_at(lane, i); i++) {
        struct process_use one =
            process_use_of_tree(pool_forkserver_pid(lane_pool_at(lane, i)));

        all.processes += one.processes;
        all.resident_bytes += one.resident_bytes;
        all.cpu_seconds += one.cpu_seconds;
    }
    return all;
}

static void add_use(struct metrics_text *text, const struct api *api)
{
    static const enum metric families[] = { METRIC_WORKERS_MEMORY, METRIC_WORKERS_CPU,
                                            METRIC_WORKERS_PROCESSES };
    struct metrics_text each[3];
    struct buf bufs[3] = { BUF_INIT, BUF_INIT, BUF_INIT };
    const struct lane *lane;

    for (unsigned i = 0; i < 3; i++) {
        metrics_begin(&each[i], &bufs[i], text->format);
        metrics_family(&each[i], families[i]);
    }
    for (lane = dispatch_first_lane(api->dispatch); lane; lane = TAILQ_NEXT(lane, link)) {
        struct process_use use = use_of(lane);

        metrics_add(&each[0], (double)use.resident_bytes, "pool", lane->spec->name, NULL);
        metrics_add(&each[1], use.cpu_seconds, "pool", lane->spec->name, NULL);
        metrics_add(&each[2], (double)use.processes, "pool", lane->spec->name, NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        buf_add_text(text->out, buf_text(&bufs[i]));
        text->out->failed |= bufs[i].failed;
        buf_clear(&bufs[i]);
        buf_clear(&each[i].labels);
    }
}

static void add_pools(struct metrics_text *text, const struct api *api)
{
    int64_t mismatch = dispatch_take_census(api->dispatch);

    add_states(text, api);
    add_value(text, METRIC_STATE_MISMATCH, (double)mismatch);
    add_by_pool(text, api, METRIC_QUEUE_JOBS, queued);
    add_by_pool(text, api, METRIC_QUEUE_MEMORY, queue_memory);
    add_by_pool(text, api, METRIC_QUEUE_OLDEST, oldest);
    add_by_pool(text, api, METRIC_POOL_PROCESSES, processes);
    add_workers(text, api);
    add_use(text, api);
}

/* ---- the store --------------------------------------------------------------------- */

static void add_disk(struct metrics_text *text, struct disk *disk)
{
    struct disk_info info;

    disk_get_info(disk, &info);
    add_value(text, METRIC_DISK_FREE, (double)info.free_bytes);
    add_value(text, METRIC_DISK_SIZE, (double)info.total_bytes);
    add_value(text, METRIC_DISK_LEVEL, info.level);
}

static void add_store(struct metrics_text *text, const struct api *api)
{
    struct store *store = dispatch_store(api->dispatch);
    struct store_info info;

    store_get_info(store, &info);
    metrics_family(text, METRIC_COMMIT);
    metrics_add_histogram(text, &info.commit_ns, NULL);
    metrics_family(text, METRIC_COMMIT_COMMANDS);
    metrics_add_histogram(text, &info.commit_commands, NULL);
    add_value(text, METRIC_STORE_BACKLOG, (double)store_backlog(store));
    add_value(text, METRIC_STORE_WRITABLE, info.writable);
    add_value(text, METRIC_DATABASE_BYTES, (double)info.database_bytes);
    add_value(text, METRIC_WAL_BYTES, (double)info.wal_bytes);
    if (api->disk)
        add_disk(text, api->disk);
}

/* ---- the edge ---------------------------------------------------------------------- */

#define NO_ROUTE "(none)"

static const char *route_name(unsigned number)
{
    const struct route *route = api_route(number);

    return route ? route->pattern : NO_ROUTE;
}

static const char *route_method(unsigned number)
{
    const struct route *route = api_route(number);

    return route ? http_method_names[route->method] : NO_ROUTE;
}

static void add_codes(struct metrics_text *text, const struct traffic *traffic,
                      unsigned i)
{
    for (unsigned j = 0; j <= TRAFFIC_CODES; j++) {
        char code[8] = "other";

        if (!traffic->by_route[i].codes[j])
            continue;
        if (j < TRAFFIC_CODES)
            (void)snprintf(code, sizeof(code), "%u", traffic_codes[j]);
        if (j < TRAFFIC_CODES && !traffic_codes[j])
            (void)snprintf(code, sizeof(code), "none");
        metrics_add(text, (double)traffic->by_route[i].codes[j], "route", route_name(i),
                    "method", route_method(i), "code", code, NULL);
    }
}

/* All that a request can be refused with, 0 included, so that the first one is seen as a
 * rise. */
static void add_problems(struct metrics_text *text, const struct traffic *traffic)
{
    metrics_family(text, METRIC_HTTP_PROBLEMS);
    for (enum problem i = 0; i < PROBLEM_COUNT; i++)
        if (problem_is_of_request(i))
            metrics_add(text, (double)traffic->problems[i], "problem",
                        problem_infos[i].slug, NULL);
}

static void add_http(struct metrics_text *text, const struct api *api)
{
    const struct traffic *traffic = api->traffic;

    metrics_family(text, METRIC_CONNECTIONS);
    metrics_add(text, http_connections(api->http), "listener", "main", NULL);
    if (api->admin)
        metrics_add(text, http_connections(api->admin), "listener", "admin", NULL);
    add_value(text, METRIC_WAITERS, (double)dispatch_waiters(api->dispatch));
    metrics_family(text, METRIC_HTTP_REQUESTS);
    for (unsigned i = 0; i <= traffic->routes; i++)
        add_codes(text, traffic, i);
    add_problems(text, traffic);
    metrics_family(text, METRIC_HTTP_DURATION);
    for (unsigned i = 0; i <= traffic->routes; i++)
        if (histogram_count(&traffic->by_route[i].duration))
            metrics_add_histogram(text, &traffic->by_route[i].duration, "route",
                                  route_name(i), "method", route_method(i), NULL);
}

/* No sample without a certificate: 0 would be one that has long been over. */
static void add_tls(struct metrics_text *text)
{
    int64_t expires_s = http_tls_expires_s();

    metrics_family(text, METRIC_TLS_EXPIRY);
    if (expires_s)
        metrics_add(text, (double)expires_s, NULL);
}

static void add_deliveries(struct metrics_text *text, const struct api *api)
{
    const struct callback_counts *counts = callback_counts(api->callback);

    metrics_family(text, METRIC_DELIVERIES);
    metrics_add(text, (double)counts->delivered, "outcome", "delivered", NULL);
    metrics_add(text, (double)counts->failed, "outcome", "failed", NULL);
    metrics_add(text, (double)counts->given_up, "outcome", "given_up", NULL);
}

/* ---- the process ------------------------------------------------------------------- */

static void add_process(struct metrics_text *text, const struct api *api)
{
    struct process_use use = process_use_of(getpid());

    add_value(text, METRIC_PROCESS_CPU, use.cpu_seconds);
    add_value(text, METRIC_PROCESS_FDS, (double)process_open_fds());
    add_value(text, METRIC_PROCESS_MAX_FDS, (double)process_max_fds());
    add_value(text, METRIC_PROCESS_VIRTUAL, (double)use.virtual_bytes);
    add_value(text, METRIC_PROCESS_RESIDENT, (double)use.resident_bytes);
    add_value(text, METRIC_PROCESS_START, (double)api->started_at_ms / MS_PER_S);
    add_value(text, METRIC_PROCESS_THREADS, (double)use.threads);
}

static void add_log(struct metrics_text *text)
{
    metrics_family(text, METRIC_LOG_LINES);
    for (enum log_level level = 0; level < LOG_LEVEL_COUNT; level++)
        metrics_add(text, (double)log_lines(level), "level", log_level_names[level],
                    NULL);
    add_value(text, METRIC_LOG_DROPPED, (double)log_dropped());
}

void api_metrics(struct api *api, struct request *request, struct text param)
{
    enum metrics_format format = metrics_format_of(request_header(request, "Accept"));
    struct metrics_text text;
    struct reply reply;

    (void)param;
    if (!api_query(request, NULL, 0))
        return;
    reply_init(&reply, 200, metrics_content_types[format]);
    reply_header(&reply, "Vary", "Accept");
    reply_header(&reply, "Cache-Control", "no-store");
    metrics_begin(&text, &reply.body, format);
    metrics_family(&text, METRIC_BUILD_INFO);
    metrics_add(&text, 1, "version", POOLD_VERSION, NULL);
    add_value(&text, METRIC_READY, api_not_ready(api) == NULL);
    add_limits(&text, api->config);
    add_jobs(&text, api);
    add_pools(&text, api);
    add_store(&text, api);
    add_http(&text, api);
    add_tls(&text);
    add_deliveries(&text, api);
    add_log(&text);
    add_process(&text, api);
    metrics_end(&text);
    request_reply(request, &reply);
}
