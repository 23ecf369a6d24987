/* SPDX-License-Identifier: MIT */
/*
 * What a worker's socket brings: any bytes.
 *
 * - A frame that is read lies within the bytes, and so does what its payload names.
 * - A header that is read, written again, is the same.
 * - Of a frame that is cut more is needed, and never less than there is.
 */
#include "tests/fuzz/fuzz.h"

#include "workers/frame.h"

#include <assert.h>
#include <string.h>

static void check_within(struct text part, struct text whole)
{
    assert(part.len <= whole.len);
    assert(part.len == 0 ||
           (part.at >= whole.at && part.at + part.len <= whole.at + whole.len));
}

static void check_payload(struct text payload)
{
    struct frame_chunk chunk;
    struct frame_result result;
    struct frame_failure failure;
    struct frame_progress progress;
    struct frame_ready ready;

    if (frame_chunk_parse(payload, &chunk) == FRAME_OK) {
        check_within(chunk.task, payload);
        check_within(chunk.kwargs, payload);
        check_within(chunk.items, payload);
        assert(chunk.count > 0 && chunk.style < CALL_STYLE_COUNT);
    }
    if (frame_result_parse(payload, &result) == FRAME_OK)
        check_within(result.results, payload);
    if (frame_failure_parse(payload, &failure) == FRAME_OK) {
        check_within(failure.exception, payload);
        assert(failure.kind < FAILURE_KIND_COUNT);
    }
    if (frame_progress_parse(payload, &progress) == FRAME_OK)
        check_within(progress.message, payload);
    (void)frame_ready_parse(payload, &ready);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text all = { (const char *)data, size };
    uint8_t header[FRAME_HEADER_LEN];
    struct frame frame;
    size_t len = 0;

    check_payload(all);
    switch (frame_parse(data, size, &frame, &len)) {
    case FRAME_OK:
        assert(len <= size && frame.payload.len == len - FRAME_HEADER_LEN);
        check_within(frame.payload, all);
        frame_header(frame.kind, frame.flags, frame.chunk_id, frame.payload.len, header);
        assert(header[0] == data[0] && memcmp(header + 4, data + 4, 12) == 0);
        check_payload(frame.payload);
        break;
    case FRAME_NEED_MORE:
        assert(len > size);
        break;
    case FRAME_BROKEN:
        break;
    }
    return 0;
}
