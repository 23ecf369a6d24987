/* SPDX-License-Identifier: MIT */
/*
 * A real forkserver, whose workers run the child_main of this file instead of the
 * library's: they do what the bytes on their socket say.
 */
#include "workers/child.h"
#include "workers/forkserver.h"

#include "common/fd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 20000

enum order {
    ORDER_EXIT = 'x',
    ORDER_ABORT = 'a',
    ORDER_FORK = 'f',
    ORDER_DAEMON = 'd',
    ORDER_PRINT = 'p'
};

/* A child that stays; as a daemon it leaves its process group and its parent. */
static pid_t leave_child(int sock, bool as_daemon)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    if (as_daemon) {
        setsid();
        if (fork() != 0)
            _exit(0);
    }
    signal(SIGTERM, SIG_IGN);
    pid = getpid();
    if (send(sock, &pid, sizeof(pid), MSG_NOSIGNAL) == sizeof(pid)) {
        for (;;)
            pause();
    }
    _exit(1);
}

int child_main(int sock, struct worker_page *page, const struct worker_options *options)
{
    char order;

    page->item = options->result_max;
    while (recv(sock, &order, 1, 0) == 1) {
        switch ((enum order)order) {
        case ORDER_EXIT:
            return 7;
        case ORDER_PRINT:
            printf("out\n");
            fprintf(stderr, "err\n");
            printf("lost with the worker");
            raise(SIGKILL);
            break;
        case ORDER_ABORT:
            abort();
        case ORDER_FORK:
        case ORDER_DAEMON:
            leave_child(sock, order == ORDER_DAEMON);
        }
    }
    return 0;
}

struct rig {
    struct forkserver fs;
    int sock;  /* the test's end of the worker's socket */
    int pidfd; /* of the worker */
    pid_t pid;
};

static struct forkserver_event next_event(struct rig *rig)
{
    struct pollfd readable = { .fd = rig->fs.sock, .events = POLLIN };
    struct forkserver_event event = { 0 };

    assert_int_equal(poll(&readable, 1, WAIT_MS), 1);
    assert_int_equal(forkserver_next_event(&rig->fs, &event), ST_OK);
    return event;
}

static void spawn_with_output(struct rig *rig, uint64_t tag, int output)
{
    const struct worker_options options = { .result_max = 5 };
    struct forkserver_event event;
    int pair[2], page;

    assert_int_equal(fd_socket_pair(SOCK_STREAM, pair), ST_OK);
    assert_int_equal(fd_memfd("page", PAGE_SIZE, &page), ST_OK);
    assert_int_equal(forkserver_spawn(&rig->fs, tag, pair[1], page, output, &options),
                     ST_OK);
    fd_close(&pair[1]);
    fd_close(&page);
    event = next_event(rig);
    assert_int_equal(event.kind, FORKSERVER_SPAWNED);
    assert_int_equal(event.tag, tag);
    assert_true(event.pid > 0);
    fd_close(&rig->sock);
    fd_close(&rig->pidfd);
    rig->sock = pair[0];
    rig->pidfd = event.pidfd;
    rig->pid = event.pid;
}

static void spawn(struct rig *rig, uint64_t tag)
{
    spawn_with_output(rig, tag, STDERR_FILENO);
}

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct error_text err;

    if (!rig || forkserver_start(&rig->fs, -1, NULL, &err) != ST_OK)
        return -1;
    rig->sock = rig->pidfd = -1;
    *state = rig;
    spawn(rig, 42);
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    fd_close(&rig->sock);
    fd_close(&rig->pidfd);
    forkserver_stop(&rig->fs);
    free(rig);
    return 0;
}

static void order(struct rig *rig, enum order order)
{
    char byte = (char)order;

    assert_int_equal(send(rig->sock, &byte, 1, MSG_NOSIGNAL), 1);
}

/* Has the worker leave a child behind, and returns a pidfd of it. */
static int leave(struct rig *rig, enum order how)
{
    pid_t pid = 0;
    int pidfd;

    order(rig, how);
    assert_int_equal(recv(rig->sock, &pid, sizeof(pid), MSG_WAITALL), sizeof(pid));
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    assert_int_not_equal(pidfd, -1);
    return pidfd;
}

static void assert_ends(int pidfd)
{
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };

    assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
    fd_close(&pidfd);
}

static void exit_code_comes_back_with_the_tag_and_the_usage(void **state)
{
    struct rig *rig = *state;
    struct forkserver_event event;

    order(rig, ORDER_EXIT);
    event = next_event(rig);
    assert_int_equal(event.kind, FORKSERVER_EXITED);
    assert_int_equal(event.tag, 42);
    assert_int_equal(event.pid, rig->pid);
    assert_true(WIFEXITED(event.wait_status));
    assert_int_equal(WEXITSTATUS(event.wait_status), 7);
    assert_true(event.max_rss_bytes > 4096);
    assert_int_equal(forkserver_next_event(&rig->fs, &event), ST_AGAIN);
}

static void signal_comes_back_as_it_was_and_without_a_core(void **state)
{
    struct rig *rig = *state;
    struct forkserver_event event;

    order(rig, ORDER_ABORT);
    event = next_event(rig);
    assert_true(WIFSIGNALED(event.wait_status));
    assert_int_equal(WTERMSIG(event.wait_status), SIGABRT);
    assert_false(WCOREDUMP(event.wait_status));
}

static void closing_the_socket_ends_the_worker(void **state)
{
    struct rig *rig = *state;
    struct forkserver_event event;

    fd_close(&rig->sock);
    event = next_event(rig);
    assert_true(WIFEXITED(event.wait_status));
    assert_int_equal(WEXITSTATUS(event.wait_status), 0);
}

static void pidfd_kills_the_worker(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(syscall(SYS_pidfd_send_signal, rig->pidfd, SIGKILL, NULL, 0), 0);
    assert_int_equal(next_event(rig).wait_status, SIGKILL);
}

static void children_in_the_group_end_with_the_worker(void **state)
{
    struct rig *rig = *state;
    int child = leave(rig, ORDER_FORK);

    order(rig, ORDER_EXIT);
    assert_int_equal(next_event(rig).kind, FORKSERVER_EXITED);
    assert_ends(child);
}

static void children_that_left_the_group_end_with_the_worker(void **state)
{
    struct rig *rig = *state;
    int first = leave(rig, ORDER_DAEMON), second = leave(rig, ORDER_DAEMON);

    order(rig, ORDER_EXIT);
    assert_int_equal(next_event(rig).kind, FORKSERVER_EXITED);
    assert_ends(first);
    assert_ends(second);
    spawn(rig, 43); /* and the forkserver goes on */
    order(rig, ORDER_EXIT);
    assert_int_equal(next_event(rig).tag, 43);
}

static void stop_ends_workers_and_their_children(void **state)
{
    struct rig *rig = *state;
    int child = leave(rig, ORDER_FORK), escaped = leave(rig, ORDER_DAEMON);

    forkserver_stop(&rig->fs);
    assert_int_equal(rig->fs.pid, 0);
    assert_ends(rig->pidfd);
    rig->pidfd = -1;
    assert_ends(child);
    assert_ends(escaped);
}

static void stdout_and_stderr_of_a_worker_are_what_was_passed(void **state)
{
    struct rig *rig = *state;
    char bytes[64] = "", order = ORDER_PRINT;
    size_t len = 0;
    ssize_t n;
    int pair[2];

    assert_int_equal(pipe(pair), 0);
    spawn_with_output(rig, 45, pair[1]);
    close(pair[1]); /* the worker alone has it now */
    assert_int_equal(send(rig->sock, &order, 1, MSG_NOSIGNAL), 1);
    while ((n = read(pair[0], bytes + len, sizeof(bytes) - 1 - len)) > 0)
        len += (size_t)n;
    assert_string_equal(bytes, "out\nerr\n");
    close(pair[0]);
}

static void killed_forkserver_takes_its_workers_with_it(void **state)
{
    struct rig *rig = *state;
    struct forkserver_event event;
    struct pollfd readable = { .fd = rig->fs.sock, .events = POLLIN };

    assert_int_equal(kill(rig->fs.pid, SIGKILL), 0);
    assert_ends(rig->pidfd);
    rig->pidfd = -1;
    assert_int_equal(poll(&readable, 1, WAIT_MS), 1);
    assert_int_equal(forkserver_next_event(&rig->fs, &event), ST_CLOSED);
    assert_int_equal(forkserver_spawn(&rig->fs, 1, rig->sock, rig->sock, rig->sock,
                                      &(struct worker_options){ 0 }),
                     ST_CLOSED);
}

static void signals_for_the_terminal_do_not_touch_it(void **state)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct rig *rig = *state;

    assert_int_not_equal(getpgid(rig->fs.pid), getpgrp());
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        assert_int_equal(kill(rig->fs.pid, signals[i]), 0);
    fd_close(&rig->sock);
    assert_int_equal(next_event(rig).kind, FORKSERVER_EXITED);
    spawn(rig, 44);
}

static void pings_are_answered_each(void **state)
{
    struct rig *rig = *state;

    forkserver_ping(&rig->fs);
    forkserver_ping(&rig->fs);
    assert_int_equal(next_event(rig).kind, FORKSERVER_PONG);
    assert_int_equal(next_event(rig).kind, FORKSERVER_PONG);
    order(rig, ORDER_EXIT);
    assert_int_equal(next_event(rig).kind, FORKSERVER_EXITED);
}

static void stopping_what_was_never_started_is_fine(void **state)
{
    struct forkserver none = { .sock = -1, .pidfd = -1 };
    struct forkserver_event event;

    (void)state;
    forkserver_stop(&none);
    assert_int_equal(forkserver_next_event(&none, &event), ST_CLOSED);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(exit_code_comes_back_with_the_tag_and_the_usage),
        CASE(signal_comes_back_as_it_was_and_without_a_core),
        CASE(closing_the_socket_ends_the_worker),
        CASE(pidfd_kills_the_worker),
        CASE(children_in_the_group_end_with_the_worker),
        CASE(children_that_left_the_group_end_with_the_worker),
        CASE(stop_ends_workers_and_their_children),
        CASE(pings_are_answered_each),
        CASE(stdout_and_stderr_of_a_worker_are_what_was_passed),
        CASE(killed_forkserver_takes_its_workers_with_it),
        CASE(signals_for_the_terminal_do_not_touch_it),
        cmocka_unit_test(stopping_what_was_never_started_is_fine),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("forkserver", tests, NULL, NULL);
}
