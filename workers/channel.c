/* SPDX-License-Identifier: MIT */
/*
 * A channel usually reads whole frames: one recv takes all that has come, and the frames
 * are handed out where they lie, on the stack. Only a frame that is cut goes to
 * channel->in, so a quiet channel holds no memory, however many workers there are.
 */
#include "workers/channel.h"

#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define OUT_KEEP                                                                         \
    (64u * 1024) /* a write queue up to this size is kept for the next frames */
#define READ_LEN (64u * 1024)
#define READ_MAX (1u << 20) /* bytes in one channel_read: other channels wait */
#define KEEP_IN_MAX                                                                      \
    (256u *                                                                              \
     1024) /* a larger input buffer is not kept once it is empty                  \
                   */

void channel_init(struct channel *channel, int fd, size_t frame_max)
{
    assert(frame_max <= FRAME_PAYLOAD_MAX);
    *channel = (struct channel){ .fd = fd, .frame_max = frame_max };
}

void channel_clear(struct channel *channel)
{
    fd_close(&channel->fd);
    buf_clear(&channel->in);
    buf_clear(&channel->out);
    channel->out_sent = 0;
}

/* *ret_sent is 0 when the socket is full. */
static enum status send_now(int fd, struct iovec *iov, size_t count, size_t *ret_sent)
{
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
    ssize_t n;

    do
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    *ret_sent = n < 0 ? 0 : (size_t)n;
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
        return ST_CLOSED;
    return ST_OK;
}

static enum status queue_rest(struct channel *channel, const struct iovec *iov,
                              size_t count, size_t skip)
{
    /* A queue that always has something in it would grow by all that goes through it. To move
     * what is left costs less than to have sent what was before. */
    if (channel->out_sent > 0 && channel->out_sent >= channel_unsent(channel)) {
        buf_drop_front(&channel->out, channel->out_sent);
        channel->out_sent = 0;
    }
    for (size_t i = 0; i < count; i++) {
        size_t n = skip < iov[i].iov_len ? skip : iov[i].iov_len;

        buf_add(&channel->out, (const char *)iov[i].iov_base + n, iov[i].iov_len - n);
        skip -= n;
    }
    return channel->out.failed ? ST_NO_MEMORY : ST_OK;
}

/* A frame as an iovec: its header, then the parts that are not empty. */
struct frame_iov {
    uint8_t header[FRAME_HEADER_LEN];
    struct iovec iov[1 + CHANNEL_PARTS_MAX];
    size_t count, len;
};

static void gather(struct frame_iov *frame, enum frame_kind kind, uint8_t flags,
                   uint64_t chunk_id, const struct text *parts, size_t part_count)
{
    size_t payload_len = 0;

    assert(part_count <= CHANNEL_PARTS_MAX);
    frame->iov[0] = (struct iovec){ frame->header, sizeof(frame->header) };
    frame->count = 1;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].len == 0)
            continue;
        frame->iov[frame->count++] = (struct iovec){ (void *)parts[i].at, parts[i].len };
        payload_len += parts[i].len;
    }
    frame_header(kind, flags, chunk_id, payload_len, frame->header);
    frame->len = sizeof(frame->header) + payload_len;
}

enum status channel_send(struct channel *channel, enum frame_kind kind, uint8_t flags,
                         uint64_t chunk_id, const struct text *parts, size_t part_count)
{
    struct frame_iov frame;
    size_t sent = 0;
    enum status st = channel_flush(channel);

    if (st != ST_OK)
        return st;
    gather(&frame, kind, flags, chunk_id, parts, part_count);
    if (!channel_wants_write(channel)) {
        st = send_now(channel->fd, frame.iov, frame.count, &sent);
        if (st != ST_OK || sent == frame.len)
            return st;
    }
    return queue_rest(channel, frame.iov, frame.count, sent);
}

enum status channel_queue(struct channel *channel, enum frame_kind kind, uint8_t flags,
                          uint64_t chunk_id, const struct text *parts, size_t part_count)
{
    struct frame_iov frame;

    gather(&frame, kind, flags, chunk_id, parts, part_count);
    return queue_rest(channel, frame.iov, frame.count, 0);
}

enum status channel_flush(struct channel *channel)
{
    enum status st = ST_OK;

    while (channel_wants_write(channel)) {
        struct iovec iov = { channel->out.data + channel->out_sent,
                             channel->out.len - channel->out_sent };
        size_t sent;

        st = send_now(channel->fd, &iov, 1, &sent);
        if (st == ST_OK && sent == 0)
            return ST_OK;
        channel->out_sent += sent;
        if (st != ST_OK)
            break;
    }
    /* What can never be sent must not keep the owner waiting for room, either. */
    if (channel->out.cap > OUT_KEEP)
        buf_clear(&channel->out);
    else
        buf_reset(&channel->out);
    channel->out_sent = 0;
    return st;
}

/* Hands out the whole frames at the start of bytes. *ret_used is how long they were,
 * *ret_need how many bytes the frame behind them needs at least. */
static enum status hand_out(const struct channel *channel, const char *bytes, size_t len,
                            channel_frame_fn *on_frame, void *data, size_t *ret_used,
                            size_t *ret_need)
{
    size_t used = 0;

    for (;;) {
        struct frame frame;
        size_t need;
        enum frame_verdict verdict = frame_parse(bytes + used, len - used, &frame, &need);
        enum status st;

        if (verdict == FRAME_BROKEN || need > FRAME_HEADER_LEN + channel->frame_max)
            return ST_PROTOCOL;
        if (verdict == FRAME_NEED_MORE) {
            *ret_used = used;
            *ret_need = need;
            return ST_OK;
        }
        used += need;
        st = on_frame(data, &frame);
        if (st != ST_OK)
            return st;
    }
}

/* *ret_got is 0 when nothing is there. */
static enum status recv_some(int fd, char *to, size_t len, size_t *ret_got)
{
    ssize_t n;

    do
        n = recv(fd, to, len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    *ret_got = n < 0 ? 0 : (size_t)n;
    /* A peer that dies with unread input leaves ECONNRESET here, behind all it had
     * written. */
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return ST_CLOSED;
    return ST_OK;
}

/* One recv into scratch; a frame that is cut is kept in channel->in. */
static enum status read_fresh(struct channel *channel, channel_frame_fn *on_frame,
                              void *data, size_t *ret_got, bool *ret_full)
{
    char scratch[READ_LEN];
    size_t used, need;
    enum status st = recv_some(channel->fd, scratch, sizeof(scratch), ret_got);

    *ret_full = *ret_got == sizeof(scratch);
    if (st != ST_OK || *ret_got == 0)
        return st;
    st = hand_out(channel, scratch, *ret_got, on_frame, data, &used, &need);
    if (st != ST_OK)
        return st;
    if (used < *ret_got)
        buf_add(&channel->in, scratch + used, *ret_got - used);
    return channel->in.failed ? ST_NO_MEMORY : ST_OK;
}

/* One recv behind what is in channel->in already, as far as its first frame goes. */
static enum status read_on(struct channel *channel, channel_frame_fn *on_frame,
                           void *data, size_t *ret_got, bool *ret_full)
{
    struct buf *in = &channel->in;
    struct frame frame;
    size_t used, need = 0, ask;
    enum status st;

    (void)frame_parse(in->data, in->len, &frame, &need);
    assert(need > in->len);
    ask = need - in->len < READ_LEN ? READ_LEN : need - in->len;
    if (!buf_reserve(in, ask))
        return ST_NO_MEMORY;
    st = recv_some(channel->fd, in->data + in->len, ask, ret_got);
    *ret_full = *ret_got == ask;
    if (st != ST_OK || *ret_got == 0)
        return st;
    in->len += *ret_got;
    st = hand_out(channel, in->data, in->len, on_frame, data, &used, &need);
    if (st != ST_OK)
        return st;
    buf_drop_front(in, used);
    if (in->len == 0 && in->cap > KEEP_IN_MAX)
        buf_clear(in);
    return ST_OK;
}

enum status channel_read(struct channel *channel, channel_frame_fn *on_frame, void *data)
{
    size_t total = 0, got;
    bool full = true;

    /* A recv that returned less than it asked for has emptied the socket: one call is
     * saved. */
    while (full && total < READ_MAX) {
        enum status st = channel->in.len == 0
                             ? read_fresh(channel, on_frame, data, &got, &full)
                             : read_on(channel, on_frame, data, &got, &full);

        if (st != ST_OK)
            return st;
        total += got;
    }
    return ST_OK;
}
