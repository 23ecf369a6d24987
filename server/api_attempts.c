/* SPDX-License-Identifier: MIT */
/* GET /v1/jobs/{id}/attempts: what went wrong with a job's items, also where it was
 * made good by a retry. */
#include "server/api.h"

static void reply_attempts(struct api *api, struct request *request,
                           const struct job_view *view, void *data)
{
    const struct attempt_log *log = view->attempts;
    struct reply reply;

    (void)api;
    (void)data;
    reply_init(&reply, 200, TYPE_JSON);
    buf_add_str(&reply.body, "{\"attempts\":[");
    for (size_t i = 0; i < log->count; i++) {
        if (i)
            buf_add_char(&reply.body, ',');
        buf_add_text(&reply.body, blob_text(attempt_log_at(log, i)));
    }
    buf_addf(&reply.body, "],\"dropped\":%llu}", (unsigned long long)log->dropped);
    request_reply(request, &reply);
}

void api_job_attempts(struct api *api, struct request *request, struct text param)
{
    struct lookup lookup = { .with_attempts = true, .then = reply_attempts };

    if (api_job_id(request, param, &lookup.id) && api_query(request, NULL, 0))
        api_lookup(api, request, &lookup);
}
