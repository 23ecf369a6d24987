/* SPDX-License-Identifier: MIT */
/* store_memory - what the files of the back end without a disk share. Private to them. */
#ifndef SERVER_STORE_MEMORY_H
#define SERVER_STORE_MEMORY_H

#include "server/store_backend.h"

struct kept {
    struct stored_job job;
    TAILQ_ENTRY(kept) link; /* in `finished`, if it is over */
};

struct slot {
    uint64_t key;
    struct kept *kept; /* owned; NULL: a hole */
};

struct memory_store {
    struct store base;
    struct slot *slots; /* sorted by key */
    size_t count, cap;
    size_t holes;
    void *by_idempotency_key; /* tsearch(3) of struct kept */
    TAILQ_HEAD(, kept) finished;
    uint64_t finished_jobs, finished_bytes;
    struct outbox outbox;
};

/* NULL: there is none. */
struct slot *memory_find(const struct memory_store *memory, struct uuid id);
/* With its key, and what was to be delivered of it. May move the other slots. */
void memory_remove_job(struct memory_store *memory, struct slot *slot);

/* Strips, or removes, jobs that are over for long, at most STORE_PURGE_JOBS. */
void memory_purge_by_age(struct memory_store *memory, const struct store_limits *limits,
                         struct store_purged *purged);
/* The oldest go until no more is kept than may be. */
void memory_purge_by_size(struct memory_store *memory, const struct store_limits *limits,
                          struct store_purged *purged);

#endif
