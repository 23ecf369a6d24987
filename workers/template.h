/* SPDX-License-Identifier: MIT */
/*
 * template - the interpreter beside a forkserver that has imported the modules of tasks, and
 * forks runners that need not do so again.
 *
 * The forkserver starts it when Python tasks have been loaded, and does not wait for it: its
 * imports may take seconds. Workers ask it for runners through a SEQPACKET socket that they
 * inherit (workers/runner.h has the messages); requests wait in it meanwhile. The forkserver
 * keeps both ends, so a template that has died is replaced behind the socket. One that keeps
 * dying is given up: the socket is closed, and workers start interpreters of their own.
 *
 * Where workers have control groups (cgroup.h), a runner has to get into that of its worker,
 * and only the forkserver may put it there: it is asked through a second SEQPACKET socket,
 * before anything of a task has run. The message is a struct join with one descriptor, the
 * writing end of a pipe: its end of file says that it has been done.
 *
 * A template whose modules start threads when they are imported refuses to fork, as a fork
 * copies the locks and not the threads; then, too, workers help themselves.
 */
#ifndef WORKERS_TEMPLATE_H
#define WORKERS_TEMPLATE_H

#include "workers/confine.h"

#include <stdbool.h>
#include <sys/types.h>

/* In a forkserver, once its tasks are loaded. confine makes the new process one that may run
 * foreign code; false: it ends. The confinement stays the caller's. Without Python tasks
 * nothing happens. */
typedef bool template_confine(pid_t parent, const struct confinement *confinement);
void template_open(template_confine *confine, const struct confinement *confinement);
/* Where runners ask to join a group; -1: nobody will. */
int template_joining(void);
/* Takes one such message. Only children of the template are moved. false: nobody will ask
 * any more. */
bool template_join(void);
/* Whether this child is the template. */
bool template_is(pid_t pid);
/* It has been reaped. */
void template_ended(int wait_status);
/* No template is started any more; its pid to kill, or 0. */
pid_t template_close(void);

/* In a worker that was forked: where to ask; -1: nobody is there. Another number for it: the
 * old one stays open. */
int template_socket(void);
bool template_move(int fd);

#endif
