/* SPDX-License-Identifier: MIT */
#include "server/api.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/pool_json.h"
#include "server/task_folders.h"
#include "workers/registry.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- pools ------------------------------------------------------------------------- */

static const char *state_of(const struct api *api, const struct lane *lane)
{
    return lane->state == POOL_RUNNING && dispatch_draining(api->dispatch)
               ? "draining"
               : pool_state_names[lane->state];
}

/* Why the pool is broken, or else why it has trouble with starting workers now. */
static void write_error(struct buf *out, const struct lane *lane)
{
    const char *trouble = pool_start_error(lane->pool);

    if (lane->state == POOL_BROKEN && lane->fault) {
        buf_add_text(out, blob_text(lane->fault));
    } else if (lane->state == POOL_RUNNING && trouble[0]) {
        buf_add_str(out, "{\"type\":\"OSError\",\"message\":");
        buf_add_json_string(out, (struct text){ trouble, strlen(trouble) });
        buf_add_char(out, '}');
    } else {
        buf_add_str(out, "null");
    }
}

void api_write_pool(struct buf *out, const struct api *api, const struct lane *lane)
{
    buf_add_char(out, '{');
    pool_json_write(out, lane->spec);
    buf_addf(out, ",\"state\":\"%s\",\"error\":", state_of(api, lane));
    write_error(out, lane);
    buf_addf(out,
             ",\"queue_length\":%zu,\"busy\":%u,\"idle\":%u,\"totals\":{\"jobs\":%llu,"
             "\"items\":%llu,\"workers_lost\":%llu}}",
             lane_queued(lane), lane_busy(lane), lane_idle(lane),
             (unsigned long long)lane->jobs_total, (unsigned long long)lane->items_total,
             (unsigned long long)lane_workers_lost(lane));
}

struct lane *api_pool(struct api *api, struct request *request, struct text name)
{
    struct lane *lane = dispatch_first_lane(api->dispatch);

    while (lane && !text_equals(name, lane->spec->name))
        lane = TAILQ_NEXT(lane, link);
    if (!lane)
        api_problem(request, PROBLEM_NOT_FOUND, "there is no such pool");
    return lane;
}

void api_pools_list(struct api *api, struct request *request, struct text param)
{
    struct reply reply;
    struct lane *lane;

    (void)param;
    if (!api_query(request, NULL, 0))
        return;
    reply_init(&reply, 200, TYPE_JSON);
    buf_add_str(&reply.body, "{\"pools\":[");
    for (lane = dispatch_first_lane(api->dispatch); lane; lane = TAILQ_NEXT(lane, link)) {
        if (lane != dispatch_first_lane(api->dispatch))
            buf_add_char(&reply.body, ',');
        api_write_pool(&reply.body, api, lane);
    }
    buf_add_str(&reply.body, "]}");
    request_reply(request, &reply);
}

void api_pool_get(struct api *api, struct request *request, struct text param)
{
    struct reply reply;
    struct lane *lane;

    if (!api_query(request, NULL, 0))
        return;
    lane = api_pool(api, request, param);
    if (!lane)
        return;
    reply_init(&reply, 200, TYPE_JSON);
    api_write_pool(&reply.body, api, lane);
    request_reply(request, &reply);
}

/* ---- workers ----------------------------------------------------------------------- */

/* What /proc says of a process (proc(5)); false if it has gone. */
static bool process_usage(pid_t pid, unsigned long long *ret_rss_bytes, double *ret_cpu_s)
{
    unsigned long user_ticks, system_ticks;
    long rss_pages;
    char path[32], line[1024];
    const char *after_name;
    FILE *file;
    size_t len;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    len = fread(line, 1, sizeof(line) - 1, file);
    (void)fclose(file);
    line[len] = '\0';
    after_name = strrchr(line, ')'); /* the name may hold anything, even ')' */
    if (!after_name ||
        sscanf(after_name + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d "
               "%*d %*u %*u %ld",
               &user_ticks, &system_ticks, &rss_pages) != 3)
        return false;
    *ret_rss_bytes =
        (unsigned long long)rss_pages * (unsigned long long)sysconf(_SC_PAGESIZE);
    *ret_cpu_s = (double)(user_ticks + system_ticks) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

static void write_worker(struct buf *out, const struct pool *pool,
                         const struct worker_info *info)
{
    unsigned long long rss_bytes;
    double cpu_s;
    uint64_t age_ns = clock_mono_ns() - info->since_ns;
    char since[CLOCK_TEXT_LEN + 1], id[UUID_TEXT_LEN + 1];

    clock_format(clock_wall_ms() - (int64_t)(age_ns / NS_PER_MS), since);
    if (info->pid)
        buf_addf(out, "{\"pid\":%d", (int)info->pid);
    else
        buf_add_str(out, "{\"pid\":null");
    buf_addf(out, ",\"pool\":\"%s\",\"state\":\"%s\",\"alive\":true,\"exitcode\":null",
             pool_name(pool), worker_state_names[info->state]);
    if (info->chunk) {
        const struct live *live = info->chunk->owner;

        uuid_format(live->job.spec->id, id);
        buf_addf(out, ",\"job\":\"%s\",\"item\":%llu", id,
                 (unsigned long long)info->item);
    } else {
        buf_add_str(out, ",\"job\":null,\"item\":null");
    }
    buf_addf(out, ",\"since\":\"%s\",\"tasks_done\":%llu", since,
             (unsigned long long)info->items_done);
    if (info->pid && process_usage(info->pid, &rss_bytes, &cpu_s))
        buf_addf(out, ",\"rss_bytes\":%llu,\"cpu_seconds\":%.2f}", rss_bytes, cpu_s);
    else
        buf_add_str(out, ",\"rss_bytes\":null,\"cpu_seconds\":null}");
}

/* *written is how many have been written before, and is raised. */
static bool write_workers(struct buf *out, const struct pool *pool, size_t *written)
{
    size_t cap = 2 * (size_t)pool_processes(pool) + 16; /* some may be on their way out */
    struct worker_info *infos = mem_alloc(cap * sizeof(*infos));
    size_t count;

    if (!infos)
        return false;
    count = pool_workers(pool, infos, cap);
    for (size_t i = 0; i < count; i++) {
        if ((*written)++)
            buf_add_char(out, ',');
        write_worker(out, pool, &infos[i]);
    }
    mem_free(infos);
    return true;
}

void api_workers_list(struct api *api, struct request *request, struct text param)
{
    struct reply reply;
    struct lane *lane;
    size_t written = 0;

    (void)param;
    if (!api_query(request, NULL, 0))
        return;
    reply_init(&reply, 200, TYPE_JSON);
    buf_add_str(&reply.body, "{\"workers\":[");
    for (lane = dispatch_first_lane(api->dispatch); lane; lane = TAILQ_NEXT(lane, link))
        for (unsigned i = 0; lane_pool_at(lane, i); i++)
            if (!write_workers(&reply.body, lane_pool_at(lane, i), &written)) {
                reply_clear(&reply);
                api_problem_status(request, ST_NO_MEMORY);
                return;
            }
    buf_add_str(&reply.body, "]}");
    request_reply(request, &reply);
}

/* ---- tasks ------------------------------------------------------------------------- */

static void write_string(struct buf *out, const char *string)
{
    buf_add_json_bytes(out, (struct text){ string, strlen(string) });
}

static void add_seconds_or_null(struct buf *out, int64_t ms)
{
    if (ms)
        buf_addf(out, "%g", (double)ms / 1000);
    else
        buf_add_str(out, "null");
}

/* With a comma before each; null is none. */
static void write_limits(struct buf *out, const struct limits *limits)
{
    buf_add_str(out, ",\"" CPU_LIMIT_NAME "\":");
    add_seconds_or_null(out, limits->cpu_ms);
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        if (limits->at[i])
            buf_addf(out, ",\"%s\":%llu", limit_kinds[i].name,
                     (unsigned long long)limits->at[i]);
        else
            buf_addf(out, ",\"%s\":null", limit_kinds[i].name);
    }
}

static void write_task(struct buf *out, const struct api *api, const struct task *task)
{
    int64_t time_limit_ms =
        task->time_limit_ms ? task->time_limit_ms : api->config->time_limit_ms;
    struct limits limits = limits_or(&task->limits, &api->config->limits);

    buf_addf(out, "{\"name\":\"%s\",\"summary\":", task->name);
    write_string(out, task->summary);
    buf_add_str(out, ",\"signature\":");
    write_string(out, task->signature);
    buf_addf(out, ",\"runtime\":\"%s\",\"file\":", task_runtime_names[task->runtime]);
    if (task->file)
        write_string(out, task->file);
    else
        buf_add_str(out, "null");
    buf_add_str(out, ",\"limits\":{\"time_limit\":");
    add_seconds_or_null(out, time_limit_ms);
    buf_addf(out, ",\"max_result_bytes\":%llu",
             (unsigned long long)api->config->max_result_bytes);
    write_limits(out, &limits);
    buf_add_str(out, "}}");
}

static void write_refused(struct buf *out, const struct task_folders *folders)
{
    const struct catalog *catalog = folders ? task_folders_catalog(folders) : NULL;
    const char *comma = "";

    for (size_t i = 0; catalog && i < catalog->file_count; i++) {
        const struct catalog_file *file = &catalog->files[i];

        if (!file->refused)
            continue;
        buf_addf(out, "%s{\"file\":", comma);
        write_string(out, file->path);
        buf_add_str(out, ",\"reason\":");
        write_string(out, file->refused);
        buf_add_char(out, '}');
        comma = ",";
    }
}

void api_tasks_list(struct api *api, struct request *request, struct text param)
{
    const char *comma = "";
    struct reply reply;

    (void)param;
    if (!api_query(request, NULL, 0))
        return;
    reply_init(&reply, 200, TYPE_JSON);
    buf_add_str(&reply.body, "{\"tasks\":[");
    for (size_t i = 0; i < registry_count(); i++) {
        if (!api_may_run(api, request, registry_at(i)->name))
            continue;
        buf_add_str(&reply.body, comma);
        write_task(&reply.body, api, registry_at(i));
        comma = ",";
    }
    buf_add_str(&reply.body, "],\"refused\":[");
    if (!api_only_owner(request))
        write_refused(&reply.body, api->folders);
    buf_add_str(&reply.body, "]}");
    request_reply(request, &reply);
}

void api_task_get(struct api *api, struct request *request, struct text param)
{
    const struct task *task = registry_find(param);
    struct reply reply;

    if (!api_query(request, NULL, 0))
        return;
    if (!task || !api_may_run(api, request, task->name)) {
        api_problem(request, PROBLEM_NOT_FOUND, "there is no such task");
        return;
    }
    reply_init(&reply, 200, TYPE_JSON);
    write_task(&reply.body, api, task);
    request_reply(request, &reply);
}
