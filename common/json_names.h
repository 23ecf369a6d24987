/* SPDX-License-Identifier: MIT */
/*
 * json_names - finds the name that comes twice in one object of a JSON text.
 *
 * What such an object means differs between those who read it: the last one counts, or the
 * first one, or both (RFC 8259, section 4); I-JSON (RFC 7493, section 2.3) forbids it. Names
 * are the same if they are after their escapes are decoded: "a" and "\u0061" are.
 *
 * The scanner (json_scan.h) tells where objects begin and end, and of each name. What is kept
 * is a stack: of each name of the objects that are open a hash and its place, one word.
 *
 *     {"a":1,"b":{"c":2,"d":          names   a  b  c  d
 *                                     begin   0     2
 *
 * An object is looked at when it ends, and those that are open when the text turns out to be
 * wrong in another way: so what is found is the same as if each name was compared with all
 * before it. Up to JSON_NAMES_FEW words are compared with each other; more are sorted, where
 * they are. A table would find a name at once, but with millions of them each access misses
 * the caches: 250 ns a name in place of 32.
 *
 * So a name costs 8 to 16 bytes until its object ends, and the first JSON_NAMES_ROOM nothing
 * but the struct. The hash is XXH3 under a secret of the process: whoever sends the text
 * could otherwise choose names of the same hash, and these have to be compared.
 *
 * Texts have less than 4 GiB. May be used from any thread, each struct by one.
 */
#ifndef COMMON_JSON_NAMES_H
#define COMMON_JSON_NAMES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_NAMES_DEPTH 64 /* objects open at the same time */
#define JSON_NAMES_FEW   16 /* names of an object that are compared with each other */
#define JSON_NAMES_ROOM  32 /* names of all open objects before memory is asked for */

struct json_names {
    const uint8_t *text;
    /* hash << 32 | the name's first byte, from the start of the text; `own`, or owned. */
    uint64_t *names;
    size_t count, room;
    unsigned open;                  /* objects */
    size_t begin[JSON_NAMES_DEPTH]; /* where in names those of each begin */
    uint32_t hash_mask; /* all bits; tests leave fewer, so that hashes are the same */
    uint64_t own[JSON_NAMES_ROOM];
};

/* The text is start .. start+len-1, and stays. */
void json_names_init(struct json_names *names, const uint8_t *start, size_t len);
void json_names_clear(struct json_names *names);

/* The innermost open object has this name: len valid bytes (json_scan.h) between quotes.
 * plain: no backslash is among them, else there may be. false: no memory, nothing changed. */
bool json_names_add(struct json_names *names, const uint8_t *at, size_t len, bool plain);

/* Whether a name comes twice in an object that is open: *ret_quote is where the earliest
 * begins that is not the first one, with its quote. */
bool json_names_twice(struct json_names *names, const uint8_t **ret_quote);

/* Whether one comes twice among those from `begin` on, two or more. */
bool json_names_found(struct json_names *names, size_t begin);

/* An object begins. */
static inline void json_names_open(struct json_names *names)
{
    assert(names->open < JSON_NAMES_DEPTH);
    names->begin[names->open++] = names->count;
}

/* The innermost open object ends. false: a name comes twice in it, and it stays open. */
static inline bool json_names_close(struct json_names *names)
{
    size_t begin = names->begin[names->open - 1];

    if (names->count - begin > 1 && json_names_found(names, begin))
        return false;
    names->count = begin;
    names->open--;
    return true;
}

#endif
