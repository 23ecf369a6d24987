/* SPDX-License-Identifier: MIT */
#include "workers/template.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "workers/python.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRIKES_MAX 3 /* deaths in a row, each within STRIKE_NS of its start */
#define STRIKE_NS   (10 * NS_PER_SEC)

static struct {
    int asking, answering; /* the workers' end, the template's end */
    int joining, joiners;  /* the forkserver's end, the runners' end; -1: no groups */
    pid_t pid;
    uint64_t started_ns;
    unsigned strikes;
    template_confine *confine;
    const struct confinement *confinement;
} template = { .asking = -1, .answering = -1, .joining = -1, .joiners = -1 };

/* As JOIN of runner.py has it. */
struct join {
    int64_t worker, runner; /* pids */
};

static void start(void)
{
    pid_t self = getpid(), pid = fork();

    if (pid == 0) {
        if (template.confine(self, template.confinement))
            python_execute(
                "template", template.joiners == -1 ? "alone" : "join", template.answering,
                template.joiners == -1 ? template.answering : template.joiners);
        _exit(EXIT_FAILURE);
    }
    template.started_ns = clock_mono_ns();
    template.pid = pid > 0 ? pid : 0;
    if (pid == -1)
        (void)template_close();
}

void template_open(template_confine *confine, const struct confinement *confinement)
{
    int pair[2];

    if (!python_loaded())
        return;
    if (fd_socket_pair(SOCK_SEQPACKET, pair) != ST_OK)
        return; /* workers help themselves */
    template.asking = pair[0];
    template.answering = pair[1];
    template.confine = confine;
    template.confinement = confinement;
    if (confinement->cgroup.base && fd_socket_pair(SOCK_SEQPACKET, pair) == ST_OK) {
        template.joining = pair[0];
        template.joiners = pair[1];
    }
    start();
}

int template_joining(void)
{
    return template.joining;
}

/* The parent of a process, from its stat; 0: it has gone. */
static pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    const char *end;
    int fd, parent = 0;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd == -1 ? -1 : read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    fd_close(&fd);
    end = strrchr(text, ')');
    return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

bool template_join(void)
{
    struct join join;
    int fds[FD_PASS_MAX];
    size_t len, count = 0;
    enum status st = fd_recv(template.joining, &join, sizeof(join), &len, fds, &count);

    if (st == ST_OK && len == sizeof(join) && template.pid > 0 && join.runner > 0 &&
        parent_of((pid_t)join.runner) == template.pid &&
        !cgroup_join(&template.confinement->cgroup, (pid_t)join.worker,
                     (pid_t)join.runner))
        log_warn("a Python runner is not in its worker's control group",
                 "worker=%d error=\"%s\"", (int)join.worker, strerror(errno));
    while (count > 0)
        fd_close(&fds[--count]);
    return st == ST_OK || st == ST_PROTOCOL;
}

bool template_is(pid_t pid)
{
    return pid == template.pid;
}

void template_ended(int wait_status)
{
    bool soon = clock_mono_ns() - template.started_ns < STRIKE_NS;

    template.pid = 0;
    if (template.asking == -1)
        return;
    template.strikes = soon ? template.strikes + 1 : 0;
    log_error("the process that has the Python modules imported has ended",
              WIFSIGNALED(wait_status) ? "signal=%d next=\"%s\"" : "code=%d next=\"%s\"",
              WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status),
              template.strikes < STRIKES_MAX ? "another one"
                                             : "workers import them themselves");
    if (template.strikes < STRIKES_MAX)
        start();
    else
        (void)template_close();
}

pid_t template_close(void)
{
    fd_close(&template.asking);
    fd_close(&template.answering);
    return template.pid;
}

bool template_move(int fd)
{
    template.asking = dup3(template.asking, fd, O_CLOEXEC);
    return template.asking != -1;
}

int template_socket(void)
{
    return template.asking;
}
