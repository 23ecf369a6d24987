/* SPDX-License-Identifier: MIT */
/*
 * The forkserver's process: one thread, one loop, three things to wait for.
 *
 *     socket     a request: fork a worker, answer SPAWNED with its pidfd, or FAILED; or
 *                answer PONG
 *                end of file: the server has gone; kill everything and end
 *     SIGCHLD    somebody has ended: reap, answer EXITED if it was a worker, then sweep
 *     joining    a Python runner wants to be in the control group of its worker
 *
 * A worker's descendants are dealt with in two steps. Those in its process group are
 * killed before the worker is reaped, while its pid, which names the group, cannot belong
 * to anybody else. Those that left the group (setsid) become children of this process
 * when their parents end, as it is a subreaper: a child that it did not fork is a
 * stranger, and is killed. A dying stranger hands up its own children, and its SIGCHLD
 * starts the next sweep, so that sweeping goes on until nobody is left and never has to
 * wait for anybody.
 *
 * Where there are control groups, a worker's is killed as a whole when the worker has ended,
 * and both steps find nobody any more.
 *
 * A worker's scratch folder and its control group go with it. Removing what is in it may take
 * long, so that is done by a child of its own, the cleaner.
 */
#include "workers/forkserver.h"

#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "workers/child.h"
#include "workers/confine_process.h"
#include "workers/forkserver_wire.h"
#include "workers/python.h"
#include "workers/runtime.h"
#include "workers/scratch.h"
#include "workers/template.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_ROUNDS   50 /* times STOP_ROUND_MS is how long the last children may take */
#define STOP_ROUND_MS 10
#define TEMPLATE_FD   CATALOG_FD /* of a forked worker: it has loaded the catalog */

/* The descriptors of a request, in order. */
enum { FD_SOCK, FD_PAGE, FD_OUTPUT, FD_COUNT };

struct member {
    pid_t pid;
    uint64_t tag;
    bool cleaner; /* no worker: it removes the scratch folder of one */
};

struct forkserver_process {
    int sock;
    int signals; /* signalfd of SIGCHLD */
    struct confinement confinement;
    struct member *workers;
    size_t count, cap;
};

/* ---- inside the new worker --------------------------------------------------------- */

/* The task's output goes to the server. Line by line, so that a death does not take much
 * of it along: a worker never leaves through exit(3), which would write the rest. */
static bool redirect(int output)
{
    return dup2(output, STDOUT_FILENO) != -1 && dup2(output, STDERR_FILENO) != -1 &&
           setvbuf(stdout, NULL, _IOLBF, BUFSIZ) == 0;
}

/* Goes on as worker_main of a process that has nothing of this one but its limits. */
_Noreturn static void execute_worker(const int fds[],
                                     const struct worker_options *options)
{
    char result_max[24], cpu_ms[24], rss_max[24];
    char *argv[] = { "poold",
                     "worker",
                     result_max,
                     options->initializer ? "1" : "0",
                     cpu_ms,
                     rss_max,
                     options->scratch ? "1" : "0",
                     NULL };

    (void)snprintf(result_max, sizeof(result_max), "%llu",
                   (unsigned long long)options->result_max);
    (void)snprintf(cpu_ms, sizeof(cpu_ms), "%lld", (long long)options->limits.cpu_ms);
    (void)snprintf(rss_max, sizeof(rss_max), "%llu",
                   (unsigned long long)options->rss_max);
    /* Neither is in the other's place before its turn: both lie behind CATALOG_FD, and
     * the socket has left its own when the page comes. */
    if (dup2(fds[FD_SOCK], FORKSERVER_FD) == -1 ||
        (fds[FD_PAGE] != PAGE_FD && dup2(fds[FD_PAGE], PAGE_FD) == -1) ||
        fcntl(PAGE_FD, F_SETFD, 0) == -1 || fcntl(CATALOG_FD, F_SETFD, 0) == -1 ||
        close_range(PAGE_FD + 1, ~0U, 0) == -1)
        _exit(EXIT_FAILURE);
    (void)execv("/proc/self/exe", argv);
    _exit(EXIT_FAILURE);
}

static struct worker_page *map_page(int page_fd)
{
    struct worker_page *page =
        mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);

    return page == MAP_FAILED ? NULL : page;
}

/* The socket takes the place of the forkserver's own; everything behind it goes, unless
 * there may be a runner: then the socket to the template takes the place of the catalog, and
 * the page stays. Nothing is in another's place before its turn, but for the output, which
 * has been redirected. */
static bool keep_files(const int fds[])
{
    int template = template_socket();

    if (dup3(fds[FD_SOCK], FORKSERVER_FD, O_CLOEXEC) == -1)
        return false;
    if (!python_loaded())
        return close_range(FORKSERVER_FD + 1, ~0U, 0) == 0;
    if (template != -1 && !template_move(TEMPLATE_FD))
        return false;
    if (fds[FD_PAGE] != PAGE_FD && dup3(fds[FD_PAGE], PAGE_FD, O_CLOEXEC) == -1)
        return false;
    return (template != -1 || close(TEMPLATE_FD) == 0) &&
           close_range(PAGE_FD + 1, ~0U, 0) == 0;
}

_Noreturn static void become_worker(pid_t parent, const int fds[],
                                    const struct confinement *confinement,
                                    struct worker_options *options)
{
    struct worker_page *page;

    options->scratch = confinement->scratch != NULL;
    if (!redirect(fds[FD_OUTPUT]) ||
        !confine_worker(parent, confinement, &options->limits))
        _exit(EXIT_FAILURE);
    if (options->fresh)
        execute_worker(fds, options);
    page = map_page(fds[FD_PAGE]);
    if (!page)
        _exit(EXIT_FAILURE);
    if (!keep_files(fds))
        _exit(EXIT_FAILURE);
    _exit(child_main(FORKSERVER_FD, page, options));
}

static bool load_tasks(void)
{
    struct error_text err = { "" };
    enum status st = runtime_load_all(CATALOG_FD, &err);

    if (st != ST_OK)
        log_error("the tasks cannot be loaded", "error=\"%s\"", err.text);
    return st == ST_OK;
}

int worker_main(int argc, char **argv)
{
    struct worker_options options = { 0 };
    struct worker_page *page;

    if (argc != 5)
        return EXIT_FAILURE;
    options.result_max = strtoull(argv[0], NULL, 10);
    options.initializer = argv[1][0] == '1';
    options.limits.cpu_ms = strtoll(argv[2], NULL, 10);
    options.rss_max = strtoull(argv[3], NULL, 10);
    options.scratch = argv[4][0] == '1';
    page = map_page(PAGE_FD);
    if (!page || fcntl(FORKSERVER_FD, F_SETFD, FD_CLOEXEC) == -1 ||
        fcntl(CATALOG_FD, F_SETFD, FD_CLOEXEC) == -1)
        return EXIT_FAILURE;
    prctl(PR_SET_NAME, "poold-worker");
    if (!load_tasks() || close(CATALOG_FD) == -1 ||
        (python_loaded() ? fcntl(PAGE_FD, F_SETFD, FD_CLOEXEC) : close(PAGE_FD)) == -1)
        return EXIT_FAILURE;
    (void)setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* as redirect has it */
    return child_main(FORKSERVER_FD, page, &options);
}

/* ---- answers ----------------------------------------------------------------------- */

/* Blocks while the server does not read: no answer is ever lost. False: the server has
 * gone. */
static bool answer(const struct forkserver_process *fs, struct forkserver_answer *answer,
                   int pidfd)
{
    answer->magic = FORKSERVER_MAGIC;
    return fd_send(fs->sock, answer, sizeof(*answer), &pidfd, pidfd == -1 ? 0 : 1) ==
           ST_OK;
}

static bool answer_ping(const struct forkserver_process *fs)
{
    struct forkserver_answer pong = { .kind = FORKSERVER_PONG };

    return answer(fs, &pong, -1);
}

static bool answer_failed(const struct forkserver_process *fs, uint64_t tag, int error)
{
    struct forkserver_answer failed = {
        .kind = FORKSERVER_FAILED,
        .error = error,
        .tag = tag,
    };

    return answer(fs, &failed, -1);
}

static uint64_t cpu_ns_of(const struct rusage *usage)
{
    uint64_t sec = (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec);
    uint64_t usec = (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);

    return sec * 1000000000u + usec * 1000u;
}

static bool answer_exited(const struct forkserver_process *fs,
                          const struct member *worker, int wait_status,
                          const struct rusage *usage)
{
    struct forkserver_answer exited = {
        .kind = FORKSERVER_EXITED,
        .out_of_memory = cgroup_out_of_memory(&fs->confinement.cgroup, worker->pid),
        .wait_status = wait_status,
        .pid = worker->pid,
        .tag = worker->tag,
        .cpu_ns = cpu_ns_of(usage),
        .max_rss_bytes = (uint64_t)usage->ru_maxrss * 1024u,
    };

    return answer(fs, &exited, -1);
}

/* ---- forking ----------------------------------------------------------------------- */

static bool table_reserve(struct forkserver_process *fs)
{
    size_t cap = fs->cap ? fs->cap * 2 : 16;
    struct member *workers;

    if (fs->count < fs->cap)
        return true;
    workers = mem_realloc(fs->workers, cap * sizeof(*workers));
    if (!workers)
        return false;
    fs->workers = workers;
    fs->cap = cap;
    return true;
}

static bool spawn(struct forkserver_process *fs, struct forkserver_request *request,
                  const int fds[])
{
    struct forkserver_answer spawned = { .kind = FORKSERVER_SPAWNED,
                                         .tag = request->tag };
    pid_t self = getpid(), pid;
    int pidfd, error;
    bool ok;

    if (!table_reserve(fs))
        return answer_failed(fs, request->tag, ENOMEM);
    error = FAULT(forkserver_before_fork);
    pid = error ? -1 : fork();
    if (pid == -1)
        return answer_failed(fs, request->tag, error ? error : errno);
    if (pid == 0)
        become_worker(self, fds, &fs->confinement, &request->options);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    error = pidfd == -1 ? errno : FAULT(forkserver_after_fork);
    if (error) {
        fd_close(&pidfd);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return answer_failed(fs, request->tag, error);
    }
    setpgid(pid, pid); /* the worker does so too: whoever comes first */
    fs->workers[fs->count++] = (struct member){ .pid = pid, .tag = request->tag };
    spawned.pid = pid;
    ok = answer(fs, &spawned, pidfd);
    fd_close(&pidfd);
    return ok;
}

/* False: the server has gone, or what it wrote makes no sense. */
static bool on_request(struct forkserver_process *fs)
{
    struct forkserver_request request;
    int fds[FD_PASS_MAX];
    size_t len, fd_count;
    bool ok;

    if (fd_recv(fs->sock, &request, sizeof(request), &len, fds, &fd_count) != ST_OK)
        return false;
    ok = len == sizeof(request) && request.magic == FORKSERVER_MAGIC;
    if (ok && request.kind == FORKSERVER_PING)
        ok = fd_count == 0 && answer_ping(fs);
    else if (ok)
        ok = request.kind == FORKSERVER_SPAWN && fd_count == FD_COUNT &&
             spawn(fs, &request, fds);
    while (fd_count > 0)
        fd_close(&fds[--fd_count]);
    return ok;
}

/* ---- reaping ----------------------------------------------------------------------- */

static struct member *find_worker(const struct forkserver_process *fs, pid_t pid)
{
    for (size_t i = 0; i < fs->count; i++) {
        if (fs->workers[i].pid == pid)
            return &fs->workers[i];
    }
    return NULL;
}

/* Kills every child that is no worker of ours; returns how many there were. */
static size_t kill_strangers(const struct forkserver_process *fs)
{
    char path[64];
    size_t count = 0;
    FILE *children;
    int pid;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    children = fopen(path, "re");
    if (!children)
        return 0;
    while (fscanf(children, "%d", &pid) == 1) {
        if (!find_worker(fs, pid) && !template_is(pid)) {
            kill(pid, SIGKILL);
            count++;
        }
    }
    fclose(children);
    return count;
}

/* Without memory or a process for it, the folder stays until the server has ended. */
static void clear_away(struct forkserver_process *fs, pid_t pid)
{
    const char *base = fs->confinement.scratch;
    const struct cgroup_plan *groups = &fs->confinement.cgroup;
    bool left = !base || scratch_leave(base, pid);
    pid_t cleaner;

    if ((cgroup_leave(groups, pid) && left) || !table_reserve(fs))
        return;
    cleaner = fork();
    if (cleaner == 0) {
        prctl(PR_SET_NAME, "poold-clean");
        cgroup_remove(groups, pid);
        if (base)
            scratch_remove(base, pid);
        _exit(EXIT_SUCCESS);
    }
    if (cleaner > 0)
        fs->workers[fs->count++] = (struct member){ .pid = cleaner, .cleaner = true };
}

static bool reap(struct forkserver_process *fs, pid_t pid)
{
    struct member *worker = find_worker(fs, pid);
    struct rusage usage;
    bool ok = true, cleaner = worker && worker->cleaner;
    int wait_status;

    if ((worker && !cleaner) || template_is(pid))
        kill(-pid, SIGKILL);
    if (worker && !cleaner)
        cgroup_kill(&fs->confinement.cgroup, pid);
    if (wait4(pid, &wait_status, 0, &usage) != pid)
        return true;
    if (template_is(pid))
        template_ended(wait_status);
    if (!worker)
        return true;
    if (!cleaner)
        ok = answer_exited(fs, worker, wait_status, &usage);
    *worker = fs->workers[--fs->count];
    if (!cleaner)
        clear_away(fs, pid);
    return ok;
}

/* Reaps all that have ended, and does not wait for the others. */
static bool reap_all(struct forkserver_process *fs)
{
    bool ok = true;

    for (;;) {
        siginfo_t info = { 0 };

        /* Only looked at here: the pid has to stay taken until its group has been killed.
         */
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            break;
        if (!reap(fs, info.si_pid))
            ok = false;
    }
    kill_strangers(fs);
    return ok;
}

static void kill_all(struct forkserver_process *fs)
{
    pid_t template = template_close();

    if (template > 0)
        kill(template, SIGKILL);
    for (size_t i = 0; i < fs->count; i++) {
        kill(fs->workers[i].pid, SIGKILL);
        if (fs->workers[i].cleaner)
            continue;
        kill(-fs->workers[i].pid, SIGKILL);
        cgroup_kill(&fs->confinement.cgroup, fs->workers[i].pid);
    }
    for (int i = 0; i < STOP_ROUNDS; i++) {
        struct pollfd children = { .fd = fs->signals, .events = POLLIN };

        reap_all(fs);
        if (fs->count == 0 && kill_strangers(fs) == 0)
            break;
        poll(&children, 1, STOP_ROUND_MS);
    }
}

/* ---- the process ------------------------------------------------------------------- */

static bool prepare_signals(struct forkserver_process *fs)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
    sigset_t chld;

    /* The server decides when to stop, and says so by closing the socket. */
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &chld, NULL) == -1)
        return false;
    fs->signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    return fs->signals != -1;
}

static bool prepare(struct forkserver_process *fs)
{
    struct error_text err = { "" };
    struct ucred server;
    socklen_t len = sizeof(server);

    /* The credentials of a socket pair are those of the process that made it: the server.
     */
    if (getsockopt(fs->sock, SOL_SOCKET, SO_PEERCRED, &server, &len) == -1) {
        log_error("not started by a server; use: poold serve", "");
        return false;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != server.pid)
        return false;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == -1 ||
        close_range(CATALOG_FD + 1, ~0U, 0) == -1 ||
        fcntl(CATALOG_FD, F_SETFD, FD_CLOEXEC) == -1 ||
        fcntl(fs->sock, F_SETFD, FD_CLOEXEC) == -1)
        return false;
    prctl(PR_SET_NAME, "poold-fork");
    /* What the server itself was started in is no trace of its jobs. */
    (void)unsetenv("TRACEPARENT");
    (void)unsetenv("TRACESTATE");
    if (confine_filter(&fs->confinement, &err) != ST_OK) {
        log_error("tasks cannot be confined", "error=\"%s\"", err.text);
        return false;
    }
    return load_tasks() && prepare_signals(fs);
}

static void serve(struct forkserver_process *fs)
{
    struct pollfd wait[] = {
        { .fd = fs->sock, .events = POLLIN },
        { .fd = fs->signals, .events = POLLIN },
        { .fd = template_joining(), .events = POLLIN },
    };

    for (;;) {
        struct signalfd_siginfo infos[16];

        if (poll(wait, 3, -1) == -1)
            continue; /* EINTR, after a stop and a continue */
        if (wait[2].revents && !template_join())
            wait[2].fd = -1;
        if (wait[1].revents) {
            while (read(fs->signals, infos, sizeof(infos)) == sizeof(infos))
                ;
            if (!reap_all(fs))
                return;
        }
        if (wait[0].revents && !on_request(fs))
            return;
    }
}

int forkserver_main(int argc, char **argv)
{
    struct forkserver_process fs = { .sock = FORKSERVER_FD, .signals = -1 };

    if (!confine_parse(argc, argv, &fs.confinement) || !prepare(&fs))
        return EXIT_FAILURE;
    template_open(confine_template, &fs.confinement);
    serve(&fs);
    kill_all(&fs);
    fd_close(&fs.signals);
    mem_free(fs.workers);
    return EXIT_SUCCESS;
}
