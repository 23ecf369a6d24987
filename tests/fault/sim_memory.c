/* SPDX-License-Identifier: MIT */
#include "tests/fault/sim_memory.h"

#include <assert.h>
#include <malloc.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

static atomic_bool armed, failed;
static atomic_uint left;
static bool stays;

void memory_fail(unsigned n, bool sticky)
{
    atomic_store(&armed, false);
    if (n == 0)
        return;
    stays = sticky;
    atomic_store(&left, n);
    atomic_store(&failed, false);
    atomic_store(&armed, true);
}

bool memory_failed(void)
{
    return atomic_load(&failed);
}

static bool must_fail(void)
{
    if (!atomic_load(&armed))
        return false;
    if (atomic_load(&failed))
        return stays;
    if (atomic_fetch_sub(&left, 1) == 1)
        atomic_store(&failed, true);
    return atomic_load(&failed);
}

/* ---- SQLite ------------------------------------------------------------------------- */

static void *sim_malloc(int size)
{
    return must_fail() ? NULL : malloc((size_t)size);
}

static void *sim_realloc(void *block, int size)
{
    return must_fail() ? NULL : realloc(block, (size_t)size);
}

static int sim_size(void *block)
{
    return block ? (int)malloc_usable_size(block) : 0;
}

static int sim_round_up(int size)
{
    return (size + 7) & ~7;
}

static int sim_init(void *data)
{
    (void)data;
    return SQLITE_OK;
}

static void sim_shutdown(void *data)
{
    (void)data;
}

void memory_init(void)
{
    static const sqlite3_mem_methods methods = { sim_malloc,   free,         sim_realloc,
                                                 sim_size,     sim_round_up, sim_init,
                                                 sim_shutdown, NULL };

    assert(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK);
    assert(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK);
}
