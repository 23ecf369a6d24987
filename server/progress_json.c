/* SPDX-License-Identifier: MIT */
#include "server/progress_json.h"

struct blob *progress_json_said(const struct frame_progress *progress)
{
    struct buf json = BUF_INIT;

    buf_add_str(&json, "\"message\":");
    if (progress->message.len > 0)
        buf_add_json_bytes(&json, progress->message);
    else
        buf_add_str(&json, "null");
    buf_addf(&json, ",\"task\":{\"item\":%llu,\"current\":%llu,\"total\":",
             (unsigned long long)progress->item, (unsigned long long)progress->current);
    if (progress->total > 0)
        buf_add_u64(&json, progress->total);
    else
        buf_add_str(&json, "null");
    buf_add_char(&json, '}');
    return buf_take_blob(&json);
}

void progress_json_write(struct buf *out, uint64_t total, uint64_t completed,
                         uint64_t failed, const struct blob *said)
{
    buf_addf(out, "{\"total\":%llu,\"completed\":%llu,\"failed\":%llu,",
             (unsigned long long)total, (unsigned long long)completed,
             (unsigned long long)failed);
    buf_add_text(out, said ? blob_text(said) : TEXT("\"message\":null,\"task\":null"));
    buf_add_char(out, '}');
}
