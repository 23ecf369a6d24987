/* SPDX-License-Identifier: MIT */
/*
 * progress_json - how far a job is, as clients read it. Pure.
 *
 *     {"total":1000,"completed":412,"failed":0,
 *      "message":"numbers tested","task":{"item":3,"current":40,"total":100}}
 *
 * The first three are the server's count of items. The last two are what a task has said
 * last of an item that it runs, null before; a total that it does not know is null.
 */
#ifndef SERVER_PROGRESS_JSON_H
#define SERVER_PROGRESS_JSON_H

#include "common/blob.h"
#include "common/buf.h"
#include "workers/frame.h"

#include <stdint.h>

/* What a task says, as text for progress_json_write. One reference for the caller; NULL
 * without memory. */
struct blob *progress_json_said(const struct frame_progress *progress);
/* The whole object. said may be NULL. */
void progress_json_write(struct buf *out, uint64_t total, uint64_t completed,
                         uint64_t failed, const struct blob *said);

#endif
