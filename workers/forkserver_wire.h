/* SPDX-License-Identifier: MIT */
/*
 * forkserver_wire - what the server and the forkserver write to each other.
 *
 * One struct is one message on their SEQPACKET socket. Both ends are the same binary, so
 * the structs go over as they are in memory; `magic` catches what is no such message.
 */
#ifndef WORKERS_FORKSERVER_WIRE_H
#define WORKERS_FORKSERVER_WIRE_H

#include "workers/forkserver.h"

#define FORKSERVER_MAGIC 0x706f6f6eu

enum forkserver_request_kind {
    FORKSERVER_SPAWN, /* fork one worker. Carries three descriptors: its socket, its page,
                       * its stdout and stderr */
    FORKSERVER_PING,  /* say that you are there. Carries none; the rest is 0 */
};

/* server -> forkserver. */
struct forkserver_request {
    uint32_t magic;
    uint32_t kind; /* enum forkserver_request_kind */
    uint64_t tag;
    struct worker_options options;
};

/* forkserver -> server. Carries the pidfd when kind is FORKSERVER_SPAWNED, else nothing.
 */
struct forkserver_answer {
    uint32_t magic;
    uint32_t kind;         /* enum forkserver_event_kind */
    int32_t error;         /* errno (FAILED) */
    int32_t wait_status;   /* as waitpid(2) gives it (EXITED) */
    int32_t out_of_memory; /* its control group was killed for that (EXITED) */
    int32_t reserved;
    int64_t pid;
    uint64_t tag;
    uint64_t cpu_ns;
    uint64_t max_rss_bytes;
};

#endif
