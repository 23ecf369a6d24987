/* SPDX-License-Identifier: MIT */
/*
 * valgrind_shim - preloaded into a server that runs under valgrind (valgrind_server.py,
 * bench/instructions): what versions of valgrind before 3.21 cannot do.
 *
 *     pidfd_open            unknown to it: instead a descriptor that never becomes readable, so
 *                           the end of the forkserver goes unseen
 *     /proc/self/exe        would start valgrind itself: instead the file in SHIM_PROGRAM
 *
 * The processes that the server starts run without valgrind, and without this.
 */
#include <dlfcn.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...)
{
    static __typeof__(syscall) *next;
    long a[6];
    va_list args;

    if (number == SYS_pidfd_open)
        return eventfd(0, EFD_CLOEXEC);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[],
                char *const environment[])
{
    static __typeof__(posix_spawn) *next;
    const char *poold = getenv("SHIM_PROGRAM");

    (void)environment;
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "posix_spawn");
    (void)unsetenv("LD_PRELOAD");
    if (poold && strcmp(path, "/proc/self/exe") == 0)
        path = poold;
    return next(pid, path, actions, attributes, argv, environ);
}
