/* SPDX-License-Identifier: MIT */
/*
 * limits - what a task may use, and how a process is held to it (setrlimit).
 *
 * A worker gets the limits of its pool when it starts, as hard ones. A task may have
 * stricter ones of its own: then they are the soft limits as long as it runs. Both are
 * inherited by every process that a task starts.
 *
 *     memory_limit       malloc returns NULL: MemoryError, out-of-memory
 *     file_size_limit    write fails with EFBIG
 *     open_files_limit   open fails with EMFILE
 *     process_limit      fork fails with EAGAIN. Counts all processes and threads of the
 *                        user, and root has none: of use with a user for tasks alone
 *     cpu_limit          seconds of processor time for an attempt at one item, in steps of
 *                        one second: SIGXCPU, time-limit
 */
#ifndef WORKERS_LIMITS_H
#define WORKERS_LIMITS_H

#include "common/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum limit {
    LIMIT_MEMORY,     /* bytes of address space */
    LIMIT_FILE_SIZE,  /* bytes of a file that is written */
    LIMIT_OPEN_FILES, /* descriptors */
    LIMIT_PROCESSES,  /* of the user */
    LIMIT_COUNT
};

struct limit_kind {
    const char *name; /* of the setting and the members */
    uint64_t min, max;
    const char *range; /* "a whole number of bytes from … to …" */
};
extern const struct limit_kind limit_kinds[LIMIT_COUNT];

#define CPU_LIMIT_NAME   "cpu_limit"
#define CPU_LIMIT_MAX_MS (2592000ll * 1000)

/* 0: none, for each of them. */
struct limits {
    uint64_t at[LIMIT_COUNT];
    int64_t cpu_ms;
};

bool limits_equal(const struct limits *a, const struct limits *b);
/* Those of `own`, and of `others` where it has none. */
struct limits limits_or(const struct limits *own, const struct limits *others);

/* Holds the process to these from now on: hard and soft, but for the processor time, which
 * is granted by the item. false: errno tells. */
bool limits_set(pid_t pid, const struct limits *limits);
/* Its soft limits, none above the hard ones. */
bool limits_narrow(pid_t pid, const struct limits *limits);
/* The process may use so much processor time beyond what it has; 0: any. */
bool limits_grant_cpu(pid_t pid, int64_t cpu_ms);

/* The limits of a task from its catalog, {"memory_limit":…,"time_limit":…}, seconds and
 * bytes; they may be too strict for it to run at all. NULL, and the results all 0, if there
 * is no object; else why it is refused. */
const char *limits_parse(const json_t *object, struct limits *ret_limits,
                         int64_t *ret_time_limit_ms);

#endif
