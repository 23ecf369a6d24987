/* SPDX-License-Identifier: MIT */
/*
 * timing - where the time of a call that has waited went: nanoseconds -> the value of
 * Server-Timing (W3C, Server Timing).
 *
 *     queue;dur=0.043, run;dur=2.335, commit;dur=0.027
 *
 * In milliseconds with their thousandths, cut, not rounded. Each answer of a waiting call has
 * it, so it is written without printf, which takes ten times as long.
 *
 * Pure: no I/O, no memory.
 */
#ifndef SERVER_TIMING_H
#define SERVER_TIMING_H

#include <stdint.h>

#define TIMING_TEXT_MAX 128 /* bytes, with the NUL */

void timing_format(uint64_t queue_ns, uint64_t run_ns, uint64_t commit_ns,
                   char ret_text[TIMING_TEXT_MAX]);

#endif
