/* SPDX-License-Identifier: MIT */
#include "server/serve.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/backup.h"
#include "server/ca_file.h"
#include "server/callback.h"
#include "server/confining.h"
#include "server/descriptors.h"
#include "server/disk.h"
#include "server/dispatch.h"
#include "server/exit_code.h"
#include "server/http.h"
#include "server/http_tls.h"
#include "server/key_file.h"
#include "server/keys.h"
#include "server/notify.h"
#include "server/retention.h"
#include "server/secret_file.h"
#include "server/serve_private.h"
#include "server/store.h"
#include "server/task_folders.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- the store's calls ------------------------------------------------------------- */

static void on_store_wake(void *data)
{
    struct server *server = data;

    (void)uv_async_send(&server->store_wake);
}

static void on_store_drain(uv_async_t *async)
{
    server_drain_store(async->data);
}

/* ---- each second ------------------------------------------------------------------- */

#define TICK_MS 1000

static bool is_known(const struct server *server, pid_t pid)
{
    return (server->dispatch && dispatch_has_forkserver(server->dispatch, pid)) ||
           server->forkserver.pid == pid ||
           task_folders_has_process(server->folders, pid);
}

/* As PID 1 of a container this process inherits what others leave behind: a task's
 * descendants, when the forkserver that would have swept them has died. The forkserver's
 * own end is the pool's business. */
static void reap_strangers(const struct server *server)
{
    siginfo_t info = { .si_pid = 0 };

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid &&
           !is_known(server, info.si_pid)) {
        (void)waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

static void on_tick(uv_timer_t *timer)
{
    if (getpid() == 1)
        reap_strangers(timer->data);
    log_catch_up();
}

/* ---- starting ---------------------------------------------------------------------- */

static int fail(int exit_code, const struct error_text *err)
{
    log_error("cannot start", "error=\"%s\"", err->text);
    return exit_code;
}

static enum status open_store_once(struct server *server, struct error_text *err)
{
    static const struct store_events events = { on_store_wake, server_on_store_fatal };

    return server->config.store == STORE_MEMORY
               ? store_open_memory(&events, server, &server->store, err)
               : store_open_sqlite(server->config.data, &events, server, &server->store,
                                   err);
}

/* A disk that is full may have room for this without the ballast. */
static int open_store(struct server *server)
{
    struct error_text err = { "" };
    enum status st = open_store_once(server, &err);

    if (st == ST_STORAGE_FULL && disk_release_ballast(server->config.data)) {
        log_warn("the disk is full, the ballast is deleted to start", "error=\"%s\"",
                 err.text);
        st = open_store_once(server, &err);
    }
    return st == ST_OK ? 0 : fail(exit_code_of_store(st), &err);
}

static void on_disk(void *data, enum disk_level level)
{
    struct server *server = data;

    if (server->dispatch)
        dispatch_set_disk(server->dispatch, level);
}

static int open_backup(struct server *server)
{
    const struct config *config = &server->config;
    struct error_text err = { "" };
    struct stat folder;

    if (config->store == STORE_MEMORY || !config->backup_dir)
        return 0;
    if (stat(config->backup_dir, &folder) != 0 || !S_ISDIR(folder.st_mode)) {
        (void)error_set(&err, ST_INVALID, "setting backup_dir: %s is not a folder",
                        config->backup_dir);
        return fail(EXIT_CONFIGURATION, &err);
    }
    if (backup_new(&server->loop, config->data, config->backup_dir, &server->backup) ==
        ST_OK)
        return 0;
    (void)error_set(&err, ST_NO_MEMORY, "backups: out of memory");
    return fail(EXIT_SYSTEM, &err);
}

/* Behind the pools, which hear of it from the first look on. */
static int watch_disk(struct server *server)
{
    const struct config *config = &server->config;
    struct error_text err = { "" };

    if (config->store == STORE_MEMORY ||
        disk_open(&server->loop, config->data, config->disk_high, config->disk_low,
                  on_disk, server, &server->disk, &err) == ST_OK)
        return 0;
    return fail(EXIT_SYSTEM, &err);
}

/* Without callback_allow there is nothing to sign. */
static int open_callbacks(struct server *server)
{
    const struct config *config = &server->config;
    struct callback_options options = { .allow = config->callback_allow,
                                        .ca_file = config->callback_ca_file,
                                        .timeout_ms = config->callback_timeout_ms,
                                        .backoff_ms = config->callback_backoff_ms };
    struct error_text err = { "" };
    enum status st = ST_OK;

    if (config->callback_secret_file)
        st = secret_file_read(config->callback_secret_file, &options.secret, &err);
    else if (config->callback_allow)
        st = secret_file_make(config->data, &options.secret, &err);
    if (st == ST_OK && config->callback_ca_file)
        st = ca_file_check(config->callback_ca_file, &err);
    if (st != ST_OK)
        return fail(st == ST_INVALID ? EXIT_CONFIGURATION : EXIT_CANNOT_WRITE, &err);
    if (callback_new(&server->loop, server->store, &options, &server->callback) == ST_OK)
        return 0;
    (void)error_set(&err, ST_NO_MEMORY, "callbacks: out of memory");
    return fail(EXIT_SYSTEM, &err);
}

static void on_ended(void *data, const struct job_spec *spec,
                     const struct job_status *status)
{
    struct server *server = data;

    callback_job_ended(server->callback, spec, status);
}

/* Behind the store: from there on no other server has these folders. */
static int open_scratch(struct server *server)
{
    struct error_text err = { "" };
    enum status st = confining_open(server->confining, &err);

    return st == ST_OK ? 0 : fail(EXIT_CANNOT_WRITE, &err);
}

static int open_dispatch(struct server *server)
{
    static const struct dispatch_events events = { server_on_drained, on_ended,
                                                   server_on_reloaded };
    const struct config *config = &server->config;
    struct dispatch_options options = {
        .queue_window = config->queue_window,
        .queue_window_bytes = config->queue_window_bytes,
        .max_queued_jobs = config->max_queued_jobs,
        .max_queued_bytes = config->max_queued_bytes,
        .max_waiters = config->max_waiters,
        .job_ttl_ms = config->job_ttl_ms,
        .max_finished_jobs = config->max_finished_jobs,
        .max_finished_bytes = config->max_finished_bytes,
        .max_processes = config->max_processes,
        .max_result_bytes = config->max_result_bytes,
        .max_job_result_bytes = config->max_job_result_bytes,
        .cancel_grace_ms = config->cancel_grace_ms,
        .max_log_bytes = config->max_log_bytes,
        .max_attempt_log_bytes = config->max_attempt_log_bytes,
        .limits = config->limits,
        .max_worker_rss = config->max_worker_rss,
        .confinement = confining_plan(server->confining),
        .catalog = server->folders ? task_folders_fd(server->folders) : -1,
    };
    const struct pool_spec plan = { .name = POOL_DEFAULT,
                                    .processes = (unsigned)config->processes,
                                    .maxtasksperchild = config->max_tasks_per_child,
                                    .initargs = "[]" };
    struct pool_spec *pool = pool_spec_new(&plan);
    struct error_text err = { "" };
    enum status st = pool ? dispatch_new(&server->loop, server->store, &options, &events,
                                         server, &server->dispatch)
                          : ST_NO_MEMORY;

    if (st == ST_OK)
        st = dispatch_add_pool(server->dispatch, &server->forkserver, pool);
    else
        pool_spec_unref(pool);
    if (st != ST_OK) {
        (void)error_set(&err, st, "the pool: %s", status_text(st));
        return fail(EXIT_SYSTEM, &err);
    }
    server->forkserver_taken = true;
    return 0;
}

static int open_keys(struct server *server)
{
    struct error_text err = { "" };
    enum status st = keys_new(&server->loop, server->config.data, &server->keys, &err);

    if (st != ST_OK)
        return fail(st == ST_NO_MEMORY ? EXIT_SYSTEM
                    : st == ST_CORRUPT ? EXIT_DATA
                                       : EXIT_CANNOT_WRITE,
                    &err);
    if (keys_required(server->keys))
        log_info("requests need a key", "file=%s/" KEY_FILE_NAME, server->config.data);
    return 0;
}

/* A few people and programs look here. */
#define ADMIN_CONNECTIONS 64

/* What the requests are answered with; all but the listeners. false: no memory. */
static bool open_api(struct server *server)
{
    server->api = (struct api){
        .config = &server->config,
        .dispatch = server->dispatch,
        .confinement = confining_plan(server->confining),
        .callback = server->callback,
        .started_at_ms = clock_wall_ms(),
        .folders = server->folders,
        .disk = server->disk,
        .backup = server->backup,
        .traffic = traffic_new(api_route_count()),
        .keys = server->keys,
    };
    return server->api.traffic != NULL;
}

/* Connections that there may be. */
static unsigned share_descriptors(struct server *server)
{
    const struct config *config = &server->config;
    struct descriptors *descriptors = &server->api.descriptors;
    unsigned besides =
        HTTP_RESERVED + (config->admin_host ? ADMIN_CONNECTIONS + HTTP_RESERVED : 0);
    unsigned share;

    descriptors_look(besides, config->max_connections, descriptors);
    share = descriptors_share(descriptors, 0, config->processes);
    if (share < config->max_connections)
        log_info("descriptors allow fewer connections than max_connections",
                 "connections=%u max_connections=%llu open_files=%llu", share,
                 (unsigned long long)config->max_connections,
                 (unsigned long long)descriptors->limit);
    descriptors->connections = share; /* the library keeps places for so many */
    return share;
}

/* The one that all clients use, and that for the operator, if there is one. */
static enum status open_listeners(struct server *server, struct error_text *err)
{
    const struct config *config = &server->config;
    struct api *api = &server->api;
    struct http_options options = {
        .host = config->listen_host,
        .port = config->listen_port,
        .max_body_bytes = config->max_body_bytes,
        .max_bodies_bytes = config->max_bodies_bytes,
        .gate = { .uri_bytes = (size_t)config->max_uri_bytes,
                  .headers = (unsigned)config->max_headers,
                  .header_bytes = (size_t)config->max_header_bytes },
        .max_connections = share_descriptors(server),
        .header_timeout_ms = (uint64_t)config->header_timeout_ms,
        .body_timeout_ms = (uint64_t)config->body_timeout_ms,
        .answer_timeout_ms = (uint64_t)config->answer_timeout_ms,
        .is_fed = api_is_fed,
        .on_over = api_on_over,
        .admit = api_admit,
        .tls = config->tls_cert != NULL,
        .idle_timeout_s = (unsigned)((config->idle_timeout_ms + 999) / 1000),
    };
    enum status st =
        http_open(&server->loop, &options, api_handle, api, &server->http, err);

    api->http = server->http;
    server->listeners += st == ST_OK;
    if (st != ST_OK || !config->admin_host)
        return st;
    options.host = config->admin_host;
    options.port = config->admin_port;
    options.max_connections = ADMIN_CONNECTIONS;
    options.admin = true;
    st = http_open(&server->loop, &options, api_handle, api, &server->admin, err);
    api->admin = server->admin;
    server->listeners += st == ST_OK;
    return st;
}

static int open_http(struct server *server)
{
    const struct config *config = &server->config;
    struct error_text err = { "" };
    enum status st;

    if (!open_api(server)) {
        (void)error_set(&err, ST_NO_MEMORY, "out of memory");
        return fail(EXIT_SYSTEM, &err);
    }
    if (config->tls_cert &&
        http_tls_load(config->tls_cert, config->tls_key, &err) != ST_OK)
        return fail(EXIT_CONFIGURATION, &err);
    st = open_listeners(server, &err);
    if (st != ST_OK)
        return fail(st == ST_NO_MEMORY ? EXIT_SYSTEM : EXIT_UNAVAILABLE, &err);
    return 0;
}

static int take_up_jobs(struct server *server)
{
    struct error_text err = { "" };
    enum status st = dispatch_start(server->dispatch, &err);

    if (st == ST_OK)
        api_share_descriptors(&server->api);
    return st == ST_OK ? 0 : fail(exit_code_of_store(st), &err);
}

static int open_retention(struct server *server)
{
    const struct config *config = &server->config;
    struct retention_options options = { config->job_ttl_ms, config->max_finished_jobs,
                                         config->max_finished_bytes };
    struct error_text err = { "" };
    enum status st =
        retention_new(&server->loop, server->store, &options, &server->retention);

    if (st == ST_OK)
        return 0;
    (void)error_set(&err, st, "%s", status_text(st));
    return fail(EXIT_SYSTEM, &err);
}

static void open_handles(struct server *server)
{
    (void)uv_signal_init(&server->loop, &server->on_term);
    (void)uv_signal_init(&server->loop, &server->on_int);
    (void)uv_signal_init(&server->loop, &server->on_hup);
    (void)uv_timer_init(&server->loop, &server->drain_timer);
    (void)uv_async_init(&server->loop, &server->store_wake, on_store_drain);
    server->on_term.data = server->on_int.data = server->on_hup.data = server;
    server->drain_timer.data = server->store_wake.data = server->tick.data = server;
    (void)uv_timer_init(&server->loop, &server->tick);
    server->handles_open = true;
    (void)uv_timer_start(&server->tick, on_tick, TICK_MS, TICK_MS);
    (void)uv_signal_start(&server->on_term, server_on_signal, SIGTERM);
    (void)uv_signal_start(&server->on_int, server_on_signal, SIGINT);
    (void)uv_signal_start(&server->on_hup, server_on_hangup, SIGHUP);
}

/* Opens what is to be opened, in order; 0 or the exit code. */
static int open_all(struct server *server)
{
    int exit_code = open_store(server);

    if (!exit_code)
        exit_code = open_scratch(server);
    if (!exit_code)
        exit_code = open_callbacks(server);
    if (!exit_code)
        exit_code = open_dispatch(server);
    if (!exit_code)
        exit_code = watch_disk(server);
    if (!exit_code)
        exit_code = open_backup(server);
    if (!exit_code)
        exit_code = open_keys(server);
    if (!exit_code)
        exit_code = open_http(server);
    if (!exit_code)
        exit_code = take_up_jobs(server);
    if (!exit_code)
        exit_code = open_retention(server);
    if (!exit_code && FAULT(before_ready))
        exit_code = fail(EXIT_SYSTEM, &(struct error_text){ "a fault was asked for" });
    if (!exit_code)
        callback_start(server->callback);
    return exit_code;
}

static void on_looked(void *data, enum status st, const struct error_text *err)
{
    struct server *server = data;

    server->looked = true;
    if (st != ST_OK)
        server->exit_code =
            fail(st == ST_INVALID ? EXIT_CONFIGURATION : EXIT_SYSTEM, err);
}

/* Which tasks there are has to be known before the first forkserver is started. */
static int look_at_folders(struct server *server, struct error_text *err)
{
    enum status st = ST_OK;

    if (!server->config.tasks && !server->config.python_modules)
        return 0;
    st = task_folders_new(&server->loop, &server->config,
                          confining_plan(server->confining), &server->folders);
    if (st == ST_OK)
        st = task_folders_look(server->folders, on_looked, server, err);
    if (st != ST_OK)
        return fail(EXIT_SYSTEM, err);
    while (!server->looked && !server->stopping)
        (void)uv_run(&server->loop, UV_RUN_ONCE);
    return server->exit_code;
}

static int prepare(struct server *server)
{
    struct error_text err = { "" };
    int exit_code;

    if (uv_loop_init(&server->loop) != 0) {
        (void)error_set(&err, ST_IO, "the event loop cannot be made");
        return fail(EXIT_SYSTEM, &err);
    }
    if (confining_new(&server->config, &server->confining, &err) != ST_OK)
        return fail(EXIT_CONFIGURATION, &err);
    open_handles(server);
    if (notify_new(&server->loop, &server->notify, &err) != ST_OK)
        return fail(EXIT_CONFIGURATION, &err);
    exit_code = look_at_folders(server, &err);
    if (exit_code == 0 && !server->stopping &&
        forkserver_start(&server->forkserver,
                         server->folders ? task_folders_fd(server->folders) : -1,
                         confining_plan(server->confining), &err) != ST_OK)
        exit_code = fail(EXIT_SYSTEM, &err);
    return exit_code;
}

static void close_loop(struct server *server)
{
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&server->loop);
    task_folders_free(server->folders);
    server->folders = NULL;
    confining_free(server->confining);
    server->confining = NULL;
}

static int run(struct server *server)
{
    int exit_code = prepare(server);

    if (exit_code || server->stopping) {
        if (server->handles_open)
            server_close_handles(server);
        close_loop(server);
        if (exit_code == 0)
            log_info("server stopped", "");
        return exit_code;
    }
    server->exit_code = open_all(server);
    if (server->exit_code)
        server_close_half_open(server);
    else
        confining_log(server->confining);
    if (!server->exit_code && server->admin)
        log_info("administrators have an address of their own", "listen=%s:%u",
                 server->config.admin_host, http_port(server->admin));
    if (!server->exit_code) {
        log_info(
            "server ready",
            "listen=%s:%u pid=%d processes=%llu store=%s data=%s version=" POOLD_VERSION,
            server->config.listen_host, http_port(server->http), (int)getpid(),
            (unsigned long long)server->config.processes,
            store_kind_names[server->config.store], server->config.data);
        notify_ready(server->notify);
    }
    close_loop(server);
    if (server->exit_code == 0)
        log_info("server stopped", "");
    return server->exit_code;
}

/* Until the loop hears them (open_handles). Nothing has been begun, so there is nothing to
 * put in order; without a handler the kernel would drop the signals of process 1. */
static void on_early_stop(int number)
{
    static const char text[] = "poold: stopped before the start\n";
    ssize_t told = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)number;
    (void)told;
    _exit(EXIT_SUCCESS);
}

int serve_main(int argc, char **argv)
{
    struct server server = { .forkserver = { 0, -1, -1 } };
    enum config_action action = CONFIG_RUN;
    struct error_text err = { "" };
    struct buf help = BUF_INIT;
    int exit_code;

    (void)signal(SIGTERM, on_early_stop);
    (void)signal(SIGINT, on_early_stop);
    if (config_load(argc, argv, environ, &server.config, &action, &err) != ST_OK) {
        (void)fprintf(stderr, "poold: %s\n", err.text);
        return EXIT_CONFIGURATION;
    }
    if (action == CONFIG_HELP) {
        config_help(&help);
        (void)fwrite(help.data, 1, help.len, stdout);
        buf_clear(&help);
        return 0;
    }
    log_init(server.config.log_level, server.config.log_format, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN); /* the end of a terminal is no reason to stop */
    if (server.config.insecure && !key_file_exists(server.config.data))
        log_warn("insecure: whoever reaches this address can run tasks", "listen=%s",
                 server.config.listen);
    exit_code = run(&server);
    mem_free(server.api.traffic);
    http_tls_clear();
    config_clear(&server.config);
    return exit_code;
}
