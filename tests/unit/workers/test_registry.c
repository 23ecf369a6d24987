/* SPDX-License-Identifier: MIT */
#include "workers/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
static const char name_bytes[] = "abcdefghijklmnopqrstuvwxyz0123456789_.:-";

static void registry_is_sorted_by_name(void **state)
{
    (void)state;
    assert_true(registry_count() > 0);
    for (size_t i = 1; i < registry_count(); i++)
        assert_true(strcmp(registry_at(i - 1)->name, registry_at(i)->name) < 0);
    assert_null(registry_at(registry_count()));
}

static void registry_finds_every_task_by_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < registry_count(); i++) {
        const struct task *task = registry_at(i);

        assert_ptr_equal(registry_find((struct text){ task->name, strlen(task->name) }),
                         task);
    }
}

static void registry_has_the_promised_tasks(void **state)
{
    static const char *const names[] = {
        "cpu_bound",       "cube",        "echo",  "is_prime", "matmul",    "power",
        "primes_in_range", "safe_square", "sleep", "square",   "sum_range",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_non_null(registry_find((struct text){ names[i], strlen(names[i]) }));
}

static void registry_finds_no_part_and_no_extension_of_a_name(void **state)
{
    (void)state;
    assert_null(registry_find(TEXT("squar")));
    assert_null(registry_find(TEXT("squares")));
    assert_null(registry_find(TEXT("Square")));
    assert_null(registry_find(TEXT("a")));
    assert_null(registry_find(TEXT("zzz")));
    assert_null(registry_find(TEXT("")));
    assert_null(registry_find((struct text){ NULL, 0 }));
}

static void registry_compares_only_the_bytes_of_the_name(void **state)
{
    (void)state;
    assert_non_null(registry_find((struct text){ "squares", 6 }));
    assert_null(registry_find((struct text){ "square\0x", 8 }));
}

/* "name(a, b)", made of the parameters, is the signature. */
static void assert_described(const struct task *task)
{
    const char *at = task->signature;

    assert_true(strncmp(at, task->name, strlen(task->name)) == 0);
    at += strlen(task->name);
    assert_true(*at++ == '(');
    for (size_t i = 0; i < TASK_PARAMS_MAX && task->params[i]; i++) {
        if (i > 0) {
            assert_true(strncmp(at, ", ", 2) == 0);
            at += 2;
        }
        assert_true(strncmp(at, task->params[i], strlen(task->params[i])) == 0);
        at += strlen(task->params[i]);
    }
    assert_string_equal(at, ")");
}

static void registry_tasks_are_described_as_the_header_asks(void **state)
{
    (void)state;
    for (size_t i = 0; i < registry_count(); i++) {
        const struct task *task = registry_at(i);

        assert_true(strlen(task->name) <= TASK_NAME_MAX);
        assert_int_equal(strspn(task->name, name_bytes), strlen(task->name));
        assert_true(strspn(task->name, letters) > 0);
        assert_true(task->summary[strlen(task->summary) - 1] != '\n');
        assert_non_null(task->run);
        assert_described(task);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registry_is_sorted_by_name),
        cmocka_unit_test(registry_finds_every_task_by_its_name),
        cmocka_unit_test(registry_has_the_promised_tasks),
        cmocka_unit_test(registry_finds_no_part_and_no_extension_of_a_name),
        cmocka_unit_test(registry_compares_only_the_bytes_of_the_name),
        cmocka_unit_test(registry_tasks_are_described_as_the_header_asks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
