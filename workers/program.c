/* SPDX-License-Identifier: MIT */
#include "workers/program.h"

#include "common/clock.h"
#include "common/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_LEN (64u << 10) /* what a pipe holds */

/* ---- the runtime ------------------------------------------------------------------- */

static enum status load_manifest(const char *path, json_t **ret_manifest,
                                 struct error_text *err)
{
    json_error_t error;
    struct stat info;

    if (stat(path, &info) == -1)
        return error_set(err, ST_IO, "%s", strerror(errno));
    if (info.st_size > PROGRAM_FILE_MAX)
        return error_set(err, ST_INVALID, "it has more than %u bytes", PROGRAM_FILE_MAX);
    *ret_manifest = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (*ret_manifest)
        return ST_OK;
    return error_set(err, ST_INVALID, "line %d: %s", error.line, error.text);
}

/* What a program is limited to is its runtime's business; here it is only told. */
static json_t *describe_limits(const json_t *manifest)
{
    static const char *const names[][2] = { { "time", "time_limit" },
                                            { "cpu", CPU_LIMIT_NAME },
                                            { "memory", "memory_limit" },
                                            { "file_size", "file_size_limit" },
                                            { "open_files", "open_files_limit" } };
    const json_t *limits = json_object_get(manifest, "limits");
    json_t *told = json_object();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *value = json_object_get(limits, names[i][0]);

        if (value && json_object_set(told, names[i][1], value) != 0) {
            json_decref(told);
            return NULL;
        }
    }
    return told;
}

static json_t *describe(const json_t *manifest)
{
    json_t *limits = describe_limits(manifest);
    const char *name = json_string_value(json_object_get(manifest, "name"));
    const char *summary = json_string_value(json_object_get(manifest, "summary"));
    json_t *signature = json_incref(json_object_get(manifest, "signature"));

    if (!signature)
        signature = json_sprintf("%s(*args, **kwargs)", name);
    return json_pack("{s:s, s:s, s:o, s:o*}", "name", name, "summary",
                     summary ? summary : "", "signature", signature, "limits", limits);
}

enum status program_probe(const char *path, const json_t *settings, json_t *file,
                          struct error_text *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = mem_strndup(path, slash ? (size_t)(slash - path) : 0);
    json_t *manifest = NULL, *definition = NULL;
    enum status st;

    (void)settings;
    if (!folder)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    st = load_manifest(path, &manifest, err);
    if (st == ST_OK)
        st = program_manifest_check(manifest, folder, &definition, err);
    if (st == ST_OK &&
        (json_object_set_new(file, "definition", definition) != 0 ||
         json_object_set_new(file, "tasks", json_pack("[o]", describe(manifest))) != 0))
        st = error_set(err, ST_NO_MEMORY, "out of memory");
    json_decref(manifest);
    mem_free(folder);
    return st;
}

enum status program_load(struct catalog_file *file, const json_t *settings,
                         struct error_text *err)
{
    struct program *program = mem_zalloc(sizeof(*program));
    enum status st;

    (void)settings;
    if (!program)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    st = program_manifest_read(file->definition, environ, &program->manifest, err);
    if (st == ST_OK && file->task_count != 1) {
        st = error_set(err, ST_INVALID, "it is not one task");
        program_manifest_clear(&program->manifest);
    }
    if (st != ST_OK) {
        mem_free(program);
        return st;
    }
    file->tasks[0].run = program->manifest.mode == PROGRAM_ONESHOT
                             ? program_run_oneshot
                             : program_run_persistent;
    file->tasks[0].unbound = true;
    file->tasks[0].data = program;
    return ST_OK;
}

/* ---- failures ---------------------------------------------------------------------- */

void program_fail(struct task_call *call, enum failure_kind kind, const char *type,
                  struct text message, struct text traceback)
{
    struct buf json = BUF_INIT;

    buf_addf(&json, "{\"type\":\"%s\",\"message\":", type);
    buf_add_json_bytes(&json, message);
    buf_add_str(&json, ",\"traceback\":");
    buf_add_json_bytes(&json, traceback);
    buf_add_char(&json, '}');
    call_fail(call, kind, json.failed ? (struct text){ 0 } : buf_text(&json));
    buf_clear(&json);
}

void program_fail_start(struct task_call *call, int error, const struct error_text *err)
{
    const char *type = error == ENOENT   ? "FileNotFoundError"
                       : error == EACCES ? "PermissionError"
                                         : "OSError";

    call_raise(call, type, "%s", err->text);
}

void program_fail_time(struct task_call *call)
{
    const struct program *program = call->task->data;
    char message[128];
    int len = snprintf(message, sizeof(message), "the program ran longer than %g seconds",
                       (double)program->manifest.limits[PROGRAM_TIME] / 1000);

    program_fail(call, FAILURE_TIME_LIMIT, "TimeoutError",
                 (struct text){ message, (size_t)len }, (struct text){ 0 });
}

void program_fail_cpu(struct task_call *call)
{
    char message[128];
    int len = snprintf(message, sizeof(message),
                       "the program used more than %g seconds of processor time",
                       (double)call->cpu_ms / 1000);

    program_fail(call, FAILURE_TIME_LIMIT, "TimeoutError",
                 (struct text){ message, (size_t)len }, (struct text){ 0 });
}

_Noreturn void program_follow(const struct program *program, int wait_status)
{
    int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;
    sigset_t all;

    (void)fflush(stdout);
    if (!WIFSIGNALED(wait_status)) {
        dprintf(STDERR_FILENO,
                "poold: program %s ended with code %d, and its worker with it\n",
                program->manifest.name, code);
        _exit(code);
    }
    code = WTERMSIG(wait_status);
    dprintf(STDERR_FILENO,
            "poold: program %s was killed by signal %d (SIG%s), and its worker with it\n",
            program->manifest.name, code, sigabbrev_np(code) ? sigabbrev_np(code) : "?");
    signal(code, SIG_DFL);
    sigfillset(&all);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    kill(getpid(), code);
    _exit(128 + code); /* not reached: no signal that ends one process spares the other */
}

/* ---- time and pipes ---------------------------------------------------------------- */

uint64_t program_deadline(const struct program *program)
{
    uint64_t ms = program->manifest.limits[PROGRAM_TIME];

    return ms ? clock_mono_ns() + ms * NS_PER_MS : 0;
}

int program_ms_left(uint64_t deadline_ns)
{
    uint64_t now, ms;

    if (deadline_ns == 0)
        return -1;
    now = clock_mono_ns();
    ms = deadline_ns > now ? (deadline_ns - now) / NS_PER_MS + 1 : 0;
    return ms < 86400000 ? (int)ms : 86400000;
}

enum program_read program_read(int fd, struct buf *buf)
{
    ssize_t n;

    if (!buf_reserve(buf, READ_LEN))
        return READ_NO_MEMORY;
    do
        n = read(fd, buf->data + buf->len, READ_LEN);
    while (n == -1 && errno == EINTR);
    if (n > 0)
        buf->len += (size_t)n;
    return n > 0 ? READ_SOME : n == -1 && errno == EAGAIN ? READ_NOTHING : READ_END;
}

bool program_write(int fd, struct text text, size_t *sent)
{
    while (*sent < text.len) {
        ssize_t n = write(fd, text.at + *sent, text.len - *sent);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return errno == EAGAIN;
        *sent += (size_t)n;
    }
    return true;
}
