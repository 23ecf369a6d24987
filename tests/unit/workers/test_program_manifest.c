/* SPDX-License-Identifier: MIT */
#include "workers/program_manifest.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char *no_environment[] = { NULL };

static json_t *load(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);

    assert_non_null(json);
    return json;
}

static json_t *definition_of(const char *text, const char *folder)
{
    json_t *manifest = load(text), *definition = NULL;
    struct error_text err = { "" };

    assert_int_equal(program_manifest_check(manifest, folder, &definition, &err), ST_OK);
    json_decref(manifest);
    return definition;
}

/* ---- checking ---------------------------------------------------------------------- */

static void wrong_manifests_are_refused_with_a_pointer(void **state)
{
#define HEAD "{\"name\":\"a\",\"command\":[\"/bin/sh\"],\"mode\":\"oneshot\","
#define KEPT "{\"name\":\"a\",\"command\":[\"/bin/sh\"],\"mode\":\"persistent\","
    static const struct {
        const char *json, *reason;
    } cases[] = {
        { "[]", "it is no JSON object" },
        { "{}", "/name: is not a task's name" },
        { "{\"name\":5}", "/name: " },
        { "{\"name\":\"\"}", "/name: " },
        { "{\"name\":\"a b\"}", "/name: " },
        { "{\"name\":\"a\"}", "/command: is not an array" },
        { "{\"name\":\"a\",\"command\":\"ls -l\"}", "/command: is not an array" },
        { "{\"name\":\"a\",\"command\":[]}", "/command: is not an array" },
        { "{\"name\":\"a\",\"command\":[\"sh\",5]}", "/command/1: is not a string" },
        { "{\"name\":\"a\",\"command\":[\"\"]}", "/command/0: is empty" },
        { "{\"name\":\"a\",\"command\":[\"/bin/sh\"]}", "/mode: " },
        { "{\"name\":\"a\",\"command\":[\"/bin/sh\"],\"mode\":\"shell\"}", "/mode: " },
        { "{\"name\":\"a\",\"command\":[\"/bin/sh\"],\"mode\":1}", "/mode: " },
        { HEAD "\"summary\":1}", "/summary: is not a string" },
        { HEAD "\"signature\":null}", "/signature: is not a string" },
        { HEAD "\"cwd\":\"/\"}", "/cwd: is not a member of a manifest" },
        { HEAD "\"env\":[]}", "/env: is not an object" },
        { HEAD "\"env\":{\"A\":1}}", "/env/A: is not a string" },
        { HEAD "\"env\":{\"A=B\":\"1\"}}", "/env/A=B: is no name" },
        { HEAD "\"env\":{\"\":\"1\"}}", "/env/: is no name" },
        { HEAD "\"limits\":5}", "/limits: is not an object" },
        { HEAD "\"limits\":{\"disk\":5}}", "/limits/disk: is not a limit" },
        { HEAD "\"limits\":{\"time\":0}}", "/limits/time: is not a number from 0.001" },
        { HEAD "\"limits\":{\"time\":\"5\"}}", "/limits/time: is not a number" },
        { HEAD "\"limits\":{\"time\":2592001}}", "/limits/time: is not a number" },
        { HEAD "\"limits\":{\"cpu\":0.5}}", "/limits/cpu: is not a whole number" },
        { HEAD "\"limits\":{\"cpu\":0}}", "/limits/cpu: " },
        { HEAD "\"limits\":{\"memory\":1000}}", "/limits/memory: " },
        { HEAD "\"limits\":{\"memory\":null}}", "/limits/memory: " },
        { HEAD "\"limits\":{\"file_size\":0}}", "/limits/file_size: " },
        { HEAD "\"limits\":{\"open_files\":3}}", "/limits/open_files: " },
        { HEAD "\"limits\":{\"line\":1000}}",
          "/limits/line: is for the mode persistent" },
        { KEPT "\"limits\":{\"line\":63}}", "/limits/line: is not a whole number" },
        { KEPT "\"limits\":{\"line\":536870913}}", "/limits/line: " },
        { HEAD "\"limits\":{\"line\":100}}",
          "/limits/line: is for the mode persistent only" },
        { "{\"name\":\"a\",\"command\":[\"/no/such\"],\"mode\":\"oneshot\"}",
          "/command/0: /no/such: there is no such file" },
        { "{\"name\":\"a\",\"command\":[\"./such\"],\"mode\":\"oneshot\"}",
          "/command/0: /tmp/none/./such: there is no such file" },
        { "{\"name\":\"a\",\"command\":[\"/etc/passwd\"],\"mode\":\"oneshot\"}",
          "/command/0: /etc/passwd: it is not executable; use: chmod +x" },
        { "{\"name\":\"a\",\"command\":[\"/etc/\"],\"mode\":\"oneshot\"}",
          "/command/0: /etc/: it is no regular file" },
        { "{\"name\":\"a\",\"command\":[\"no such thing\"],\"mode\":\"oneshot\"}",
          "/command/0: there is no program no such thing in PATH" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *manifest = load(cases[i].json), *definition = NULL;
        struct error_text err = { "" };

        assert_int_equal(program_manifest_check(manifest, "/tmp/none", &definition, &err),
                         ST_INVALID);
        if (strncmp(err.text, cases[i].reason, strlen(cases[i].reason)) != 0)
            fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].json, err.text,
                     cases[i].reason);
        assert_null(definition);
        json_decref(manifest);
    }
}

static void too_many_arguments_and_variables_are_refused(void **state)
{
    json_t *manifest = load("{\"name\":\"a\",\"mode\":\"oneshot\"}"), *definition = NULL;
    json_t *command = json_array(), *env = json_object();
    struct error_text err;
    char name[16];

    (void)state;
    for (int i = 0; i <= PROGRAM_ARGS_MAX; i++)
        json_array_append_new(command, json_string("/bin/sh"));
    json_object_set_new(manifest, "command", command);
    assert_int_equal(program_manifest_check(manifest, "/", &definition, &err),
                     ST_INVALID);
    json_array_remove(command, 0);
    for (int i = 0; i <= PROGRAM_ENV_MAX; i++) {
        snprintf(name, sizeof(name), "V%d", i);
        json_object_set_new(env, name, json_string(""));
    }
    json_object_set_new(manifest, "env", env);
    assert_int_equal(program_manifest_check(manifest, "/", &definition, &err),
                     ST_INVALID);
    json_object_del(env, "V0");
    assert_int_equal(program_manifest_check(manifest, "/", &definition, &err), ST_OK);
    json_decref(definition);
    json_decref(manifest);
}

/* ---- finding the program ----------------------------------------------------------- */

static void program_is_found_absolute_by_its_folder_and_in_path(void **state)
{
    static const struct {
        const char *command, *folder, *file;
    } cases[] = {
        { "/bin/sh", "/nowhere", "/bin/sh" },
        { "./sh", "/bin", "/bin/./sh" },
        { "bin/sh", "/", "//bin/sh" },
        { "sh", "/nowhere", "/bin/sh" },
    };

    (void)state;
    assert_int_equal(setenv("PATH", "relative::/no-such:/bin", 1), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *manifest = json_pack("{s:s, s:[s], s:s}", "name", "a", "command",
                                     cases[i].command, "mode", "oneshot");
        json_t *definition = NULL;
        struct error_text err = { "" };

        assert_int_equal(
            program_manifest_check(manifest, cases[i].folder, &definition, &err), ST_OK);
        assert_string_equal(json_string_value(json_object_get(definition, "file")),
                            cases[i].file);
        json_decref(definition);
        json_decref(manifest);
    }
}

/* ---- reading it -------------------------------------------------------------------- */

static void definition_is_read(void **state)
{
    json_t *definition = definition_of(
        "{\"name\":\"a\",\"command\":[\"/bin/sh\",\"-c\",\"x "
        "y\"],\"mode\":\"persistent\","
        "\"limits\":{\"time\":1.5,\"memory\":2000000,\"file_size\":3,\"open_files\":4}}",
        "/srv");
    struct program_manifest manifest;
    struct error_text err;

    (void)state;
    assert_int_equal(program_manifest_read(definition, no_environment, &manifest, &err),
                     ST_OK);
    assert_string_equal(manifest.name, "a");
    assert_string_equal(manifest.file, "/bin/sh");
    assert_string_equal(manifest.folder, "/srv");
    assert_int_equal(manifest.mode, PROGRAM_PERSISTENT);
    assert_string_equal(manifest.argv[2], "x y");
    assert_null(manifest.argv[3]);
    assert_int_equal(manifest.limits[PROGRAM_TIME], 1500);
    assert_int_equal(manifest.limits[PROGRAM_CPU], 0);
    assert_int_equal(manifest.limits[PROGRAM_MEMORY], 2000000);
    assert_int_equal(manifest.limits[PROGRAM_FILE_SIZE], 3);
    assert_int_equal(manifest.limits[PROGRAM_OPEN_FILES], 4);
    assert_int_equal(manifest.limits[PROGRAM_LINE], PROGRAM_LINE_DEFAULT);
    program_manifest_clear(&manifest);
    json_decref(definition);
}

static bool has_variable(const struct program_manifest *manifest, const char *text)
{
    for (char **variable = manifest->env; *variable; variable++) {
        if (strcmp(*variable, text) == 0)
            return true;
    }
    return false;
}

static bool has_prefix(const struct program_manifest *manifest, const char *prefix)
{
    for (char **variable = manifest->env; *variable; variable++) {
        if (strncmp(*variable, prefix, strlen(prefix)) == 0)
            return true;
    }
    return false;
}

static void environment_is_the_manifests_and_a_little_of_the_servers(void **state)
{
    static char *inherited[] = { "PATH=/a",  "HOME=/h",       "LANG=C",    "SECRET=x",
                                 "POOLD_X=", "LANGUAGE=xx",   "BROKEN",    "TZ=UTC",
                                 "PATHS=/p", "TMPDIR=/other", "HOMER=doh", NULL };
    json_t *definition =
        definition_of("{\"name\":\"a\",\"command\":[\"/bin/sh\"],\"mode\":\"oneshot\","
                      "\"env\":{\"HOME\":\"/mine\",\"X\":\"=y\"}}",
                      "/srv");
    struct program_manifest manifest;
    struct error_text err;
    size_t count = 0;

    (void)state;
    assert_int_equal(program_manifest_read(definition, inherited, &manifest, &err),
                     ST_OK);
    while (manifest.env[count])
        count++;
    assert_int_equal(count, 6);
    assert_true(has_variable(&manifest, "HOME=/mine"));
    assert_true(has_variable(&manifest, "X==y"));
    assert_true(has_variable(&manifest, "PATH=/a"));
    assert_true(has_variable(&manifest, "LANG=C"));
    assert_true(has_variable(&manifest, "TZ=UTC"));
    assert_true(has_variable(&manifest, "TMPDIR=/other"));
    program_manifest_clear(&manifest);
    assert_int_equal(program_manifest_read(definition, no_environment, &manifest, &err),
                     ST_OK);
    assert_true(has_variable(&manifest, "PATH=/usr/local/bin:/usr/bin:/bin"));
    program_manifest_clear(&manifest);
    json_decref(definition);
}

static void the_trace_is_a_variable_as_long_as_there_is_one(void **state)
{
    const struct text trace =
        TEXT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    const struct text both =
        TEXT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01a=1,b=2");
    static const char variable[] =
        "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    json_t *definition = definition_of(
        "{\"name\":\"a\",\"command\":[\"/bin/sh\"],\"mode\":\"oneshot\"}", "/srv");
    json_t *own = definition_of("{\"name\":\"a\",\"command\":[\"/bin/sh\"],"
                                "\"mode\":\"oneshot\",\"env\":{\"TRACEPARENT\":\"x\"}}",
                                "/srv");
    json_t *own_state =
        definition_of("{\"name\":\"a\",\"command\":[\"/bin/sh\"],"
                      "\"mode\":\"oneshot\",\"env\":{\"TRACESTATE\":\"y\"}}",
                      "/srv");
    struct program_manifest manifest;
    struct error_text err;

    (void)state;
    assert_int_equal(program_manifest_read(definition, no_environment, &manifest, &err),
                     ST_OK);
    program_manifest_trace(&manifest, trace);
    assert_true(has_variable(&manifest, variable));
    assert_true(has_variable(&manifest, "PATH=/usr/local/bin:/usr/bin:/bin"));
    program_manifest_trace(&manifest, (struct text){ 0 });
    assert_false(has_variable(&manifest, variable));
    assert_false(has_prefix(&manifest, "TRACESTATE="));
    program_manifest_trace(&manifest, both);
    assert_true(has_variable(&manifest, variable));
    assert_true(has_variable(&manifest, "TRACESTATE=a=1,b=2"));
    program_manifest_trace(&manifest, trace); /* another one, without a state */
    assert_true(has_variable(&manifest, variable));
    assert_false(has_prefix(&manifest, "TRACESTATE="));
    program_manifest_trace(&manifest, both);
    program_manifest_clear(&manifest); /* with the trace in it */
    assert_int_equal(program_manifest_read(own, no_environment, &manifest, &err), ST_OK);
    program_manifest_trace(&manifest, both);
    assert_true(has_variable(&manifest, "TRACEPARENT=x"));
    assert_false(has_variable(&manifest, variable));
    assert_false(has_prefix(&manifest, "TRACESTATE="));
    program_manifest_clear(&manifest);
    assert_int_equal(program_manifest_read(own_state, no_environment, &manifest, &err),
                     ST_OK);
    program_manifest_trace(&manifest, both);
    assert_true(has_variable(&manifest, variable));
    assert_true(has_variable(&manifest, "TRACESTATE=y"));
    assert_false(has_variable(&manifest, "TRACESTATE=a=1,b=2"));
    program_manifest_clear(&manifest);
    json_decref(own_state);
    json_decref(own);
    json_decref(definition);
}

static void foreign_definitions_are_refused(void **state)
{
    static const char *const texts[] = {
        "null",
        "{}",
        "{\"manifest\":{},\"file\":\"/bin/sh\",\"folder\":\"/\"}",
        "{\"manifest\":{\"name\":\"a\",\"command\":[5],\"mode\":\"oneshot\"},"
        "\"file\":\"/bin/sh\",\"folder\":\"/\"}",
        "{\"manifest\":{\"name\":\"a\",\"command\":[\"x\"],\"mode\":\"oneshot\"},"
        "\"file\":\"/bin/sh\"}",
        "{\"manifest\":{\"name\":\"a\",\"command\":[\"x\"],\"mode\":\"oneshot\","
        "\"limits\":{\"time\":-1}},\"file\":\"/bin/sh\",\"folder\":\"/\"}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        json_t *definition = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        struct program_manifest manifest;
        struct error_text err;

        assert_int_equal(
            program_manifest_read(definition, no_environment, &manifest, &err),
            ST_INVALID);
        json_decref(definition);
    }
}

static void reading_without_memory_leaves_nothing_behind(void **state)
{
    static char *inherited[] = { "HOME=/h", NULL };
    json_t *definition =
        definition_of("{\"name\":\"a\",\"command\":[\"/bin/sh\"],\"mode\":\"oneshot\","
                      "\"env\":{\"A\":\"b\"}}",
                      "/srv");
    struct program_manifest manifest;
    struct error_text err;
    unsigned long failed = 0;

    (void)state;
    for (unsigned long n = 1;; n++) {
        enum status st;

        mem_fail_at(n, 0);
        st = program_manifest_read(definition, inherited, &manifest, &err);
        mem_fail_at(0, 0);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NO_MEMORY);
        failed++;
    }
    assert_true(failed >= 4);
    program_manifest_clear(&manifest);
    json_decref(definition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_manifests_are_refused_with_a_pointer),
        cmocka_unit_test(too_many_arguments_and_variables_are_refused),
        cmocka_unit_test(program_is_found_absolute_by_its_folder_and_in_path),
        cmocka_unit_test(definition_is_read),
        cmocka_unit_test(environment_is_the_manifests_and_a_little_of_the_servers),
        cmocka_unit_test(the_trace_is_a_variable_as_long_as_there_is_one),
        cmocka_unit_test(foreign_definitions_are_refused),
        cmocka_unit_test(reading_without_memory_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
