/* SPDX-License-Identifier: MIT */
/*
 * feed - the items of a job whose client sends them one by one: those that have no outcome
 * yet. Pure.
 *
 * Items lie in parts, in the order in which they came, separated by commas as in an array.
 * A part is let go of when all its items have an outcome; so memory is held for what waits
 * or runs, and for its neighbours in the same part, however many came before.
 */
#ifndef SERVER_FEED_H
#define SERVER_FEED_H

#include "common/blob.h"
#include "common/status.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define FEED_PART_ITEMS 1024         /* at most */
#define FEED_PART_BYTES (64u * 1024) /* a part that has so many gets no further item */

struct feed_part;

struct feed {
    TAILQ_HEAD(feed_parts, feed_part) parts;
    uint64_t count;     /* items that came */
    uint64_t all_bytes; /* of them */
    size_t bytes;       /* held */
};

void feed_init(struct feed *feed);
void feed_clear(struct feed *feed);
/* One more item, copied. ST_NO_MEMORY: nothing has changed. */
NODISCARD enum status feed_add(struct feed *feed, struct text item);
/* How many items can be had in one piece from this one on; it has no outcome yet. */
uint64_t feed_run(const struct feed *feed, uint64_t first);
/* These items, with the commas between them; count <= feed_run. Valid until one of them is
 * done, or the next is added. */
struct text feed_items(const struct feed *feed, uint64_t first, uint64_t count);
/* The items have their outcome. */
void feed_done(struct feed *feed, uint64_t first, uint64_t count);

#endif
