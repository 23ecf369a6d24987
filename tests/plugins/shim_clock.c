/* SPDX-License-Identifier: MIT */
/*
 * A wall clock that the tests move: LD_PRELOAD=shim_clock.so CLOCK_SHIFT=FILE. FILE begins with
 * the seconds by which CLOCK_REALTIME is ahead, as an int64_t in the machine's order of bytes,
 * and may be written at any time. CLOCK_MONOTONIC and its kin stay what they are.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;

__attribute__((constructor)) static void map_shift(void)
{
    const char *path = getenv("CLOCK_SHIFT");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at =
        fd == -1 ? MAP_FAILED : mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);

    if (fd != -1)
        close(fd);
    if (at != MAP_FAILED)
        shift = at;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int rc = (int)syscall(SYS_clock_gettime, id, now);

    if (rc == 0 && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += *shift;
    return rc;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    int rc = clock_gettime(CLOCK_REALTIME, &precise);

    (void)zone;
    *now = (struct timeval){ precise.tv_sec, precise.tv_nsec / 1000 };
    return rc;
}

time_t time(time_t *ret_now)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_now)
        *ret_now = now.tv_sec;
    return now.tv_sec;
}
