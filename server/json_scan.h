/* SPDX-License-Identifier: MIT */
/*
 * json_scan - the grammar under json_slice: from the first byte of something to the place
 * behind it.
 *
 * Every function takes a place in the text and gives one, or NULL after it noted in the
 * struct scan why the text is refused. A place is between start and end, the end
 * included: what is expected there is checked by whoever is called, so the end of the
 * text needs no care in between. Not for use outside of json_slice.c.
 */
#ifndef SERVER_JSON_SCAN_H
#define SERVER_JSON_SCAN_H

#include "server/json_slice.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

static_assert(SLICE_DEPTH_MAX <= 64, "the open containers are bits of one word");

struct scan {
    const uint8_t *start, *end;
    unsigned depth;   /* containers open */
    uint64_t objects; /* what they are; bit 0 is the innermost, 1 an object */
    enum slice_verdict verdict;
    struct slice_error error;
};

/* Notes why the text is refused, and gives NULL. */
const uint8_t *scan_fail(struct scan *s, const uint8_t *at, enum slice_verdict verdict,
                         const char *reason);
/* The same for malformed text. At the end of the text the place is right and only the
 * text is too short: the reason then says that instead. */
const uint8_t *scan_refuse(struct scan *s, const uint8_t *at, const char *reason);

/* Behind a value of any kind, which begins at p. */
const uint8_t *scan_value(struct scan *s, const uint8_t *p);
/* Behind a member's name, whose opening quote is expected at p. */
const uint8_t *scan_name(struct scan *s, const uint8_t *p);
/* p is behind a name; gives the place of its value. */
const uint8_t *scan_colon(struct scan *s, const uint8_t *p);
/* p is behind a value inside of a container that goes on; gives what follows the comma.
 */
const uint8_t *scan_comma(struct scan *s, const uint8_t *p);

static inline bool scan_is_space(uint8_t c)
{
    return c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t');
}

static inline const uint8_t *scan_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && scan_is_space(*p))
        p++;
    return p;
}

static inline bool scan_in_object(const struct scan *s)
{
    return s->objects & 1;
}

/* p is on '[' or '{'; gives the place of the first element, member or closing bracket. */
static inline const uint8_t *scan_open(struct scan *s, const uint8_t *p)
{
    if (s->depth == SLICE_DEPTH_MAX)
        return scan_fail(s, p, SLICE_TOO_DEEP, "nested too deep");
    s->depth++;
    s->objects = s->objects << 1 | (*p == '{');
    return scan_space(p + 1, s->end);
}

static inline bool scan_at_closing(const struct scan *s, const uint8_t *p)
{
    return p < s->end && *p == (scan_in_object(s) ? '}' : ']');
}

/* p is on the closing bracket. */
static inline const uint8_t *scan_close(struct scan *s, const uint8_t *p)
{
    s->depth--;
    s->objects >>= 1;
    return p + 1;
}

#endif
