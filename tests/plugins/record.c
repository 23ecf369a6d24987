/* SPDX-License-Identifier: MIT */
/* A task that leaves a record of each run: the tests of faults count them. */
#include <poold/task.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* One line in one write behind all others: whole, whoever writes beside it. */
static bool note(const char *path, const char *key, long long index)
{
    struct timespec now;
    char line[256];
    int len, fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    bool ok;

    clock_gettime(CLOCK_MONOTONIC, &now);
    len = snprintf(line, sizeof(line), "%s %lld %d %lld\n", key, index, (int)getpid(),
                   (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    ok = fd != -1 && len > 0 && (size_t)len < sizeof(line) &&
         write(fd, line, (size_t)len) == len;
    if (fd != -1)
        close(fd);
    return ok;
}

static void run_record(struct poold_call *call)
{
    const char *what = poold_arg_string(call, 0, NULL);
    char path[3072], key[128];
    long long index, ms;
    struct timespec left;

    if (!what)
        return;
    if (sscanf(what, "%3071s %127s %lld %lld", path, key, &index, &ms) != 4) {
        poold_raise(call, "ValueError", "not: PATH KEY INDEX MS");
        return;
    }
    if (!note(path, key, index)) {
        poold_raise(call, "OSError", "the run cannot be recorded");
        return;
    }
    left = (struct timespec){ ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&left, &left) == -1)
        ;
    poold_return_int64(call, index * index);
}

static const struct poold_task record = {
    .name = "record",
    .summary =
        "PATH KEY INDEX MS: notes its run in the file, sleeps, returns INDEX squared.",
    .signature = "record(what)",
    .params = { "what" },
    .run = run_record,
};

POOLD_PLUGIN(&record);
