/* SPDX-License-Identifier: MIT */
#include "common/fault.h"

#include "common/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* behind what it needs */
#include <cmocka.h>

static enum status arm(const char *text)
{
    struct error_text err = { "" };
    enum status st;

    assert_int_equal(setenv("POOLD_FAULT", text, 1), 0);
    st = fault_init(&err);
    assert_int_equal(st != ST_OK, err.text[0] != '\0');
    return st;
}

static void what_makes_no_sense_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "after_insert",
        "after_insert:1",
        "after_insert::kill",
        "after_insert:0:kill",
        "after_insert:3-2:kill",
        "after_insert:1x:kill",
        "after_insert:1:",
        "after_insert:1:burn",
        "after_inserts:1:kill",
        "nowhere:1:kill",
        "after_insert:1:kill:/nonexistent/file",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(arm(wrong[i]), ST_INVALID);
        assert_false(FAULT_ARMED(after_insert));
    }
}

/* Runs it in a process of its own, which counts from 0; its exit code, or -signal. */
static int in_child(const char *text, int (*body)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(arm(text) == ST_OK ? body() : 100);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Which of eight passings fail, as bits. */
static int failing(void)
{
    int bits = 0;

    for (int i = 0; i < 8; i++) {
        if (FAULT(mid_checkpoint) == EIO)
            bits |= 1 << i;
        if (FAULT(after_insert)) /* another one, not armed */
            return 100;
    }
    return bits;
}

static void only_the_passings_that_are_named_fail(void **state)
{
    (void)state;
    assert_int_equal(in_child("mid_checkpoint:1:EIO", failing), 0x01);
    assert_int_equal(in_child("mid_checkpoint:3:EIO", failing), 0x04);
    assert_int_equal(in_child("mid_checkpoint:3-5:EIO", failing), 0x1c);
    assert_int_equal(in_child("mid_checkpoint:7-:EIO", failing), 0xc0);
    assert_int_equal(in_child("after_result_commit:1:EIO", failing), 0);
}

static int survive_two(void)
{
    uint64_t began = clock_mono_ns();

    if (FAULT(after_insert))
        return 1;
    return clock_mono_ns() - began >= FAULT_DELAY_MS * NS_PER_MS ? 2 : 3;
}

static void the_other_actions_do_what_they_are_called(void **state)
{
    (void)state;
    assert_int_equal(in_child("after_insert:1:kill", survive_two), -SIGKILL);
    assert_int_equal(in_child("after_insert:1:delay", survive_two), 2);
    assert_int_equal(in_child("after_insert:2:kill", survive_two), 3);
}

static void a_file_counts_for_all_processes(void **state)
{
    char path[] = "/tmp/poold_test_fault.XXXXXX", text[128];
    struct fault_count count = { 0 };
    int fd = mkstemp(path);

    (void)state;
    assert_int_not_equal(fd, -1);
    assert_int_equal(write(fd, &count, sizeof(count)), sizeof(count));
    snprintf(text, sizeof(text), "mid_checkpoint:10:EIO:%s", path);
    assert_int_equal(in_child(text, failing), 0);
    assert_int_equal(in_child(text, failing), 0x02);
    assert_int_equal(in_child(text, failing), 0);
    assert_int_equal(pread(fd, &count, sizeof(count), 0), sizeof(count));
    assert_int_equal(count.passed, 24);
    assert_int_equal(count.acted, 1);
    assert_int_not_equal(count.pid, 0);
    close(fd);
    unlink(path);
}

static void its_variable_is_no_setting(void **state)
{
    (void)state;
    assert_true(fault_is_variable("POOLD_FAULT=x"));
    assert_false(fault_is_variable("POOLD_FAULTS=x"));
    assert_false(fault_is_variable("POOLD_DATA=x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(only_the_passings_that_are_named_fail),
        cmocka_unit_test(the_other_actions_do_what_they_are_called),
        cmocka_unit_test(a_file_counts_for_all_processes),
        cmocka_unit_test(its_variable_is_no_setting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
