/* SPDX-License-Identifier: MIT */
#include "server/json_slice.h"

#include "common/integers.h"
#include "common/mem.h"
#include "workers/items.h"

#include <assert.h>
#include <string.h>

static struct text text_between(const uint8_t *at, const uint8_t *end)
{
    return (struct text){ (const char *)at, (size_t)(end - at) };
}

/* --- the index --- */

void slice_index_free(struct slice_index *index)
{
    if (!index)
        return;
    mem_free(index->offsets);
    mem_free(index);
}

/* offset_count is a power of two, or 0, each time that it meets the room there is, so the
 * room needs no field of its own. */
static inline bool note_offset(struct slice_index *index, uint64_t offset)
{
    size_t n = index->offset_count;

    if ((n & (n - 1)) == 0) {
        size_t room = n ? 2 * n : 1;
        uint64_t *offsets = mem_realloc(index->offsets, room * sizeof(*offsets));

        if (!offsets)
            return false;
        index->offsets = offsets;
    }
    index->offsets[index->offset_count++] = offset;
    return true;
}

/* Notes one more element. */
static inline bool index_add(struct slice_index *index, uint64_t offset)
{
    return index->count++ % SLICE_STRIDE != 0 || note_offset(index, offset);
}

/* The same for `count` elements, at most SLICE_STRIDE, which begin where starts has its bits:
 * bit 0 is the offset `from`. */
static inline bool index_add_many(struct slice_index *index, uint64_t from,
                                  uint64_t starts, unsigned count)
{
    unsigned skip = -index->count % SLICE_STRIDE;

    index->count += count;
    if (skip >= count)
        return true;
    while (skip-- > 0)
        starts &= starts - 1;
    return note_offset(index, from + (unsigned)__builtin_ctzll(starts));
}

static const uint8_t *check_limits(struct scan *s, const uint8_t *at, size_t len,
                                   uint64_t item, const struct slice_limits *limits)
{
    if (item >= limits->max_items)
        return scan_fail(s, at, SLICE_TOO_MANY, "too many items");
    if (len <= limits->max_item_bytes)
        return at;
    scan_fail(s, at, SLICE_ITEM_TOO_LARGE, "the item is too large");
    s->error.item = item;
    return NULL;
}

static_assert(INTEGERS_BLOCK <= SLICE_STRIDE, "a block has at most one offset to note");

/* p is the place of an element; gives that of the first one that is not an integer with a
 * comma behind it, or that is near the end or a limit: it is for those who know what is wrong
 * with it. */
static const uint8_t *integers_end(struct scan *s, const uint8_t *p,
                                   const uint8_t *bracket,
                                   const struct slice_limits *limits,
                                   struct slice_index *index)
{
    if (limits->max_item_bytes < INTEGERS_BLOCK)
        return p;
    while (s->end - p >= INTEGERS_BLOCK) {
        struct integers found = integers_at(p);
        unsigned count = (unsigned)__builtin_popcountll(found.commas);

        if (count == 0 || count > limits->max_items - index->count)
            break;
        if (!index_add_many(index, (uint64_t)(p - bracket), found.starts, count))
            return scan_fail(s, p, SLICE_NO_MEMORY, "out of memory");
        p += 64 - __builtin_clzll(found.commas);
    }
    return scan_space(p, s->end);
}

/* p is on '['. */
static const uint8_t *indexed_array_end(struct scan *s, const uint8_t *p,
                                        const struct slice_limits *limits,
                                        struct slice_index *index)
{
    const uint8_t *bracket = p, *element;

    p = scan_open(s, p);
    if (!p || scan_at_closing(s, p))
        return p ? scan_close(s, p) : NULL;
    for (;;) {
        /* In vain once in a while, where there are other kinds. */
        if (index->count % SLICE_STRIDE == 0)
            p = integers_end(s, p, bracket, limits, index);
        if (!p)
            return NULL;
        element = p;
        p = scan_value(s, element);
        if (!p || !check_limits(s, element, (size_t)(p - element), index->count, limits))
            return NULL;
        if (!index_add(index, (uint64_t)(element - bracket)))
            return scan_fail(s, element, SLICE_NO_MEMORY, "out of memory");
        p = scan_space(p, s->end);
        if (scan_at_closing(s, p))
            return scan_close(s, p);
        p = scan_comma(s, p);
        if (!p)
            return NULL;
    }
}

struct slice_index *slice_index_new(struct text array)
{
    static const struct slice_limits none = { UINT64_MAX, SIZE_MAX, SLICE_DEPTH_MAX };
    struct scan s = scan_of(array);
    const uint8_t *p = scan_space(s.start, s.end);
    struct slice_index *index = mem_zalloc(sizeof(*index));

    if (index && p < s.end && *p == '[' && indexed_array_end(&s, p, &none, index))
        return index;
    slice_index_free(index);
    return NULL;
}

/* Element n of the array whose elements are `inside`. */
static struct text element_at(const struct slice_index *index, struct text inside,
                              uint64_t n)
{
    size_t skip = n % SLICE_STRIDE;
    const char *at = inside.at - 1 + index->offsets[n / SLICE_STRIDE];
    struct text rest, element = { NULL, 0 };

    assert(at < inside.at + inside.len);
    rest = (struct text){ at, (size_t)(inside.at + inside.len - at) };
    do {
        bool found = slice_next(&rest, &element);

        assert(found);
    } while (skip-- > 0);
    return element;
}

struct text slice_index_range(const struct slice_index *index, struct text array,
                              uint64_t first, uint64_t count)
{
    struct text inside = items_inside(array), begin, last;

    assert(count >= 1 && first < index->count && count <= index->count - first);
    begin = element_at(index, inside, first);
    last = count == 1 ? begin : element_at(index, inside, first + count - 1);
    return (struct text){ begin.at, (size_t)(last.at + last.len - begin.at) };
}

bool slice_next(struct text *rest, struct text *ret_element)
{
    return items_next(rest, ret_element);
}

struct text slice_inside(struct text array)
{
    struct text inside = items_inside(array);

    while (inside.len > 0 && scan_is_space((uint8_t)*inside.at)) {
        inside.at++;
        inside.len--;
    }
    while (inside.len > 0 && scan_is_space((uint8_t)inside.at[inside.len - 1]))
        inside.len--;
    return inside;
}

/* --- the envelope --- */

/* A member's name. p is where it begins. */
static const uint8_t *envelope_name(struct scan *s, const uint8_t *p,
                                    struct slice_envelope *envelope)
{
    const uint8_t *after = scan_name(s, p);

    if (!after)
        return NULL;
    if (envelope->count == SLICE_MEMBERS_MAX)
        return scan_refuse(s, p, "too many members");
    envelope->members[envelope->count].name = text_between(p + 1, after - 1);
    return after;
}

/* The value of the newest member. p is on its first byte. */
static const uint8_t *envelope_value(struct scan *s, const uint8_t *p,
                                     const char *index_name,
                                     const struct slice_limits *limits,
                                     struct slice_envelope *envelope)
{
    struct slice_member *member = &envelope->members[envelope->count];
    const uint8_t *after;

    /* A second one is refused when the envelope ends. */
    if (index_name && !envelope->index && p < s->end && *p == '[' &&
        text_equals(member->name, index_name)) {
        envelope->index = mem_zalloc(sizeof(*envelope->index));
        if (!envelope->index)
            return scan_fail(s, p, SLICE_NO_MEMORY, "out of memory");
        after = indexed_array_end(s, p, limits, envelope->index);
    } else {
        after = scan_value(s, p);
    }
    if (!after)
        return NULL;
    member->value = text_between(p, after);
    member->kind = scan_kind(*p);
    envelope->count++;
    return after;
}

/* p is on '{'. */
static const uint8_t *envelope_end(struct scan *s, const uint8_t *p,
                                   const char *index_name,
                                   const struct slice_limits *limits,
                                   struct slice_envelope *envelope)
{
    p = scan_open(s, p);
    if (!p || scan_at_closing(s, p))
        return p ? scan_close(s, p) : NULL;
    for (;;) {
        p = envelope_name(s, p, envelope);
        if (p)
            p = scan_colon(s, p);
        if (p)
            p = envelope_value(s, p, index_name, limits, envelope);
        if (!p)
            return NULL;
        p = scan_space(p, s->end);
        if (scan_at_closing(s, p))
            return scan_close(s, p);
        p = scan_comma(s, p);
        if (!p)
            return NULL;
    }
}

/* The document is no object: it is still told whether it is JSON at all. */
static enum slice_verdict refuse_other_kinds(struct text doc, unsigned max_depth,
                                             size_t offset, struct slice_error *ret_error)
{
    enum slice_kind kind;
    enum slice_verdict verdict = slice_check_sent(doc, max_depth, &kind, ret_error);

    if (verdict != SLICE_OK)
        return verdict;
    *ret_error = (struct slice_error){ .offset = offset, .reason = "expected an object" };
    return SLICE_NOT_OBJECT;
}

enum slice_verdict slice_envelope_scan(struct text doc, const char *index_name,
                                       const struct slice_limits *limits,
                                       struct slice_envelope *ret_envelope,
                                       struct slice_error *ret_error)
{
    struct scan s = scan_of(doc);
    const uint8_t *p = scan_document_begin(&s);
    enum slice_verdict verdict = SLICE_OK;
    struct json_names names;

    assert(limits->max_depth >= 1 && limits->max_depth <= SLICE_DEPTH_MAX);
    s.max_depth = limits->max_depth;
    ret_envelope->count = 0;
    ret_envelope->index = NULL;
    if (!p || p == s.end || *p != '{')
        return refuse_other_kinds(doc, s.max_depth, p ? (size_t)(p - s.start) : 0,
                                  ret_error);
    json_names_init(&names, s.start, doc.len);
    s.names = &names;
    p = envelope_end(&s, p, index_name, limits, ret_envelope);
    if (p)
        p = scan_document_end(&s, p);
    if (!p) {
        slice_envelope_clear(ret_envelope);
        verdict = scan_refusal(&s, ret_error);
    }
    json_names_clear(&names);
    return verdict;
}

void slice_envelope_clear(struct slice_envelope *envelope)
{
    if (!envelope)
        return;
    slice_index_free(envelope->index);
    envelope->index = NULL;
    envelope->count = 0;
}

const struct slice_member *slice_find(const struct slice_envelope *envelope,
                                      const char *name)
{
    for (size_t i = 0; i < envelope->count; i++) {
        if (text_equals(envelope->members[i].name, name))
            return &envelope->members[i];
    }
    return NULL;
}
