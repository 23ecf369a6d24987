/* SPDX-License-Identifier: MIT */
/*
 * registry - task name -> task. Today the built-in ones; plugins and programs will join
 * here.
 *
 * Filled before the first worker is forked and constant afterwards, in the server (which
 * shows it) and in the forkserver (whose workers run it). Threads may read it.
 */
#ifndef WORKERS_REGISTRY_H
#define WORKERS_REGISTRY_H

#include "workers/task.h"

#include <stddef.h>

/* NULL when there is none of that name. */
const struct task *registry_find(struct text name);
size_t registry_count(void);
/* In order of name; NULL from registry_count() on. */
const struct task *registry_at(size_t i);

#endif
