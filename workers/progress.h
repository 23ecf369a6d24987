/* SPDX-License-Identifier: MIT */
/*
 * progress - what a task says of the item that it runs, on its way to the server.
 *
 * One per worker. child.c says which item is run; whatever runs it says how far it is, by
 * progress_tell: built-in tasks through call_progress (task.h), others with the progress that
 * they are given. Of many reports few leave: the first one at once, then at most one each
 * OUTGOING_OFFER_NS, the latest (outgoing.h). One that waits leaves when its time has come,
 * also when the task says nothing more, and is dropped when the item ends before.
 */
#ifndef WORKERS_PROGRESS_H
#define WORKERS_PROGRESS_H

#include "workers/outgoing.h"

#include <stdint.h>

#define PROGRESS_MESSAGE_MAX FRAME_MESSAGE_MAX /* bytes */

struct progress {
    struct outgoing *out;
    uint64_t chunk_id, item; /* set before the item is run */
};

/* current of total, in whatever the task counts; total 0: not known. message may be NULL; of
 * a longer one PROGRESS_MESSAGE_MAX bytes are kept, whole UTF-8 sequences only. */
void progress_tell(struct progress *progress, uint64_t current, uint64_t total,
                   const char *message);
/* The item has ended. Before anything else is sent. */
static inline void progress_end(struct progress *progress)
{
    if (progress->out->offer_len > 0)
        outgoing_withdraw(progress->out);
}

#endif
