/* SPDX-License-Identifier: MIT */
#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than some C libraries: no execute permission, ever. Hardened systems insist on
 * it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

void fd_close(int *fd)
{
    int saved = errno;

    /* Not repeated on EINTR: Linux has closed the descriptor by then. */
    if (*fd != -1)
        close(*fd);
    *fd = -1;
    errno = saved;
}

enum status fd_set_nonblock(int fd, bool nonblock)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags == -1)
        return ST_IO;
    flags = nonblock ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) == -1 ? ST_IO : ST_OK;
}

enum status fd_socket_pair(int type, int ret_fds[2])
{
    return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret_fds) == -1 ? ST_IO : ST_OK;
}

enum status fd_memfd(const char *name, size_t size, int *ret_fd)
{
    int fd;

    if (size > INT64_MAX) {
        errno = EFBIG;
        return ST_IO;
    }
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd == -1 && errno == EINVAL) /* a kernel before 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd == -1)
        return ST_IO;
    if (ftruncate(fd, (off_t)size) == -1 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == -1) {
        fd_close(&fd);
        return ST_IO;
    }
    *ret_fd = fd;
    return ST_OK;
}

uint64_t fd_acknowledged(int sock)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof(info);

    if (getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return info.tcpi_bytes_acked;
}

/* Room for the descriptors of one message, aligned as the kernel wants it. */
union control {
    struct cmsghdr align;
    char space[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
};

static enum status status_of_errno(void)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return ST_AGAIN;
    if (errno == EPIPE || errno == ECONNRESET)
        return ST_CLOSED;
    return ST_IO;
}

enum status fd_send(int sock, const void *bytes, size_t len, const int *fds, size_t count)
{
    union control control = { .space = { 0 } };
    struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    assert(len > 0); /* the receiver would take it for the end of file */
    assert(count <= FD_PASS_MAX);
    if (count > 0) {
        struct cmsghdr *head;

        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        head = CMSG_FIRSTHDR(&msg);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n == -1 && errno == EINTR);
    return n == -1 ? status_of_errno() : ST_OK;
}

/* Moves the descriptors of the message into ret_fds. They are ours from here on, whatever
 * else is wrong with the message. */
static size_t take_fds(struct msghdr *msg, int ret_fds[FD_PASS_MAX])
{
    size_t count = 0;

    for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head; head = CMSG_NXTHDR(msg, head)) {
        size_t here;

        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        here = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        assert(count + here <= FD_PASS_MAX); /* union control has no room for more */
        memcpy(ret_fds + count, CMSG_DATA(head), here * sizeof(int));
        count += here;
    }
    return count;
}

enum status fd_recv(int sock, void *bytes, size_t cap, size_t *ret_len,
                    int ret_fds[FD_PASS_MAX], size_t *ret_count)
{
    union control control;
    struct iovec iov = { .iov_base = bytes, .iov_len = cap };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.space,
                          .msg_controllen = sizeof(control.space) };
    enum status st = ST_OK;
    size_t count;
    ssize_t n;

    *ret_len = *ret_count = 0;
    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n == -1 && errno == EINTR);
    if (n == -1)
        return status_of_errno();

    count = take_fds(&msg, ret_fds);
    if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        st = ST_PROTOCOL;
    else if (n == 0)
        st = ST_CLOSED;
    if (st != ST_OK) {
        while (count > 0)
            fd_close(&ret_fds[--count]);
        return st;
    }
    *ret_len = (size_t)n;
    *ret_count = count;
    return ST_OK;
}
