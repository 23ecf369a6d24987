/* SPDX-License-Identifier: MIT */
#include "server/task_folders.h"

#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "workers/forkserver.h"
#include "workers/registry.h"
#include "workers/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_STEP (64u << 10)
#define ARGS_MAX    (11 + 2 * CONFINE_ARGS_MAX) /* of poold tasks, besides folders */

struct task_folders {
    uv_loop_t *loop;
    const struct config *config;
    const struct confinement *confinement;
    struct catalog catalog; /* in use */
    int fd;
    /* Of the look under way: */
    uv_process_t process;
    uv_pipe_t pipe;
    unsigned handles; /* of process and pipe, not closed yet */
    struct buf answer;
    int64_t exit_status;
    int term_signal;
    task_folders_done on_done;
    void *data;
};

enum status task_folders_new(uv_loop_t *loop, const struct config *config,
                             const struct confinement *confinement,
                             struct task_folders **ret_folders)
{
    struct task_folders *folders = mem_zalloc(sizeof(*folders));

    if (!folders)
        return ST_NO_MEMORY;
    folders->loop = loop;
    folders->config = config;
    folders->confinement = confinement;
    folders->fd = -1;
    *ret_folders = folders;
    return ST_OK;
}

void task_folders_free(struct task_folders *folders)
{
    if (!folders)
        return;
    registry_reset();
    catalog_clear(&folders->catalog);
    fd_close(&folders->fd);
    buf_clear(&folders->answer);
    mem_free(folders);
}

void task_folders_stop(struct task_folders *folders)
{
    if (!folders || folders->handles == 0)
        return;
    folders->on_done = NULL;
    (void)uv_process_kill(&folders->process, SIGKILL);
}

bool task_folders_looking(const struct task_folders *folders)
{
    return folders->handles > 0;
}

const struct catalog *task_folders_catalog(const struct task_folders *folders)
{
    return &folders->catalog;
}

int task_folders_fd(const struct task_folders *folders)
{
    return folders->fd;
}

bool task_folders_has_process(const struct task_folders *folders, pid_t pid)
{
    return folders && folders->handles > 0 && folders->process.pid == pid;
}

/* ---- the answer -------------------------------------------------------------------- */

static void log_catalog(const struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->file_count; i++) {
        const struct catalog_file *file = &catalog->files[i];

        if (file->refused)
            log_error("a file of tasks is refused", "file=%s reason=\"%s\"", file->path,
                      file->refused);
        else
            log_info("tasks found", "file=%s tasks=%zu", file->path, file->task_count);
    }
}

/* Above the numbers that a forkserver's own descriptors have. */
static enum status catalog_fd(struct text json, int *ret_fd)
{
    int fd;
    enum status st = catalog_to_memfd(json, &fd);

    if (st != ST_OK)
        return st;
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, CATALOG_FD + 1);
    fd_close(&fd);
    return *ret_fd == -1 ? ST_IO : ST_OK;
}

static enum status take_into_use(struct task_folders *folders, struct error_text *err)
{
    struct text json = buf_text(&folders->answer);
    struct catalog old = folders->catalog, catalog;
    enum status st = catalog_parse(json, &catalog, err);
    int fd = -1;

    if (st != ST_OK)
        return st;
    st = catalog_fd(json, &fd);
    if (st == ST_OK) {
        folders->catalog = catalog;
        st = registry_use(&folders->catalog);
    }
    if (st != ST_OK) {
        folders->catalog = old;
        catalog_clear(&catalog);
        fd_close(&fd);
        return error_set(err, st, "the catalog of tasks: %s", status_text(st));
    }
    catalog_clear(&old);
    fd_close(&folders->fd);
    folders->fd = fd;
    log_catalog(&folders->catalog);
    return ST_OK;
}

static void finish(struct task_folders *folders)
{
    task_folders_done on_done = folders->on_done;
    struct error_text err = { "" };
    enum status st;

    folders->on_done = NULL;
    if (!on_done)
        return;
    if (folders->term_signal != 0 || folders->exit_status != 0)
        st = error_set(
            &err,
            folders->term_signal == 0 && folders->exit_status == SCAN_EXIT_USAGE
                ? ST_INVALID
                : ST_IO,
            "poold tasks %s %d instead of listing the tasks; what it says is "
            "above",
            folders->term_signal ? "was ended by signal" : "ended with code",
            folders->term_signal ? folders->term_signal : (int)folders->exit_status);
    else if (folders->answer.failed)
        st = error_set(&err, ST_NO_MEMORY, "out of memory for the list of tasks");
    else
        st = take_into_use(folders, &err);
    buf_clear(&folders->answer);
    on_done(folders->data, st, &err);
}

/* ---- the process ------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct task_folders *folders = handle->data;

    if (--folders->handles == 0)
        finish(folders);
}

static void on_ended(uv_process_t *process, int64_t exit_status, int term_signal)
{
    struct task_folders *folders = process->data;

    folders->exit_status = exit_status;
    folders->term_signal = term_signal;
    uv_close((uv_handle_t *)process, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    struct buf *answer = &((struct task_folders *)handle->data)->answer;

    (void)suggested;
    if (buf_reserve(answer, ANSWER_STEP))
        *ret_buf = uv_buf_init(answer->data + answer->len, ANSWER_STEP);
    else
        *ret_buf = uv_buf_init(NULL, 0); /* on_read gets UV_ENOBUFS */
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct task_folders *folders = stream->data;

    (void)bytes;
    if (n > 0)
        folders->answer.len += (size_t)n;
    else if (n < 0)
        uv_close((uv_handle_t *)stream, on_closed);
}

/* "DIR,DIR" -> DIR, DIR, in a copy that argv points into. */
static size_t split_folders(char *list, char **ret_argv)
{
    size_t count = 0;

    for (char *save = NULL, *dir = strtok_r(list, ",", &save); dir;
         dir = strtok_r(NULL, ",", &save))
        ret_argv[count++] = dir;
    return count;
}

static enum status spawn(struct task_folders *folders, char **argv,
                         struct error_text *err)
{
    uv_stdio_container_t stdio[] = {
        { .flags = UV_IGNORE },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
          .data.stream = (uv_stream_t *)&folders->pipe },
        { .flags = UV_INHERIT_FD, .data.fd = 2 },
    };
    uv_process_options_t options = {
        .exit_cb = on_ended,
        .file = "/proc/self/exe",
        .args = argv,
        .stdio_count = 3,
        .stdio = stdio,
    };
    int error = uv_pipe_init(folders->loop, &folders->pipe, 0);

    if (error != 0)
        return error_set(err, ST_IO, "%s", uv_strerror(error));
    folders->pipe.data = folders->process.data = folders;
    folders->handles = 2;
    error = uv_spawn(folders->loop, &folders->process, &options);
    if (error != 0) {
        folders->on_done = NULL;
        uv_close((uv_handle_t *)&folders->process, on_closed);
        uv_close((uv_handle_t *)&folders->pipe, on_closed);
        return error_set(err, ST_IO, "poold tasks cannot be started: %s",
                         uv_strerror(error));
    }
    (void)uv_read_start((uv_stream_t *)&folders->pipe, on_alloc, on_read);
    return ST_OK;
}

/* "NAME,NAME" -> ["NAME", "NAME"] */
static json_t *array_of(const char *list)
{
    json_t *array = json_array();
    char *copy = list ? mem_strdup(list) : NULL;

    for (char *save = NULL, *name = copy ? strtok_r(copy, ",", &save) : NULL; name;
         name = strtok_r(NULL, ",", &save)) {
        if (json_array_append_new(array, json_string(name)) != 0)
            break;
    }
    mem_free(copy);
    return array;
}

/* Where the command is, wherever the process that runs it may be: a path is made absolute.
 * Its links are not followed, as a virtual environment's interpreter is one. */
static json_t *command_of(const char *command)
{
    char *here;
    json_t *path;

    if (command[0] == '/' || !strchr(command, '/'))
        return json_string(command);
    here = getcwd(NULL, 0);
    path = here ? json_sprintf("%s/%s", here, command) : NULL;
    free(here);
    return path;
}

/* What the runtimes have to know (workers/runtime.h), as the caller's JSON text, or NULL. */
static char *settings_text(const struct config *config)
{
    json_t *settings = json_pack("{s:o, s:o}", "python", command_of(config->python),
                                 "python_modules", array_of(config->python_modules));
    char *text = json_dumps(settings, JSON_COMPACT);

    json_decref(settings);
    return text;
}

/* Of those that matter to who only looks. As the caller's JSON text, or NULL. */
static char *limits_text(const struct limits *limits)
{
    json_t *json = json_object();
    bool ok = true;
    char *text;

    for (unsigned i = 0; i < LIMIT_COUNT && ok; i++)
        if (limits->at[i] > 0)
            ok = json_object_set_new(json, limit_kinds[i].name,
                                     json_integer((json_int_t)limits->at[i])) == 0;
    text = ok ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

/* What is inside of argv lives as long as these. */
struct command {
    char **argv;
    char *folders, *settings, *limits, *words;
    char timeout[32];
};

static void command_clear(struct command *command)
{
    mem_free(command->argv);
    mem_free(command->folders);
    mem_free(command->words);
    free(command->settings); /* jansson's */
    free(command->limits);
}

static bool command_make(const struct task_folders *folders, struct command *command)
{
    const struct config *config = folders->config;
    const struct confinement confinement = {
        .sandbox = folders->confinement->sandbox,
        .data = folders->confinement->data,
        .write = folders->confinement->write,
    };
    char *words[CONFINE_ARGS_MAX] = { NULL };
    size_t n = 0;

    command->folders = mem_strdup(config->tasks ? config->tasks : "");
    command->settings = settings_text(config);
    command->limits = limits_text(&config->limits);
    command->argv =
        command->folders
            ? mem_zalloc((strlen(command->folders) + ARGS_MAX) * sizeof(*command->argv))
            : NULL;
    if (!command->argv || !command->settings || !command->limits ||
        confine_args(&confinement, words, &command->words) != ST_OK)
        return false;
    (void)snprintf(command->timeout, sizeof(command->timeout), "%.3f",
                   (double)config->probe_timeout_ms / 1000);
    command->argv[n++] = "poold";
    command->argv[n++] = "tasks";
    command->argv[n++] = "--json";
    command->argv[n++] = "--settings";
    command->argv[n++] = command->settings;
    command->argv[n++] = "--probe-timeout";
    command->argv[n++] = command->timeout;
    command->argv[n++] = "--limits";
    command->argv[n++] = command->limits;
    command->argv[n++] = "--confine";
    command->argv[n++] = words[0] ? words[0] : "none";
    for (size_t i = 1; words[0] && words[i]; i++) {
        command->argv[n++] = "--confine";
        command->argv[n++] = words[i];
    }
    (void)split_folders(command->folders, command->argv + n);
    return true;
}

enum status task_folders_look(struct task_folders *folders, task_folders_done on_done,
                              void *data, struct error_text *err)
{
    struct command command = { 0 };
    enum status st;

    if (!command_make(folders, &command)) {
        st = error_set(err, ST_NO_MEMORY, "out of memory");
    } else if (folders->handles > 0) {
        st = error_set(err, ST_STATE, "the folders are being looked at already");
    } else {
        buf_reset(&folders->answer);
        folders->on_done = on_done;
        folders->data = data;
        st = spawn(folders, command.argv, err);
    }
    command_clear(&command);
    return st;
}
