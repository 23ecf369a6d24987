/* SPDX-License-Identifier: MIT */
#include "server/delivery.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/json_load.h"
#include "server/webhook.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const delivery_state_names[DELIVERY_STATE_COUNT] = {
    [DELIVERY_PENDING] = "pending",
    [DELIVERY_DELIVERED] = "delivered",
    [DELIVERY_GIVEN_UP] = "given_up",
};

/* ---- one --------------------------------------------------------------------------- */

enum status delivery_of_end(const struct job_spec *spec, const struct job_status *status,
                            struct delivery *ret_delivery)
{
    const char *url = job_spec_callback(spec, status->state);
    struct buf body = BUF_INIT;
    struct delivery delivery = { .job = spec->id,
                                 .created_at_ms = status->finished_at_ms,
                                 .due_at_ms = status->finished_at_ms };

    if (!url)
        return ST_NOT_FOUND;
    webhook_write(&body, spec, status);
    delivery.url = mem_strdup(url);
    delivery.body = body.failed ? NULL : mem_strndup(body.data, body.len);
    delivery.attempts = mem_strdup("[]");
    buf_clear(&body);
    if (!delivery.url || !delivery.body || !delivery.attempts) {
        delivery_clear(&delivery);
        return ST_NO_MEMORY;
    }
    *ret_delivery = delivery;
    return ST_OK;
}

enum status delivery_copy(const struct delivery *from, struct delivery *ret_copy)
{
    *ret_copy = *from;
    ret_copy->url = mem_strdup(from->url);
    ret_copy->body = mem_strdup(from->body);
    ret_copy->attempts = mem_strdup(from->attempts);
    if (ret_copy->url && ret_copy->body && ret_copy->attempts)
        return ST_OK;
    delivery_clear(ret_copy);
    return ST_NO_MEMORY;
}

void delivery_clear(struct delivery *delivery)
{
    mem_free(delivery->url);
    mem_free(delivery->body);
    mem_free(delivery->attempts);
    memset(delivery, 0, sizeof(*delivery));
}

bool delivery_same(const struct delivery *a, const struct delivery *b)
{
    return a->number == b->number && uuid_equal(a->job, b->job);
}

/* The new text of the attempts, or NULL. Freed with free(). */
static char *with_attempt(const char *attempts, json_t *attempt)
{
    bool no_memory;
    json_t *array = json_load((struct text){ attempts, strlen(attempts) }, 0, &no_memory);
    char *text = NULL;

    if (no_memory)
        return NULL;
    if (!json_is_array(array)) { /* damaged on the disk: begin anew */
        json_decref(array);
        array = json_array();
    }
    if (json_array_append(array, attempt) == 0) {
        while (json_array_size(array) > DELIVERY_ATTEMPTS_MAX)
            (void)json_array_remove(array, 0);
        text = json_dumps(array, JSON_COMPACT);
    }
    json_decref(array);
    return text;
}

enum status delivery_add_attempt(struct delivery *delivery, int64_t at_ms, long status,
                                 const char *error)
{
    char at[CLOCK_TEXT_LEN + 1];
    char *text = NULL, *copy = NULL;
    json_t *attempt;

    clock_format(at_ms, at);
    attempt = json_pack("{s:s, s:o, s:o}", "at", at, "status",
                        status ? json_integer(status) : json_null(), "error",
                        error ? json_string(error) : json_null());
    if (attempt)
        text = with_attempt(delivery->attempts, attempt);
    if (text)
        copy = mem_strdup(text);
    free(text);
    json_decref(attempt);
    delivery->tries++;
    if (!copy)
        return ST_NO_MEMORY;
    mem_free(delivery->attempts);
    delivery->attempts = copy;
    return ST_OK;
}

void delivery_renew(struct delivery *delivery, int64_t now_ms)
{
    delivery->state = DELIVERY_PENDING;
    delivery->tries = 0;
    delivery->due_at_ms = now_ms;
}

void delivery_id(const struct delivery *delivery, char ret_text[DELIVERY_ID_MAX])
{
    char job[UUID_TEXT_LEN + 1];

    uuid_format(delivery->job, job);
    (void)snprintf(ret_text, DELIVERY_ID_MAX, "%s-%u", job, (unsigned)delivery->number);
}

void delivery_write(struct buf *out, const struct delivery *delivery)
{
    char id[DELIVERY_ID_MAX], created[CLOCK_TEXT_LEN + 1], due[CLOCK_TEXT_LEN + 1];

    delivery_id(delivery, id);
    clock_format(delivery->created_at_ms, created);
    clock_format(delivery->due_at_ms, due);
    buf_addf(out, "{\"id\":\"%s\",\"url\":", id);
    buf_add_json_string(out, (struct text){ delivery->url, strlen(delivery->url) });
    buf_addf(out, ",\"state\":\"%s\",\"created_at\":\"%s\",\"next_attempt_at\":",
             delivery_state_names[delivery->state], created);
    if (delivery->state == DELIVERY_PENDING)
        buf_addf(out, "\"%s\"", due);
    else
        buf_add_str(out, "null");
    buf_addf(out, ",\"attempts\":%s}", delivery->attempts);
}

/* ---- in memory --------------------------------------------------------------------- */

void outbox_clear(struct outbox *outbox)
{
    delivery_list_free(outbox->items, outbox->count);
    memset(outbox, 0, sizeof(*outbox));
}

enum status outbox_add(struct outbox *outbox, const struct job_spec *spec,
                       const struct job_status *status)
{
    struct delivery delivery;
    enum status st = delivery_of_end(spec, status, &delivery);

    if (st != ST_OK)
        return st;
    if (outbox->count == outbox->cap) {
        size_t cap = outbox->cap ? 2 * outbox->cap : 16;
        struct delivery *items = mem_realloc(outbox->items, cap * sizeof(*items));

        if (!items) {
            delivery_clear(&delivery);
            return ST_NO_MEMORY;
        }
        outbox->items = items;
        outbox->cap = cap;
    }
    delivery.number = 1;
    for (size_t i = 0; i < outbox->count; i++)
        delivery.number += uuid_equal(outbox->items[i].job, spec->id);
    outbox->items[outbox->count++] = delivery;
    return ST_OK;
}

enum status outbox_put(struct outbox *outbox, const struct delivery *delivery)
{
    for (size_t i = 0; i < outbox->count; i++) {
        struct delivery copy;
        enum status st;

        if (!delivery_same(&outbox->items[i], delivery))
            continue;
        st = delivery_copy(delivery, &copy);
        if (st != ST_OK)
            return st;
        delivery_clear(&outbox->items[i]);
        outbox->items[i] = copy;
        return ST_OK;
    }
    return ST_NOT_FOUND;
}

static void drop(struct outbox *outbox, size_t i)
{
    delivery_clear(&outbox->items[i]);
    outbox->count--;
    memmove(&outbox->items[i], &outbox->items[i + 1],
            (outbox->count - i) * sizeof(*outbox->items));
}

void outbox_drop_job(struct outbox *outbox, struct uuid job)
{
    for (size_t i = outbox->count; i-- > 0;)
        if (uuid_equal(outbox->items[i].job, job))
            drop(outbox, i);
}

void outbox_drop_oldest(struct outbox *outbox)
{
    size_t i = 0;

    while (i < outbox->count && outbox->items[i].state == DELIVERY_PENDING)
        i++;
    if (outbox->count)
        drop(outbox, i < outbox->count ? i : 0);
}

static int compare_due(const void *a, const void *b)
{
    const struct delivery *const *left = a, *const *right = b;
    int64_t x = (*left)->due_at_ms, y = (*right)->due_at_ms;

    return (x > y) - (x < y);
}

static bool matches(const struct delivery *delivery, const struct delivery_query *query)
{
    return query->of_job ? uuid_equal(delivery->job, query->job)
                         : delivery->state == DELIVERY_PENDING;
}

enum status outbox_list(const struct outbox *outbox, const struct delivery_query *query,
                        struct delivery **ret_list, size_t *ret_count)
{
    const struct delivery **found = mem_alloc((outbox->count + 1) * sizeof(*found));
    struct delivery *list = mem_zalloc(query->limit * sizeof(*list));
    enum status st = found && list ? ST_OK : ST_NO_MEMORY;
    size_t matching = 0, count = 0;

    for (size_t i = outbox->count; st == ST_OK && i-- > 0;)
        if (matches(&outbox->items[i], query))
            found[matching++] = &outbox->items[i];
    if (st == ST_OK && !query->of_job)
        qsort(found, matching, sizeof(*found), compare_due);
    for (size_t i = 0; st == ST_OK && i < matching && count < query->limit; i++) {
        st = delivery_copy(found[i], &list[count]);
        count += st == ST_OK;
    }
    mem_free(found);
    if (st != ST_OK) {
        delivery_list_free(list, list ? count : 0);
        return st;
    }
    *ret_list = list;
    *ret_count = count;
    return ST_OK;
}

void delivery_list_free(struct delivery *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        delivery_clear(&list[i]);
    mem_free(list);
}
