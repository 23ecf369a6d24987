/* SPDX-License-Identifier: MIT */
#include "workers/progress.h"

#include "common/utf8.h"

#include <string.h>

_Static_assert(FRAME_HEADER_LEN + FRAME_PROGRESS_HEAD_LEN + PROGRESS_MESSAGE_MAX <=
                   OUTGOING_OFFER_MAX,
               "a report can be offered");

/* What there is of it, at most one byte more than is kept: it tells where to cut. */
static struct text message_text(const char *message)
{
    size_t len = message ? strnlen(message, PROGRESS_MESSAGE_MAX + 1) : 0;

    return (struct text){ message, utf8_cut(message, len, PROGRESS_MESSAGE_MAX) };
}

void progress_tell(struct progress *progress, uint64_t current, uint64_t total,
                   const char *message)
{
    struct frame_progress frame = { .item = progress->item,
                                    .current = current,
                                    .total = total,
                                    .message = message_text(message) };
    uint8_t head[FRAME_PROGRESS_HEAD_LEN];

    frame_progress_head(&frame, head);
    outgoing_offer(progress->out, FRAME_PROGRESS, progress->chunk_id, head, sizeof(head),
                   frame.message);
}
