/* SPDX-License-Identifier: MIT */
/*
 * fault - points in the code at which a test makes a process die, stop, wait or fail.
 *
 *     POOLD_FAULT=POINT:NTH:ACTION[:FILE] poold serve
 *
 * POINT   one of FAULT_POINTS.
 * NTH     "3": the third time that the point is passed; "3-5": each time from the third to
 *         the fifth; "3-": from the third on.
 * ACTION  kill     the process kills itself with SIGKILL.
 *         stop     it stops itself with SIGSTOP, and goes on behind the point when
 *                  somebody sends SIGCONT.
 *         delay    it sleeps for FAULT_DELAY_MS.
 *         EIO      FAULT(point) is EIO, and what it stands behind (or before) counts as
 *                  failed; see the list for what that is.
 * FILE    exists, and has at least sizeof(struct fault_count) bytes. Passings are counted
 *         in it, by all processes and over restarts of the server, so that the n-th one is
 *         one of them all; a test reads there what has happened. Without FILE each process
 *         counts for itself.
 *
 * Built with POOLD_FAULTS only (the presets that build the tests). Without, FAULT() is the
 * constant 0, and POOLD_FAULT is an unknown setting like any other.
 */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define FAULT_DELAY_MS 200

/* Where, in which process, and what EIO means there. */
#define FAULT_POINTS(X)                                                                  \
    /* server: all is open, nothing has been told to anybody. EIO: the start fails */    \
    X(before_ready)                                                                      \
    /* server: a job's rows are in the open transaction. EIO: writing has failed */      \
    X(after_insert)                                                                      \
    /* server: a job is committed, nobody knows. EIO: the outcome is unknown */          \
    X(after_commit_before_reply)                                                         \
    /* server: a chunk has been given to a worker. EIO: it cannot be sent */             \
    X(after_dispatch)                                                                    \
    /* server: a worker's result has been read. EIO: it is no result */                  \
    X(after_result_recv)                                                                 \
    /* server: a result is committed, nobody knows. EIO: the outcome is unknown */       \
    X(after_result_commit)                                                               \
    /* server: a page of the WAL is on its way into the database. EIO: write fails */    \
    X(mid_checkpoint)                                                                    \
    /* server: between two steps of the schema. EIO: the second one fails */             \
    X(mid_migration)                                                                     \
    /* server: a worker is to be killed. EIO: the signal does nothing */                 \
    X(before_worker_kill)                                                                \
    /* forkserver: a worker is to be forked. EIO: fork fails */                          \
    X(forkserver_before_fork)                                                            \
    /* forkserver: it has been forked, the server does not know. EIO: it is killed */    \
    X(forkserver_after_fork)                                                             \
    /* worker: it has not said that it is ready. EIO: it ends */                         \
    X(worker_before_ready)                                                               \
    /* worker: items have been run, nothing is told. EIO: it ends */                     \
    X(worker_before_result)                                                              \
    /* worker: half of what it has to tell is written. EIO: it ends */                   \
    X(worker_mid_frame)

enum fault_point {
#define X(name) FAULT_##name,
    FAULT_POINTS(X)
#undef X
        FAULT_POINT_COUNT
};

/* What is at the beginning of FILE, in the machine's own order of bytes. */
struct fault_count {
    uint64_t passed; /* how often the point was passed */
    uint64_t acted;  /* how often of these the action was taken */
    uint64_t pid;    /* who took it last */
};

#ifdef POOLD_FAULTS

extern enum fault_point fault_armed; /* FAULT_POINT_COUNT: none */

/* Reads POOLD_FAULT. At the beginning of each process that is executed; copies made by
 * fork go on with it. ST_INVALID: it makes no sense. */
NODISCARD enum status fault_init(struct error_text *err);
/* "POOLD_FAULT=…" is meant for this module. */
bool fault_is_variable(const char *variable);
/* The armed point is passed. Returns 0 or EIO. */
int fault_pass(void);

#define FAULT_ARMED(point) (fault_armed == FAULT_##point)
#define FAULT(point)       (FAULT_ARMED(point) ? fault_pass() : 0)

#else

static inline enum status fault_init(struct error_text *err)
{
    (void)err;
    return ST_OK;
}

static inline bool fault_is_variable(const char *variable)
{
    (void)variable;
    return false;
}

#define FAULT_ARMED(point) 0
#define FAULT(point)       0

#endif
#endif
