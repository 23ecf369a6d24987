/* SPDX-License-Identifier: MIT */
/*
 * The private copy is a memfd, loaded as /proc/self/fd/N. The dynamic linker knows a library
 * by the name that it was loaded by, so no two of them may have the same N: the descriptors
 * stay open as long as the process. A forked worker closes its copies and has the memory.
 */
#include "workers/plugin.h"

#include "common/fd.h"
#include "include/poold/task.h"
#include "workers/limits.h"
#include "workers/plugin_call.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define ABI_OLDEST      1u /* that this poold can load */
#define ABI_WITH_LIMITS 2u /* struct poold_task has them since */
#define COPY_STEP       (1u << 20)
#define HASH_LEN        16 /* digits */
#define NAME_KEPT       200 /* bytes of the file's name, for debuggers and /proc/PID/maps */

/* ---- the copy ---------------------------------------------------------------------- */

static enum status copy_content(int from, int to)
{
    ssize_t n;

    do
        n = sendfile(to, from, NULL, COPY_STEP);
    while (n > 0 || (n == -1 && errno == EINTR));
    return n == 0 ? ST_OK : ST_IO;
}

static enum status hash_content(int fd, char ret_hash[HASH_LEN + 1])
{
    struct stat info;
    void *content;

    if (fstat(fd, &info) == -1 || info.st_size == 0)
        return ST_IO;
    content = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (content == MAP_FAILED)
        return ST_NO_MEMORY;
    (void)snprintf(ret_hash, HASH_LEN + 1, "%016" PRIx64,
                   (uint64_t)XXH3_64bits(content, (size_t)info.st_size));
    munmap(content, (size_t)info.st_size);
    return ST_OK;
}

static enum status copy_file(const char *path, int *ret_copy, char ret_hash[HASH_LEN + 1],
                             struct error_text *err)
{
    char name[NAME_KEPT + 1];
    int file = open(path, O_RDONLY | O_CLOEXEC), copy;
    enum status st;

    (void)snprintf(name, sizeof(name), "%s", strrchr(path, '/') + 1);
    copy = memfd_create(name, MFD_CLOEXEC);
    if (file == -1 || copy == -1) {
        st = error_set(err, ST_IO, "it cannot be read: %s", strerror(errno));
    } else {
        st = copy_content(file, copy);
        if (st == ST_OK)
            st = hash_content(copy, ret_hash);
        if (st != ST_OK)
            (void)error_set(err, st, "it cannot be read, or is empty");
    }
    fd_close(&file);
    if (st != ST_OK)
        fd_close(&copy);
    else
        *ret_copy = copy;
    return st;
}

/* What the dynamic linker says, without the name that only we know it by. */
static enum status refuse_library(const char *name, struct error_text *err)
{
    const char *why = dlerror();
    size_t len = strlen(name);

    if (!why)
        why = "nobody knows why";
    if (strncmp(why, name, len) == 0 && strncmp(why + len, ": ", 2) == 0)
        why += len + 2;
    return error_set(err, ST_INVALID, "it cannot be loaded: %s", why);
}

static enum status load_library(int copy, const struct poold_plugin **ret_plugin,
                                struct error_text *err)
{
    const struct poold_plugin *plugin;
    char name[32];
    void *library;

    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", copy);
    library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return refuse_library(name, err);
    plugin = dlsym(library, "poold_plugin");
    if (!plugin)
        return error_set(err, ST_INVALID,
                         "it does not export poold_plugin: see POOLD_PLUGIN in "
                         "poold/task.h");
    if (plugin->abi < ABI_OLDEST || plugin->abi > POOLD_ABI)
        return error_set(err, ST_INVALID,
                         "it is made for interface %" PRIu32
                         " of poold, this one has %u: compile it again with this one's "
                         "poold/task.h",
                         plugin->abi, (unsigned)POOLD_ABI);
    *ret_plugin = plugin;
    return ST_OK;
}

/* ---- probe ------------------------------------------------------------------------- */

static enum status check_task(const struct poold_task *task, size_t i,
                              struct error_text *err)
{
    if (!task->name || !task->summary || !task->signature)
        return error_set(err, ST_INVALID,
                         "task number %zu (%s) has no name, summary or "
                         "signature",
                         i + 1, task->name ? task->name : "nameless");
    if (task->params[POOLD_PARAMS_MAX])
        return error_set(err, ST_INVALID, "task %s has more than %d params", task->name,
                         POOLD_PARAMS_MAX);
    if (!task->run == !task->value)
        return error_set(err, ST_INVALID, "task %s has %s of run and value: it needs one",
                         task->name, task->run ? "both" : "none");
    return ST_OK;
}

/* Beyond the integers of JSON it is a real, which is no limit that is taken. */
static json_t *json_size(uint64_t n)
{
    return n <= INT64_MAX ? json_integer((json_int_t)n) : json_real((double)n);
}

/* Those that it has; what is out of range is refused by whoever reads the catalog. */
static json_t *describe_limits(const struct poold_limits *limits)
{
    const struct {
        const char *name;
        json_t *value;
    } all[] = {
        { "time_limit", json_real(limits->time_limit) },
        { CPU_LIMIT_NAME, json_real(limits->cpu_limit) },
        { limit_kinds[LIMIT_MEMORY].name, json_size(limits->memory_limit) },
        { limit_kinds[LIMIT_FILE_SIZE].name, json_size(limits->file_size_limit) },
        { limit_kinds[LIMIT_OPEN_FILES].name, json_size(limits->open_files_limit) },
        { limit_kinds[LIMIT_PROCESSES].name, json_size(limits->process_limit) },
    };
    json_t *told = json_object();

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].value && json_number_value(all[i].value) == 0)
            json_decref(all[i].value);
        else if (json_object_set_new(told, all[i].name, all[i].value) != 0) {
            json_decref(told);
            told = NULL;
        }
    }
    return told;
}

static enum status describe(const struct poold_task *task, uint32_t abi, json_t *tasks,
                            struct error_text *err)
{
    static const struct poold_limits none = { 0 };
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:o}", "name", task->name, "summary", task->summary,
                  "signature", task->signature, "limits",
                  describe_limits(abi >= ABI_WITH_LIMITS ? &task->limits : &none));

    if (json && json_array_append_new(tasks, json) == 0)
        return ST_OK;
    return error_set(
        err, ST_INVALID,
        "task %s: its texts are no UTF-8, a limit is no number, or memory is out",
        task->name);
}

enum status plugin_probe(const char *path, const json_t *settings, json_t *file,
                         struct error_text *err)
{
    const struct poold_plugin *plugin = NULL;
    json_t *tasks = json_array();
    char hash[HASH_LEN + 1] = "";
    enum status st;
    int copy;

    (void)settings;
    st = copy_file(path, &copy, hash, err);
    if (st == ST_OK)
        st = load_library(copy, &plugin, err);
    if (st == ST_OK && !plugin->tasks)
        st = error_set(err, ST_INVALID, "its poold_plugin has no tasks");
    for (size_t i = 0; st == ST_OK && plugin->tasks[i]; i++) {
        st = check_task(plugin->tasks[i], i, err);
        if (st == ST_OK)
            st = describe(plugin->tasks[i], plugin->abi, tasks, err);
    }
    if (json_object_set_new(file, "tasks", tasks) != 0 ||
        json_object_set_new(file, "definition", json_pack("{s:s}", "xxh3", hash)) != 0)
        return st == ST_OK ? error_set(err, ST_NO_MEMORY, "out of memory") : st;
    return st;
}

/* ---- load -------------------------------------------------------------------------- */

static const struct poold_task *find(const struct poold_plugin *plugin, const char *name)
{
    for (size_t i = 0; plugin->tasks[i]; i++)
        if (strcmp(plugin->tasks[i]->name, name) == 0)
            return plugin->tasks[i];
    return NULL;
}

static void make_runnable(struct task *task, const struct poold_task *open)
{
    memcpy(task->params, open->params, sizeof(task->params));
    task->unbound = !open->params[0];
    task->run = open->run ? plugin_call_run : plugin_call_value;
    task->data = (void *)(uintptr_t)open; /* only read */
}

enum status plugin_load(struct catalog_file *file, const json_t *settings,
                        struct error_text *err)
{
    const char *wanted = json_string_value(json_object_get(file->definition, "xxh3"));
    const struct poold_plugin *plugin = NULL;
    char hash[HASH_LEN + 1] = "";
    enum status st;
    int copy;

    (void)settings;
    st = copy_file(file->path, &copy, hash, err);
    if (st != ST_OK)
        return st;
    if (!wanted || strcmp(wanted, hash) != 0) {
        fd_close(&copy);
        return error_set(
            err, ST_STATE,
            "it has changed since it was looked at; SIGHUP takes it into use");
    }
    st = load_library(copy, &plugin, err);
    for (size_t i = 0; st == ST_OK && i < file->task_count; i++) {
        const struct poold_task *open = find(plugin, file->tasks[i].name);

        if (open)
            make_runnable(&file->tasks[i], open);
    }
    return st;
}
