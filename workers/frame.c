/* SPDX-License-Identifier: MIT */
#include "workers/frame.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

const char *const frame_kind_names[FRAME_KIND_COUNT] = {
    [FRAME_NONE] = "none",         [FRAME_READY] = "ready",     [FRAME_CHUNK] = "chunk",
    [FRAME_RESULT] = "result",     [FRAME_FAILURE] = "failure", [FRAME_INIT] = "init",
    [FRAME_PROGRESS] = "progress",
};

#define FRAME_FLAGS  (FRAME_LAST | FRAME_TIMED | FRAME_PACKED)
#define TASK_LEN_MAX 128

static void put_u32(uint8_t *at, uint32_t n)
{
    n = htole32(n);
    memcpy(at, &n, sizeof(n));
}

static void put_u16(uint8_t *at, uint16_t n)
{
    n = htole16(n);
    memcpy(at, &n, sizeof(n));
}

static void put_u64(uint8_t *at, uint64_t n)
{
    n = htole64(n);
    memcpy(at, &n, sizeof(n));
}

static uint16_t get_u16(const uint8_t *at)
{
    uint16_t n;

    memcpy(&n, at, sizeof(n));
    return le16toh(n);
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t n;

    memcpy(&n, at, sizeof(n));
    return le32toh(n);
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t n;

    memcpy(&n, at, sizeof(n));
    return le64toh(n);
}

enum frame_verdict frame_parse(const void *bytes, size_t len, struct frame *ret_frame,
                               size_t *ret_len)
{
    const uint8_t *at = bytes;
    uint32_t payload_len;

    if (len < FRAME_HEADER_LEN) {
        *ret_len = FRAME_HEADER_LEN;
        return FRAME_NEED_MORE;
    }
    payload_len = get_u32(at + 4);
    if (at[0] == FRAME_NONE || at[0] >= FRAME_KIND_COUNT || (at[1] & ~FRAME_FLAGS) != 0 ||
        get_u16(at + 2) != 0 || payload_len > FRAME_PAYLOAD_MAX)
        return FRAME_BROKEN;
    *ret_len = FRAME_HEADER_LEN + (size_t)payload_len;
    if (len < *ret_len)
        return FRAME_NEED_MORE;
    *ret_frame = (struct frame){
        .kind = at[0],
        .flags = at[1],
        .chunk_id = get_u64(at + 8),
        .payload = { (const char *)at + FRAME_HEADER_LEN, payload_len },
    };
    return FRAME_OK;
}

void frame_header(enum frame_kind kind, uint8_t flags, uint64_t chunk_id,
                  size_t payload_len, uint8_t ret_header[FRAME_HEADER_LEN])
{
    assert(kind > FRAME_NONE && kind < FRAME_KIND_COUNT);
    assert(payload_len <= FRAME_PAYLOAD_MAX);
    ret_header[0] = (uint8_t)kind;
    ret_header[1] = flags;
    ret_header[2] = ret_header[3] = 0;
    put_u32(ret_header + 4, (uint32_t)payload_len);
    put_u64(ret_header + 8, chunk_id);
}

/* Whether first, first + 1, ... first + count - 1 are all item indexes. */
static bool run_fits(uint64_t first, uint32_t count)
{
    return count > 0 && first <= UINT64_MAX - count;
}

static struct text behind(struct text payload, size_t skip)
{
    return (struct text){ payload.at + skip, payload.len - skip };
}

static bool trace_fits(size_t len)
{
    return len == 0 || (len >= FRAME_TRACE_PARENT_LEN &&
                        len <= FRAME_TRACE_PARENT_LEN + FRAME_TRACE_STATE_MAX);
}

void frame_chunk_head(const struct frame_chunk *chunk,
                      uint8_t ret_head[FRAME_CHUNK_HEAD_LEN])
{
    assert(run_fits(chunk->first, chunk->count) && chunk->style < CALL_STYLE_COUNT);
    assert(chunk->task.len > 0 && chunk->task.len <= TASK_LEN_MAX);
    assert(trace_fits(chunk->trace.len));
    assert(chunk->kwargs.len <= FRAME_PAYLOAD_MAX);
    memset(ret_head, 0, FRAME_CHUNK_HEAD_LEN);
    put_u64(ret_head, chunk->first);
    put_u32(ret_head + 8, chunk->count);
    ret_head[12] = (uint8_t)chunk->style;
    ret_head[13] = (uint8_t)chunk->task.len;
    put_u16(ret_head + 14, (uint16_t)chunk->trace.len);
    put_u32(ret_head + 16, (uint32_t)chunk->kwargs.len);
}

enum frame_verdict frame_chunk_parse(struct text payload, struct frame_chunk *ret_chunk)
{
    const uint8_t *at = (const uint8_t *)payload.at;
    struct text rest;
    size_t task_len, trace_len, kwargs_len;

    if (payload.len < FRAME_CHUNK_HEAD_LEN)
        return FRAME_BROKEN;
    task_len = at[13];
    trace_len = get_u16(at + 14);
    kwargs_len = get_u32(at + 16);
    if (!run_fits(get_u64(at), get_u32(at + 8)) || at[12] >= CALL_STYLE_COUNT ||
        task_len == 0 || task_len > TASK_LEN_MAX || !trace_fits(trace_len) ||
        get_u32(at + 20) != 0 || get_u64(at + 24) != 0)
        return FRAME_BROKEN;
    rest = behind(payload, FRAME_CHUNK_HEAD_LEN);
    if (task_len + trace_len > rest.len || kwargs_len > rest.len - task_len - trace_len)
        return FRAME_BROKEN;
    *ret_chunk = (struct frame_chunk){
        .first = get_u64(at),
        .count = get_u32(at + 8),
        .style = at[12],
        .task = { rest.at, task_len },
        .trace = { rest.at + task_len, trace_len },
        .kwargs = { rest.at + task_len + trace_len, kwargs_len },
        .items = behind(rest, task_len + trace_len + kwargs_len),
    };
    return FRAME_OK;
}

void frame_result_head(const struct frame_result *result,
                       uint8_t ret_head[FRAME_RESULT_HEAD_LEN])
{
    assert(run_fits(result->first, result->count));
    put_u64(ret_head, result->first);
    put_u32(ret_head + 8, result->count);
    put_u32(ret_head + 12, result->printed);
    put_u64(ret_head + 16, result->run_ns);
}

enum frame_verdict frame_result_parse(struct text payload,
                                      struct frame_result *ret_result)
{
    const uint8_t *at = (const uint8_t *)payload.at;

    if (payload.len < FRAME_RESULT_HEAD_LEN || !run_fits(get_u64(at), get_u32(at + 8)))
        return FRAME_BROKEN;
    *ret_result = (struct frame_result){
        .first = get_u64(at),
        .count = get_u32(at + 8),
        .printed = get_u32(at + 12),
        .run_ns = get_u64(at + 16),
        .results = behind(payload, FRAME_RESULT_HEAD_LEN),
    };
    return FRAME_OK;
}

void frame_failure_head(const struct frame_failure *failure,
                        uint8_t ret_head[FRAME_FAILURE_HEAD_LEN])
{
    assert(failure->kind < FAILURE_KIND_COUNT);
    put_u64(ret_head, failure->item);
    put_u32(ret_head + 8, failure->kind);
    put_u32(ret_head + 12, failure->printed);
    put_u64(ret_head + 16, failure->run_ns);
}

enum frame_verdict frame_failure_parse(struct text payload,
                                       struct frame_failure *ret_failure)
{
    const uint8_t *at = (const uint8_t *)payload.at;

    if (payload.len < FRAME_FAILURE_HEAD_LEN || !run_fits(get_u64(at), 1) ||
        get_u32(at + 8) >= FAILURE_KIND_COUNT)
        return FRAME_BROKEN;
    *ret_failure = (struct frame_failure){
        .item = get_u64(at),
        .kind = get_u32(at + 8),
        .printed = get_u32(at + 12),
        .run_ns = get_u64(at + 16),
        .exception = behind(payload, FRAME_FAILURE_HEAD_LEN),
    };
    return FRAME_OK;
}

void frame_progress_head(const struct frame_progress *progress,
                         uint8_t ret_head[FRAME_PROGRESS_HEAD_LEN])
{
    assert(progress->message.len <= FRAME_MESSAGE_MAX);
    put_u64(ret_head, progress->item);
    put_u64(ret_head + 8, progress->current);
    put_u64(ret_head + 16, progress->total);
}

enum frame_verdict frame_progress_parse(struct text payload,
                                        struct frame_progress *ret_progress)
{
    const uint8_t *at = (const uint8_t *)payload.at;

    if (payload.len < FRAME_PROGRESS_HEAD_LEN ||
        payload.len > FRAME_PROGRESS_HEAD_LEN + FRAME_MESSAGE_MAX ||
        !run_fits(get_u64(at), 1))
        return FRAME_BROKEN;
    *ret_progress = (struct frame_progress){
        .item = get_u64(at),
        .current = get_u64(at + 8),
        .total = get_u64(at + 16),
        .message = behind(payload, FRAME_PROGRESS_HEAD_LEN),
    };
    return FRAME_OK;
}

void frame_ready(const struct frame_ready *ready, uint8_t ret_payload[FRAME_READY_LEN])
{
    put_u32(ret_payload, ready->version);
    put_u32(ret_payload + 4, ready->pid);
}

enum frame_verdict frame_ready_parse(struct text payload, struct frame_ready *ret_ready)
{
    const uint8_t *at = (const uint8_t *)payload.at;

    if (payload.len != FRAME_READY_LEN)
        return FRAME_BROKEN;
    *ret_ready = (struct frame_ready){ .version = get_u32(at), .pid = get_u32(at + 4) };
    return FRAME_OK;
}
