/* SPDX-License-Identifier: MIT */
#include "server/pool_spec.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void spec_is_a_copy(void **state)
{
    char name[] = "p", initializer[] = "echo", initargs[] = "[1]", key[] = "k";
    struct pool_spec *spec = pool_spec_new(&(struct pool_spec){
        .name = name,
        .processes = 3,
        .start_method = START_SPAWN,
        .initializer = initializer,
        .initargs = initargs,
        .idempotency_key = key,
    });

    (void)state;
    assert_non_null(spec);
    name[0] = initializer[0] = initargs[0] = key[0] = 'x';
    assert_string_equal(spec->name, "p");
    assert_string_equal(spec->initializer, "echo");
    assert_string_equal(spec->initargs, "[1]");
    assert_string_equal(spec->idempotency_key, "k");
    assert_int_equal(spec->processes, 3);
    assert_int_equal(spec->start_method, START_SPAWN);
    assert_ptr_equal(pool_spec_ref(spec), spec);
    pool_spec_unref(spec);
    assert_string_equal(spec->name, "p");
    pool_spec_unref(spec);
    pool_spec_unref(NULL);
}

static void what_is_not_there_stays_null(void **state)
{
    struct pool_spec *spec =
        pool_spec_new(&(struct pool_spec){ .name = "p", .initargs = "[]" });

    (void)state;
    assert_non_null(spec);
    assert_null(spec->initializer);
    assert_null(spec->idempotency_key);
    pool_spec_unref(spec);
}

static void without_memory_there_is_no_spec(void **state)
{
    (void)state;
    mem_fail_at(1, 0);
    assert_null(pool_spec_new(&(struct pool_spec){ .name = "p", .initargs = "[]" }));
    mem_fail_at(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spec_is_a_copy),
        cmocka_unit_test(what_is_not_there_stays_null),
        cmocka_unit_test(without_memory_there_is_no_spec),
    };

    return cmocka_run_group_tests_name("pool_spec", tests, NULL, NULL);
}
