/* SPDX-License-Identifier: MIT */
/*
 * task_folders - the catalog of the tasks in the folders of the setting `tasks`.
 *
 * Looking at the files is the business of another process, `poold tasks --json`
 * (workers/scan.h): a file can crash or hang it, not the server. Its answer becomes the
 * catalog in use: in the registry, against which submissions are checked, and in a memfd
 * for forkservers, which load the files.
 *
 * Runs on the loop's thread.
 */
#ifndef SERVER_TASK_FOLDERS_H
#define SERVER_TASK_FOLDERS_H

#include "common/status.h"
#include "server/config.h"
#include "workers/catalog.h"

#include "workers/confine.h"

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

struct task_folders;

/* Nothing is looked at yet, and the catalog is empty. config must stay, and so must what
 * processes that look at files are held by. */
NODISCARD enum status task_folders_new(uv_loop_t *loop, const struct config *config,
                                       const struct confinement *confinement,
                                       struct task_folders **ret_folders);
/* Not while a look is under way: see task_folders_stop. */
void task_folders_free(struct task_folders *folders);
/* Ends the process that looks, if there is one. The loop has to run on until its handles
 * are closed; on_done is not called any more. */
void task_folders_stop(struct task_folders *folders);

/* Looks at the folders and takes the new catalog into use; files that are refused are
 * logged, with the reason. on_done is called later, once: `st` ST_OK, and the catalog has
 * changed; else err says why it is the old one still: ST_INVALID, a folder cannot be read;
 * anything else is not the settings' fault, say that the process was killed. ST_STATE: a
 * look is under way. */
typedef void (*task_folders_done)(void *data, enum status st,
                                  const struct error_text *err);
NODISCARD enum status task_folders_look(struct task_folders *folders,
                                        task_folders_done on_done, void *data,
                                        struct error_text *err);

bool task_folders_looking(const struct task_folders *folders);

/* Valid until the next one is taken into use. */
const struct catalog *task_folders_catalog(const struct task_folders *folders);
/* What forkservers load (forkserver_start); -1: there are no folders. Owned here, until
 * the next catalog is taken into use. */
int task_folders_fd(const struct task_folders *folders);
/* Whether this child is the process that looks. */
bool task_folders_has_process(const struct task_folders *folders, pid_t pid);

#endif
