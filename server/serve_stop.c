/* SPDX-License-Identifier: MIT */
/*
 * The service stops from its workers outwards: running items end, the workers go, the
 * store takes what is left, clients that wait get their answers, connections are closed.
 */
#include "server/serve_private.h"

#include "common/log.h"
#include "server/backup.h"
#include "server/callback.h"
#include "server/disk.h"
#include "server/dispatch.h"
#include "server/exit_code.h"
#include "server/http.h"
#include "server/keys.h"
#include "server/notify.h"
#include "server/retention.h"
#include "server/store.h"
#include "server/task_folders.h"

void server_close_handles(struct server *server)
{
    uv_close((uv_handle_t *)&server->on_term, NULL);
    uv_close((uv_handle_t *)&server->on_int, NULL);
    uv_close((uv_handle_t *)&server->on_hup, NULL);
    uv_close((uv_handle_t *)&server->drain_timer, NULL);
    uv_close((uv_handle_t *)&server->tick, NULL);
    uv_close((uv_handle_t *)&server->store_wake, NULL);
    notify_free(server->notify);
    server->notify = NULL;
}

void server_drain_store(struct server *server)
{
    if (server->store)
        store_drain(server->store);
}

static void on_http_closed(void *data)
{
    struct server *server = data;

    if (server->listeners && --server->listeners)
        return;
    server->http = server->admin = NULL;
    server_drain_store(server); /* of clients that have been cut off meanwhile */
    keys_free(server->keys);
    server->keys = NULL;
    dispatch_free(server->dispatch);
    server->dispatch = NULL;
    callback_free(server->callback);
    server->callback = NULL;
    store_close(server->store);
    server->store = NULL;
    server_close_handles(server);
}

/* All workers have gone: nothing changes any more. */
static void on_workers_stopped(void *data)
{
    struct server *server = data;

    (void)uv_timer_stop(&server->drain_timer);
    callback_stop(server->callback);
    backup_free(server->backup);
    server->backup = NULL;
    server->api.backup = NULL;
    store_stop(server->store);
    retention_free(server->retention);
    server->retention = NULL;
    disk_close(server->disk);
    server->disk = NULL;
    if (server->dispatch)
        dispatch_wake_all(server->dispatch);
    server_drain_store(server); /* some of them have asked the store, in vain */
    if (server->admin)
        http_close(server->admin, on_http_closed, server);
    if (server->http)
        http_close(server->http, on_http_closed, server);
    else
        on_http_closed(server);
}

static void stop_workers(struct server *server, bool kill)
{
    server->stopped = true;
    dispatch_stop(server->dispatch, kill, on_workers_stopped);
}

void server_on_drained(void *data)
{
    struct server *server = data;

    if (!server->stopped)
        stop_workers(server, false);
}

static void on_drain_timeout(uv_timer_t *timer)
{
    log_warn(
        "running items did not finish in time, their workers are killed and the items "
        "run again after the next start",
        "drain_timeout=%g",
        (double)((struct server *)timer->data)->config.drain_timeout_ms / 1000);
    stop_workers(timer->data, true);
}

void server_on_signal(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;

    task_folders_stop(server->folders);
    if (!server->dispatch) { /* nothing is open yet */
        server->stopping = true;
        log_info("stopping before the start is over", "signal=%d", number);
        return;
    }
    if (server->stopping) {
        log_warn("stopping at once", "signal=%d", number);
        stop_workers(server, true);
        return;
    }
    server->stopping = true;
    notify_stopping(server->notify);
    log_info("stopping: running items may finish, again to stop at once",
             "signal=%d drain_timeout=%g", number,
             (double)server->config.drain_timeout_ms / 1000);
    (void)uv_timer_start(&server->drain_timer, on_drain_timeout,
                         (uint64_t)server->config.drain_timeout_ms, 0);
    dispatch_drain(server->dispatch);
}

void server_on_store_fatal(void *data, const struct error_text *why)
{
    struct server *server = data;

    log_error("the store has failed, stopping; start again to recover", "error=\"%s\"",
              why->text);
    server->exit_code = EXIT_STORAGE;
    server->stopping = true;
    notify_stopping(server->notify);
    task_folders_stop(server->folders);
    if (!server->stopped)
        stop_workers(server, true);
}

void server_close_half_open(struct server *server)
{
    server->stopping = server->stopped = true;
    if (server->forkserver_taken) {
        dispatch_stop(server->dispatch, true, on_workers_stopped);
        return;
    }
    forkserver_stop(&server->forkserver);
    on_workers_stopped(server);
}
