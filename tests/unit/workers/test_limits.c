/* SPDX-License-Identifier: MIT */
#include "workers/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *parse(const char *json, struct limits *ret_limits, int64_t *ret_ms)
{
    json_t *object = json_loads(json, JSON_DECODE_ANY, NULL);
    const char *why;

    assert_non_null(object);
    why = limits_parse(object, ret_limits, ret_ms);
    json_decref(object);
    return why;
}

static void a_task_says_its_limits(void **state)
{
    struct limits limits;
    int64_t ms;

    (void)state;
    assert_null(parse("{\"time_limit\":1.5,\"cpu_limit\":2,\"memory_limit\":67108864,"
                      "\"file_size_limit\":1,\"open_files_limit\":32,"
                      "\"process_limit\":4194304}",
                      &limits, &ms));
    assert_int_equal(ms, 1500);
    assert_int_equal(limits.cpu_ms, 2000);
    assert_int_equal(limits.at[LIMIT_MEMORY], 67108864);
    assert_int_equal(limits.at[LIMIT_FILE_SIZE], 1);
    assert_int_equal(limits.at[LIMIT_OPEN_FILES], 32);
    assert_int_equal(limits.at[LIMIT_PROCESSES], 4194304);
    assert_null(parse("{}", &limits, &ms));
    assert_null(limits_parse(NULL, &limits, &ms));
    assert_true(ms == 0 && limits_equal(&limits, &(struct limits){ .cpu_ms = 0 }));
}

static void wrong_limits_are_refused(void **state)
{
    static const char *const wrong[] = {
        "[]",
        "1",
        "null",
        "{\"time_limit\":0}",
        "{\"time_limit\":-1}",
        "{\"time_limit\":\"1\"}",
        "{\"time_limit\":2592001}",
        "{\"cpu_limit\":0.0001}",
        "{\"cpu_limit\":null}",
        "{\"memory_limit\":0}",
        "{\"memory_limit\":1e9}",
        "{\"memory_limit\":1125899906842625}",
        "{\"open_files_limit\":-1}",
        "{\"process_limit\":0}",
        "{\"file_size_limit\":\"1M\"}",
        "{\"memory\":67108864}",
    };
    struct limits limits;
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_non_null(parse(wrong[i], &limits, &ms));
}

static void own_limits_come_before_those_of_others(void **state)
{
    const struct limits own = { .at = { [LIMIT_MEMORY] = 5 } };
    const struct limits others = { .at = { 7, 8 }, .cpu_ms = 9 };
    struct limits both = limits_or(&own, &others);

    (void)state;
    assert_int_equal(both.at[LIMIT_MEMORY], 5);
    assert_int_equal(both.at[LIMIT_FILE_SIZE], 8);
    assert_int_equal(both.at[LIMIT_OPEN_FILES], 0);
    assert_int_equal(both.cpu_ms, 9);
}

/* In a child, which the test survives. */
static int in_child(bool (*check)(void))
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid != -1);
    if (pid == 0)
        _exit(check() ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static bool soft_is(__rlimit_resource_t resource, rlim_t expected)
{
    struct rlimit now;

    return getrlimit(resource, &now) == 0 && now.rlim_cur == expected;
}

static bool check_narrow(void)
{
    const struct limits hard = {
        .at = { [LIMIT_OPEN_FILES] = 100, [LIMIT_FILE_SIZE] = 5000 }
    };
    const struct limits own = { .at = {
                                    [LIMIT_OPEN_FILES] = 50, [LIMIT_FILE_SIZE] = 9000 } };
    const struct limits none = { 0 };

    return limits_set(0, &hard) && soft_is(RLIMIT_NOFILE, 100) &&
           limits_narrow(0, &own) && soft_is(RLIMIT_NOFILE, 50) &&
           soft_is(RLIMIT_FSIZE, 5000) && limits_narrow(0, &none) &&
           soft_is(RLIMIT_NOFILE, 100) && limits_set(0, &own) &&
           soft_is(RLIMIT_NOFILE, 50) && limits_set(0, &hard) &&
           soft_is(RLIMIT_NOFILE, 50);
}

static void a_task_has_the_stricter_limit_of_two(void **state)
{
    (void)state;
    assert_int_equal(in_child(check_narrow), 0);
}

static bool spin(void)
{
    volatile unsigned long turns = 0;

    if (!limits_grant_cpu(0, 500))
        return false;
    for (;;)
        turns++;
    return true;
}

static bool grant_and_lift(void)
{
    return limits_grant_cpu(0, 1000) && soft_is(RLIMIT_CPU, 2) &&
           limits_grant_cpu(0, 2000) && soft_is(RLIMIT_CPU, 3) &&
           limits_grant_cpu(0, 0) && soft_is(RLIMIT_CPU, RLIM_INFINITY);
}

static void processor_time_is_granted_from_now_on(void **state)
{
    int status;

    (void)state;
    status = in_child(spin);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU);
    assert_int_equal(in_child(grant_and_lift), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_says_its_limits),
        cmocka_unit_test(wrong_limits_are_refused),
        cmocka_unit_test(own_limits_come_before_those_of_others),
        cmocka_unit_test(a_task_has_the_stricter_limit_of_two),
        cmocka_unit_test(processor_time_is_granted_from_now_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
