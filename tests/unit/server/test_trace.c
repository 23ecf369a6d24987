/* SPDX-License-Identifier: MIT */
#include "server/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define IDS "-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"

static void trace_parent_of_the_standard_is_taken(void **state)
{
    char parent[TRACE_PARENT_LEN + 1];

    (void)state;
    assert_true(trace_parent_take("00" IDS "01", parent));
    assert_string_equal(parent, "00" IDS "01");
    assert_true(trace_parent_take("00" IDS "00", parent));
    assert_true(trace_parent_take("cc" IDS "01", parent));
    assert_true(trace_parent_take("cc" IDS "01-what-the-future-brings", parent));
    assert_string_equal(parent, "00" IDS "01");
}

static void trace_parent_that_is_not_valid_is_ignored(void **state)
{
    static const char *const bad[] = {
        NULL,
        "",
        "00",
        "00" IDS "0",
        "00" IDS "01-",
        "00" IDS "01-x",
        "00" IDS "011",
        "ff" IDS "01",
        "cc" IDS "01.x",
        "00" IDS "0G",
        "00" IDS "0A",
        " 00" IDS "01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\n-01",
    };
    char parent[TRACE_PARENT_LEN + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(trace_parent_take(bad[i], parent));
        assert_string_equal(parent, "");
    }
}

/* ---- tracestate -------------------------------------------------------------------- */

/* Of the values of as many headers; the last one is NULL. */
static const char *state_of(const char *const values[])
{
    static char text[TRACE_STATE_MAX + 1];
    struct trace_state state;

    trace_state_init(&state);
    for (; *values; values++)
        trace_state_add(&state, *values);
    trace_state_write(&state, text);
    return text;
}

#define STATE(...) state_of((const char *const[]){ __VA_ARGS__, NULL })

static char *repeat(char *at, char c, size_t count)
{
    memset(at, c, count);
    at[count] = '\0';
    return at + count;
}

/* KEY=VALUE of these lengths. */
static const char *member(char key, size_t key_len, size_t value_len)
{
    static char texts[8][1024];
    static unsigned next;
    char *text = texts[next++ % 8], *at = repeat(text, key, key_len);

    *at++ = '=';
    repeat(at, 'v', value_len);
    return text;
}

static void trace_state_of_the_standard_is_taken_as_it_is(void **state)
{
    static const char *const good[] = {
        "rojo=00f067aa0ba902b7",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "fw529a3039@dt=FfffeLe",
        "0a@b=1",
        "a_-*/0=x",
        "t_-*/0@s_-*/0=x",
        "a=!\"#$%&'()*+-./0123456789:;<>?@AZ[\\]^_`az{|}~",
        "a= of words",
        "a=1,a=2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_string_equal(STATE(good[i]), good[i]);
}

static void trace_state_of_several_headers_is_joined_in_their_order(void **state)
{
    (void)state;
    assert_string_equal(STATE("b=1,c=2", "a=3"), "b=1,c=2,a=3");
    assert_string_equal(STATE("b=1", "", "a=3"), "b=1,a=3");
}

static void trace_state_loses_what_is_empty_and_white_space_around_members(void **state)
{
    (void)state;
    assert_string_equal(STATE(""), "");
    assert_string_equal(STATE(" ,\t,"), "");
    assert_string_equal(STATE(" a=1\t , ,\tb=2 ,,"), "a=1,b=2");
}

static void trace_state_that_is_not_valid_is_ignored_as_a_whole(void **state)
{
    static const char *const bad[] = {
        "a",       "=1",         "a=",        "a=\t",  "A=1",    "aB=1",
        "0=1",     "_a=1",       "a b=1",     "a =1",  "a@=1",   "@a=1",
        "a@b@c=1", "a@0=1",      "A@b=1",     "a@B=1", "a=b=c",  "a=1\t2",
        "a=\x7f",  "a=\xc3\xa4", "a=1;b=2=3", "a.b=1", "a=\x01", "a,",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_string_equal(STATE(bad[i]), "");
        assert_string_equal(STATE("a=1", bad[i], "b=2"), "");
    }
}

static void keys_and_values_have_the_lengths_of_the_standard(void **state)
{
    char tenant[300];

    (void)state;
    assert_string_equal(STATE(member('k', 255, 256)), member('k', 255, 256));
    assert_string_equal(STATE(member('k', 256, 1)), member('k', 256, 1));
    assert_string_equal(STATE(member('k', 257, 1)), "");
    assert_string_equal(STATE(member('k', 1, 257)), "");
    strcpy(repeat(tenant, 't', 241), "@ssssssssssssss=1");
    assert_string_equal(STATE(tenant), tenant);
    strcpy(repeat(tenant, 't', 242), "@s=1");
    assert_string_equal(STATE(tenant), "");
    assert_string_equal(STATE("t@sssssssssssssss=1"), "");
}

static void trace_state_has_32_members_and_no_more(void **state)
{
    char text[256];
    size_t len = 0;

    (void)state;
    for (int i = 0; i < 32; i++)
        len +=
            (size_t)snprintf(text + len, sizeof(text) - len, "%sk%d=v", i ? "," : "", i);
    assert_string_equal(STATE(text), text);
    assert_string_equal(STATE(text, ""), text);
    assert_string_equal(STATE(text, "more=v"), "");
}

static void trace_state_of_512_bytes_is_whole(void **state)
{
    char text[1024];

    (void)state;
    snprintf(text, sizeof(text), "%s,%s", member('a', 100, 156), member('b', 100, 153));
    assert_int_equal(strlen(text), 512);
    assert_string_equal(STATE(text), text);
    snprintf(text, sizeof(text), "%s,%s", member('a', 100, 156), member('b', 100, 154));
    assert_string_equal(STATE(text), member('a', 100, 156));
}

static void members_of_more_than_128_bytes_are_the_first_to_go(void **state)
{
    char text[1024], left[1024];

    (void)state;
    /* 129 and 128 bytes: only the first is long. */
    snprintf(text, sizeof(text), "%s,%s,%s,%s,z=1", member('a', 1, 127),
             member('b', 1, 126), member('c', 1, 126), member('d', 1, 126));
    assert_string_equal(STATE(text), strchr(text, ',') + 1);
    /* The last of the long ones goes, and that is enough. */
    snprintf(text, sizeof(text), "%s,%s,z=1", member('a', 1, 250),
             member('b', 1, 257 - 1));
    snprintf(left, sizeof(left), "%s,z=1", member('a', 1, 250));
    assert_string_equal(STATE(text), left);
    /* None is long: from the end. */
    snprintf(text, sizeof(text), "%s,%s,%s,%s,z=1", member('a', 1, 126),
             member('b', 1, 126), member('c', 1, 126), member('d', 1, 126));
    *strrchr(text, ',') = '\0';
    snprintf(left, sizeof(left), "%s", text);
    *strrchr(left, ',') = '\0';
    assert_string_equal(STATE(text), left);
    /* Nothing is left of one that is too long. */
    assert_string_equal(STATE(member('k', 256, 256)), "");
}

/* ---- both -------------------------------------------------------------------------- */

static void trace_is_the_parent_and_its_state(void **state)
{
    char trace[TRACE_MAX + 1];

    (void)state;
    assert_true(trace_take("00" IDS "01", "a=1", trace));
    assert_string_equal(trace, "00" IDS "01a=1");
    assert_string_equal(trace_state_of(trace), "a=1");
    assert_true(trace_take("00" IDS "01", NULL, trace));
    assert_string_equal(trace, "00" IDS "01");
    assert_true(trace_take("00" IDS "01", "no", trace));
    assert_string_equal(trace, "00" IDS "01");
    assert_false(trace_take(NULL, "a=1", trace));
    assert_string_equal(trace, "");
    assert_false(trace_take("no", "a=1", trace));
    assert_string_equal(trace, "");
}

static void trace_comes_back_out_of_json(void **state)
{
    static const char *const traces[] = {
        "00" IDS "01",
        "00" IDS "01rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "00" IDS "01a=\\\"\\,b=\"/'",
    };
    char found[TRACE_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(traces) / sizeof(traces[0]); i++) {
        struct buf out = BUF_INIT;

        buf_add_str(&out, "{\"task\":\"t\"");
        trace_write_json(&out, traces[i]);
        buf_add_str(&out, "}");
        assert_true(trace_find_json(buf_text(&out), found));
        assert_string_equal(found, traces[i]);
        /* Cut off anywhere it is read to its end and not beyond. */
        for (size_t len = 0; len < out.len; len++)
            (void)trace_find_json((struct text){ out.data, len }, found);
        buf_clear(&out);
    }
    assert_false(trace_find_json(TEXT("{\"task\":\"t\"}"), found));
    assert_string_equal(found, "");
    assert_false(trace_find_json(TEXT("{\"t\":1,\"traceparent\":\"x\"}"), found));
}

static void no_trace_is_no_json(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    trace_write_json(&out, NULL);
    assert_int_equal(out.len, 0);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace_parent_of_the_standard_is_taken),
        cmocka_unit_test(trace_parent_that_is_not_valid_is_ignored),
        cmocka_unit_test(trace_state_of_the_standard_is_taken_as_it_is),
        cmocka_unit_test(trace_state_of_several_headers_is_joined_in_their_order),
        cmocka_unit_test(trace_state_loses_what_is_empty_and_white_space_around_members),
        cmocka_unit_test(trace_state_that_is_not_valid_is_ignored_as_a_whole),
        cmocka_unit_test(keys_and_values_have_the_lengths_of_the_standard),
        cmocka_unit_test(trace_state_has_32_members_and_no_more),
        cmocka_unit_test(trace_state_of_512_bytes_is_whole),
        cmocka_unit_test(members_of_more_than_128_bytes_are_the_first_to_go),
        cmocka_unit_test(trace_is_the_parent_and_its_state),
        cmocka_unit_test(trace_comes_back_out_of_json),
        cmocka_unit_test(no_trace_is_no_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
