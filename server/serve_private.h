/* SPDX-License-Identifier: MIT */
/*
 * serve_private - what the parts of the service as a whole share. For serve*.c only.
 *
 *     serve.c         start: what is opened, in order; each second
 *     serve_reload.c  SIGHUP: what is read again while the server runs
 *     serve_stop.c    SIGTERM, a store that has failed, a start that has: stop, in order
 */
#ifndef SERVER_SERVE_PRIVATE_H
#define SERVER_SERVE_PRIVATE_H

#include "server/api.h"
#include "server/config.h"
#include "workers/forkserver.h"

#include <uv.h>

struct server {
    struct config config;
    uv_loop_t loop;
    struct notify *notify; /* NULL: not under systemd */
    struct confining *confining;
    struct task_folders *folders; /* NULL: there are none */
    bool looked;                  /* at the folders, for the first time */
    bool reload_due;              /* SIGHUP has come while the last one is under way */
    struct forkserver forkserver;
    bool forkserver_taken; /* the pool owns it */
    struct store *store;
    struct disk *disk;     /* NULL with the store in memory */
    struct backup *backup; /* NULL without a folder for them, too */
    struct retention *retention;
    struct dispatch *dispatch;
    struct callback *callback;
    struct http *http, *admin;
    unsigned listeners; /* that are open */
    struct keys *keys;
    struct api api;
    uv_signal_t on_term, on_int, on_hup;
    uv_timer_t drain_timer;
    uv_timer_t tick;
    uv_async_t store_wake;
    bool handles_open;
    bool stopping; /* SIGTERM has come, or the store has failed */
    bool stopped;  /* the workers are being stopped for good */
    int exit_code;
};

/* ---- serve_reload.c ---------------------------------------------------------------- */

void server_on_hangup(uv_signal_t *handle, int number);
/* Of dispatch: the tasks that were read last are the only ones in use. */
void server_on_reloaded(void *data);

/* ---- serve_stop.c ------------------------------------------------------------------ */

void server_on_signal(uv_signal_t *handle, int number);
/* Of the store: nothing can be kept any more. */
void server_on_store_fatal(void *data, const struct error_text *why);
/* Of dispatch: no item is running any more, and none will. */
void server_on_drained(void *data);
/* Takes the store's answers, if there is a store. */
void server_drain_store(struct server *server);
/* A start that has failed half-way: the way of every stop, from where it had come to. */
void server_close_half_open(struct server *server);
/* The last step of a stop: the loop has nothing to wait for any more. */
void server_close_handles(struct server *server);

#endif
