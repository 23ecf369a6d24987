/* SPDX-License-Identifier: MIT */
/*
 * timeslice - how soon a thread that wakes up gets a processor which others are using.
 *
 * A thread that asks for short time slices is stopped sooner when others wait, and in turn
 * let in sooner before those that have long ones: its share of the processor is the same,
 * it comes in smaller pieces. That suits threads that have little to do each time they
 * wake up, and which others wait for: the server's, beside workers that calculate.
 *
 * Linux 6.12 and later take the wish (sched_setattr(2), sched_runtime of SCHED_OTHER; the
 * EEVDF scheduler); older ones ignore it, and so may a container's rules. Threads and
 * processes inherit it, programs too.
 */
#ifndef COMMON_TIMESLICE_H
#define COMMON_TIMESLICE_H

#include <stdint.h>

/* For the thread that calls. In nanoseconds, 100,000 to 100,000,000; 0: what the system
 * gives to those that ask for nothing. Policy and niceness stay as they are, and a thread
 * of a policy without slices is left alone. */
void timeslice_set(uint64_t ns);

#endif
