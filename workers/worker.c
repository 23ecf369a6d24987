/* SPDX-License-Identifier: MIT */
#include "workers/worker.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/mem.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Items of one chunk up to this size wait for the end of the loop's turn, so that the
 * chunks of one turn leave in one write. */
#define QUEUE_MAX (16u * 1024)

/* ---- life -------------------------------------------------------------------------- */

static enum status open_page(struct worker_page **ret_page, int *ret_fd)
{
    void *page;
    enum status st = fd_memfd("poold-worker", PAGE_SIZE, ret_fd);

    if (st != ST_OK)
        return st;
    page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
    if (page == MAP_FAILED) {
        fd_close(ret_fd);
        return ST_IO;
    }
    *ret_page = page;
    return ST_OK;
}

enum status worker_new(uv_loop_t *loop, struct pool *pool, uint64_t tag, size_t frame_max,
                       size_t output_max, uv_poll_cb on_event, struct worker **ret_worker,
                       struct worker_ends *ret_ends)
{
    struct worker *worker = mem_zalloc(sizeof(*worker));
    int pair[2] = { -1, -1 }, page_fd = -1, output_fd = -1;
    enum status st = ST_NO_MEMORY;

    if (!worker)
        return st;
    st = fd_socket_pair(SOCK_STREAM, pair);
    if (st == ST_OK)
        st = fd_set_nonblock(pair[0], true);
    if (st == ST_OK)
        st = open_page(&worker->page, &page_fd);
    if (st == ST_OK)
        st = output_open(loop, worker->page, output_max, &worker->output, &output_fd);
    if (st == ST_OK && uv_poll_init(loop, &worker->poll, pair[0]) != 0)
        st = ST_IO;
    if (st != ST_OK) {
        if (worker->page)
            munmap(worker->page, PAGE_SIZE);
        output_close(worker->output);
        fd_close(&pair[0]);
        fd_close(&pair[1]);
        fd_close(&page_fd);
        fd_close(&output_fd);
        mem_free(worker);
        return st;
    }
    channel_init(&worker->channel, pair[0], frame_max);
    worker->poll.data = worker;
    worker->on_event = on_event;
    worker->pool = pool;
    worker->tag = tag;
    worker->pidfd = -1;
    worker->state = WORKER_STARTING;
    *ret_ends = (struct worker_ends){ pair[1], page_fd, output_fd };
    *ret_worker = worker;
    return ST_OK;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct worker *worker = handle->data;
    struct pool *pool = worker->pool;
    void (*on_closed)(struct pool *) = worker->on_closed;

    mem_free(worker);
    on_closed(pool);
}

void worker_close(struct worker *worker, void (*on_closed)(struct pool *pool))
{
    assert(worker->chunk_count == 0);
    worker->on_closed = on_closed;
    worker->deaf = true;
    worker->watched = 0;
    /* libuv forgets the descriptor here; only now may its number be used again. */
    uv_close((uv_handle_t *)&worker->poll, on_handle_closed);
    channel_clear(&worker->channel);
    output_close(worker->output);
    worker->output = NULL;
    fd_close(&worker->pidfd);
    munmap(worker->page, PAGE_SIZE);
    worker->page = NULL;
}

void worker_watch(struct worker *worker)
{
    int wanted = 0;

    if (!worker->deaf)
        wanted = UV_READABLE | (channel_wants_write(&worker->channel) ? UV_WRITABLE : 0);
    if (wanted == worker->watched)
        return;
    worker->watched = wanted;
    if (wanted)
        uv_poll_start(&worker->poll, wanted, worker->on_event);
    else
        uv_poll_stop(&worker->poll);
}

/* ---- chunks ------------------------------------------------------------------------ */

static bool has_slot_of(const struct worker *worker, uint64_t id)
{
    for (unsigned i = 0; i < worker->chunk_count; i++) {
        if ((id - worker->chunks[i]->id) % WORKER_PIPELINE == 0)
            return true;
    }
    return false;
}

/* The next id whose claim slot is not that of a chunk the worker still has. */
static uint64_t next_id(const struct worker *worker)
{
    uint64_t id = worker->last_id + 1;

    /* Ids of so few in a row have slots of their own. */
    if (worker->chunk_count == 0 || id - worker->chunks[0]->id < WORKER_PIPELINE)
        return id;
    while (has_slot_of(worker, id))
        id++;
    return id;
}

uint64_t worker_expected_ns(const struct worker *worker)
{
    return worker->unknown_count > 0 ? UINT64_MAX : worker->known_ns;
}

void worker_send(struct worker *worker, struct chunk *chunk,
                 const struct frame_chunk *content, uint64_t now)
{
    uint8_t head[FRAME_CHUNK_HEAD_LEN];
    struct text parts[] = { { (const char *)head, sizeof(head) },
                            content->task,
                            content->trace,
                            content->kwargs,
                            content->items };
    uint8_t flags;
    enum status st;

    assert(worker->chunk_count < WORKER_PIPELINE);
    assert(content->first == chunk->first && content->count == chunk->count);
    chunk->worker = worker;
    chunk->id = worker->last_id = next_id(worker);
    chunk->sent_ns = now;
    if (worker->chunk_count == 0)
        worker->head_ns = worker->heard_ns = now;
    worker->chunks[worker->chunk_count++] = chunk;
    worker->known_ns += chunk->expected_ns;
    worker->unknown_count += chunk->expected_ns == 0;

    page_offer(worker->page, chunk->id);
    frame_chunk_head(content, head);
    /* Out of memory, half a frame may have gone. When the worker has closed its end, the
     * end of file is on its way and all the rest follows from that. */
    flags = chunk->time_limit_ms > 0 ? FRAME_TIMED : 0;
    if (content->items.len + content->kwargs.len <= QUEUE_MAX)
        st = channel_queue(&worker->channel, FRAME_CHUNK, flags, chunk->id, parts, 5);
    else
        st = channel_send(&worker->channel, FRAME_CHUNK, flags, chunk->id, parts, 5);
    if (st == ST_NO_MEMORY)
        worker_kill(worker, EXIT_TERMINATED, NULL, now);
}

enum status worker_send_init(struct worker *worker, struct text task, struct text args)
{
    struct frame_chunk init = {
        .count = 1, .style = CALL_APPLY, .task = task, .items = args
    };
    uint8_t head[FRAME_CHUNK_HEAD_LEN];
    struct text parts[] = { { (const char *)head, sizeof(head) }, task, args };

    frame_chunk_head(&init, head);
    return channel_send(&worker->channel, FRAME_INIT, 0, 0, parts, 3);
}

void worker_take(struct worker *worker, struct chunk *chunk, uint64_t now)
{
    unsigned i = 0;

    while (worker->chunks[i] != chunk) {
        i++;
        assert(i < worker->chunk_count);
    }
    worker->chunk_count--;
    for (unsigned j = i; j < worker->chunk_count; j++)
        worker->chunks[j] = worker->chunks[j + 1];
    worker->chunks[worker->chunk_count] = NULL;
    worker->known_ns -= chunk->expected_ns;
    worker->unknown_count -= chunk->expected_ns == 0;
    if (chunk == worker->doomed)
        worker->doomed = NULL;
    if (i == 0)
        worker->head_ns = worker->heard_ns = now;
    chunk->worker = NULL;
}

/* ---- the end ----------------------------------------------------------------------- */

void worker_end(struct worker *worker)
{
    worker->ending = true;
    shutdown(worker->channel.fd, SHUT_WR);
}

void worker_kill(struct worker *worker, enum exit_cause cause, struct chunk *target,
                 uint64_t now)
{
    if (!worker->killed) {
        worker->killed = true;
        worker->kill_cause = cause;
        worker->kill_target = target;
        worker->kill_item = target ? worker_item(worker, target) : UINT64_MAX;
        worker->kill_ns = now;
    }
    if (worker->pidfd != -1 && !FAULT(before_worker_kill))
        syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
}

bool worker_process_ended(const struct worker *worker)
{
    struct pollfd ended = { .fd = worker->pidfd, .events = POLLIN };

    return worker->exited || poll(&ended, 1, 0) == 1;
}

struct worker_exit worker_exit_of(const struct worker *worker)
{
    int status = worker->end.wait_status;
    struct worker_exit exit = {
        .cause = EXIT_FORKSERVER,
        .cpu_ns = worker->end.cpu_ns,
        .max_rss_bytes = worker->end.max_rss_bytes,
    };

    if (worker->exited && WIFEXITED(status)) {
        exit.code = WEXITSTATUS(status);
        exit.cause = worker->ending && exit.code == 0 ? EXIT_NORMAL : EXIT_CODE;
    } else if (worker->exited) {
        exit.code = WTERMSIG(status);
        exit.cause = exit.code == SIGXCPU ? EXIT_CPU_LIMIT
                     : exit.code == SIGKILL && worker->end.out_of_memory
                         ? EXIT_MEMORY_LIMIT
                         : EXIT_SIGNAL;
    }
    if (worker->killed)
        exit.cause = worker->kill_cause;
    return exit;
}

/* ---- what the page says ------------------------------------------------------------ */

static bool has_item(const struct chunk *chunk, uint64_t item)
{
    return item >= chunk->first && item - chunk->first < chunk->count;
}

uint64_t worker_item(const struct worker *worker, const struct chunk *chunk)
{
    enum claim claim = page_claim_state(worker->page, chunk->id);
    uint64_t item;

    if (claim == CLAIM_OFFERED || claim == CLAIM_REVOKED)
        return UINT64_MAX;
    if (atomic_load_explicit(&worker->page->item_chunk, memory_order_acquire) !=
        chunk->id)
        return chunk->first;
    item = atomic_load_explicit(&worker->page->item, memory_order_acquire);
    return has_item(chunk, item) ? item : chunk->first;
}

uint64_t worker_guilty(const struct worker *worker, const struct chunk *chunk,
                       enum exit_cause cause)
{
    if (cause != EXIT_TIME_LIMIT && cause != EXIT_TERMINATED)
        return worker_item(worker, chunk);
    /* Between the decision and the death the worker may have gone on to somebody else. */
    if (chunk != worker->kill_target || !has_item(chunk, worker->kill_item))
        return UINT64_MAX;
    return worker->kill_item;
}

/* When the item that the page names was begun; 0 between items, before the first one, or
 * when it is not to be believed. */
static uint64_t noted_start_ns(const struct worker *worker, const struct chunk *chunk,
                               uint64_t now)
{
    uint64_t started =
        atomic_load_explicit(&worker->page->item_started_ns, memory_order_acquire);

    if (atomic_load_explicit(&worker->page->item_chunk, memory_order_acquire) !=
            chunk->id ||
        started > now || started < chunk->sent_ns)
        return 0;
    return started;
}

uint64_t worker_item_began_ns(const struct worker *worker, const struct chunk *chunk,
                              uint64_t item)
{
    uint64_t noted = noted_start_ns(worker, chunk, clock_mono_ns());

    if (noted && item == worker_item(worker, chunk))
        return noted;
    return item == chunk->first && chunk == worker->chunks[0] ? worker->heard_ns : 0;
}

uint64_t worker_limit_ns(const struct worker *worker, uint64_t now)
{
    const struct chunk *chunk = worker->chunk_count > 0 ? worker->chunks[0] : NULL;
    uint64_t limit, started;

    if (!chunk || chunk->time_limit_ms <= 0)
        return UINT64_MAX;
    started = noted_start_ns(worker, chunk, now);
    if (started == 0)
        started = worker->heard_ns;
    limit = (uint64_t)chunk->time_limit_ms;
    if (limit > (UINT64_MAX - started) / NS_PER_MS)
        return UINT64_MAX;
    return started + limit * NS_PER_MS;
}
