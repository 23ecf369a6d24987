/* SPDX-License-Identifier: MIT */
/*
 * fd - descriptors: close-on-exec from birth, passed between processes, closed once.
 *
 * Functions that give a descriptor return it in ret_fd and own nothing afterwards. errno
 * holds the cause after ST_IO.
 */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Closes *fd unless it is -1, and sets it to -1. errno is kept. */
void fd_close(int *fd);
NODISCARD enum status fd_set_nonblock(int fd, bool nonblock);

/* A pair of connected AF_UNIX sockets of `type` (SOCK_STREAM, SOCK_SEQPACKET),
 * close-on-exec, blocking. */
NODISCARD enum status fd_socket_pair(int type, int ret_fds[2]);
/* An anonymous file of `size` zero bytes that can no longer shrink or grow. */
NODISCARD enum status fd_memfd(const char *name, size_t size, int *ret_fd);

/* Bytes that the other side of a TCP socket has acknowledged since it was connected, about:
 * the kernel counts its own SYN among them. 0 for other descriptors. */
uint64_t fd_acknowledged(int sock);

#define FD_PASS_MAX 8

/* Both follow the socket's mode: ST_AGAIN comes from a non-blocking socket only. A signal
 * does not interrupt them. */

/* One message of len > 0 bytes with count descriptors (at most FD_PASS_MAX) on a
 * SEQPACKET socket. The descriptors stay the caller's. ST_AGAIN if the socket is full,
 * ST_CLOSED, ST_IO. */
NODISCARD enum status fd_send(int sock, const void *bytes, size_t len, const int *fds,
                              size_t count);
/* Reads one message. *ret_len is its length, ret_fds its descriptors (close-on-exec,
 * owned by the caller), *ret_count how many. ST_CLOSED at end of file, ST_AGAIN, ST_IO;
 * ST_PROTOCOL when the message or its descriptors were cut (they are closed then). */
NODISCARD enum status fd_recv(int sock, void *bytes, size_t cap, size_t *ret_len,
                              int ret_fds[FD_PASS_MAX], size_t *ret_count);

#endif
