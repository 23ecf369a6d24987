/* SPDX-License-Identifier: MIT */
/*
 * number - JSON numbers as Python would see them, and back to text.
 *
 * A number without fraction and exponent is an integer, exact to 128 bits or refused;
 * every other one is an IEEE 754 double, printed as Python's repr() does: the shortest
 * digits that read back as the same double. Called for every item of a map: integers up
 * to 18 digits take neither strtod, nor printf, nor 128-bit arithmetic.
 *
 * Pure code, but for the copy of a real number of hundreds of digits.
 */
#ifndef WORKERS_NUMBER_H
#define WORKERS_NUMBER_H

#include "common/blob.h"
#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

#define INT128_MAX ((int128)(~(uint128)0 >> 1))
#define INT128_MIN (-INT128_MAX - 1)

struct number {
    bool is_int;
    int128 integer; /* when is_int */
    double real;    /* always set; rounded when the integer has more than 53 bits */
};

/* Reads the text of a JSON value without white space around it. true and false are 1 and
 * 0, as in Python. ST_INVALID: not a number; ST_LIMIT: an integer over 128 bits, or a
 * real over the range of a double; ST_NO_MEMORY. *ret_number is untouched unless ST_OK.
 */
NODISCARD enum status number_parse(struct text json, struct number *ret_number);

#define NUMBER_TEXT_MAX                                                                  \
    40 /* bytes of "-170141183460469231731687303715884105728"; no NUL */

/* Return the length of what they wrote. */
size_t number_format_int(int128 n, char ret_text[NUMBER_TEXT_MAX]);
size_t number_format_real(double n, char ret_text[NUMBER_TEXT_MAX]); /* must be finite */

/* By division: the compiler's own check for 128 bits calls a function that not every
 * run-time library has. */
bool int128_multiply_large(int128 a, int128 b, int128 *ret_product);

/* false when the product is over 128 bits. */
static inline bool int128_multiply(int128 a, int128 b, int128 *ret_product)
{
    if (a != (int64_t)a || b != (int64_t)b)
        return int128_multiply_large(a, b, ret_product);
    *ret_product = (int128)(int64_t)a * (int64_t)b;
    return true;
}

#endif
