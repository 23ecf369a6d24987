/* SPDX-License-Identifier: MIT */
/*
 * catalog - the tasks that were found in task folders, and their form between processes.
 *
 * `poold tasks` (workers/scan.h) looks at the folders and writes a catalog as JSON. The
 * server reads it, shows the tasks and checks submissions against it; forkservers read
 * the same text from a sealed memfd and load the files (workers/runtime.h). Neither the
 * server nor `poold tasks` itself ever runs a line of a task's code.
 *
 *     {"settings": {...},                        the runtimes' own, see runtime.h
 *      "files": [
 *        {"path": "/srv/tasks/images.py", "runtime": "python",
 *         "definition": ...,                     any JSON, the runtime's own
 *         "tasks": [{"name": "images:thumbnail", "summary": "…",
 *                    "signature": "thumbnail(path, size=128)", "limits": {...}}]},
 *        {"path": "/srv/tasks/bad.so", "runtime": "native",
 *         "refused": "undefined symbol: frobnicate"}]}
 *
 * Not thread-safe; constant once parsed, but for what runtimes put into a task.
 */
#ifndef WORKERS_CATALOG_H
#define WORKERS_CATALOG_H

#include "common/blob.h"
#include "common/buf.h"
#include "common/status.h"
#include "workers/task.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct catalog_file {
    const char *path; /* absolute; or a name that the settings list, see runtime.h */
    enum task_runtime runtime;
    const char *refused;      /* why it is not offered; NULL: it is */
    const json_t *definition; /* NULL: none */
    struct task *tasks;       /* described; run and data are the runtime's to set */
    size_t task_count;        /* 0 when refused */
};

struct catalog {
    json_t *json;           /* owns every text here */
    const json_t *settings; /* an object */
    struct catalog_file *files;
    size_t file_count;
};

#define CATALOG_INIT                                                                     \
    {                                                                                    \
        0                                                                                \
    }

/* Reads a catalog; everything in it is checked, as it was written by a process that may
 * have gone wrong. ST_INVALID, ST_NO_MEMORY, with err set and *ret_catalog empty. */
NODISCARD enum status catalog_parse(struct text json, struct catalog *ret_catalog,
                                    struct error_text *err);
void catalog_clear(struct catalog *catalog);

/* The JSON text in a sealed memfd, which the caller closes. */
NODISCARD enum status catalog_to_memfd(struct text json, int *ret_fd);
/* The text in such a descriptor, which stays open. */
NODISCARD enum status catalog_read_fd(int fd, struct buf *ret_json);

/* Whether `json` describes one task: name, summary, signature, and limits if there are
 * some. If not, *ret_why says what is wrong. */
bool catalog_task_valid(const json_t *json, const char **ret_why);

#endif
