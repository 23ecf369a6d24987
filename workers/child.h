/* SPDX-License-Identifier: MIT */
/*
 * child - the main loop inside a worker process.
 *
 * Reads CHUNK frames from a blocking socket, runs their items one after another, writes
 * RESULT and FAILURE frames. Results of consecutive items are gathered and written
 * together: after CHILD_FLUSH_BYTES or CHILD_FLUSH_NS, and at the chunk's end. With an
 * initializer, that task is run before the first of them; if it raises, the worker ends.
 * Single-threaded; runs task code.
 */
#ifndef WORKERS_CHILD_H
#define WORKERS_CHILD_H

#include "workers/forkserver.h"
#include "workers/page.h"

#define CHILD_FLUSH_BYTES (256u * 1024)
#define CHILD_FLUSH_NS    (20 * 1000000ull)

/* Runs until the server closes the socket, then returns the exit code for _exit. */
int child_main(int sock, struct worker_page *page, const struct worker_options *options);

#endif
