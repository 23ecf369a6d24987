/* SPDX-License-Identifier: MIT */
#include "workers/catalog.h"

#include "common/fd.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TASK_A "{\"name\":\"a\",\"summary\":\"s\",\"signature\":\"a(x)\"}"
#define FILE_A                                                                           \
    "{\"path\":\"/t/a.so\",\"runtime\":\"native\",\"definition\":{\"k\":1},"             \
    "\"tasks\":[" TASK_A "]}"
#define WHOLE                                                                            \
    "{\"settings\":{},\"files\":[" FILE_A ",{\"path\":\"/t/b.py\","                      \
    "\"runtime\":\"python\",\"refused\":\"why\"}]}"

static struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

static void a_catalog_tells_files_and_their_tasks(void **state)
{
    struct catalog catalog;
    struct error_text err;

    (void)state;
    assert_int_equal(catalog_parse(TEXT(WHOLE), &catalog, &err), ST_OK);
    assert_int_equal(catalog.file_count, 2);
    assert_string_equal(catalog.files[0].path, "/t/a.so");
    assert_int_equal(catalog.files[0].runtime, TASK_NATIVE);
    assert_null(catalog.files[0].refused);
    assert_int_equal(
        json_integer_value(json_object_get(catalog.files[0].definition, "k")), 1);
    assert_int_equal(catalog.files[0].task_count, 1);
    assert_string_equal(catalog.files[0].tasks[0].name, "a");
    assert_string_equal(catalog.files[0].tasks[0].summary, "s");
    assert_string_equal(catalog.files[0].tasks[0].signature, "a(x)");
    assert_string_equal(catalog.files[0].tasks[0].file, "/t/a.so");
    assert_null(catalog.files[0].tasks[0].run);
    assert_int_equal(catalog.files[1].runtime, TASK_PYTHON);
    assert_string_equal(catalog.files[1].refused, "why");
    assert_int_equal(catalog.files[1].task_count, 0);
    catalog_clear(&catalog);
    catalog_clear(&catalog);
}

static void every_malformed_catalog_is_refused(void **state)
{
#define FILES(text) "{\"settings\":{},\"files\":[" text "]}"
#define TASKS(text)                                                                      \
    FILES("{\"path\":\"/t/a.so\",\"runtime\":\"native\",\"tasks\":[" text "]}")
    static const char *const malformed[] = {
        "",
        "{",
        "[]",
        "1",
        "null",
        WHOLE "x",
        "{\"settings\":{}}",
        "{\"files\":[]}",
        "{\"settings\":{},\"files\":{}}",
        "{\"settings\":[],\"files\":[]}",
        "{\"settings\":{},\"settings\":{},\"files\":[]}",
        FILES("1"),
        FILES("{}"),
        FILES("{\"runtime\":\"native\",\"tasks\":[]}"),
        FILES("{\"path\":1,\"runtime\":\"native\",\"tasks\":[]}"),
        FILES("{\"path\":\"/t/a\",\"tasks\":[]}"),
        FILES("{\"path\":\"/t/a\",\"runtime\":\"cobol\",\"tasks\":[]}"),
        FILES("{\"path\":\"/t/a\",\"runtime\":0,\"tasks\":[]}"),
        FILES(FILE_A ",{\"path\":\"/t/b\"}"),
        TASKS("1"),
        TASKS("{}"),
        TASKS("{\"name\":\"a\",\"summary\":\"s\"}"),
        TASKS("{\"name\":\"a\",\"signature\":\"s\"}"),
        TASKS("{\"summary\":\"a\",\"signature\":\"s\"}"),
        TASKS("{\"name\":1,\"summary\":\"s\",\"signature\":\"s\"}"),
        TASKS("{\"name\":\"\",\"summary\":\"s\",\"signature\":\"s\"}"),
        TASKS("{\"name\":\"a b\",\"summary\":\"s\",\"signature\":\"s\"}"),
        TASKS("{\"name\":\"a\\u0000\",\"summary\":\"s\",\"signature\":\"s\"}"),
        TASKS("{\"name\":\"1a\",\"summary\":\"s\",\"signature\":\"s\"}"),
        TASKS("{\"name\":\"a\",\"summary\":null,\"signature\":\"s\"}"),
        TASKS("{\"name\":\"a\",\"summary\":\"s\",\"signature\":[]}"),
        TASKS("{\"name\":\"a\",\"summary\":\"s\",\"signature\":\"s\",\"limits\":7}"),
        TASKS(TASK_A ",0"),
    };
    struct catalog catalog;
    struct error_text err;

    (void)state;
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        err.text[0] = '\0';
        if (catalog_parse(text_of(malformed[i]), &catalog, &err) != ST_INVALID)
            fail_msg("taken: %s", malformed[i]);
        assert_true(err.text[0]);
        assert_null(catalog.json);
        assert_int_equal(catalog.file_count, 0);
    }
}

static void a_name_of_128_bytes_is_the_longest(void **state)
{
    char text[512], name[130];
    struct catalog catalog;
    struct error_text err;

    (void)state;
    for (unsigned len = 128; len <= 129; len++) {
        memset(name, 'n', len);
        name[len] = '\0';
        (void)snprintf(text, sizeof(text),
                       TASKS("{\"name\":\"%s\",\"summary\":\"\",\"signature\":\"\"}"),
                       name);
        assert_int_equal(catalog_parse(text_of(text), &catalog, &err),
                         len == 128 ? ST_OK : ST_INVALID);
        catalog_clear(&catalog);
    }
}

static void a_catalog_without_memory_leaves_nothing(void **state)
{
    struct catalog catalog;
    struct error_text err;
    enum status st;

    (void)state;
    for (unsigned long n = 1;; n++) {
        bool failed;

        mem_fail_at(n, 1);
        st = catalog_parse(TEXT(WHOLE), &catalog, &err);
        failed = mem_calls() >= n;
        mem_fail_at(0, 0);
        assert_int_equal(st, failed ? ST_NO_MEMORY : ST_OK);
        if (!failed)
            break;
        assert_null(catalog.json);
    }
    catalog_clear(&catalog);
}

static void a_catalog_crosses_processes_as_it_is(void **state)
{
    struct buf json = BUF_INIT;
    int fd;

    (void)state;
    assert_int_equal(catalog_to_memfd(TEXT(WHOLE), &fd), ST_OK);
    for (int i = 0; i < 2; i++) { /* reading moves nothing */
        assert_int_equal(catalog_read_fd(fd, &json), ST_OK);
        assert_int_equal(json.len, strlen(WHOLE));
        assert_memory_equal(json.data, WHOLE, json.len);
    }
    fd_close(&fd);
    assert_int_equal(catalog_read_fd(-1, &json), ST_IO);
    buf_clear(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_catalog_tells_files_and_their_tasks),
        cmocka_unit_test(every_malformed_catalog_is_refused),
        cmocka_unit_test(a_name_of_128_bytes_is_the_longest),
        cmocka_unit_test(a_catalog_without_memory_leaves_nothing),
        cmocka_unit_test(a_catalog_crosses_processes_as_it_is),
    };

    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
