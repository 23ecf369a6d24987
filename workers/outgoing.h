/* SPDX-License-Identifier: MIT */
/*
 * outgoing - frames on their way from a worker to the server.
 *
 * A write wakes the server, and while more work lies at hand one wake-up for several short
 * chunks is enough. So frames gather here until somebody flushes or the buffer is full. Before
 * the next chunk is run, outgoing_hold sets a timer: its signal sends them in the middle of
 * whatever task is running. What is finished is told, however long the next item takes.
 *
 * A frame that is offered counts only until the next one is: one leaves at once, then at most one
 * each OUTGOING_OFFER_NS, the latest, with or without the process's help. It is for news that may
 * be missed, and never waits for the socket.
 *
 * The signal is OUTGOING_SIGNAL, with SA_RESTART: a task may see a sleep or poll interrupted
 * (EINTR) once, a millisecond after it began. One outgoing per process, used by the thread that
 * made it.
 */
#ifndef WORKERS_OUTGOING_H
#define WORKERS_OUTGOING_H

#include "common/status.h"
#include "workers/frame.h"

#include <signal.h>
#include <stdbool.h>
#include <time.h>

#define OUTGOING_CAP       (64u * 1024) /* bytes gathered at the most */
#define OUTGOING_DELAY_NS  1000000ull
#define OUTGOING_SIGNAL    SIGRTMAX
#define OUTGOING_OFFER_NS  100000000ull
#define OUTGOING_OFFER_MAX 512u /* bytes of a frame that is offered */

struct outgoing {
    int sock; /* not owned; blocking */
    timer_t timer;
    bool has_timer;                /* without one every frame is sent at once */
    volatile sig_atomic_t armed;   /* the timer will fire */
    volatile sig_atomic_t touched; /* the buffer is being changed: hands off */
    volatile size_t len, sent;     /* of data: filled, and already written */
    volatile size_t offer_len;     /* of offer; 0: nothing is offered */
    volatile uint64_t offer_ns;    /* when an offered frame may leave: coarse clock */
    char offer[OUTGOING_OFFER_MAX];
    char data[OUTGOING_CAP];
};

/* Takes over OUTGOING_SIGNAL of this process. The struct must stay where it is until
 * outgoing_clear. */
void outgoing_init(struct outgoing *outgoing, int sock);
void outgoing_clear(struct outgoing *outgoing);

/* Adds one frame: header, head and text. It leaves with the next flush, or now if there is no
 * room for it. Nothing must be on offer. ST_CLOSED when the server has gone. */
NODISCARD enum status outgoing_add(struct outgoing *outgoing, enum frame_kind kind,
                                   uint8_t flags, uint64_t chunk_id, const void *head,
                                   size_t head_len, struct text text);
/* Sends what has gathered, and waits until the socket has taken it. */
NODISCARD enum status outgoing_flush(struct outgoing *outgoing);
/* Offers one frame, in place of the one that was offered before if that has not left. Its
 * length is at most OUTGOING_OFFER_MAX. */
void outgoing_offer(struct outgoing *outgoing, enum frame_kind kind, uint64_t chunk_id,
                    const void *head, size_t head_len, struct text text);
/* What was offered is no longer true: it does not leave, if it has not. */
void outgoing_withdraw(struct outgoing *outgoing);
/* Something that may take long comes now: what has gathered leaves by itself within
 * OUTGOING_DELAY_NS. */
void outgoing_hold(struct outgoing *outgoing);

#endif
