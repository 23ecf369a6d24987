/* SPDX-License-Identifier: MIT */
/*
 * scratch - a folder for each worker, where its tasks run and may leave what they like: it
 * is emptied behind them, and goes with the worker.
 *
 * What is in it was made by foreign code: folders nested deeper than a path can say, folders
 * without permissions, links that lead elsewhere. Removing goes by descriptors and follows
 * no link; folders are moved up to the top and removed there, so depth costs nothing.
 */
#ifndef WORKERS_SCRATCH_H
#define WORKERS_SCRATCH_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes the folder of this process in `base`, for this user, and goes there; TMPDIR names
 * it from then on. uid (uid_t)-1: the user that the process has. */
bool scratch_enter(const char *base, uid_t uid, gid_t gid);
/* Removes what is in the folder. false: not everything. */
bool scratch_empty(int folder);
/* Whether anything was made in it or removed since the last time that it was emptied:
 * scratch_empty leaves a mark, its time. */
bool scratch_touched(int folder);

/* Removes the folder of a process that has ended, if nothing is in it: false if something
 * is. */
bool scratch_leave(const char *base, pid_t pid);
/* Removes it with all that is in it. */
void scratch_remove(const char *base, pid_t pid);

#endif
