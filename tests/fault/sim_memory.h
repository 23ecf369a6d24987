/* SPDX-License-Identifier: MIT */
/*
 * sim_memory - memory that runs out on demand, for SQLite and for jansson; mem.h has a
 * switch of its own (mem_fail_at).
 */
#ifndef TESTS_FAULT_SIM_MEMORY_H
#define TESTS_FAULT_SIM_MEMORY_H

#include <stdbool.h>

/* Once, before anything else uses SQLite or jansson. Every allocation of SQLite is one of
 * this memory: its own reserves (lookaside) are off. */
void memory_init(void);

/* The n-th allocation of SQLite and of jansson from now on fails, and if sticky all after
 * it; 0: none does. */
void memory_fail(unsigned n, bool sticky);
/* Whether one has failed since one was last to. */
bool memory_failed(void);

#endif
