/* SPDX-License-Identifier: MIT */
/*
 * A disk that cannot be read is not a damaged database. Of a read that fails with EIO (or
 * ENXIO or ERANGE) SQLite says SQLITE_IOERR_CORRUPTFS, and in the middle of a statement makes
 * SQLITE_CORRUPT of that: a result would be told as damaged for good, and a job that waits
 * would be left out, for what may be gone with the next try. Of any other error it says
 * SQLITE_IOERR_READ, and stays with it. So reads tell it another one.
 */
#include "server/store_sqlite.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static ssize_t told(ssize_t n)
{
    if (n == -1 && (errno == EIO || errno == ENXIO || errno == ERANGE))
        errno = EREMOTEIO;
    return n;
}

static ssize_t on_read(int fd, void *to, size_t len)
{
    return told(read(fd, to, len));
}

static ssize_t on_pread(int fd, void *to, size_t len, off_t offset)
{
    return told(pread(fd, to, len, offset));
}

/* Which of them SQLite uses is a matter of how it was built; off_t has 64 bits. */
static void replace_calls(void)
{
    sqlite3_vfs *vfs =
        sqlite3_vfs_find("unix"); /* all of its family have the same calls */

    if (!vfs || vfs->iVersion < 3 || !vfs->xSetSystemCall)
        return;
    (void)vfs->xSetSystemCall(vfs, "read", (sqlite3_syscall_ptr)on_read);
    (void)vfs->xSetSystemCall(vfs, "pread", (sqlite3_syscall_ptr)on_pread);
    (void)vfs->xSetSystemCall(vfs, "pread64", (sqlite3_syscall_ptr)on_pread);
}

void sqlite_keep_read_errors(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, replace_calls);
}
