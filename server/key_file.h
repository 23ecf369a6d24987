/* SPDX-License-Identifier: MIT */
/*
 * key_file - the API keys in the data folder: keys.json, mode 0600.
 *
 * A file of its own, and not a table: keys are made and revoked whether the server runs or
 * not, and only one connection may write the database. A change is a new file that takes the
 * place of the old one, so whoever reads finds the keys of before or those of after; those
 * who change it take turns by a lock on keys.json.lock.
 *
 * Without the file there are no keys, and everybody may do everything. With it nobody may
 * do anything without a key, also when no key is left in it.
 */
#ifndef SERVER_KEY_FILE_H
#define SERVER_KEY_FILE_H

#include "common/status.h"
#include "server/key.h"

#include <stdbool.h>
#include <stddef.h>

#define KEY_FILE_NAME "keys.json"
#define KEYS_MAX      1000

struct key_list {
    struct key *keys; /* by rising id; with room for one more */
    size_t count;
};
void key_list_clear(struct key_list *list);
/* The key with this id; NULL if there is none. */
struct key *key_list_find(const struct key_list *list, uint64_t id);
/* The same by its id or its name, as people write them. */
struct key *key_list_named(const struct key_list *list, const char *id_or_name);

bool key_file_exists(const char *dir);
/* Reads the keys. ST_NOT_FOUND: there is no file, and *ret_list is empty. Others, with err
 * naming the file: ST_CORRUPT; ST_DENIED, also if others than its owner may write it; ST_IO;
 * ST_NO_MEMORY. */
NODISCARD enum status key_file_read(const char *dir, struct key_list *ret_list,
                                    struct error_text *err);

/* What may be done with the keys. The first one makes the file, and the folder if only that is
 * missing. Each gives ST_BUSY if another program changes them and `wait` is false; ST_IO,
 * ST_DENIED, ST_CORRUPT, ST_NO_MEMORY with err naming the file. The changed key is *key. */

/* Adds *key with a new id and secret. ST_EXISTS: there is a key of this name; ST_LIMIT:
 * there are KEYS_MAX. */
NODISCARD enum status key_file_add(const char *dir, bool wait, struct key *key,
                                   char ret_text[KEY_TEXT_LEN + 1],
                                   struct error_text *err);
/* ST_NOT_FOUND: there is no such key. */
NODISCARD enum status key_file_rotate(const char *dir, bool wait, const char *id_or_name,
                                      int64_t old_until_ms, struct key *ret_key,
                                      char ret_text[KEY_TEXT_LEN + 1],
                                      struct error_text *err);
NODISCARD enum status key_file_revoke(const char *dir, bool wait, const char *id_or_name,
                                      struct key *ret_key, struct error_text *err);

#endif
