/* SPDX-License-Identifier: MIT */
/*
 * program_process - a program that a worker has started, and its pipes.
 *
 * It is executed directly, never by a shell: in the folder of its manifest, in a process
 * group of its own, with the manifest's environment and limits, default signals and no
 * descriptor but 0, 1 and 2. It dies with the worker (PR_SET_PDEATHSIG), and whatever it
 * has started with it: process_end kills the group, and what has left that is killed by
 * process_sweep or by the forkserver.
 *
 * For workers: one thread.
 */
#ifndef WORKERS_PROGRAM_PROCESS_H
#define WORKERS_PROGRAM_PROCESS_H

#include "common/status.h"
#include "workers/program_manifest.h"

#include <stdbool.h>
#include <sys/types.h>

struct process {
    pid_t pid;   /* 0: none */
    int pidfd;   /* readable when it has ended */
    int in, out; /* its standard input and output; ours do not block; -1: closed */
    int err;     /* its standard error, or -1: it writes to the worker's own */
};

/* What the manifest does not say of it. */
struct process_options {
    bool own_err;   /* its standard error is a pipe, too */
    int64_t cpu_ms; /* processor time for all of its life; 0: any */
};
/* err says why it could not be executed, and errno is what the system said. */
NODISCARD enum status process_start(const struct program_manifest *manifest,
                                    const struct process_options *options,
                                    struct process *ret_process, struct error_text *err);
/* Processor time that it has used, with all of its threads; 0: it has gone. */
int64_t process_cpu_ms(const struct process *process);
/* Kills it if it has not ended, with its group, and closes everything; gives its wait
 * status. */
int process_end(struct process *process);
/* Whether it ends within that time. */
bool process_ends_within(const struct process *process, int ms);

#define PROCESS_STRANGERS_MAX 64

/* The children that the worker has at a moment. */
struct process_children {
    pid_t pids[PROCESS_STRANGERS_MAX];
    size_t count;
};
/* What a program leaves behind becomes a child of this process from now on. Workers have
 * that from the start. */
void process_adopt_orphans(void);
/* Up to PROCESS_STRANGERS_MAX. */
void process_list_children(struct process_children *ret_children);
/* Kills and reaps the children that were not there `before`, and those that they leave
 * behind. */
void process_sweep(const struct process_children *before);

#endif
