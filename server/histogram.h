/* SPDX-License-Identifier: MIT */
/*
 * histogram - how often values of each size have come. Pure.
 *
 * The bounds are those of a scale, which all of one kind share: a value counts in the
 * first bucket whose bound is not below it, or behind the last one. All zero but for the
 * scale is an empty histogram. Adding takes a few comparisons and no memory.
 */
#ifndef SERVER_HISTOGRAM_H
#define SERVER_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BOUNDS_MAX 14

struct histogram_scale {
    unsigned count; /* of bounds, rising */
    uint64_t bounds[HISTOGRAM_BOUNDS_MAX];
    double
        unit; /* of bounds and values: 1e-9 for nanoseconds that are shown as seconds */
};
extern const struct histogram_scale histogram_durations; /* ns: 100 µs to an hour */
extern const struct histogram_scale histogram_sizes;     /* 1 to 4096 of anything */

struct histogram {
    const struct histogram_scale *scale;
    uint64_t buckets[HISTOGRAM_BOUNDS_MAX + 1]; /* not cumulative */
    uint64_t sum;                               /* of all values */
};

void histogram_add(struct histogram *histogram, uint64_t value);
uint64_t histogram_count(const struct histogram *histogram);

#endif
