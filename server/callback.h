/* SPDX-License-Identifier: MIT */
/*
 * callback - has the messages about jobs that have ended delivered.
 *
 *     job ends ─> row in the outbox, in the same commit ─> looked for ─> sent ─> recorded
 *                                                              ^                   │
 *                                                              └── pause <─────────┘
 *
 * The outbox is the store's; here is only what is on its way. What is due is looked for
 * after a job has ended, after an attempt, and when the next pause is over; so what a
 * restart finds is nothing special. Messages of jobs of durability `memory` lie in an
 * outbox here, as far as there is room, and are lost with the process.
 *
 * At least once: a server that is killed between the receiver's answer and its record
 * sends again, under the same webhook-id. Everything runs on the loop's thread.
 */
#ifndef SERVER_CALLBACK_H
#define SERVER_CALLBACK_H

#include "common/status.h"
#include "server/delivery.h"
#include "server/store.h"
#include "server/webhook.h"

#include <stdint.h>
#include <uv.h>

#define CALLBACK_PARALLEL_MAX 16    /* on their way at a time */
#define CALLBACK_MEMORY_MAX   10000 /* messages of jobs of durability `memory` */
#define CALLBACK_ATTEMPTS_MAX 10    /* then it is given up */

struct callback;

struct callback_options {
    const char *allow;            /* see webhook.h; stays the caller's; NULL: nothing */
    struct webhook_secret secret; /* may be empty if nothing is allowed */
    const char *ca_file;          /* see courier.h; stays the caller's */
    int64_t timeout_ms;
    int64_t backoff_ms; /* the first pause */
};

NODISCARD enum status callback_new(uv_loop_t *loop, struct store *store,
                                   const struct callback_options *options,
                                   struct callback **ret_callback);
/* Takes up what the store has. */
void callback_start(struct callback *callback);
/* Nothing is sent or given to the store any more. What is on its way is given up; the
 * next start sends it again. NULL is fine. */
void callback_stop(struct callback *callback);
/* After stop, and with the store closed. Handles of the loop close in its next turns. */
void callback_free(struct callback *callback);

/* A job has ended, and that is stored if it is to be. The status matters for jobs of
 * durability `memory` only: one of the store may run again by now. */
void callback_job_ended(struct callback *callback, const struct job_spec *spec,
                        const struct job_status *status);

/* Attempts since the start. */
struct callback_counts {
    uint64_t delivered;
    uint64_t failed;   /* another one follows */
    uint64_t given_up; /* none does */
};
const struct callback_counts *callback_counts(const struct callback *callback);

/* The pause after the attempt of this number (1..), without jitter. Pure. */
int64_t callback_pause_ms(int64_t backoff_ms, uint32_t tries);

/* The deliveries of a job, newest first, wherever they are. got may be called from here. */
void callback_list(struct callback *callback, const struct job_spec *spec,
                   store_got_deliveries *got, void *data);

/* delivery is as it is from now on, NULL unless ST_OK. */
typedef void callback_renewed(void *data, enum status st,
                              const struct delivery *delivery);
/* Sends the newest delivery of a job again, now. ST_NOT_FOUND: it has none. done may be
 * called from here. */
void callback_redeliver(struct callback *callback, const struct job_spec *spec,
                        callback_renewed *done, void *data);

#endif
