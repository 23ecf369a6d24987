/* SPDX-License-Identifier: MIT */
/* gcd - a task in C: the smallest whole plugin. Built and called as poold/task.h says. */
#include <poold/task.h>

static void run_gcd(struct poold_call *call)
{
    int64_t a, b;

    if (!poold_arg_int64(call, 0, &a) || !poold_arg_int64(call, 1, &b))
        return; /* it has raised TypeError */
    if (a == INT64_MIN || b == INT64_MIN) {
        poold_raise(call, "ValueError", "gcd() arguments must be above -2**63");
        return;
    }
    while (b != 0) {
        int64_t rest = a % b;

        a = b;
        b = rest;
    }
    poold_return_int64(call, a < 0 ? -a : a);
}

static const struct poold_task gcd = {
    .name = "gcd",
    .summary = "The greatest common divisor of two integers.",
    .signature = "gcd(a, b)",
    .params = { "a", "b" },
    .run = run_gcd,
};

POOLD_PLUGIN(&gcd);
