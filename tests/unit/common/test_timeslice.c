/* SPDX-License-Identifier: MIT */
#include "common/timeslice.h"

#include <linux/sched/types.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SHORT_NS 100000

static uint64_t slice_ns(void)
{
    struct sched_attr attr = { .size = sizeof(attr) };

    assert_int_equal(syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0), 0);
    return attr.sched_runtime;
}

static void slice_is_what_was_asked_for_until_it_is_given_back(void **state)
{
    uint64_t before = slice_ns();

    (void)state;
    timeslice_set(SHORT_NS);
    if (slice_ns() != SHORT_NS)
        skip(); /* a kernel that takes no wishes, before 6.12 */
    timeslice_set(0);
    assert_int_equal(slice_ns(), before);
}

/* In a process of its own: who is not root cannot take it back. */
static void niceness_stays_as_it_is(void **state)
{
    int status = 0;
    pid_t pid = fork();

    (void)state;
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        bool set = setpriority(PRIO_PROCESS, 0, 15) == 0;

        timeslice_set(SHORT_NS);
        timeslice_set(0);
        _exit(set && getpriority(PRIO_PROCESS, 0) == 15 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slice_is_what_was_asked_for_until_it_is_given_back),
        cmocka_unit_test(niceness_stays_as_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
