/* SPDX-License-Identifier: MIT */
/*
 * Two parties write to the socket: the process in outgoing_flush, and the signal's handler.
 * They never meet: the process says `touched` while it changes the buffer or writes, and the
 * handler then does nothing; what it leaves behind is sent by the process, or by the next
 * signal. The handler in turn runs to its end before the process goes on. So a frame is never
 * cut by another one.
 */
#include "workers/outgoing.h"

#include "common/clock.h"
#include "common/fault.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ThreadSanitizer keeps signals back until the next call of the system. */
#ifdef __SANITIZE_THREAD__
#define SIGNALS_INTERRUPT false
#else
#define SIGNALS_INTERRUPT true
#endif

static struct outgoing *current; /* whom the signal is for */

static uint64_t coarse_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static void append(struct outgoing *outgoing, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(outgoing->data + outgoing->len, bytes, len);
    outgoing->len += len;
}

/* ---- without waiting; async-signal-safe -------------------------------------------- */

static void arm(struct outgoing *outgoing, uint64_t delay_ns)
{
    struct itimerspec in = { .it_value = { .tv_sec = (time_t)(delay_ns / NS_PER_SEC),
                                           .tv_nsec = (long)(delay_ns % NS_PER_SEC) } };

    outgoing->armed = 1;
    (void)timer_settime(outgoing->timer, 0, &in, NULL);
}

/* Takes what is offered among what has gathered, if its time has come and there is room. */
static void take_offer(struct outgoing *outgoing)
{
    uint64_t now = coarse_ns();

    if (outgoing->offer_len == 0 || now < outgoing->offer_ns)
        return;
    if (outgoing->sent == outgoing->len)
        outgoing->len = outgoing->sent = 0;
    if (outgoing->offer_len > OUTGOING_CAP - outgoing->len)
        return;
    append(outgoing, outgoing->offer, outgoing->offer_len);
    outgoing->offer_len = 0;
    outgoing->offer_ns = now + OUTGOING_OFFER_NS;
}

/* Sends what the socket takes at once. */
static void push(struct outgoing *outgoing)
{
    ssize_t n;

    take_offer(outgoing);
    if (outgoing->sent == outgoing->len)
        return;
    n = send(outgoing->sock, outgoing->data + outgoing->sent,
             outgoing->len - outgoing->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        outgoing->sent += (size_t)n;
}

/* Has the rest sent by the next signal. */
static void arm_for_rest(struct outgoing *outgoing)
{
    uint64_t now;

    if (outgoing->sent < outgoing->len) {
        arm(outgoing, OUTGOING_DELAY_NS);
    } else if (outgoing->offer_len > 0) {
        now = coarse_ns();
        arm(outgoing, outgoing->offer_ns > now + OUTGOING_DELAY_NS
                          ? outgoing->offer_ns - now
                          : OUTGOING_DELAY_NS);
    }
}

static void on_signal(int signal)
{
    struct outgoing *outgoing = current;
    int kept_errno = errno;

    (void)signal;
    if (!outgoing)
        return;
    outgoing->armed = 0;
    if (!outgoing->touched) {
        push(outgoing);
        arm_for_rest(outgoing);
    }
    errno = kept_errno;
}

/* ---- by the process ---------------------------------------------------------------- */

void outgoing_init(struct outgoing *outgoing, int sock)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    /* To this very thread: a task may have started others. */
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
                              .sigev_signo = OUTGOING_SIGNAL };

    event._sigev_un._tid = gettid(); /* timer_create(2) calls it sigev_notify_thread_id */
    outgoing->sock = sock;
    outgoing->armed = outgoing->touched = 0;
    outgoing->len = outgoing->sent = 0;
    outgoing->offer_len = 0;
    outgoing->offer_ns = 0;
    current = outgoing;
    (void)sigemptyset(&action.sa_mask);
    outgoing->has_timer = SIGNALS_INTERRUPT &&
                          sigaction(OUTGOING_SIGNAL, &action, NULL) == 0 &&
                          timer_create(CLOCK_MONOTONIC, &event, &outgoing->timer) == 0;
}

void outgoing_clear(struct outgoing *outgoing)
{
    if (outgoing->has_timer)
        (void)timer_delete(outgoing->timer);
    current = NULL;
}

static enum status send_all(int sock, struct iovec *iov, size_t count)
{
    while (count > 0) {
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
        ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL);

        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return ST_CLOSED;
        while (count > 0 && (size_t)n >= iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++;
            count--;
        }
        if (count > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return ST_OK;
}

/* As a test asks for it: first one half, then the fault, and the other half is left. */
static enum status send_half(int sock, struct iovec *iov)
{
    struct iovec half = { iov->iov_base, iov->iov_len / 2 };
    enum status st;

    if (iov->iov_len == 0)
        return ST_OK;
    st = send_all(sock, &half, 1);
    iov->iov_base = (char *)iov->iov_base + iov->iov_len / 2;
    iov->iov_len -= iov->iov_len / 2;
    return st == ST_OK && FAULT(worker_mid_frame) ? ST_IO : st;
}

enum status outgoing_flush(struct outgoing *outgoing)
{
    struct iovec iov;
    enum status st = ST_OK;

    outgoing->touched = 1;
    iov =
        (struct iovec){ outgoing->data + outgoing->sent, outgoing->len - outgoing->sent };
    if (FAULT_ARMED(worker_mid_frame))
        st = send_half(outgoing->sock, &iov);
    if (iov.iov_len > 0 && st == ST_OK)
        st = send_all(outgoing->sock, &iov, 1);
    outgoing->len = outgoing->sent = 0;
    outgoing->touched = 0;
    return st;
}

enum status outgoing_add(struct outgoing *outgoing, enum frame_kind kind, uint8_t flags,
                         uint64_t chunk_id, const void *head, size_t head_len,
                         struct text text)
{
    uint8_t header[FRAME_HEADER_LEN];
    size_t frame_len = sizeof(header) + head_len + text.len;
    struct iovec iov[] = { { header, sizeof(header) },
                           { (void *)head, head_len },
                           { (void *)text.at, text.len } };
    enum status st;

    assert(outgoing->offer_len == 0);
    frame_header(kind, flags, chunk_id, head_len + text.len, header);
    if (!outgoing->has_timer || frame_len > OUTGOING_CAP - outgoing->len) {
        st = outgoing_flush(outgoing);
        if (st != ST_OK)
            return st;
        if (!outgoing->has_timer || frame_len > OUTGOING_CAP)
            return send_all(outgoing->sock, iov, text.len > 0 ? 3 : 2);
    }
    outgoing->touched = 1;
    append(outgoing, header, sizeof(header));
    append(outgoing, head, head_len);
    append(outgoing, text.at, text.len);
    outgoing->touched = 0;
    return ST_OK;
}

void outgoing_hold(struct outgoing *outgoing)
{
    if (outgoing->sent < outgoing->len && !outgoing->armed)
        arm(outgoing, OUTGOING_DELAY_NS);
}

void outgoing_offer(struct outgoing *outgoing, enum frame_kind kind, uint64_t chunk_id,
                    const void *head, size_t head_len, struct text text)
{
    char *at = outgoing->offer;

    assert(FRAME_HEADER_LEN + head_len + text.len <= OUTGOING_OFFER_MAX);
    outgoing->touched = 1;
    frame_header(kind, 0, chunk_id, head_len + text.len, (uint8_t *)at);
    memcpy(at + FRAME_HEADER_LEN, head, head_len);
    if (text.len > 0)
        memcpy(at + FRAME_HEADER_LEN + head_len, text.at, text.len);
    outgoing->offer_len = FRAME_HEADER_LEN + head_len + text.len;
    if (coarse_ns() >= outgoing->offer_ns)
        push(outgoing);
    outgoing->touched = 0;
    if (outgoing->has_timer && !outgoing->armed)
        arm_for_rest(outgoing);
}

void outgoing_withdraw(struct outgoing *outgoing)
{
    if (outgoing->offer_len == 0)
        return;
    outgoing->touched = 1;
    outgoing->offer_len = 0;
    outgoing->armed = 0; /* for long after what may be held next */
    outgoing->touched = 0;
}
