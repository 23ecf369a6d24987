/* SPDX-License-Identifier: MIT */
/*
 * find_primes - primes by division: work that is all calculation.
 *
 * Called by the task of find_primes.c and by primes_loop.c, so that both run the same
 * machine code. examples/python/primes.py has the same function in Python.
 */
#ifndef POOLD_BENCH_FIND_PRIMES_H
#define POOLD_BENCH_FIND_PRIMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* By odd divisors up to the square root. */
static inline bool is_prime(uint32_t n)
{
    if (n < 2 || n % 2 == 0)
        return n == 2;
    for (uint32_t divisor = 3; divisor <= n / divisor; divisor += 2) {
        if (n % divisor == 0)
            return false;
    }
    return true;
}

#define PRIME_TEXT_SIZE 11 /* of a number and its comma */

/* Bytes that find_primes may write. */
static inline size_t find_primes_size(uint32_t start, uint32_t end)
{
    return ((size_t)(end - start) / 2 + 6) * PRIME_TEXT_SIZE;
}

/* Writes [start,end,[the primes from start to end, both included]], and gives its length.
 * `end` is below UINT32_MAX. */
static inline size_t find_primes(uint32_t start, uint32_t end, char *text)
{
    size_t len = (size_t)sprintf(text, "[%u,%u,[", start, end);
    const char *comma = "";

    for (uint32_t n = start; n <= end; n++) {
        if (is_prime(n)) {
            len += (size_t)sprintf(text + len, "%s%u", comma, n);
            comma = ",";
        }
    }
    return len + (size_t)sprintf(text + len, "]]");
}

#endif
