/* SPDX-License-Identifier: MIT */
#include "workers/number.h"

#include "common/digits.h"
#include "common/mem.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAST_DIGITS 16 /* in two words of eight */
#define TEN_TO_8    100000000
#define TEN_TO_19   10000000000000000000ull /* the largest power of ten in 64 bits */

static uint128 magnitude_of(int128 n)
{
    return n < 0 ? -(uint128)n : (uint128)n;
}

static int128 from_magnitude(uint128 magnitude, bool negative)
{
    return (int128)(negative ? -magnitude : magnitude);
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

        if (!is_digit((uint8_t)json.at[i]))
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
    if (is_digit((uint8_t)*json.at) || (*json.at == '-' && json.len > 1))
        return parse_long_int(json, ret_number);
    if (!text_equals(json, "true") && !text_equals(json, "false"))
        return ST_INVALID;
    set_int(ret_number, *json.at == 't');
    return ST_OK;
}

/* Up to eight digits at once; false: there is something else among them. */
static inline bool parse_short(const char *at, size_t count, int64_t *ret_n)
{
    uint64_t word = load_short(at, count);

    if (non_digits(word) << (64 - 8 * count))
        return false;
    *ret_n = digits_value(word, count);
    return true;
}

enum status number_parse(struct text json, struct number *ret_number)
{
    int64_t n = 0, low;
    bool negative;
    size_t count;

    if (json.len == 0)
        return ST_INVALID;
    negative = *json.at == '-';
    count = json.len - negative;
    if (count == 0 || count > FAST_DIGITS)
        return parse_rare(json, ret_number);
    if (count > 8) {
        if (!parse_short(json.at + negative, count - 8, &n))
            return parse_rare(json, ret_number);
        count = 8;
    }
    if (!parse_short(json.at + json.len - count, count, &low))
        return parse_rare(json, ret_number);
    n = n * TEN_TO_8 + low;
    n = negative ? -n : n;
    ret_number->is_int = true;
    ret_number->integer = n;
    ret_number->real = (double)n;
    return ST_OK;
}

static inline void put_pair(char *at, uint32_t n)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";

    memcpy(at, pairs + (size_t)n * 2, 2);
}

/* Eight digits, with zeros in front. They are worked out side by side. */
static inline void put_eight(char *at, uint32_t n)
{
    uint32_t first = n / 10000, last = n % 10000;

    put_pair(at, first / 100);
    put_pair(at + 2, first % 100);
    put_pair(at + 4, last / 100);
    put_pair(at + 6, last % 100);
}

/* The digits of n, which end before `end`. */
static void put_u64(uint64_t n, char *end)
{
    uint32_t rest;

    for (; n >= TEN_TO_8; n /= TEN_TO_8)
        put_eight(end -= 8, (uint32_t)(n % TEN_TO_8));
    for (rest = (uint32_t)n; rest >= 100; rest /= 100)
        put_pair(end -= 2, rest % 100);
    if (rest >= 10)
        put_pair(end - 2, rest);
    else
        end[-1] = (char)('0' + rest);
}

/* How many digits n has; 0 has one. */
static size_t digit_count(uint64_t n)
{
    static const uint64_t powers[] = {
        1u,
        10u,
        100u,
        1000u,
        10000u,
        100000u,
        1000000u,
        10000000u,
        100000000u,
        1000000000u,
        10000000000u,
        100000000000u,
        1000000000000u,
        10000000000000u,
        100000000000000u,
        1000000000000000u,
        10000000000000000u,
        100000000000000000u,
        1000000000000000000u,
        TEN_TO_19,
    };
    unsigned bits = 64 - (unsigned)__builtin_clzll(n | 1);
    unsigned power = bits * 1233 >> 12; /* the logarithm of 2 is a little more */

    return power + ((n | 1) >= powers[power]);
}

static size_t format_magnitude(uint128 n, char *at)
{
    char *end;
    size_t len;

    if (n <= UINT64_MAX) {
        len = digit_count((uint64_t)n);
        put_u64((uint64_t)n, at + len);
        return len;
    }
    len = format_magnitude(n / TEN_TO_19, at);
    end = at + len + 19;
    memset(at + len, '0', 19);
    put_u64((uint64_t)(n % TEN_TO_19), end);
    return len + 19;
}

size_t number_format_int(int128 n, char ret_text[NUMBER_TEXT_MAX])
{
    if (n >= 0)
        return format_magnitude((uint128)n, ret_text);
    *ret_text = '-';
    return 1 + format_magnitude(magnitude_of(n), ret_text + 1);
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
        if (is_digit((uint8_t)*p))
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

bool int128_multiply_large(int128 a, int128 b, int128 *ret_product)
{
    bool negative = (a < 0) != (b < 0);
    uint128 limit = (uint128)INT128_MAX + negative;

    if (b != 0 && magnitude_of(a) > limit / magnitude_of(b))
        return false;
    *ret_product = from_magnitude(magnitude_of(a) * magnitude_of(b), negative);
    return true;
}
