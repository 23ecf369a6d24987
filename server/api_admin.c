/* SPDX-License-Identifier: MIT */
/* What is for the operator: /v1/admin/... */
#include "server/api.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/json_load.h"
#include "server/refusal.h"

#include <string.h>

#define FILE_MEMBER ((struct text){ "file", 4 })

/* ---- the answer -------------------------------------------------------------------- */

struct copying {
    struct request *request; /* NULL: its client has gone */
};

static void on_gone(void *data)
{
    ((struct copying *)data)->request = NULL;
}

/* What went wrong, as far as it is the client's business; paths are in the log. */
static void refuse(struct request *request, enum status st)
{
    switch (st) {
    case ST_EXISTS:
        api_problem(request, PROBLEM_BACKUP_EXISTS, "there is a file of this name");
        break;
    case ST_BUSY:
        api_problem(request, PROBLEM_BACKUP_RUNNING, "another backup is being made");
        break;
    case ST_CLOSED:
        api_problem_status(request, ST_CLOSED);
        break;
    default:
        api_problem(request, PROBLEM_BACKUP_FAILED, "%s; the log says more",
                    status_text(st));
    }
}

static void on_copied(void *data, enum status st, const struct backup_made *made,
                      const struct error_text *why)
{
    struct copying *copying = data;
    char started[CLOCK_TEXT_LEN + 1];
    struct reply reply;

    (void)why;
    if (copying->request && made) {
        clock_format(made->started_at_ms, started);
        reply_init(&reply, 201, TYPE_JSON);
        buf_addf(
            &reply.body,
            "{\"file\":\"%s\",\"bytes\":%llu,\"started_at\":\"%s\",\"seconds\":%.3f}",
            made->name, (unsigned long long)made->bytes, started, made->seconds);
        request_reply(copying->request, &reply);
    } else if (copying->request) {
        refuse(copying->request, st);
    }
    mem_free(copying);
}

/* ---- the request ------------------------------------------------------------------- */

/* {"file": "NAME"} and nothing else; what is wrong with it goes to refusal. NULL then. */
static json_t *read_name(struct text body, unsigned max_depth, struct refusal *refusal)
{
    struct slice_error error = { 0 };
    enum slice_kind kind;
    enum slice_verdict verdict = slice_check_sent(body, max_depth, &kind, &error);
    json_t *root, *file;
    const char *name;
    json_t *value;

    if (verdict != SLICE_OK) {
        refusal_of_text(refusal, verdict, &error, NULL);
        return NULL;
    }
    root = json_load(body, JSON_DECODE_ANY, &refusal->no_memory);
    file = json_object_get(root, "file");
    if (!root && !refusal->no_memory)
        refusal_add(refusal, WHOLE, -1, PROBLEM_VALIDATION_FAILED, "is out of range");
    else if (root && !json_is_object(root))
        refusal_add(refusal, WHOLE, -1, PROBLEM_VALIDATION_FAILED, "is not an object");
    json_object_foreach(root, name, value)
    {
        if (strcmp(name, "file") != 0)
            refusal_add(refusal, (struct text){ name, strlen(name) }, -1,
                        PROBLEM_VALIDATION_FAILED, "is not known here");
    }
    if (json_is_object(root) && !backup_name_valid((struct text){
                                    json_string_value(file), json_string_length(file) }))
        refusal_add(
            refusal, FILE_MEMBER, -1, PROBLEM_VALIDATION_FAILED,
            "has to be a name of 1 to 128 letters, digits, \".\", \"_\" and \"-\", "
            "without a dot in front");
    file = refusal->error_count || refusal->no_memory ? NULL : json_incref(file);
    json_decref(root);
    return file;
}

static void start(struct api *api, struct request *request, const char *name)
{
    struct copying *copying = mem_zalloc(sizeof(*copying));
    enum status st = ST_NO_MEMORY;

    if (copying) {
        copying->request = request;
        st = backup_start(api->backup, (struct text){ name, strlen(name) }, on_copied,
                          copying);
    }
    if (st == ST_OK) {
        request_park(request, on_gone, copying);
        return;
    }
    mem_free(copying);
    if (st == ST_BUSY)
        refuse(request, st);
    else
        api_problem_status(request, st);
}

void api_admin_backup(struct api *api, struct request *request, struct text param)
{
    struct refusal refusal;
    json_t *file;

    (void)param;
    if (!api_body_is_json(request) || !api_query(request, NULL, 0))
        return;
    refusal_init(&refusal);
    file = read_name(blob_text(request_body(request)),
                     (unsigned)api->config->max_json_depth, &refusal);
    if (refusal.no_memory)
        api_problem_status(request, ST_NO_MEMORY);
    else if (!file)
        api_refuse(request, &refusal);
    else if (!api->backup)
        api_problem(request, PROBLEM_NO_BACKUPS, "%s",
                    api->config->store == STORE_MEMORY
                        ? "the store is in memory"
                        : "the setting backup_dir names no folder for them");
    else
        start(api, request, json_string_value(file));
    json_decref(file);
    refusal_clear(&refusal);
}
