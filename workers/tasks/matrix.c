/* SPDX-License-Identifier: MIT */
/* Dense matrices: work that is bound by the processor and its caches. */
#include "workers/tasks/tasks.h"

#include "common/clock.h"
#include "common/mem.h"

#define SIZE_MAX_MATMUL 4096 /* three matrices of 128 MiB */

/* splitmix64: the values need to differ, not to be unpredictable. */
static double next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static void fill_random(double *matrix, size_t count)
{
    uint64_t state = clock_mono_ns();

    for (size_t i = 0; i < count; i++)
        matrix[i] = next_random(&state);
}

/* product += a * b, all of size n x n and product zero before. The order of the loops
 * walks all three along their rows; bands of b that stay in the cache are used for every
 * row of a. */
static void multiply(double *restrict product, const double *restrict a,
                     const double *restrict b, size_t n)
{
    const size_t band = 64;

    for (size_t start = 0; start < n; start += band) {
        size_t stop = start + band < n ? start + band : n;

        for (size_t i = 0; i < n; i++) {
            for (size_t k = start; k < stop; k++) {
                double factor = a[i * n + k];

                for (size_t j = 0; j < n; j++)
                    product[i * n + j] += factor * b[k * n + j];
            }
        }
    }
}

static void run_matmul(struct task_call *call)
{
    double *matrices;
    size_t count;
    int64_t n;

    if (!call_int64(call, 0, &n))
        return;
    if (n < 0 || n > SIZE_MAX_MATMUL) {
        call_raise(call, "ValueError", "size must be from 0 to %d", SIZE_MAX_MATMUL);
        return;
    }
    count = (size_t)(n * n);
    matrices = mem_zalloc(3 * count * sizeof(*matrices) + 1);
    if (!matrices) {
        call_raise(call, "MemoryError", "out of memory for three matrices");
        return;
    }
    fill_random(matrices + count, 2 * count);
    multiply(matrices, matrices + count, matrices + 2 * count, (size_t)n);
    /* Nobody reads the product; this keeps the compiler from leaving it out. */
    __asm__ volatile("" : : "r"(matrices) : "memory");
    mem_free(matrices);

    buf_addf(call_out(call), "[%d,[%d,%d]]", (int)n, (int)n, (int)n);
    call_return_written(call);
}

const struct task task_matmul = {
    .name = "matmul",
    .summary = "Multiplies two random size x size matrices, size at most 4096; "
               "[size, [size, size]].",
    .signature = "matmul(size)",
    .params = { "size" },
    .run = run_matmul,
};
