/* SPDX-License-Identifier: MIT */
/*
 * plugin - tasks in C from shared libraries (*.so), the runtime "native" of runtime.h.
 *
 * What a plugin may do and what it gets is said in include/poold/task.h. This is the other
 * side: what poold_call_ops lead to, and how a library gets into a process.
 *
 * A library is loaded as a private copy in memory, so that whoever overwrites the file does
 * not change code that runs. The catalog has the hash of what was looked at; what has
 * changed since is not loaded, as nobody has looked at it.
 */
#ifndef WORKERS_PLUGIN_H
#define WORKERS_PLUGIN_H

#include "workers/runtime.h"

/* As struct runtime has them. The definition is {"xxh3": "0123456789abcdef"}. */
enum status plugin_probe(const char *path, const json_t *settings, json_t *file,
                         struct error_text *err);
enum status plugin_load(struct catalog_file *file, const json_t *settings,
                        struct error_text *err);

#endif
