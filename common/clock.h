/* SPDX-License-Identifier: MIT */
/*
 * clock - monotonic and wall time, and wall time as text.
 *
 * Every interval, time limit and timer uses the monotonic clock (CLOCK_MONOTONIC); wall
 * time is for what people see and for deadlines that have to survive a restart. Tests
 * substitute both.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS  1000000ull
#define NS_PER_SEC 1000000000ull

uint64_t clock_mono_ns(void);
int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01T00:00:00Z */

/* Wall time as far as it is believed: for how old something is, where an error costs data. It
 * follows a clock that jumps ahead at twice the pace of real time, so that there is time to
 * mend it, and one that is set back at once. The loop's thread only. */
int64_t clock_believed_ms(void);
/* From here on wall time is believed as it is now: at the start. */
void clock_believe(void);

/* From here on both clocks stand still at these values, until the next call; mono_ns 0
 * brings the real clocks back. For tests. */
void clock_fake(uint64_t mono_ns, int64_t wall_ms);

#define CLOCK_TEXT_LEN 24 /* "2026-01-02T03:04:05.678Z", without the NUL */

/* RFC 3339, UTC, milliseconds. Years outside 0000..9999 are clamped. */
void clock_format(int64_t wall_ms, char ret_text[CLOCK_TEXT_LEN + 1]);
/* Reads RFC 3339 with "Z" or a numeric offset, 0 to 9 fraction digits; what is finer than
 * a millisecond is cut off. Second 60 is read as the start of the next minute. ST_INVALID
 * leaves *ret_wall_ms untouched. */
NODISCARD enum status clock_parse(const char *text, size_t len, int64_t *ret_wall_ms);

#endif
