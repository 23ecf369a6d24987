/* SPDX-License-Identifier: MIT */
/*
 * runner - the worker's end of the process beside it that runs whole chunks in Python.
 *
 * The runner speaks the frames of workers/PROTOCOL.md on a socket that only the two of them
 * have, and writes the same page. So a chunk goes to it as it came from the server, and what
 * it answers goes to the server as it is; the worker reads neither. Integers are the exception:
 * they cross the socket packed (workers/packed.h).
 *
 * The two live and die together. A worker has at most one runner, started with the first
 * chunk that needs it. When the runner ends, so does the worker, in the same way (exit code
 * or signal): whoever watches workers then sees what the task did, and on which item. When
 * the worker ends, the kernel kills the runner.
 *
 * A forked worker asks the forkserver's template (workers/template.h) for a runner; if it has
 * none to give, and in an executed worker, an interpreter is started.
 */
#ifndef WORKERS_RUNNER_H
#define WORKERS_RUNNER_H

#include "common/buf.h"
#include "common/status.h"
#include "workers/frame.h"
#include "workers/outgoing.h"
#include "workers/page.h"

#include <stdbool.h>
#include <sys/types.h>

/* A runner that has not told anything for so long is asked to tell what it has. */
#define RUNNER_HURRY_MS 20

struct runner {
    struct outgoing *out; /* towards the server */
    struct worker_page *page;
    int page_fd;
    uint64_t result_max;
    int sock;   /* -1: not started */
    pid_t pid;  /* our child; 0: the template's */
    int status; /* the template tells how it ended; -1: it is our child */
    int life;   /* held open; the runner dies when it closes */
    struct buf in;
    struct buf packed; /* integers on their way to it */
    struct buf text;   /* integers on their way from it */
};

/* Starts nothing yet. out and page stay the caller's, and page_fd, which is the page's
 * descriptor. */
void runner_init(struct runner *runner, struct outgoing *out, struct worker_page *page,
                 int page_fd, uint64_t result_max);
/* Asks it to end, waits a moment for that, and frees all. */
void runner_clear(struct runner *runner);

/* Has the runner, which is started if need be, run a chunk that comes as this frame; its
 * outcomes are on their way to the server when this returns. A chunk that was taken back
 * meanwhile is skipped. Does not return if the runner dies. ST_PROTOCOL, ST_NO_MEMORY,
 * ST_CLOSED (the server has gone). */
NODISCARD enum status runner_run(struct runner *runner, const struct frame *frame,
                                 const struct frame_chunk *chunk);
/* The same for an initializer. ST_STATE: it raised, which is on its way to the server. */
NODISCARD enum status runner_initialize(struct runner *runner, const struct frame *frame);

#endif
