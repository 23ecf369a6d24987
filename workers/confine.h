/* SPDX-License-Identifier: MIT */
/*
 * confine - what tasks cannot do. docs/security.md tells what that is worth.
 *
 *     no_new_privs     always
 *     seccomp          no ptrace, mounts, namespaces, modules, bpf, io_uring, keyrings, …:
 *                      EPERM. Set once in the forkserver, inherited by all that it forks
 *     Landlock         the data folder cannot be read or changed, and where it is asked
 *                      for nothing outside of some folders can be written. With newer
 *                      kernels nobody outside can be sent a signal. As far as the kernel
 *                      has it. Set in each worker, inherited by all that tasks start
 *     another user     if the server was started as root and one is set
 *     scratch          a folder of its own for each worker (workers/scratch.h)
 *     control group    one of its own for each worker (workers/cgroup.h)
 *
 * Landlock knows only what is allowed. So that the data folder is not, everything beside
 * it is: each entry of each folder on the way there. It follows that tasks cannot make
 * files right in these folders, and that what is made there later is seen only by workers
 * that start later.
 */
#ifndef WORKERS_CONFINE_H
#define WORKERS_CONFINE_H

#include "common/status.h"
#include "workers/cgroup.h"

#include <stdbool.h>
#include <sys/types.h>

/* All-zero is no confinement but no_new_privs. Paths are absolute. */
struct confinement {
    bool sandbox;        /* seccomp and Landlock */
    const char *scratch; /* where workers make their folders; NULL: they have none */
    const char *data;    /* the folder that tasks must not see; NULL: there is none */
    const char *write;   /* the only folders to write into, separated by ':', besides the
                          * scratch folder and /dev; NULL: wherever the user may */
    bool has_user;
    uid_t uid;
    gid_t gid;
    struct cgroup_plan cgroup; /* of each worker one */
};

/* What this kernel has of it. */
struct confine_support {
    bool seccomp;
    int landlock; /* version of its interface; 0: none */
};
struct confine_support confine_support(void);

/* As arguments of a process, ended by NULL; they point into *ret_text, which the caller
 * frees, also on failure. */
#define CONFINE_ARGS_MAX 12
NODISCARD enum status confine_args(const struct confinement *confinement,
                                   char *ret_args[CONFINE_ARGS_MAX], char **ret_text);
/* The same back; texts stay where they are. false: that is none. */
bool confine_parse(int argc, char **argv, struct confinement *ret_confinement);

/* The seccomp filter and no_new_privs, for this process and all that come of it. */
NODISCARD enum status confine_filter(const struct confinement *confinement,
                                     struct error_text *err);
/* In a process that is about to run foreign code, after the filter: Landlock, then the
 * user. `scratch` is the folder that it may write into in any case; NULL: that of all
 * workers. It has to set PR_SET_PDEATHSIG again if there is a user. */
NODISCARD enum status confine_self(const struct confinement *confinement,
                                   const char *scratch, struct error_text *err);

/* In the server: "name", "uid" or "uid:gid". ST_NOT_FOUND: there is no such user. */
NODISCARD enum status confine_user(const char *text, uid_t *ret_uid, gid_t *ret_gid);

#endif
