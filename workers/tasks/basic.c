/* SPDX-License-Identifier: MIT */
/* Arithmetic, and the tasks that every demonstration needs: echo, sleep, a busy
 * processor. */
#include "workers/tasks/tasks.h"

#include <errno.h>
#include <math.h>
#include <time.h>

static void raise_too_large(struct task_call *call)
{
    call_raise(call, "OverflowError", "%s() result does not fit in 128 bits",
               call->task->name);
}

/* x to a small power: what square, cube and their like have in common. */
static void return_power(struct task_call *call, const struct number *x, unsigned exp)
{
    int128 product = x->integer;
    double real = x->real;

    if (!x->is_int) {
        while (--exp > 0)
            real *= x->real;
        call_return_real(call, real);
        return;
    }
    while (--exp > 0) {
        if (!int128_multiply(product, x->integer, &product)) {
            raise_too_large(call);
            return;
        }
    }
    call_return_int(call, product);
}

static void run_square(struct task_call *call)
{
    struct number x;

    if (call_number(call, 0, &x))
        return_power(call, &x, 2);
}

const struct task task_square = {
    .name = "square",
    .summary = "The square of a number.",
    .signature = "square(x)",
    .params = { "x" },
    .run = run_square,
};

static void run_cube(struct task_call *call)
{
    struct number x;

    if (call_number(call, 0, &x))
        return_power(call, &x, 3);
}

const struct task task_cube = {
    .name = "cube",
    .summary = "The cube of a number.",
    .signature = "cube(x)",
    .params = { "x" },
    .run = run_cube,
};

static void run_safe_square(struct task_call *call)
{
    struct number x;

    if (!call_number(call, 0, &x))
        return;
    if (x.is_int ? x.integer < 0 : x.real < 0)
        call_raise(call, "ValueError", "Negative input not allowed");
    else
        return_power(call, &x, 2);
}

const struct task task_safe_square = {
    .name = "safe_square",
    .summary = "The square of a number; a negative one raises ValueError.",
    .signature = "safe_square(x)",
    .params = { "x" },
    .run = run_safe_square,
};

static void return_int_power(struct task_call *call, int128 base, int128 exp)
{
    int128 product = 1;

    /* 0, 1 and -1 have powers of any size; the others leave 128 bits after 127 steps. */
    if (base >= -1 && base <= 1)
        exp = exp > 2 ? 2 + exp % 2 : exp;
    for (; exp > 0; exp--) {
        if (!int128_multiply(product, base, &product)) {
            raise_too_large(call);
            return;
        }
    }
    call_return_int(call, product);
}

static void return_real_power(struct task_call *call, double base, double exp)
{
    double power;

    if (base == 0 && exp < 0) {
        call_raise(call, "ZeroDivisionError", "0.0 cannot be raised to a negative power");
        return;
    }
    if (base < 0 && exp != floor(exp)) {
        call_raise(call, "ValueError",
                   "negative number cannot be raised to a fractional power");
        return;
    }
    power = pow(base, exp);
    if (isinf(power))
        call_raise(call, "OverflowError", "(34, 'Numerical result out of range')");
    else
        call_return_real(call, power);
}

static void run_power(struct task_call *call)
{
    struct number base, exp;

    if (!call_number(call, 0, &base) || !call_number(call, 1, &exp))
        return;
    if (base.is_int && exp.is_int && exp.integer >= 0)
        return_int_power(call, base.integer, exp.integer);
    else
        return_real_power(call, base.real, exp.real);
}

const struct task task_power = {
    .name = "power",
    .summary = "base to the power of exp.",
    .signature = "power(base, exp)",
    .params = { "base", "exp" },
    .run = run_power,
};

/* n*n*n/3 is a bound of the sum; up to here it is under 2^127. */
#define CPU_BOUND_MAX 7990000000000
/* Between two reports: tens of milliseconds. What is shorter says nothing. */
#define CPU_BOUND_STEP ((uint64_t)1 << 26)

static uint128 sum_of_squares(uint64_t from, uint64_t to)
{
    uint128 sum = 0;

    for (uint64_t i = from; i < to; i++) {
        /* Hides from the compiler that this is a series: it must be added up, being a
         * load. */
        __asm__ volatile("" : "+r"(i));
        sum += (uint128)i * i;
    }
    return sum;
}

static void run_cpu_bound(struct task_call *call)
{
    uint128 sum = 0;
    int64_t n;

    if (!call_int64(call, 0, &n))
        return;
    if (n > CPU_BOUND_MAX) {
        raise_too_large(call);
        return;
    }
    for (uint64_t i = 0, end = n > 0 ? (uint64_t)n : 0; i < end; i += CPU_BOUND_STEP) {
        if (i > 0)
            call_progress(call, i, end, NULL);
        sum += sum_of_squares(i, end - i < CPU_BOUND_STEP ? end : i + CPU_BOUND_STEP);
    }
    call_return_int(call, (int128)sum);
}

const struct task task_cpu_bound = {
    .name = "cpu_bound",
    .summary =
        "The sum of i*i for all i below n, added up one by one to keep a processor busy.",
    .signature = "cpu_bound(n)",
    .params = { "n" },
    .run = run_cpu_bound,
};

static void run_sum_range(struct task_call *call)
{
    int64_t n;

    if (call_int64(call, 0, &n))
        call_return_int(call, n > 0 ? (int128)n * (n - 1) / 2 : 0);
}

const struct task task_sum_range = {
    .name = "sum_range",
    .summary = "The sum of the whole numbers from 0 to n - 1.",
    .signature = "sum_range(n)",
    .params = { "n" },
    .run = run_sum_range,
};

static void run_echo(struct task_call *call)
{
    call_return_text(call, call_arg(call, 0));
}

const struct task task_echo = {
    .name = "echo",
    .summary = "Its argument, byte for byte.",
    .signature = "echo(x)",
    .params = { "x" },
    .run = run_echo,
};

#define SLEEP_MAX_S 9223372036 /* as Python: 63 bits of nanoseconds */

static void run_sleep(struct task_call *call)
{
    struct number seconds;
    struct timespec left;

    if (!call_number(call, 0, &seconds))
        return;
    if (seconds.real < 0) {
        call_raise(call, "ValueError", "sleep length must be non-negative");
        return;
    }
    if (seconds.real > SLEEP_MAX_S) {
        call_raise(call, "OverflowError",
                   "timestamp too large to convert to C _PyTime_t");
        return;
    }
    left.tv_sec = (time_t)seconds.real;
    left.tv_nsec = (long)((seconds.real - (double)left.tv_sec) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

const struct task task_sleep = {
    .name = "sleep",
    .summary = "Waits for a time without using a processor; null.",
    .signature = "sleep(seconds)",
    .params = { "seconds" },
    .run = run_sleep,
};
