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
    struct worker_page page;
    struct output *output;
    int end; /* the writer's */
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    if (!rig || uv_loop_init(&rig->loop) != 0 ||
        output_open(&rig->loop, &rig->page, OUTPUT_KEEP, &rig->output, &rig->end) !=
            ST_OK)
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

static void assert_text(struct text text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    if (text.len > 0)
        assert_memory_equal(text.at, expected, text.len);
}

static void assert_peek(struct rig *rig, const char *expected)
{
    bool cut;

    assert_text(output_peek(rig->output, &cut), expected);
    assert_false(cut);
}

static void what_was_written_is_kept(void **state)
{
    struct rig *rig = *state;
    bool cut;

    assert_peek(rig, "");
    print(rig, "one\n");
    output_drain(rig->output);
    print(rig, "two\n");
    assert_peek(rig, "one\ntwo\n");
    assert_text(output_take_all(rig->output, &cut), "one\ntwo\n");
    assert_peek(rig, "");
}

static void the_loop_drains_it(void **state)
{
    struct rig *rig = *state;

    print(rig, "hello");
    uv_run(&rig->loop, UV_RUN_ONCE);
    assert_peek(rig, "hello");
}

static uint32_t printed(struct rig *rig)
{
    return page_printed(&rig->page, rig->end);
}

static void an_item_gets_what_was_printed_before_its_end(void **state)
{
    struct rig *rig = *state;
    uint32_t first, second;
    bool cut;

    print(rig, "first");
    output_drain(rig->output); /* before the worker tells, */
    first = printed(rig);
    print(rig, "second");
    second = printed(rig); /* and behind it */
    print(rig, "third");
    output_drain(rig->output);
    assert_text(output_take(rig->output, first, &cut), "first");
    assert_false(cut);
    assert_text(output_take(rig->output, first, &cut), "");
    assert_text(output_take(rig->output, second, &cut), "second");
    assert_text(output_take(rig->output, printed(rig), &cut), "third");
}

static void what_the_worker_says_is_not_believed_beyond_what_is_there(void **state)
{
    struct rig *rig = *state;
    bool cut;

    print(rig, "all");
    assert_text(output_take(rig->output, 1000000, &cut), "all");
    assert_text(output_take(rig->output, 1, &cut), ""); /* back in time */
    print(rig, "more");
    assert_text(output_take(rig->output, printed(rig), &cut), "more");
}

static void without_its_pipe_a_worker_owns_what_has_been_read(void **state)
{
    struct rig *rig = *state;
    bool cut;

    print(rig, "read");
    output_drain(rig->output);
    print(rig, "not yet");
    assert_text(output_take(rig->output, page_printed(&rig->page, -1), &cut), "read");
}

static void only_the_end_of_much_is_kept(void **state)
{
    struct rig *rig = *state;
    static char line[OUTPUT_KEEP + 1];
    struct text text;
    bool cut;

    for (char c = 'a'; c <= 'z'; c++) {
        memset(line, c, sizeof(line) - 1);
        line[OUTPUT_KEEP - 3] = '\0';
        print(rig, line);
        output_drain(rig->output);
    }
    memset(line, 'z', sizeof(line));
    memset(line, 'y', 3);
    line[OUTPUT_KEEP] = '\0';
    text = output_take(rig->output, printed(rig), &cut);
    assert_text(text, line);
    assert_true(cut);
}

static void as_much_is_kept_as_was_said(void **state)
{
    struct rig *rig = *state;
    struct output *output;
    char line[102];
    bool cut;
    int end;

    memset(line, 'x', sizeof(line));
    assert_int_equal(output_open(&rig->loop, &rig->page, 100, &output, &end), ST_OK);
    for (size_t len = 99; len <= 101; len++) {
        line[len - 1] = 'y';
        assert_int_equal(write(end, line, len), len);
        output_drain(output);
        assert_int_equal(output_peek(output, &cut).len, len < 100 ? len : 100);
        assert_int_equal(cut, len > 100);
        assert_int_equal(output_take_all(output, &cut).at[len < 100 ? len - 1 : 99], 'y');
    }
    output_close(output);
    fd_close(&end);
}

static void what_others_have_printed_over_is_cut(void **state)
{
    struct rig *rig = *state;
    static char much[OUTPUT_KEEP - 2];
    uint32_t first, second;
    bool cut;

    print(rig, "first");
    first = printed(rig);
    output_drain(rig->output);
    memset(much, 'x', sizeof(much) - 1);
    print(rig, much);
    second = printed(rig);
    output_drain(rig->output);
    assert_text(output_take(rig->output, first, &cut), "rst");
    assert_true(cut);
    assert_int_equal(output_take(rig->output, second, &cut).len, sizeof(much) - 1);
    assert_false(cut);
}

static void the_end_of_the_writer_does_not_keep_the_loop_busy(void **state)
{
    struct rig *rig = *state;

    print(rig, "bye");
    fd_close(&rig->end);
    /* Ends only when nothing is watched any more. */
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_peek(rig, "bye");
    output_drain(rig->output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_loop_drains_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_item_gets_what_was_printed_before_its_end,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_the_worker_says_is_not_believed_beyond_what_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_its_pipe_a_worker_owns_what_has_been_read,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_end_of_much_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(as_much_is_kept_as_was_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_others_have_printed_over_is_cut, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_end_of_the_writer_does_not_keep_the_loop_busy,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
