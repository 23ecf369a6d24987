/* SPDX-License-Identifier: MIT */
/*
 * registry - task name -> task: the built-in ones, and those of the catalog that is in
 * use.
 *
 * The server has it to show tasks and to check submissions, and changes catalogs while it
 * runs; forkservers load a catalog before the first worker is forked, whose copy of the
 * registry never changes. For one thread.
 */
#ifndef WORKERS_REGISTRY_H
#define WORKERS_REGISTRY_H

#include "workers/catalog.h"
#include "workers/task.h"

#include <stddef.h>

/* Puts the tasks of the catalog, which has to stay as long as it is in use, in the place
 * of those of an earlier one. A name that is taken already is passed over. ST_NO_MEMORY:
 * nothing has changed. */
NODISCARD enum status registry_use(const struct catalog *catalog);
/* The built-in ones alone. */
void registry_reset(void);

/* NULL when there is none of that name. */
const struct task *registry_find(struct text name);
size_t registry_count(void);
/* In order of name; NULL from registry_count() on. */
const struct task *registry_at(size_t i);

#endif
