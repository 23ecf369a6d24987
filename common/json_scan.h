/* SPDX-License-Identifier: MIT */
/*
 * json_scan - validates JSON text (RFC 8259) without making anything of it.
 *
 * Refused, beyond the grammar: bytes that are not UTF-8 (RFC 3629: overlong forms,
 * surrogates, above U+10FFFF), lone surrogates and \u0000 in escapes, a byte order mark,
 * numbers of more than SLICE_NUMBER_MAX bytes, and what is nested deeper than
 * SLICE_DEPTH_MAX, or less where the caller says so. In what clients send also a name that
 * comes twice in one object (json_names.h); what tasks return passes as they have written it.
 *
 * slice_check and slice_check_sent are for everybody: workers check what tasks return, the
 * server checks what clients send. What stands behind them is the grammar for
 * server/json_slice.c, which notes places on the way: from the first byte of something to the
 * place behind it. Each of those functions takes a place in the text and gives one, or NULL
 * after it noted in the struct scan why the text is refused. A place is between start and
 * end, the end included: what is expected there is checked by whoever is called, so the end
 * of the text needs no care in between.
 *
 * Pure but for names that may not repeat: these need memory, and on their first use in the
 * process a secret from the kernel (json_names.h).
 */
#ifndef COMMON_JSON_SCAN_H
#define COMMON_JSON_SCAN_H

#include "common/blob.h"
#include "common/json_names.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLICE_DEPTH_MAX  64   /* nested arrays and objects, the outermost counts 1 */
#define SLICE_NUMBER_MAX 4096 /* bytes of one number */

enum slice_kind {
    SLICE_NULL,
    SLICE_BOOL,
    SLICE_NUMBER,
    SLICE_STRING,
    SLICE_ARRAY,
    SLICE_OBJECT
};

/* Why a text was refused; the text for people is in slice_error. */
enum slice_verdict {
    SLICE_OK,
    SLICE_MALFORMED,      /* not JSON, or refused beyond its grammar (above) */
    SLICE_TOO_DEEP,       /* nested deeper than it may be */
    SLICE_NOT_OBJECT,     /* well-formed, but the envelope is no object */
    SLICE_TOO_MANY,       /* more elements than max_items */
    SLICE_ITEM_TOO_LARGE, /* an element over max_item_bytes */
    SLICE_NO_MEMORY
};

/* The text before the offset could always have been continued to a document that is fine.
 * If it simply ends too early, the offset is its length. Otherwise it is the first byte
 * that cannot stand there; of a character that is not UTF-8, an escape that is not
 * allowed, a name that comes twice or an element over a limit, it is where that begins.
 */
struct slice_error {
    size_t offset;      /* from the start of the document */
    uint64_t item;      /* for SLICE_ITEM_TOO_LARGE: which, from 0 */
    const char *reason; /* constant, follows "at byte 17: ", such as "expected a value" */
};

/* Checks one whole document of any kind. Only one of ret_kind and ret_error is set. */
enum slice_verdict slice_check(struct text doc, enum slice_kind *ret_kind,
                               struct slice_error *ret_error);
/* The same for what a client has sent, of less than 4 GiB: it may be nested max_depth deep,
 * 1 .. SLICE_DEPTH_MAX, and no object may have a name twice. Also SLICE_NO_MEMORY. */
enum slice_verdict slice_check_sent(struct text doc, unsigned max_depth,
                                    enum slice_kind *ret_kind,
                                    struct slice_error *ret_error);

/* ---- the grammar, for json_slice.c and program_line.c ------------------------------ */

static_assert(SLICE_DEPTH_MAX <= 64, "the open containers are bits of one word");
static_assert(SLICE_DEPTH_MAX <= JSON_NAMES_DEPTH, "all of them may be objects");

struct scan {
    const uint8_t *start, *end;
    unsigned depth;           /* containers open */
    unsigned max_depth;       /* how many may be: scan_of says SLICE_DEPTH_MAX */
    uint64_t objects;         /* what they are; bit 0 is the innermost, 1 an object */
    struct json_names *names; /* of the objects; NULL: they may come twice */
    enum slice_verdict verdict;
    struct slice_error error;
};

struct scan scan_of(struct text doc);
/* What the value is whose first byte this is. */
enum slice_kind scan_kind(uint8_t first);
/* The first byte of the outermost value. */
const uint8_t *scan_document_begin(struct scan *s);
/* p is behind the outermost value. */
const uint8_t *scan_document_end(struct scan *s, const uint8_t *p);
/* Notes why the text is refused, and gives NULL. */
const uint8_t *scan_fail(struct scan *s, const uint8_t *at, enum slice_verdict verdict,
                         const char *reason);
/* The same for malformed text. At the end of the text the place is right and only the
 * text is too short: the reason then says that instead. */
const uint8_t *scan_refuse(struct scan *s, const uint8_t *at, const char *reason);

/* After a NULL: why the text is refused. A name that comes twice in an object that is open
 * is before all that was noted. */
enum slice_verdict scan_refusal(struct scan *s, struct slice_error *ret_error);

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
    if (s->depth >= s->max_depth)
        return scan_fail(s, p, SLICE_TOO_DEEP, "nested too deep");
    s->depth++;
    s->objects = s->objects << 1 | (*p == '{');
    if (*p == '{' && s->names)
        json_names_open(s->names);
    return scan_space(p + 1, s->end);
}

static inline bool scan_at_closing(const struct scan *s, const uint8_t *p)
{
    return p < s->end && *p == (scan_in_object(s) ? '}' : ']');
}

/* p is on the closing bracket. An object is refused if a name comes twice in it. */
static inline const uint8_t *scan_close(struct scan *s, const uint8_t *p)
{
    if (scan_in_object(s) && s->names && !json_names_close(s->names))
        return NULL; /* scan_refusal finds it again */
    s->depth--;
    s->objects >>= 1;
    return p + 1;
}

#endif
