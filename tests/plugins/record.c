/* SPDX-License-Identifier: MIT */
/* A task that leaves a record of each run: the tests of faults count them. */
#include <poold/task.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEY_MAX 128

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

/* "KEY INDEX TEXT": what of the argument says which item it was. */
static void give_back(struct poold_call *call, const char *key, long long index,
                      const char *text, size_t text_len)
{
    char head[KEY_MAX + 32];
    int head_len = snprintf(head, sizeof(head), "%s %lld ", key, index);
    char *all = malloc((size_t)head_len + text_len + 1);

    if (!all) {
        poold_raise(call, "MemoryError", "no memory for the result");
        return;
    }
    memcpy(all, head, (size_t)head_len);
    memcpy(all + head_len, text, text_len + 1);
    poold_return_string(call, all, (size_t)head_len + text_len);
    free(all);
}

static void run_record(struct poold_call *call)
{
    size_t len;
    const char *what = poold_arg_string(call, 0, &len);
    char path[3072], key[KEY_MAX];
    long long index, ms;
    struct timespec left;
    int text = 0;

    if (!what)
        return;
    if (sscanf(what, "%3071s %127s %lld %lld%n", path, key, &index, &ms, &text) != 4) {
        poold_raise(call, "ValueError", "not: PATH KEY INDEX MS [TEXT]");
        return;
    }
    if (!note(path, key, index)) {
        poold_raise(call, "OSError", "the run cannot be recorded");
        return;
    }
    left = (struct timespec){ ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&left, &left) == -1)
        ;
    text += what[text] == ' ';
    give_back(call, key, index, what + text, len - (size_t)text);
}

static const struct poold_task record = {
    .name = "record",
    .summary = "PATH KEY INDEX MS TEXT: notes its run in the file, sleeps, returns KEY "
               "INDEX TEXT.",
    .signature = "record(what)",
    .params = { "what" },
    .run = run_record,
};

POOLD_PLUGIN(&record);
