/* SPDX-License-Identifier: MIT */
/*
 * tidy - what a task can leave behind in its worker, and how the next one is spared it.
 *
 *     behind each chunk        working directory, umask, signal mask, alarm, environment,
 *                              time zone, locale, rounding, the scratch folder, and the
 *                              processes that it started
 *     now and then (DEEP_NS)   signal handlers, limits, and whether the worker is still
 *                              fit: memory and files in use, priority
 *
 * What can be set back is; a worker that is not fit for another chunk is replaced. What
 * stays: loaded libraries, memory, open files, threads, and variables of the task's own,
 * until the worker is replaced. A chunk's tidying takes about a microsecond; tasks that are
 * built in are known to leave nothing and have none.
 *
 * A runtime that keeps a process for later chunks says so by tidy_keep_child.
 */
#ifndef WORKERS_TIDY_H
#define WORKERS_TIDY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DEEP_NS (20 * 1000000ull)

struct tidy_options {
    bool scratch; /* the working directory is its scratch folder */
    /* Bytes of memory in use, by the worker and those that it keeps, from which on it is
     * replaced; 0: any. */
    uint64_t rss_max;
};

/* Notes how things are, and how they are to be behind each chunk: when the worker is ready
 * for its first one. false: no memory, or no descriptor. */
bool tidy_init(const struct tidy_options *options);
/* Between two items that took some time: empties the scratch folder. */
void tidy_item(void);
/* Behind a chunk; now_ns is of any steady clock. false: the worker is to be replaced.
 * *ret_limits: soft limits were set back to the hard ones. */
bool tidy_chunk(uint64_t now_ns, bool *ret_limits);

/* This child of the worker is not a task's: it stays. At most TIDY_KEPT_MAX: false. */
#define TIDY_KEPT_MAX 256
bool tidy_keep_child(pid_t pid);
void tidy_forget_child(pid_t pid);
/* Nor is this process, which is somebody else's child. */
void tidy_keep_other(pid_t pid);

#endif
