/* SPDX-License-Identifier: MIT */
/*
 * pool - all workers of one pool: start, hand over chunks, notice deaths, replace,
 * drain.
 *
 * The pool keeps `processes` workers alive. Each has one socket pair and one page to
 * itself, so a worker that dies can hold nothing that another needs. A worker is gone
 * when its socket has closed and it has been reaped, in either order; it is then
 * replaced: at once, but with a growing pause (100 ms to 10 s) when workers die before
 * they were ready.
 *
 * A worker that is to go (it has had its chunks_per_worker, or the pool shrinks)
 * retires: it takes no more chunks, finishes what it has, and ends.
 *
 * An initializer that keeps failing breaks the pool: after INITIALIZER_TRIES in a row,
 * with no worker ready, on_broken is called and no worker is started any more.
 *
 * If the forkserver dies, all workers die with it; the pool starts a new forkserver.
 * Chunks that were lost this way are reported with EXIT_FORKSERVER, which is nobody's
 * fault.
 *
 * All functions run on the loop's thread. A chunk given to pool_send belongs to the pool
 * until the last event about it: on_result or on_failure with `last`, or on_lost, or
 * on_returned; the chunk is freed by the receiver of that event. Events may call
 * pool_send, not pool_free.
 */
#ifndef WORKERS_POOL_H
#define WORKERS_POOL_H

#include "common/blob.h"
#include "common/status.h"
#include "workers/forkserver.h"
#include "workers/frame.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

struct pool;
struct worker;

/* A run of consecutive items of one job, handed over together. Made by the user of the
 * pool. */
struct chunk {
    TAILQ_ENTRY(chunk) link; /* free for the owner's use while the chunk lives */
    void *owner;             /* the job; the pool does not look at it */
    struct worker *worker;   /* set by pool_send; NULL before */
    uint64_t id;             /* set by pool_send; counts up per worker */
    uint64_t first; /* index of the first item without an outcome; the pool moves it */
    uint32_t count; /* items from `first` on that have no outcome yet */
    int64_t time_limit_ms; /* per item; 0: none */
    uint64_t
        expected_ns;  /* how long the whole chunk will take by experience; 0: not known */
    uint64_t sent_ns; /* CLOCK_MONOTONIC, set by pool_send */
};

/* Why a worker has ended. */
enum exit_cause {
    EXIT_NORMAL,       /* it was asked to */
    EXIT_CODE,         /* by itself, with `code` */
    EXIT_SIGNAL,       /* by signal `code` from outside or a fault */
    EXIT_CPU_LIMIT,    /* by SIGXCPU: the item used more processor time than it may */
    EXIT_MEMORY_LIMIT, /* by the kernel: the worker with all that it had started was over
                        * its memory_limit */
    EXIT_TIME_LIMIT,   /* killed: the item ran longer than its time limit */
    EXIT_TERMINATED,   /* killed on request (pool_kill_chunk) */
    EXIT_PROTOCOL,     /* killed: it wrote what is no frame, or not its turn */
    EXIT_FORKSERVER,   /* its forkserver ended and it with it */
    EXIT_CAUSE_COUNT
};
extern const char
    *const exit_cause_names[EXIT_CAUSE_COUNT]; /* "normal", "exit", "signal", ... */

/* What is known of a worker when it has told, or lost, an outcome. */
struct worker_trace {
    pid_t pid;
    uint64_t began_ns;  /* CLOCK_MONOTONIC when it began the item; 0: not known, and with
                         * a result */
    struct text output; /* the last of what it wrote to stdout and stderr for the items,
                         * at most output_max bytes of any kind; valid during the call */
    bool output_cut;    /* there was more */
};

struct worker_exit {
    enum exit_cause cause;
    int code; /* exit code or signal number, where there is one; else 0 */
    uint64_t cpu_ns, max_rss_bytes;
    struct worker_trace trace; /* of the guilty item */
};

struct pool_events {
    /* A worker can take a chunk (pool_free_slot): hand out work. Called at most once per
     * turn of the loop. */
    void (*on_capacity)(void *data);
    /* The next `count` items of the chunk have results, separated by commas, valid during
     * the call. chunk->first and ->count have been moved behind them already. */
    void (*on_result)(void *data, struct chunk *chunk, const struct frame_result *result,
                      const struct worker_trace *trace, bool last);
    void (*on_failure)(void *data, struct chunk *chunk,
                       const struct frame_failure *failure,
                       const struct worker_trace *trace, bool last);
    /* What the task says of an item that has no outcome yet; valid during the call. The message
     * is foreign bytes. */
    void (*on_progress)(void *data, struct chunk *chunk,
                        const struct frame_progress *progress);
    /* All that was read of a worker at once has been told by the three above. */
    void (*on_read)(void *data);
    /* The worker has gone. What is left of the chunk has no outcome. `guilty` is the item
     * that it was on, chunk->first <= guilty < first + count, or UINT64_MAX if it had not
     * begun the chunk, or was killed for something else than this item. */
    void (*on_lost)(void *data, struct chunk *chunk, uint64_t guilty,
                    const struct worker_exit *exit);
    /* A chunk that was waiting behind another one comes back untouched. */
    void (*on_returned)(void *data, struct chunk *chunk);
    /* A worker has ended, whatever it was at; before what follows for its chunks. May be
     * NULL. */
    void (*on_exit)(void *data, enum exit_cause cause);
    /* The initializer has failed too often; exception is the last one, as JSON text from
     * the worker (unchecked), valid during the call. Called once. For pools with an
     * initializer only. */
    void (*on_broken)(void *data, struct text exception);
};

#define INITIALIZER_TRIES 3

struct pool_options {
    const char *name;             /* copied */
    unsigned processes;           /* 1..1024 */
    uint64_t chunks_per_worker;   /* a worker is replaced after these; 0: never */
    const char *initializer;      /* name of a task, or NULL; copied */
    const char *initargs;         /* its positional arguments, JSON array; copied */
    int64_t init_limit_ms;        /* for the initializer; 0: none */
    struct worker_options worker; /* `initializer` is set by the pool */
    const struct confinement *confinement; /* for a new forkserver; not owned, or NULL */
    /* What a new forkserver is to load (forkserver_start): the caller's, copied. */
    int catalog;
    /* Bytes: a longer frame from a worker is a protocol error. At least worker.result_max
     * and CHILD_FLUSH_BYTES (child.h) and a head of 24. */
    uint64_t result_frame_max;
    /* Bytes of what a worker prints that are kept until they are told; 0: OUTPUT_KEEP. */
    uint64_t output_max;
};

/* Takes over the forkserver, which must have been started, and stops it in the end;
 * *forkserver is empty afterwards. On failure it is untouched. */
NODISCARD enum status pool_new(uv_loop_t *loop, struct forkserver *forkserver,
                               const struct pool_options *options,
                               const struct pool_events *events, void *data,
                               struct pool **ret_pool);
/* Starts the workers. */
void pool_start(struct pool *pool);
/* Asks idle workers to end and busy ones when they are done; nothing is replaced any
 * more. on_stopped is called once, when the last one has gone and all handles are closed;
 * then pool_free may be called. */
void pool_stop(struct pool *pool, void (*on_stopped)(void *data));
/* Takes over processes, chunks_per_worker, init_limit_ms and worker.limits. Surplus
 * workers retire: idle ones at once, then those that start, then busy ones. With another
 * limits all workers retire and are replaced. Not after pool_stop. */
void pool_change(struct pool *pool, const struct pool_options *options);
const struct pool_options *pool_options(const struct pool *pool);
/* Kills all workers now. Only after pool_stop, whose on_stopped is called as ever. */
void pool_kill(struct pool *pool);
void pool_free(struct pool *pool);

/* A worker that can take a chunk of this expected duration now, or NULL: an idle one,
 * else one whose chunks are expected to end within PIPELINE_NS and have left for it but for
 * few bytes, if this chunk is short as well (expected_ns 0 counts as long). */
#define PIPELINE_NS 1000000ull
struct worker *pool_free_slot(struct pool *pool, uint64_t expected_ns);
/* Hands a chunk to a worker that pool_free_slot has just given. Takes the chunk; a worker
 * that has died meanwhile reports it by on_lost or on_returned, later. content->first and
 * ->count are the chunk's. The texts are copied or sent during the call. */
void pool_send(struct pool *pool, struct worker *worker, struct chunk *chunk,
               const struct frame_chunk *content);
/* Takes a chunk back that its worker has not begun: true, and the caller owns it again.
 * The worker may have room now; this is not an event. */
bool pool_reclaim(struct pool *pool, struct chunk *chunk);
/* What the worker that runs this chunk has printed and not told an outcome of yet, and
 * the item it is on: false if it is not at this chunk. Valid until the loop goes on. */
bool pool_chunk_output(struct pool *pool, const struct chunk *chunk, uint64_t *ret_item,
                       struct worker_trace *ret_trace);
/* Kills the worker that has this chunk for EXIT_TIME_LIMIT or EXIT_TERMINATED. on_lost
 * follows with `cause`, unless the last result was on its way already. Another chunk of
 * that worker comes back by on_returned, or by on_lost with nobody guilty if it had been
 * begun. */
void pool_kill_chunk(struct pool *pool, struct chunk *chunk, enum exit_cause cause);

/* Kills the worker that has this chunk for EXIT_TERMINATED, as above; but if the chunk's task
 * has asked whether it is cancelled (page.h), it is given grace_ms to end by itself. In that
 * time its outcome may still come by on_result or on_failure; no other item of the chunk is
 * begun. */
void pool_cancel_chunk(struct pool *pool, struct chunk *chunk, int64_t grace_ms);

/* ---- inspection -------------------------------------------------------------------- */

enum worker_state {
    WORKER_STARTING,
    WORKER_IDLE,
    WORKER_BUSY,
    WORKER_STOPPING,
    WORKER_STATE_COUNT
};
extern const char *const worker_state_names[WORKER_STATE_COUNT];

struct worker_info {
    pid_t pid; /* 0 while STARTING */
    enum worker_state state;
    const struct chunk *chunk; /* the one it runs, or NULL */
    uint64_t item;             /* of that chunk, as the page says */
    uint64_t since_ns;         /* CLOCK_MONOTONIC of the last change of state */
    uint64_t items_done;
};
const char *pool_name(const struct pool *pool);
unsigned pool_processes(const struct pool *pool); /* wanted */
unsigned pool_busy(const struct pool *pool);
unsigned pool_idle(const struct pool *pool);
/* Workers that are there, in order of start; returns how many of `cap` were filled in. */
size_t pool_workers(const struct pool *pool, struct worker_info *ret_infos, size_t cap);
/* 0 while there is none. */
pid_t pool_forkserver_pid(const struct pool *pool);
/* Workers that are there, by state. */
void pool_count_states(const struct pool *pool, unsigned ret_counts[WORKER_STATE_COUNT]);
/* Items without an outcome in the chunks that workers have. */
uint64_t pool_items(const struct pool *pool);
/* Worker deaths since the start, and the last reason why none could be started ("" if
 * none). */
uint64_t pool_lost_count(const struct pool *pool);
const char *pool_start_error(const struct pool *pool);

#endif
