/* SPDX-License-Identifier: MIT */
#include "common/json_names.h"

#include "common/hex.h"
#include "common/mem.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
/* Most names are short: a call would cost more than what it does. */
#define XXH_INLINE_ALL
#include <xxhash.h>

/* --- the secret --- */

static pthread_once_t secret_once = PTHREAD_ONCE_INIT;
static uint8_t secret[XXH3_SECRET_SIZE_MIN];

/* Without it names could be chosen, so there is no going on; with these arguments the
 * kernel only refuses when it is told to by a sandbox. */
static void make_secret(void)
{
    size_t have = 0;

    while (have < sizeof(secret)) {
        ssize_t n = getrandom(secret + have, sizeof(secret) - have, 0);

        assert(n > 0 || errno == EINTR);
        if (n > 0)
            have += (size_t)n;
    }
}

void json_names_init(struct json_names *names, const uint8_t *start, size_t len)
{
    int error = pthread_once(&secret_once, make_secret);

    assert(!error && len <= UINT32_MAX);
    names->text = start;
    names->names = names->own;
    names->count = 0;
    names->room = JSON_NAMES_ROOM;
    names->open = 0;
    names->hash_mask = UINT32_MAX;
}

void json_names_clear(struct json_names *names)
{
    if (names->names != names->own)
        mem_free(names->names);
}

/* --- names with escapes --- */

static uint32_t hex4(const uint8_t *at)
{
    uint32_t unit = 0;

    for (int i = 0; i < 4; i++)
        unit = unit << 4 | (uint32_t)hex_value((char)at[i]);
    return unit;
}

/* A character from U+0001 on as UTF-8 (RFC 3629, section 3). Gives the number of bytes. */
static unsigned put_utf8(uint32_t c, uint8_t ret_bytes[4])
{
    unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = { 0, 0xC0, 0xE0, 0xF0 };

    for (unsigned i = more; i > 0; i--, c >>= 6)
        ret_bytes[i] = (uint8_t)(0x80 | (c & 0x3F));
    ret_bytes[0] = (uint8_t)(lead[more] | c);
    return more + 1;
}

/* *at is on a backslash, and moves behind the escape. Gives the number of bytes. */
static unsigned decode_escape(const uint8_t **at, uint8_t ret_bytes[4])
{
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    const uint8_t *p = *at;
    uint32_t c = p[1];

    *at += 2;
    if (c == 'u') {
        c = hex4(p + 2);
        *at += 4;
        if (c >= 0xD800 && c <= 0xDBFF) {
            c = 0x10000 + ((c - 0xD800) << 10) + (hex4(p + 8) - 0xDC00);
            *at += 6;
        }
    } else {
        const char *letter = strchr(letters, (int)c);

        if (letter)
            c = (uint8_t)meanings[letter - letters];
    }
    return put_utf8(c, ret_bytes);
}

/* That of the bytes that the name stands for. */
static uint64_t hash_escaped(const uint8_t *at, size_t len)
{
    const uint8_t *end = at + len, *next;
    uint8_t bytes[4];
    XXH3_state_t state;

    (void)XXH3_64bits_reset_withSecret(&state, secret, sizeof(secret));
    for (; at < end; at = next) {
        next = memchr(at, '\\', (size_t)(end - at));
        if (!next)
            next = end;
        (void)XXH3_64bits_update(&state, at, (size_t)(next - at));
        if (next < end) {
            unsigned count = decode_escape(&next, bytes);

            (void)XXH3_64bits_update(&state, bytes, count);
        }
    }
    return XXH3_64bits_digest(&state);
}

/* Goes through the bytes that a name stands for. */
struct reader {
    const uint8_t *at;
    unsigned used, count; /* of an escape */
    uint8_t bytes[4];
};

/* -1: at the closing quote. */
static int next_byte(struct reader *r)
{
    if (r->used < r->count)
        return r->bytes[r->used++];
    if (*r->at == '"')
        return -1;
    if (*r->at != '\\')
        return *r->at++;
    r->count = decode_escape(&r->at, r->bytes);
    r->used = 1;
    return r->bytes[0];
}

static bool same_name(const uint8_t *a, const uint8_t *b)
{
    struct reader left = { .at = a }, right = { .at = b };
    int c;

    do {
        c = next_byte(&left);
        if (c != next_byte(&right))
            return false;
    } while (c >= 0);
    return true;
}

/* --- finding --- */

static uint32_t hash_of(uint64_t name)
{
    return (uint32_t)(name >> 32);
}

static bool same(const struct json_names *names, uint64_t a, uint64_t b)
{
    return hash_of(a) == hash_of(b) &&
           same_name(names->text + (uint32_t)a, names->text + (uint32_t)b);
}

#define SORT_FEW 64 /* words that are sorted by insertion */

static void sort_few(uint64_t *words, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint64_t word = words[i];
        size_t at = i;

        for (; at > 0 && words[at - 1] > word; at--)
            words[at] = words[at - 1];
        words[at] = word;
    }
}

/* By the byte at `shift` and those below it: each word goes to the part of its byte, in
 * place, then each part is sorted. At most 8 deep: no two words are the same. */
static void sort_many(uint64_t *words, size_t count, unsigned shift)
{
    size_t next[256], end[256] = { 0 }, sum = 0;

    for (size_t i = 0; i < count; i++)
        end[words[i] >> shift & 255]++;
    for (unsigned part = 0; part < 256; part++) {
        next[part] = sum;
        sum += end[part];
        end[part] = sum;
    }
    for (unsigned part = 0; part < 256; part++) {
        while (next[part] < end[part]) {
            uint64_t word = words[next[part]];
            unsigned to = word >> shift & 255;

            words[next[part]] = words[next[to]];
            words[next[to]++] = word;
        }
    }
    for (unsigned part = 0; part < 256; part++) {
        size_t begin = part ? end[part - 1] : 0;

        if (end[part] - begin <= SORT_FEW)
            sort_few(words + begin, end[part] - begin);
        else
            sort_many(words + begin, end[part] - begin, shift - 8);
    }
}

/* The place of the earliest that is the same as one before it, among words in the order of
 * the text; or `best`, if that is earlier. */
static uint32_t earliest_of_few(const struct json_names *names, const uint64_t *words,
                                size_t count, uint32_t best)
{
    for (size_t i = 1; i < count && (uint32_t)words[i] < best; i++) {
        for (size_t before = 0; before < i; before++)
            if (same(names, words[before], words[i]))
                return (uint32_t)words[i];
    }
    return best;
}

/* The same among words that are sorted; UINT32_MAX: there is none. */
static uint32_t earliest_sorted(const struct json_names *names, const uint64_t *words,
                                size_t count)
{
    uint32_t best = UINT32_MAX;

    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && hash_of(words[end]) == hash_of(words[i]); end++)
            ;
        if (end - i > 1)
            best = earliest_of_few(names, words + i, end - i, best);
    }
    return best;
}

static uint32_t earliest(struct json_names *names, size_t begin, size_t end)
{
    uint64_t *words = names->names + begin;
    size_t count = end - begin;

    if (count <= JSON_NAMES_FEW)
        return earliest_of_few(names, words, count, UINT32_MAX);
    if (count <= SORT_FEW)
        sort_few(words, count);
    else
        sort_many(words, count, 56);
    return earliest_sorted(names, words, count);
}

bool json_names_found(struct json_names *names, size_t begin)
{
    return earliest(names, begin, names->count) != UINT32_MAX;
}

bool json_names_twice(struct json_names *names, const uint8_t **ret_quote)
{
    uint32_t best = UINT32_MAX;

    for (unsigned i = 0; i < names->open; i++) {
        size_t end = i + 1 < names->open ? names->begin[i + 1] : names->count;
        uint32_t found = earliest(names, names->begin[i], end);

        if (found < best)
            best = found;
    }
    if (best == UINT32_MAX)
        return false;
    *ret_quote = names->text + best - 1;
    return true;
}

/* --- names --- */

static bool reserve(struct json_names *names)
{
    bool first = names->names == names->own;
    uint64_t *grown =
        mem_realloc(first ? NULL : names->names, 2 * names->room * sizeof(*grown));

    if (!grown)
        return false;
    if (first)
        memcpy(grown, names->own, sizeof(names->own));
    names->names = grown;
    names->room *= 2;
    return true;
}

bool json_names_add(struct json_names *names, const uint8_t *at, size_t len, bool plain)
{
    uint64_t hash = plain || !memchr(at, '\\', len)
                        ? XXH3_64bits_withSecret(at, len, secret, sizeof(secret))
                        : hash_escaped(at, len);

    if (names->count == names->room && !reserve(names))
        return false;
    names->names[names->count++] =
        (hash & names->hash_mask) << 32 | (uint32_t)(at - names->text);
    return true;
}
