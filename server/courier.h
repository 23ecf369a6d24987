/* SPDX-License-Identifier: MIT */
/*
 * courier - POSTs of small messages, inside the loop. The only user of libcurl's multi
 * interface.
 *
 * What a URL may lead to is not left to its name: the address that a connection is really
 * opened to is looked at (server/webhook.h), so that a name that changes between a check
 * and its use changes nothing. Redirects are not followed, no proxy is asked, and answers
 * are thrown away: only their status counts.
 */
#ifndef SERVER_COURIER_H
#define SERVER_COURIER_H

#include "common/blob.h"
#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define COURIER_ANSWER_MAX  (64u << 10) /* bytes of an answer that are read */
#define COURIER_HEADERS_MAX 5
#define COURIER_HEADER_LEN  528

struct courier;

struct courier_message {
    const char *url;
    struct text body;
    char headers[COURIER_HEADERS_MAX]
                [COURIER_HEADER_LEN]; /* "name: value"; "" at the end */
    const char *ca_file; /* whom https receivers are trusted by, in PEM; NULL: as the
                               * system does */
    bool any_address;    /* else only addresses of the public internet */
    int64_t timeout_ms;
};

/* status: of the answer, or 0 and why there was none. */
typedef void courier_sent(void *data, long status, const char *error);

NODISCARD enum status courier_new(uv_loop_t *loop, struct courier **ret_courier);
/* Gives up what is on its way, without a call. Handles of the loop close in its next
 * turns, and the struct is freed then. NULL is fine. */
void courier_free(struct courier *courier);

/* Sends the message; what it points to is copied. on_sent is called once, not from here.
 * ST_NO_MEMORY. */
NODISCARD enum status courier_send(struct courier *courier,
                                   const struct courier_message *message,
                                   courier_sent *on_sent, void *data);

#endif
