/* SPDX-License-Identifier: MIT */
#include "workers/json_write.h"

#include "common/json_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void assert_written(json_t *value, const char *expected)
{
    struct buf out = BUF_INIT;

    assert_non_null(value);
    assert_int_equal(json_write(&out, value), ST_OK);
    assert_string_equal(out.data, expected);
    buf_clear(&out);
    json_decref(value);
}

static void values_are_written_as_they_are(void **state)
{
    (void)state;
    assert_written(json_null(), "null");
    assert_written(json_true(), "true");
    assert_written(json_false(), "false");
    assert_written(json_integer(-7), "-7");
    assert_written(json_string("a\"\n\xc3\xa9"), "\"a\\\"\\n\xc3\xa9\"");
    assert_written(json_array(), "[]");
    assert_written(json_object(), "{}");
    assert_written(json_pack("[i,[s],{s:i,s:n}]", 1, "x", "a", 2, "b\"", NULL),
                   "[1,[\"x\"],{\"a\":2,\"b\\\"\":null}]");
}

static void reals_have_the_shortest_digits(void **state)
{
    (void)state;
    assert_written(json_real(0.1), "0.1");
    assert_written(json_real(100), "100.0");
    assert_written(json_real(1e300), "1e+300");
    assert_written(json_real(-0.0), "-0.0");
}

static json_t *nested(unsigned depth)
{
    json_t *outer = json_array(), *inner = outer;

    for (unsigned i = 1; i < depth; i++) {
        json_t *more = json_array();

        json_array_append_new(inner, more);
        inner = more;
    }
    return outer;
}

static void nesting_is_limited_as_that_of_all_json(void **state)
{
    json_t *fits = nested(SLICE_DEPTH_MAX), *deeper = nested(SLICE_DEPTH_MAX + 1);
    struct buf out = BUF_INIT;
    struct slice_error error;
    enum slice_kind kind;

    (void)state;
    assert_int_equal(json_write(&out, fits), ST_OK);
    assert_int_equal(slice_check(buf_text(&out), &kind, &error), SLICE_OK);
    assert_int_equal(json_write(&out, deeper), ST_LIMIT);
    json_decref(fits);
    json_decref(deeper);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_written_as_they_are),
        cmocka_unit_test(reals_have_the_shortest_digits),
        cmocka_unit_test(nesting_is_limited_as_that_of_all_json),
    };

    return cmocka_run_group_tests_name("json_write", tests, NULL, NULL);
}
