/* SPDX-License-Identifier: MIT */
#include "workers/number.h"

#include "common/mem.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAST_DIGITS 18                      /* any so many fit in 63 bits */
#define TEN_TO_19   10000000000000000000ull /* the largest power of ten in 64 bits */

static uint128 magnitude_of(int128 n)
{
    return n < 0 ? -(uint128)n : (uint128)n;
}

static int128 from_magnitude(uint128 magnitude, bool negative)
{
    return (int128)(negative ? -magnitude : magnitude);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* strtod needs a NUL behind the number, which the text does not promise. */
static enum status parse_real(struct text json, struct number *ret_number)
{
    char small[64];
    char *copy = small;
    double real;

    if (json.len >= sizeof(small))
        copy = mem_alloc(json.len + 1);
    if (!copy)
        return ST_NO_MEMORY;
    memcpy(copy, json.at, json.len);
    copy[json.len] = '\0';
    real = strtod(copy, NULL);
    if (copy != small)
        mem_free(copy);
    if (isinf(real))
        return ST_LIMIT;
    *ret_number = (struct number){ .is_int = false, .real = real };
    return ST_OK;
}

static void set_int(struct number *number, int128 n)
{
    number->is_int = true;
    number->integer = n;
    number->real = (double)n;
}

/* More digits than the fast way takes. The whole text has to be seen before a number is
 * called too large, as it may be a real with many digits before its point. */
static enum status parse_long_int(struct text json, struct number *ret_number)
{
    bool negative = *json.at == '-', too_large = false;
    uint128 limit = (uint128)INT128_MAX + negative, magnitude = 0;

    for (size_t i = negative; i < json.len; i++) {
        unsigned digit = (unsigned)(json.at[i] - '0');

        if (!is_digit(json.at[i]))
            return parse_real(json, ret_number);
        if (magnitude > (limit - digit) / 10)
            too_large = true;
        else
            magnitude = magnitude * 10 + digit;
    }
    if (too_large)
        return ST_LIMIT;
    set_int(ret_number, from_magnitude(magnitude, negative));
    return ST_OK;
}

static enum status parse_rare(struct text json, struct number *ret_number)
{
    if (is_digit(*json.at) || (*json.at == '-' && json.len > 1))
        return parse_long_int(json, ret_number);
    if (!text_equals(json, "true") && !text_equals(json, "false"))
        return ST_INVALID;
    set_int(ret_number, *json.at == 't');
    return ST_OK;
}

enum status number_parse(struct text json, struct number *ret_number)
{
    bool negative;
    int64_t n = 0;

    if (json.len == 0)
        return ST_INVALID;
    negative = *json.at == '-';
    if (json.len == negative || json.len > FAST_DIGITS)
        return parse_rare(json, ret_number);
    for (size_t i = negative; i < json.len; i++) {
        unsigned digit = (unsigned)(json.at[i] - '0');

        if (digit > 9)
            return parse_rare(json, ret_number);
        n = n * 10 + digit;
    }
    n = negative ? -n : n;
    ret_number->is_int = true;
    ret_number->integer = n;
    ret_number->real = (double)n;
    return ST_OK;
}

/* The digits of n end before `end`; gives where they start. */
static char *put_u64(uint64_t n, char *end)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";

    while (n >= 100) {
        end -= 2;
        memcpy(end, pairs + n % 100 * 2, 2);
        n /= 100;
    }
    if (n < 10) {
        *--end = (char)('0' + n);
        return end;
    }
    end -= 2;
    memcpy(end, pairs + n * 2, 2);
    return end;
}

static char *put_u128(uint128 n, char *end)
{
    while (n > UINT64_MAX) {
        char *group = end - 19;

        end = put_u64((uint64_t)(n % TEN_TO_19), end);
        while (end > group)
            *--end = '0';
        n /= TEN_TO_19;
    }
    return put_u64((uint64_t)n, end);
}

size_t number_format_int(int128 n, char ret_text[NUMBER_TEXT_MAX])
{
    char digits[NUMBER_TEXT_MAX];
    char *end = digits + sizeof(digits);
    char *at = put_u128(magnitude_of(n), end);

    if (n < 0)
        *--at = '-';
    memcpy(ret_text, at, (size_t)(end - at));
    return (size_t)(end - at);
}

static bool reads_back(const char *text, double n)
{
    return strtod(text, NULL) == n;
}

/* A power of two has twice as much room above it as below. So the next decimal away from
 * zero may read back although the nearest one, towards zero, does not. */
static bool next_reads_back(char *text, double n)
{
    char *last = strchr(text, 'e') - 1;

    if (*last == '9')
        return false;
    ++*last;
    return reads_back(text, n);
}

/* The fewest significant digits that read back as n, as "-d.ddde+xx".
 *
 * Up to 15 digits survive the way through a double, so for normal numbers the form with
 * 15 ends in zeros when a shorter one would do; below DBL_MIN that is not so and every
 * length is tried.
 */
static void shortest_digits(double n, char *ret_text, size_t cap)
{
    int digits = fabs(n) < DBL_MIN ? 1 : DBL_DIG;

    for (; digits <= DBL_DECIMAL_DIG; digits++) {
        int len = snprintf(ret_text, cap, "%.*e", digits - 1, n);

        assert(len > 0 && (size_t)len < cap);
        if (reads_back(ret_text, n))
            return;
        if (digits == DBL_DECIMAL_DIG - 1 && next_reads_back(ret_text, n))
            return;
    }
}

static char *put(char *at, const char *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

/* 0.000123, 1200.0, 12.5: what Python writes for exponents from -4 to 15. */
static char *put_fixed(char *at, const char *digits, size_t count, int exponent)
{
    static const char zeros[] = "0000000000000000";
    size_t whole = exponent < 0 ? 0 : (size_t)exponent + 1;

    if (whole == 0) {
        at = put(at, "0.", 2);
        at = put(at, zeros, (size_t)(-exponent - 1));
        return put(at, digits, count);
    }
    if (count <= whole) {
        at = put(at, digits, count);
        at = put(at, zeros, whole - count);
        return put(at, ".0", 2);
    }
    at = put(at, digits, whole);
    *at++ = '.';
    return put(at, digits + whole, count - whole);
}

size_t number_format_real(double n, char ret_text[NUMBER_TEXT_MAX])
{
    char text[NUMBER_TEXT_MAX], digits[DBL_DECIMAL_DIG];
    char *at = ret_text;
    const char *e, *p = text;
    size_t count = 0;
    int exponent;

    assert(isfinite(n));
    shortest_digits(n, text, sizeof(text));
    if (*p == '-')
        *at++ = *p++;
    e = strchr(p, 'e');
    assert(e);
    for (; p < e; p++) {
        if (is_digit(*p))
            digits[count++] = *p;
    }
    while (count > 1 && digits[count - 1] == '0')
        count--;
    exponent = atoi(e + 1);
    if (exponent >= -4 && exponent < 16)
        return (size_t)(put_fixed(at, digits, count, exponent) - ret_text);

    *at++ = digits[0];
    if (count > 1) {
        *at++ = '.';
        at = put(at, digits + 1, count - 1);
    }
    at = put(at, e,
             strlen(e)); /* printf's exponent has two digits at least, as Python's */
    return (size_t)(at - ret_text);
}

/* By division: the compiler's own check for 128 bits calls a function that not every
 * run-time library has. */
bool int128_multiply(int128 a, int128 b, int128 *ret_product)
{
    bool negative = (a < 0) != (b < 0);
    uint128 limit = (uint128)INT128_MAX + negative;

    if (a == (int64_t)a && b == (int64_t)b) {
        *ret_product = (int128)(int64_t)a * (int64_t)b;
        return true;
    }
    if (b != 0 && magnitude_of(a) > limit / magnitude_of(b))
        return false;
    *ret_product = from_magnitude(magnitude_of(a) * magnitude_of(b), negative);
    return true;
}
