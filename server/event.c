/* SPDX-License-Identifier: MIT */
#include "server/event.h"

#include "server/progress_json.h"

const char *const event_kind_names[EVENT_KIND_COUNT] = {
    [EVENT_CREATED] = "job.created",   [EVENT_STARTED] = "job.started",
    [EVENT_PROGRESS] = "job.progress", [EVENT_SUCCEEDED] = "job.succeeded",
    [EVENT_FAILED] = "job.failed",     [EVENT_CANCELLED] = "job.cancelled",
    [EVENT_EXPIRED] = "job.expired",   [EVENT_RETRIED] = "job.retried",
};

enum event_kind event_of_end(enum job_state state)
{
    switch (state) {
    case JOB_SUCCEEDED:
        return EVENT_SUCCEEDED;
    case JOB_CANCELLED:
        return EVENT_CANCELLED;
    case JOB_EXPIRED:
        return EVENT_EXPIRED;
    default:
        return EVENT_FAILED;
    }
}

void event_write(struct buf *out, const struct event *event)
{
    char id[UUID_TEXT_LEN + 1];

    uuid_format(event->job, id);
    buf_addf(out,
             "id: %llu\nevent: %s\ndata: {\"id\":\"%s\",\"state\":\"%s\",\"progress\":",
             (unsigned long long)event->id, event_kind_names[event->kind], id,
             job_state_names[event->state]);
    progress_json_write(out, event->total, event->completed, event->failed, event->said);
    buf_add_str(out, "}\n\n");
}
