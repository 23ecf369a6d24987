/* SPDX-License-Identifier: MIT */
/* Tasks that tell which trace their job is part of; null: none. */
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

static void run_stated(struct poold_call *call)
{
    struct poold_text state = poold_tracestate(call);

    if (state.len > 0)
        poold_return_string(call, state.at, state.len);
}

static const struct poold_task stated = { .name = "stated",
                                          .summary = "What was noted of its trace.",
                                          .signature = "stated(x)",
                                          .params = { "x" },
                                          .run = run_stated };

POOLD_PLUGIN(&traced, &stated);
