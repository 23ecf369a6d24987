/* SPDX-License-Identifier: MIT */
#include "common/blob.h"

#include "common/mem.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

struct blob *blob_new_uninit(size_t len)
{
    struct blob *blob;

    if (len > PTRDIFF_MAX - sizeof(*blob) - 1)
        return NULL;
    blob = mem_alloc(sizeof(*blob) + len + 1);
    if (!blob)
        return NULL;
    atomic_init(&blob->refs, 1);
    blob->len = len;
    blob->data[len] = '\0';
    return blob;
}

struct blob *blob_new(const void *bytes, size_t len)
{
    struct blob *blob = blob_new_uninit(len);

    if (blob && len)
        memcpy(blob->data, bytes, len);
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    /* Whoever takes a reference holds one already, so nothing has to be ordered here. */
    if (blob)
        atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    return blob;
}

void blob_unref(struct blob *blob)
{
    unsigned before;

    if (!blob)
        return;
    /* Release: our reads come before the free. Acquire: the free comes after everybody's.
     */
    before = atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        mem_free(blob);
}

struct text blob_text(const struct blob *blob)
{
    return blob ? (struct text){ blob->data, blob->len } : (struct text){ NULL, 0 };
}

int text_equal(struct text a, struct text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

int text_equals(struct text a, const char *string)
{
    return text_equal(a, (struct text){ string, strlen(string) });
}
