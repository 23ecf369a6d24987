/* SPDX-License-Identifier: MIT */
/* Plugins as `poold tasks` and forkservers load them; those that crash or hang are left to
 * tests/live/plugins.bats. PLUGINS is the folder that tests/plugins is built into. */
#include "workers/plugin.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH(name) PLUGINS "/" name ".so"

static json_t *settings;

/* Why the file is refused; "" if it is not. */
static const char *refusal(const char *path)
{
    static struct error_text err;
    json_t *file = json_object();
    enum status st;

    err.text[0] = '\0';
    st = plugin_probe(path, settings, file, &err);
    json_decref(file);
    assert_int_equal(st == ST_OK, err.text[0] == '\0');
    return err.text;
}

static void assert_refused(const char *path, const char *part)
{
    if (!strstr(refusal(path), part))
        fail_msg("%s: \"%s\"", path, refusal(path));
}

static void a_bad_plugin_is_refused_with_its_reason(void **state)
{
    (void)state;
    assert_refused(PATH("undefined"), "undefined symbol: frobnicate");
    assert_refused(PATH("nosymbol"), "does not export poold_plugin");
    assert_refused(PATH("wrongabi"), "interface 5 of poold, this one has 4");
    assert_refused(PATH("nameless"), "task number 1 (fine) has no name");
    assert_refused(PATH("toomany"), "more than 8 params");
    assert_refused(PATH("formless"), "none of run and value");
    assert_refused(PATH("nolimit"), "a limit is no number");
    assert_refused(PLUGINS "/nowhere.so", "No such file");
    assert_refused("/dev/null", "is empty");
    assert_refused(PLUGINS "/CTestTestfile.cmake", "invalid ELF header");
}

/* A catalog of this one file, as `poold tasks` would write it. */
static struct catalog catalog_of(const char *path)
{
    json_t *file =
        json_pack("{s:s, s:s}", "path", path, "runtime", task_runtime_names[TASK_NATIVE]);
    json_t *json = json_pack("{s:{}, s:[o]}", "settings", "files", file);
    struct catalog catalog;
    struct error_text err;
    char *text;

    assert_int_equal(plugin_probe(path, settings, file, &err), ST_OK);
    text = json_dumps(json, JSON_COMPACT);
    assert_int_equal(catalog_parse((struct text){ text, strlen(text) }, &catalog, &err),
                     ST_OK);
    free(text);
    json_decref(json);
    return catalog;
}

static void assert_returns(const struct task *task, const char *args, const char *result)
{
    struct buf out = BUF_INIT;
    struct task_call call;

    task_run(&call, task, (struct text){ args, strlen(args) }, false, (struct text){ 0 },
             &out, NULL);
    assert_int_equal(call.end, CALL_RETURNED);
    assert_string_equal(out.data, result);
    task_call_clear(&call);
    buf_clear(&out);
}

static void a_plugin_that_is_loaded_can_be_called(void **state)
{
    struct catalog catalog = catalog_of(PATH("gcd"));
    struct error_text err;

    (void)state;
    assert_int_equal(catalog.file_count, 1);
    assert_int_equal(plugin_load(&catalog.files[0], settings, &err), ST_OK);
    assert_returns(&catalog.files[0].tasks[0], "12,18", "6");
    catalog_clear(&catalog);
}

static void copy_file(const char *from, const char *to)
{
    char command[1024];

    (void)snprintf(command, sizeof(command), "cat '%s' > '%s'", from, to);
    assert_int_equal(system(command), 0);
}

static void two_versions_of_a_file_are_two_libraries(void **state)
{
    char path[] = "/tmp/poold-test-plugin-XXXXXX";
    struct catalog first, second;
    struct error_text err;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    copy_file(PATH("version1"), path);
    first = catalog_of(path);
    assert_int_equal(plugin_load(&first.files[0], settings, &err), ST_OK);
    copy_file(PATH("version2"), path);
    second = catalog_of(path);
    assert_int_equal(plugin_load(&second.files[0], settings, &err), ST_OK);
    assert_returns(&first.files[0].tasks[0], "0", "1");
    assert_returns(&second.files[0].tasks[0], "0", "2");
    /* What nobody has looked at is not loaded. */
    assert_int_equal(plugin_load(&first.files[0], settings, &err), ST_STATE);
    assert_non_null(strstr(err.text, "has changed"));
    catalog_clear(&first);
    catalog_clear(&second);
    unlink(path);
}

static const struct task *find_task(const struct catalog *catalog, const char *name)
{
    for (size_t i = 0; i < catalog->files[0].task_count; i++)
        if (strcmp(catalog->files[0].tasks[i].name, name) == 0)
            return &catalog->files[0].tasks[i];
    fail_msg("no task %s", name);
    return NULL;
}

static void a_call_on_text_allocates_nothing(void **state)
{
    struct catalog catalog = catalog_of(PATH("gcd"));
    struct error_text err;
    struct buf out = BUF_INIT;
    struct task_call call;

    (void)state;
    assert_int_equal(plugin_load(&catalog.files[0], settings, &err), ST_OK);
    assert_true(buf_reserve(&out, 1000));
    mem_fail_at(1000000, 0); /* counts from here */
    task_run(&call, &catalog.files[0].tasks[0], TEXT("12,18"), false, (struct text){ 0 },
             &out, NULL);
    assert_int_equal(call.end, CALL_RETURNED);
    assert_int_equal(mem_calls(), 0);
    mem_fail_at(0, 0);
    task_call_clear(&call);
    buf_clear(&out);
    catalog_clear(&catalog);
}

static void a_call_without_memory_raises_memory_error(void **state)
{
    static const struct {
        const char *name, *args;
    } calls[] = {
        { "raw_echo", "1,[2]" },     { "value_echo", "1,[2]" },
        { "value_bound", "1,2" },    { "bad.text_result", "\"[1]\"" },
        { "bad.scratch", "100000" }, { "bad.string_result", "\"x\"" },
    };
    struct catalog catalog = catalog_of(PATH("misbehave"));
    struct error_text err;

    (void)state;
    assert_int_equal(plugin_load(&catalog.files[0], settings, &err), ST_OK);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        bool failed = true;

        for (unsigned long n = 1; failed; n++) {
            struct buf out = BUF_INIT;
            struct task_call call;

            mem_fail_at(n, 1);
            task_run(&call, find_task(&catalog, calls[i].name),
                     (struct text){ calls[i].args, strlen(calls[i].args) }, false,
                     (struct text){ 0 }, &out, NULL);
            failed = mem_calls() >= n;
            mem_fail_at(0, 0);
            assert_int_equal(call.end, failed ? CALL_RAISED : CALL_RETURNED);
            assert_true(!failed || call.kind == FAILURE_OUT_OF_MEMORY);
            task_call_clear(&call);
            buf_clear(&out);
        }
    }
    catalog_clear(&catalog);
}

static void a_plugin_is_told_the_trace_of_its_job(void **state)
{
    struct catalog catalog = catalog_of(PATH("traced"));
    struct error_text err;
    struct buf out = BUF_INIT;
    struct task_call call;

    (void)state;
    assert_int_equal(plugin_load(&catalog.files[0], settings, &err), ST_OK);
    call.trace = TEXT("00-a-b-01");
    task_run(&call, &catalog.files[0].tasks[0], TEXT("1"), false, (struct text){ 0 },
             &out, NULL);
    task_call_clear(&call);
    buf_add_char(&out, ' ');
    call.trace = (struct text){ 0 };
    task_run(&call, &catalog.files[0].tasks[0], TEXT("1"), false, (struct text){ 0 },
             &out, NULL);
    task_call_clear(&call);
    assert_string_equal(out.data, "\"00-a-b-01\" null");
    buf_reset(&out);
    call.trace = TEXT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01a=1,b=2");
    for (int i = 0; i < 2; i++) {
        task_run(&call, &catalog.files[0].tasks[i], TEXT("1"), false, (struct text){ 0 },
                 &out, NULL);
        task_call_clear(&call);
    }
    assert_string_equal(out.data,
                        "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\""
                        "\"a=1,b=2\"");
    buf_reset(&out);
    call.trace.len = FRAME_TRACE_PARENT_LEN;
    task_run(&call, &catalog.files[0].tasks[1], TEXT("1"), false, (struct text){ 0 },
             &out, NULL);
    task_call_clear(&call);
    assert_string_equal(out.data, "null");
    buf_clear(&out);
    catalog_clear(&catalog);
}

static int set_up(void **state)
{
    (void)state;
    settings = json_object();
    return settings ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(settings);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_plugin_is_refused_with_its_reason),
        cmocka_unit_test(a_plugin_that_is_loaded_can_be_called),
        cmocka_unit_test(two_versions_of_a_file_are_two_libraries),
        cmocka_unit_test(a_call_on_text_allocates_nothing),
        cmocka_unit_test(a_call_without_memory_raises_memory_error),
        cmocka_unit_test(a_plugin_is_told_the_trace_of_its_job),
    };

    return cmocka_run_group_tests_name("plugin", tests, set_up, tear_down);
}
