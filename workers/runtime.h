/* SPDX-License-Identifier: MIT */
/*
 * runtime - the ways to run tasks that come from a file.
 *
 * One line of the table in runtime.c is one way: C plugins (*.so), Python modules (*.py),
 * programs (*.json). Its functions run in three places:
 *
 *     probe     in a process of its own for each file, which may crash or hang: `poold
 *               tasks` kills it after PROBE_MS, or when it is told to, and says why the
 *               file is refused
 *     load      in a forkserver before any worker is forked, and in a worker that was
 *               executed anew: makes the tasks runnable, so that forked workers have them
 *     a task's `run`, in workers only (workers/task.h)
 */
#ifndef WORKERS_RUNTIME_H
#define WORKERS_RUNTIME_H

#include "workers/catalog.h"

struct runtime {
    const char *suffix; /* of its files: ".so" */
    /* Adds what a file offers to `file`, which has "path" and "runtime" already: "tasks",
     * and "definition" if load needs more than the path. settings is the catalog's. Any
     * status but ST_OK: refused, err says why. May crash and hang. */
    enum status (*probe)(const char *path, const json_t *settings, json_t *file,
                         struct error_text *err);
    /* Sets run, and what else it needs, of the file's tasks. It stays as long as the
     * process. On failure the tasks stay as they are, and raise LookupError. */
    enum status (*load)(struct catalog_file *file, const json_t *settings,
                        struct error_text *err);
    /* Name of a setting, or NULL: an array of texts, each of which is probed and loaded as
     * if it were the path of a file. */
    const char *listed;
};

const struct runtime *runtime_of(enum task_runtime kind);
/* NULL: there is no runtime for files with this name. */
const struct runtime *runtime_of_path(const char *path, enum task_runtime *ret_runtime);

/* In a forkserver or an executed worker: loads every file of the catalog on this
 * descriptor (catalog_to_memfd) and puts its tasks into the registry. A file that fails is
 * logged and left out. Keeps the descriptor open, for workers that are executed anew. An
 * empty file is no catalog. */
NODISCARD enum status runtime_load_all(int fd, struct error_text *err);

#endif
