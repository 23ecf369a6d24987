/* SPDX-License-Identifier: MIT */
#include "server/progress_json.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_written(const struct frame_progress *progress, const char *expected)
{
    struct blob *said = progress ? progress_json_said(progress) : NULL;
    struct buf out = BUF_INIT;

    progress_json_write(&out, 9, 4, 1, said);
    assert_string_equal(out.data, expected);
    buf_clear(&out);
    blob_unref(said);
}

static void what_no_task_has_said_is_null(void **state)
{
    (void)state;
    assert_written(
        NULL,
        "{\"total\":9,\"completed\":4,\"failed\":1,\"message\":null,\"task\":null}");
}

static void what_a_task_has_said_is_written_beside_the_counts(void **state)
{
    struct frame_progress progress = {
        .item = 3, .current = 40, .total = UINT64_MAX, .message = TEXT("half \"done\"")
    };

    (void)state;
    assert_written(
        &progress,
        "{\"total\":9,\"completed\":4,\"failed\":1,"
        "\"message\":\"half \\\"done\\\"\",\"task\":{\"item\":3,\"current\":40,"
        "\"total\":18446744073709551615}}");
}

static void a_total_or_message_that_is_not_there_is_null(void **state)
{
    struct frame_progress progress = { .item = 0, .current = 40 };

    (void)state;
    assert_written(&progress,
                   "{\"total\":9,\"completed\":4,\"failed\":1,\"message\":null,"
                   "\"task\":{\"item\":0,\"current\":40,\"total\":null}}");
}

static void bytes_that_are_no_text_are_mended(void **state)
{
    struct frame_progress progress = { .message = TEXT("a\xff\n") };

    (void)state;
    assert_written(&progress, "{\"total\":9,\"completed\":4,\"failed\":1,"
                              "\"message\":\"a\xef\xbf\xbd\\n\","
                              "\"task\":{\"item\":0,\"current\":0,\"total\":null}}");
}

static void without_memory_nothing_is_said(void **state)
{
    struct frame_progress progress = { .message = TEXT("a") };

    (void)state;
    mem_fail_at(1, 1);
    assert_null(progress_json_said(&progress));
    mem_fail_at(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_task_has_said_is_null),
        cmocka_unit_test(what_a_task_has_said_is_written_beside_the_counts),
        cmocka_unit_test(a_total_or_message_that_is_not_there_is_null),
        cmocka_unit_test(bytes_that_are_no_text_are_mended),
        cmocka_unit_test(without_memory_nothing_is_said),
    };

    return cmocka_run_group_tests_name("progress_json", tests, NULL, NULL);
}
