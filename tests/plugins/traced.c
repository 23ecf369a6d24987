/* SPDX-License-Identifier: MIT */
/* A task that tells which trace its job is part of; null: none. */
#include <poold/task.h>

static void run_traced(struct poold_call *call)
{
    struct poold_text trace = poold_traceparent(call);

    if (trace.len > 0)
        poold_return_string(call, trace.at, trace.len);
}

static const struct poold_task traced = { .name = "traced",
                                          .summary = "The trace of its job.",
                                          .signature = "traced(x)",
                                          .params = { "x" },
                                          .run = run_traced };

POOLD_PLUGIN(&traced);
