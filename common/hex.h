/* SPDX-License-Identifier: MIT */
/*
 * hex - hexadecimal digits and their values. Digits are written in lower case.
 *
 * Pure: no I/O, no memory.
 */
#ifndef COMMON_HEX_H
#define COMMON_HEX_H

/* The digit of the lowest four bits. */
static inline char hex_digit(unsigned value)
{
    return "0123456789abcdef"[value & 15];
}

/* 0 to 15, whichever case the digit has; -1: it is none. */
static inline int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

#endif
