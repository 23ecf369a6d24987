/* SPDX-License-Identifier: MIT */
#include "common/utf8.h"

static size_t len_by_first(unsigned char first)
{
    return first < 0x80   ? 1
           : first < 0xc2 ? 0
           : first < 0xe0 ? 2
           : first < 0xf0 ? 3
           : first < 0xf5 ? 4
                          : 0;
}

size_t utf8_len(const char *s, size_t len)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t wanted = len_by_first(u[0]);

    if (wanted > len)
        return 0;
    for (size_t i = 1; i < wanted; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    }
    /* Longer than needed, surrogates, above U+10FFFF. */
    if (wanted > 2 && ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
                       (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f)))
        return 0;
    return wanted;
}

size_t utf8_cut(const char *s, size_t len, size_t max)
{
    if (len <= max)
        return len;
    while (max > 0 && ((unsigned char)s[max] & 0xc0) == 0x80)
        max--;
    return max;
}
