/* SPDX-License-Identifier: MIT */
/*
 * key - one API key: who may do what, how it is written, how a secret is checked. Pure, but
 * for the random numbers of a new secret.
 *
 *     poold_0123456789abcdef_<64 hexadecimal digits><8 hexadecimal digits>
 *           id, 64 bits      secret, 256 bits       checksum of all before (XXH32)
 *
 * The checksum finds typing errors, and lets those who search texts for secrets be sure. Of
 * the secret only the SHA-256 of its digits is kept: it is random, so nobody guesses it from
 * that, and nothing slower is needed. A key that was rotated has a second hash, of the secret
 * before, until the time that was given for it.
 *
 * Secrets are in the hands of callers as text; who has one on the stack wipes it
 * (explicit_bzero).
 */
#ifndef SERVER_KEY_H
#define SERVER_KEY_H

#include "common/buf.h"
#include "common/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define KEY_PREFIX     "poold_"
#define KEY_ID_LEN     16 /* digits */
#define KEY_SECRET_LEN 64 /* the same */
#define KEY_TEXT_LEN   (6 + KEY_ID_LEN + 1 + KEY_SECRET_LEN + 8)
#define KEY_HASH_LEN   32 /* bytes */
#define KEY_NAME_MAX   64
#define KEY_TASKS_MAX  16 /* patterns */
#define KEY_TASK_MAX   128

/* Scopes, to be combined. */
#define SCOPE_SUBMIT 1u /* make jobs, and run failed ones again */
#define SCOPE_READ   2u /* see one's own jobs, and the tasks that one may run */
#define SCOPE_CANCEL 4u /* cancel and delete one's own jobs */
#define SCOPE_ADMIN  8u /* everything, everybody's jobs, pools, workers and keys */
#define SCOPE_COUNT  4
extern const char *const scope_names[SCOPE_COUNT]; /* by number of the bit */

struct key {
    uint64_t id; /* not 0; never given out twice. Jobs keep it as their owner */
    char name[KEY_NAME_MAX + 1]; /* for people */
    unsigned scopes;
    unsigned task_count;                         /* 0: any task */
    char tasks[KEY_TASKS_MAX][KEY_TASK_MAX + 1]; /* patterns; * is any text */
    int64_t created_at_ms;
    int64_t expires_at_ms;     /* 0: never */
    uint64_t rate;             /* requests in a second; 0: any number */
    uint64_t max_queued;       /* of its jobs that are not over; 0: any number */
    uint64_t max_queued_bytes; /* of their inputs; the same */
    unsigned char hash[KEY_HASH_LEN];
    unsigned char old_hash[KEY_HASH_LEN]; /* of the secret before the last rotation, */
    int64_t old_until_ms;                 /* until then; 0: there is none */
};

/* Gives the key a new id and a new secret, and writes its text: the only time that it is
 * known. The other members stay. ST_IO: there are no random numbers. */
NODISCARD enum status key_make(struct key *key, char ret_text[KEY_TEXT_LEN + 1]);
/* The same with the id that it has: a new secret. The one before works until then. */
NODISCARD enum status key_rotate(struct key *key, int64_t old_until_ms,
                                 char ret_text[KEY_TEXT_LEN + 1]);

/* What a text says: the id, and the hash of its secret. ST_INVALID: it is no key. ST_IO: it
 * could not be hashed. */
struct key_claim {
    uint64_t id;
    unsigned char hash[KEY_HASH_LEN];
};
NODISCARD enum status key_read(const char *text, struct key_claim *ret_claim);
/* Whether the claim is right, and the key still holds. It takes the same time for every
 * wrong hash; key may be NULL, which takes as long and is always wrong. */
bool key_holds(const struct key *key, const struct key_claim *claim, int64_t now_ms);

bool key_may_run(const struct key *key, const char *task);

/* "0123456789abcdef" */
void key_id_format(uint64_t id, char ret_text[KEY_ID_LEN + 1]);
bool key_id_parse(struct text text, uint64_t *ret_id);
/* Reads a list of scopes, separated by commas; 0: one is unknown, or there is none. */
unsigned key_scopes_parse(const char *text);
/* NULL: the name, or the pattern, may be used; else what is wrong with it. */
const char *key_name_check(const char *name);
const char *key_task_check(const char *pattern);

/* What everybody who administers keys may see, as a JSON object. */
void key_write(struct buf *out, const struct key *key);
/* The record with its hashes, for the file; NULL without memory. */
json_t *key_save(const struct key *key);
/* ST_CORRUPT: the value is not what key_save makes. */
NODISCARD enum status key_load(const json_t *value, struct key *ret_key);

#endif
