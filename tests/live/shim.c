/* SPDX-License-Identifier: MIT */
/*
 * shim - to be preloaded (LD_PRELOAD) into `poold serve`: its disk fails, or its memory,
 * while a test wants it to.
 *
 * SHIM_DIR is a folder; what is in it is what fails:
 *
 *     write   writes into the database and its WAL: EIO
 *     sync    fsync and fdatasync of them: EIO
 *     read    reads from them: EIO
 *     malloc  each n-th allocation, of n as the file says, after a test has made it
 *
 * Processes that the server starts are left alone.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define LOOK_EACH 64 /* allocations between two looks into the folder */

static bool is_server;
static int folder = -1;

__attribute__((constructor)) static void start(void)
{
    const char *dir = getenv("SHIM_DIR");
    char line[256];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, line, sizeof(line) - 1) : -1;

    if (fd >= 0)
        close(fd);
    if (!dir || len <= 0)
        return;
    line[len] = '\0';
    if (strlen(line) + 1 < (size_t)len && strcmp(line + strlen(line) + 1, "serve") == 0) {
        folder = open(dir, O_PATH | O_CLOEXEC);
        is_server = folder >= 0;
    }
}

static bool is_on(const char *what)
{
    int error = errno;
    bool on = is_server && faccessat(folder, what, F_OK, 0) == 0;

    errno = error;
    return on;
}

static bool is_database(int fd)
{
    char link[64], path[512];
    ssize_t len;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    return strstr(path, "/poold.db") != NULL;
}

static bool fails(const char *what, int fd)
{
    if (!is_on(what) || !is_database(fd))
        return false;
    errno = EIO;
    return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* ---- the disk ---------------------------------------------------------------------- */

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return fails("write", fd) ? -1 : REAL(pwrite)(fd, bytes, len, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset)
{
    return fails("write", fd) ? -1 : REAL(pwrite64)(fd, bytes, len, offset);
}

ssize_t pread(int fd, void *bytes, size_t len, off_t offset)
{
    return fails("read", fd) ? -1 : REAL(pread)(fd, bytes, len, offset);
}

ssize_t pread64(int fd, void *bytes, size_t len, off64_t offset)
{
    return fails("read", fd) ? -1 : REAL(pread64)(fd, bytes, len, offset);
}

int fsync(int fd)
{
    return fails("sync", fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return fails("sync", fd) ? -1 : REAL(fdatasync)(fd);
}

/* ---- memory ------------------------------------------------------------------------ */

/* glibc's own, by the names that it keeps for this. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static atomic_ulong calls, each;

static bool out_of_memory(void)
{
    unsigned long n;

    if (!is_server)
        return false;
    n = atomic_fetch_add(&calls, 1) + 1;
    if (n % LOOK_EACH == 0) {
        char text[16] = "";
        int fd = openat(folder, "malloc", O_RDONLY | O_CLOEXEC);

        if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
            atomic_store(&each, strtoul(text, NULL, 10));
        else
            atomic_store(&each, 0);
        if (fd >= 0)
            close(fd);
    }
    if (!atomic_load(&each) || n % atomic_load(&each) != 0)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return out_of_memory() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return out_of_memory() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return out_of_memory() ? NULL : __libc_realloc(old, size);
}
