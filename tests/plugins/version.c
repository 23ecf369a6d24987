/* SPDX-License-Identifier: MIT */
/* Two versions of one plugin: built with VERSION 1 and 2. */
#include <poold/task.h>

#include <unistd.h>

static void run_version(struct poold_call *call)
{
    poold_return_int64(call, VERSION);
}

/* Comes back when the file exists, and tells which code it was. */
static void run_hold(struct poold_call *call)
{
    const char *path = poold_arg_string(call, 0, NULL);

    while (path && access(path, F_OK) != 0)
        usleep(1000);
    poold_return_int64(call, VERSION);
}

static const struct poold_task version = { .name = "version",
                                           .summary = "Which code this is.",
                                           .signature = "version(x)",
                                           .params = { "x" },
                                           .run = run_version };
static const struct poold_task hold = { .name = "hold",
                                        .summary = "Waits for a file.",
                                        .signature = "hold(path)",
                                        .params = { "path" },
                                        .run = run_hold };
#if VERSION == 2
static const struct poold_task added = { .name = "added",
                                         .summary = "Only in the second version.",
                                         .signature = "added(x)",
                                         .params = { "x" },
                                         .run = run_version };
POOLD_PLUGIN(&version, &hold, &added);
#else
POOLD_PLUGIN(&version, &hold);
#endif
