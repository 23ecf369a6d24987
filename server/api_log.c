/* SPDX-License-Identifier: MIT */
/* GET /v1/jobs/{id}/log: what the tasks of a job have printed, as JSON or as plain text. */
#include "server/api.h"

#include "common/mem.h"
#include "server/json_load.h"

#include <jansson.h>
#include <string.h>

struct log_request {
    uint64_t item;
    bool has_item;
};

/* What workers have printed for items that have no outcome yet. */
static void append_running(struct buf *out, struct live *live)
{
    bool first = !live->log.oldest;
    const struct chunk *chunk;

    TAILQ_FOREACH (chunk, &live->chunks, link) {
        struct worker_trace trace;
        struct job_log_place place = { .count = 1 };

        if (!pool_chunk_output(live->lane->pool, chunk, &place.item, &trace) ||
            trace.output.len == 0)
            continue;
        place.attempt = job_item_attempt(&live->job, place.item);
        job_log_append(out, first, &place, &trace);
        first = false;
    }
}

static void write_log(struct buf *out, const struct job_view *view)
{
    static const struct job_log nothing = { 0 };

    if (view->live) {
        job_log_open(out, &view->live->log);
        append_running(out, view->live);
        job_log_close(out, &view->live->log);
    } else if (view->stored->log) {
        buf_add_text(out, blob_text(view->stored->log));
    } else {
        job_log_open(out, &nothing);
        job_log_close(out, &nothing);
    }
}

static bool is_of_item(const json_t *piece, uint64_t item)
{
    uint64_t first = (uint64_t)json_integer_value(json_object_get(piece, "item"));
    uint64_t count = (uint64_t)json_integer_value(json_object_get(piece, "count"));

    return item >= first && item - first < count;
}

static void keep_item(json_t *pieces, uint64_t item)
{
    for (size_t i = json_array_size(pieces); i-- > 0;)
        if (!is_of_item(json_array_get(pieces, i), item))
            (void)json_array_remove(pieces, i);
}

static void write_plain(struct buf *out, const json_t *pieces)
{
    const json_t *piece;
    size_t i;

    json_array_foreach(pieces, i, piece)
    {
        const json_t *output = json_object_get(piece, "output");

        buf_add(out, json_string_value(output), json_string_length(output));
    }
}

static int add_bytes(const char *bytes, size_t len, void *out)
{
    buf_add(out, bytes, len);
    return ((struct buf *)out)->failed ? -1 : 0;
}

/* Without an item, all of them; `plain` leaves the output alone of it. */
static void write_part(struct buf *out, struct text log, const struct log_request *wanted,
                       bool plain)
{
    bool no_memory;
    json_auto_t *loaded = json_load(log, 0, &no_memory);
    json_t *pieces = json_object_get(loaded, "log");

    if (!pieces) {
        out->failed = true;
        return;
    }
    if (wanted->has_item)
        keep_item(pieces, wanted->item);
    if (plain)
        write_plain(out, pieces);
    else if (json_dump_callback(loaded, add_bytes, out, JSON_COMPACT) != 0)
        out->failed = true;
}

/* JSON, unless plain text is asked for and JSON is not. */
static bool wants_plain(const struct request *request)
{
    const char *accept = request_header(request, "Accept");

    return accept && strstr(accept, "text/plain") && !strstr(accept, "application/json");
}

static void reply_log(struct api *api, struct request *request,
                      const struct job_view *view, void *data)
{
    const struct log_request *wanted = data;
    bool plain = wants_plain(request);
    struct buf whole = BUF_INIT;
    struct reply reply;

    (void)api;
    reply_init(&reply, 200, plain ? "text/plain; charset=utf-8" : TYPE_JSON);
    reply_header(&reply, "Vary", "Accept");
    if (plain || wanted->has_item) {
        write_log(&whole, view);
        write_part(&reply.body, buf_text(&whole), wanted, plain);
        reply.body.failed |= whole.failed;
        buf_clear(&whole);
    } else {
        write_log(&reply.body, view);
    }
    request_reply(request, &reply);
}

void api_job_log(struct api *api, struct request *request, struct text param)
{
    struct log_request *wanted = mem_zalloc(sizeof(*wanted));
    struct lookup lookup = { .with_log = true, .then = reply_log, .data = wanted };
    struct query_param params[] = { { .name = "item" } };

    if (!wanted) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    params[0].ret_number = &wanted->item;
    if (!api_job_id(request, param, &lookup.id) || !api_query(request, params, 1)) {
        mem_free(wanted);
        return;
    }
    wanted->has_item = params[0].seen;
    api_lookup(api, request, &lookup);
}
