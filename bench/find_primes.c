/* SPDX-License-Identifier: MIT */
/* find_primes.h as a task: find_primes_in_range(start, end) gives [start, end, primes]. */
#include <poold/task.h>

#include "find_primes.h"

#include <stdio.h>

enum {
    NUMBER_SIZE = 11, /* bytes of a number and its comma */
    MAX_NUMBER = 1000000000,
};

static void run_find(struct poold_call *call)
{
    int64_t start, end;
    uint32_t *primes;
    size_t room, count, len;
    char *text;

    if (!poold_arg_int64(call, 0, &start) || !poold_arg_int64(call, 1, &end))
        return;
    if (start < 0 || start > end || end > MAX_NUMBER) {
        poold_raise(call, "ValueError",
                    "find_primes_in_range() wants 0 <= start <= end <= 10**9");
        return;
    }
    room = (size_t)(end - start) / 2 + 2;
    primes = poold_alloc(call, room * sizeof(*primes));
    if (!primes)
        return;
    count = find_primes((uint32_t)start, (uint32_t)end, primes);
    text = poold_alloc(call, (count + 4) * NUMBER_SIZE);
    if (!text)
        return;
    len = (size_t)sprintf(text, "[%d,%d,[", (int)start, (int)end);
    for (size_t i = 0; i < count; i++)
        len += (size_t)sprintf(text + len, "%s%u", i ? "," : "", primes[i]);
    len += (size_t)sprintf(text + len, "]]");
    poold_return_json(call, text, len);
}

static const struct poold_task find = {
    .name = "find_primes_in_range",
    .summary = "The primes from start to end, both included, by division.",
    .signature = "find_primes_in_range(start, end)",
    .params = { "start", "end" },
    .run = run_find,
};

POOLD_PLUGIN(&find);
