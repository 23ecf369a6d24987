/* SPDX-License-Identifier: MIT */
/*
 * page - the small page of memory that a worker shares with the server.
 *
 * It lets the server know which item a worker is on, and take a chunk back that the
 * worker has not begun, without a message and without the worker's help: the worker may
 * be deep in a task's C code. One page per worker, a sealed memfd mapped by both.
 *
 * Claiming. A worker holds at most WORKER_PIPELINE chunks. Chunk ids of one worker count
 * up from 1; chunk `id` uses claims[id % WORKER_PIPELINE], and an id is skipped where its
 * slot would be that of another chunk the worker still holds:
 *
 *     server, before it sends the CHUNK frame:   claims[..] = id, OFFERED
 *     worker, before the first item:             OFFERED -> CLAIMED, by compare-and-swap
 *     server, to take the chunk back:            OFFERED -> REVOKED, by compare-and-swap
 *
 * Exactly one of the two swaps wins. A worker whose swap fails skips the frame in
 * silence. A revoked slot may be offered again at once: the old frame's id no longer
 * matches.
 *
 * Cancelling. A chunk that has been claimed can only be killed, unless its task asks now
 * and then whether it is to end. Who has asked is told, and given time; the worker begins no
 * other item of the chunk. Each side writes first and reads then, so that at least one of
 * them sees the other:
 *
 *     worker, when the task asks:   listening = id of its chunk, then reads cancelled
 *     server, to cancel:            cancelled = id of the chunk, then reads listening
 *
 * Output. What a task prints comes through a pipe of its own, and the server is to know
 * where an item's output ends. So the worker says with each outcome how much had been
 * printed by then: what the server has read, which it notes here, and what is left in the
 * pipe. No message passes, and nobody waits.
 *
 * The page is written by a process that runs foreign code: the server treats every value
 * as a hint, checks its range, and drops the worker if a claim holds what it cannot hold.
 */
#ifndef WORKERS_PAGE_H
#define WORKERS_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WORKER_PIPELINE 64 /* chunks at a worker: the one it runs and those behind it */
#define PAGE_SIZE       4096

enum claim { CLAIM_NONE, CLAIM_OFFERED, CLAIM_CLAIMED, CLAIM_REVOKED };

struct worker_page {
    _Atomic uint64_t item_chunk; /* id of the chunk that `item` belongs to */
    _Atomic uint64_t item;       /* index in the job of the item being run */
    /* CLOCK_MONOTONIC; 0 between items and for chunks without FRAME_TIMED. */
    _Atomic uint64_t item_started_ns;
    /* 1: tell the results that are gathered after this item. Between a worker and its runner
     * (workers/runner.h); the server does not look at it. */
    _Atomic uint64_t hurry;
    _Atomic uint64_t cancelled; /* id of the chunk that is to end; 0: none has been */
    _Atomic uint64_t listening; /* id of the last chunk whose task has asked for that */
    /* Of the worker's output, by the server: bytes read from the pipe so far, and a
     * number that is odd while it reads. */
    _Atomic uint64_t output_read, output_turn;
    /* By the worker for its runner: the processor time that each item of the chunk may use,
     * in milliseconds; 0: any. */
    _Atomic uint64_t cpu_ms;
    _Atomic uint32_t retire; /* by the worker: it is not fit for another chunk */
    _Atomic uint64_t claims[WORKER_PIPELINE]; /* chunk id << 2 | enum claim */
};

/* The three moves of the table above; the latter two return whether they won. */
void page_offer(struct worker_page *page, uint64_t chunk_id);
bool page_claim(struct worker_page *page, uint64_t chunk_id);
bool page_revoke(struct worker_page *page, uint64_t chunk_id);
/* What the page says of this chunk: CLAIM_NONE if the slot holds another one. */
enum claim page_claim_state(const struct worker_page *page, uint64_t chunk_id);

/* Worker: the task of item_chunk asks. */
bool page_ask_cancelled(struct worker_page *page);
/* Worker: whether this chunk is to end. */
static inline bool page_is_cancelled(const struct worker_page *page, uint64_t chunk_id)
{
    return atomic_load_explicit(&page->cancelled, memory_order_relaxed) == chunk_id;
}
/* Server: returns whether the chunk's task is one that asks. */
bool page_cancel(struct worker_page *page, uint64_t chunk_id);
/* In the worker: how many bytes have been written to its output so far, read by the server
 * or still in the pipe, modulo 2^32. Exact unless something that outlives the item writes
 * beside it. `pipe` is any end of the pipe; without one it is what the server has read. */
uint32_t page_printed(struct worker_page *page, int pipe);
/* In the server, around a read from the pipe; len is what was read. */
void page_reading(struct worker_page *page);
void page_has_read(struct worker_page *page, uint64_t len);

#endif
