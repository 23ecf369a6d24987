/* SPDX-License-Identifier: MIT */
/*
 * frame - one message between the server and a worker.
 *
 *     0        1       2..3       4..7             8..15      16...
 *     kind     flags   reserved   payload length   chunk id   payload
 *
 * Little-endian. The sender may die half-way through a write, so nothing here is trusted.
 * Who may send which kind, and what the payloads hold, is in workers/PROTOCOL.md.
 * Pure code: no I/O, no allocation, no logging.
 *
 * To change the layout: raise FRAME_VERSION (a worker tells it in READY, and another
 * version is refused), change PROTOCOL.md, add a test with the new bytes.
 */
#ifndef WORKERS_FRAME_H
#define WORKERS_FRAME_H

#include "common/blob.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_VERSION    6
#define FRAME_HEADER_LEN 16
#define FRAME_PAYLOAD_MAX                                                                \
    (1u << 30) /* bytes; the real limits are the server's settings */

enum frame_kind {
    FRAME_NONE,     /* never sent: a zeroed header is broken */
    FRAME_READY,    /* worker -> server: up, and what it is */
    FRAME_CHUNK,    /* server -> worker: run these items */
    FRAME_RESULT,   /* worker -> server: outcomes of consecutive items, all results */
    FRAME_FAILURE,  /* worker -> server: one item failed, or the initializer */
    FRAME_INIT,     /* server -> worker: the initializer to run before READY */
    FRAME_PROGRESS, /* worker -> server: what a task says of the item it runs */
    FRAME_KIND_COUNT
};

extern const char *const frame_kind_names[FRAME_KIND_COUNT];

/* The chunk is finished with this frame (RESULT and FAILURE). */
#define FRAME_LAST 0x01u
/* The chunk's items have a time limit: note the start of each in the page (CHUNK). */
#define FRAME_TIMED 0x02u
/* Between a worker and its runner only: the items (CHUNK) or results (RESULT) are integers
 * without text, see workers/packed.h. */
#define FRAME_PACKED 0x04u

struct frame {
    enum frame_kind kind;
    uint8_t flags;
    uint64_t chunk_id;
    struct text payload;
};

enum frame_verdict { FRAME_OK, FRAME_NEED_MORE, FRAME_BROKEN };

/* Reads one frame from the start of bytes. On FRAME_OK, ret_frame->payload points into
 * bytes and is valid as long as they are, and *ret_len is the frame's whole length; on
 * FRAME_NEED_MORE *ret_len is how many bytes from the start are needed at least;
 * otherwise nothing is touched. After FRAME_BROKEN the stream cannot be resynchronised:
 * drop the worker. */
enum frame_verdict frame_parse(const void *bytes, size_t len, struct frame *ret_frame,
                               size_t *ret_len);
/* Writes the header of a frame with payload_len bytes to follow. */
void frame_header(enum frame_kind kind, uint8_t flags, uint64_t chunk_id,
                  size_t payload_len, uint8_t ret_header[FRAME_HEADER_LEN]);

/* ---- payloads; each is a fixed head and a text behind it --------------------------- */

enum call_style {
    CALL_APPLY,   /* the text is an array of positional arguments: one item */
    CALL_MAP,     /* items separated by commas, each the one positional argument */
    CALL_STARMAP, /* items separated by commas, each an array of positional arguments */
    CALL_STYLE_COUNT
};

/* CHUNK and INIT: head 32 bytes: first u64, count u32, style u8, task name length u8,
 * trace length u16, kwargs length u32, reserved u32, reserved u64; then task
 * name, trace, kwargs, items. */
#define FRAME_CHUNK_HEAD_LEN   32
#define FRAME_TRACE_PARENT_LEN 55  /* bytes of a traceparent (W3C Trace Context) */
#define FRAME_TRACE_STATE_MAX  512 /* of the tracestate right behind it */
struct frame_chunk {
    uint64_t first; /* index in the job of the first item */
    uint32_t count; /* items, at least 1 */
    enum call_style style;
    struct text task;   /* name, 1..128 bytes */
    struct text trace;  /* of the job: both, valid; the first alone; or empty */
    struct text kwargs; /* JSON object text, or empty for none */
    struct text items;  /* valid JSON text as call_style says */
};
void frame_chunk_head(const struct frame_chunk *chunk,
                      uint8_t ret_head[FRAME_CHUNK_HEAD_LEN]);
enum frame_verdict frame_chunk_parse(struct text payload, struct frame_chunk *ret_chunk);
/* The traceparent and the tracestate of a trace; empty if there is none. */
static inline struct text frame_trace_parent(struct text trace)
{
    return trace.len <= FRAME_TRACE_PARENT_LEN
               ? trace
               : (struct text){ trace.at, FRAME_TRACE_PARENT_LEN };
}
static inline struct text frame_trace_state(struct text trace)
{
    return trace.len <= FRAME_TRACE_PARENT_LEN
               ? (struct text){ NULL, 0 }
               : (struct text){ trace.at + FRAME_TRACE_PARENT_LEN,
                                trace.len - FRAME_TRACE_PARENT_LEN };
}

/* RESULT: head 24 bytes: first u64, count u32, printed u32, run time of these items in
 * nanoseconds u64; then the results as JSON texts separated by commas. */
#define FRAME_RESULT_HEAD_LEN 24
struct frame_result {
    uint64_t first;
    uint32_t count;
    uint32_t printed; /* see page_printed */
    uint64_t run_ns;
    struct text results;
};
void frame_result_head(const struct frame_result *result,
                       uint8_t ret_head[FRAME_RESULT_HEAD_LEN]);
enum frame_verdict frame_result_parse(struct text payload,
                                      struct frame_result *ret_result);

/* FAILURE: head 24 bytes: item u64, kind u32 (enum failure_kind), printed u32, run time
 * of the item in nanoseconds u64; then the exception as JSON text
 * {"type":…,"message":…,"traceback":…}. */
#define FRAME_FAILURE_HEAD_LEN 24
enum failure_kind {
    FAILURE_TASK,             /* the task raised */
    FAILURE_RESULT_TOO_LARGE, /* its result is over the limit */
    FAILURE_INVALID_RESULT,   /* its result is not JSON */
    FAILURE_OUT_OF_MEMORY,    /* memory for the item was refused */
    FAILURE_PROTOCOL,         /* the task's program broke its protocol */
    FAILURE_TIME_LIMIT,       /* it took longer than the task may */
    FAILURE_KIND_COUNT
};
struct frame_failure {
    uint64_t item;
    enum failure_kind kind;
    uint32_t printed; /* see page_printed */
    uint64_t run_ns;
    struct text exception;
};
void frame_failure_head(const struct frame_failure *failure,
                        uint8_t ret_head[FRAME_FAILURE_HEAD_LEN]);
enum frame_verdict frame_failure_parse(struct text payload,
                                       struct frame_failure *ret_failure);

/* PROGRESS: head 24 bytes: item u64, current u64, total u64; then a message of any bytes, at
 * most FRAME_MESSAGE_MAX. */
#define FRAME_PROGRESS_HEAD_LEN 24
#define FRAME_MESSAGE_MAX       256
struct frame_progress {
    uint64_t item;
    uint64_t current, total; /* of whatever the task counts; total 0: not known */
    struct text message;     /* empty: none */
};
void frame_progress_head(const struct frame_progress *progress,
                         uint8_t ret_head[FRAME_PROGRESS_HEAD_LEN]);
enum frame_verdict frame_progress_parse(struct text payload,
                                        struct frame_progress *ret_progress);

/* READY: 8 bytes: version u32, pid u32. */
#define FRAME_READY_LEN 8
struct frame_ready {
    uint32_t version; /* FRAME_VERSION of the worker */
    uint32_t pid;
};
void frame_ready(const struct frame_ready *ready, uint8_t ret_payload[FRAME_READY_LEN]);
enum frame_verdict frame_ready_parse(struct text payload, struct frame_ready *ret_ready);

#endif
