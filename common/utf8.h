/* SPDX-License-Identifier: MIT */
/* utf8 - where a character ends, in bytes that may be no UTF-8 at all. Pure. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stddef.h>

/* Length of the UTF-8 sequence (RFC 3629) at the start of s, 0 if there is none: a stray
 * byte, one that is longer than needed, a surrogate, one above U+10FFFF or one that is
 * cut. Of s no more than len bytes are read, and none behind a NUL; len is at least 1. */
size_t utf8_len(const char *s, size_t len);

/* How much of s is kept, at most max bytes, so that no sequence of UTF-8 is cut. */
size_t utf8_cut(const char *s, size_t len, size_t max);

#endif
