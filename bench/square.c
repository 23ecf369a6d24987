/* SPDX-License-Identifier: MIT */
/* The built-in task square once more, as a plugin: what does the way through poold/task.h
 * cost? Both calculate with 128 bits and refuse what does not fit. */
#include <poold/task.h>

static void run_square(struct poold_call *call)
{
    struct poold_number x;
    poold_int128 square;

    if (!poold_arg_number(call, 0, &x))
        return;
    if (!x.is_int)
        poold_return_real(call, x.real * x.real);
    else if (__builtin_mul_overflow(x.integer, x.integer, &square))
        poold_raise(call, "OverflowError", "square() result does not fit in 128 bits");
    else
        poold_return_int128(call, square);
}

static const struct poold_task square = {
    .name = "plugin_square",
    .summary = "The square of a number.",
    .signature = "plugin_square(x)",
    .params = { "x" },
    .run = run_square,
};

POOLD_PLUGIN(&square);
