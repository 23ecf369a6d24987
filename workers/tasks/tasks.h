/* SPDX-License-Identifier: MIT */
/*
 * tasks - the list of the built-in tasks.
 *
 * Each line is the name of a task and of the `const struct task task_<name>` that
 * describes it, in order of name, since the registry searches it by halves.
 */
#ifndef WORKERS_TASKS_TASKS_H
#define WORKERS_TASKS_TASKS_H

#include "workers/task.h"

#define BUILTIN_TASKS(X)                                                                 \
    X(cpu_bound)                                                                         \
    X(cube)                                                                              \
    X(echo)                                                                              \
    X(is_prime)                                                                          \
    X(matmul)                                                                            \
    X(power)                                                                             \
    X(primes_in_range)                                                                   \
    X(safe_square)                                                                       \
    X(sleep)                                                                             \
    X(square)                                                                            \
    X(sum_range)

#define X(name) extern const struct task task_##name;
BUILTIN_TASKS(X)
#undef X

#endif
