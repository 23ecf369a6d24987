/* SPDX-License-Identifier: MIT */
#include "server/request_id.h"

#include "common/hex.h"

#include <string.h>

static bool is_harmless(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~:+/=@", c));
}

bool request_id_take(const char *value, char ret_id[REQUEST_ID_MAX + 1])
{
    unsigned len = 0;

    for (; value[len]; len++) {
        if (len == REQUEST_ID_MAX || !is_harmless(value[len]))
            return false;
        ret_id[len] = value[len];
    }
    ret_id[len] = '\0';
    return len > 0;
}

/* splitmix64: a counter, mixed by a bijection. */
void request_id_make(uint64_t *state, char ret_id[REQUEST_ID_MAX + 1])
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    for (int i = 0; i < 16; i++)
        ret_id[i] = hex_digit((unsigned)(z >> (60 - 4 * i)));
    ret_id[16] = '\0';
}
