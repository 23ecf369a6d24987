/* SPDX-License-Identifier: MIT */
#include "common/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Counting starts with the first mem_fail_at: a server that never calls it pays one
 * relaxed load per allocation and shares no written cache line between its threads. */
static atomic_bool counting;
static atomic_ulong calls;
static unsigned long fail_at;
static bool fail_sticky;
static _Thread_local unsigned long failures;

static bool must_fail(void)
{
    unsigned long n;

    if (!atomic_load_explicit(&counting, memory_order_relaxed))
        return false;
    n = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1;
    if (fail_at == 0)
        return false;
    return fail_sticky ? n >= fail_at : n == fail_at;
}

/* NULL has to mean "no memory" and nothing else, so no request is for 0 bytes. */
static size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

static void *counted(void *block)
{
    if (!block)
        failures++;
    return block;
}

void *mem_alloc(size_t size)
{
    return counted(must_fail() ? NULL : malloc(at_least_one(size)));
}

void *mem_zalloc(size_t size)
{
    return counted(must_fail() ? NULL : calloc(1, at_least_one(size)));
}

void *mem_realloc(void *old, size_t size)
{
    return counted(must_fail() ? NULL : realloc(old, at_least_one(size)));
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? mem_alloc(len + 1) : NULL;

    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void mem_free(void *block)
{
    free(block);
}

unsigned long mem_failures(void)
{
    return failures;
}

void mem_fail_at(unsigned long n, int sticky)
{
    fail_at = n;
    fail_sticky = sticky != 0;
    atomic_store(&calls, 0);
    atomic_store(&counting, true);
}

unsigned long mem_calls(void)
{
    return atomic_load_explicit(&calls, memory_order_relaxed);
}
