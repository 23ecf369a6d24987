/* SPDX-License-Identifier: MIT */
/* What became of a job's callbacks: /v1/jobs/{id}/deliveries and /redeliver. */
#include "server/api.h"

#include "common/mem.h"

struct asking {
    struct request *request; /* NULL: its client has gone */
};

static void on_gone(void *data)
{
    ((struct asking *)data)->request = NULL;
}

/* Parks the request; NULL after an answer. */
static struct asking *asking_new(struct request *request)
{
    struct asking *asking = mem_alloc(sizeof(*asking));

    if (!asking) {
        api_problem_status(request, ST_NO_MEMORY);
        return NULL;
    }
    asking->request = request;
    request_park(request, on_gone, asking);
    return asking;
}

static void on_list(void *data, enum status st, const struct delivery *list, size_t count)
{
    struct asking *asking = data;
    struct reply reply;

    if (asking->request && st != ST_OK) {
        api_problem_status(asking->request, st);
    } else if (asking->request) {
        reply_init(&reply, 200, TYPE_JSON);
        buf_add_str(&reply.body, "{\"deliveries\":[");
        for (size_t i = 0; i < count; i++) {
            if (i)
                buf_add_char(&reply.body, ',');
            delivery_write(&reply.body, &list[i]);
        }
        buf_add_str(&reply.body, "]}");
        request_reply(asking->request, &reply);
    }
    mem_free(asking);
}

static void list_of(struct api *api, struct request *request, const struct job_view *view,
                    void *data)
{
    struct asking *asking = asking_new(request);

    (void)data;
    if (asking)
        callback_list(api->callback, view->spec, on_list, asking);
}

void api_job_deliveries(struct api *api, struct request *request, struct text param)
{
    struct lookup lookup = { .then = list_of };

    if (api_job_id(request, param, &lookup.id) && api_query(request, NULL, 0))
        api_lookup(api, request, &lookup);
}

static void on_renewed(void *data, enum status st, const struct delivery *delivery)
{
    struct asking *asking = data;
    struct reply reply;

    if (asking->request && st == ST_NOT_FOUND) {
        api_problem(asking->request, PROBLEM_NOT_FOUND,
                    "the job has no delivery: it has not ended, or has no callback for "
                    "its end");
    } else if (asking->request && st != ST_OK) {
        api_problem_status(asking->request, st);
    } else if (asking->request) {
        reply_init(&reply, 202, TYPE_JSON);
        delivery_write(&reply.body, delivery);
        request_reply(asking->request, &reply);
    }
    mem_free(asking);
}

static void redeliver(struct api *api, struct request *request,
                      const struct job_view *view, void *data)
{
    struct asking *asking = asking_new(request);

    (void)data;
    if (asking)
        callback_redeliver(api->callback, view->spec, on_renewed, asking);
}

void api_job_redeliver(struct api *api, struct request *request, struct text param)
{
    struct lookup lookup = { .then = redeliver };

    if (!api_job_id(request, param, &lookup.id) || !api_query(request, NULL, 0))
        return;
    if (request_body(request)->len) {
        api_problem(request, PROBLEM_VALIDATION_FAILED, "this call takes no body");
        return;
    }
    api_lookup(api, request, &lookup);
}
