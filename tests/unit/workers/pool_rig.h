/* SPDX-License-Identifier: MIT */
/*
 * pool_rig - a loop, a pool, and a record of what the pool has told. For the tests of the
 * pool.
 */
#ifndef TESTS_UNIT_WORKERS_POOL_RIG_H
#define TESTS_UNIT_WORKERS_POOL_RIG_H

#include "common/buf.h"
#include "common/clock.h"
#include "workers/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#define RIG_LIMIT_NS (60 * NS_PER_SEC) /* a test that takes longer has failed */
#define RESULT_MAX   1000
#define FRAME_MAX    (1u << 20)

enum seen_kind { SEEN_RESULT, SEEN_FAILURE, SEEN_LOST, SEEN_RETURNED, SEEN_PROGRESS };

struct seen {
    enum seen_kind kind;
    struct chunk *chunk;
    uint64_t item; /* first of the results; the failed one; the guilty one */
    uint32_t count;
    bool last;
    struct worker_exit exit;
    struct worker_trace trace; /* its output is in `output` */
    char output[64];           /* the last of it */
};

struct rig {
    uv_loop_t loop;
    uv_timer_t tick; /* wakes the loop, so that conditions nobody tells about are seen */
    uint64_t deadline_ns;         /* of uv_hrtime, which no test stops */
    struct forkserver forkserver; /* before pool_new; later the fake one's */
    struct pool *pool;
    struct seen seen[64];
    unsigned seen_count;
    unsigned capacity_calls;
    struct buf results;     /* all results, each frame's followed by a space */
    struct chunk chunks[4]; /* for those that outlive the test function */
    unsigned broken;        /* calls of on_broken */
    struct buf exception;   /* of the last one */
    bool stopped;
    unsigned fd_count; /* descriptors there were before it all */
};

static inline struct seen *rig_note(struct rig *rig, enum seen_kind kind,
                                    struct chunk *chunk)
{
    struct seen *seen = &rig->seen[rig->seen_count++];

    assert_true(rig->seen_count <= sizeof(rig->seen) / sizeof(rig->seen[0]));
    *seen = (struct seen){ .kind = kind, .chunk = chunk };
    return seen;
}

static inline void rig_note_trace(struct seen *seen, const struct worker_trace *trace)
{
    size_t size = sizeof(seen->output) - 1;
    size_t len = trace->output.len < size ? trace->output.len : size;

    seen->trace = *trace;
    if (len > 0)
        memcpy(seen->output, trace->output.at + trace->output.len - len, len);
    seen->output[len] = '\0';
}

static inline void rig_on_capacity(void *data)
{
    struct rig *rig = data;

    rig->capacity_calls++;
}

static inline void rig_on_result(void *data, struct chunk *chunk,
                                 const struct frame_result *result,
                                 const struct worker_trace *trace, bool last)
{
    struct rig *rig = data;
    struct seen *seen = rig_note(rig, SEEN_RESULT, chunk);

    rig_note_trace(seen, trace);

    seen->item = result->first;
    seen->count = result->count;
    seen->last = last;
    buf_add_text(&rig->results, result->results);
    buf_add_char(&rig->results, ' ');
}

static inline void rig_on_failure(void *data, struct chunk *chunk,
                                  const struct frame_failure *failure,
                                  const struct worker_trace *trace, bool last)
{
    struct seen *seen = rig_note(data, SEEN_FAILURE, chunk);

    rig_note_trace(seen, trace);

    seen->item = failure->item;
    seen->last = last;
}

static inline void rig_on_read(void *data)
{
    (void)data;
}

static inline void rig_on_progress(void *data, struct chunk *chunk,
                                   const struct frame_progress *progress)
{
    struct seen *seen = rig_note(data, SEEN_PROGRESS, chunk);

    seen->item = progress->item;
    seen->count = (uint32_t)progress->current;
    (void)snprintf(seen->output, sizeof(seen->output), "%.*s", (int)progress->message.len,
                   progress->message.at);
}

static inline void rig_on_lost(void *data, struct chunk *chunk, uint64_t guilty,
                               const struct worker_exit *exit)
{
    struct seen *seen = rig_note(data, SEEN_LOST, chunk);

    seen->item = guilty;
    seen->exit = *exit;
    rig_note_trace(seen, &exit->trace);
}

static inline void rig_on_returned(void *data, struct chunk *chunk)
{
    rig_note(data, SEEN_RETURNED, chunk);
}

static inline void rig_on_broken(void *data, struct text exception)
{
    struct rig *rig = data;

    rig->broken++;
    buf_add_text(&rig->exception, exception);
}

static inline void rig_on_stopped(void *data)
{
    struct rig *rig = data;

    rig->stopped = true;
}

static inline void rig_on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* One turn of the loop. Not to be used after a failure inside of a callback. */
static inline void rig_turn(struct rig *rig)
{
    uv_run(&rig->loop, UV_RUN_ONCE);
    if (uv_hrtime() > rig->deadline_ns)
        fail_msg("the condition has not come true");
}

#define WAIT(rig, condition)                                                             \
    do {                                                                                 \
        while (!(condition))                                                             \
            rig_turn(rig);                                                               \
    } while (0)

static inline struct pool_options rig_options(unsigned processes)
{
    return (struct pool_options){
        .name = "test",
        .processes = processes,
        .worker = { .result_max = RESULT_MAX },
        .result_frame_max = FRAME_MAX,
    };
}

/* From here on the pool's time stands still, until it is let go or the test ends: what the pool
 * would do when a busy machine keeps the test waiting is not what the test is about. */
static inline void rig_stop_clock(void)
{
    clock_fake(clock_mono_ns(), clock_wall_ms());
}

static inline void rig_let_clock_go(void)
{
    clock_fake(0, 0);
}

/* rig->forkserver has to be there already. */
static inline void rig_start_with(struct rig *rig, const struct pool_options *options)
{
    static const struct pool_events events = {
        .on_capacity = rig_on_capacity,
        .on_result = rig_on_result,
        .on_failure = rig_on_failure,
        .on_progress = rig_on_progress,
        .on_read = rig_on_read,
        .on_lost = rig_on_lost,
        .on_returned = rig_on_returned,
        .on_broken = rig_on_broken,
    };

    rig->deadline_ns = uv_hrtime() + RIG_LIMIT_NS;
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    uv_timer_init(&rig->loop, &rig->tick);
    uv_timer_start(&rig->tick, rig_on_tick, 1, 1);
    assert_int_equal(
        pool_new(&rig->loop, &rig->forkserver, options, &events, rig, &rig->pool), ST_OK);
    assert_int_equal(rig->forkserver.sock, -1);
    pool_start(rig->pool);
}

static inline void rig_start(struct rig *rig, unsigned processes)
{
    struct pool_options options = rig_options(processes);

    rig_start_with(rig, &options);
}

/* Open descriptors of this process, with those that libuv keeps from its first loop on.
 */
static inline unsigned rig_count_fds(void)
{
    unsigned count = 0;
    uv_loop_t first;
    DIR *dir;

    assert_int_equal(uv_loop_init(&first), 0);
    assert_int_equal(uv_loop_close(&first), 0);
    dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* The pool has to be stopping. Whatever libuv still holds afterwards is a failure. */
static inline void rig_end(struct rig *rig)
{
    rig_let_clock_go();
    WAIT(rig, rig->stopped);
    pool_free(rig->pool);
    uv_close((uv_handle_t *)&rig->tick, NULL);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    buf_clear(&rig->results);
    buf_clear(&rig->exception);
}

/* Sends a chunk of a map to whatever worker is free. */
static inline void rig_send(struct rig *rig, struct chunk *chunk, const char *task,
                            uint32_t count, const char *items)
{
    struct frame_chunk content = {
        .first = chunk->first,
        .count = count,
        .style = CALL_MAP,
        .task = { task, strlen(task) },
        .items = { items, strlen(items) },
    };
    struct worker *worker = pool_free_slot(rig->pool, chunk->expected_ns);

    assert_non_null(worker);
    chunk->count = count;
    pool_send(rig->pool, worker, chunk, &content);
}

static inline struct seen *rig_newest(struct rig *rig)
{
    assert_true(rig->seen_count > 0);
    return &rig->seen[rig->seen_count - 1];
}

#endif
