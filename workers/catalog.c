/* SPDX-License-Identifier: MIT */
#include "workers/catalog.h"

#include "common/fd.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one task, one file ------------------------------------------------------------ */

bool catalog_task_valid(const json_t *json, const char **ret_why)
{
    static const char *const texts[] = { "name", "summary", "signature" };
    const json_t *name = json_object_get(json, "name");
    struct limits limits;
    int64_t time_limit_ms;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!json_is_string(json_object_get(json, texts[i]))) {
            *ret_why = "a task has no name, summary or signature";
            return false;
        }
    }
    if (!task_name_valid(
            (struct text){ json_string_value(name), json_string_length(name) })) {
        *ret_why = "a task's name is not a letter or _ and up to 127 of A-Z a-z 0-9 _ . "
                   ": -";
        return false;
    }
    *ret_why = limits_parse(json_object_get(json, "limits"), &limits, &time_limit_ms);
    return *ret_why == NULL;
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static bool read_runtime(const json_t *json, enum task_runtime *ret_runtime)
{
    const char *name = text_of(json, "runtime");

    for (unsigned i = 0; name && i < TASK_RUNTIME_COUNT; i++) {
        if (strcmp(name, task_runtime_names[i]) == 0) {
            *ret_runtime = (enum task_runtime)i;
            return true;
        }
    }
    return false;
}

static enum status read_tasks(const json_t *json, struct catalog_file *file,
                              struct error_text *err)
{
    const json_t *list = json_object_get(json, "tasks"), *task;
    const char *why;
    size_t i;

    file->tasks = mem_zalloc((json_array_size(list) + 1) * sizeof(*file->tasks));
    if (!file->tasks)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    json_array_foreach(list, i, task)
    {
        if (!catalog_task_valid(task, &why))
            return error_set(err, ST_INVALID, "%s: %s", file->path, why);
        file->tasks[file->task_count] = (struct task){
            .name = text_of(task, "name"),
            .summary = text_of(task, "summary"),
            .signature = text_of(task, "signature"),
            .runtime = file->runtime,
            .file = file->path,
        };
        (void)limits_parse(json_object_get(task, "limits"),
                           &file->tasks[file->task_count].limits,
                           &file->tasks[file->task_count].time_limit_ms);
        file->task_count++;
    }
    return ST_OK;
}

static enum status read_file(const json_t *json, struct catalog_file *file,
                             struct error_text *err)
{
    file->path = text_of(json, "path");
    file->refused = text_of(json, "refused");
    file->definition = json_object_get(json, "definition");
    if (!file->path || !read_runtime(json, &file->runtime))
        return error_set(err, ST_INVALID, "a file has no path or no runtime");
    if (file->refused)
        return ST_OK;
    return read_tasks(json, file, err);
}

/* ---- the whole --------------------------------------------------------------------- */

static enum status read_files(struct catalog *catalog, struct error_text *err)
{
    const json_t *files = json_object_get(catalog->json, "files"), *file;
    enum status st = ST_OK;
    size_t i;

    catalog->settings = json_object_get(catalog->json, "settings");
    if (!json_is_array(files) || !json_is_object(catalog->settings))
        return error_set(err, ST_INVALID, "files or settings are missing");
    catalog->files = mem_zalloc((json_array_size(files) + 1) * sizeof(*catalog->files));
    if (!catalog->files)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    json_array_foreach(files, i, file)
    {
        if (st == ST_OK)
            st = read_file(file, &catalog->files[catalog->file_count++], err);
    }
    return st;
}

enum status catalog_parse(struct text json, struct catalog *ret_catalog,
                          struct error_text *err)
{
    json_error_t error;
    enum status st;

    *ret_catalog = (struct catalog)CATALOG_INIT;
    ret_catalog->json = json_loadb(json.at, json.len, JSON_REJECT_DUPLICATES, &error);
    if (!ret_catalog->json)
        return error_set(err, ST_INVALID, "%s", error.text);
    st = read_files(ret_catalog, err);
    if (st != ST_OK)
        catalog_clear(ret_catalog);
    return st;
}

void catalog_clear(struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->file_count; i++)
        mem_free(catalog->files[i].tasks);
    mem_free(catalog->files);
    json_decref(catalog->json);
    *catalog = (struct catalog)CATALOG_INIT;
}

/* ---- between processes ------------------------------------------------------------- */

enum status catalog_to_memfd(struct text json, int *ret_fd)
{
    int fd;
    size_t done = 0;

    if (fd_memfd("poold-tasks", json.len, &fd) != ST_OK)
        return ST_IO;
    while (done < json.len) {
        ssize_t n = pwrite(fd, json.at + done, json.len - done, (off_t)done);

        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0) {
            fd_close(&fd);
            return ST_IO;
        }
        done += (size_t)n;
    }
    *ret_fd = fd;
    return ST_OK;
}

enum status catalog_read_fd(int fd, struct buf *ret_json)
{
    struct stat info;

    buf_reset(ret_json);
    if (fstat(fd, &info) == -1)
        return ST_IO;
    if (!buf_reserve(ret_json, (size_t)info.st_size + 1))
        return ST_NO_MEMORY;
    while (ret_json->len < (size_t)info.st_size) {
        ssize_t n = pread(fd, ret_json->data + ret_json->len,
                          (size_t)info.st_size - ret_json->len, (off_t)ret_json->len);

        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0)
            return ST_IO;
        ret_json->len += (size_t)n;
    }
    return ST_OK;
}
