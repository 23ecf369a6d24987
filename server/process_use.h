/* SPDX-License-Identifier: MIT */
/*
 * process_use - what processes use, as /proc says. Without /proc it is nothing.
 */
#ifndef SERVER_PROCESS_USE_H
#define SERVER_PROCESS_USE_H

#include <stdint.h>
#include <sys/types.h>

struct process_use {
    uint64_t processes, threads;
    uint64_t resident_bytes, virtual_bytes; /* shared pages count for each */
    double cpu_seconds;
};

/* Looks at no more processes than this. */
#define PROCESS_TREE_MAX 4096

/* One process, without its children. */
struct process_use process_use_of(pid_t pid);
/* The process and all its descendants; their processor time with that of those who have
 * ended and been waited for. So it only rises, if each of them is waited for by one that is
 * still there. A pid of 0 is none. */
struct process_use process_use_of_tree(pid_t root);
/* Descriptors that this process has open, and may have open. */
uint64_t process_open_fds(void);
uint64_t process_max_fds(void);

#endif
