/* SPDX-License-Identifier: MIT */
#include "server/retention.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

struct retention {
    uv_timer_t timer;
    struct store *store;
    struct retention_options options;
    int64_t clock_ms; /* clock_believed_ms, at the start of this run */
    bool running;
    unsigned aged, sized; /* jobs, in this run */
};

static void purge_batch(struct retention *retention);

static void on_purged(void *data, enum status st, const struct store_purged *purged)
{
    struct retention *retention = data;

    retention->aged += purged->by_age;
    retention->sized += purged->by_size;
    if (st == ST_OK && purged->more) {
        purge_batch(retention);
        return;
    }
    retention->running = false;
    if (retention->aged || retention->sized)
        log_info("old jobs were let go", "by_age=%u by_size=%u", retention->aged,
                 retention->sized);
}

static void purge_batch(struct retention *retention)
{
    struct store_limits limits = {
        .now_ms = retention->aged < RETENTION_AGED_MAX ? retention->clock_ms : 0,
        .job_ttl_ms = retention->options.job_ttl_ms,
        .max_jobs = retention->options.max_jobs,
        .max_bytes = retention->options.max_bytes,
    };

    store_purge(retention->store, &limits, on_purged, retention);
}

void retention_run(struct retention *retention)
{
    if (retention->running)
        return;
    retention->running = true;
    retention->aged = retention->sized = 0;
    retention->clock_ms = clock_believed_ms();
    purge_batch(retention);
}

static void on_period(uv_timer_t *timer)
{
    retention_run(timer->data);
}

enum status retention_new(uv_loop_t *loop, struct store *store,
                          const struct retention_options *options,
                          struct retention **ret_retention)
{
    struct retention *retention = mem_zalloc(sizeof(*retention));

    if (!retention)
        return ST_NO_MEMORY;
    retention->store = store;
    retention->options = *options;
    clock_believe();
    (void)uv_timer_init(loop, &retention->timer);
    retention->timer.data = retention;
    (void)uv_timer_start(&retention->timer, on_period, 0, RETENTION_PERIOD_MS);
    *ret_retention = retention;
    return ST_OK;
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void retention_free(struct retention *retention)
{
    if (retention)
        uv_close((uv_handle_t *)&retention->timer, on_closed);
}
