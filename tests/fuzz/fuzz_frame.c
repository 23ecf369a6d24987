/* SPDX-License-Identifier: MIT */
/*
 * What the server and its workers hear from each other: one frame behind the other.
 *
 * - What is taken lies in what came, and written again it is the same bytes.
 * - What is cut is asked for, as far as it was announced.
 * - Whatever results and exceptions hold, the walk over them ends, and clients get JSON.
 * - Packed numbers and their text are the same numbers.
 */
#include "tests/fuzz/fuzz.h"

#include "server/failure.h"
#include "server/progress_json.h"
#include "workers/frame.h"
#include "workers/items.h"
#include "workers/packed.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

static void check_inside(struct text part, struct text whole)
{
    assert(part.at >= whole.at && part.at + part.len <= whole.at + whole.len);
}

/* Any text of more than 18 digits stays text. */
static void check_packed(struct text numbers)
{
    struct buf text = BUF_INIT, again = BUF_INIT;

    if (packed_to_text(numbers, &text)) {
        uint32_t count = (uint32_t)(numbers.len / PACKED_LEN);

        assert(!text.failed);
        if (packed_from_text(buf_text(&text), count, &again))
            assert(text_equal(buf_text(&again), numbers));
    }
    buf_clear(&again);
    buf_clear(&text);
}

static void check_list(struct text list, uint32_t count)
{
    struct buf numbers = BUF_INIT, text = BUF_INIT, again = BUF_INIT;
    struct text rest = list, item;

    while (items_next(&rest, &item))
        check_inside(item, list);
    if (packed_from_text(list, count, &numbers)) {
        assert(numbers.len == (size_t)count * PACKED_LEN);
        assert(packed_to_text(buf_text(&numbers), &text));
        assert(text.len <= list.len);
        assert(packed_from_text(buf_text(&text), count, &again));
        assert(text_equal(buf_text(&again), buf_text(&numbers)));
    }
    buf_clear(&numbers);
    buf_clear(&again);
    buf_clear(&text);
}

/* jansson refuses numbers that its types cannot hold. */
static void check_json(struct blob *blob)
{
    struct text text = blob_text(blob);
    json_error_t error;
    json_t *json =
        json_loadb(text.at, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

    assert(json_is_object(json) ||
           json_error_code(&error) == json_error_numeric_overflow);
    json_decref(json);
    blob_unref(blob);
}

static void check_chunk(struct text payload)
{
    uint8_t head[FRAME_CHUNK_HEAD_LEN];
    struct frame_chunk chunk;

    if (frame_chunk_parse(payload, &chunk) != FRAME_OK)
        return;
    frame_chunk_head(&chunk, head);
    assert(memcmp(head, payload.at, sizeof(head)) == 0);
    check_inside(chunk.task, payload);
    check_inside(chunk.trace, payload);
    assert(frame_trace_parent(chunk.trace).len ==
           (chunk.trace.len > 0 ? FRAME_TRACE_PARENT_LEN : 0));
    assert(frame_trace_state(chunk.trace).len <= FRAME_TRACE_STATE_MAX);
    check_inside(chunk.kwargs, payload);
    check_inside(chunk.items, payload);
    check_list(chunk.items, chunk.count);
}

static void check_result(struct text payload)
{
    uint8_t head[FRAME_RESULT_HEAD_LEN];
    struct frame_result result;

    if (frame_result_parse(payload, &result) != FRAME_OK)
        return;
    frame_result_head(&result, head);
    assert(memcmp(head, payload.at, sizeof(head)) == 0);
    check_inside(result.results, payload);
    check_list(result.results, result.count);
    check_packed(result.results);
}

static void check_failure(struct text payload)
{
    static const struct failure_place place = { .attempt = 1 };
    uint8_t head[FRAME_FAILURE_HEAD_LEN];
    struct frame_failure failure;

    if (frame_failure_parse(payload, &failure) != FRAME_OK)
        return;
    frame_failure_head(&failure, head);
    assert(memcmp(head, payload.at, sizeof(head)) == 0);
    check_inside(failure.exception, payload);
    check_json(failure_of_task(&place, &failure));
    check_json(failure_exception(failure.exception));
}

static void check_progress(struct text payload)
{
    uint8_t head[FRAME_PROGRESS_HEAD_LEN];
    struct frame_progress progress;
    struct buf out = BUF_INIT;
    struct blob *said;

    if (frame_progress_parse(payload, &progress) != FRAME_OK)
        return;
    frame_progress_head(&progress, head);
    assert(memcmp(head, payload.at, sizeof(head)) == 0);
    check_inside(progress.message, payload);
    said = progress_json_said(&progress);
    assert(said);
    progress_json_write(&out, 1, 0, 0, said);
    blob_unref(said);
    check_json(buf_take_blob(&out));
}

static void check_ready(struct text payload)
{
    uint8_t again[FRAME_READY_LEN];
    struct frame_ready ready;

    if (frame_ready_parse(payload, &ready) != FRAME_OK)
        return;
    frame_ready(&ready, again);
    assert(text_equal(payload, (struct text){ (char *)again, sizeof(again) }));
}

/* Whoever sends a kind that is not for him is heard all the same. */
static void check_payload(struct text payload)
{
    check_chunk(payload);
    check_result(payload);
    check_failure(payload);
    check_progress(payload);
    check_ready(payload);
}

static void check_frame(const uint8_t *at, size_t len, const struct frame *frame)
{
    uint8_t header[FRAME_HEADER_LEN];

    assert((const uint8_t *)frame->payload.at == at + FRAME_HEADER_LEN);
    assert(frame->payload.len == len - FRAME_HEADER_LEN);
    frame_header(frame->kind, frame->flags, frame->chunk_id, frame->payload.len, header);
    assert(memcmp(header, at, sizeof(header)) == 0);
    check_payload(frame->payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum frame_verdict verdict = FRAME_OK;

    check_payload((struct text){ (const char *)data, size });
    while (verdict == FRAME_OK) {
        struct frame frame, cut;
        size_t len = 0, cut_len;

        verdict = frame_parse(data, size, &frame, &len);
        if (verdict == FRAME_NEED_MORE)
            assert(len > size && len <= (size_t)FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX);
        if (verdict != FRAME_OK)
            break;
        assert(len <= size);
        assert(frame_parse(data, len - 1, &cut, &cut_len) == FRAME_NEED_MORE);
        assert(cut_len <= len);
        check_frame(data, len, &frame);
        data += len;
        size -= len;
    }
    return 0;
}
