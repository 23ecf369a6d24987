/* SPDX-License-Identifier: MIT */
#include "server/wait_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define A "0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b"
#define B "0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3c"

static struct wait_request wanted; /* large */

static void accepted(const char *body)
{
    struct refusal refusal;

    if (wait_json_parse((struct text){ body, strlen(body) }, true, false, SLICE_DEPTH_MAX,
                        &wanted, &refusal) != ST_OK)
        fail_msg("%s: %s", body, refusal.detail);
    refusal_clear(&refusal);
}

static void refused(const char *body, enum problem problem, const char *pointer)
{
    struct refusal refusal;
    char expected[80];

    assert_int_equal(wait_json_parse((struct text){ body, strlen(body) }, true, false,
                                     SLICE_DEPTH_MAX, &wanted, &refusal),
                     ST_INVALID);
    assert_int_equal(refusal.problem, problem);
    assert_int_equal(refusal.error_count, pointer ? 1 : 0);
    (void)snprintf(expected, sizeof(expected), "{\"pointer\":\"%s\"",
                   pointer ? pointer : "");
    if (pointer)
        assert_memory_equal(refusal.errors.data, expected, strlen(expected));
    refusal_clear(&refusal);
}

static void ids_are_a_set_in_the_order_of_the_request(void **state)
{
    (void)state;
    accepted("{\"ids\": [\"" B "\", \"" A "\", \"" B "\"] }");
    assert_int_equal(wanted.count, 2);
    assert_int_equal(wanted.ids[0].bytes[15], 0x3c);
    assert_int_equal(wanted.ids[1].bytes[15], 0x3b);
    accepted("{\"ids\": [\"" A "\", \"" A "\", \"" B "\"] }");
    assert_int_equal(wanted.places[0], 0);
    assert_int_equal(wanted.places[1], 2); /* for the pointer to it */
    accepted("{\"ids\":[]}");
    assert_int_equal(wanted.count, 0);
}

static void what_is_left_out_has_its_default(void **state)
{
    (void)state;
    accepted("{\"ids\":[]}");
    assert_int_equal(wanted.return_when, RETURN_ALL_COMPLETED);
    assert_int_equal(wanted.timeout_ms, -1);
}

static void members_are_read(void **state)
{
    (void)state;
    accepted("{\"timeout\":0,\"return_when\":\"FIRST_COMPLETED\",\"ids\":[]}");
    assert_int_equal(wanted.return_when, RETURN_FIRST_COMPLETED);
    assert_int_equal(wanted.timeout_ms, 0);
    accepted("{\"timeout\":1.5,\"return_when\":\"FIRST_EXCEPTION\",\"ids\":[]}");
    assert_int_equal(wanted.return_when, RETURN_FIRST_EXCEPTION);
    assert_int_equal(wanted.timeout_ms, 1500);
    accepted("{\"timeout\":31536000,\"return_when\":\"ALL_COMPLETED\",\"ids\":[]}");
    assert_int_equal(wanted.return_when, RETURN_ALL_COMPLETED);
}

static void what_is_wrong_is_pointed_at(void **state)
{
    (void)state;
    refused("{}", PROBLEM_VALIDATION_FAILED, "#/ids");
    refused("{\"ids\":{}}", PROBLEM_VALIDATION_FAILED, "#/ids");
    refused("{\"ids\":[\"" A "\",7]}", PROBLEM_VALIDATION_FAILED, "#/ids/1");
    refused("{\"ids\":[\"\"]}", PROBLEM_VALIDATION_FAILED, "#/ids/0");
    refused("{\"ids\":[\"" A "x\"]}", PROBLEM_VALIDATION_FAILED, "#/ids/0");
    refused("{\"ids\":[],\"timeout\":-0.1}", PROBLEM_VALIDATION_FAILED, "#/timeout");
    refused("{\"ids\":[],\"timeout\":31536000.1}", PROBLEM_VALIDATION_FAILED,
            "#/timeout");
    refused("{\"ids\":[],\"timeout\":\"1\"}", PROBLEM_VALIDATION_FAILED, "#/timeout");
    refused("{\"ids\":[],\"timeout\":1e999}", PROBLEM_VALIDATION_FAILED, "#/timeout");
    refused("{\"ids\":[],\"return_when\":1}", PROBLEM_VALIDATION_FAILED, "#/return_when");
    refused("{\"ids\":[],\"when\":1}", PROBLEM_VALIDATION_FAILED, "#/when");
    refused("[]", PROBLEM_VALIDATION_FAILED, NULL);
    refused("{\"ids\":[}", PROBLEM_INVALID_JSON, NULL);
    refused("", PROBLEM_INVALID_JSON, NULL);
}

static void unknown_members_may_be_skipped(void **state)
{
    struct refusal refusal;

    (void)state;
    assert_int_equal(wait_json_parse(TEXT("{\"ids\":[],\"return_when\":1,\"x\":2}"),
                                     false, true, SLICE_DEPTH_MAX, &wanted, &refusal),
                     ST_OK);
    refusal_clear(&refusal);
    assert_int_equal(wait_json_parse(TEXT("{\"ids\":[],\"return_when\":1}"), false, false,
                                     SLICE_DEPTH_MAX, &wanted, &refusal),
                     ST_INVALID);
    refusal_clear(&refusal);
}

static void there_is_a_limit_to_the_ids(void **state)
{
    struct buf body = BUF_INIT;

    (void)state;
    buf_add_str(&body, "{\"ids\":[");
    for (unsigned i = 0; i < WAIT_IDS_MAX; i++)
        buf_addf(&body, "%s\"0192c4b6-7d1e-7c3a-9f20-5d0c8f1e%04x\"", i ? "," : "", i);
    buf_add_str(&body, "]}");
    accepted(body.data);
    assert_int_equal(wanted.count, WAIT_IDS_MAX);
    body.len -= 2;
    buf_add_str(&body, ",\"" A "\"]}");
    refused(body.data, PROBLEM_VALIDATION_FAILED, "#/ids");
    buf_clear(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_a_set_in_the_order_of_the_request),
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(members_are_read),
        cmocka_unit_test(what_is_wrong_is_pointed_at),
        cmocka_unit_test(unknown_members_may_be_skipped),
        cmocka_unit_test(there_is_a_limit_to_the_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
