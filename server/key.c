/* SPDX-License-Identifier: MIT */
#include "server/key.h"

#include "common/clock.h"
#include "common/hex.h"

#include <fnmatch.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define SECRET_BYTES (KEY_SECRET_LEN / 2)
#define BODY_LEN     (KEY_TEXT_LEN - 8) /* what the checksum is of */
#define SECRET_AT    (BODY_LEN - KEY_SECRET_LEN)

const char *const scope_names[SCOPE_COUNT] = { "submit", "read", "cancel", "admin" };

/* ---- text -------------------------------------------------------------------------- */

static void hex_write(const unsigned char *bytes, size_t count, char *ret_text)
{
    for (size_t i = 0; i < count; i++) {
        ret_text[2 * i] = hex_digit(bytes[i] >> 4);
        ret_text[2 * i + 1] = hex_digit(bytes[i]);
    }
    ret_text[2 * count] = '\0';
}

/* Lower-case digits only: a key has one way to be written. */
static bool hex_read(const char *text, size_t count, unsigned char *ret_bytes)
{
    for (size_t i = 0; i < 2 * count; i++) {
        int value = hex_value(text[i]);

        if (value < 0 || hex_digit((unsigned)value) != text[i])
            return false;
        ret_bytes[i / 2] = (unsigned char)(i % 2 ? ret_bytes[i / 2] << 4 | value : value);
    }
    return true;
}

static uint64_t number_of(const unsigned char bytes[8])
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | bytes[i];
    return number;
}

void key_id_format(uint64_t id, char ret_text[KEY_ID_LEN + 1])
{
    (void)snprintf(ret_text, KEY_ID_LEN + 1, "%016" PRIx64, id);
}

bool key_id_parse(struct text text, uint64_t *ret_id)
{
    unsigned char bytes[8];

    if (text.len != KEY_ID_LEN || !hex_read(text.at, sizeof(bytes), bytes))
        return false;
    *ret_id = number_of(bytes);
    return *ret_id != 0;
}

static void checksum_write(const char *text, char ret_digits[9])
{
    (void)snprintf(ret_digits, 9, "%08" PRIx32, (uint32_t)XXH32(text, BODY_LEN, 0));
}

static enum status hash_secret(const char *digits, unsigned char ret_hash[KEY_HASH_LEN])
{
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, digits, KEY_SECRET_LEN, ret_hash) ==
                   GNUTLS_E_SUCCESS
               ? ST_OK
               : ST_IO;
}

/* ---- secrets ----------------------------------------------------------------------- */

/* A new secret for the id that the key has. */
static enum status make_secret(struct key *key, char ret_text[KEY_TEXT_LEN + 1])
{
    unsigned char secret[SECRET_BYTES];
    enum status st = ST_IO;

    if (gnutls_rnd(GNUTLS_RND_KEY, secret, sizeof(secret)) == GNUTLS_E_SUCCESS) {
        memcpy(ret_text, KEY_PREFIX, sizeof(KEY_PREFIX) - 1);
        key_id_format(key->id, ret_text + sizeof(KEY_PREFIX) - 1);
        ret_text[SECRET_AT - 1] = '_';
        hex_write(secret, sizeof(secret), ret_text + SECRET_AT);
        checksum_write(ret_text, ret_text + BODY_LEN);
        st = hash_secret(ret_text + SECRET_AT, key->hash);
    }
    explicit_bzero(secret, sizeof(secret));
    return st;
}

enum status key_make(struct key *key, char ret_text[KEY_TEXT_LEN + 1])
{
    unsigned char id[8];

    do {
        if (gnutls_rnd(GNUTLS_RND_NONCE, id, sizeof(id)) != GNUTLS_E_SUCCESS)
            return ST_IO;
        key->id = number_of(id);
    } while (!key->id);
    key->old_until_ms = 0;
    return make_secret(key, ret_text);
}

enum status key_rotate(struct key *key, int64_t old_until_ms,
                       char ret_text[KEY_TEXT_LEN + 1])
{
    struct key before = *key;
    enum status st = make_secret(key, ret_text);

    if (st != ST_OK) {
        *key = before;
        return st;
    }
    memcpy(key->old_hash, before.hash, sizeof(key->old_hash));
    key->old_until_ms = old_until_ms;
    return ST_OK;
}

enum status key_read(const char *text, struct key_claim *ret_claim)
{
    struct text id = { text + sizeof(KEY_PREFIX) - 1, KEY_ID_LEN };
    unsigned char secret[SECRET_BYTES];
    char checksum[9];
    bool well_formed;

    if (strnlen(text, KEY_TEXT_LEN + 1) != KEY_TEXT_LEN ||
        memcmp(text, KEY_PREFIX, sizeof(KEY_PREFIX) - 1) != 0 ||
        text[SECRET_AT - 1] != '_' || !key_id_parse(id, &ret_claim->id))
        return ST_INVALID;
    well_formed = hex_read(text + SECRET_AT, sizeof(secret), secret);
    explicit_bzero(secret, sizeof(secret));
    checksum_write(text, checksum);
    if (!well_formed || memcmp(text + BODY_LEN, checksum, 8) != 0)
        return ST_INVALID;
    return hash_secret(text + SECRET_AT, ret_claim->hash);
}

bool key_holds(const struct key *key, const struct key_claim *claim, int64_t now_ms)
{
    static const struct key nobody;
    const struct key *known = key ? key : &nobody;
    bool right = gnutls_memcmp(known->hash, claim->hash, KEY_HASH_LEN) == 0;
    bool right_before = gnutls_memcmp(known->old_hash, claim->hash, KEY_HASH_LEN) == 0;

    if (!key || (key->expires_at_ms && now_ms >= key->expires_at_ms))
        return false;
    return right || (right_before && now_ms < key->old_until_ms);
}

/* ---- what it may do ---------------------------------------------------------------- */

bool key_may_run(const struct key *key, const char *task)
{
    for (unsigned i = 0; i < key->task_count; i++)
        if (fnmatch(key->tasks[i], task, FNM_NOESCAPE) == 0)
            return true;
    return key->task_count == 0;
}

static unsigned scope_of(struct text name)
{
    for (unsigned i = 0; i < SCOPE_COUNT; i++)
        if (text_equals(name, scope_names[i]))
            return 1u << i;
    return 0;
}

unsigned key_scopes_parse(const char *text)
{
    unsigned scopes = 0;

    for (;;) {
        size_t len = strcspn(text, ",");
        unsigned scope = scope_of((struct text){ text, len });

        if (!scope)
            return 0;
        scopes |= scope;
        if (!text[len])
            return scopes;
        text += len + 1;
    }
}

/* Every character is one of a-z A-Z 0-9 or of others, and there is at least one. */
static bool consists_of(const char *text, const char *others, size_t max)
{
    size_t len = strlen(text);

    for (const char *c = text; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
              (*c >= '0' && *c <= '9') || strchr(others, *c)))
            return false;
    return len >= 1 && len <= max;
}

const char *key_name_check(const char *name)
{
    return consists_of(name, "_.:-@", KEY_NAME_MAX)
               ? NULL
               : "is not 1 to 64 of A-Z a-z 0-9 _ . : - @";
}

const char *key_task_check(const char *pattern)
{
    return consists_of(pattern, "_.:-*", KEY_TASK_MAX)
               ? NULL
               : "is not a task's name, or one with * for any text";
}

/* ---- JSON -------------------------------------------------------------------------- */

static void write_time(struct buf *out, const char *name, int64_t wall_ms)
{
    char text[CLOCK_TEXT_LEN + 1];

    clock_format(wall_ms, text);
    if (wall_ms)
        buf_addf(out, ",\"%s\":\"%s\"", name, text);
    else
        buf_addf(out, ",\"%s\":null", name);
}

static void write_number(struct buf *out, const char *name, uint64_t number)
{
    if (number)
        buf_addf(out, ",\"%s\":%" PRIu64, name, number);
    else
        buf_addf(out, ",\"%s\":null", name);
}

/* Names and patterns have no character that JSON escapes. */
void key_write(struct buf *out, const struct key *key)
{
    const char *comma = "";

    buf_addf(out, "{\"id\":\"%016" PRIx64 "\",\"name\":\"%s\",\"scopes\":[", key->id,
             key->name);
    for (unsigned i = 0; i < SCOPE_COUNT; i++) {
        if (!(key->scopes & (1u << i)))
            continue;
        buf_addf(out, "%s\"%s\"", comma, scope_names[i]);
        comma = ",";
    }
    buf_add_str(out, "],\"tasks\":[");
    for (unsigned i = 0; i < key->task_count; i++)
        buf_addf(out, "%s\"%s\"", i ? "," : "", key->tasks[i]);
    buf_add_char(out, ']');
    write_time(out, "created_at", key->created_at_ms);
    write_time(out, "expires_at", key->expires_at_ms);
    write_time(out, "old_secret_until", key->old_until_ms);
    write_number(out, "rate", key->rate);
    write_number(out, "max_queued", key->max_queued);
    write_number(out, "max_queued_bytes", key->max_queued_bytes);
    buf_add_char(out, '}');
}

static json_t *save_hash(const unsigned char hash[KEY_HASH_LEN])
{
    char digits[2 * KEY_HASH_LEN + 1];

    hex_write(hash, KEY_HASH_LEN, digits);
    return json_string(digits);
}

/* The array with a text more. NULL, and the array is gone: out of memory. */
static json_t *with_text(json_t *array, const char *text)
{
    if (json_array_append_new(array, json_string(text)) == 0)
        return array;
    json_decref(array);
    return NULL;
}

json_t *key_save(const struct key *key)
{
    json_t *scopes = json_array(), *tasks = json_array();
    char id[KEY_ID_LEN + 1];

    key_id_format(key->id, id);
    for (unsigned i = 0; i < SCOPE_COUNT; i++)
        if (key->scopes & (1u << i))
            scopes = with_text(scopes, scope_names[i]);
    for (unsigned i = 0; i < key->task_count; i++)
        tasks = with_text(tasks, key->tasks[i]); /* one that is missing would open more */
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:I}", "id",
                     id, "name", key->name, "scopes", scopes, "tasks", tasks,
                     "created_at_ms", (json_int_t)key->created_at_ms, "expires_at_ms",
                     (json_int_t)key->expires_at_ms, "rate", (json_int_t)key->rate,
                     "max_queued", (json_int_t)key->max_queued, "max_queued_bytes",
                     (json_int_t)key->max_queued_bytes, "sha256", save_hash(key->hash),
                     "old_sha256", save_hash(key->old_hash), "old_until_ms",
                     (json_int_t)key->old_until_ms);
}

static bool load_scopes(const json_t *array, unsigned *ret_scopes)
{
    const json_t *value;
    size_t i;

    json_array_foreach(array, i, value)
    {
        const char *name = json_string_value(value);
        unsigned scope = name ? scope_of((struct text){ name, strlen(name) }) : 0;

        if (!scope)
            return false;
        *ret_scopes |= scope;
    }
    return json_is_array(array) && *ret_scopes;
}

static bool load_tasks(const json_t *array, struct key *ret_key)
{
    const json_t *value;
    size_t i;

    if (!json_is_array(array) || json_array_size(array) > KEY_TASKS_MAX)
        return false;
    json_array_foreach(array, i, value)
    {
        const char *pattern = json_string_value(value);

        if (!pattern || key_task_check(pattern))
            return false;
        (void)strcpy(ret_key->tasks[ret_key->task_count++], pattern);
    }
    return true;
}

static bool load_hash(const char *digits, unsigned char ret_hash[KEY_HASH_LEN])
{
    return strlen(digits) == 2 * KEY_HASH_LEN && hex_read(digits, KEY_HASH_LEN, ret_hash);
}

enum status key_load(const json_t *value, struct key *ret_key)
{
    json_int_t created, expires, rate, queued, bytes, old_until;
    const char *id, *name, *hash, *old_hash;
    json_t *scopes, *tasks;

    memset(ret_key, 0, sizeof(*ret_key));
    if (json_unpack((json_t *)(uintptr_t)value,
                    "{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:I !}",
                    "id", &id, "name", &name, "scopes", &scopes, "tasks", &tasks,
                    "created_at_ms", &created, "expires_at_ms", &expires, "rate", &rate,
                    "max_queued", &queued, "max_queued_bytes", &bytes, "sha256", &hash,
                    "old_sha256", &old_hash, "old_until_ms", &old_until) != 0)
        return ST_CORRUPT;
    if (!key_id_parse((struct text){ id, strlen(id) }, &ret_key->id) ||
        key_name_check(name) || !load_scopes(scopes, &ret_key->scopes) ||
        !load_tasks(tasks, ret_key) || !load_hash(hash, ret_key->hash) ||
        !load_hash(old_hash, ret_key->old_hash) || created < 0 || expires < 0 ||
        rate < 0 || queued < 0 || bytes < 0 || old_until < 0)
        return ST_CORRUPT;
    (void)strcpy(ret_key->name, name);
    ret_key->created_at_ms = created;
    ret_key->expires_at_ms = expires;
    ret_key->rate = (uint64_t)rate;
    ret_key->max_queued = (uint64_t)queued;
    ret_key->max_queued_bytes = (uint64_t)bytes;
    ret_key->old_until_ms = old_until;
    return ST_OK;
}
