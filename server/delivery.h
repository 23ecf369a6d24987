/* SPDX-License-Identifier: MIT */
/*
 * delivery - a message to a client's callback, as it is kept until the client has it, and
 * afterwards with the job.
 *
 *     pending ──┬── answered with 2xx ─────────────────────> delivered ──┐
 *       ^       └── answered with 410, or no attempt left ──> given_up ──┤
 *       └───────────────────────── on request ──────────────────────────┘
 *
 * A job has one for each time that it has ended and a URL for that. The text of the
 * message is kept with it, so that it is the same in each attempt. Pure.
 *
 * struct outbox keeps deliveries in memory: for jobs of durability `memory`, and for the
 * store in memory. The others lie in the store (server/store.h).
 */
#ifndef SERVER_DELIVERY_H
#define SERVER_DELIVERY_H

#include "common/buf.h"
#include "common/status.h"
#include "common/uuid.h"
#include "server/job.h"

#include <stdbool.h>
#include <stdint.h>

enum delivery_state {
    DELIVERY_PENDING,
    DELIVERY_DELIVERED,
    DELIVERY_GIVEN_UP,
    DELIVERY_STATE_COUNT
};
extern const char *const delivery_state_names[DELIVERY_STATE_COUNT];

/* Attempts that are remembered; the oldest are forgotten. */
#define DELIVERY_ATTEMPTS_MAX 20

struct delivery {
    struct uuid job;
    uint32_t number; /* of the job's deliveries, from 1 */
    enum delivery_state state;
    uint32_t tries;        /* attempts since it became pending */
    int64_t created_at_ms; /* wall time, as all *_at_ms */
    int64_t due_at_ms;     /* next attempt; not before */
    char *url, *body;      /* owned */
    char *attempts;        /* JSON array of what became of the attempts; owned */
};

/* The message about a job that has ended, due at once, with number 0; or ST_NOT_FOUND if
 * the job has no URL for this state. ST_NO_MEMORY. The caller owns the content. */
NODISCARD enum status delivery_of_end(const struct job_spec *spec,
                                      const struct job_status *status,
                                      struct delivery *ret_delivery);
NODISCARD enum status delivery_copy(const struct delivery *from,
                                    struct delivery *ret_copy);
void delivery_clear(struct delivery *delivery);
bool delivery_same(const struct delivery *a, const struct delivery *b);

/* Notes an attempt: the HTTP status of the answer, or 0 and why there was none. */
NODISCARD enum status delivery_add_attempt(struct delivery *delivery, int64_t at_ms,
                                           long status, const char *error);
/* Pending again, due at once, with all its attempts before it. */
void delivery_renew(struct delivery *delivery, int64_t now_ms);

/* Its name for the receiver, which stays over all attempts: "JOB-NUMBER". */
#define DELIVERY_ID_MAX (UUID_TEXT_LEN + 12) /* bytes, with the NUL */
void delivery_id(const struct delivery *delivery, char ret_text[DELIVERY_ID_MAX]);
/* As clients see it. */
void delivery_write(struct buf *out, const struct delivery *delivery);

/* ---- which ones -------------------------------------------------------------------- */

struct delivery_query {
    bool
        of_job; /* all of `job`, newest first; else those that are pending, by due time */
    struct uuid job;
    unsigned limit; /* at least 1 */
};

/* ---- in memory --------------------------------------------------------------------- */

/* All-zero is valid and empty. */
struct outbox {
    struct delivery *items; /* oldest first; owned */
    size_t count, cap;
};
void outbox_clear(struct outbox *outbox);
/* Adds the message about the end of a job, if it is to have one: as delivery_of_end. */
NODISCARD enum status outbox_add(struct outbox *outbox, const struct job_spec *spec,
                                 const struct job_status *status);
/* Replaces the one of the same job and number; ST_NOT_FOUND, ST_NO_MEMORY. */
NODISCARD enum status outbox_put(struct outbox *outbox, const struct delivery *delivery);
void outbox_drop_job(struct outbox *outbox, struct uuid job);
/* Drops the oldest: one that is not pending if there is such a one. */
void outbox_drop_oldest(struct outbox *outbox);
/* Copies into an array that the caller frees with its content (delivery_list_free). */
NODISCARD enum status outbox_list(const struct outbox *outbox,
                                  const struct delivery_query *query,
                                  struct delivery **ret_list, size_t *ret_count);
void delivery_list_free(struct delivery *list, size_t count);

#endif
