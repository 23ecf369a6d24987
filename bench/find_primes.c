/* SPDX-License-Identifier: MIT */
/* find_primes.h as a task: find_primes_in_range(start, end) gives [start, end, primes]. */
#include <poold/task.h>

#include "find_primes.h"

#define MAX_NUMBER 1000000000

static void run_find(struct poold_call *call)
{
    int64_t start, end;
    char *text;

    if (!poold_arg_int64(call, 0, &start) || !poold_arg_int64(call, 1, &end))
        return;
    if (start < 0 || start > end || end > MAX_NUMBER) {
        poold_raise(call, "ValueError",
                    "find_primes_in_range() wants 0 <= start <= end <= 10**9");
        return;
    }
    text = poold_alloc(call, find_primes_size((uint32_t)start, (uint32_t)end));
    if (text)
        poold_return_json(call, text, find_primes((uint32_t)start, (uint32_t)end, text));
}

static const struct poold_task find = {
    .name = "find_primes_in_range",
    .summary = "The primes from start to end, both included, by division.",
    .signature = "find_primes_in_range(start, end)",
    .params = { "start", "end" },
    .run = run_find,
};

POOLD_PLUGIN(&find);
