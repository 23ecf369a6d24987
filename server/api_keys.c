/* SPDX-License-Identifier: MIT */
/*
 * /v1/admin/keys. A change is written to the file before it is answered, on the loop: that is
 * one small file and two syncs, and seldom.
 */
#include "server/api.h"

#include "common/clock.h"
#include "common/log.h"
#include "server/key_file.h"
#include "server/key_json.h"
#include "server/keys.h"

#include <inttypes.h>
#include <string.h>

static void answer_status(struct request *request, enum status st,
                          const struct error_text *err)
{
    switch (st) {
    case ST_EXISTS:
        api_problem(request, PROBLEM_KEY_EXISTS, "%s", err->text);
        break;
    case ST_LIMIT:
        api_problem(request, PROBLEM_TOO_MANY_KEYS, "%s", err->text);
        break;
    case ST_NOT_FOUND:
        api_problem(request, PROBLEM_NOT_FOUND, "there is no such key");
        break;
    case ST_BUSY:
        api_problem_retry(request, PROBLEM_STORAGE_FULL, err->text);
        break;
    case ST_NO_MEMORY:
        api_problem_status(request, st);
        break;
    default:
        log_error("the keys could not be changed", "error=\"%s\"", err->text);
        api_problem(request, PROBLEM_INTERNAL_ERROR,
                    "the file of keys could not be changed; the log says why");
    }
}

/* The key as everybody who may see it sees it, and its text, for the only time. */
static void answer_key(struct request *request, int status, const struct key *key,
                       char text[KEY_TEXT_LEN + 1])
{
    struct reply reply;

    reply_init(&reply, status, TYPE_JSON);
    key_write(&reply.body, key);
    if (!reply.body.failed)
        reply.body.len--; /* the brace */
    buf_addf(&reply.body, ",\"key\":\"%s\"}", text);
    explicit_bzero(text, KEY_TEXT_LEN + 1);
    reply_header(&reply, "Cache-Control", "no-store");
    if (status == 201)
        reply_header(&reply, "Location", "/v1/admin/keys/%016" PRIx64, key->id);
    request_reply(request, &reply);
}

void api_keys_list(struct api *api, struct request *request, struct text param)
{
    struct error_text err = { "" };
    struct key_list list;
    struct reply reply;
    enum status st;

    (void)param;
    if (!api_query(request, NULL, 0))
        return;
    st = key_file_read(keys_dir(api->keys), &list, &err);
    if (st != ST_OK && st != ST_NOT_FOUND) {
        answer_status(request, st, &err);
        return;
    }
    reply_init(&reply, 200, TYPE_JSON);
    buf_add_str(&reply.body, "{\"keys\":[");
    for (size_t i = 0; i < list.count; i++) {
        if (i)
            buf_add_char(&reply.body, ',');
        key_write(&reply.body, &list.keys[i]);
    }
    buf_add_str(&reply.body, "]}");
    key_list_clear(&list);
    request_reply(request, &reply);
}

void api_key_post(struct api *api, struct request *request, struct text param)
{
    char text[KEY_TEXT_LEN + 1] = "";
    struct error_text err = { "" };
    struct preferences preferences;
    struct refusal refusal;
    struct key key;
    enum status st;

    (void)param;
    if (!keys_required(api->keys)) {
        api_problem(request, PROBLEM_FORBIDDEN,
                    "there are no keys; the first one is made by `poold key new`");
        return;
    }
    if (!api_body_is_json(request) || !api_query(request, NULL, 0))
        return;
    api_preferences(request, &preferences);
    st = key_json_parse(blob_text(request_body(request)), preferences.lenient,
                        (unsigned)api->config->max_json_depth, clock_wall_ms(), &key,
                        &refusal);
    if (st != ST_OK)
        api_refuse(request, &refusal);
    refusal_clear(&refusal);
    if (st != ST_OK)
        return;
    st = key_file_add(keys_dir(api->keys), false, &key, text, &err);
    keys_look(api->keys);
    if (st == ST_OK)
        answer_key(request, 201, &key, text);
    else
        answer_status(request, st, &err);
}

/* The id of a path as a string; answers 404 if it is none. */
static bool read_id(struct request *request, struct text param,
                    char ret_id[KEY_ID_LEN + 1])
{
    uint64_t id;

    if (key_id_parse(param, &id)) {
        key_id_format(id, ret_id);
        return true;
    }
    api_problem(request, PROBLEM_NOT_FOUND, "there is no such key");
    return false;
}

void api_key_rotate(struct api *api, struct request *request, struct text param)
{
    char id[KEY_ID_LEN + 1], text[KEY_TEXT_LEN + 1] = "";
    struct error_text err = { "" };
    struct preferences preferences;
    struct refusal refusal;
    int64_t keep_old_ms;
    struct key key;
    enum status st;

    if (!read_id(request, param, id) || !api_query(request, NULL, 0) ||
        (request_body(request)->len && !api_body_is_json(request)))
        return;
    api_preferences(request, &preferences);
    st = key_json_parse_rotation(blob_text(request_body(request)), preferences.lenient,
                                 (unsigned)api->config->max_json_depth, &keep_old_ms,
                                 &refusal);
    if (st != ST_OK)
        api_refuse(request, &refusal);
    refusal_clear(&refusal);
    if (st != ST_OK)
        return;
    st = key_file_rotate(keys_dir(api->keys), false, id,
                         keep_old_ms ? clock_wall_ms() + keep_old_ms : 0, &key, text,
                         &err);
    keys_look(api->keys);
    if (st == ST_OK)
        answer_key(request, 200, &key, text);
    else
        answer_status(request, st, &err);
}

void api_key_delete(struct api *api, struct request *request, struct text param)
{
    struct error_text err = { "" };
    char id[KEY_ID_LEN + 1];
    struct reply reply;
    struct key key;
    enum status st;

    if (!read_id(request, param, id) || !api_query(request, NULL, 0))
        return;
    st = key_file_revoke(keys_dir(api->keys), false, id, &key, &err);
    keys_look(api->keys);
    if (st == ST_OK) {
        reply_init(&reply, 204, NULL);
        request_reply(request, &reply);
    } else {
        answer_status(request, st, &err);
    }
}
