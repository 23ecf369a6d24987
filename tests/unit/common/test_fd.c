/* SPDX-License-Identifier: MIT */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static bool is_cloexec(int fd)
{
    return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

/* The lowest free descriptor: the same before and after if nothing has leaked. */
static int next_free_fd(void)
{
    int fd = dup(STDERR_FILENO);

    close(fd);
    return fd;
}

static void fd_close_closes_once_and_keeps_errno(void **state)
{
    int fd = dup(STDERR_FILENO), number = fd;

    (void)state;
    errno = ENOENT;
    fd_close(&fd);
    assert_int_equal(fd, -1);
    assert_false(is_open(number));
    errno = ENOENT;
    fd_close(&fd);
    assert_int_equal(errno, ENOENT);
    fd = number; /* not open any more: close fails */
    errno = ENOENT;
    fd_close(&fd);
    assert_int_equal(errno, ENOENT);
}

static void fd_set_nonblock_switches_both_ways(void **state)
{
    int fds[2];
    char c;

    (void)state;
    assert_int_equal(fd_socket_pair(SOCK_STREAM, fds), ST_OK);
    assert_false(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    assert_int_equal(fd_set_nonblock(fds[0], true), ST_OK);
    assert_int_equal(read(fds[0], &c, 1), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fd_set_nonblock(fds[0], false), ST_OK);
    assert_false(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    assert_int_equal(fd_set_nonblock(-1, true), ST_IO);
}

static void fd_socket_pair_is_connected_and_close_on_exec(void **state)
{
    int fds[2];
    char c = 0;

    (void)state;
    assert_int_equal(fd_socket_pair(SOCK_STREAM, fds), ST_OK);
    assert_true(is_cloexec(fds[0]) && is_cloexec(fds[1]));
    assert_int_equal(write(fds[0], "x", 1), 1);
    assert_int_equal(read(fds[1], &c, 1), 1);
    assert_int_equal(c, 'x');
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    assert_int_equal(fd_socket_pair(-1, fds), ST_IO);
}

static void fd_memfd_is_zeros_of_a_fixed_size(void **state)
{
    static const char zeros[5000];
    struct stat info;
    char bytes[5001];
    int fd = -1;

    (void)state;
    assert_int_equal(fd_memfd("test", sizeof(zeros), &fd), ST_OK);
    assert_true(is_cloexec(fd));
    assert_int_equal(fstat(fd, &info), 0);
    assert_int_equal(info.st_size, sizeof(zeros));
    assert_int_equal(read(fd, bytes, sizeof(bytes)), sizeof(zeros));
    assert_memory_equal(bytes, zeros, sizeof(zeros));
    assert_int_equal(pwrite(fd, "x", 1, 4999), 1);
    assert_int_equal(ftruncate(fd, 10), -1);
    assert_int_equal(ftruncate(fd, 10000), -1);
    assert_int_equal(pwrite(fd, "x", 1, 5000), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    fd_close(&fd);
}

static void fd_memfd_refuses_sizes_that_no_file_can_have(void **state)
{
    int fd = 77, before = next_free_fd();

    (void)state;
    errno = 0;
    assert_int_equal(fd_memfd("test", SIZE_MAX, &fd), ST_IO);
    assert_int_equal(errno, EFBIG);
    assert_int_equal(fd, 77);
    assert_int_equal(next_free_fd(), before);
}

static void open_pair(int fds[2])
{
    assert_int_equal(fd_socket_pair(SOCK_SEQPACKET, fds), ST_OK);
    assert_int_equal(fd_set_nonblock(fds[0], true), ST_OK);
    assert_int_equal(fd_set_nonblock(fds[1], true), ST_OK);
}

static void close_pair(int fds[2])
{
    fd_close(&fds[0]);
    fd_close(&fds[1]);
}

static void fd_send_passes_bytes_without_descriptors(void **state)
{
    int pair[2], got[FD_PASS_MAX];
    size_t len = 9, count = 9;
    char bytes[16];

    (void)state;
    open_pair(pair);
    assert_int_equal(fd_send(pair[0], "hello", 5, NULL, 0), ST_OK);
    assert_int_equal(fd_send(pair[0], "you", 3, NULL, 0), ST_OK);
    assert_int_equal(fd_recv(pair[1], bytes, sizeof(bytes), &len, got, &count), ST_OK);
    assert_int_equal(len, 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(count, 0);
    assert_int_equal(fd_recv(pair[1], bytes, sizeof(bytes), &len, got, &count), ST_OK);
    assert_int_equal(len, 3);
    close_pair(pair);
}

static void fd_send_passes_descriptors_that_stay_the_senders_too(void **state)
{
    int pair[2], sent[FD_PASS_MAX], got[FD_PASS_MAX];
    size_t len, count;
    char bytes[16];

    (void)state;
    open_pair(pair);
    for (int i = 0; i < FD_PASS_MAX; i++) {
        assert_int_equal(fd_memfd("test", 1, &sent[i]), ST_OK);
        assert_int_equal(pwrite(sent[i], &"abcdefgh"[i], 1, 0), 1);
    }
    assert_int_equal(fd_send(pair[0], "x", 1, sent, FD_PASS_MAX), ST_OK);
    assert_int_equal(fd_recv(pair[1], bytes, sizeof(bytes), &len, got, &count), ST_OK);
    assert_int_equal(len, 1);
    assert_int_equal(count, FD_PASS_MAX);
    for (int i = 0; i < FD_PASS_MAX; i++) {
        char c;

        assert_true(is_open(sent[i]));
        assert_int_not_equal(got[i], sent[i]);
        assert_true(is_cloexec(got[i]));
        assert_int_equal(pread(got[i], &c, 1, 0), 1);
        assert_int_equal(c, "abcdefgh"[i]);
        fd_close(&sent[i]);
        fd_close(&got[i]);
    }
    close_pair(pair);
}

static void fd_recv_without_a_message_says_again(void **state)
{
    int pair[2], got[FD_PASS_MAX];
    size_t len = 9, count = 9;
    char byte;

    (void)state;
    open_pair(pair);
    assert_int_equal(fd_recv(pair[1], &byte, 1, &len, got, &count), ST_AGAIN);
    assert_int_equal(count, 0);
    close_pair(pair);
}

static void fd_send_to_a_full_socket_says_again(void **state)
{
    char block[1024] = { 0 };
    enum status st = ST_OK;
    int pair[2];

    (void)state;
    open_pair(pair);
    for (int i = 0; i < 100000 && st == ST_OK; i++)
        st = fd_send(pair[0], block, sizeof(block), NULL, 0);
    assert_int_equal(st, ST_AGAIN);
    close_pair(pair);
}

static void fd_functions_notice_that_the_other_side_has_closed(void **state)
{
    int pair[2], got[FD_PASS_MAX];
    size_t len, count;
    char byte;

    (void)state;
    open_pair(pair);
    fd_close(&pair[1]);
    assert_int_equal(fd_recv(pair[0], &byte, 1, &len, got, &count), ST_CLOSED);
    assert_int_equal(fd_send(pair[0], "x", 1, NULL, 0), ST_CLOSED);
    close_pair(pair);
}

static void fd_functions_report_a_bad_descriptor_with_errno(void **state)
{
    int got[FD_PASS_MAX];
    size_t len, count;
    char byte;

    (void)state;
    errno = 0;
    assert_int_equal(fd_send(-1, "x", 1, NULL, 0), ST_IO);
    assert_int_equal(errno, EBADF);
    errno = 0;
    assert_int_equal(fd_recv(-1, &byte, 1, &len, got, &count), ST_IO);
    assert_int_equal(errno, EBADF);
}

static void fd_recv_refuses_a_message_longer_than_its_room(void **state)
{
    int pair[2], got[FD_PASS_MAX], before;
    size_t len, count = 9;
    char bytes[4];

    (void)state;
    open_pair(pair);
    before = next_free_fd();
    assert_int_equal(fd_send(pair[0], "hello", 5, pair, 2), ST_OK);
    assert_int_equal(fd_recv(pair[1], bytes, 4, &len, got, &count), ST_PROTOCOL);
    assert_int_equal(count, 0);
    assert_int_equal(next_free_fd(), before);
    assert_int_equal(fd_send(pair[0], "hell", 4, NULL, 0), ST_OK);
    assert_int_equal(fd_recv(pair[1], bytes, 4, &len, got, &count), ST_OK);
    close_pair(pair);
}

/* What fd_send does not do: any number of descriptors, any length. */
static void send_raw(int sock, const char *bytes, size_t len, size_t count)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(2 * FD_PASS_MAX * sizeof(int))];
    } control = { .space = { 0 } };
    struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.space };
    struct cmsghdr *head;

    msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
    head = CMSG_FIRSTHDR(&msg);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (size_t i = 0; i < count; i++)
        memcpy(CMSG_DATA(head) + i * sizeof(int), &(int){ STDERR_FILENO }, sizeof(int));
    assert_int_equal(sendmsg(sock, &msg, 0), len);
}

static void fd_recv_refuses_more_descriptors_than_it_takes(void **state)
{
    size_t len, count = 9;
    int pair[2], got[FD_PASS_MAX], before;
    char byte;

    (void)state;
    open_pair(pair);
    before = next_free_fd();
    for (size_t n = FD_PASS_MAX + 1; n <= 2 * FD_PASS_MAX; n++) {
        send_raw(pair[0], "x", 1, n);
        assert_int_equal(fd_recv(pair[1], &byte, 1, &len, got, &count), ST_PROTOCOL);
        assert_int_equal(count, 0);
        assert_int_equal(next_free_fd(), before);
    }
    close_pair(pair);
}

static void fd_recv_takes_an_empty_message_for_the_end_and_leaks_nothing(void **state)
{
    size_t len, count = 9;
    int pair[2], got[FD_PASS_MAX], before;
    char byte;

    (void)state;
    open_pair(pair);
    before = next_free_fd();
    send_raw(pair[0], "", 0, 2);
    assert_int_equal(fd_recv(pair[1], &byte, 1, &len, got, &count), ST_CLOSED);
    assert_int_equal(count, 0);
    assert_int_equal(next_free_fd(), before);
    close_pair(pair);
}

/* Waits for the kernel, which counts when the acknowledgement has come. */
static void fd_acknowledged_counts_what_the_other_side_has_taken(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server;
    char bytes[1000] = { 0 };

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, len), 0);
    server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(server >= 0);
    assert_true(fd_acknowledged(server) <= 1);
    assert_int_equal(write(server, bytes, sizeof(bytes)), sizeof(bytes));
    for (int i = 0; i < 30000 && fd_acknowledged(server) < sizeof(bytes); i++)
        (void)poll(NULL, 0, 1);
    assert_in_range(fd_acknowledged(server), sizeof(bytes), sizeof(bytes) + 1);
    assert_int_equal(fd_acknowledged(-1), 0);
    fd_close(&client);
    fd_close(&server);
    fd_close(&listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fd_close_closes_once_and_keeps_errno),
        cmocka_unit_test(fd_set_nonblock_switches_both_ways),
        cmocka_unit_test(fd_socket_pair_is_connected_and_close_on_exec),
        cmocka_unit_test(fd_memfd_is_zeros_of_a_fixed_size),
        cmocka_unit_test(fd_memfd_refuses_sizes_that_no_file_can_have),
        cmocka_unit_test(fd_send_passes_bytes_without_descriptors),
        cmocka_unit_test(fd_send_passes_descriptors_that_stay_the_senders_too),
        cmocka_unit_test(fd_recv_without_a_message_says_again),
        cmocka_unit_test(fd_send_to_a_full_socket_says_again),
        cmocka_unit_test(fd_functions_notice_that_the_other_side_has_closed),
        cmocka_unit_test(fd_functions_report_a_bad_descriptor_with_errno),
        cmocka_unit_test(fd_recv_refuses_a_message_longer_than_its_room),
        cmocka_unit_test(fd_recv_refuses_more_descriptors_than_it_takes),
        cmocka_unit_test(fd_recv_takes_an_empty_message_for_the_end_and_leaks_nothing),
        cmocka_unit_test(fd_acknowledged_counts_what_the_other_side_has_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
