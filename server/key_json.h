/* SPDX-License-Identifier: MIT */
/* key_json - what an administrator asks of a key: every check of the members. Pure. */
#ifndef SERVER_KEY_JSON_H
#define SERVER_KEY_JSON_H

#include "common/blob.h"
#include "server/key.h"
#include "server/refusal.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads the request for a new key, JSON that may be nested max_depth deep: name, scopes,
 * tasks, expires_in, rate, max_queued, max_queued_bytes. *ret_key lacks its id and secret. On
 * failure *ret_refusal says why; clear it in any case. */
NODISCARD enum status key_json_parse(struct text body, bool lenient, unsigned max_depth,
                                     int64_t now_ms, struct key *ret_key,
                                     struct refusal *ret_refusal);
/* The same for a rotation: keep_old, in *ret_keep_old_ms; 0 if it is not there. */
NODISCARD enum status key_json_parse_rotation(struct text body, bool lenient,
                                              unsigned max_depth,
                                              int64_t *ret_keep_old_ms,
                                              struct refusal *ret_refusal);

#endif
