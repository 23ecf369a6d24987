/* SPDX-License-Identifier: MIT */
/*
 * confine_process - makes a process that was just forked one that may run foreign code: it
 * ends with its parent, has default signals, a group of its own, no core files, and what
 * confine.h, limits.h, scratch.h and cgroup.h have.
 *
 * All return false, with a line in the log where the reason is no simple one, if that cannot
 * be: then it has to end. `parent` is the pid of the process that has forked it.
 */
#ifndef WORKERS_CONFINE_PROCESS_H
#define WORKERS_CONFINE_PROCESS_H

#include "workers/confine.h"
#include "workers/limits.h"

#include <stdbool.h>
#include <sys/types.h>

/* With a scratch folder, where it is from then on. */
bool confine_worker(pid_t parent, const struct confinement *confinement,
                    const struct limits *limits);
/* The interpreter from which runners are forked (template.h). They get the rest from their
 * workers, the folder to run in as well. */
bool confine_template(pid_t parent, const struct confinement *confinement);
/* One that looks at a file of tasks: as a worker, without folder and group of its own. */
bool confine_probe(pid_t parent, const struct confinement *confinement,
                   const struct limits *limits);

#endif
