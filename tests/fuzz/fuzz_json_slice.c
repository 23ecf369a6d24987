/* SPDX-License-Identifier: MIT */
/*
 * The scanner against jansson, and against itself.
 *
 * - Both accept the same documents, where names may repeat and where not. Known differences:
 *   jansson refuses numbers that its types cannot hold and nests deeper; it has no limit for
 *   the length of a number, and overlooks a NUL behind a number or a literal.
 * - A name that comes twice is all that the one check refuses and the other does not.
 * - What stands before an error's offset is not wrong, only cut.
 * - The envelope agrees with the check of the whole document, and so does each member: also in
 *   what is wrong with it, and where, although its integers are gone through in another way.
 * - Ranges of an index cover the array, each beginning where its first element does.
 */
#include "tests/fuzz/fuzz.h"

#include "server/json_slice.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

/* Small, so that small inputs reach them. */
static const struct slice_limits limits = { .max_items = 300,
                                            .max_item_bytes = 200,
                                            .max_depth = SLICE_DEPTH_MAX };

typedef enum slice_verdict checker(struct text doc, enum slice_kind *ret_kind,
                                   struct slice_error *ret_error);

static enum slice_verdict check_sent(struct text doc, enum slice_kind *ret_kind,
                                     struct slice_error *ret_error)
{
    return slice_check_sent(doc, SLICE_DEPTH_MAX, ret_kind, ret_error);
}

static void check_against_jansson(struct text doc, size_t flags,
                                  enum slice_verdict verdict,
                                  const struct slice_error *error)
{
    json_error_t json_error;
    json_t *json = json_loadb(doc.at, doc.len, JSON_DECODE_ANY | flags, &json_error);

    if (json && !memchr(doc.at, '\0', doc.len))
        assert(verdict == SLICE_OK || verdict == SLICE_TOO_DEEP ||
               strcmp(error->reason, "the number is too long") == 0);
    else if (verdict == SLICE_OK)
        assert(json_error_code(&json_error) == json_error_numeric_overflow);
    json_decref(json);
}

static void check_before_error(checker *check, struct text doc, size_t offset)
{
    struct slice_error error = { 0 };
    enum slice_kind kind;

    assert(offset <= doc.len);
    if (check((struct text){ doc.at, offset }, &kind, &error) == SLICE_OK)
        return;
    assert(error.offset == offset);
}

static const char *text_end(struct text text)
{
    return text.at + text.len;
}

/* Steps over commas and white space. */
static const char *gap_end(const char *at, const char *end)
{
    while (at < end && strchr(" \t\r\n,", *at))
        at++;
    return at;
}

static void check_ranges(const struct slice_index *index, struct text array,
                         uint64_t step)
{
    struct text inside = slice_inside(array), rest = inside, element = { NULL, 0 };
    const char *at = inside.at;

    for (uint64_t first = 0; first < index->count; first += step) {
        uint64_t left = index->count - first, count = left < step ? left : step;
        struct text range = slice_index_range(index, array, first, count);

        assert(range.at == gap_end(at, text_end(inside)));
        for (uint64_t i = 0; i < count; i++) {
            assert(slice_next(&rest, &element));
            assert(i > 0 || element.at == range.at);
        }
        at = text_end(range);
        assert(at == text_end(element));
    }
    assert(at == text_end(inside));
    assert(!slice_next(&rest, &element));
}

static void check_index(const struct slice_index *index, struct text array)
{
    static const uint64_t steps[] = { 1, 2, 7, 63, 64, 65, UINT32_MAX };
    struct slice_index *again = slice_index_new(array);

    assert(again && again->count == index->count);
    assert(again->offset_count == index->offset_count);
    for (size_t i = 0; i < index->offset_count; i++)
        assert(again->offsets[i] == index->offsets[i]);
    slice_index_free(again);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        check_ranges(index, array, steps[i]);
}

static void check_members(const struct slice_envelope *envelope, struct text doc)
{
    for (size_t i = 0; i < envelope->count; i++) {
        const struct slice_member *member = &envelope->members[i];
        struct slice_error error;
        enum slice_kind kind;

        assert(member->name.at > doc.at && text_end(member->value) < text_end(doc));
        assert(member->name.at[-1] == '"' && *text_end(member->name) == '"');
        assert(text_end(member->name) < member->value.at);
        assert(check_sent(member->value, &kind, &error) == SLICE_OK);
        assert(kind == member->kind);
    }
}

static void check_envelope(struct text doc, enum slice_verdict whole,
                           enum slice_kind kind, const struct slice_error *whole_error)
{
    struct slice_envelope envelope;
    struct slice_error error = { 0 };
    enum slice_verdict verdict =
        slice_envelope_scan(doc, "items", &limits, &envelope, &error);

    switch (verdict) {
    case SLICE_OK:
        assert(whole == SLICE_OK && kind == SLICE_OBJECT);
        check_members(&envelope, doc);
        if (envelope.index) {
            assert(envelope.index->count <= limits.max_items);
            check_index(envelope.index, slice_find(&envelope, "items")->value);
        }
        break;
    case SLICE_NOT_OBJECT:
        assert(whole == SLICE_OK && kind != SLICE_OBJECT);
        break;
    case SLICE_ITEM_TOO_LARGE:
        assert(error.item < limits.max_items);
        assert(doc.len - error.offset > limits.max_item_bytes);
        break;
    case SLICE_MALFORMED:
        assert((whole == SLICE_MALFORMED && error.offset == whole_error->offset &&
                strcmp(error.reason, whole_error->reason) == 0) ||
               strcmp(error.reason, "too many members") == 0);
        check_before_error(check_sent, doc, error.offset);
        break;
    case SLICE_TOO_DEEP:
        assert(whole == SLICE_TOO_DEEP);
        break;
    case SLICE_TOO_MANY:
        check_before_error(check_sent, doc, error.offset);
        break;
    case SLICE_NO_MEMORY:
        break;
    }
    slice_envelope_clear(&envelope);
}

/* Of a document that is refused where names may not repeat. */
static void check_repeating(struct text doc, enum slice_verdict verdict,
                            const struct slice_error *error,
                            const struct slice_error *unique_error)
{
    if (strcmp(unique_error->reason, "the same member twice") == 0) {
        assert(doc.at[unique_error->offset] == '"');
        assert(verdict == SLICE_OK || error->offset > unique_error->offset);
    } else {
        assert(verdict != SLICE_OK && error->offset == unique_error->offset);
        assert(strcmp(error->reason, unique_error->reason) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* jansson takes no address of nothing. */
    struct text doc = size ? (struct text){ (const char *)data, size } : TEXT("");
    enum slice_kind kind = SLICE_NULL, unique_kind = SLICE_NULL;
    struct slice_error error = { 0 }, unique_error = { 0 };
    enum slice_verdict verdict = slice_check(doc, &kind, &error);
    enum slice_verdict unique = check_sent(doc, &unique_kind, &unique_error);

    check_against_jansson(doc, 0, verdict, &error);
    check_against_jansson(doc, JSON_REJECT_DUPLICATES, unique, &unique_error);
    if (verdict != SLICE_OK)
        check_before_error(slice_check, doc, error.offset);
    if (unique != SLICE_OK) {
        check_before_error(check_sent, doc, unique_error.offset);
        check_repeating(doc, verdict, &error, &unique_error);
    } else {
        assert(verdict == SLICE_OK && kind == unique_kind);
    }
    check_envelope(doc, unique, unique_kind, &unique_error);
    if (verdict == SLICE_OK && kind == SLICE_ARRAY) {
        struct slice_index *index = slice_index_new(doc);

        assert(index);
        check_index(index, doc);
        slice_index_free(index);
    }
    return 0;
}
