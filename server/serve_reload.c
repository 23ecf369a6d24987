/* SPDX-License-Identifier: MIT */
/* SIGHUP: keys, the certificate and the tasks are read again. */
#include "server/serve_private.h"

#include "common/log.h"
#include "server/dispatch.h"
#include "server/http_tls.h"
#include "server/keys.h"
#include "server/notify.h"
#include "server/task_folders.h"

static void reload(struct server *server);

static void on_looked_again(void *data, enum status st, const struct error_text *err)
{
    struct server *server = data;

    if (st == ST_OK)
        st = dispatch_reload(server->dispatch, task_folders_fd(server->folders));
    else
        log_error("the tasks stay as they are", "error=\"%s\"", err->text);
    if (!server->stopping) {
        api_share_descriptors(&server->api);
        notify_ready(server->notify);
    }
    if (server->reload_due)
        reload(server);
}

/* At most two versions of the tasks are at work: one more waits until the older one has no
 * jobs any more, and several that wait are one. */
static void reload(struct server *server)
{
    struct error_text err = { "" };

    server->reload_due =
        task_folders_looking(server->folders) || dispatch_reloading(server->dispatch);
    if (server->reload_due) {
        log_info("the tasks are looked at when jobs with those of before are over", "");
        return;
    }
    notify_reloading(server->notify);
    if (task_folders_look(server->folders, on_looked_again, server, &err) == ST_OK)
        return;
    log_error("the tasks stay as they are", "error=\"%s\"", err.text);
    notify_ready(server->notify);
}

void server_on_reloaded(void *data)
{
    struct server *server = data;

    api_share_descriptors(&server->api);
    if (server->reload_due)
        reload(server);
}

static void reload_certificate(const struct config *config)
{
    struct error_text err = { "" };

    if (!config->tls_cert)
        return;
    if (http_tls_load(config->tls_cert, config->tls_key, &err) == ST_OK)
        log_info("new connections get the certificate that was read", "file=%s",
                 config->tls_cert);
    else
        log_error("the certificate stays as it is", "error=\"%s\"", err.text);
}

void server_on_hangup(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;

    (void)number;
    if (server->stopping || !server->dispatch)
        return;
    if (server->keys)
        keys_look(server->keys);
    reload_certificate(&server->config);
    if (!server->folders) {
        log_info("there are no folders of tasks to look at", "signal=SIGHUP");
        return;
    }
    log_info("looking at the tasks", "tasks=%s", server->config.tasks);
    reload(server);
}
