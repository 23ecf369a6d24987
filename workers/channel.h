/* SPDX-License-Identifier: MIT */
/*
 * channel - frames over a non-blocking stream socket: partial reads, and a write queue.
 *
 * Knows no event loop: its owner watches the descriptor and calls channel_read when it is
 * readable and channel_flush when it is writable while channel_wants_write.
 */
#ifndef WORKERS_CHANNEL_H
#define WORKERS_CHANNEL_H

#include "common/buf.h"
#include "common/status.h"
#include "workers/frame.h"

struct channel {
    int fd;           /* owned; -1 when closed */
    struct buf in;    /* the beginning of a frame that is not whole yet */
    struct buf out;   /* bytes that the socket did not take yet */
    size_t out_sent;  /* bytes of out that it has taken since */
    size_t frame_max; /* payload bytes: a longer frame that comes in is broken */
};

#define CHANNEL_PARTS_MAX 6

/* Takes fd; it is non-blocking already. frame_max is at most FRAME_PAYLOAD_MAX. */
void channel_init(struct channel *channel, int fd, size_t frame_max);
void channel_clear(struct channel *channel); /* closes; all-zero with fd -1 is fine */

/* Sends header and parts (at most CHANNEL_PARTS_MAX) as one frame: at once as far as the
 * socket takes them, the rest is queued. ST_NO_MEMORY, ST_CLOSED: nothing more can be
 * sent, what came in before can still be read. */
NODISCARD enum status channel_send(struct channel *channel, enum frame_kind kind,
                                   uint8_t flags, uint64_t chunk_id,
                                   const struct text *parts, size_t part_count);
/* The same, but all of it is queued: what is sent in one turn of the loop leaves together,
 * with the next channel_flush. For small frames. */
NODISCARD enum status channel_queue(struct channel *channel, enum frame_kind kind,
                                    uint8_t flags, uint64_t chunk_id,
                                    const struct text *parts, size_t part_count);
NODISCARD enum status channel_flush(struct channel *channel);
/* Bytes that are queued. What was sent of them takes no more memory than the rest. */
static inline size_t channel_unsent(const struct channel *channel)
{
    return channel->out.len - channel->out_sent;
}
static inline bool channel_wants_write(const struct channel *channel)
{
    return channel_unsent(channel) > 0;
}

/* Called for each whole frame; the frame is valid during the call. Not ST_OK stops the
 * reading and becomes channel_read's status. The callback may not clear the channel. */
typedef enum status channel_frame_fn(void *data, const struct frame *frame);

/* Reads until the socket is empty, but about 1 MiB at the most in one call. ST_CLOSED at
 * end of file, ST_PROTOCOL for a broken frame, ST_NO_MEMORY. */
NODISCARD enum status channel_read(struct channel *channel, channel_frame_fn *on_frame,
                                   void *data);

#endif
