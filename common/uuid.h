/* SPDX-License-Identifier: MIT */
/*
 * uuid - UUID version 7 (RFC 9562): 48 bits of milliseconds, a 12-bit counter, 62 random
 * bits.
 *
 *     0                   48   52            64 66                        128
 *     | unix milliseconds  | 7 | counter     |2| random                    |
 *
 * Ids made by one generator rise strictly, also when the wall clock steps back (method 1
 * of RFC 9562 section 6.2: the counter carries into the milliseconds). So the first 64
 * bits without the version are a unique, rising 60-bit number, uuid_key(): the store's
 * row key. It is never 0. The random tail makes an id unguessable.
 *
 * A generator belongs to one thread and must not be used on both sides of a fork.
 */
#ifndef COMMON_UUID_H
#define COMMON_UUID_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uuid {
    uint8_t bytes[16];
};

#define UUID_TEXT_LEN 36 /* without the NUL */

/* All-zero is a valid generator. */
struct uuid_generator {
    uint64_t last_key;   /* the key of the newest id made or known */
    uint8_t random[512]; /* unused random bytes, taken from the end */
    size_t random_left;
};

/* Tells the generator of an id that exists already: later ones are larger. */
void uuid_generator_after(struct uuid_generator *gen, struct uuid id);
/* The next id for the wall time wall_ms. Milliseconds end in the year 10889. */
struct uuid uuid_next(struct uuid_generator *gen, int64_t wall_ms);

uint64_t uuid_key(struct uuid id);
/* When it was made, wall time; ids made in a row may be ahead of it. */
int64_t uuid_time_ms(struct uuid id);
bool uuid_equal(struct uuid a, struct uuid b);
void uuid_format(struct uuid id, char ret_text[UUID_TEXT_LEN + 1]);
/* Accepts the 36-character form with version 7 and variant 2, either case; false
 * otherwise. */
bool uuid_parse(const char *text, size_t len, struct uuid *ret_id);

#endif
