/* SPDX-License-Identifier: MIT */
#include "workers/page.h"

#include <assert.h>
#include <sched.h>
#include <sys/ioctl.h>

static_assert(sizeof(struct worker_page) <= PAGE_SIZE, "the page is one page");
/* Shared between processes: a lock inside libatomic would not be. */
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics are lock-free");

static uint64_t claim_value(uint64_t chunk_id, enum claim claim)
{
    return chunk_id << 2 | (uint64_t)claim;
}

/* OFFERED -> to, unless the other side was faster or the slot holds another chunk. */
static bool settle(struct worker_page *page, uint64_t chunk_id, enum claim to)
{
    uint64_t expected = claim_value(chunk_id, CLAIM_OFFERED);

    return atomic_compare_exchange_strong(&page->claims[chunk_id % WORKER_PIPELINE],
                                          &expected, claim_value(chunk_id, to));
}

void page_offer(struct worker_page *page, uint64_t chunk_id)
{
    atomic_store(&page->claims[chunk_id % WORKER_PIPELINE],
                 claim_value(chunk_id, CLAIM_OFFERED));
}

bool page_claim(struct worker_page *page, uint64_t chunk_id)
{
    return settle(page, chunk_id, CLAIM_CLAIMED);
}

bool page_revoke(struct worker_page *page, uint64_t chunk_id)
{
    return settle(page, chunk_id, CLAIM_REVOKED);
}

enum claim page_claim_state(const struct worker_page *page, uint64_t chunk_id)
{
    uint64_t value = atomic_load(&page->claims[chunk_id % WORKER_PIPELINE]);

    return value >> 2 == chunk_id ? (enum claim)(value & 3) : CLAIM_NONE;
}

bool page_ask_cancelled(struct worker_page *page)
{
    uint64_t id = atomic_load_explicit(&page->item_chunk, memory_order_relaxed);

    if (id == 0) /* the initializer */
        return false;
    if (atomic_load_explicit(&page->listening, memory_order_relaxed) != id)
        atomic_store(&page->listening, id);
    return atomic_load(&page->cancelled) == id;
}

bool page_cancel(struct worker_page *page, uint64_t chunk_id)
{
    atomic_store(&page->cancelled, chunk_id);
    return atomic_load(&page->listening) == chunk_id;
}

/* The server is between the two for microseconds; but it may be interrupted there. */
#define TURNS_MAX 1000

uint32_t page_printed(struct worker_page *page, int pipe)
{
    uint64_t turn, read = 0;
    int left = 0;

    for (int i = 0; i < TURNS_MAX; i++) {
        turn = atomic_load(&page->output_turn);
        read = atomic_load(&page->output_read);
        if (ioctl(pipe, FIONREAD, &left) == -1)
            left = 0;
        if (turn % 2 == 0 && atomic_load(&page->output_turn) == turn)
            break;
        sched_yield();
    }
    return (uint32_t)(read + (uint64_t)left);
}

void page_reading(struct worker_page *page)
{
    atomic_fetch_add(&page->output_turn, 1);
}

void page_has_read(struct worker_page *page, uint64_t len)
{
    atomic_fetch_add(&page->output_read, len);
    atomic_fetch_add(&page->output_turn, 1);
}
