/* SPDX-License-Identifier: MIT */
/*
 * The fault point mid_checkpoint: SQLite lets its calls of the system be replaced, and a
 * checkpoint is nothing but writes into the database.
 */
#include "server/store_sqlite.h"

#ifdef POOLD_FAULTS

#include "common/fault.h"

#include <errno.h>
#include <unistd.h>

static _Thread_local bool counted; /* writes on this thread pass the point now */

static bool fails(void)
{
    int error = counted ? FAULT(mid_checkpoint) : 0;

    if (error)
        errno = error;
    return error != 0;
}

static ssize_t on_write(int fd, const void *at, size_t len)
{
    return fails() ? -1 : write(fd, at, len);
}

static ssize_t on_pwrite(int fd, const void *at, size_t len, off_t offset)
{
    return fails() ? -1 : pwrite(fd, at, len, offset);
}

/* Which of them SQLite uses is a matter of how it was built; off_t has 64 bits. */
static void replace_calls(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    (void)vfs->xSetSystemCall(vfs, "write", (sqlite3_syscall_ptr)on_write);
    (void)vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)on_pwrite);
    (void)vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)on_pwrite);
}

void sqlite_fault_writes(bool on)
{
    static bool replaced; /* by the one thread that makes checkpoints */

    if (!FAULT_ARMED(mid_checkpoint))
        return;
    if (!replaced)
        replace_calls();
    replaced = true;
    counted = on;
}

#endif
