/* SPDX-License-Identifier: MIT */
/*
 * webhook - what a callback looks like, where it may go, and how it is signed. Pure: no
 * clock, no socket, nothing is resolved.
 *
 * Messages follow Standard Webhooks: the headers webhook-id, webhook-timestamp and
 * webhook-signature, which is "v1," and the base64 of HMAC-SHA256 over
 *
 *     ID.TIMESTAMP.BODY
 *
 * The secret is written as "whsec_" and base64.
 *
 * Where it may go is the operator's list, the setting callback_allow: entries separated
 * by commas, each
 *
 *     [http://]HOST[:PORT]        HOST: a name, an IPv4 address, or [IPv6]
 *
 * Without a port, 443, 8443 and (for http) 80 are allowed. http needs the prefix, unless
 * the host is a loopback address or localhost. A name may only lead to addresses of the
 * public internet; an address (and localhost), which the operator has written down, is
 * taken as it is.
 */
#ifndef SERVER_WEBHOOK_H
#define SERVER_WEBHOOK_H

#include "common/buf.h"
#include "common/status.h"
#include "server/job.h"
#include "server/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define WEBHOOK_URL_MAX    2048 /* bytes */
#define WEBHOOK_SECRET_MIN 24   /* bytes, decoded */
#define WEBHOOK_SECRET_MAX 64

struct webhook_secret {
    unsigned char bytes[WEBHOOK_SECRET_MAX];
    size_t len;
};

/* Reads "whsec_…"; false if it is none of 24 to 64 bytes. */
bool webhook_secret_parse(struct text text, struct webhook_secret *ret_secret);
/* Makes one of 32 random bytes, as text. */
NODISCARD enum status webhook_secret_make(struct buf *out);

#define WEBHOOK_SIGNATURE_MAX 48 /* "v1," and 44 characters, and the NUL */
/* timestamp in seconds. */
NODISCARD enum status webhook_sign(const struct webhook_secret *secret, const char *id,
                                   int64_t timestamp, struct text body,
                                   char ret_signature[WEBHOOK_SIGNATURE_MAX]);

/* The message about a job that has ended:
 * {"type":"job.succeeded","timestamp":…,"data":{"id":…,…}} */
void webhook_write(struct buf *out, const struct job_spec *spec,
                   const struct job_status *status);
/* The trace in a message that was written so; false if it has none. */
bool webhook_trace(const char *body, char ret_trace[TRACE_MAX + 1]);

/* NULL if the list is well-formed, else why not, to go behind the entry: "is not ...". */
const char *webhook_allow_check(const char *allow);

/* What a URL may do. */
struct webhook_target {
    bool any_address; /* the operator has allowed the address itself */
};
/* NULL if a callback may go to this URL, else why not, to go behind its name. allow may be
 * NULL: nothing is allowed. */
const char *webhook_url_check(const char *url, const char *allow,
                              struct webhook_target *ret_target);

/* Whether the address belongs to the public internet: not to this machine, a private
 * network, or anything that leads there by another way of writing (mapped, translated and
 * tunnelled IPv4 addresses). Of families other than IPv4 and IPv6: false. */
bool webhook_address_public(const struct sockaddr *address);

#endif
