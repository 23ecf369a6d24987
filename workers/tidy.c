/* SPDX-License-Identifier: MIT */
#include "workers/tidy.h"

#include "common/fd.h"
#include "common/mem.h"
#include "workers/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UMASK         077
#define SWEEPS_MAX    20 /* for processes that a task has left behind, */
#define SWEEP_MS      1  /* with this between them */
#define CHILDREN_PATH "/proc/thread-self/children"

/* How things are to be. One for the process. */
static struct {
    int folder; /* the working directory */
    bool scratch;
    uint64_t rss_max;
    pid_t other;      /* that is kept, but no child; 0: none */
    uint64_t deep_ns; /* when it was looked at all of it last */
    sigset_t mask;
    struct sigaction actions[NSIG];
    char **variables; /* copies, which environ points to; ended by NULL */
    char *locale;
    fenv_t floating;
    int priority;
    struct rlimit limits[RLIM_NLIMITS];
    pid_t kept[TIDY_KEPT_MAX];
    unsigned kept_count;
} tidy = { .folder = -1 };

/* ---- how things are ---------------------------------------------------------------- */

static void free_variables(char **variables)
{
    for (size_t i = 0; variables && variables[i]; i++)
        mem_free(variables[i]);
    mem_free(variables);
}

/* Has environ point to copies of our own, so that a change shows in the pointers. */
static bool own_environment(void)
{
    char **old = tidy.variables;
    size_t count = 0;

    while (environ && environ[count])
        count++;
    tidy.variables = mem_zalloc((count + 1) * sizeof(*tidy.variables));
    for (size_t i = 0; tidy.variables && i < count; i++)
        if (!(tidy.variables[i] = mem_strdup(environ[i])))
            return false;
    if (!tidy.variables)
        return false;
    clearenv();
    for (size_t i = 0; i < count; i++)
        if (putenv(tidy.variables[i]) != 0)
            return false;
    free_variables(old);
    return true;
}

bool tidy_init(const struct tidy_options *options)
{
    fd_close(&tidy.folder);
    mem_free(tidy.locale);
    tidy.scratch = options->scratch;
    tidy.rss_max = options->rss_max;
    tidy.folder = open(".", (tidy.scratch ? O_RDONLY : O_PATH) | O_DIRECTORY | O_CLOEXEC);
    tidy.locale = mem_strdup(setlocale(LC_ALL, NULL));
    if (tidy.folder == -1 || !tidy.locale || !own_environment())
        return false;
    for (int sig = 1; sig < NSIG; sig++)
        (void)sigaction(sig, NULL, &tidy.actions[sig]);
    sigprocmask(SIG_SETMASK, NULL, &tidy.mask);
    fegetenv(&tidy.floating);
    tidy.priority = getpriority(PRIO_PROCESS, 0);
    for (int i = 0; i < (int)RLIM_NLIMITS; i++)
        (void)prlimit(0, (__rlimit_resource_t)i, NULL, &tidy.limits[i]);
    return !tidy.scratch || scratch_empty(tidy.folder);
}

bool tidy_keep_child(pid_t pid)
{
    if (tidy.kept_count == TIDY_KEPT_MAX)
        return false;
    tidy.kept[tidy.kept_count++] = pid;
    return true;
}

void tidy_keep_other(pid_t pid)
{
    tidy.other = pid;
}

void tidy_forget_child(pid_t pid)
{
    for (unsigned i = 0; i < tidy.kept_count; i++)
        if (tidy.kept[i] == pid) {
            tidy.kept[i] = tidy.kept[--tidy.kept_count];
            return;
        }
}

static bool is_kept(pid_t pid)
{
    for (unsigned i = 0; i < tidy.kept_count; i++)
        if (tidy.kept[i] == pid)
            return true;
    return false;
}

/* ---- setting back ------------------------------------------------------------------ */

static bool environment_changed(void)
{
    size_t i = 0;

    if (!environ)
        return tidy.variables[0] != NULL;
    while (tidy.variables[i] && environ[i] == tidy.variables[i])
        i++;
    return tidy.variables[i] != environ[i];
}

static void reset_environment(void)
{
    clearenv();
    for (size_t i = 0; tidy.variables[i]; i++)
        (void)putenv(tidy.variables[i]);
    tzset();
}

static void reset_locale(void)
{
    const char *now;

    (void)uselocale(LC_GLOBAL_LOCALE);
    now = setlocale(LC_ALL, NULL);
    if (!now || strcmp(now, tidy.locale) != 0)
        (void)setlocale(LC_ALL, tidy.locale);
}

static void reset_actions(void)
{
    for (int sig = 1; sig < NSIG; sig++) {
        struct sigaction now;

        if (sigaction(sig, NULL, &now) == 0 &&
            (now.sa_handler != tidy.actions[sig].sa_handler ||
             now.sa_flags != tidy.actions[sig].sa_flags))
            (void)sigaction(sig, &tidy.actions[sig], NULL);
    }
}

/* Lets the soft limits be what they were. false: a hard one has changed, which nothing can
 * bring back. */
static bool reset_limits(void)
{
    bool ok = true;

    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        struct rlimit now;

        if (prlimit(0, (__rlimit_resource_t)i, NULL, &now) == -1 ||
            now.rlim_max != tidy.limits[i].rlim_max)
            ok = false;
        else if (now.rlim_cur != tidy.limits[i].rlim_cur)
            (void)prlimit(0, (__rlimit_resource_t)i, &tidy.limits[i], NULL);
    }
    return ok;
}

/* ---- processes --------------------------------------------------------------------- */

/* Kills the children that nobody keeps, and reaps those that have ended. Whether there
 * were any. */
static bool sweep_children(void)
{
    FILE *children = fopen(CHILDREN_PATH, "re");
    bool found = false;
    int pid;

    while (children && fscanf(children, "%d", &pid) == 1) {
        if (is_kept(pid))
            continue;
        found = true;
        kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, WNOHANG);
    }
    if (children)
        fclose(children);
    return found;
}

/* The worker is a subreaper: what a task's child leaves behind comes here, too. */
static bool has_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void end_children(void)
{
    for (int i = 0; i < SWEEPS_MAX && sweep_children(); i++)
        (void)poll(NULL, 0, SWEEP_MS);
}

/* ---- is it still fit? -------------------------------------------------------------- */

static uint64_t rss_bytes(pid_t pid)
{
    char path[32];
    FILE *file;
    unsigned long long size, resident = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%llu %llu", &size, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t rss_of_all(void)
{
    uint64_t bytes = rss_bytes(getpid());

    if (tidy.other > 0)
        bytes += rss_bytes(tidy.other);
    for (size_t i = 0; i < tidy.kept_count; i++)
        bytes += rss_bytes(tidy.kept[i]);
    return bytes;
}

/* Half of what it may have is taken: files that a task has not closed. */
static bool files_run_out(void)
{
    const struct rlimit *limit = &tidy.limits[RLIMIT_NOFILE];
    struct stat info;

    /* Since Linux 6.2 the size of this folder is the number of descriptors. */
    return stat("/proc/self/fd", &info) == 0 && info.st_size > 0 &&
           (uint64_t)info.st_size > limit->rlim_cur / 2;
}

static bool is_fit(void)
{
    return getpriority(PRIO_PROCESS, 0) == tidy.priority && !files_run_out() &&
           (tidy.rss_max == 0 || rss_of_all() <= tidy.rss_max);
}

/* ---- when -------------------------------------------------------------------------- */

void tidy_item(void)
{
    if (tidy.scratch && scratch_touched(tidy.folder))
        (void)scratch_empty(tidy.folder);
}

static bool tidy_deeply(void)
{
    static const struct itimerval none = { 0 };

    (void)setitimer(ITIMER_VIRTUAL, &none, NULL);
    (void)setitimer(ITIMER_PROF, &none, NULL);
    reset_actions();
    if (tidy.kept_count > 0)
        end_children();
    return reset_limits() && is_fit();
}

bool tidy_chunk(uint64_t now_ns, bool *ret_limits)
{
    bool ok = true;

    *ret_limits = false;
    (void)alarm(0);
    umask(UMASK);
    sigprocmask(SIG_SETMASK, &tidy.mask, NULL);
    fesetenv(&tidy.floating);
    if (environment_changed())
        reset_environment();
    reset_locale();
    if (tidy.kept_count == 0 && has_children())
        end_children();
    /* Behind the processes, which might go on to make files. */
    if (fchdir(tidy.folder) == -1) /* the descriptor is gone, or somebody else's */
        ok = false;
    if (ok && tidy.scratch && scratch_touched(tidy.folder))
        ok = scratch_empty(tidy.folder);
    if (now_ns - tidy.deep_ns < DEEP_NS)
        return ok;
    tidy.deep_ns = now_ns;
    *ret_limits = true;
    return tidy_deeply() && ok;
}
