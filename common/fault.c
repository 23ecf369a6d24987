/* SPDX-License-Identifier: MIT */
#include "common/fault.h"

#ifdef POOLD_FAULTS

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define VARIABLE "POOLD_FAULT="

enum fault_action { FAULT_KILL, FAULT_STOP, FAULT_DELAY, FAULT_EIO, FAULT_ACTION_COUNT };

static const char *const action_names[FAULT_ACTION_COUNT] = { "kill", "stop", "delay",
                                                              "EIO" };
static const char *const point_names[FAULT_POINT_COUNT] = {
#define X(name) #name,
    FAULT_POINTS(X)
#undef X
};

enum fault_point fault_armed = FAULT_POINT_COUNT;

static uint64_t from, to; /* passings, counted from 1 */
static enum fault_action action;
static struct fault_count own_count;
static struct fault_count *count = &own_count; /* or that in FILE */

/* Of the `n` names; n if it is none of them. */
static unsigned find(const char *const names[], unsigned n, const char *name, size_t len)
{
    for (unsigned i = 0; i < n; i++) {
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return i;
    }
    return n;
}

static bool read_range(const char *text, const char *end)
{
    char *rest;

    from = to = strtoull(text, &rest, 10);
    if (rest != text && *rest == '-') {
        text = rest + 1;
        to = text == end ? UINT64_MAX : strtoull(text, &rest, 10);
        rest = text == end ? (char *)end : rest;
    }
    return rest == end && from > 0 && from <= to;
}

static bool map_file(const char *path)
{
    int fd = openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC); /* no file of a simulated disk */
    void *at = MAP_FAILED;

    if (fd != -1)
        at = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fd_close(&fd);
    if (at != MAP_FAILED)
        count = at;
    return at != MAP_FAILED;
}

enum status fault_init(struct error_text *err)
{
    const char *text = getenv("POOLD_FAULT"), *colon[3] = { NULL };
    const char *action_end;
    unsigned point;

    if (!text)
        return ST_OK;
    colon[0] = strchr(text, ':');
    colon[1] = colon[0] ? strchr(colon[0] + 1, ':') : NULL;
    if (!colon[1] || !read_range(colon[0] + 1, colon[1]))
        return error_set(err, ST_INVALID, "%s%s: POINT:NTH:ACTION[:FILE]", VARIABLE,
                         text);
    colon[2] = strchr(colon[1] + 1, ':');
    action_end = colon[2] ? colon[2] : text + strlen(text);
    point = find(point_names, FAULT_POINT_COUNT, text, (size_t)(colon[0] - text));
    action = find(action_names, FAULT_ACTION_COUNT, colon[1] + 1,
                  (size_t)(action_end - colon[1] - 1));
    if (point == FAULT_POINT_COUNT || action == FAULT_ACTION_COUNT)
        return error_set(err, ST_INVALID, "%s%s: there is no such point or action",
                         VARIABLE, text);
    if (colon[2] && !map_file(colon[2] + 1))
        return error_set(err, ST_INVALID, "%s%s: %s", VARIABLE, text, strerror(errno));
    fault_armed = point;
    return ST_OK;
}

bool fault_is_variable(const char *variable)
{
    return strncmp(variable, VARIABLE, strlen(VARIABLE)) == 0;
}

static void wait_a_while(void)
{
    struct timespec left = { FAULT_DELAY_MS / 1000, FAULT_DELAY_MS % 1000 * 1000000L };

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

int fault_pass(void)
{
    uint64_t passed = __atomic_add_fetch(&count->passed, 1, __ATOMIC_SEQ_CST);

    if (passed < from || passed > to)
        return 0;
    __atomic_store_n(&count->pid, (uint64_t)getpid(), __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&count->acted, 1, __ATOMIC_SEQ_CST);
    switch (action) {
    case FAULT_KILL:
        (void)raise(SIGKILL);
        break;
    case FAULT_STOP:
        (void)raise(SIGSTOP);
        break;
    case FAULT_DELAY:
        wait_a_while();
        break;
    default:
        return EIO;
    }
    return 0;
}

#else

/* A translation unit must not be empty. */
typedef int fault_none;

#endif
