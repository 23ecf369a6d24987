/* SPDX-License-Identifier: MIT */
#include "common/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MANY 2000 /* so that the table grows several times */

struct element {
    int key;
    UT_hash_handle hh;
};

static struct element elements[MANY];

static struct element *find(struct element *table, int key)
{
    struct element *found;

    HASH_FIND_INT(table, &key, found);
    return found;
}

static void the_first_element_is_refused_without_memory(void **state)
{
    struct element *table = NULL;

    (void)state;
    for (unsigned n = 1; n <= 2; n++) { /* the table, and its buckets */
        mem_fail_at(n, 0);
        HASH_ADD_INT(table, key, &elements[0]);
        mem_fail_at(0, 0);
        assert_false(hash_added(&elements[0].hh));
        assert_null(table);
    }
    HASH_ADD_INT(table, key, &elements[0]);
    assert_true(hash_added(&elements[0].hh));
    HASH_CLEAR(hh, table);
}

static void an_element_that_is_refused_leaves_the_table_as_it_was(void **state)
{
    struct element *table = NULL;
    unsigned refused = 0;

    (void)state;
    for (int i = 0; i < MANY; i++) {
        elements[i].key = i;
        mem_fail_at(1, 1);
        HASH_ADD_INT(table, key, &elements[i]);
        mem_fail_at(0, 0);
        if (!hash_added(&elements[i].hh)) {
            refused++;
            assert_int_equal(HASH_COUNT(table), (unsigned)i);
            assert_null(find(table, i));
            HASH_ADD_INT(table, key, &elements[i]);
        }
        assert_true(hash_added(&elements[i].hh));
    }
    assert_in_range(refused, 2, 20);
    for (int i = 0; i < MANY; i++)
        assert_ptr_equal(find(table, i), &elements[i]);
    HASH_CLEAR(hh, table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_element_is_refused_without_memory),
        cmocka_unit_test(an_element_that_is_refused_leaves_the_table_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
