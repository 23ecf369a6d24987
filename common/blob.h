/* SPDX-License-Identifier: MIT */
/*
 * blob - bytes that do not change any more, shared by counting references.
 *
 * A request body, a job's input and a chunk's results are blobs: the loop, the store
 * thread and an answer on its way out may all hold the same bytes without copying them.
 * The count is atomic, so a reference may be dropped on any thread. The bytes are always
 * followed by a NUL that is not part of the length.
 *
 * Life: either blob_new with the final content, or blob_new_uninit, fill `data`, then
 * share.
 */
#ifndef COMMON_BLOB_H
#define COMMON_BLOB_H

#include <stdatomic.h>
#include <stddef.h>

struct blob {
    atomic_uint refs;
    size_t len; /* bytes in data, without the final NUL */
    char data[];
};

/* A view of bytes that somebody else owns; at may be NULL when len is 0. */
struct text {
    const char *at;
    size_t len;
};

/* A string literal as a struct text. */
#define TEXT(literal) ((struct text){ (literal), sizeof(literal) - 1 })

/* A copy of len bytes, with one reference for the caller; NULL without memory. */
struct blob *blob_new(const void *bytes, size_t len);
/* len bytes to be filled by the caller before the blob is shared. */
struct blob *blob_new_uninit(size_t len);
/* One more reference; returns the blob. NULL stays NULL. */
struct blob *blob_ref(struct blob *blob);
/* Drops one reference and frees with the last. NULL is fine. */
void blob_unref(struct blob *blob);
struct text blob_text(const struct blob *blob); /* of NULL: empty */

/* Equal length and bytes. */
int text_equal(struct text a, struct text b);
int text_equals(struct text a, const char *string);

#endif
