/* SPDX-License-Identifier: MIT */
/*
 * worker - the server's record of one child: its process, its socket, its page, its
 * chunks.
 *
 * Knows how to give chunks to the child, whom to blame, how to kill it, and when an item
 * has run out of time. What follows from any of that is decided in pool*.c, which own the
 * fields marked (pool). Everything runs on the loop's thread.
 *
 * Life: worker_new, then the forkserver is asked for the process, SPAWNED and READY come
 * in either order, chunks, end of file and EXITED in either order, worker_close.
 */
#ifndef WORKERS_WORKER_H
#define WORKERS_WORKER_H

#include "workers/channel.h"
#include "workers/output.h"
#include "workers/page.h"
#include "workers/pool.h"

#include <sys/queue.h>
#include <uv.h>

/* The list of its pool that a worker is in: what it can take. */
enum worker_slot {
    SLOT_NONE, /* nothing */
    SLOT_IDLE, /* any chunk */
    SLOT_OPEN  /* another short chunk behind its short ones */
};

struct worker {
    TAILQ_ENTRY(worker) link;      /* (pool) all workers, in order of start */
    TAILQ_ENTRY(worker) slot_link; /* (pool) the list of `slot` */
    enum worker_slot slot;         /* (pool) */
    enum worker_state state;       /* (pool) */
    uint64_t since_ns;             /* (pool) of the last change of state */
    struct pool *pool;
    void (*on_closed)(struct pool *pool);
    uint64_t tag; /* its name towards the forkserver */

    pid_t pid; /* 0 until SPAWNED */
    int pidfd; /* -1 until SPAWNED */
    uv_poll_t poll;
    uv_poll_cb on_event;
    int watched; /* the events that poll has been started with */
    struct channel channel;
    struct worker_page *page;
    struct output *output; /* of its stdout and stderr */

    struct chunk *chunks[WORKER_PIPELINE]; /* [0] is being run, or is to be next */
    unsigned chunk_count;
    uint64_t known_ns;      /* the sum of what they are expected to take */
    uint64_t turn_ns;       /* (pool) of what it was handed in a row */
    unsigned unknown_count; /* chunks of which that is not known */
    uint64_t last_id;       /* the newest chunk's */
    uint64_t head_ns;       /* when chunks[0] came to be the first */
    uint64_t heard_ns; /* when the worker last answered, or head_ns, whichever is later */
    uint64_t items_done, chunks_done;

    bool ready;       /* (pool) READY has come */
    bool retiring;    /* (pool) takes no more chunks, and ends when it has none */
    bool init_raised; /* (pool) its initializer has raised, and it ends */
    bool ending;      /* asked to end */
    bool deaf;        /* (pool) no more frames: end of file, or nonsense */
    bool left;        /* (pool) does not count any more, a replacement may start */
    bool exited;      /* (pool) reaped: `end` is set */
    uint64_t deaf_ns;
    struct forkserver_event end;

    struct chunk *doomed; /* has been cancelled: its task may end by itself, until */
    uint64_t doom_ns;     /* then */
    bool killed;
    enum exit_cause kill_cause;
    struct chunk *kill_target; /* whom the kill was for; NULL: nobody in particular */
    uint64_t kill_item;        /* what the target was on then; UINT64_MAX: nothing */
    uint64_t kill_ns;
};

/* What the child is to get. */
struct worker_ends {
    int sock, page, output;
};

/* A worker without a process yet; output_max as `kept` of output_open. The caller owns the
 * descriptors in *ret_ends. The worker does not watch its socket before worker_watch. */
NODISCARD enum status worker_new(uv_loop_t *loop, struct pool *pool, uint64_t tag,
                                 size_t frame_max, size_t output_max, uv_poll_cb on_event,
                                 struct worker **ret_worker,
                                 struct worker_ends *ret_ends);
/* Gives everything up at once but the memory, which goes when libuv has let go of the
 * handle; on_closed tells. The worker has no chunks any more. */
void worker_close(struct worker *worker, void (*on_closed)(struct pool *pool));

/* Watches the socket for what is needed now: nothing when deaf. */
void worker_watch(struct worker *worker);
/* Sends a chunk and keeps it as the last one of chunks[]; sets its worker, id and
 * sent_ns. */
void worker_send(struct worker *worker, struct chunk *chunk,
                 const struct frame_chunk *content, uint64_t now);
/* Sends the initializer, which the worker runs before it is ready; once, before any
 * chunk. ST_NO_MEMORY, ST_CLOSED. */
NODISCARD enum status worker_send_init(struct worker *worker, struct text task,
                                       struct text args);
/* What its chunks are expected to take; UINT64_MAX if that is not known of one. */
uint64_t worker_expected_ns(const struct worker *worker);
/* Takes a chunk out of chunks[]. */
void worker_take(struct worker *worker, struct chunk *chunk, uint64_t now);
/* Asks it to end when it has read what was sent. */
void worker_end(struct worker *worker);
/* SIGKILL, by the pidfd, or as soon as there is one. The first kill counts. */
void worker_kill(struct worker *worker, enum exit_cause cause, struct chunk *target,
                 uint64_t now);

/* Whether its process has ended, reaped or not. */
bool worker_process_ended(const struct worker *worker);
/* The item of this chunk that the worker is on, as far as its page can be believed;
 * UINT64_MAX when it has not begun the chunk. */
uint64_t worker_item(const struct worker *worker, const struct chunk *chunk);
/* When it began this item of the chunk, CLOCK_MONOTONIC, as far as that is known: the
 * page tells with a time limit, else the first item without an outcome began when the one
 * before it was told. 0: not known. */
uint64_t worker_item_began_ns(const struct worker *worker, const struct chunk *chunk,
                              uint64_t item);
/* Whom to blame for the loss of this chunk, once the worker has gone for this cause. */
uint64_t worker_guilty(const struct worker *worker, const struct chunk *chunk,
                       enum exit_cause cause);
/* When the current item will have used up its time limit; UINT64_MAX without a limit. */
uint64_t worker_limit_ns(const struct worker *worker, uint64_t now);
/* How it has ended; EXIT_FORKSERVER if nobody has told. */
struct worker_exit worker_exit_of(const struct worker *worker);

#endif
