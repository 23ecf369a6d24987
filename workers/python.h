/* SPDX-License-Identifier: MIT */
/*
 * python - the runtime of Python modules: what tasks they hold, and how an interpreter is
 * started.
 *
 * All that knows Python is workers/runner.py, which is part of this binary. It is handed to
 * the interpreter in a memfd and runs in three places:
 *
 *     describe   for a probe (workers/runtime.h), which ends as the interpreter ends
 *     run        beside a worker, as its runner (workers/runner.h)
 *     template   beside a forkserver: has the modules imported, forks runners
 *                (workers/template.h)
 *
 * Settings, of the catalog: "python" is the interpreter ("python3"), "python_modules" names
 * of modules to offer in addition to files. Of a process there is one set of both.
 */
#ifndef WORKERS_PYTHON_H
#define WORKERS_PYTHON_H

#include "workers/catalog.h"

#include <stdbool.h>
#include <stddef.h>

/* As workers/runtime.h has them; path may be the name of a module. */
enum status python_probe(const char *path, const json_t *settings, json_t *file,
                         struct error_text *err);
enum status python_load(struct catalog_file *file, const json_t *settings,
                        struct error_text *err);

/* Whether a file or module has been loaded. */
bool python_loaded(void);

/* What an interpreter finds: two descriptors of the mode's, and the script. The rest is
 * closed. */
#define PYTHON_FD        3
#define PYTHON_SECOND_FD 4
#define PYTHON_SCRIPT_FD 5

/* Goes on as the interpreter with runner.py, in a process that was just forked: `mode`, then
 * the option unless it is NULL, then all that was loaded. Returns if that is not possible,
 * with errno. */
void python_execute(const char *mode, const char *option, int first, int second);

#endif
