/* SPDX-License-Identifier: MIT */
#include "workers/confine_process.h"

#include "common/fd.h"
#include "common/log.h"
#include "workers/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define OOM_SCORE_MORE                                                                   \
    500 /* out of memory, the kernel is to take a worker, not the server */

static void raise_oom_score(void)
{
    char text[32] = { 0 };
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    long score;

    if (fd == -1)
        return;
    if (read(fd, text, sizeof(text) - 1) > 0) {
        score = strtol(text, NULL, 10) + OOM_SCORE_MORE;
        snprintf(text, sizeof(text), "%ld", score < 1000 ? score : 1000L);
        /* Best effort: a container may forbid it. */
        if (pwrite(fd, text, strlen(text), 0) == -1)
            errno = 0;
    }
    fd_close(&fd);
}

static void reset_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL); /* fails for some, which cannot have been changed either */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* It ends with the forkserver. */
static bool bind_to(pid_t parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

/* Its own folder, and then nobody else's. */
static bool shut_in(const struct confinement *confinement)
{
    uid_t uid = confinement->has_user ? confinement->uid : (uid_t)-1;
    struct error_text err = { "" };
    char folder[PATH_MAX];

    if (confinement->scratch &&
        (!scratch_enter(confinement->scratch, uid, confinement->gid) ||
         !getcwd(folder, sizeof(folder)))) {
        log_error("a worker cannot make its scratch folder", "dir=%s error=\"%s\"",
                  confinement->scratch, strerror(errno));
        return false;
    }
    if (confinement->scratch && confinement->has_user)
        (void)setenv("HOME", folder, 1); /* the server's is not for this user */
    if (confine_self(confinement, confinement->scratch ? folder : NULL, &err) == ST_OK)
        return true;
    log_error("a worker cannot be confined", "error=\"%s\"", err.text);
    return false;
}

static bool group_in(const struct confinement *confinement, const struct limits *limits)
{
    if (cgroup_enter(&confinement->cgroup, limits))
        return true;
    log_error("a worker cannot have a control group", "base=%s error=\"%s\"",
              confinement->cgroup.base, strerror(errno));
    return false;
}

/* The last moment in which nothing foreign has run in the process yet. */
static bool confine(pid_t parent)
{
    const struct rlimit no_core = { 0, 0 };

    reset_signals();
    signal(SIGXFSZ, SIG_IGN); /* too large a file is an error, no death */
    if (!bind_to(parent) || setrlimit(RLIMIT_CORE, &no_core) == -1)
        return false;
    setpgid(0, 0);
    umask(077);
    raise_oom_score();
    return true;
}

/* Another user's process is unbound again, and what tasks start is to end with the worker
 * (workers/tidy.h). */
bool confine_worker(pid_t parent, const struct confinement *confinement,
                    const struct limits *limits)
{
    struct limits own = *limits;

    prctl(PR_SET_NAME, "poold-worker");
    if (!confine(parent) || !group_in(confinement, limits))
        return false;
    if (confinement->cgroup.pids)
        own.at[LIMIT_PROCESSES] = 0; /* the group counts its own, not all of the user */
    return limits_set(0, &own) && shut_in(confinement) &&
           prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 && bind_to(parent);
}

/* Its runners get the rest from their workers, the folder to run in as well. */
bool confine_template(pid_t parent, const struct confinement *confinement)
{
    struct error_text err = { "" };

    if (!confine(parent))
        return false;
    if (confine_self(confinement, NULL, &err) == ST_OK)
        return bind_to(parent);
    log_error("Python tasks cannot be confined", "error=\"%s\"", err.text);
    return false;
}

bool confine_probe(pid_t parent, const struct confinement *confinement,
                   const struct limits *limits)
{
    struct error_text err = { "" };

    if (!confine(parent) || !limits_set(0, limits))
        return false;
    if (confine_filter(confinement, &err) == ST_OK &&
        confine_self(confinement, NULL, &err) == ST_OK)
        return bind_to(parent);
    log_error("a file of tasks cannot be looked at in safety", "error=\"%s\"", err.text);
    return false;
}
