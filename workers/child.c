/* SPDX-License-Identifier: MIT */
/*
 * What an item costs here is what the cheapest task costs in all, so the loop makes no
 * system call and no allocation per item. Results are written one behind the other into
 * one buffer. Whether it is time to flush is asked of the coarse clock, which is a read
 * of shared memory on every kernel and exact enough for 20 ms; the exact clock is read at
 * the ends of a gathered run, and per item only when the server watches a time limit.
 */
#include "workers/child.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/fault.h"
#include "workers/frame.h"
#include "workers/items.h"
#include "workers/outgoing.h"
#include "workers/progress.h"
#include "workers/registry.h"
#include "workers/runner.h"
#include "workers/tidy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_LEN (64u * 1024)
#define KEEP_MAX (1024u * 1024) /* a larger buffer is given back after its chunk */

struct child {
    int sock; /* for reading; out writes to it */
    struct worker_page *page;
    uint64_t result_max;
    struct buf in;
    struct outgoing out;
    struct progress progress; /* of the item that is run */
    struct runner runner;     /* of relayed tasks */
    struct buf results;       /* of the items that are gathered, separated by commas */
    int64_t cpu_ms;           /* the pool's limit for an item; 0: none */
    uint32_t printed;         /* what page_printed said last, */
    uint64_t printed_at;      /* coarse clock */
    bool printed_known;       /* and only built-in tasks have run since */
    bool narrowed;            /* a task's own limits may be in force */
    bool granted;             /* RLIMIT_CPU may be */
    uint64_t granted_at;      /* coarse clock */
};

/* One chunk on its way. */
struct run {
    struct child *child;
    const struct task *task; /* NULL: there is none of that name */
    struct task_call call;   /* of the task, one item after the other */
    struct frame_chunk chunk;
    uint64_t id;
    bool timed;
    bool loaded;         /* the task is from a file, see tidy.h */
    int64_t cpu_ms;      /* limit for an item; 0: none */
    uint64_t tidied_at;  /* coarse clock */
    uint64_t item;       /* the one being run; gathered ones lie before it */
    uint32_t left;       /* items from `item` on */
    uint32_t gathered;   /* finished items whose results wait in child->results */
    uint64_t mark_ns;    /* when the first gathered item, or `item`, began */
    uint64_t flushed_at; /* coarse clock */
    uint64_t began_at;   /* coarse clock: when `item` began */
};

static uint64_t coarse_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* ---- writing ----------------------------------------------------------------------- */

static enum status send_ready(struct child *child)
{
    struct frame_ready ready = { .version = FRAME_VERSION, .pid = (uint32_t)getpid() };
    uint8_t payload[FRAME_READY_LEN];
    enum status st;

    frame_ready(&ready, payload);
    st = outgoing_add(&child->out, FRAME_READY, 0, 0, payload, sizeof(payload),
                      (struct text){ 0 });
    return st == ST_OK ? outgoing_flush(&child->out) : st;
}

/* Puts one frame about the chunk on its way. The last frame of a chunk waits for those of the
 * next ones, if they are at hand (run_frames); the others are early because they are long
 * in coming, and leave at once. */
static enum status send_frame(struct run *run, enum frame_kind kind, uint8_t flags,
                              const void *head, size_t head_len, struct text text)
{
    struct outgoing *out = &run->child->out;
    enum status st = outgoing_add(out, kind, flags, run->id, head, head_len, text);

    if (st == ST_OK && !(flags & FRAME_LAST))
        st = outgoing_flush(out);
    return st;
}

/* How much has been printed so far. Built-in tasks print nothing: behind such a one it is what
 * it was before, and is asked once a tick of the coarse clock, as others may hold the pipe. */
static uint32_t printed(struct run *run)
{
    struct child *child = run->child;
    uint64_t now = coarse_ns();

    if (run->loaded || !child->printed_known || child->printed_at != now) {
        child->printed_at = now;
        (void)fflush(stdout);
        child->printed = page_printed(child->page, STDERR_FILENO);
        child->printed_known = !run->loaded;
    }
    return child->printed;
}

/* Sends what has been gathered; until_ns is when the last of it was finished. */
static enum status flush(struct run *run, uint64_t until_ns, uint8_t flags)
{
    struct child *child = run->child;
    struct frame_result result = {
        .first = run->item - run->gathered,
        .count = run->gathered,
        .run_ns = until_ns > run->mark_ns ? until_ns - run->mark_ns : 0,
    };
    uint8_t head[FRAME_RESULT_HEAD_LEN];
    enum status st;

    if (run->gathered == 0)
        return ST_OK;
    if (FAULT(worker_before_result))
        return ST_IO;
    result.printed = printed(run);
    frame_result_head(&result, head);
    st = send_frame(run, FRAME_RESULT, flags, head, sizeof(head),
                    buf_text(&child->results));
    buf_reset(&child->results);
    run->gathered = 0;
    run->mark_ns = until_ns;
    run->flushed_at = coarse_ns();
    return st;
}

/* ---- limits ------------------------------------------------------------------------ */

/* Granted once a tick of the coarse clock: more is not used in between. */
static void grant_cpu(struct run *run)
{
    struct child *child = run->child;

    if (child->granted && child->granted_at == run->began_at)
        return;
    (void)limits_grant_cpu(0, run->cpu_ms);
    child->granted = true;
    child->granted_at = run->began_at;
}

static int64_t stricter(int64_t a, int64_t b)
{
    return a == 0 || (b > 0 && b < a) ? b : a;
}

/* Before a chunk. A task without limits of its own behind another such one costs nothing. */
static void hold_limits(struct run *run)
{
    static const struct limits none = { 0 };
    struct child *child = run->child;
    /* Other runtimes hold their own processes to the limits of a task. */
    const struct limits *limits =
        run->task && run->task->runtime == TASK_NATIVE ? &run->task->limits : &none;
    bool own = !limits_equal(limits, &none);

    run->cpu_ms = stricter(child->cpu_ms, run->task ? run->task->limits.cpu_ms : 0);
    if (child->granted) {
        child->granted = false; /* by another task's limit */
        if (run->cpu_ms == 0)
            (void)limits_grant_cpu(0, 0);
    }
    if (own || child->narrowed)
        (void)limits_narrow(0, limits);
    child->narrowed = own;
}

/* ---- one item ---------------------------------------------------------------------- */

static void note_item(struct run *run)
{
    struct worker_page *page = run->child->page;
    uint64_t now = run->timed ? clock_mono_ns() : 0;

    run->child->progress.item = run->item;
    /* Released in this order, an item that the server reads belongs to the chunk it
     * reads. */
    atomic_store_explicit(&page->item, run->item, memory_order_release);
    if (run->timed)
        atomic_store_explicit(&page->item_started_ns, now, memory_order_release);
    atomic_store_explicit(&page->item_chunk, run->id, memory_order_release);
}

/* A slow reader at the other end must not look like a slow item. */
static void note_pause(struct run *run)
{
    if (run->timed)
        atomic_store_explicit(&run->child->page->item_started_ns, 0,
                              memory_order_release);
}

/* Behind the last item, and before its outcome is told: nobody is handed a worker that is
 * not clean. Items that take less than a tick of the coarse clock are not tidied after one
 * by one. */
static void tidy_up(struct run *run, uint64_t now)
{
    bool limits;

    if (run->left > 0) {
        if (now != run->tidied_at)
            tidy_item();
        run->tidied_at = now;
        return;
    }
    if (!tidy_chunk(now, &limits))
        atomic_store(&run->child->page->retire, 1);
    if (limits)
        run->child->narrowed = run->child->granted = false;
}

static void next_item(struct run *run, uint64_t now)
{
    run->item++;
    run->left--;
    if (run->loaded)
        tidy_up(run, now);
}

static enum status end_with_failure(struct run *run, enum failure_kind kind,
                                    struct text exception)
{
    uint64_t now = clock_mono_ns();
    struct frame_failure failure = { .item = run->item, .kind = kind };
    uint8_t head[FRAME_FAILURE_HEAD_LEN];
    enum status st;

    note_pause(run);
    if (run->gathered > 0) {
        /* How long this item took is known to a tick of the coarse clock; the gathered
         * ones had the rest. */
        uint64_t own_ns = coarse_ns() - run->began_at;

        st = flush(run, own_ns < now - run->mark_ns ? now - own_ns : run->mark_ns, 0);
        if (st != ST_OK)
            return st;
    }
    failure.run_ns = now - run->mark_ns;
    failure.printed = printed(run);
    frame_failure_head(&failure, head);
    next_item(run, coarse_ns());
    run->mark_ns = now;
    run->began_at = coarse_ns();
    return send_frame(run, FRAME_FAILURE, run->left == 0 ? FRAME_LAST : 0, head,
                      sizeof(head), exception);
}

static enum status end_with_result(struct run *run)
{
    uint64_t now = coarse_ns();

    next_item(run, now);
    run->began_at = now;
    run->gathered++;
    if (run->left > 0 && run->child->results.len < CHILD_FLUSH_BYTES &&
        now - run->flushed_at < CHILD_FLUSH_NS)
        return ST_OK;
    note_pause(run);
    return flush(run, clock_mono_ns(), run->left == 0 ? FRAME_LAST : 0);
}

/* An exception that no task raised. */
static enum status fail(struct run *run, enum failure_kind kind, const char *type,
                        const char *message)
{
    struct buf json = BUF_INIT;
    enum status st;

    buf_add_str(&json, "{\"type\":");
    buf_add_json_string(&json, (struct text){ type, strlen(type) });
    buf_add_str(&json, ",\"message\":");
    buf_add_json_string(&json, (struct text){ message, strlen(message) });
    buf_add_str(&json, ",\"traceback\":\"\"}");
    if (json.failed)
        st = end_with_failure(
            run, FAILURE_OUT_OF_MEMORY,
            TEXT("{\"type\":\"MemoryError\",\"message\":\"out of memory\","
                 "\"traceback\":\"\"}"));
    else
        st = end_with_failure(run, kind, buf_text(&json));
    buf_clear(&json);
    return st;
}

/* A result above the limit is forgotten; the ones before it stay. */
static enum status fail_too_large(struct run *run, size_t before, size_t len)
{
    struct buf *results = &run->child->results;
    struct buf message = BUF_INIT;
    enum status st;

    results->len = before;
    buf_addf(&message, "the result has %zu bytes, the limit is %llu", len,
             (unsigned long long)run->child->result_max);
    st = fail(run, FAILURE_RESULT_TOO_LARGE, "ResultTooLarge",
              message.failed ? "the result is above the limit" : message.data);
    buf_clear(&message);
    return st;
}

static enum status call_task(struct run *run, struct text positional)
{
    struct buf *results = &run->child->results;
    size_t before = results->len, start;
    struct task_call *call = &run->call;
    enum status st;

    if (run->gathered > 0)
        buf_add_char(results, ',');
    start = results->len;
    task_call_run(call, positional);
    progress_end(&run->child->progress);
    if (call->end == CALL_RAISED) {
        results->len = before;
        results->failed = false;
        st = end_with_failure(run, call->kind, call_exception(call));
    } else if (results->len - start > run->child->result_max) {
        st = fail_too_large(run, before, results->len - start);
    } else {
        st = end_with_result(run);
    }
    task_call_clear(call);
    return st;
}

static enum status run_item(struct run *run, struct text item)
{
    note_item(run);
    if (run->cpu_ms > 0)
        grant_cpu(run);
    if (!run->task)
        return fail(run, FAILURE_TASK, "LookupError",
                    "this worker has no task of that name");
    if (run->chunk.style == CALL_MAP)
        return call_task(run, item);
    if (item.at[0] != '[')
        return fail(run, FAILURE_TASK, "TypeError", "the arguments are not an array");
    return call_task(run, items_inside(item));
}

/* Behind hold_limits. */
static void prepare_calls(struct run *run)
{
    struct child *child = run->child;

    if (!run->task)
        return;
    run->call.result_max = child->result_max;
    run->call.cpu_ms = run->cpu_ms;
    run->call.trace = run->chunk.trace;
    run->call.page = child->page;
    task_call_init(&run->call, run->task, run->chunk.style == CALL_MAP, run->chunk.kwargs,
                   &child->results, &child->progress);
}

/* The chunk has been cancelled: what is done is told, and the worker ends, before it is
 * killed. */
static enum status stop(struct run *run)
{
    enum status st = flush(run, clock_mono_ns(), 0);

    if (st == ST_OK)
        st = outgoing_flush(&run->child->out);
    return st == ST_OK ? ST_CLOSED : st;
}

/* ---- chunks ------------------------------------------------------------------------ */

static enum status run_chunk(struct child *child, const struct frame *frame)
{
    struct run run = {
        .child = child,
        .id = frame->chunk_id,
        .timed = (frame->flags & FRAME_TIMED) != 0,
    };
    struct text rest, item;
    enum status st = ST_OK;

    if (frame->kind != FRAME_CHUNK ||
        frame_chunk_parse(frame->payload, &run.chunk) != FRAME_OK)
        return ST_PROTOCOL;
    run.task = registry_find(run.chunk.task);
    if (run.task && run.task->relayed) {
        atomic_store_explicit(&child->page->cpu_ms,
                              (uint64_t)stricter(child->cpu_ms, run.task->limits.cpu_ms),
                              memory_order_relaxed);
        st = runner_run(&child->runner, frame, &run.chunk);
        child->printed_known = false;
        tidy_up(
            &run,
            coarse_ns()); /* the runner tidies its own process; what lies around is ours */
        return st;
    }
    if (!page_claim(child->page, run.id))
        return ST_OK; /* taken back meanwhile: somebody else runs it */
    run.item = run.chunk.first;
    run.left = run.chunk.count;
    child->progress.chunk_id = run.id;
    run.mark_ns = clock_mono_ns();
    run.flushed_at = run.began_at = run.tidied_at = coarse_ns();
    run.loaded = run.task && run.task->file;
    hold_limits(&run);
    prepare_calls(&run);
    rest = run.chunk.items;
    if (!run.timed)
        atomic_store_explicit(&child->page->item_started_ns, 0, memory_order_relaxed);
    while (st == ST_OK && run.left > 0) {
        if (page_is_cancelled(child->page, run.id))
            st = stop(&run);
        else
            st = items_next(&rest, &item) ? run_item(&run, item) : ST_PROTOCOL;
    }
    if (child->results.cap > KEEP_MAX)
        buf_clear(&child->results);
    return st;
}

/* Runs the whole frames at the start of the input. *ret_need is how many bytes the next
 * one has at least. */
static enum status run_frames(struct child *child, size_t *ret_need)
{
    size_t used = 0;
    enum status st = ST_OK;

    while (st == ST_OK) {
        struct frame frame;
        size_t need = 0;
        enum frame_verdict verdict =
            frame_parse(child->in.data + used, child->in.len - used, &frame, &need);

        *ret_need = need;
        if (verdict == FRAME_BROKEN)
            return ST_PROTOCOL;
        if (verdict == FRAME_NEED_MORE) {
            st = outgoing_flush(&child->out); /* no more work at hand */
            break;
        }
        outgoing_hold(&child->out);
        st = run_chunk(child, &frame);
        used += need;
    }
    buf_drop_front(&child->in, used);
    if (child->in.len == 0 && child->in.cap > KEEP_MAX)
        buf_clear(&child->in);
    return st;
}

static enum status read_some(struct child *child, size_t need)
{
    struct buf *in = &child->in;
    size_t missing = need > in->len ? need - in->len : 0;
    ssize_t n;

    if (!buf_reserve(in, missing > READ_LEN ? missing : READ_LEN))
        return ST_NO_MEMORY;
    do
        n = recv(child->sock, in->data + in->len, in->cap - in->len, 0);
    while (n == -1 && errno == EINTR);
    if (n <= 0)
        return ST_CLOSED;
    in->len += (size_t)n;
    return ST_OK;
}

/* Waits for the first frame, whole. */
static enum status read_init(struct child *child, struct frame *ret_frame,
                             size_t *ret_len)
{
    enum frame_verdict verdict = FRAME_NEED_MORE;
    enum status st = ST_OK;

    *ret_len = FRAME_HEADER_LEN;
    while (st == ST_OK && verdict == FRAME_NEED_MORE) {
        st = read_some(child, *ret_len);
        verdict = frame_parse(child->in.data, child->in.len, ret_frame, ret_len);
    }
    if (st == ST_OK && (verdict != FRAME_OK || ret_frame->kind != FRAME_INIT))
        st = ST_PROTOCOL;
    return st;
}

/* The frame about it leaves before the worker does. */
static enum status tell_failure(struct child *child, enum status st)
{
    if (st == ST_OK)
        st = outgoing_flush(&child->out);
    return st == ST_OK ? ST_STATE : st;
}

/* Runs the initializer. ST_STATE: it raised, and the server has been told. */
static enum status initialize(struct child *child)
{
    struct run run = { .child = child, .left = 1, .mark_ns = clock_mono_ns() };
    struct task_call call;
    struct frame frame;
    size_t len;
    enum status st = read_init(child, &frame, &len);

    if (st != ST_OK)
        return st;
    if (frame_chunk_parse(frame.payload, &run.chunk) != FRAME_OK ||
        run.chunk.style != CALL_APPLY)
        return ST_PROTOCOL;
    run.task = registry_find(run.chunk.task);
    if (run.task && run.task->relayed) {
        st = runner_initialize(&child->runner, &frame);
        buf_drop_front(&child->in, len);
        return st;
    }
    if (!run.task) {
        st = fail(&run, FAILURE_TASK, "LookupError",
                  "this worker has no task of that name");
        return tell_failure(child, st);
    }
    call.result_max = child->result_max;
    call.cpu_ms = 0;
    call.trace = (struct text){ 0 };
    call.page = NULL;
    task_run(&call, run.task, items_inside(run.chunk.items), false, run.chunk.kwargs,
             &child->results, NULL);
    if (call.end == CALL_RAISED) {
        st = end_with_failure(&run, FAILURE_TASK, call_exception(&call));
        st = tell_failure(child, st);
    }
    task_call_clear(&call);
    buf_clear(&child->results); /* what it returned is nobody's */
    buf_drop_front(&child->in, len);
    return st;
}

int child_main(int sock, struct worker_page *page, const struct worker_options *options)
{
    struct child child = {
        .sock = sock,
        .page = page,
        /* A frame has to have room for the largest result and what is gathered before it.
         */
        .result_max = options->result_max < FRAME_PAYLOAD_MAX / 2 ? options->result_max
                                                                  : FRAME_PAYLOAD_MAX / 2,
        .cpu_ms = options->limits.cpu_ms,
    };
    const struct tidy_options tidy = { options->scratch, options->rss_max };
    size_t need = FRAME_HEADER_LEN;
    enum status st;

    outgoing_init(&child.out, sock);
    child.progress.out = &child.out;
    runner_init(&child.runner, &child.out, page, PAGE_FD, child.result_max);
    st = options->initializer ? initialize(&child) : ST_OK;
    if (st == ST_OK && !tidy_init(&tidy))
        st = ST_NO_MEMORY;
    if (st == ST_OK && FAULT(worker_before_ready))
        st = ST_IO;
    if (st == ST_OK)
        st = send_ready(&child);
    while (st == ST_OK) {
        st = read_some(&child, need);
        if (st == ST_OK)
            st = run_frames(&child, &need);
    }
    runner_clear(&child.runner);
    outgoing_clear(&child.out);
    buf_clear(&child.in);
    buf_clear(&child.results);
    return st == ST_CLOSED ? EXIT_SUCCESS : EXIT_FAILURE;
}
