/* SPDX-License-Identifier: MIT */
#include "server/api.h"

#include "common/clock.h"
#include "server/setting.h"

#include <stddef.h>
#include <string.h>

/* Made at build time; see scripts/embed.cmake. */
extern const unsigned char embed_openapi_yaml[], embed_openapi_json[], embed_docs_html[];
extern const size_t embed_openapi_yaml_len, embed_openapi_json_len, embed_docs_html_len;

/* What tasks are held by here and now. */
static void write_confinement(struct buf *out, const struct confinement *plan)
{
    struct confine_support support = confine_support();

    buf_addf(out, ",\"confinement\":{\"no_new_privs\":true,\"seccomp\":%s,\"landlock\":",
             plan->sandbox && support.seccomp ? "true" : "false");
    if (plan->sandbox && support.landlock)
        buf_addf(out, "%d", support.landlock);
    else
        buf_add_str(out, "null");
    if (plan->has_user)
        buf_addf(out, ",\"user\":%u", plan->uid);
    else
        buf_add_str(out, ",\"user\":null");
    buf_add_str(out, ",\"cgroup\":");
    if (plan->cgroup.base) {
        buf_add_str(out, "{\"dir\":");
        buf_add_json_bytes(out,
                           (struct text){ plan->cgroup.base, strlen(plan->cgroup.base) });
        buf_addf(out, ",\"kill\":%s,\"memory\":%s,\"pids\":%s}}",
                 plan->cgroup.kill ? "true" : "false",
                 plan->cgroup.memory ? "true" : "false",
                 plan->cgroup.pids ? "true" : "false");
    } else {
        buf_add_str(out, "null}");
    }
}

/* The disk that jobs are stored on; null if they are not. */
static void write_disk(struct buf *out, struct disk *disk)
{
    struct disk_info info;

    if (!disk) {
        buf_add_str(out, ",\"disk\":null");
        return;
    }
    disk_get_info(disk, &info);
    buf_addf(out,
             ",\"disk\":{\"state\":\"%s\",\"free_bytes\":%llu,\"total_bytes\":%llu,"
             "\"disk_high\":%llu,\"disk_low\":%llu,\"ballast_bytes\":%llu}",
             disk_level_names[info.level], (unsigned long long)info.free_bytes,
             (unsigned long long)info.total_bytes, (unsigned long long)info.marks.high,
             (unsigned long long)info.marks.low, (unsigned long long)info.ballast_bytes);
}

/* Whether work is held back because the disk is full. */
static bool disk_is_full(struct disk *disk)
{
    struct disk_info info = { .level = DISK_ENOUGH };

    if (disk)
        disk_get_info(disk, &info);
    return info.level == DISK_FULL;
}

/* The key that the request came with, and what it has in jobs. */
static void write_own_key(struct buf *out, const struct api *api, struct request *request)
{
    const struct key *key = api_key(api, request);
    struct dispatch_usage usage;

    if (!key) {
        buf_add_str(out, "null");
        return;
    }
    usage = dispatch_usage(api->dispatch, key->id);
    key_write(out, key);
    if (!out->failed)
        out->len--; /* the brace */
    buf_addf(out, ",\"queued\":%zu,\"queued_bytes\":%llu}", usage.jobs,
             (unsigned long long)usage.bytes);
}

/* Zero is no limit where that is the default, and else what it says. */
static void write_limits(struct buf *out, const struct config *config)
{
    const char *before = ",\"limits\":{";
    double value;

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (!setting_limit(&settings[i], config, &value))
            continue;
        buf_addf(out, "%s\"%s\":", before, settings[i].name);
        if (value == 0 && strcmp(settings[i].initial, "0") == 0)
            buf_add_str(out, "null");
        else
            buf_addf(out, "%.17g", value);
        before = ",";
    }
    buf_add_char(out, '}');
}

void api_info(struct api *api, struct request *request, struct text param)
{
    const struct config *config = api->config;
    struct store_info store;
    struct reply reply;
    char started[CLOCK_TEXT_LEN + 1];

    (void)param;
    if (!api_query(request, NULL, 0))
        return;
    store_get_info(dispatch_store(api->dispatch), &store);
    clock_format(api->started_at_ms, started);
    reply_init(&reply, 200, TYPE_JSON);
    buf_addf(
        &reply.body,
        "{\"name\":\"poold\",\"version\":\"" POOLD_VERSION "\",\"started_at\":\"%s\","
        "\"store\":{\"kind\":\"%s\",\"schema_version\":%d},\"durability\":{\"waiting\":"
        "\"%s\",\"async\":\"%s\"}",
        started, store.kind, store.schema_version, durability_names[DURABILITY_RELAXED],
        durability_names[DURABILITY_DURABLE]);
    write_limits(&reply.body, config);
    buf_add_str(&reply.body, ",\"key\":");
    write_own_key(&reply.body, api, request);
    write_confinement(&reply.body, api->confinement);
    write_disk(&reply.body, api->disk);
    buf_add_char(&reply.body, '}');
    request_reply(request, &reply);
}

void api_healthz(struct api *api, struct request *request, struct text param)
{
    struct reply reply;

    (void)api;
    (void)param;
    reply_init(&reply, 200, TYPE_JSON);
    buf_add_str(&reply.body, "{\"status\":\"alive\"}");
    request_reply(request, &reply);
}

static bool has_no_worker(const struct lane *lane)
{
    return lane->state == POOL_RUNNING && !lane_idle(lane) && !lane_busy(lane);
}

const char *api_not_ready(const struct api *api)
{
    struct store_info store;
    struct lane *lane;

    if (dispatch_draining(api->dispatch))
        return "the server is shutting down";
    store_get_info(dispatch_store(api->dispatch), &store);
    if (!store.writable)
        return "the store cannot commit; the log says why";
    if (disk_is_full(api->disk))
        return "the disk is full, no work is handed out";
    /* Other pools are their makers' business. */
    lane = dispatch_first_lane(api->dispatch);
    if (has_no_worker(lane))
        return "no worker is up; the log says why";
    return NULL;
}

/* "pool a: no worker is up (reason), pool b: ..." */
static void write_pools_down(struct buf *out, const struct api *api)
{
    const struct lane *lane;

    for (lane = dispatch_first_lane(api->dispatch); lane; lane = TAILQ_NEXT(lane, link)) {
        const char *why = pool_start_error(lane->pool);

        if (!has_no_worker(lane))
            continue;
        buf_addf(out, "%spool %s: no worker is up", out->len ? ", " : "",
                 lane->spec->name);
        if (*why)
            buf_addf(out, " (%s)", why);
    }
    if (out->failed)
        buf_reset(out);
}

void api_readyz(struct api *api, struct request *request, struct text param)
{
    const char *reason = api_not_ready(api);
    struct buf down = BUF_INIT, detail = BUF_INIT;
    struct reply reply;

    (void)param;
    write_pools_down(&down, api);
    if (reason) {
        buf_addf(&detail, "%s%s%.*s", reason, down.len ? "; " : "", (int)down.len,
                 down.len ? down.data : "");
        buf_add_char(&detail, '\0');
        api_problem_retry(request, PROBLEM_NOT_READY,
                          detail.failed ? reason : detail.data);
    } else {
        reply_init(&reply, 200, TYPE_JSON);
        buf_add_str(&reply.body, "{\"status\":\"ready\"");
        if (down.len) {
            buf_add_str(&reply.body, ",\"detail\":");
            buf_add_json_bytes(&reply.body, buf_text(&down));
        }
        buf_add_char(&reply.body, '}');
        request_reply(request, &reply);
    }
    buf_clear(&down);
    buf_clear(&detail);
}

void api_problem_get(struct api *api, struct request *request, struct text param)
{
    enum problem problem = problem_find(param);
    struct reply reply;

    (void)api;
    if (problem == PROBLEM_COUNT) {
        api_problem(request, PROBLEM_NOT_FOUND, "there is no problem of this name");
        return;
    }
    reply_init(&reply, 200, TYPE_JSON);
    problem_open(&reply.body, problem, (struct text){ NULL, 0 });
    buf_addf(&reply.body, ",\"explanation\":");
    buf_add_json_string(&reply.body,
                        (struct text){ problem_infos[problem].explanation,
                                       strlen(problem_infos[problem].explanation) });
    buf_add_char(&reply.body, '}');
    request_reply(request, &reply);
}

static void reply_file(struct request *request, const char *type,
                       const unsigned char *bytes, size_t len)
{
    struct reply reply;

    if (!api_query(request, NULL, 0))
        return;
    reply_init(&reply, 200, type);
    buf_add(&reply.body, bytes, len);
    request_reply(request, &reply);
}

void api_openapi_json(struct api *api, struct request *request, struct text param)
{
    (void)api;
    (void)param;
    reply_file(request, TYPE_JSON, embed_openapi_json, embed_openapi_json_len);
}

void api_openapi_yaml(struct api *api, struct request *request, struct text param)
{
    (void)api;
    (void)param;
    reply_file(request, "application/yaml", embed_openapi_yaml, embed_openapi_yaml_len);
}

void api_docs(struct api *api, struct request *request, struct text param)
{
    (void)api;
    (void)param;
    reply_file(request, "text/html; charset=utf-8", embed_docs_html, embed_docs_html_len);
}
