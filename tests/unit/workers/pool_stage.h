/* SPDX-License-Identifier: MIT */
/*
 * pool_stage - a pool whose forkserver and workers are played by the test. Behind each
 * played worker stands a process that does nothing, for the pool to kill.
 */
#ifndef TESTS_UNIT_WORKERS_POOL_STAGE_H
#define TESTS_UNIT_WORKERS_POOL_STAGE_H

#include "tests/unit/workers/pool_rig.h"

#include "common/fd.h"
#include "workers/forkserver_wire.h"
#include "workers/page.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXITED_WITH(code) ((code) << 8) /* as waitpid(2) gives it */

struct actor {
    uint64_t tag;
    int sock;
    int output; /* its stdout and stderr */
    struct worker_page *page;
    pid_t pid;
};

struct stage {
    struct rig rig;
    int forkserver; /* the forkserver's end */
    struct actor actors[8];
    unsigned actor_count;
    bool stopping; /* the test has stopped the pool itself */
};

static inline bool is_readable(int fd)
{
    struct pollfd readable = { .fd = fd, .events = POLLIN };

    return poll(&readable, 1, 0) == 1;
}

static inline void answer(struct stage *stage, struct forkserver_answer answer, int pidfd)
{
    answer.magic = FORKSERVER_MAGIC;
    assert_int_equal(
        fd_send(stage->forkserver, &answer, sizeof(answer), &pidfd, pidfd != -1), ST_OK);
}

/* Waits for the pool's next request. */
static inline struct actor *take_request(struct stage *stage)
{
    struct actor *actor = &stage->actors[stage->actor_count++];
    struct forkserver_request request;
    int fds[FD_PASS_MAX];
    size_t len, count;

    do {
        WAIT(&stage->rig, is_readable(stage->forkserver));
        assert_int_equal(
            fd_recv(stage->forkserver, &request, sizeof(request), &len, fds, &count),
            ST_OK);
        assert_int_equal(len, sizeof(request));
    } while (request.kind == FORKSERVER_PING); /* of a test that takes long */
    assert_int_equal(count, 3);
    assert_int_equal(request.options.result_max, RESULT_MAX);
    actor->tag = request.tag;
    actor->sock = fds[0];
    actor->output = fds[2];
    actor->page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
    assert_true(actor->page != MAP_FAILED);
    fd_close(&fds[1]);
    return actor;
}

static inline void spawn(struct stage *stage, struct actor *actor)
{
    struct forkserver_answer spawned = { .kind = FORKSERVER_SPAWNED, .tag = actor->tag };
    int pidfd;

    actor->pid = fork();
    assert_int_not_equal(actor->pid, -1);
    if (actor->pid == 0) {
        close_range(3, ~0U, 0); /* nobody's end of file is to wait for it */
        for (;;)
            pause();
    }
    pidfd = (int)syscall(SYS_pidfd_open, actor->pid, 0);
    spawned.pid = actor->pid;
    answer(stage, spawned, pidfd);
    fd_close(&pidfd);
}

static inline void send_bytes(struct actor *actor, const void *bytes, size_t len)
{
    assert_int_equal(send(actor->sock, bytes, len, MSG_NOSIGNAL), len);
}

static inline void send_ready(struct actor *actor, uint32_t version)
{
    struct frame_ready ready = { .version = version, .pid = (uint32_t)actor->pid };
    uint8_t bytes[FRAME_HEADER_LEN + FRAME_READY_LEN];

    frame_header(FRAME_READY, 0, 0, FRAME_READY_LEN, bytes);
    frame_ready(&ready, bytes + FRAME_HEADER_LEN);
    send_bytes(actor, bytes, sizeof(bytes));
}

static inline void send_result(struct actor *actor, uint64_t chunk_id, uint64_t first,
                               uint32_t count, uint8_t flags)
{
    struct frame_result result = {
        .first = first,
        .count = count,
        .printed = page_printed(actor->page, actor->output),
    };
    uint8_t bytes[FRAME_HEADER_LEN + FRAME_RESULT_HEAD_LEN + 1];

    frame_header(FRAME_RESULT, flags, chunk_id, FRAME_RESULT_HEAD_LEN + 1, bytes);
    frame_result_head(&result, bytes + FRAME_HEADER_LEN);
    bytes[sizeof(bytes) - 1] = '1';
    send_bytes(actor, bytes, sizeof(bytes));
}

static inline void send_failure(struct actor *actor, uint64_t chunk_id, uint64_t item,
                                uint8_t flags)
{
    struct frame_failure failure = {
        .item = item,
        .printed = page_printed(actor->page, actor->output),
    };
    uint8_t bytes[FRAME_HEADER_LEN + FRAME_FAILURE_HEAD_LEN + 2];

    frame_header(FRAME_FAILURE, flags, chunk_id, FRAME_FAILURE_HEAD_LEN + 2, bytes);
    frame_failure_head(&failure, bytes + FRAME_HEADER_LEN);
    memcpy(bytes + sizeof(bytes) - 2, "{}", 2);
    send_bytes(actor, bytes, sizeof(bytes));
}

static inline void send_progress(struct actor *actor, uint64_t chunk_id, uint64_t item,
                                 uint8_t flags)
{
    struct frame_progress progress = { .item = item, .current = 5, .total = 9 };
    uint8_t bytes[FRAME_HEADER_LEN + FRAME_PROGRESS_HEAD_LEN + 2];

    frame_header(FRAME_PROGRESS, flags, chunk_id, FRAME_PROGRESS_HEAD_LEN + 2, bytes);
    frame_progress_head(&progress, bytes + FRAME_HEADER_LEN);
    memcpy(bytes + sizeof(bytes) - 2, "hm", 2);
    send_bytes(actor, bytes, sizeof(bytes));
}

static inline void begin_item(struct actor *actor, uint64_t chunk_id, uint64_t item)
{
    page_claim(actor->page, chunk_id);
    actor->page->item = item;
    actor->page->item_chunk = chunk_id;
}

static inline void exited(struct stage *stage, struct actor *actor, int wait_status)
{
    struct forkserver_answer exited = {
        .kind = FORKSERVER_EXITED,
        .tag = actor->tag,
        .pid = actor->pid,
        .wait_status = wait_status,
        .cpu_ns = 123,
        .max_rss_bytes = 456,
    };

    answer(stage, exited, -1);
}

/* Whether the process behind the actor was killed; reaps it. */
static inline bool was_killed(struct actor *actor)
{
    int status = 0;
    pid_t pid = waitpid(actor->pid, &status, WNOHANG);

    if (pid != actor->pid)
        return false;
    actor->pid = 0;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static inline int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof(*stage));
    int pair[2];

    if (!stage)
        return -1;
    stage->rig.fd_count = rig_count_fds();
    if (fd_socket_pair(SOCK_SEQPACKET, pair) != ST_OK ||
        fd_set_nonblock(pair[0], true) != ST_OK)
        return -1;
    stage->forkserver = pair[1];
    /* No process: the pool only talks to the socket. */
    stage->rig.forkserver = (struct forkserver){ .sock = pair[0], .pidfd = -1 };
    *state = stage;
    rig_start(&stage->rig, 1);
    return 0;
}

static inline int tear_down(void **state)
{
    struct stage *stage = *state;

    if (!stage->stopping)
        pool_stop(stage->rig.pool, rig_on_stopped);
    fd_close(&stage->forkserver); /* and all that are left are lost */
    rig_end(&stage->rig);
    for (unsigned i = 0; i < stage->actor_count; i++) {
        struct actor *actor = &stage->actors[i];

        fd_close(&actor->sock);
        fd_close(&actor->output);
        munmap(actor->page, PAGE_SIZE);
        if (actor->pid > 0) {
            kill(actor->pid, SIGKILL);
            waitpid(actor->pid, NULL, 0);
        }
    }
    assert_int_equal(rig_count_fds(), stage->rig.fd_count);
    free(stage);
    return 0;
}

/* One worker that is idle. */
static inline struct actor *idle_actor(struct stage *stage)
{
    struct actor *actor = take_request(stage);

    spawn(stage, actor);
    send_ready(actor, FRAME_VERSION);
    WAIT(&stage->rig, pool_idle(stage->rig.pool) == 1);
    return actor;
}

/* One worker that has claimed a chunk of ten items, 100 to 109, and is on the third. From here
 * on the clock stands still. */
static inline struct actor *busy_actor(struct stage *stage)
{
    struct actor *actor = idle_actor(stage);
    struct chunk *chunk = &stage->rig.chunks[0];

    rig_stop_clock();
    chunk->first = 100;
    chunk->expected_ns = PIPELINE_NS;
    rig_send(&stage->rig, chunk, "square", 10, "1,2,3,4,5,6,7,8,9,10");
    begin_item(actor, chunk->id, 102);
    return actor;
}

static inline const struct seen *lost(struct rig *rig)
{
    WAIT(rig, rig->seen_count > 0 && rig_newest(rig)->kind == SEEN_LOST);
    return rig_newest(rig);
}

#endif
