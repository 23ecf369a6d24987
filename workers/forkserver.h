/* SPDX-License-Identifier: MIT */
/*
 * forkserver - the single-threaded process that forks workers, and the server's end of
 * it.
 *
 * The server starts `poold forkserver` by exec before it opens the database, so a task's
 * memory never holds a key or a SQLite handle, and no fork ever happens in a process with
 * threads. Requests and answers are fixed structs on one SEQPACKET socket
 * (workers/PROTOCOL.md).
 *
 * The forkserver is a subreaper. Each worker is the leader of its own process group; when
 * it ends, its group is killed, and every child that the forkserver did not fork itself
 * is an escaped descendant of a task and is killed too. When the server goes, the
 * forkserver ends (end of file, and PR_SET_PDEATHSIG), and its workers with it.
 */
#ifndef WORKERS_FORKSERVER_H
#define WORKERS_FORKSERVER_H

#include "common/status.h"
#include "workers/confine.h"
#include "workers/limits.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The descriptors on which `poold forkserver` finds its socket and, if there is one, the
 * catalog of tasks that it loads (workers/catalog.h). */
#define FORKSERVER_FD 3
#define CATALOG_FD    4
/* Where a worker has its page, as long as it may start a runner (runner.h). */
#define PAGE_FD 5

/* What one worker is to be like. */
struct worker_options {
    uint64_t result_max; /* bytes of one item's result */
    struct limits limits;
    uint64_t rss_max; /* bytes in use from which on it is replaced; 0: any */
    bool scratch;     /* set by the forkserver: it has a scratch folder */
    bool fresh;       /* execute the binary anew instead of going on as a copy */
    bool initializer; /* an INIT frame comes first */
};

/* ---- in the server ----------------------------------------------------------------- */

struct forkserver {
    pid_t pid;
    int sock;  /* SEQPACKET, non-blocking; watch it for reading */
    int pidfd; /* readable when the forkserver has ended */
};

/* Starts this binary again as `poold forkserver` with posix_spawn. Nothing but the socket,
 * the catalog and stderr is inherited. catalog is the caller's; one that is not above
 * CATALOG_FD is none: the built-in tasks alone. confinement may be NULL: none. */
NODISCARD enum status forkserver_start(struct forkserver *fs, int catalog,
                                       const struct confinement *confinement,
                                       struct error_text *err);
/* Closes the socket, kills the process if it is still there, reaps it. Safe on {0, -1,
 * -1} . */
void forkserver_stop(struct forkserver *fs);

/* Asks for one worker. `sock` is the worker's end of its channel, `page` its memfd and
 * `output` what becomes its stdout and stderr; all stay the caller's. `tag` comes back
 * with the answer. ST_AGAIN, ST_CLOSED. */
NODISCARD enum status forkserver_spawn(struct forkserver *fs, uint64_t tag, int sock,
                                       int page, int output,
                                       const struct worker_options *options);

/* Asks it to answer PONG. A question that cannot be sent is one without an answer. */
void forkserver_ping(struct forkserver *fs);

enum forkserver_event_kind {
    FORKSERVER_SPAWNED, /* pid and pidfd are set; the receiver owns pidfd */
    FORKSERVER_FAILED,  /* fork failed: error is the errno */
    FORKSERVER_EXITED,  /* the worker has been reaped: wait_status and usage are set */
    FORKSERVER_PONG,    /* it is there; nothing else is set */
};
struct forkserver_event {
    enum forkserver_event_kind kind;
    int error;          /* errno */
    int wait_status;    /* as waitpid(2) gives it */
    bool out_of_memory; /* the kernel has killed its control group for memory_limit */
    int pidfd;          /* -1 unless SPAWNED */
    pid_t pid;
    uint64_t tag;
    uint64_t cpu_ns; /* user and system time, children included (EXITED) */
    uint64_t max_rss_bytes;
};
/* The next answer, if there is one. ST_AGAIN, ST_CLOSED when the forkserver has gone. */
NODISCARD enum status forkserver_next_event(struct forkserver *fs,
                                            struct forkserver_event *ret_event);

/* ---- the process itself ------------------------------------------------------------ */

/* The main function of `poold forkserver CONFINEMENT…` (confine_args): serves the socket on
 * FORKSERVER_FD until its end of file, then kills and reaps what it has forked. Returns the
 * exit code. */
int forkserver_main(int argc, char **argv);

/* The main function of `poold worker`, which a forkserver executes for a `fresh` worker:
 * its socket is on FORKSERVER_FD, its page on PAGE_FD. Returns the exit code. */
int worker_main(int argc, char **argv);

#endif
