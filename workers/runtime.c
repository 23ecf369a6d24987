/* SPDX-License-Identifier: MIT */
#include "workers/runtime.h"

#include "common/log.h"
#include "workers/plugin.h"
#include "workers/program.h"
#include "workers/python.h"
#include "workers/registry.h"

#include <string.h>

static const struct runtime runtimes[TASK_RUNTIME_COUNT] = {
    [TASK_NATIVE] = { ".so", plugin_probe, plugin_load, NULL },
    [TASK_PYTHON] = { ".py", python_probe, python_load, "python_modules" },
    [TASK_PROGRAM] = { ".json", program_probe, program_load, NULL },
};

static bool ends_with(const char *path, const char *suffix)
{
    size_t len = strlen(path), tail = strlen(suffix);

    return len > tail && strcmp(path + len - tail, suffix) == 0;
}

const struct runtime *runtime_of(enum task_runtime kind)
{
    return &runtimes[kind];
}

const struct runtime *runtime_of_path(const char *path, enum task_runtime *ret_runtime)
{
    for (unsigned i = 0; i < TASK_RUNTIME_COUNT; i++) {
        if (runtimes[i].suffix && ends_with(path, runtimes[i].suffix)) {
            *ret_runtime = (enum task_runtime)i;
            return &runtimes[i];
        }
    }
    return NULL;
}

static void load_file(struct catalog_file *file, const json_t *settings)
{
    struct error_text err = { "" };

    if (file->refused || runtimes[file->runtime].load(file, settings, &err) == ST_OK)
        return;
    log_error("a file of tasks could be looked at, but not be loaded",
              "file=%s error=\"%s\"", file->path, err.text);
}

enum status runtime_load_all(int fd, struct error_text *err)
{
    static struct catalog catalog; /* as long as the process */
    struct buf json = BUF_INIT;
    enum status st;

    st = catalog_read_fd(fd, &json);
    if (st != ST_OK)
        (void)error_set(err, st, "the catalog of tasks cannot be read");
    else if (json.len > 0)
        st = catalog_parse(buf_text(&json), &catalog, err);
    buf_clear(&json);
    if (st != ST_OK || !catalog.json)
        return st;
    for (size_t i = 0; i < catalog.file_count; i++)
        load_file(&catalog.files[i], catalog.settings);
    st = registry_use(&catalog);
    return st == ST_OK ? st : error_set(err, st, "%s", status_text(st));
}
