/* SPDX-License-Identifier: MIT */
/*
 * primes_loop - the task primes_in_range, called in a loop by one process: what N workers
 * are compared with.
 *
 *     primes_loop END RANGES
 *
 * Calls it for RANGES ranges of equal size up to END, as poold would, and prints the
 * seconds that it took.
 */
#include "workers/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    const struct task *task = registry_find(TEXT("primes_in_range"));
    struct buf out = BUF_INIT;
    long end, ranges;
    double start;

    if (argc != 3 || !task)
        return EXIT_FAILURE;
    end = strtol(argv[1], NULL, 10);
    ranges = strtol(argv[2], NULL, 10);
    start = now();
    for (long i = 0; i < ranges; i++) {
        char args[64];
        int len = snprintf(args, sizeof(args), "%ld,%ld", end * i / ranges,
                           end * (i + 1) / ranges);
        struct task_call call;

        buf_reset(&out);
        task_run(&call, task, (struct text){ args, (size_t)len }, false,
                 (struct text){ 0 }, &out, NULL);
        if (call.end != CALL_RETURNED)
            return EXIT_FAILURE;
        task_call_clear(&call);
    }
    start = now() - start;
    buf_clear(&out);
    return printf("%.6f\n", start) < 0;
}
