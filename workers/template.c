/* SPDX-License-Identifier: MIT */
#include "workers/template.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "workers/python.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRIKES_MAX 3 /* deaths in a row, each within STRIKE_NS of its start */
#define STRIKE_NS   (10 * NS_PER_SEC)

static struct {
    int asking, answering; /* the workers' end, the template's end */
    pid_t pid;
    uint64_t started_ns;
    unsigned strikes;
    template_confine *confine;
    const struct confinement *confinement;
} template = { .asking = -1, .answering = -1 };

static void start(void)
{
    pid_t self = getpid(), pid = fork();

    if (pid == 0) {
        if (template.confine(self, template.confinement))
            python_execute("template", NULL, template.answering, template.answering);
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
    start();
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
              "%s=%d next=\"%s\"", WIFSIGNALED(wait_status) ? "signal" : "code",
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
