/* SPDX-License-Identifier: MIT */
#include "server/pool_json.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROCESSES 3

static struct pool_spec *parse(const char *text, const struct pool_intake *intake,
                               struct refusal *ret_refusal)
{
    struct blob *body = blob_new(text, strlen(text));
    struct pool_spec *spec = NULL;
    enum status st;

    assert_non_null(body);
    st = pool_json_parse(body, intake, &spec, ret_refusal);
    assert_int_equal(st == ST_OK, spec != NULL);
    blob_unref(body);
    return spec;
}

/* With one reference. */
static struct pool_spec *accepted(const char *text, const struct pool_spec *old)
{
    const struct pool_intake intake = { .max_depth = SLICE_DEPTH_MAX,
                                        .old = old,
                                        .processes = PROCESSES };
    struct refusal refusal;
    struct pool_spec *spec = parse(text, &intake, &refusal);

    if (!spec)
        fail_msg("%s: %s", text, refusal.detail);
    refusal_clear(&refusal);
    return spec;
}

static void assert_refused(const char *text, const struct pool_spec *old,
                           enum problem problem, const char *pointer)
{
    const struct pool_intake intake = { .max_depth = SLICE_DEPTH_MAX,
                                        .old = old,
                                        .processes = PROCESSES };
    struct refusal refusal;
    char expected[64];

    assert_null(parse(text, &intake, &refusal));
    assert_int_equal(refusal.problem, problem);
    (void)snprintf(expected, sizeof(expected), "{\"pointer\":\"%s\"", pointer);
    if (pointer[0] &&
        (refusal.error_count != 1 || !strstr(refusal.errors.data, expected)))
        fail_msg("%s: %s", text, refusal.errors.data);
    refusal_clear(&refusal);
}

static void assert_written(const struct pool_spec *spec, const char *expected)
{
    struct buf out = BUF_INIT;

    pool_json_write(&out, spec);
    assert_string_equal(out.data, expected);
    buf_clear(&out);
}

static void name_alone_is_enough(void **state)
{
    struct pool_spec *spec = accepted("{\"name\":\"p\"}", NULL);

    (void)state;
    assert_written(spec, "\"name\":\"p\",\"processes\":3,\"start_method\":\"forkserver\","
                         "\"maxtasksperchild\":null,\"initializer\":null,\"initargs\":[],"
                         "\"time_limit\":null,\"cpu_limit\":null,\"memory_limit\":null,"
                         "\"file_size_limit\":null,\"open_files_limit\":null,"
                         "\"process_limit\":null");
    pool_spec_unref(spec);
}

static void null_is_the_default(void **state)
{
    struct pool_spec *spec =
        accepted("{\"name\":\"p\",\"processes\":null,\"maxtasksperchild\":null,"
                 "\"initializer\":null,\"time_limit\":null,\"memory_limit\":null,"
                 "\"cpu_limit\":null,\"file_size_limit\":null,\"open_files_limit\":null,"
                 "\"process_limit\":null}",
                 NULL);

    (void)state;
    assert_int_equal(spec->processes, PROCESSES);
    assert_int_equal(spec->maxtasksperchild, 0);
    assert_null(spec->initializer);
    assert_int_equal(spec->time_limit_ms, 0);
    assert_true(limits_equal(&spec->limits, &(struct limits){ .cpu_ms = 0 }));
    pool_spec_unref(spec);
}

static void everything_comes_back_as_it_was_sent(void **state)
{
    struct pool_spec *spec =
        accepted("{\"name\":\"a.b:c-d_9\",\"processes\":1024,\"maxtasksperchild\":1,"
                 "\"start_method\":\"spawn\",\"initializer\":\"power\","
                 "\"initargs\":[ 0.10,1e400 ],\"time_limit\":1.5,"
                 "\"cpu_limit\":2.5,\"memory_limit\":67108864,\"file_size_limit\":1,"
                 "\"open_files_limit\":32,\"process_limit\":4194304}",
                 NULL);

    (void)state;
    assert_written(spec, "\"name\":\"a.b:c-d_9\",\"processes\":1024,\"start_method\":"
                         "\"spawn\",\"maxtasksperchild\":1,\"initializer\":\"power\","
                         "\"initargs\":[ 0.10,1e400 ],\"time_limit\":1.5,"
                         "\"cpu_limit\":2.5,\"memory_limit\":67108864,"
                         "\"file_size_limit\":1,\"open_files_limit\":32,"
                         "\"process_limit\":4194304");
    pool_spec_unref(spec);
}

static void every_member_has_its_range(void **state)
{
    static const struct {
        const char *member, *pointer;
    } wrong[] = {
        { "\"processes\":0", "#/processes" },
        { "\"processes\":1025", "#/processes" },
        { "\"processes\":1.5", "#/processes" },
        { "\"processes\":\"2\"", "#/processes" },
        { "\"maxtasksperchild\":0", "#/maxtasksperchild" },
        { "\"maxtasksperchild\":-1", "#/maxtasksperchild" },
        { "\"maxtasksperchild\":1.0", "#/maxtasksperchild" },
        { "\"maxtasksperchild\":9223372036854775808", "#/maxtasksperchild" },
        { "\"start_method\":\"thread\"", "#/start_method" },
        { "\"start_method\":null", "#/start_method" },
        { "\"initializer\":\"\"", "#/initializer" },
        { "\"initializer\":1", "#/initializer" },
        { "\"initargs\":{}", "#/initargs" },
        { "\"initargs\":null", "#/initargs" },
        { "\"time_limit\":0", "#/time_limit" },
        { "\"time_limit\":-1", "#/time_limit" },
        { "\"time_limit\":31536001", "#/time_limit" },
        { "\"time_limit\":\"1\"", "#/time_limit" },
        { "\"memory_limit\":67108863", "#/memory_limit" },
        { "\"memory_limit\":1125899906842625", "#/memory_limit" },
        { "\"memory_limit\":1e9", "#/memory_limit" },
        { "\"cpu_limit\":0", "#/cpu_limit" },
        { "\"cpu_limit\":2592001", "#/cpu_limit" },
        { "\"cpu_limit\":\"1\"", "#/cpu_limit" },
        { "\"file_size_limit\":0", "#/file_size_limit" },
        { "\"file_size_limit\":1125899906842625", "#/file_size_limit" },
        { "\"open_files_limit\":31", "#/open_files_limit" },
        { "\"open_files_limit\":1048577", "#/open_files_limit" },
        { "\"process_limit\":0", "#/process_limit" },
        { "\"process_limit\":4194305", "#/process_limit" },
        { "\"process_limit\":true", "#/process_limit" },
        { "\"other\":1", "#/other" },
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        (void)snprintf(text, sizeof(text), "{\"name\":\"p\",%s}", wrong[i].member);
        assert_refused(text, NULL, PROBLEM_VALIDATION_FAILED, wrong[i].pointer);
    }
}

static void name_follows_the_rule(void **state)
{
    static const char *const names[] = { "1",       "\"\"",    "\"A\"", "\"9\"",
                                         "\"a b\"", "\"a/b\"", "null" };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(text, sizeof(text), "{\"name\":%s}", names[i]);
        assert_refused(text, NULL, PROBLEM_VALIDATION_FAILED, "#/name");
    }
    assert_refused("{}", NULL, PROBLEM_VALIDATION_FAILED, "#/name");
}

static void initializer_has_to_be_a_task(void **state)
{
    (void)state;
    assert_refused("{\"name\":\"p\",\"initializer\":\"nonesuch\"}", NULL,
                   PROBLEM_UNKNOWN_TASK, "#/initializer");
}

static void arguments_have_a_limit(void **state)
{
    char *text = malloc(POOL_INITARGS_MAX + 100);
    int at = sprintf(text, "{\"name\":\"p\",\"initargs\":[\"");

    (void)state;
    memset(text + at, 'x', POOL_INITARGS_MAX - 4);
    strcpy(text + at + POOL_INITARGS_MAX - 4, "\"]}");
    pool_spec_unref(accepted(text, NULL));
    strcpy(text + at + POOL_INITARGS_MAX - 4, "x\"]}");
    assert_refused(text, NULL, PROBLEM_VALIDATION_FAILED, "#/initargs");
    free(text);
}

static void lenient_request_may_have_unknown_members(void **state)
{
    const struct pool_intake intake = { .max_depth = SLICE_DEPTH_MAX,
                                        .lenient = true,
                                        .processes = 1 };
    struct refusal refusal;
    struct pool_spec *spec = parse("{\"name\":\"p\",\"other\":1}", &intake, &refusal);

    (void)state;
    assert_non_null(spec);
    refusal_clear(&refusal);
    pool_spec_unref(spec);
}

static void change_keeps_what_it_does_not_name(void **state)
{
    struct pool_spec *old =
        accepted("{\"name\":\"p\",\"processes\":2,\"initializer\":\"echo\","
                 "\"initargs\":[1],\"time_limit\":3,\"maxtasksperchild\":4}",
                 NULL);
    struct pool_spec *spec = accepted("{\"processes\":5,\"time_limit\":null}", old);

    (void)state;
    assert_string_equal(spec->name, "p");
    assert_int_equal(spec->processes, 5);
    assert_int_equal(spec->time_limit_ms, 0);
    assert_int_equal(spec->maxtasksperchild, 4);
    assert_string_equal(spec->initializer, "echo");
    assert_string_equal(spec->initargs, "[1]");
    pool_spec_unref(spec);
    spec = accepted("{}", old);
    assert_int_equal(spec->processes, 2);
    pool_spec_unref(spec);
    for (const char *const *text =
             (const char *const[]){ "name\":\"q", "start_method\":\"fork",
                                    "initializer\":\"square", "initargs\":\"", NULL };
         *text; text++) {
        char body[64], pointer[32];

        (void)snprintf(body, sizeof(body), "{\"%s\"}", *text);
        (void)snprintf(pointer, sizeof(pointer), "#/%.*s", (int)strcspn(*text, "\""),
                       *text);
        assert_refused(body, old, PROBLEM_VALIDATION_FAILED, pointer);
    }
    assert_refused("{\"processes\":null}", old, PROBLEM_VALIDATION_FAILED, "#/processes");
    pool_spec_unref(old);
}

static void what_is_no_object_is_refused(void **state)
{
    (void)state;
    assert_refused("", NULL, PROBLEM_INVALID_JSON, "");
    assert_refused("{\"name\":}", NULL, PROBLEM_INVALID_JSON, "");
    assert_refused("[]", NULL, PROBLEM_VALIDATION_FAILED, "");
}

static void request_with_a_key_has_a_hash(void **state)
{
    const struct pool_intake intake = { .max_depth = SLICE_DEPTH_MAX,
                                        .processes = 1,
                                        .idempotency_key = "k" };
    struct refusal refusal;
    struct pool_spec *one = parse("{\"name\":\"p\"}", &intake, &refusal), *other;

    (void)state;
    refusal_clear(&refusal);
    other = parse("{\"name\":\"q\"}", &intake, &refusal);
    refusal_clear(&refusal);
    assert_string_equal(one->idempotency_key, "k");
    assert_true(one->request_hash != other->request_hash);
    pool_spec_unref(one);
    pool_spec_unref(other);
}

static void failed_allocation_makes_no_pool(void **state)
{
    static const char text[] = "{\"name\":\"p\",\"initargs\":[1]}";
    const struct pool_intake intake = { .max_depth = SLICE_DEPTH_MAX, .processes = 1 };
    struct blob *body = blob_new(text, sizeof(text) - 1);
    enum status st = ST_NO_MEMORY;

    (void)state;
    for (unsigned long n = 1; st != ST_OK; n++) {
        struct pool_spec *spec = NULL;
        struct refusal refusal;

        mem_fail_at(n, 0);
        st = pool_json_parse(body, &intake, &spec, &refusal);
        mem_fail_at(0, 0);
        assert_int_equal(st == ST_OK, spec != NULL);
        if (st != ST_OK)
            assert_int_equal(refusal.problem, PROBLEM_NO_MEMORY);
        refusal_clear(&refusal);
        pool_spec_unref(spec);
    }
    blob_unref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_alone_is_enough),
        cmocka_unit_test(null_is_the_default),
        cmocka_unit_test(everything_comes_back_as_it_was_sent),
        cmocka_unit_test(every_member_has_its_range),
        cmocka_unit_test(name_follows_the_rule),
        cmocka_unit_test(initializer_has_to_be_a_task),
        cmocka_unit_test(arguments_have_a_limit),
        cmocka_unit_test(lenient_request_may_have_unknown_members),
        cmocka_unit_test(change_keeps_what_it_does_not_name),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(request_with_a_key_has_a_hash),
        cmocka_unit_test(failed_allocation_makes_no_pool),
    };

    return cmocka_run_group_tests_name("pool_json", tests, NULL, NULL);
}
