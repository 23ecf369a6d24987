/* SPDX-License-Identifier: MIT */
/* sim_memory - memory that runs out on demand, for SQLite; mem.h has a switch of its own. */
#ifndef TESTS_FAULT_SIM_MEMORY_H
#define TESTS_FAULT_SIM_MEMORY_H

#include <stdbool.h>

/* Once, before anything else uses SQLite. Every allocation of SQLite is one of
 * this memory: its own reserves (lookaside) are off. */
void memory_init(void);

/* The n-th allocation of SQLite from now on fails, and if sticky all after
 * it; 0: none does. */
void memory_fail(unsigned n, bool sticky);
/* Whether one has failed since one was last to. */
bool memory_failed(void);

#endif
