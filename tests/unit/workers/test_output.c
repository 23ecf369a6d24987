/* SPDX-License-Identifier: MIT */
#include "workers/output.h"

#include "common/fd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    uv_loop_t loop;
    struct output *output;
    int end; /* the writer's */
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    if (!rig || uv_loop_init(&rig->loop) != 0 ||
        output_open(&rig->loop, &rig->output, &rig->end) != ST_OK)
        return -1;
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    output_close(rig->output);
    fd_close(&rig->end);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    free(rig);
    return 0;
}

static void print(struct rig *rig, const char *string)
{
    assert_int_equal(write(rig->end, string, strlen(string)), strlen(string));
}

static void assert_tail(struct rig *rig, const char *expected)
{
    char bytes[OUTPUT_KEEP];
    struct text tail = output_tail(rig->output, bytes);

    assert_int_equal(tail.len, strlen(expected));
    assert_memory_equal(tail.at, expected, tail.len);
}

static void what_was_written_is_kept(void **state)
{
    struct rig *rig = *state;

    assert_tail(rig, "");
    print(rig, "one\n");
    output_drain(rig->output);
    print(rig, "two\n");
    assert_tail(rig, "one\n");
    output_drain(rig->output);
    assert_tail(rig, "one\ntwo\n");
}

static void the_loop_drains_it(void **state)
{
    struct rig *rig = *state;

    print(rig, "hello");
    uv_run(&rig->loop, UV_RUN_ONCE);
    assert_tail(rig, "hello");
}

static void the_mark_hides_what_came_before(void **state)
{
    struct rig *rig = *state;

    print(rig, "the neighbour's");
    output_drain(rig->output);
    output_mark(rig->output);
    assert_tail(rig, "");
    print(rig, "mine");
    output_drain(rig->output);
    assert_tail(rig, "mine");
}

static void only_the_end_of_much_is_kept(void **state)
{
    struct rig *rig = *state;
    char line[OUTPUT_KEEP + 1];

    for (char c = 'a'; c <= 'z'; c++) {
        memset(line, c, sizeof(line) - 1);
        line[OUTPUT_KEEP - 3] = '\0';
        print(rig, line);
        output_drain(rig->output);
    }
    memset(line, 'z', sizeof(line));
    memset(line, 'y', 3);
    line[OUTPUT_KEEP] = '\0';
    assert_tail(rig, line);
}

static void more_than_a_read_at_once_is_kept_at_its_end(void **state)
{
    struct rig *rig = *state;
    static char much[60000 + 1];

    memset(much, 'x', sizeof(much) - 1);
    memcpy(much + 60000 - 4, "last", 4);
    print(rig, much);
    output_drain(rig->output);
    assert_tail(rig, much + 60000 - OUTPUT_KEEP);
}

static void the_end_of_the_writer_does_not_keep_the_loop_busy(void **state)
{
    struct rig *rig = *state;

    print(rig, "bye");
    fd_close(&rig->end);
    /* Ends only when nothing is watched any more. */
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_tail(rig, "bye");
    output_drain(rig->output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_loop_drains_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_mark_hides_what_came_before, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(only_the_end_of_much_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_than_a_read_at_once_is_kept_at_its_end,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_of_the_writer_does_not_keep_the_loop_busy,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
