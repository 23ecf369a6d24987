/* SPDX-License-Identifier: MIT */
#include "server/access_log.h"

#include "common/log.h"
#include "server/key.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FIELDS_MAX 12
#define SHOWN_MAX  512 /* bytes of the path that are shown */
#define NUMBER_MAX 24

struct fields {
    struct log_field list[FIELDS_MAX];
    char numbers[FIELDS_MAX][NUMBER_MAX];
    size_t count;
};

static void add(struct fields *fields, const char *name, const char *value, size_t len)
{
    fields->list[fields->count++] = (struct log_field){ name, value, len, false };
}

static void add_text(struct fields *fields, const char *name, const char *value)
{
    add(fields, name, value, strlen(value));
}

static void add_number(struct fields *fields, const char *name, uint64_t value)
{
    char *text = fields->numbers[fields->count];
    int len = snprintf(text, NUMBER_MAX, "%" PRIu64, value);

    fields->list[fields->count++] = (struct log_field){ name, text, (size_t)len, true };
}

/* Milliseconds with their thousandths. */
static void add_duration(struct fields *fields, const char *name, uint64_t ns)
{
    char *text = fields->numbers[fields->count];
    int len = snprintf(text, NUMBER_MAX, "%" PRIu64 ".%03u", ns / 1000000,
                       (unsigned)(ns / 1000 % 1000));

    fields->list[fields->count++] = (struct log_field){ name, text, (size_t)len, true };
}

void access_log_write(enum access_log_mode mode, const char *route,
                      const struct http_record *record)
{
    bool error = record->status >= 400 || !record->status;
    enum log_level level = record->status >= 500 ? LOG_WARN : LOG_INFO;
    struct fields fields = { .count = 0 };
    char peer[HTTP_PEER_MAX], job[UUID_TEXT_LEN + 1], key[KEY_ID_LEN + 1];
    size_t path_len = strcspn(record->target, "?");

    if (mode == ACCESS_LOG_OFF || (mode == ACCESS_LOG_ERRORS && !error) ||
        !log_wants(level))
        return;
    if (request_id(record->request)[0]) /* else its headers have never been complete */
        add_text(&fields, "request_id", request_id(record->request));
    request_peer(record->request, peer);
    if (peer[0])
        add_text(&fields, "client", peer);
    if (record->tag->owner) {
        key_id_format(record->tag->owner, key);
        add_text(&fields, "key", key);
    }
    if (record->method[0])
        add_text(&fields, "method", record->method);
    if (route)
        add_text(&fields, "route", route);
    add(&fields, "path", record->target, path_len < SHOWN_MAX ? path_len : SHOWN_MAX);
    if (record->status)
        add_number(&fields, "status", (uint64_t)record->status);
    add_duration(&fields, "duration_ms", record->duration_ns);
    add_number(&fields, "bytes_in", record->bytes_in);
    add_number(&fields, "bytes_out", record->bytes_out);
    if (record->job) {
        uuid_format(*record->job, job);
        add_text(&fields, "job", job);
    }
    log_fields(level, record->status ? "request" : "request without an answer",
               fields.list, fields.count);
}
