/* SPDX-License-Identifier: MIT */
/*
 * keys - the API keys as the running server has them: who a request comes from, and whether
 * he asks too often.
 *
 * They are read from the file (key_file.h) when the server starts, and again within
 * KEYS_LOOK_MS of each change of it. From the moment on when there is a file, requests need
 * a key, until the server ends; when the file goes, no key holds any more. A file that cannot
 * be read changes nothing, and the log says so.
 *
 * All on the loop's thread.
 */
#ifndef SERVER_KEYS_H
#define SERVER_KEYS_H

#include "common/status.h"
#include "server/key.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define KEYS_LOOK_MS 1000

struct keys;

/* Failures as of key_file_read, but that no file is none. dir is copied. */
NODISCARD enum status keys_new(uv_loop_t *loop, const char *dir, struct keys **ret_keys,
                               struct error_text *err);
/* The timer of the loop closes in its next turn. NULL is fine. */
void keys_free(struct keys *keys);
/* Reads the file if it has changed. */
void keys_look(struct keys *keys);
const char *keys_dir(const struct keys *keys);

/* Whether requests need a key. */
bool keys_required(const struct keys *keys);
/* The key of a text that holds now; NULL: there is none. It stays until the loop's next
 * turn. */
const struct key *keys_verify(const struct keys *keys, const char *text);
/* The key with this id, whether it holds or not; NULL if there is none. As above. */
const struct key *keys_find(const struct keys *keys, uint64_t id);

/* What a key may still ask for in this second. */
struct allowance {
    uint64_t rate;      /* 0: any number */
    uint64_t remaining; /* requests that may follow at once */
    uint32_t reset_s;   /* seconds until there is one more, or, if there are some, all */
};
/* Counts a request; false: there are too many. */
bool keys_take(struct keys *keys, const struct key *key, struct allowance *ret_allowance);
/* A request of the key begins; false: it has `max` already, and this one does not count. */
bool keys_begin(struct keys *keys, const struct key *key, uint64_t max);
/* One that counts is over; its key may be gone. */
void keys_end(struct keys *keys, uint64_t id);

#endif
