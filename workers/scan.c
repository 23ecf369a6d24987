/* SPDX-License-Identifier: MIT */
/*
 * The parent does nothing but fork, wait and check: all that could go wrong with a file
 * happens in the child, whose answer comes through a pipe as one JSON object, the entry of
 * the file in the catalog.
 */
#include "workers/scan.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/utf8.h"
#include "workers/confine_process.h"
#include "workers/registry.h"
#include "workers/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MAX  (16u << 20) /* bytes: what a file may say of itself */
#define ANSWER_STEP (64u << 10)

struct scan {
    int probe_ms;
    struct confinement confinement; /* of those who look */
    struct limits limits;
    json_t *settings;
    json_t *files;
    json_t *taken; /* name -> path of the file that has it */
    size_t refused;
};

/* ---- in the child ------------------------------------------------------------------ */

static json_t *probe(const struct runtime *runtime, const char *path,
                     const json_t *settings)
{
    json_t *file = json_object();
    struct error_text err = { "" };

    if (runtime->probe(path, settings, file, &err) != ST_OK) {
        json_decref(file);
        file = json_pack("{s:s+}", "refused", "", err.text);
    }
    return file;
}

/* Its own process group, so that whatever it starts can be ended with it. */
_Noreturn static void become_probe(const struct scan *scan, const struct runtime *runtime,
                                   const char *path, pid_t parent, int out)
{
    json_t *file;

    if (!confine_probe(parent, &scan->confinement, &scan->limits) ||
        dup2(STDERR_FILENO, STDOUT_FILENO) == -1)
        _exit(EXIT_FAILURE);
    file = probe(runtime, path, scan->settings);
    if (!file || json_dumpfd(file, out, JSON_COMPACT) != 0)
        _exit(EXIT_FAILURE);
    _exit(EXIT_SUCCESS);
}

/* ---- waiting for it ---------------------------------------------------------------- */

/* Reads until the end of file, at most until the deadline. */
static bool read_answer(int fd, int probe_ms, struct buf *answer)
{
    uint64_t deadline = clock_mono_ns() + (uint64_t)probe_ms * NS_PER_MS;

    for (;;) {
        struct pollfd readable = { .fd = fd, .events = POLLIN };
        uint64_t now = clock_mono_ns();
        ssize_t n;

        if (now >= deadline || answer->len > ANSWER_MAX ||
            !buf_reserve(answer, ANSWER_STEP))
            return false;
        if (poll(&readable, 1, (int)((deadline - now) / 1000000 + 1)) <= 0)
            continue;
        n = read(fd, answer->data + answer->len, ANSWER_STEP);
        if (n == 0)
            return true;
        if (n > 0)
            answer->len += (size_t)n;
        else if (errno != EINTR)
            return false;
    }
}

PRINTF(1, 2) static json_t *refuse(const char *format, ...)
{
    struct error_text why;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why.text, sizeof(why.text), format, args);
    va_end(args);
    return json_pack("{s:s}", "refused", why.text);
}

/* What became of the child; NULL without memory. */
static json_t *judge(bool answered, int probe_ms, int wait_status,
                     const struct buf *answer)
{
    json_t *file;

    if (!answered && answer->len > ANSWER_MAX)
        return refuse("it has more to say of itself than %u bytes", ANSWER_MAX);
    if (!answered)
        return refuse("looking at it did not end within %g seconds", probe_ms / 1000.0);
    if (WIFSIGNALED(wait_status))
        return refuse("it crashed while it was looked at (SIG%s)",
                      sigabbrev_np(WTERMSIG(wait_status)));
    if (WEXITSTATUS(wait_status) != 0)
        return refuse("it ended the process that looked at it (exit code %d)",
                      WEXITSTATUS(wait_status));
    file = json_loadb(answer->data, answer->len, 0, NULL);
    return json_is_object(file) ? file : refuse("%s", "looking at it gave no answer");
}

static json_t *probe_apart(const struct scan *scan, const struct runtime *runtime,
                           const char *path)
{
    struct buf answer = BUF_INIT;
    int fds[2], wait_status = 0;
    json_t *file;
    bool answered;
    pid_t pid, self = getpid();

    if (pipe2(fds, O_CLOEXEC) == -1)
        return refuse("%s", strerror(errno));
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0)
        become_probe(scan, runtime, path, self, fds[1]);
    fd_close(&fds[1]);
    answered = pid > 0 && read_answer(fds[0], scan->probe_ms, &answer);
    fd_close(&fds[0]);
    if (pid == -1)
        return refuse("%s", strerror(errno));
    setpgid(pid, pid);
    kill(-pid, SIGKILL); /* it has ended, or is late; and what it has left behind */
    while (waitpid(pid, &wait_status, 0) == -1 && errno == EINTR)
        ;
    file = judge(answered, scan->probe_ms, wait_status, &answer);
    buf_clear(&answer);
    return file;
}

/* ---- files ------------------------------------------------------------------------- */

static const char *reason_to_refuse(const char *path)
{
    struct stat info;

    if (stat(path, &info) == -1)
        return strerror(errno);
    if (!S_ISREG(info.st_mode))
        return "it is no regular file";
    if (info.st_mode & S_IWOTH)
        return "everybody may write to it; use: chmod o-w";
    if (access(path, R_OK) == -1)
        return strerror(errno);
    return NULL;
}

/* NULL: all tasks are well described and their names free. */
static json_t *check_tasks(const struct scan *scan, const json_t *tasks)
{
    const json_t *task;
    const char *why;
    size_t i;

    if (!json_is_array(tasks))
        return json_string("looking at it gave no list of tasks");
    if (json_array_size(tasks) == 0)
        return json_string("there is no task in it");
    json_array_foreach(tasks, i, task)
    {
        const char *name, *owner;

        if (!catalog_task_valid(task, &why))
            return json_string(why);
        name = json_string_value(json_object_get(task, "name"));
        owner = json_string_value(json_object_get(scan->taken, name));
        if (owner)
            return json_sprintf("the task %s is in %s already", name, owner);
        if (registry_find((struct text){ name, strlen(name) }))
            return json_sprintf("the task %s is built in", name);
        for (size_t k = 0; k < i; k++) {
            const json_t *other = json_array_get(tasks, k);

            if (json_equal(json_object_get(other, "name"), json_object_get(task, "name")))
                return json_sprintf("the task %s is in it twice", name);
        }
    }
    return NULL;
}

static bool take_names(struct scan *scan, const json_t *file)
{
    const json_t *task;
    bool ok = true;
    size_t i;

    json_array_foreach(json_object_get(file, "tasks"), i, task) ok =
        json_object_set(scan->taken, json_string_value(json_object_get(task, "name")),
                        json_object_get(file, "path")) == 0 &&
        ok;
    return ok;
}

/* A catalog is JSON, and its texts are UTF-8. */
static bool is_utf8(const char *path)
{
    size_t left = strlen(path), len;

    for (; left > 0; path += len, left -= len) {
        len = utf8_len(path, left);
        if (len == 0)
            return false;
    }
    return true;
}

static bool scan_entry(struct scan *scan, enum task_runtime kind, const char *path,
                       const char *reason)
{
    json_t *file, *why;

    file = reason ? refuse("%s", reason) : probe_apart(scan, runtime_of(kind), path);
    if (!json_is_string(json_object_get(file, "refused"))) {
        why = check_tasks(scan, json_object_get(file, "tasks"));
        if (why) {
            json_decref(file);
            file = json_pack("{s:o}", "refused", why);
        }
    }
    scan->refused += json_object_get(file, "refused") != NULL;
    return json_object_set_new(file, "path", json_string(path)) == 0 &&
           json_object_set_new(file, "runtime", json_string(task_runtime_names[kind])) ==
               0 &&
           take_names(scan, file) && json_array_append_new(scan->files, file) == 0;
}

static bool scan_file(struct scan *scan, const char *path)
{
    enum task_runtime kind;

    if (!runtime_of_path(path, &kind))
        return true;
    if (!is_utf8(path)) {
        (void)fputs("poold tasks: a file is passed over, as its name is no UTF-8\n",
                    stderr);
        return true;
    }
    return scan_entry(scan, kind, path, reason_to_refuse(path));
}

/* What the settings list by name. */
static bool scan_listed(struct scan *scan)
{
    bool ok = true;

    for (unsigned kind = 0; kind < TASK_RUNTIME_COUNT; kind++) {
        const char *setting = runtime_of(kind)->listed;
        const json_t *names = setting ? json_object_get(scan->settings, setting) : NULL;
        const json_t *name;
        size_t i;

        json_array_foreach(names, i, name)
        {
            if (json_is_string(name))
                ok = ok && scan_entry(scan, kind, json_string_value(name), NULL);
        }
    }
    if (!ok)
        (void)fputs("poold tasks: out of memory\n", stderr);
    return ok;
}

static int is_candidate(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && entry->d_name[0] != '_';
}

/* False: an error was printed. */
static bool scan_folder(struct scan *scan, const char *folder)
{
    char *absolute = realpath(folder, NULL);
    struct dirent **entries = NULL;
    int count = absolute ? scandir(absolute, &entries, is_candidate, alphasort) : -1;
    bool ok = count >= 0;

    if (!ok)
        (void)fprintf(stderr, "poold tasks: %s: %s\n", folder, strerror(errno));
    for (int i = 0; i < count; i++) {
        char *path = NULL;

        if (ok && asprintf(&path, "%s/%s", absolute, entries[i]->d_name) != -1) {
            ok = scan_file(scan, path);
            if (!ok)
                (void)fputs("poold tasks: out of memory\n", stderr);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    free(absolute);
    return ok;
}

/* ---- what it prints ---------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void print_file(const json_t *file)
{
    const char *refused = text_of(file, "refused");
    const json_t *task;
    size_t i;

    (void)printf("%s (%s)\n", text_of(file, "path"), text_of(file, "runtime"));
    if (refused)
        (void)printf("  refused: %s\n", refused);
    json_array_foreach(json_object_get(file, "tasks"), i, task)
    {
        const char *name = text_of(task, "name");
        const char *signature = text_of(task, "signature");
        bool named = strncmp(signature, name, strlen(name)) == 0;

        /* "gcd(a, b)" says it all; "images:thumbnail" is thumbnail(path) in its file. */
        (void)printf("  %s%s%s\n", named ? "" : name, named ? "" : "    ", signature);
        if (*text_of(task, "summary"))
            (void)printf("      %s\n", text_of(task, "summary"));
    }
}

static int print_table(const struct scan *scan)
{
    size_t i, files = json_array_size(scan->files), tasks = json_object_size(scan->taken);
    const json_t *file;

    json_array_foreach(scan->files, i, file) print_file(file);
    if (files == 0)
        (void)puts("no files of tasks here: *.so, *.py and *.json are looked for");
    else
        (void)printf("%zu %s in %zu %s", tasks, tasks == 1 ? "task" : "tasks",
                     files - scan->refused,
                     files - scan->refused == 1 ? "file" : "files");
    if (scan->refused > 0)
        (void)printf(", %zu refused", scan->refused);
    if (files > 0)
        (void)putchar('\n');
    return scan->refused > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int print_json(const struct scan *scan)
{
    json_t *catalog =
        json_pack("{s:O, s:O}", "settings", scan->settings, "files", scan->files);
    int failed =
        !catalog || json_dumpf(catalog, stdout, JSON_COMPACT) != 0 || fflush(stdout) != 0;

    json_decref(catalog);
    return failed ? SCAN_EXIT_USAGE : EXIT_SUCCESS;
}

/* ---- the command ------------------------------------------------------------------- */

static int usage(FILE *to, int exit_code)
{
    (void)fputs(
        "usage: poold tasks [--probe-timeout SECONDS] [--json] [--settings JSON] "
        "[--confine WORD]... [--limits JSON] [DIR...]\n"
        "\n"
        "Lists the tasks in the files of folders, as poold serve --tasks DIR would "
        "take them,\n"
        "and what is wrong with files that it would refuse.\n"
        "\n"
        "  --probe-timeout SECONDS  how long looking at one file may take "
        "(default: 10)\n"
        "  --json                   write the catalog that the service reads\n"
        "  --settings JSON          the service's settings that matter here, for "
        "instance\n"
        "                           {\"python\": \"/srv/venv/bin/python\", "
        "\"python_modules\": [\"math\"]}\n"
        "  --confine WORD           what holds the processes that look: sandbox, "
        "data=DIR that\n"
        "                           they cannot read, write=DIR:DIR, or none (default: "
        "sandbox)\n"
        "  --limits JSON            their limits, for instance "
        "{\"memory_limit\": 1000000000}\n"
        "\n"
        "Exit code: 0; 1 if a file is refused (not with --json); 2 for wrong "
        "arguments or\n"
        "a folder that cannot be read.\n",
        to);
    return exit_code;
}

static bool read_timeout(const char *text, int *ret_ms)
{
    char *end;
    double seconds = strtod(text, &end);

    if (*end || end == text || !(seconds > 0 && seconds * 1000 <= PROBE_MS_MAX))
        return false;
    *ret_ms = (int)(seconds * 1000 + 0.5);
    return *ret_ms > 0;
}

/* The words come to one confinement; "none" has nothing in it. */
static bool read_confinement(const char *word, struct confinement *confinement)
{
    struct confinement more;
    char *words[] = { (char *)(uintptr_t)word };

    if (strcmp(word, "none") == 0)
        return true;
    if (!confine_parse(1, words, &more))
        return false;
    confinement->sandbox |= more.sandbox;
    confinement->data = more.data ? more.data : confinement->data;
    confinement->write = more.write ? more.write : confinement->write;
    return true;
}

static bool read_limits(const char *text, struct limits *ret_limits)
{
    json_t *json = json_loads(text, 0, NULL);
    int64_t time_limit_ms;
    bool ok = json && !limits_parse(json, ret_limits, &time_limit_ms);

    json_decref(json);
    return ok;
}

/* Reads the flags; *ret_first is the first folder. */
static bool read_flags(int argc, char **argv, struct scan *scan, bool *ret_json,
                       int *ret_first)
{
    const char *settings = "{}";
    bool told = false;
    int i;

    for (i = 0; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--json") == 0)
            *ret_json = true;
        else if (strcmp(argv[i], "--settings") == 0 && i + 1 < argc)
            settings = argv[++i];
        else if (strcmp(argv[i], "--probe-timeout") == 0 && i + 1 < argc &&
                 read_timeout(argv[i + 1], &scan->probe_ms))
            i++;
        else if (strcmp(argv[i], "--confine") == 0 && i + 1 < argc &&
                 read_confinement(argv[i + 1], &scan->confinement))
            i++, told = true;
        else if (strcmp(argv[i], "--limits") == 0 && i + 1 < argc &&
                 read_limits(argv[i + 1], &scan->limits))
            i++;
        else
            return false;
    }
    if (!told)
        scan->confinement.sandbox = true;
    scan->settings = json_loads(settings, 0, NULL);
    *ret_first = i;
    return json_is_object(scan->settings) &&
           (i < argc || json_object_size(scan->settings) > 0);
}

static bool is_help(int argc, char **argv)
{
    return argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
}

int scan_main(int argc, char **argv)
{
    struct scan scan = { .probe_ms = PROBE_MS };
    int i = 0, exit_code = EXIT_SUCCESS;
    bool json = false;

    if (is_help(argc, argv))
        return usage(stdout, EXIT_SUCCESS);
    if (!read_flags(argc, argv, &scan, &json, &i)) {
        json_decref(scan.settings);
        return usage(stderr, SCAN_EXIT_USAGE);
    }
    /* The service's own does not outlive it. */
    if (json)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    scan.files = json_array();
    scan.taken = json_object();
    for (; i < argc && exit_code == EXIT_SUCCESS; i++) {
        if (!scan_folder(&scan, argv[i]))
            exit_code = SCAN_EXIT_USAGE;
    }
    if (exit_code == EXIT_SUCCESS && !scan_listed(&scan))
        exit_code = SCAN_EXIT_USAGE;
    if (exit_code == EXIT_SUCCESS)
        exit_code = json ? print_json(&scan) : print_table(&scan);
    json_decref(scan.settings);
    json_decref(scan.files);
    json_decref(scan.taken);
    return exit_code;
}
