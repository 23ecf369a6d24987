/* SPDX-License-Identifier: MIT */
/*
 * primes_loop - what N workers are compared with: one process that calls the function of
 * their task in a loop.
 *
 *     primes_loop divide|sieve END RANGES
 *
 * Calls it for RANGES ranges of equal size up to END, as poold would, and prints the
 * seconds that it took. "divide" is find_primes.h, "sieve" the built-in primes_in_range.
 */
#include "bench/find_primes.h"
#include "workers/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* From `start` to before `end`: how many bytes the text has; 0 when there is no memory. */
static size_t divide(long start, long end)
{
    char *text = malloc(find_primes_size((uint32_t)start, (uint32_t)end - 1));
    size_t len = text ? find_primes((uint32_t)start, (uint32_t)end - 1, text) : 0;

    free(text);
    return len;
}

/* The same by the task. */
static size_t sieve(long start, long end)
{
    static struct buf out = BUF_INIT;
    char args[64];
    int len = snprintf(args, sizeof(args), "%ld,%ld", start, end);
    struct task_call call;
    enum call_end ended;

    buf_reset(&out);
    task_run(&call, registry_find(TEXT("primes_in_range")),
             (struct text){ args, (size_t)len }, false, (struct text){ 0 }, &out, NULL);
    ended = call.end;
    task_call_clear(&call);
    return ended == CALL_RETURNED ? out.len : 0;
}

int main(int argc, char **argv)
{
    size_t (*run)(long start, long end);
    long end, ranges;
    double start;

    if (argc != 4)
        return EXIT_FAILURE;
    run = strcmp(argv[1], "divide") == 0 ? divide : sieve;
    end = strtol(argv[2], NULL, 10);
    ranges = strtol(argv[3], NULL, 10);
    start = now();
    for (long i = 0; i < ranges; i++) {
        if (run(end * i / ranges, end * (i + 1) / ranges) == 0)
            return EXIT_FAILURE;
    }
    return printf("%.6f\n", now() - start) < 0;
}
