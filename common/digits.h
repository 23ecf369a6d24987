/* SPDX-License-Identifier: MIT */
/*
 * digits - runs of ASCII digits, eight bytes at a time in one 64-bit word.
 *
 * A step never depends on how long the run is: numbers of mixed lengths would otherwise cost
 * one mispredicted branch each.
 *
 * Pure: no I/O, no memory.
 */
#ifndef COMMON_DIGITS_H
#define COMMON_DIGITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EACH_BYTE(value) (0x0101010101010101u * (uint64_t)(value))

static inline bool is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') < 10;
}

/* Eight bytes, or four; the first one becomes the lowest one on every machine. */
static inline uint64_t load8(const void *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline uint64_t load4(const void *at)
{
    uint32_t word;

    memcpy(&word, at, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    return word;
}

/* 1 to 8 bytes; the rest of the word is 0. Only these are read, some of them twice. */
static inline uint64_t load_short(const void *at, size_t count)
{
    const uint8_t *p = at;

    if (count == 8)
        return load8(p);
    if (count >= 4)
        return load4(p) | load4(p + count - 4) << (8 * (count - 4));
    return p[0] | (uint64_t)p[count / 2] << (8 * (count / 2)) |
           (uint64_t)p[count - 1] << (8 * (count - 1));
}

/* The top bit of the first byte that is not a digit is the lowest bit of the mask. Bytes
 * above that one may be wrong, since a sum can carry out of it. */
static inline uint64_t non_digits(uint64_t word)
{
    uint64_t value = word ^ EACH_BYTE('0');

    return (value | (value + EACH_BYTE(0x80 - 10))) & EACH_BYTE(0x80);
}

/* Behind the digits at p; nothing behind end is read. */
static inline const uint8_t *digits_end(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 8) {
        uint64_t mask = non_digits(load8(p));

        if (mask)
            return p + (__builtin_ctzll(mask) >> 3);
        p += 8;
    }
    while (p < end && is_digit(*p))
        p++;
    return p;
}

/* What the first `count` bytes of the word, 1 to 8 digits, stand for: behind zeros for those
 * that are missing, neighbours are joined to numbers of two, four and eight digits. */
static inline uint32_t digits_value(uint64_t word, size_t count)
{
    word = (word ^ EACH_BYTE('0')) << (64 - 8 * count);
    word = (word * 10 + (word >> 8)) & 0x00FF00FF00FF00FFu;
    word = (word * 100 + (word >> 16)) & 0x0000FFFF0000FFFFu;
    return (uint32_t)(word * 10000 + (word >> 32));
}

#endif
