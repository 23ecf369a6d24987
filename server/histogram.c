/* SPDX-License-Identifier: MIT */
#include "server/histogram.h"

#define US 1000ull
#define MS (1000 * US)
#define S  (1000 * MS)

const struct histogram_scale histogram_durations = {
    .count = 14,
    .bounds = { 100 * US, 500 * US, 1 * MS, 5 * MS, 10 * MS, 50 * MS, 100 * MS, 500 * MS,
                1 * S, 5 * S, 10 * S, 60 * S, 600 * S, 3600 * S },
    .unit = 1e-9,
};

const struct histogram_scale histogram_sizes = {
    .count = 13,
    .bounds = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096 },
    .unit = 1,
};

void histogram_add(struct histogram *histogram, uint64_t value)
{
    const struct histogram_scale *scale = histogram->scale;
    unsigned i = 0;

    while (i < scale->count && value > scale->bounds[i])
        i++;
    histogram->buckets[i]++;
    histogram->sum += value;
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint64_t count = 0;

    for (unsigned i = 0; i <= histogram->scale->count; i++)
        count += histogram->buckets[i];
    return count;
}
