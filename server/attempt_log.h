/* SPDX-License-Identifier: MIT */
/*
 * attempt_log - the attempts at the items of one job that have failed, in the order in
 * which they failed, as the JSON objects that clients read (attempt.h). Pure.
 *
 * At most ATTEMPTS_MAX are kept; the oldest go first, and are counted.
 */
#ifndef SERVER_ATTEMPT_LOG_H
#define SERVER_ATTEMPT_LOG_H

#include "common/blob.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATTEMPTS_MAX 1000

/* All-zero is an empty log. */
struct attempt_log {
    struct blob **texts; /* a ring once it is full; one reference each */
    size_t count, cap;
    size_t oldest; /* index in texts */
    uint64_t dropped;
};

void attempt_log_clear(struct attempt_log *log);
/* Takes the reference, on failure too: false without memory. */
bool attempt_log_add(struct attempt_log *log, struct blob *text);
/* The i-th from the oldest on, 0 <= i < count. */
struct blob *attempt_log_at(const struct attempt_log *log, size_t i);
/* Adds what `from` has to an empty log, with references of its own. */
bool attempt_log_copy(struct attempt_log *log, const struct attempt_log *from);

#endif
