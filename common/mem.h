/* SPDX-License-Identifier: MIT */
/*
 * mem - allocation, with a switch that lets tests make the n-th call fail.
 *
 * All of poold allocates through here. Sizes are bytes. Every result has to be checked:
 * NULL means out of memory. Freed with mem_free, which accepts NULL.
 */
#ifndef COMMON_MEM_H
#define COMMON_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
/* As realloc(3): on NULL the old block is untouched. */
void *mem_realloc(void *old, size_t size);
char *mem_strdup(const char *text);
/* Copies len bytes and adds a NUL. */
char *mem_strndup(const char *text, size_t len);
void mem_free(void *block);

/* Allocations of this thread that have failed so far: for libraries that allocate through
 * here and do not say when that fails. */
unsigned long mem_failures(void);

/* For tests: the n-th allocation from now (1 = the next) fails, and with `sticky` all
 * after it too. 0 switches it off. Not for use while other threads allocate. */
void mem_fail_at(unsigned long n, int sticky);
/* Allocations since the last mem_fail_at. */
unsigned long mem_calls(void);

#endif
