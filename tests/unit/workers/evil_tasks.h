/* SPDX-License-Identifier: MIT */
/*
 * evil_tasks - a task that does what tasks should not, by the word that it is given. It
 * counts as loaded from a file, with all that follows from that.
 */
#ifndef TESTS_UNIT_WORKERS_EVIL_TASKS_H
#define TESTS_UNIT_WORKERS_EVIL_TASKS_H

#include "workers/items.h"
#include "workers/registry.h"
#include "workers/task.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* AddressSanitizer needs terabytes of address space. */
#ifdef __SANITIZE_ADDRESS__
#define EVIL_MEMORY 0
#else
#define EVIL_MEMORY (512u << 20)
#endif

static inline void evil_return(struct task_call *call, const char *text)
{
    buf_add_json_string(call_out(call), (struct text){ text, strlen(text) });
    call_return_written(call);
}

static inline void evil_return_errno(struct task_call *call, bool ok)
{
    call_return_int(call, ok ? 0 : errno);
}

/* Everything that the next task is to be spared. */
static inline void evil_mess(struct task_call *call, const char *arg)
{
    static const struct itimerval soon = { .it_value = { .tv_sec = 1000 } };
    struct rlimit files;
    sigset_t term;

    (void)arg;
    (void)!chdir("/");
    umask(0);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    setenv("EVIL", "1", 1);
    unsetenv("TMPDIR");
    setenv("TZ", "Asia/Tokyo", 1);
    tzset();
    setlocale(LC_ALL, "C.UTF-8");
    fesetround(FE_UPWARD);
    alarm(1000);
    setitimer(ITIMER_PROF, &soon, NULL);
    signal(SIGUSR1, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = 40;
    setrlimit(RLIMIT_NOFILE, &files);
    evil_return(call, "done");
}

static inline void evil_look(struct task_call *call, const char *arg)
{
    char text[512], cwd[256] = "?";
    mode_t mask = umask(0);
    struct rlimit files;
    struct itimerval prof;
    struct sigaction usr1;
    sigset_t blocked;

    (void)arg;
    umask(mask);
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    sigaction(SIGUSR1, NULL, &usr1);
    getrlimit(RLIMIT_NOFILE, &files);
    getitimer(ITIMER_PROF, &prof);
    snprintf(text, sizeof(text),
             "umask=%o blocked=%d evil=%s tmpdir=%d home=%d tz=%s locale=%s round=%d "
             "alarm=%u prof=%d usr1=%d files=%d",
             mask, sigismember(&blocked, SIGTERM), getenv("EVIL") ? "yes" : "no",
             getenv("TMPDIR") != NULL,
             getcwd(cwd, sizeof(cwd)) && getenv("TMPDIR") &&
                 strcmp(cwd, getenv("TMPDIR")) == 0,
             getenv("TZ") ? getenv("TZ") : "-", setlocale(LC_ALL, NULL),
             fegetround() == FE_TONEAREST, alarm(0), (int)prof.it_value.tv_sec,
             usr1.sa_handler == SIG_DFL, files.rlim_cur > 40);
    evil_return(call, text);
}

static inline void evil_read(struct task_call *call, const char *path)
{
    char bytes[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd == -1 || read(fd, bytes, sizeof(bytes) - 1) == -1)
        evil_return_errno(call, false);
    else
        evil_return(call, bytes);
    close(fd);
}

static inline void evil_write(struct task_call *call, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    evil_return_errno(call, fd != -1 && write(fd, "x", 1) == 1);
    close(fd);
}

static inline void evil_unlink(struct task_call *call, const char *path)
{
    evil_return_errno(call, unlink(path) == 0);
}

static inline void evil_big(struct task_call *call, const char *len)
{
    int fd = open("big", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    char bytes[4096] = { 0 };
    long left = strtol(len, NULL, 10);
    bool ok = fd != -1;

    for (; ok && left > 0; left -= (long)sizeof(bytes))
        ok = write(fd, bytes, sizeof(bytes)) != -1;
    evil_return_errno(call, ok);
    close(fd);
}

/* Descriptors that stay open. */
static inline void evil_open(struct task_call *call, const char *count)
{
    bool ok = true;

    for (long n = strtol(count, NULL, 10); ok && n > 0; n--)
        ok = open("/dev/null", O_RDONLY | O_CLOEXEC) != -1;
    evil_return_errno(call, ok);
}

static inline void evil_eat(struct task_call *call, const char *len)
{
    size_t size = strtoul(len, NULL, 10);
    char *bytes = malloc(size);

    if (!bytes) {
        call_raise(call, "MemoryError", "no %zu bytes", size);
        return;
    }
    for (size_t i = 0; i < size; i += 4096)
        ((volatile char *)bytes)[i] = 1; /* and keeps it */
    evil_return(call, "eaten");
}

static inline void evil_spin(struct task_call *call, const char *arg)
{
    volatile unsigned long turns = 0;

    (void)arg;
    for (;;)
        turns++;
    evil_return(call, "never");
}

/* Folders deeper than a path, without permissions, and a link to elsewhere. */
static inline void evil_litter(struct task_call *call, const char *elsewhere)
{
    int start = open(".", O_RDONLY | O_CLOEXEC);
    bool ok = symlink(elsewhere, "link") == 0;

    for (int i = 0; ok && i < 2000; i++)
        ok = mkdir("nested-folder-with-a-name", 0700) == 0 &&
             chdir("nested-folder-with-a-name") == 0;
    close(open("file", O_WRONLY | O_CREAT | O_CLOEXEC, 0));
    ok = ok && fchdir(start) == 0 && mkdir("locked", 0700) == 0 &&
         mkdir("locked/in", 0700) == 0 && chmod("locked/in", 0) == 0 &&
         chmod("locked", 0) == 0;
    evil_return_errno(call, ok);
    close(start);
}

/* Leaves something and does not come back. */
static inline void evil_stay(struct task_call *call, const char *arg)
{
    (void)call;
    (void)arg;
    (void)!mkdir("in", 0700);
    (void)!mkdir("in/locked", 0);
    (void)!mkdir("locked", 0);
    for (;;)
        pause();
}

static inline void evil_count(struct task_call *call, const char *arg)
{
    struct stat info;

    (void)arg;
    call_return_int(call, stat("link", &info) == 0 || stat("locked", &info) == 0 ||
                              stat("left", &info) == 0 || stat("big", &info) == 0);
}

/* A process that has left its session, and whose parent has ended. Its pid. */
static inline void evil_daemon(struct task_call *call, const char *arg)
{
    int ends[2];
    pid_t pid = -1;

    (void)arg;
    if (pipe2(ends, O_CLOEXEC) == -1)
        abort();
    if (fork() == 0) {
        setsid();
        pid = fork();
        if (pid == 0) {
            signal(SIGTERM, SIG_IGN);
            for (;;)
                pause();
        }
        _exit(write(ends[1], &pid, sizeof(pid)) == sizeof(pid) ? 0 : 1);
    }
    if (read(ends[0], &pid, sizeof(pid)) != sizeof(pid))
        abort();
    close(ends[0]);
    close(ends[1]);
    call_return_int(call, pid);
}

/* How many of these were not refused. */
static inline void evil_calls(struct task_call *call, const char *arg)
{
    long calls[] = {
        unshare(CLONE_NEWUSER),
        unshare(CLONE_NEWNS),
        mount("none", "/tmp", "tmpfs", 0, NULL),
        umount2("/proc", MNT_DETACH),
        syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0),
        syscall(SYS_keyctl, 0, 0, 0, 0, 0),
        syscall(SYS_bpf, 0, NULL, 0),
        syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0),
        syscall(SYS_userfaultfd, 0),
        syscall(SYS_setns, -1, 0),
        syscall(SYS_io_uring_setup, 1, NULL),
        syscall(SYS_reboot, 0, 0, 0, NULL),
        syscall(SYS_init_module, NULL, 0, ""),
        syscall(SYS_pidfd_getfd, -1, 0, 0),
        socket(AF_PACKET, SOCK_RAW, 0x300),
        socket(AF_NETLINK, SOCK_RAW, 9),
        socket(AF_ALG, SOCK_SEQPACKET, 0),
        syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL),
#ifndef __SANITIZE_ADDRESS__
        ptrace(PTRACE_ATTACH, getppid(), NULL, NULL),
#endif
    };
    long allowed = 0;
    int route = socket(AF_NETLINK, SOCK_RAW, 0); /* what getifaddrs needs */

    (void)arg;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        allowed += calls[i] != -1;
    call_return_int(call, allowed + (route == -1 ? 1000 : 0));
    close(route);
}

static inline void evil_kill(struct task_call *call, const char *pid)
{
    evil_return_errno(call, kill((pid_t)strtol(pid, NULL, 10), SIGKILL) == 0);
}

/* One more than it has, which nothing can bring back without privileges. */
static inline void evil_nice(struct task_call *call, const char *arg)
{
    int now = getpriority(PRIO_PROCESS, 0);

    (void)arg;
    evil_return_errno(call, setpriority(PRIO_PROCESS, 0, now + 1) == 0);
}

static inline void evil_close(struct task_call *call, const char *arg)
{
    (void)arg;
    close_range(0, ~0U, 0);
    evil_return(call, "closed");
}

static inline void evil_exit(struct task_call *call, const char *code)
{
    (void)call;
    exit((int)strtol(code, NULL, 10));
}

static inline void evil_leave(struct task_call *call, const char *arg)
{
    (void)call;
    (void)arg;
    pthread_exit(NULL);
}

static inline void evil_print(struct task_call *call, const char *text)
{
    fputs(text, stdout); /* without an end of line */
    evil_return(call, "");
}

static inline void evil_uid(struct task_call *call, const char *arg)
{
    char text[128];

    (void)arg;
    snprintf(text, sizeof(text), "%u:%u %d %s", getuid(), getgid(), getgroups(0, NULL),
             getenv("HOME") && getenv("TMPDIR") &&
                     strcmp(getenv("HOME"), getenv("TMPDIR")) == 0
                 ? "home"
                 : "-");
    evil_return(call, text);
}

/* How many processes it takes until there are no more; they stay. */
static inline void evil_bomb(struct task_call *call, const char *max)
{
    long count = 0;

    while (count < strtol(max, NULL, 10)) {
        pid_t pid = fork();

        if (pid == -1)
            break;
        if (pid == 0)
            for (;;)
                pause();
        count++;
    }
    call_return_int(call, count);
}

/* "\"word argument\"" without escapes. */
static inline void evil_run(struct task_call *call)
{
    static const struct {
        const char *word;
        void (*run)(struct task_call *call, const char *arg);
    } deeds[] = {
        { "mess", evil_mess },     { "look", evil_look },     { "read", evil_read },
        { "write", evil_write },   { "unlink", evil_unlink }, { "big", evil_big },
        { "open", evil_open },     { "eat", evil_eat },       { "spin", evil_spin },
        { "litter", evil_litter }, { "count", evil_count },   { "daemon", evil_daemon },
        { "calls", evil_calls },   { "kill", evil_kill },     { "nice", evil_nice },
        { "close", evil_close },   { "exit", evil_exit },     { "leave", evil_leave },
        { "stay", evil_stay },     { "print", evil_print },   { "uid", evil_uid },
        { "bomb", evil_bomb },
    };
    struct text text = call_arg(call, 0);
    char word[512], *arg;

    snprintf(word, sizeof(word), "%.*s", (int)text.len - 2, text.at + 1);
    arg = strchr(word, ' ');
    if (arg)
        *arg++ = '\0';
    for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++)
        if (strcmp(word, deeds[i].word) == 0) {
            deeds[i].run(call, arg ? arg : "");
            return;
        }
    call_raise(call, "ValueError", "no deed %s", word);
}

/* In the program's main, before it becomes a forkserver or a worker. */
static inline void evil_register(void)
{
    static struct task tasks[] = {
        { .name = "evil", .params = { "deed" }, .run = evil_run, .file = "/evil" },
        { .name = "evil_limited",
          .params = { "deed" },
          .run = evil_run,
          .file = "/evil",
          .limits = { .cpu_ms = 1000,
                      .at = { [LIMIT_MEMORY] = EVIL_MEMORY,
                              [LIMIT_FILE_SIZE] = 8192 } } },
    };
    static struct catalog_file file = { .path = "/evil",
                                        .tasks = tasks,
                                        .task_count = 2 };
    static const struct catalog catalog = { .files = &file, .file_count = 1 };

    for (size_t i = 0; i < 2; i++)
        tasks[i].summary = tasks[i].signature = "evil(deed)";
    if (registry_use(&catalog) != ST_OK)
        abort();
}

#endif
