/* SPDX-License-Identifier: MIT */
/*
 * How the scanner works.
 *
 * It is a set of functions that take the place of the first byte of something and give
 * the place behind it, or NULL after scan_fail() noted why. Nothing recurses: the
 * containers that are open are one bit each in a 64-bit word (1 = object, the innermost
 * is bit 0), which is what SLICE_DEPTH_MAX comes from.
 *
 * Most of a large body is digits and plain string bytes. Both are found in steps of 8 or
 * 16 bytes, and such a step never depends on how long the number or the string is: runs
 * of numbers of mixed length would otherwise cost one mispredicted branch each. The wide
 * steps are taken only where as many bytes are left, so nothing behind the text is ever
 * read.
 */
#include "common/json_scan.h"

#include "common/digits.h"
#include "common/hex.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static const char string_not_closed[] = "the string is not closed";
static const char lone_surrogate[] = "a surrogate escape without its other half";

const uint8_t *scan_fail(struct scan *s, const uint8_t *at, enum slice_verdict verdict,
                         const char *reason)
{
    s->verdict = verdict;
    s->error =
        (struct slice_error){ .offset = (size_t)(at - s->start), .reason = reason };
    return NULL;
}

enum slice_verdict scan_refusal(struct scan *s, struct slice_error *ret_error)
{
    const uint8_t *quote;

    if (s->names && json_names_twice(s->names, &quote))
        scan_refuse(s, quote, "the same member twice");
    *ret_error = s->error;
    return s->verdict;
}

const uint8_t *scan_refuse(struct scan *s, const uint8_t *at, const char *reason)
{
    if (at == s->end)
        reason = "unexpected end of the document";
    return scan_fail(s, at, SLICE_MALFORMED, reason);
}

/* --- steps of 8 and 16 bytes --- */

static inline bool is_plain(uint8_t c)
{
    return c >= ' ' && c < 0x80 && c != '"' && c != '\\';
}

/* Behind the string bytes that stand for themselves: ASCII without the quote, the
 * backslash and the control bytes. */
static inline const uint8_t *plain_end(const uint8_t *p, const uint8_t *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');

    while (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* The comparison is signed: from 0x80 up is below the space as well. */
        __m128i other = _mm_or_si128(
            _mm_cmplt_epi8(bytes, space),
            _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(other);

        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#else
    while (end - p >= 8) {
        uint64_t word = load8(p);
        uint64_t quote = word ^ EACH_BYTE('"'), backslash = word ^ EACH_BYTE('\\');
        /* A difference borrows only out of a byte that is found itself, so again the
         * first one found is right. */
        uint64_t other = (word - EACH_BYTE(' ')) | (quote - EACH_BYTE(1)) |
                         (backslash - EACH_BYTE(1)) | word;

        other &= EACH_BYTE(0x80);
        if (other)
            return p + (__builtin_ctzll(other) >> 3);
        p += 8;
    }
#endif
    while (p < end && is_plain(*p))
        p++;
    return p;
}

/* --- strings --- */

/* The four digits of \uXXXX. */
static const uint8_t *hex4_end(struct scan *s, const uint8_t *p, unsigned *ret_unit)
{
    unsigned unit = 0;

    for (const uint8_t *stop = p + 4; p < stop; p++) {
        int value;

        if (p == s->end)
            return scan_fail(s, p, SLICE_MALFORMED, string_not_closed);
        value = hex_value((char)*p);
        if (value < 0)
            return scan_refuse(s, p, "expected a hexadecimal digit");
        unit = unit << 4 | (unsigned)value;
    }
    *ret_unit = unit;
    return p;
}

/* The second half of a pair whose first half is at `high`; p is behind that. */
static const uint8_t *low_surrogate_end(struct scan *s, const uint8_t *high,
                                        const uint8_t *p)
{
    unsigned unit;

    for (const char *expected = "\\u"; *expected; expected++, p++) {
        if (p == s->end)
            return scan_fail(s, p, SLICE_MALFORMED, string_not_closed);
        if (*p != (uint8_t)*expected)
            return scan_refuse(s, high, lone_surrogate);
    }
    p = hex4_end(s, p, &unit);
    if (p && (unit < 0xDC00 || unit > 0xDFFF))
        return scan_refuse(s, high, lone_surrogate);
    return p;
}

/* p is on a backslash. */
static const uint8_t *escape_end(struct scan *s, const uint8_t *p)
{
    const uint8_t *after;
    unsigned unit;

    if (s->end - p < 2)
        return scan_fail(s, s->end, SLICE_MALFORMED, string_not_closed);
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        break;
    default:
        return scan_refuse(s, p + 1, "unknown escape after the backslash");
    }
    after = hex4_end(s, p + 2, &unit);
    if (!after)
        return NULL;
    if (unit == 0)
        return scan_refuse(s, p, "\\u0000 is not allowed");
    if (unit >= 0xD800 && unit <= 0xDBFF)
        return low_surrogate_end(s, p, after);
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return scan_refuse(s, p, lone_surrogate);
    return after;
}

/* One character of more than one byte (RFC 3629, section 4). The limits of the second
 * byte keep out overlong forms, surrogates and what is above U+10FFFF. */
static const uint8_t *utf8_end(struct scan *s, const uint8_t *p)
{
    static const char not_utf8[] = "not UTF-8";
    uint8_t lead = *p, low = 0x80, high = 0xBF;
    int more;

    if (lead < 0xC2 || lead > 0xF4)
        return scan_refuse(s, p, not_utf8);
    more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    if (lead == 0xE0)
        low = 0xA0;
    else if (lead == 0xED)
        high = 0x9F;
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F;
    for (int i = 1; i <= more; i++) {
        if (p + i == s->end)
            return scan_fail(s, s->end, SLICE_MALFORMED, string_not_closed);
        if (p[i] < low || p[i] > high)
            return scan_refuse(s, p, not_utf8);
        low = 0x80;
        high = 0xBF;
    }
    return p + more + 1;
}

/* p is on the opening quote. */
static inline const uint8_t *string_end(struct scan *s, const uint8_t *p)
{
    p = plain_end(p + 1, s->end);
    while (p < s->end && *p != '"') {
        if (*p < ' ')
            return scan_refuse(s, p, "a control byte inside of a string");
        p = *p == '\\' ? escape_end(s, p) : utf8_end(s, p);
        if (!p)
            return NULL;
        /* What needs more than one byte mostly comes in runs. */
        if (p < s->end && *p < 0x80)
            p = plain_end(p, s->end);
    }
    if (p == s->end)
        return scan_fail(s, p, SLICE_MALFORMED, string_not_closed);
    return p + 1;
}

/* --- numbers, literals --- */

static inline const uint8_t *digits_needed(struct scan *s, const uint8_t *p)
{
    const uint8_t *after = digits_end(p, s->end);

    return after > p ? after : scan_refuse(s, p, "expected a digit");
}

/* Everything behind the digits before the point. */
static const uint8_t *fraction_end(struct scan *s, const uint8_t *p)
{
    if (*p == '.') {
        p = digits_needed(s, p + 1);
        if (!p || p == s->end)
            return p;
    }
    if (*p != 'e' && *p != 'E')
        return p;
    p++;
    if (p < s->end && (*p == '+' || *p == '-'))
        p++;
    return digits_needed(s, p);
}

/* p is on the sign or on the first digit. */
static inline const uint8_t *number_end(struct scan *s, const uint8_t *p)
{
    const uint8_t *first = p, *after;

    if (*p == '-')
        p++;
    after = digits_needed(s, p);
    if (after && *p == '0' && after > p + 1)
        after = scan_refuse(s, p + 1, "a digit after a leading 0");
    if (after && after < s->end && (*after == '.' || (*after | 0x20) == 'e'))
        after = fraction_end(s, after);
    p = after ? after : s->start + s->error.offset;
    if (p - first > SLICE_NUMBER_MAX)
        return scan_fail(s, first + SLICE_NUMBER_MAX, SLICE_MALFORMED,
                         "the number is too long");
    return after;
}

static const uint8_t *literal_end(struct scan *s, const uint8_t *p, const char *literal,
                                  const char *reason)
{
    for (; *literal; literal++, p++) {
        if (p == s->end || *p != (uint8_t)*literal)
            return scan_refuse(s, p, reason);
    }
    return p;
}

static const uint8_t *literal_or_nothing_end(struct scan *s, const uint8_t *p)
{
    if (p < s->end) {
        if (*p == 't')
            return literal_end(s, p, "true", "expected true");
        if (*p == 'f')
            return literal_end(s, p, "false", "expected false");
        if (*p == 'n')
            return literal_end(s, p, "null", "expected null");
    }
    return scan_refuse(s, p, "expected a value");
}

static inline const uint8_t *scalar_end(struct scan *s, const uint8_t *p)
{
    if (p < s->end) {
        if (*p == '"')
            return string_end(s, p);
        if (is_digit(*p) || *p == '-')
            return number_end(s, p);
    }
    return literal_or_nothing_end(s, p);
}

/* --- containers --- */

const uint8_t *scan_comma(struct scan *s, const uint8_t *p)
{
    if (p < s->end && *p == ',')
        return scan_space(p + 1, s->end);
    return scan_refuse(s, p, scan_in_object(s) ? "expected , or }" : "expected , or ]");
}

const uint8_t *scan_name(struct scan *s, const uint8_t *p)
{
    const uint8_t *after;
    bool plain;

    if (p == s->end || *p != '"')
        return scan_refuse(s, p, "expected a member name");
    if (!s->names)
        return string_end(s, p);
    after = plain_end(p + 1, s->end);
    plain = after < s->end && *after == '"';
    after = plain ? after + 1 : string_end(s, p);
    if (after && !json_names_add(s->names, p + 1, (size_t)(after - p) - 2, plain))
        return scan_fail(s, p, SLICE_NO_MEMORY, "out of memory");
    return after;
}

const uint8_t *scan_colon(struct scan *s, const uint8_t *p)
{
    p = scan_space(p, s->end);
    if (p < s->end && *p == ':')
        return scan_space(p + 1, s->end);
    return scan_refuse(s, p, "expected :");
}

/* p is where an element or a member begins; gives the place of its value. */
static inline const uint8_t *element_value(struct scan *s, const uint8_t *p)
{
    if (!scan_in_object(s))
        return p;
    p = scan_name(s, p);
    return p ? scan_colon(s, p) : NULL;
}

/* p is on '[' or '{'. Goes from value to value, of whatever depth, until the container
 * that it started with is closed. */
static const uint8_t *container_end(struct scan *s, const uint8_t *p)
{
    unsigned outside = s->depth;

    do {
        if (p < s->end && (*p == '[' || *p == '{')) {
            p = scan_open(s, p);
            if (p && !scan_at_closing(s, p)) {
                p = element_value(s, p);
                continue;
            }
        } else {
            p = scalar_end(s, p);
        }
        while (p) {
            p = scan_space(p, s->end);
            if (!scan_at_closing(s, p)) {
                p = scan_comma(s, p);
                p = p ? element_value(s, p) : NULL;
                break;
            }
            p = scan_close(s, p);
            if (s->depth == outside)
                return p;
        }
    } while (p);
    return NULL;
}

const uint8_t *scan_value(struct scan *s, const uint8_t *p)
{
    if (p < s->end && (*p == '[' || *p == '{'))
        return container_end(s, p);
    return scalar_end(s, p);
}

/* --- documents --- */

struct scan scan_of(struct text doc)
{
    /* An empty text may have no address at all, which must not be calculated with. */
    const uint8_t *at = (const uint8_t *)(doc.at ? doc.at : ""), *end = at + doc.len;

    return (struct scan){ .start = at, .end = end, .max_depth = SLICE_DEPTH_MAX };
}

enum slice_kind scan_kind(uint8_t first)
{
    switch (first) {
    case 'n':
        return SLICE_NULL;
    case 't':
    case 'f':
        return SLICE_BOOL;
    case '"':
        return SLICE_STRING;
    case '[':
        return SLICE_ARRAY;
    case '{':
        return SLICE_OBJECT;
    default:
        return SLICE_NUMBER;
    }
}

const uint8_t *scan_document_begin(struct scan *s)
{
    if (s->end - s->start >= 3 && memcmp(s->start, "\xEF\xBB\xBF", 3) == 0)
        return scan_refuse(s, s->start, "a byte order mark is not allowed");
    return scan_space(s->start, s->end);
}

const uint8_t *scan_document_end(struct scan *s, const uint8_t *p)
{
    p = scan_space(p, s->end);
    return p == s->end ? p : scan_refuse(s, p, "expected the end of the document");
}

static enum slice_verdict check(struct scan *s, enum slice_kind *ret_kind,
                                struct slice_error *ret_error)
{
    const uint8_t *first = scan_document_begin(s);
    const uint8_t *p = first ? scan_value(s, first) : NULL;

    if (p)
        p = scan_document_end(s, p);
    if (!p)
        return scan_refusal(s, ret_error);
    *ret_kind = scan_kind(*first);
    return SLICE_OK;
}

enum slice_verdict slice_check(struct text doc, enum slice_kind *ret_kind,
                               struct slice_error *ret_error)
{
    struct scan s = scan_of(doc);

    return check(&s, ret_kind, ret_error);
}

enum slice_verdict slice_check_sent(struct text doc, unsigned max_depth,
                                    enum slice_kind *ret_kind,
                                    struct slice_error *ret_error)
{
    struct scan s = scan_of(doc);
    struct json_names names;
    enum slice_verdict verdict;

    assert(max_depth >= 1 && max_depth <= SLICE_DEPTH_MAX);
    json_names_init(&names, s.start, doc.len);
    s.max_depth = max_depth;
    s.names = &names;
    verdict = check(&s, ret_kind, ret_error);
    json_names_clear(&names);
    return verdict;
}
