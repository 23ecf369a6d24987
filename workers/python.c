/* SPDX-License-Identifier: MIT */
#include "workers/python.h"

#include "common/buf.h"
#include "common/fd.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_STEP (64u << 10)
#define FIXED_ARGS  7 /* python3 -I -B SCRIPT MODE OPTION, and the NULL */

/* Made at build time; see scripts/embed.cmake. */
extern const unsigned char embed_runner_py[];
extern const size_t embed_runner_py_len;

/* What was loaded: the texts are the catalog's, which stays as long as the process. */
static struct {
    const char *interpreter;
    const char **entries; /* paths, or names of modules */
    size_t count;
} loaded;

static const char *interpreter_of(const json_t *settings)
{
    const char *name = json_string_value(json_object_get(settings, "python"));

    return name ? name : "python3";
}

bool python_loaded(void)
{
    return loaded.count > 0;
}

enum status python_load(struct catalog_file *file, const json_t *settings,
                        struct error_text *err)
{
    const char **entries =
        mem_realloc(loaded.entries, (loaded.count + 1) * sizeof(*entries));

    if (!entries)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    entries[loaded.count++] = file->path;
    loaded.entries = entries;
    loaded.interpreter = interpreter_of(settings);
    for (size_t i = 0; i < file->task_count; i++)
        file->tasks[i].relayed = true;
    return ST_OK;
}

/* ---- the interpreter --------------------------------------------------------------- */

static bool write_script(int fd)
{
    size_t done = 0;

    while (done < embed_runner_py_len) {
        ssize_t n = write(fd, embed_runner_py + done, embed_runner_py_len - done);

        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* Puts the descriptors where they belong; they are out of each other's way first. */
static bool place(int first, int second)
{
    int wanted[] = { first, second, memfd_create("poold-runner.py", MFD_CLOEXEC) };

    for (int i = 0; i < 3; i++) {
        wanted[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, PYTHON_SCRIPT_FD + 1);
        if (wanted[i] == -1)
            return false;
    }
    if (!write_script(wanted[2]))
        return false;
    for (int i = 0; i < 3; i++) {
        if (dup2(wanted[i], PYTHON_FD + i) == -1)
            return false;
    }
    return close_range(PYTHON_SCRIPT_FD + 1, ~0U, 0) == 0;
}

/* -I: nothing from the environment or the current folder decides what is run. -B: nothing is
 * written beside the modules. */
static void execute(const char *interpreter, const char *mode, const char *option,
                    const char *const *entries, size_t count)
{
    const char **argv = mem_zalloc((FIXED_ARGS + count) * sizeof(*argv));
    size_t n = 0;

    if (!argv)
        return;
    argv[n++] = interpreter;
    argv[n++] = "-I";
    argv[n++] = "-B";
    argv[n++] = "/proc/self/fd/5";
    argv[n++] = mode;
    if (option)
        argv[n++] = option;
    for (size_t i = 0; i < count; i++)
        argv[n++] = entries[i];
    (void)execvp(interpreter, (char **)(uintptr_t)argv);
    mem_free(argv);
}

void python_execute(const char *mode, const char *option, int first, int second)
{
    if (place(first, second))
        execute(loaded.interpreter, mode, option, loaded.entries, loaded.count);
    (void)fprintf(stderr, "poold: %s cannot be started: %s\n", loaded.interpreter,
                  strerror(errno));
}

/* ---- the probe --------------------------------------------------------------------- */

_Noreturn static void describe(const char *interpreter, const char *path, int out)
{
    json_t *refusal;

    if (place(out, STDERR_FILENO)) {
        out = PYTHON_FD;
        execute(interpreter, "describe", path, NULL, 0);
    }
    /* It cannot be run: that is the answer. */
    refusal =
        json_pack("{s:o}", "refused",
                  json_sprintf("%s cannot be run: %s", interpreter, strerror(errno)));
    _exit(json_dumpfd(refusal, out, JSON_COMPACT) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

static void read_all(int fd, struct buf *answer)
{
    for (;;) {
        ssize_t n;

        if (!buf_reserve(answer, ANSWER_STEP))
            return;
        n = read(fd, answer->data + answer->len, ANSWER_STEP);
        if (n > 0)
            answer->len += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return;
    }
}

/* A module may end its interpreter: then this process, which is there for nothing else, ends
 * in the same way, and whoever waits for it says so. */
static void end_like(int wait_status)
{
    if (WIFSIGNALED(wait_status)) {
        signal(WTERMSIG(wait_status), SIG_DFL);
        (void)raise(WTERMSIG(wait_status));
    }
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) != 0)
        _exit(WEXITSTATUS(wait_status));
}

static enum status take_answer(const struct buf *answer, json_t *file,
                               struct error_text *err)
{
    json_t *json = json_loadb(answer->data, answer->len, 0, NULL);
    const char *refused = json_string_value(json_object_get(json, "refused"));
    enum status st = ST_OK;

    if (refused)
        st = error_set(err, ST_INVALID, "%s", refused);
    else if (json_object_set(file, "tasks", json_object_get(json, "tasks")) != 0)
        st = error_set(err, ST_INVALID, "importing it ended the interpreter");
    json_decref(json);
    return st;
}

enum status python_probe(const char *path, const json_t *settings, json_t *file,
                         struct error_text *err)
{
    struct buf answer = BUF_INIT;
    int pair[2], wait_status = 0;
    enum status st;
    pid_t pid;

    if (pipe2(pair, O_CLOEXEC) == -1)
        return error_set(err, ST_IO, "%s", strerror(errno));
    pid = fork();
    if (pid == 0)
        describe(interpreter_of(settings), path, pair[1]);
    fd_close(&pair[1]);
    if (pid > 0) {
        read_all(pair[0], &answer);
        while (waitpid(pid, &wait_status, 0) == -1 && errno == EINTR)
            ;
    }
    fd_close(&pair[0]);
    if (pid == -1)
        return error_set(err, ST_IO, "%s", strerror(errno));
    end_like(wait_status);
    st = take_answer(&answer, file, err);
    buf_clear(&answer);
    return st;
}
