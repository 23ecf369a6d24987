/* SPDX-License-Identifier: MIT */
#include "server/callback.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/courier.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Those that are on their way are among the first that are due. */
#define LOOK_LIMIT (2 * CALLBACK_PARALLEL_MAX)
/* Due times are wall time, which may jump: it is looked at this often. */
#define LOOK_MAX_MS  60000
#define LOOK_FAIL_MS 1000 /* after a failure to look or to send for lack of memory */
#define JITTER       0.2
#define STATUS_GONE  410

/* A delivery on its way; until its outcome is recorded, so that it is not sent again. */
struct sending {
    TAILQ_ENTRY(sending) link;
    struct callback *callback;
    struct delivery delivery;
    bool in_memory;
    int64_t began_at_ms;
};

struct callback {
    struct store *store;
    struct callback_options options;
    struct courier *courier;
    uv_timer_t timer;
    TAILQ_HEAD(, sending) sendings;
    unsigned sending_count;
    struct outbox outbox; /* of jobs of durability `memory` */
    bool looking, look_again, stopped;
    struct callback_counts counts;
    int64_t next_due_ms; /* while what is due is looked through; INT64_MAX: none */
    unsigned short random[3];
};

static void look(struct callback *callback);

/* ---- pauses ------------------------------------------------------------------------ */

static const int64_t pauses_s[CALLBACK_ATTEMPTS_MAX - 1] = { 5,     300,   1800,
                                                             7200,  18000, 36000,
                                                             50400, 72000, 86400 };

int64_t callback_pause_ms(int64_t backoff_ms, uint32_t tries)
{
    assert(tries >= 1 && tries < CALLBACK_ATTEMPTS_MAX);
    return pauses_s[tries - 1] * backoff_ms / pauses_s[0];
}

static int64_t pause_with_jitter_ms(struct callback *callback, uint32_t tries)
{
    int64_t pause_ms = callback_pause_ms(callback->options.backoff_ms, tries);

    return pause_ms + (int64_t)((double)pause_ms * JITTER * erand48(callback->random));
}

/* ---- what became of one ------------------------------------------------------------ */

static struct sending *find_sending(const struct callback *callback,
                                    const struct delivery *delivery)
{
    struct sending *sending;

    TAILQ_FOREACH (sending, &callback->sendings, link)
        if (delivery_same(&sending->delivery, delivery))
            return sending;
    return NULL;
}

static void sending_free(struct sending *sending)
{
    TAILQ_REMOVE(&sending->callback->sendings, sending, link);
    sending->callback->sending_count--;
    delivery_clear(&sending->delivery);
    mem_free(sending);
}

static void on_recorded(void *data, enum status st)
{
    struct sending *sending = data;
    struct callback *callback = sending->callback;

    if (st != ST_OK && st != ST_NOT_FOUND) /* not found: its job was deleted */
        log_error("what became of a callback could not be stored", "status=\"%s\"",
                  status_text(st));
    sending_free(sending);
    look(callback);
}

static void record(struct sending *sending)
{
    struct callback *callback = sending->callback;

    if (sending->in_memory)
        on_recorded(sending, outbox_put(&callback->outbox, &sending->delivery));
    else
        store_put_delivery(callback->store, &sending->delivery, on_recorded, sending);
}

static void log_outcome(const struct delivery *delivery, long status, const char *error)
{
    char id[DELIVERY_ID_MAX];

    delivery_id(delivery, id);
    if (delivery->state == DELIVERY_DELIVERED)
        log_debug("callback delivered", "delivery=%s status=%ld", id, status);
    else if (delivery->state == DELIVERY_GIVEN_UP)
        log_warn("callback given up", "delivery=%s attempts=%u status=%ld error=\"%s\"",
                 id, (unsigned)delivery->tries, status, error ? error : "");
    else
        log_info("callback not delivered, trying again",
                 "delivery=%s attempt=%u status=%ld error=\"%s\"", id,
                 (unsigned)delivery->tries, status, error ? error : "");
}

static void count(struct callback *callback, enum delivery_state state)
{
    struct callback_counts *counts = &callback->counts;

    counts->delivered += state == DELIVERY_DELIVERED;
    counts->given_up += state == DELIVERY_GIVEN_UP;
    counts->failed += state == DELIVERY_PENDING;
}

const struct callback_counts *callback_counts(const struct callback *callback)
{
    return &callback->counts;
}

static void on_sent(void *data, long status, const char *error)
{
    struct sending *sending = data;
    struct delivery *delivery = &sending->delivery;

    if (delivery_add_attempt(delivery, sending->began_at_ms, status, error) != ST_OK)
        log_warn("an attempt at a callback is left out of its list: out of memory", "");
    if (status >= 200 && status < 300)
        delivery->state = DELIVERY_DELIVERED;
    else if (status == STATUS_GONE || delivery->tries >= CALLBACK_ATTEMPTS_MAX)
        delivery->state = DELIVERY_GIVEN_UP;
    else
        delivery->due_at_ms =
            clock_wall_ms() + pause_with_jitter_ms(sending->callback, delivery->tries);
    count(sending->callback, delivery->state);
    log_outcome(delivery, status, error);
    record(sending);
}

/* ---- sending ----------------------------------------------------------------------- */

#define TRACE_STATE "tracestate: "
static_assert(sizeof(TRACE_STATE) + TRACE_STATE_MAX <= COURIER_HEADER_LEN,
              "the longest header has room");

/* Behind the first three. */
static void add_trace(struct courier_message *message, const char *trace)
{
    const char *state = trace_state_of(trace);

    (void)snprintf(message->headers[3], COURIER_HEADER_LEN, "traceparent: %.*s",
                   TRACE_PARENT_LEN, trace);
    if (state[0])
        (void)snprintf(message->headers[4], COURIER_HEADER_LEN, TRACE_STATE "%s", state);
}

static enum status post(struct sending *sending, const struct webhook_target *target)
{
    struct callback *callback = sending->callback;
    const struct delivery *delivery = &sending->delivery;
    struct courier_message message = {
        .url = delivery->url,
        .body = { delivery->body, strlen(delivery->body) },
        .any_address = target->any_address,
        .ca_file = callback->options.ca_file,
        .timeout_ms = callback->options.timeout_ms,
    };
    char signature[WEBHOOK_SIGNATURE_MAX], id[DELIVERY_ID_MAX];
    char trace[TRACE_MAX + 1];
    int64_t timestamp = sending->began_at_ms / 1000;
    enum status st;

    delivery_id(delivery, id);
    st = webhook_sign(&callback->options.secret, id, timestamp, message.body, signature);
    if (st != ST_OK)
        return st;
    (void)snprintf(message.headers[0], COURIER_HEADER_LEN, "webhook-id: %s", id);
    (void)snprintf(message.headers[1], COURIER_HEADER_LEN, "webhook-timestamp: %lld",
                   (long long)timestamp);
    (void)snprintf(message.headers[2], COURIER_HEADER_LEN, "webhook-signature: %s",
                   signature);
    if (webhook_trace(delivery->body, trace))
        add_trace(&message, trace);
    return courier_send(callback->courier, &message, on_sent, sending);
}

static enum status send_one(struct callback *callback, const struct delivery *delivery,
                            bool in_memory)
{
    struct sending *sending = mem_zalloc(sizeof(*sending));
    struct webhook_target target;
    const char *refusal;
    enum status st;

    if (!sending)
        return ST_NO_MEMORY;
    sending->callback = callback;
    sending->in_memory = in_memory;
    sending->began_at_ms = clock_wall_ms();
    TAILQ_INSERT_TAIL(&callback->sendings, sending, link);
    callback->sending_count++;
    st = delivery_copy(delivery, &sending->delivery);
    if (st == ST_OK) {
        /* Allowed when it was submitted; the operator may have thought again. */
        refusal = webhook_url_check(delivery->url, callback->options.allow, &target);
        if (refusal) {
            on_sent(sending, 0, "the URL is no longer allowed");
            return ST_OK;
        }
        st = post(sending, &target);
    }
    if (st != ST_OK)
        sending_free(sending);
    return st;
}

static void wait_until(struct callback *callback, int64_t due_at_ms)
{
    if (due_at_ms < callback->next_due_ms)
        callback->next_due_ms = due_at_ms;
}

/* How long it was told to wait, at most. What is due later than that was told so by a clock that
 * has been set back since. */
static int64_t longest_wait_ms(const struct callback *callback,
                               const struct delivery *delivery)
{
    if (delivery->tries == 0 || delivery->tries >= CALLBACK_ATTEMPTS_MAX)
        return 0;
    return (int64_t)((double)callback_pause_ms(callback->options.backoff_ms,
                                               delivery->tries) *
                     (1 + JITTER)) +
           1;
}

/* Sends what is due, as far as there is room, and notes when the next one is. */
static void go_through(struct callback *callback, const struct delivery *list,
                       size_t count, bool in_memory)
{
    int64_t now_ms = clock_wall_ms();

    for (size_t i = 0; i < count && callback->sending_count < CALLBACK_PARALLEL_MAX;
         i++) {
        if (find_sending(callback, &list[i]))
            continue;
        if (list[i].due_at_ms > now_ms &&
            list[i].due_at_ms - now_ms <= longest_wait_ms(callback, &list[i]))
            wait_until(callback, list[i].due_at_ms);
        else if (send_one(callback, &list[i], in_memory) != ST_OK)
            wait_until(callback, now_ms + LOOK_FAIL_MS);
    }
}

static void go_through_memory(struct callback *callback)
{
    struct delivery_query query = { .limit = LOOK_LIMIT };
    struct delivery *list = NULL;
    size_t count = 0;

    if (!callback->outbox.count)
        return;
    if (outbox_list(&callback->outbox, &query, &list, &count) != ST_OK)
        wait_until(callback, clock_wall_ms() + LOOK_FAIL_MS);
    go_through(callback, list, count, true);
    delivery_list_free(list, count);
}

static void on_time(uv_timer_t *timer)
{
    look(timer->data);
}

static void sleep_until_due(struct callback *callback)
{
    int64_t wait_ms = callback->next_due_ms - clock_wall_ms();

    if (callback->next_due_ms == INT64_MAX) {
        (void)uv_timer_stop(&callback->timer);
        return;
    }
    if (wait_ms > LOOK_MAX_MS)
        wait_ms = LOOK_MAX_MS;
    (void)uv_timer_start(&callback->timer, on_time, wait_ms > 0 ? (uint64_t)wait_ms : 0,
                         0);
}

static void on_pending(void *data, enum status st, const struct delivery *list,
                       size_t count)
{
    struct callback *callback = data;

    if (callback->stopped)
        return;
    callback->next_due_ms = INT64_MAX;
    if (st != ST_OK) {
        log_warn("the callbacks that are due could not be read, trying again",
                 "status=\"%s\"", status_text(st));
        wait_until(callback, clock_wall_ms() + LOOK_FAIL_MS);
    }
    go_through(callback, list, count, false);
    go_through_memory(callback);
    sleep_until_due(callback);
    callback->looking = false;
    if (callback->look_again)
        look(callback);
}

/* Looks for what is due. One look at a time: what comes meanwhile is seen by the next. */
static void look(struct callback *callback)
{
    struct delivery_query query = { .limit = LOOK_LIMIT };

    if (callback->stopped)
        return;
    callback->look_again = callback->looking;
    if (callback->looking)
        return;
    callback->looking = true;
    store_list_deliveries(callback->store, &query, on_pending, callback);
}

/* ---- jobs -------------------------------------------------------------------------- */

void callback_job_ended(struct callback *callback, const struct job_spec *spec,
                        const struct job_status *status)
{
    if (callback->stopped || (!spec->callback && !spec->error_callback))
        return;
    if (spec->durability == DURABILITY_MEMORY) {
        if (outbox_add(&callback->outbox, spec, status) == ST_NO_MEMORY)
            log_error("a callback is lost: out of memory", "");
        if (callback->outbox.count > CALLBACK_MEMORY_MAX)
            outbox_drop_oldest(&callback->outbox);
    }
    look(callback);
}

void callback_list(struct callback *callback, const struct job_spec *spec,
                   store_got_deliveries *got, void *data)
{
    struct delivery_query query = { true, spec->id, STORE_DELIVERIES_MAX };
    struct delivery *list = NULL;
    size_t count = 0;
    enum status st;

    if (spec->durability != DURABILITY_MEMORY) {
        store_list_deliveries(callback->store, &query, got, data);
        return;
    }
    st = outbox_list(&callback->outbox, &query, &list, &count);
    got(data, st, list, count);
    delivery_list_free(list, count);
}

/* ---- once more --------------------------------------------------------------------- */

struct renewal {
    struct callback *callback;
    bool in_memory;
    struct delivery delivery;
    callback_renewed *done;
    void *data;
};

static void on_renewed(void *data, enum status st)
{
    struct renewal *renewal = data;

    renewal->done(renewal->data, st, st == ST_OK ? &renewal->delivery : NULL);
    look(renewal->callback);
    delivery_clear(&renewal->delivery);
    mem_free(renewal);
}

static void on_newest(void *data, enum status st, const struct delivery *list,
                      size_t count)
{
    struct renewal *renewal = data;
    struct callback *callback = renewal->callback;

    if (st == ST_OK && !count)
        st = ST_NOT_FOUND;
    if (st == ST_OK)
        st = delivery_copy(&list[0], &renewal->delivery);
    if (st == ST_OK && callback->stopped)
        st = ST_STATE;
    if (st != ST_OK || find_sending(callback, &renewal->delivery)) {
        on_renewed(renewal, st); /* refused, or on its way at this moment */
        return;
    }
    delivery_renew(&renewal->delivery, clock_wall_ms());
    if (renewal->in_memory)
        on_renewed(renewal, outbox_put(&callback->outbox, &renewal->delivery));
    else
        store_put_delivery(callback->store, &renewal->delivery, on_renewed, renewal);
}

void callback_redeliver(struct callback *callback, const struct job_spec *spec,
                        callback_renewed *done, void *data)
{
    struct renewal *renewal = mem_zalloc(sizeof(*renewal));

    if (!renewal) {
        done(data, ST_NO_MEMORY, NULL);
        return;
    }
    renewal->callback = callback;
    renewal->in_memory = spec->durability == DURABILITY_MEMORY;
    renewal->done = done;
    renewal->data = data;
    callback_list(callback, spec, on_newest, renewal);
}

/* ---- life cycle -------------------------------------------------------------------- */

enum status callback_new(uv_loop_t *loop, struct store *store,
                         const struct callback_options *options,
                         struct callback **ret_callback)
{
    struct callback *callback = mem_zalloc(sizeof(*callback));
    uint64_t seed = clock_mono_ns();

    if (!callback)
        return ST_NO_MEMORY;
    if (courier_new(loop, &callback->courier) != ST_OK) {
        mem_free(callback);
        return ST_NO_MEMORY;
    }
    callback->store = store;
    callback->options = *options;
    memcpy(callback->random, &seed, sizeof(callback->random));
    TAILQ_INIT(&callback->sendings);
    (void)uv_timer_init(loop, &callback->timer);
    callback->timer.data = callback;
    *ret_callback = callback;
    return ST_OK;
}

void callback_start(struct callback *callback)
{
    look(callback);
}

void callback_stop(struct callback *callback)
{
    if (!callback || callback->stopped)
        return;
    callback->stopped = true;
    (void)uv_timer_stop(&callback->timer);
    courier_free(callback->courier);
}

static void on_timer_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void callback_free(struct callback *callback)
{
    struct sending *sending;

    if (!callback)
        return;
    callback_stop(callback);
    while ((sending = TAILQ_FIRST(&callback->sendings)))
        sending_free(sending);
    outbox_clear(&callback->outbox);
    explicit_bzero(&callback->options.secret, sizeof(callback->options.secret));
    uv_close((uv_handle_t *)&callback->timer, on_timer_closed);
}
