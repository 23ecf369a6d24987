/* SPDX-License-Identifier: MIT */
/*
 * Prime numbers: one by division, many by a sieve.
 *
 * The sieve of Eratosthenes runs over windows that stay in the cache. Window byte i
 * stands for the odd number first + 2 * i; multiples are struck out by the primes up to
 * the root of the range's end, which a plain sieve has found before.
 */
#include "workers/tasks/tasks.h"

#include "common/mem.h"

#include <string.h>

/* An answer of 50,000,000 numbers has about 3,000,000 primes or 30 MB; the root of 2^40
 * makes a plain sieve of 1 MiB. */
#define RANGE_MAX 50000000
#define END_MAX   ((int64_t)1 << 40)
#define WINDOW    131072u /* bytes: odd numbers in a window */
#define TOLD_EACH 8       /* windows between two reports: some milliseconds */

static bool is_prime(uint64_t n)
{
    if (n < 4)
        return n > 1;
    if (n % 2 == 0)
        return false;
    for (uint64_t divisor = 3; divisor <= n / divisor; divisor += 2) {
        if (n % divisor == 0)
            return false;
    }
    return true;
}

static void run_is_prime(struct task_call *call)
{
    int64_t n;

    if (!call_int64(call, 0, &n))
        return;
    call_return_text(call, n > 0 && is_prime((uint64_t)n) ? TEXT("true") : TEXT("false"));
}

const struct task task_is_prime = {
    .name = "is_prime",
    .summary = "Whether n, up to 64 bits, is a prime number; by dividing.",
    .signature = "is_prime(n)",
    .params = { "n" },
    .run = run_is_prime,
};

/* The largest root with root * root <= n. */
static uint64_t root_of(uint64_t n)
{
    uint64_t root = 0;

    for (uint64_t bit = (uint64_t)1 << 20; bit > 0; bit >>= 1) {
        if ((root + bit) * (root + bit) <= n)
            root += bit;
    }
    return root;
}

/* struck[n] becomes true for the odd n <= root that are no primes; even ones are not
 * looked at. */
static void strike_small(bool *struck, uint64_t root)
{
    for (uint64_t p = 3; p * p <= root; p += 2) {
        if (struck[p])
            continue;
        for (uint64_t n = p * p; n <= root; n += 2 * p)
            struck[n] = true;
    }
}

/* The window's numbers are first, first + 2, ... below end; first is odd. */
static void strike_window(bool *window, uint64_t first, uint64_t end, const bool *struck)
{
    uint64_t count = (end - first + 1) / 2;

    memset(window, 0, count);
    for (uint64_t p = 3; p * p < end; p += 2) {
        uint64_t multiple = p * p;

        if (struck[p])
            continue;
        if (multiple < first) {
            multiple = (first + p - 1) / p * p;
            if (multiple % 2 == 0)
                multiple += p;
        }
        for (uint64_t i = (multiple - first) / 2; i < count; i += p)
            window[i] = true;
    }
}

static void add_prime(struct buf *out, uint64_t prime)
{
    buf_add_u64(out, prime);
    buf_add_char(out, ',');
}

/* The primes of [start, end), each with a comma behind it; 2 <= start < end. false
 * without memory for the sieve. */
static bool add_primes(struct task_call *call, uint64_t start, uint64_t end)
{
    struct buf *out = call_out(call);
    uint64_t root = root_of(end - 1), windows = 0;
    bool *struck = mem_zalloc(root + 1 + WINDOW);
    bool *window;

    if (!struck)
        return false;
    window = struck + root + 1;
    strike_small(struck, root);
    if (start == 2)
        add_prime(out, 2);
    for (uint64_t first = start | 1; first < end; first += 2 * WINDOW) {
        uint64_t stop = first + 2 * WINDOW < end ? first + 2 * WINDOW : end;

        if (windows++ % TOLD_EACH == 0 && windows > 1)
            call_progress(call, first - start, end - start, "numbers tested");
        strike_window(window, first, stop, struck);
        for (uint64_t n = first; n < stop; n += 2) {
            if (!window[(n - first) / 2])
                add_prime(out, n);
        }
    }
    mem_free(struck);
    return true;
}

static void run_primes_in_range(struct task_call *call)
{
    struct buf *out = call_out(call);
    int64_t start, end;

    if (!call_int64(call, 0, &start) || !call_int64(call, 1, &end))
        return;
    if (start < 2)
        start = 2;
    if (start >= end) {
        call_return_text(call, TEXT("[]"));
        return;
    }
    if (end > END_MAX || end - start > RANGE_MAX) {
        call_raise(call, "ValueError",
                   "a range of at most %d numbers that ends at most at 2**40 is possible",
                   RANGE_MAX);
        return;
    }
    buf_add_char(out, '[');
    if (!add_primes(call, (uint64_t)start, (uint64_t)end)) {
        call_raise(call, "MemoryError", "out of memory for the sieve");
        return;
    }
    if (!out->failed && out->data[out->len - 1] == ',')
        out->len--; /* the list's last comma */
    buf_add_char(out, ']');
    call_return_written(call);
}

const struct task task_primes_in_range = {
    .name = "primes_in_range",
    .summary =
        "The prime numbers n with start <= n < end, by a sieve; at most 50,000,000 "
        "numbers up to 2**40.",
    .signature = "primes_in_range(start, end)",
    .params = { "start", "end" },
    .run = run_primes_in_range,
};
