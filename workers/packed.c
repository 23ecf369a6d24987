/* SPDX-License-Identifier: MIT */
#include "workers/packed.h"

#include "workers/number.h"

#include <endian.h>
#include <string.h>

#define DIGITS_MAX 18   /* any so many fit in 63 bits */
#define BLOCK      1024 /* numbers for which room is made at once */
#define TEXT_MAX   sizeof("-9223372036854775808") /* the NUL stands for the comma */

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* One integer with what is around it: *ret_at is behind its comma, or at the end. */
static bool read_integer(const char *at, const char *end, const char **ret_at,
                         int64_t *ret_n)
{
    const char *digits;
    bool negative;
    int64_t n = 0;

    at = skip_space(at, end);
    negative = at < end && *at == '-';
    at += negative;
    for (digits = at; at < end && (unsigned char)(*at - '0') <= 9; at++) {
        if (at - digits == DIGITS_MAX)
            return false;
        n = n * 10 + (*at - '0');
    }
    if (at == digits)
        return false;
    at = skip_space(at, end);
    if (at < end && *at != ',')
        return false;
    *ret_at = at < end ? at + 1 : at;
    *ret_n = negative ? -n : n;
    return true;
}

bool packed_from_text(struct text list, uint32_t count, struct buf *out)
{
    const char *at = list.at, *end = list.at + list.len;
    size_t before = out->len;
    int64_t n;

    /* A number has a byte at least: a wrong count takes no memory. */
    if (count > list.len || !buf_reserve(out, (size_t)count * PACKED_LEN)) {
        out->failed = false;
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits;

        if (!read_integer(at, end, &at, &n)) {
            out->len = before;
            return false;
        }
        bits = htole64((uint64_t)n);
        memcpy(out->data + out->len, &bits, sizeof(bits));
        out->len += sizeof(bits);
    }
    if (at < end)
        out->len = before;
    return at == end;
}

bool packed_to_text(struct text numbers, struct buf *out)
{
    size_t count = numbers.len / PACKED_LEN;

    if (count == 0 || numbers.len % PACKED_LEN != 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;

        if (i % BLOCK == 0 && !buf_reserve(out, BLOCK * TEXT_MAX + NUMBER_TEXT_MAX))
            return true;
        if (i > 0)
            out->data[out->len++] = ',';
        memcpy(&bits, numbers.at + i * PACKED_LEN, sizeof(bits));
        out->len += number_format_int((int64_t)le64toh(bits), out->data + out->len);
    }
    return true;
}
