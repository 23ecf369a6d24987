/* SPDX-License-Identifier: MIT */
#include "server/job_log.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/json_load.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define ESCAPED_MAX 6 /* bytes of JSON for one byte of output: \u001b */

struct job_log_piece {
    struct job_log_piece *next;
    size_t len;
    char json[];
};

static void drop_oldest(struct job_log *log)
{
    struct job_log_piece *piece = log->oldest;

    log->oldest = piece->next;
    if (!log->oldest)
        log->newest = NULL;
    log->bytes -= piece->len;
    mem_free(piece);
}

void job_log_clear(struct job_log *log)
{
    while (log->oldest)
        drop_oldest(log);
    memset(log, 0, sizeof(*log));
}

static bool add_json(struct job_log *log, struct text json)
{
    struct job_log_piece *piece = mem_alloc(sizeof(*piece) + json.len);

    if (!piece)
        return false;
    piece->next = NULL;
    piece->len = json.len;
    memcpy(piece->json, json.at, json.len);
    if (log->newest)
        log->newest->next = piece;
    else
        log->oldest = piece;
    log->newest = piece;
    log->bytes += json.len;
    return true;
}

/* The end of the output that fits into `max` bytes of JSON whatever it holds. */
static struct text fitting(struct text output, size_t max, bool *cut)
{
    size_t keep = max / ESCAPED_MAX;

    if (output.len <= keep)
        return output;
    *cut = true;
    return (struct text){ output.at + output.len - keep, keep };
}

void job_log_append(struct buf *out, bool first, const struct job_log_place *place,
                    const struct worker_trace *trace)
{
    char at[CLOCK_TEXT_LEN + 1];

    clock_format(clock_wall_ms(), at);
    buf_addf(out,
             "%s{\"item\":%llu,\"count\":%llu,\"attempt\":%u,\"pid\":%d,\"at\":\"%s\","
             "\"truncated\":%s,\"output\":",
             first ? "" : ",", (unsigned long long)place->item,
             (unsigned long long)place->count, place->attempt, (int)trace->pid, at,
             trace->output_cut ? "true" : "false");
    buf_add_json_bytes(out, trace->output);
    buf_add_char(out, '}');
}

void job_log_add(struct job_log *log, const struct job_log_place *place,
                 const struct worker_trace *trace, size_t max)
{
    struct worker_trace kept = *trace;
    struct buf json = BUF_INIT;

    if (trace->output.len == 0 && !trace->output_cut)
        return;
    kept.output = fitting(trace->output, max, &kept.output_cut);
    if (kept.output.len > 0)
        job_log_append(&json, true, place, &kept);
    if (json.len == 0 || json.failed || !add_json(log, buf_text(&json)))
        log->dropped++;
    buf_clear(&json);
    while (log->bytes > max && log->oldest != log->newest) {
        drop_oldest(log);
        log->dropped++;
    }
}

void job_log_open(struct buf *out, const struct job_log *log)
{
    buf_add_str(out, "{\"log\":[");
    for (const struct job_log_piece *piece = log->oldest; piece; piece = piece->next) {
        if (piece != log->oldest)
            buf_add_char(out, ',');
        buf_add(out, piece->json, piece->len);
    }
}

void job_log_close(struct buf *out, const struct job_log *log)
{
    buf_addf(out, "],\"dropped\":%llu}", (unsigned long long)log->dropped);
}

struct blob *job_log_blob(const struct job_log *log)
{
    struct buf out = BUF_INIT;

    if (!log->oldest && !log->dropped)
        return NULL;
    job_log_open(&out, log);
    job_log_close(&out, log);
    return buf_take_blob(&out);
}

enum status job_log_restore(struct job_log *log, struct text json)
{
    bool no_memory;
    json_auto_t *loaded = json_load(json, JSON_REJECT_DUPLICATES, &no_memory);
    const json_t *pieces = json_object_get(loaded, "log"), *piece;
    const json_t *dropped = json_object_get(loaded, "dropped");
    size_t i;

    if (no_memory)
        return ST_NO_MEMORY;
    if (!json_is_array(pieces) || !json_is_integer(dropped) ||
        json_integer_value(dropped) < 0)
        return ST_CORRUPT;
    json_array_foreach(pieces, i, piece)
    {
        char *text = json_dumps(piece, JSON_COMPACT);
        bool ok = text && add_json(log, (struct text){ text, strlen(text) });

        free(text);
        if (!ok) {
            job_log_clear(log);
            return ST_NO_MEMORY;
        }
    }
    log->dropped = (uint64_t)json_integer_value(dropped);
    return ST_OK;
}
