/* SPDX-License-Identifier: MIT */
/*
 * cgroup - a control group (version 2) for each worker, where the server may make them.
 *
 *     PARENT                        given, or the one that the server is in
 *     └─ poold-NAME                 of this server: the base
 *        ├─ server                  the server itself, if it had to make room in PARENT
 *        └─ PID                     of a worker, with all that its tasks start
 *
 * What it is good for, as far as the kernel and those who delegate have it:
 *
 *     kill      cgroup.kill ends all that is in a group at once, wherever it has got to
 *     memory    memory.max, from memory_limit: of all of them together. Beyond, the kernel
 *               kills the group as a whole (memory.oom.group), and memory.events tells
 *     pids      pids.max, from process_limit: processes and threads of the group
 *
 * A group whose children have controllers can have no processes itself, unless it is the
 * root of all. So the server leaves PARENT for `server` if it, with its own children, is all
 * that is there; else the controllers are done without.
 *
 * Whoever can write into these files can leave its group. Landlock sees to it that tasks
 * cannot (landlock.h, `frozen`), and so does a user of their own.
 *
 * Files are read and written by their plain names, so that tests can do with a tree of plain
 * files. https://docs.kernel.org/admin-guide/cgroup-v2.html
 */
#ifndef WORKERS_CGROUP_H
#define WORKERS_CGROUP_H

#include "common/status.h"
#include "workers/limits.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* What processes that fork workers have to know. All-zero: there are no groups. */
struct cgroup_plan {
    const char *base;  /* NULL: none */
    const char *mount; /* where the hierarchy is mounted: not for tasks to change */
    bool kill, memory, pids;
};

/* ---- in the server ----------------------------------------------------------------- */

struct cgroup {
    struct cgroup_plan plan; /* points into the struct: do not move it */
    char parent[PATH_MAX], base[PATH_MAX], mount[PATH_MAX];
    bool made;              /* the base is there */
    bool moved;             /* the server has left the parent */
    const char *enabled[2]; /* controllers that were not enabled in the parent before */
    struct error_text why;  /* there are no groups, or not with all controllers; or "" */
};

/* The group that a process is in, from the texts of its /proc/PID/cgroup and mountinfo; and
 * where its hierarchy is mounted. false: there is none of version 2 to be seen. */
bool cgroup_find(const char *membership, const char *mounts, char ret_mount[PATH_MAX],
                 char ret_group[PATH_MAX]);
/* Where the hierarchy that this path is in is mounted. */
bool cgroup_find_mount(const char *mounts, const char *path, char ret_mount[PATH_MAX]);

/* Makes the base `name` in cgroup->parent, unless it is there, and finds out what can be had;
 * plan.base stays NULL if it is nothing. ST_DENIED, ST_IO: not even the base, err says why. */
NODISCARD enum status cgroup_make(struct cgroup *cgroup, const char *name,
                                  struct error_text *err);
/* The whole: `setting` is "auto", "off" or the path of PARENT. With auto whatever stands in
 * the way is told in cgroup->why and the log, and there are no groups; systemd's are left
 * alone unless they are delegated. ST_INVALID: the path is no group, or not to be used. */
NODISCARD enum status cgroup_open(struct cgroup *cgroup, const char *setting,
                                  const char *name, struct error_text *err);
/* Kills and removes what an earlier server of that name has left. Once it is certain that no
 * other server has it. */
void cgroup_clear(struct cgroup *cgroup);
/* Removes it all and goes back. When the workers have gone. Safe on all-zero. */
void cgroup_close(struct cgroup *cgroup);

/* ---- for one worker ---------------------------------------------------------------- */

/* Makes a group with these limits for this process, and enters it. false: errno. */
bool cgroup_enter(const struct cgroup_plan *plan, const struct limits *limits);
/* Its parts, for a group that is there. */
bool cgroup_set_limits(const struct cgroup_plan *plan, pid_t worker,
                       const struct limits *limits);
/* Puts a process into the group of a worker. false: errno. */
bool cgroup_join(const struct cgroup_plan *plan, pid_t worker, pid_t pid);
/* Kills all that are in the group of a worker, if the kernel can. */
void cgroup_kill(const struct cgroup_plan *plan, pid_t worker);
/* Whether the kernel has killed somebody in it for want of memory. */
bool cgroup_out_of_memory(const struct cgroup_plan *plan, pid_t worker);
/* Removes the group if nobody is in it. false: somebody is. */
bool cgroup_leave(const struct cgroup_plan *plan, pid_t worker);
/* Kills who is in it, waits for their end (CGROUP_WAIT_MS at most) and removes it. */
#define CGROUP_WAIT_MS 2000
void cgroup_remove(const struct cgroup_plan *plan, pid_t worker);

#endif
