/* SPDX-License-Identifier: MIT */
#include "server/job_log.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/json_load.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

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

/* A piece as far as its output, which is a string of JSON. */
static void open_piece(struct buf *out, const struct job_log_place *place,
                       const struct worker_trace *trace, bool cut)
{
    char at[CLOCK_TEXT_LEN + 1];

    clock_format(clock_wall_ms(), at);
    buf_addf(out,
             "{\"item\":%llu,\"count\":%llu,\"attempt\":%u,\"pid\":%d,\"at\":\"%s\","
             "\"truncated\":%s,\"output\":",
             (unsigned long long)place->item, (unsigned long long)place->count,
             place->attempt, (int)trace->pid, at, cut ? "true" : "false");
}

void job_log_append(struct buf *out, bool first, const struct job_log_place *place,
                    const struct worker_trace *trace)
{
    if (!first)
        buf_add_char(out, ',');
    open_piece(out, place, trace, trace->output_cut);
    buf_add_json_bytes(out, trace->output);
    buf_add_char(out, '}');
}

/* Behind the character, or the escape, that a string of JSON has at p. */
static const char *next_character(const char *p)
{
    if (*p == '\\')
        return p + (p[1] == 'u' ? 6 : 2);
    do
        p++;
    while (((unsigned char)*p & 0xC0) == 0x80);
    return p;
}

/* Adds the longest end of a string of JSON, `string`, that fits into `room` bytes, as a
 * string. False: nothing of it does. */
static bool add_end(struct buf *out, struct text string, size_t room)
{
    const char *p = string.at + 1, *closing = string.at + string.len - 1;

    while (p < closing && (size_t)(closing - p) + 2 > room)
        p = next_character(p);
    if (p == closing)
        return false;
    buf_add_char(out, '"');
    buf_add(out, p, (size_t)(closing + 1 - p));
    return true;
}

/* Writes the piece, and not more than max bytes: the beginning of its output goes. False:
 * there is no room for any of it, or no memory. */
static bool write_within(struct buf *out, const struct job_log_place *place,
                         const struct worker_trace *trace, size_t max)
{
    struct text output = trace->output;
    struct buf string = BUF_INIT;
    bool written = true;

    if (output.len > max) { /* no byte of it is less than one of JSON */
        output.at += output.len - max;
        output.len = max;
    }
    buf_add_json_bytes(&string, output);
    open_piece(out, place, trace, trace->output_cut);
    if (out->len + string.len + 1 <= max) {
        buf_add_text(out, buf_text(&string));
    } else {
        buf_reset(out);
        open_piece(out, place, trace, true);
        written = !string.failed && out->len < max &&
                  add_end(out, buf_text(&string), max - out->len - 1);
    }
    buf_add_char(out, '}');
    written = written && !string.failed && !out->failed;
    buf_clear(&string);
    return written;
}

void job_log_add(struct job_log *log, const struct job_log_place *place,
                 const struct worker_trace *trace, size_t max)
{
    struct buf json = BUF_INIT;

    if (trace->output.len == 0 && !trace->output_cut)
        return;
    if (trace->output.len == 0 || !write_within(&json, place, trace, max) ||
        !add_json(log, buf_text(&json)))
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
