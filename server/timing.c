/* SPDX-License-Identifier: MIT */
#include "server/timing.h"

#include <string.h>

#define DIGITS_MAX 20 /* of 64 bits */

/* Writes the number with at least so many digits; returns where it ends. */
static char *put_number(char *at, uint64_t number, int least)
{
    char digits[DIGITS_MAX], *first = digits + sizeof(digits);

    for (; number > 0 || least > 0; least--) {
        *--first = (char)('0' + number % 10);
        number /= 10;
    }
    return mempcpy(at, first, (size_t)(digits + sizeof(digits) - first));
}

static char *put_phase(char *at, const char *name, uint64_t ns)
{
    uint64_t us = ns / 1000;

    at = stpcpy(at, name);
    at = stpcpy(at, ";dur=");
    at = put_number(at, us / 1000, 1);
    *at++ = '.';
    return put_number(at, us % 1000, 3);
}

void timing_format(uint64_t queue_ns, uint64_t run_ns, uint64_t commit_ns,
                   char ret_text[TIMING_TEXT_MAX])
{
    char *at = put_phase(ret_text, "queue", queue_ns);

    at = put_phase(at, ", run", run_ns);
    at = put_phase(at, ", commit", commit_ns);
    *at = '\0';
}
