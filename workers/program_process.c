/* SPDX-License-Identifier: MIT */
#include "workers/program_process.h"

#include "common/fd.h"
#include "workers/tidy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TELL_FD      3   /* of the child, until the program is executed */
#define SWEEP_ROUNDS 100 /* a stranger may leave others behind */

/* Both ends of each; [0] is for reading. */
struct pipes {
    int in[2], out[2], err[2], tell[2];
};

#define PIPES_INIT                                                                       \
    {                                                                                    \
        { -1, -1 }, { -1, -1 }, { -1, -1 },                                              \
        {                                                                                \
            -1, -1                                                                       \
        }                                                                                \
    }

static void close_pair(int pair[2])
{
    fd_close(&pair[0]);
    fd_close(&pair[1]);
}

static void close_pipes(struct pipes *pipes)
{
    close_pair(pipes->in);
    close_pair(pipes->out);
    close_pair(pipes->err);
    close_pair(pipes->tell);
}

static bool open_pipes(struct pipes *pipes, bool own_err)
{
    return pipe2(pipes->in, O_CLOEXEC) == 0 && pipe2(pipes->out, O_CLOEXEC) == 0 &&
           pipe2(pipes->tell, O_CLOEXEC) == 0 &&
           (!own_err || pipe2(pipes->err, O_CLOEXEC) == 0) &&
           fd_set_nonblock(pipes->in[1], true) == ST_OK &&
           fd_set_nonblock(pipes->out[0], true) == ST_OK &&
           (!own_err || fd_set_nonblock(pipes->err[0], true) == ST_OK);
}

/* ---- in the child ------------------------------------------------------------------ */

static bool apply_limits(const struct program_manifest *manifest)
{
    static const struct {
        enum program_limit limit;
        __rlimit_resource_t resource;
    } limits[] = {
        { PROGRAM_MEMORY, RLIMIT_AS },
        { PROGRAM_FILE_SIZE, RLIMIT_FSIZE },
        { PROGRAM_OPEN_FILES, RLIMIT_NOFILE },
    };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        rlim_t wanted = manifest->limits[limits[i].limit];
        struct rlimit limit;

        if (wanted == 0)
            continue;
        if (getrlimit(limits[i].resource, &limit) == -1)
            return false;
        if (wanted > limit.rlim_max) /* the worker's own is lower: that holds */
            wanted = limit.rlim_max;
        limit.rlim_cur = limit.rlim_max = wanted;
        if (setrlimit(limits[i].resource, &limit) == -1)
            return false;
    }
    return true;
}

/* The worker's own is for its own clock. SIGXCPU says which limit it was; SIGKILL follows
 * for those that ignore it. */
static bool limit_cpu(int64_t cpu_ms)
{
    rlim_t wanted = ((rlim_t)cpu_ms + 999) / 1000;
    struct rlimit limit;

    if (getrlimit(RLIMIT_CPU, &limit) == -1)
        return false;
    limit.rlim_cur = limit.rlim_max;
    if (wanted > 0 && wanted < limit.rlim_max) {
        limit.rlim_cur = wanted;
        limit.rlim_max = wanted + 1;
    }
    return setrlimit(RLIMIT_CPU, &limit) == 0;
}

/* What the worker has changed: its timer's signal, and SIGPIPE while it writes. */
static void default_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL); /* fails for some, which cannot have been changed either */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Moves the ends out of the way first: the worker's own 0, 1 or 2 may have been closed,
 * and a pipe have got their numbers. *tell closes by itself when the program is executed.
 * */
static bool arrange_descriptors(const struct pipes *pipes, int *tell)
{
    int ends[] = { pipes->in[0], pipes->out[1], pipes->err[1] };

    for (int i = 0; i < 3; i++) {
        if (ends[i] == -1)
            continue;
        ends[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, TELL_FD + 1);
        if (ends[i] == -1)
            return false;
    }
    *tell = fcntl(*tell, F_DUPFD_CLOEXEC, TELL_FD + 1);
    for (int i = 0; i < 3; i++) {
        if (ends[i] != -1 && dup2(ends[i], i) == -1)
            return false;
    }
    if (dup3(*tell, TELL_FD, O_CLOEXEC) == -1)
        return false;
    *tell = TELL_FD;
    return close_range(TELL_FD + 1, ~0U, 0) != -1;
}

_Noreturn static void become_program(const struct program_manifest *manifest,
                                     const struct pipes *pipes, int64_t cpu_ms,
                                     pid_t parent)
{
    int tell = pipes->tell[1], error;

    setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
        arrange_descriptors(pipes, &tell) && chdir(manifest->folder) == 0) {
        default_signals();
        if (apply_limits(manifest) && limit_cpu(cpu_ms))
            (void)execve(manifest->file, manifest->argv, manifest->env);
    }
    error = errno;
    _exit(write(tell, &error, sizeof(error)) == -1 ? 127 : 126);
}

/* ---- in the worker ----------------------------------------------------------------- */

/* 0: it has been executed. */
static int read_error(int fd)
{
    int error = 0;
    ssize_t n;

    do
        n = read(fd, &error, sizeof(error));
    while (n == -1 && errno == EINTR);
    return n == sizeof(error) ? error : 0;
}

static enum status refuse(const struct program_manifest *manifest, int error,
                          struct error_text *err)
{
    (void)error_set(err, ST_IO, "%s cannot be executed: %s", manifest->file,
                    strerror(error));
    errno = error;
    return ST_IO;
}

enum status process_start(const struct program_manifest *manifest,
                          const struct process_options *options,
                          struct process *ret_process, struct error_text *err)
{
    struct pipes pipes = PIPES_INIT;
    pid_t self = getpid(), pid;
    int error;

    *ret_process = (struct process){ .pidfd = -1, .in = -1, .out = -1, .err = -1 };
    pid = open_pipes(&pipes, options->own_err) ? fork() : -1;
    if (pid == -1) {
        error = errno;
        close_pipes(&pipes);
        return refuse(manifest, error, err);
    }
    if (pid == 0)
        become_program(manifest, &pipes, options->cpu_ms, self);
    setpgid(pid, pid);          /* the child does so too: whoever comes first */
    (void)tidy_keep_child(pid); /* else it is started anew for each chunk */
    fd_close(&pipes.in[0]);
    fd_close(&pipes.out[1]);
    fd_close(&pipes.err[1]);
    fd_close(&pipes.tell[1]);
    error = read_error(pipes.tell[0]);
    fd_close(&pipes.tell[0]);
    *ret_process = (struct process){ .pid = pid,
                                     .pidfd = (int)syscall(SYS_pidfd_open, pid, 0),
                                     .in = pipes.in[1],
                                     .out = pipes.out[0],
                                     .err = pipes.err[0] };
    if (error == 0 && ret_process->pidfd == -1)
        error = errno;
    if (error == 0)
        return ST_OK;
    (void)process_end(ret_process);
    return refuse(manifest, error, err);
}

int process_end(struct process *process)
{
    int wait_status = 0;

    fd_close(&process->in);
    fd_close(&process->out);
    fd_close(&process->err);
    fd_close(&process->pidfd);
    if (process->pid > 0) {
        /* Not reaped yet, so the group's number is its own still. One that has ended by
         * itself keeps its status. */
        kill(-process->pid, SIGKILL);
        while (waitpid(process->pid, &wait_status, 0) == -1 && errno == EINTR)
            ;
        tidy_forget_child(process->pid);
    }
    process->pid = 0;
    return wait_status;
}

bool process_ends_within(const struct process *process, int ms)
{
    struct pollfd ended = { .fd = process->pidfd, .events = POLLIN };
    int n;

    do
        n = poll(&ended, 1, ms);
    while (n == -1 && errno == EINTR);
    return n == 1;
}

int64_t process_cpu_ms(const struct process *process)
{
    struct timespec used;
    clockid_t clock;

    if (clock_getcpuclockid(process->pid, &clock) != 0 ||
        clock_gettime(clock, &used) == -1)
        return 0;
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

/* ---- what it leaves behind --------------------------------------------------------- */

void process_adopt_orphans(void)
{
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

void process_list_children(struct process_children *ret_children)
{
    char path[64];
    FILE *file;
    int pid;

    ret_children->count = 0;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    file = fopen(path, "re");
    if (!file)
        return;
    while (ret_children->count < PROCESS_STRANGERS_MAX && fscanf(file, "%d", &pid) == 1)
        ret_children->pids[ret_children->count++] = pid;
    (void)fclose(file);
}

static bool has_child(const struct process_children *children, pid_t pid)
{
    for (size_t i = 0; i < children->count; i++) {
        if (children->pids[i] == pid)
            return true;
    }
    return false;
}

void process_sweep(const struct process_children *before)
{
    for (int round = 0; round < SWEEP_ROUNDS; round++) {
        struct process_children now;
        size_t strangers = 0;

        process_list_children(&now);
        for (size_t i = 0; i < now.count; i++) {
            if (has_child(before, now.pids[i]))
                continue;
            strangers++;
            kill(now.pids[i], SIGKILL);
            while (waitpid(now.pids[i], NULL, 0) == -1 && errno == EINTR)
                ;
        }
        if (strangers == 0)
            return;
    }
}
