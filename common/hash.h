/* SPDX-License-Identifier: MIT */
/*
 * hash - uthash, set up so that a table without memory is an error and not the end.
 *
 * The only file that includes uthash.h: by itself, it calls exit() when memory is short.
 * Here it allocates with mem.h, and an element that could not be added is left out of a
 * table that is as it was before. So every HASH_ADD is followed by a look at hash_added().
 */
#ifndef COMMON_HASH_H
#define COMMON_HASH_H

#include "common/mem.h"

#include <stdbool.h>

#define HASH_NONFATAL_OOM        1
#define uthash_malloc(size)      mem_alloc(size)
#define uthash_free(block, size) mem_free(block)

#include <uthash.h>

/* Whether the element with this handle, which was to be added, is in the table. */
static inline bool hash_added(const UT_hash_handle *handle)
{
    return handle->tbl != NULL;
}

#endif
