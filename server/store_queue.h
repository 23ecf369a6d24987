/* SPDX-License-Identifier: MIT */
/*
 * store_queue - commands on their way from the loop's thread to a store's own thread.
 *
 * One thread gives, one thread takes. The taker may put commands back in front of all
 * others when they cannot be carried out now. Private to server/store*.c.
 */
#ifndef SERVER_STORE_QUEUE_H
#define SERVER_STORE_QUEUE_H

#include "server/store_backend.h"

struct store_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct store_command_list list;
    bool urgent; /* somebody waits for one of the commands */
    bool closed;
    bool made; /* lock and changed exist */
};

/* Storage that is all zero before; clear accepts it too. */
NODISCARD enum status store_queue_init(struct store_queue *queue);
void store_queue_clear(struct store_queue *queue);

/* ---- the giving side -------------------------------------------------------------- */

/* urgent: somebody waits for its answer. */
void store_queue_push(struct store_queue *queue, struct store_command *command,
                      bool urgent);
/* Nothing more will be pushed. */
void store_queue_close(struct store_queue *queue);

/* ---- the taking side -------------------------------------------------------------- */

enum store_queue_state {
    STORE_QUEUE_READY,  /* not empty */
    STORE_QUEUE_IDLE,   /* empty until the time was up */
    STORE_QUEUE_CLOSED, /* empty for good */
};

/* Waits for a command; timeout_ms -1: for any time. */
enum store_queue_state store_queue_wait(struct store_queue *queue, int timeout_ms);
/* Lets commands gather until one is urgent, the time is up or the queue is closed. */
void store_queue_gather(struct store_queue *queue, int timeout_ms);
/* Waits until the time is up or the queue is closed, whatever is pushed. */
void store_queue_pause(struct store_queue *queue, int timeout_ms);
bool store_queue_closed(struct store_queue *queue);
/* Moves commands from the front to the end of ret_list, at most max_count, and no further
 * one once max_bytes are reached. Gives their number. */
size_t store_queue_take(struct store_queue *queue, size_t max_count, size_t max_bytes,
                        struct store_command_list *ret_list);
/* Puts the commands back in front; the list is empty afterwards. */
void store_queue_put_back(struct store_queue *queue, struct store_command_list *list);
/* Moves all commands of this kind to the end of ret_list. */
void store_queue_take_kind(struct store_queue *queue, enum store_command_kind kind,
                           struct store_command_list *ret_list);

#endif
