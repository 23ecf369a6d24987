/* SPDX-License-Identifier: MIT */
/*
 * json_slice - a validating scanner: JSON text -> slices of it (RFC 8259).
 *
 * A request's items are never parsed into a tree: a tree costs 20 to 79 times its text
 * and changes numbers (0.1 becomes 0.10000000000000001). Instead one pass checks the
 * whole document and notes where things are; everybody else uses the bytes as they were
 * sent.
 *
 * Refused, beyond what json_scan.h refuses: a name that comes twice in an object, whichever
 * (json_names.h), more than SLICE_MEMBERS_MAX members of the envelope, and the limits of
 * struct slice_limits.
 *
 * Pure but for memory, for the index and while it scans for names, and the secret of these,
 * which the kernel gives on first use (json_names.h).
 */
#ifndef SERVER_JSON_SLICE_H
#define SERVER_JSON_SLICE_H

#include "common/blob.h"
#include "common/json_scan.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLICE_MEMBERS_MAX 64 /* members of the envelope */
#define SLICE_STRIDE      64 /* the index notes every 64th element */

struct slice_limits {
    uint64_t max_items;
    size_t max_item_bytes;
    unsigned max_depth; /* of the whole document; 1 .. SLICE_DEPTH_MAX */
};

/* Where the elements of one array are: the offset of every SLICE_STRIDE-th. */
struct slice_index {
    uint64_t count; /* elements in the array */
    size_t offset_count;
    uint64_t *offsets; /* from the array's '['; owned */
};
void slice_index_free(struct slice_index *index); /* and the struct; NULL is fine */
/* The text of elements first .. first+count-1 with the commas between them and without
 * leading or trailing white space; array is the text that the index was made of; first +
 * count <= index->count, count >= 1. */
struct text slice_index_range(const struct slice_index *index, struct text array,
                              uint64_t first, uint64_t count);

struct slice_member {
    struct text name; /* between its quotes, as sent: with escapes it matches nothing */
    struct text value;
    enum slice_kind kind;
};

struct slice_envelope {
    struct slice_member members[SLICE_MEMBERS_MAX];
    size_t count;
    struct slice_index *index; /* if the member asked for is an array; owned */
};

/* Checks a whole document whose outermost value is an object, and lists its members. The
 * array that is the value of the member `index_name` (may be NULL) is indexed on the way,
 * and the limits are checked on its elements. Everything points into doc. Not SLICE_OK:
 * ret_error is set, nothing is owned. */
enum slice_verdict slice_envelope_scan(struct text doc, const char *index_name,
                                       const struct slice_limits *limits,
                                       struct slice_envelope *ret_envelope,
                                       struct slice_error *ret_error);
/* Frees the index; NULL is fine. */
void slice_envelope_clear(struct slice_envelope *envelope);
/* NULL if there is none of that name. */
const struct slice_member *slice_find(const struct slice_envelope *envelope,
                                      const char *name);

/* Indexes an array that is known to be valid, for example from the store. NULL without
 * memory, and for text that does not begin with a valid array after all. */
struct slice_index *slice_index_new(struct text array);
/* The next element of a list of valid values separated by commas; *rest moves behind it
 * and its comma. false when the list is empty. */
bool slice_next(struct text *rest, struct text *ret_element);
/* The elements of a valid array, without its brackets and the white space inside them. */
struct text slice_inside(struct text array);

#endif
