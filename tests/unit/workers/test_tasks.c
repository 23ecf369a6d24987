/* SPDX-License-Identifier: MIT */
#include "workers/tasks/tasks.h"

#include "common/clock.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void run(struct task_call *call, const struct task *task, const char *arguments,
                struct buf *out)
{
    struct text positional = { arguments, strlen(arguments) };

    task_run(call, task, positional, false, (struct text){ NULL, 0 }, out, NULL);
}

static void assert_result(const struct task *task, const char *arguments,
                          const char *expected)
{
    struct buf out = BUF_INIT;
    struct task_call call;

    run(&call, task, arguments, &out);
    assert_int_equal(call.end, CALL_RETURNED);
    assert_string_equal(out.data, expected);
    task_call_clear(&call);
    buf_clear(&out);
}

static void assert_raises(const struct task *task, const char *arguments,
                          const char *type, const char *message)
{
    struct buf out = BUF_INIT, expected = BUF_INIT;
    struct task_call call;

    run(&call, task, arguments, &out);
    assert_int_equal(call.end, CALL_RAISED);
    assert_int_equal(out.len, 0);
    buf_addf(&expected, "{\"type\":\"%s\",\"message\":\"%s\",", type, message);
    assert_true(call_exception(&call).len > expected.len);
    assert_memory_equal(call_exception(&call).at, expected.data, expected.len);
    task_call_clear(&call);
    buf_clear(&expected);
    buf_clear(&out);
}

static void square_is_exact_for_integers(void **state)
{
    (void)state;
    assert_result(&task_square, "-7", "49");
    assert_result(&task_square, "true", "1");
    assert_result(&task_square, "3037000500", "9223372037000250000");
    assert_result(&task_square, "13043817825332782212",
                  "170141183460469231722567801800623612944");
}

static void square_never_rounds_an_integer(void **state)
{
    (void)state;
    assert_raises(&task_square, "13043817825332782213", "OverflowError",
                  "square() result does not fit in 128 bits");
    assert_raises(&task_square, "-100000000000000000000000000000000000000000",
                  "OverflowError", "square() argument 'x' does not fit in 128 bits");
}

static void square_follows_python_for_reals(void **state)
{
    (void)state;
    assert_result(&task_square, "0.1", "0.010000000000000002");
    assert_result(&task_square, "2.5", "6.25");
    assert_result(&task_square, "-6.0", "36.0");
    assert_result(&task_square, "1e8", "1e+16");
    assert_raises(&task_square, "1e200", "OverflowError",
                  "square() result is out of the range of a double");
}

static void cube_keeps_the_sign(void **state)
{
    (void)state;
    assert_result(&task_cube, "-3", "-27");
    assert_result(&task_cube, "14", "2744");
    assert_result(&task_cube, "-0.5", "-0.125");
    assert_raises(&task_cube, "10000000000000", "OverflowError",
                  "cube() result does not fit in 128 bits");
}

static void power_of_integers_is_exact(void **state)
{
    (void)state;
    assert_result(&task_power, "2, 10", "1024");
    assert_result(&task_power, "4,3", "64");
    assert_result(&task_power, "0,0", "1");
    assert_result(&task_power, "-2,127", "-170141183460469231731687303715884105728");
    assert_raises(&task_power, "2,127", "OverflowError",
                  "power() result does not fit in 128 bits");
    assert_raises(&task_power, "10,9223372036854775807", "OverflowError",
                  "power() result does not fit in 128 bits");
}

static void power_of_units_takes_any_exponent(void **state)
{
    (void)state;
    assert_result(&task_power, "-1,100000000000000000000", "1");
    assert_result(&task_power, "-1,100000000000000000001", "-1");
    assert_result(&task_power, "1,100000000000000000001", "1");
    assert_result(&task_power, "0,100000000000000000000", "0");
}

static void power_with_a_negative_exponent_is_real(void **state)
{
    (void)state;
    assert_result(&task_power, "2,-1", "0.5");
    assert_result(&task_power, "-2,-3", "-0.125");
    assert_raises(&task_power, "0,-1", "ZeroDivisionError",
                  "0.0 cannot be raised to a negative power");
    assert_raises(&task_power, "-0.0,-1", "ZeroDivisionError",
                  "0.0 cannot be raised to a negative power");
}

static void power_of_reals_has_no_complex_and_no_infinite_result(void **state)
{
    (void)state;
    assert_result(&task_power, "2,0.5", "1.4142135623730951");
    assert_result(&task_power, "-8.0,2", "64.0");
    assert_raises(&task_power, "-8,0.5", "ValueError",
                  "negative number cannot be raised to a fractional power");
    assert_raises(&task_power, "10.0,400", "OverflowError",
                  "(34, 'Numerical result out of range')");
}

static void safe_square_refuses_negative_numbers(void **state)
{
    (void)state;
    assert_result(&task_safe_square, "4", "16");
    assert_result(&task_safe_square, "-0.0", "0.0");
    assert_raises(&task_safe_square, "-3", "ValueError", "Negative input not allowed");
    assert_raises(&task_safe_square, "-0.5", "ValueError", "Negative input not allowed");
}

static void cpu_bound_adds_squares_beyond_64_bits(void **state)
{
    (void)state;
    assert_result(&task_cpu_bound, "-5", "0");
    assert_result(&task_cpu_bound, "1", "0");
    assert_result(&task_cpu_bound, "10000", "333283335000");
    assert_result(&task_cpu_bound, "10000000", "333333283333335000000");
    assert_raises(&task_cpu_bound, "9223372036854775807", "OverflowError",
                  "cpu_bound() result does not fit in 128 bits");
}

static void sum_range_is_exact_for_every_n(void **state)
{
    (void)state;
    assert_result(&task_sum_range, "-1", "0");
    assert_result(&task_sum_range, "10000000", "49999995000000");
    assert_result(&task_sum_range, "9223372036854775807",
                  "42535295865117307919086767873688862721");
    assert_raises(&task_sum_range, "1.0", "TypeError",
                  "sum_range() argument 'n' must be an integer, not float");
}

static void echo_returns_the_bytes_of_its_argument(void **state)
{
    (void)state;
    assert_result(&task_echo, " {\"a\" :[1.50,\t1e400]} ", "{\"a\" :[1.50,\t1e400]}");
    assert_result(&task_echo, "0.1000", "0.1000");
}

static void sleep_waits_and_returns_null(void **state)
{
    uint64_t start = clock_mono_ns();

    (void)state;
    assert_result(&task_sleep, "0.002", "null");
    assert_true(clock_mono_ns() - start >= 2 * NS_PER_MS);
    assert_result(&task_sleep, "0", "null");
    assert_result(&task_sleep, "-0.0", "null");
}

static void sleep_refuses_what_python_refuses(void **state)
{
    (void)state;
    assert_raises(&task_sleep, "-1", "ValueError", "sleep length must be non-negative");
    assert_raises(&task_sleep, "1e300", "OverflowError",
                  "timestamp too large to convert to C _PyTime_t");
    assert_raises(&task_sleep, "\"1\"", "TypeError",
                  "sleep() argument 'seconds' must be a number, not str");
}

static void is_prime_knows_small_and_large_numbers(void **state)
{
    (void)state;
    assert_result(&task_is_prime, "-7", "false");
    assert_result(&task_is_prime, "0", "false");
    assert_result(&task_is_prime, "1", "false");
    assert_result(&task_is_prime, "2", "true");
    assert_result(&task_is_prime, "3", "true");
    assert_result(&task_is_prime, "4", "false");
    assert_result(&task_is_prime, "9", "false");
    assert_result(&task_is_prime, "999983", "true");
    assert_result(&task_is_prime, "4294967297", "false");
    assert_result(&task_is_prime, "1000000000039", "true");
    assert_result(&task_is_prime, "9223372036854775807", "false");
    assert_raises(&task_is_prime, "18446744073709551557", "OverflowError",
                  "is_prime() argument 'n' does not fit in 64 bits");
}

static void primes_in_range_is_half_open(void **state)
{
    (void)state;
    assert_result(&task_primes_in_range, "2, 3", "[2]");
    assert_result(&task_primes_in_range, "2,2", "[]");
    assert_result(&task_primes_in_range, "-10,12", "[2,3,5,7,11]");
    assert_result(&task_primes_in_range, "3,11", "[3,5,7]");
    assert_result(&task_primes_in_range, "999980,1000000", "[999983]");
    assert_result(&task_primes_in_range, "24,29", "[]");
    assert_result(&task_primes_in_range, "5,2", "[]");
    assert_result(&task_primes_in_range, "9,-9223372036854775808", "[]");
}

/* Commas tell how many there are. */
static size_t count_primes(const char *range)
{
    struct buf out = BUF_INIT;
    struct task_call call;
    size_t count = 1;

    run(&call, &task_primes_in_range, range, &out);
    assert_int_equal(call.end, CALL_RETURNED);
    for (size_t i = 0; i < out.len; i++)
        count += out.data[i] == ',';
    task_call_clear(&call);
    buf_clear(&out);
    return count;
}

static void primes_in_range_finds_all_primes_in_one_or_many_windows(void **state)
{
    static const unsigned counts[16] = { 6275, 5459, 5230, 5080, 4948, 4912, 4852, 4782,
                                         4719, 4729, 4640, 4612, 4635, 4575, 4558, 4492 };

    (void)state;
    assert_int_equal(count_primes("1,1000001"), 78498);
    for (unsigned i = 0; i < 16; i++) {
        char range[64];

        snprintf(range, sizeof(range), "%u,%u", i * 62500, (i + 1) * 62500);
        assert_int_equal(count_primes(range), counts[i]);
    }
}

static void primes_in_range_works_up_to_its_limits(void **state)
{
    (void)state;
    assert_result(&task_primes_in_range, "1099511627689,1099511627776",
                  "[1099511627689]");
    assert_raises(
        &task_primes_in_range, "1099511627776,1099511627777", "ValueError",
        "a range of at most 50000000 numbers that ends at most at 2**40 is possible");
    assert_raises(
        &task_primes_in_range, "2,50000003", "ValueError",
        "a range of at most 50000000 numbers that ends at most at 2**40 is possible");
    assert_raises(
        &task_primes_in_range, "1,9223372036854775807", "ValueError",
        "a range of at most 50000000 numbers that ends at most at 2**40 is possible");
}

static void matmul_returns_the_shape(void **state)
{
    (void)state;
    assert_result(&task_matmul, "0", "[0,[0,0]]");
    assert_result(&task_matmul, "1", "[1,[1,1]]");
    assert_result(&task_matmul, "100", "[100,[100,100]]");
    assert_raises(&task_matmul, "-1", "ValueError", "size must be from 0 to 4096");
    assert_raises(&task_matmul, "4097", "ValueError", "size must be from 0 to 4096");
}

static void tasks_without_memory_raise_memory_error(void **state)
{
    static const struct task *const tasks[] = { &task_matmul, &task_primes_in_range };
    static const char *const arguments[] = { "10", "2,1000" };

    (void)state;
    for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++) {
        struct buf out = BUF_INIT;
        struct task_call call;

        assert_true(buf_reserve(&out, 10000));
        mem_fail_at(1, 0);
        run(&call, tasks[i], arguments[i], &out);
        mem_fail_at(0, 0);
        assert_int_equal(call.end, CALL_RAISED);
        assert_int_equal(call.kind, FAILURE_OUT_OF_MEMORY);
        assert_int_equal(out.len, 0);
        task_call_clear(&call);
        buf_clear(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(square_is_exact_for_integers),
        cmocka_unit_test(square_never_rounds_an_integer),
        cmocka_unit_test(square_follows_python_for_reals),
        cmocka_unit_test(cube_keeps_the_sign),
        cmocka_unit_test(power_of_integers_is_exact),
        cmocka_unit_test(power_of_units_takes_any_exponent),
        cmocka_unit_test(power_with_a_negative_exponent_is_real),
        cmocka_unit_test(power_of_reals_has_no_complex_and_no_infinite_result),
        cmocka_unit_test(safe_square_refuses_negative_numbers),
        cmocka_unit_test(cpu_bound_adds_squares_beyond_64_bits),
        cmocka_unit_test(sum_range_is_exact_for_every_n),
        cmocka_unit_test(echo_returns_the_bytes_of_its_argument),
        cmocka_unit_test(sleep_waits_and_returns_null),
        cmocka_unit_test(sleep_refuses_what_python_refuses),
        cmocka_unit_test(is_prime_knows_small_and_large_numbers),
        cmocka_unit_test(primes_in_range_is_half_open),
        cmocka_unit_test(primes_in_range_finds_all_primes_in_one_or_many_windows),
        cmocka_unit_test(primes_in_range_works_up_to_its_limits),
        cmocka_unit_test(matmul_returns_the_shape),
        cmocka_unit_test(tasks_without_memory_raise_memory_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
