/* SPDX-License-Identifier: MIT */
/* The server's end of the forkserver; its own process is in forkserver_main.c. */
#include "workers/forkserver.h"

#include "common/fd.h"
#include "common/mem.h"
#include "workers/forkserver_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a forkserver may take to kill and reap what it has forked. */
#define STOP_MS 1000

/* stdin is /dev/null, stdout goes where stderr goes, the socket is FORKSERVER_FD. Without
 * a catalog CATALOG_FD is /dev/null. */
static int set_files(posix_spawn_file_actions_t *actions, int sock, int catalog)
{
    int err =
        posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    if (err == 0)
        err = posix_spawn_file_actions_adddup2(actions, STDERR_FILENO, STDOUT_FILENO);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(actions, sock, FORKSERVER_FD);
    if (err == 0 && catalog > CATALOG_FD)
        err = posix_spawn_file_actions_adddup2(actions, catalog, CATALOG_FD);
    else if (err == 0)
        err = posix_spawn_file_actions_addopen(actions, CATALOG_FD, "/dev/null", O_RDONLY,
                                               0);
    return err;
}

/* Default signals, none blocked, and a process group of its own: an interrupt from the
 * terminal is for the server alone, which then drains. */
static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t all, none;
    int err;

    sigfillset(&all);
    sigemptyset(&none);
    err = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                             POSIX_SPAWN_SETPGROUP);
    if (err == 0)
        err = posix_spawnattr_setsigdefault(attr, &all);
    if (err == 0)
        err = posix_spawnattr_setsigmask(attr, &none);
    if (err == 0)
        err = posix_spawnattr_setpgroup(attr, 0);
    return err;
}

/* Out of the way of the numbers that they get in the child. */
static int move_up(int *fd)
{
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, CATALOG_FD + 1);

    if (moved == -1)
        return errno;
    fd_close(fd);
    *fd = moved;
    return 0;
}

/* Returns 0 or an errno. */
static int spawn_self(int sock, int catalog, char *argv[], pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int err = posix_spawn_file_actions_init(&actions);

    if (err != 0)
        return err;
    err = posix_spawnattr_init(&attr);
    if (err == 0) {
        err = set_files(&actions, sock, catalog);
        if (err == 0)
            err = set_attributes(&attr);
        if (err == 0)
            err = posix_spawn(ret_pid, "/proc/self/exe", &actions, &attr, argv, environ);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&actions);
    return err;
}

enum status forkserver_start(struct forkserver *fs, int catalog,
                             const struct confinement *confinement,
                             struct error_text *err)
{
    static const struct confinement none = { 0 };
    char *argv[2 + CONFINE_ARGS_MAX] = { "poold", "forkserver" }, *text = NULL;
    int pair[2] = { -1, -1 };
    int error = ENOMEM;

    *fs = (struct forkserver){ .sock = -1, .pidfd = -1 };
    if (confine_args(confinement ? confinement : &none, argv + 2, &text) != ST_OK)
        goto failed;
    if (fd_socket_pair(SOCK_SEQPACKET, pair) != ST_OK ||
        fd_set_nonblock(pair[0], true) != ST_OK) {
        error = errno;
        goto failed;
    }
    error = move_up(&pair[1]);
    if (error == 0)
        error = spawn_self(pair[1], catalog, argv, &fs->pid);
    if (error != 0) {
        fs->pid = 0;
        goto failed;
    }
    fs->pidfd = (int)syscall(SYS_pidfd_open, fs->pid, 0);
    if (fs->pidfd == -1) {
        error = errno;
        goto failed;
    }
    fs->sock = pair[0];
    fd_close(&pair[1]);
    mem_free(text);
    return ST_OK;

failed:
    mem_free(text);
    fd_close(&pair[0]);
    fd_close(&pair[1]);
    forkserver_stop(fs);
    return error_set(err, ST_IO, "the process that forks workers cannot be started: %s",
                     strerror(error));
}

static bool ends_by_itself(int pidfd)
{
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };
    int n;

    do
        n = poll(&ended, 1, STOP_MS);
    while (n == -1 && errno == EINTR);
    return n == 1;
}

void forkserver_stop(struct forkserver *fs)
{
    fd_close(&fs->sock);
    if (fs->pid > 0) {
        if (fs->pidfd == -1 || !ends_by_itself(fs->pidfd))
            kill(fs->pid, SIGKILL); /* not reaped yet: the pid is still its own */
        while (waitpid(fs->pid, NULL, 0) == -1 && errno == EINTR)
            ;
    }
    fd_close(&fs->pidfd);
    fs->pid = 0;
}

enum status forkserver_spawn(struct forkserver *fs, uint64_t tag, int sock, int page,
                             int output, const struct worker_options *options)
{
    struct forkserver_request request = {
        .magic = FORKSERVER_MAGIC,
        .tag = tag,
        .options = *options,
    };
    enum status st;

    if (fs->sock == -1)
        return ST_CLOSED;
    st = fd_send(fs->sock, &request, sizeof(request), (int[]){ sock, page, output }, 3);
    /* What else can fail here (descriptors in flight, kernel memory) passes. */
    return st == ST_IO ? ST_AGAIN : st;
}

void forkserver_ping(struct forkserver *fs)
{
    const struct forkserver_request request = { .magic = FORKSERVER_MAGIC,
                                                .kind = FORKSERVER_PING };

    if (fs->sock == -1 || fd_send(fs->sock, &request, sizeof(request), NULL, 0) != ST_OK)
        return; /* a full socket, or a closed one: either is found out in time */
}

static bool answer_valid(const struct forkserver_answer *answer, size_t len,
                         size_t fd_count)
{
    return len == sizeof(*answer) && answer->magic == FORKSERVER_MAGIC &&
           answer->kind <= FORKSERVER_PONG &&
           fd_count == (answer->kind == FORKSERVER_SPAWNED ? 1 : 0);
}

enum status forkserver_next_event(struct forkserver *fs,
                                  struct forkserver_event *ret_event)
{
    struct forkserver_answer answer = { 0 };
    int fds[FD_PASS_MAX];
    size_t len, fd_count;
    enum status st;

    if (fs->sock == -1)
        return ST_CLOSED;
    st = fd_recv(fs->sock, &answer, sizeof(answer), &len, fds, &fd_count);
    if (st == ST_AGAIN)
        return st;
    if (st != ST_OK)
        return ST_CLOSED; /* an answer that is lost or cut cannot be made good */
    if (!answer_valid(&answer, len, fd_count)) {
        while (fd_count > 0)
            fd_close(&fds[--fd_count]);
        return ST_CLOSED;
    }
    *ret_event = (struct forkserver_event){
        .kind = answer.kind,
        .error = answer.error,
        .wait_status = answer.wait_status,
        .out_of_memory = answer.out_of_memory != 0,
        .pidfd = fd_count == 1 ? fds[0] : -1,
        .pid = (pid_t)answer.pid,
        .tag = answer.tag,
        .cpu_ns = answer.cpu_ns,
        .max_rss_bytes = answer.max_rss_bytes,
    };
    return ST_OK;
}
