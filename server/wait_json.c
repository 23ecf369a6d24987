/* SPDX-License-Identifier: MIT */
#include "server/wait_json.h"

#include "server/member.h"

#include <jansson.h>
#include <math.h>

#define SECONDS_MAX 31536000.0 /* a year */

static void invalid(struct refusal *refusal, struct text member, int64_t index,
                    const char *what)
{
    refusal_add(refusal, member, index, PROBLEM_VALIDATION_FAILED, what);
}

static bool known_already(const struct wait_request *request, struct uuid id)
{
    for (size_t i = 0; i < request->count; i++)
        if (uuid_equal(request->ids[i], id))
            return true;
    return false;
}

static void read_ids(const struct slice_member *member, struct wait_request *request,
                     struct refusal *refusal)
{
    struct text rest = slice_inside(member->value), element;
    struct uuid id;

    if (member->kind != SLICE_ARRAY) {
        invalid(refusal, member->name, -1, "is not an array");
        return;
    }
    for (unsigned i = 0; slice_next(&rest, &element); i++) {
        if (element.at[0] != '"' || !uuid_parse(element.at + 1, element.len - 2, &id)) {
            invalid(refusal, member->name, i, "has an element that is not a job's id");
        } else if (!known_already(request, id)) {
            request->ids[request->count] = id;
            request->places[request->count++] = i;
        }
    }
}

static void read_return_when(const struct slice_member *member,
                             struct wait_request *request, struct refusal *refusal)
{
    static const char *const words[RETURN_WHEN_COUNT] = {
        [RETURN_ALL_COMPLETED] = "\"ALL_COMPLETED\"",
        [RETURN_FIRST_COMPLETED] = "\"FIRST_COMPLETED\"",
        [RETURN_FIRST_EXCEPTION] = "\"FIRST_EXCEPTION\"",
    };

    for (enum return_when i = 0; i < RETURN_WHEN_COUNT; i++)
        if (text_equals(member->value, words[i])) {
            request->return_when = i;
            return;
        }
    invalid(refusal, member->name, -1,
            "is not \"FIRST_COMPLETED\", \"FIRST_EXCEPTION\" or \"ALL_COMPLETED\"");
}

static void read_timeout(const struct slice_member *member, struct wait_request *request,
                         struct refusal *refusal)
{
    json_auto_t *value = member_value(refusal, member);
    double seconds = json_number_value(value);

    if (!value)
        return;
    if (!json_is_number(value) || seconds < 0 || seconds > SECONDS_MAX)
        invalid(refusal, member->name, -1,
                "is not a number of seconds from 0 to 31536000");
    else
        request->timeout_ms = (int64_t)ceil(seconds * 1000);
}

static void read_members(const struct slice_envelope *envelope, bool has_return_when,
                         bool lenient, struct wait_request *request,
                         struct refusal *refusal)
{
    for (size_t i = 0; i < envelope->count; i++) {
        const struct slice_member *member = &envelope->members[i];

        if (text_equals(member->name, "ids"))
            read_ids(member, request, refusal);
        else if (text_equals(member->name, "timeout"))
            read_timeout(member, request, refusal);
        else if (has_return_when && text_equals(member->name, "return_when"))
            read_return_when(member, request, refusal);
        else if (!lenient)
            invalid(refusal, member->name, -1, "is not a member that is known here");
    }
    if (!slice_find(envelope, "ids"))
        invalid(refusal, TEXT("ids"), -1, "is missing");
}

enum status wait_json_parse(struct text body, bool has_return_when, bool lenient,
                            unsigned max_depth, struct wait_request *ret_request,
                            struct refusal *ret_refusal)
{
    const struct slice_limits limits = { WAIT_IDS_MAX, SIZE_MAX, max_depth };
    struct slice_envelope envelope;
    struct slice_error error = { 0 };
    enum slice_verdict verdict =
        slice_envelope_scan(body, "ids", &limits, &envelope, &error);

    refusal_init(ret_refusal);
    ret_request->count = 0;
    ret_request->return_when = RETURN_ALL_COMPLETED;
    ret_request->timeout_ms = -1;
    if (verdict == SLICE_TOO_MANY)
        invalid(ret_refusal, TEXT("ids"), -1, "has more than 1000 elements");
    else if (verdict != SLICE_OK)
        refusal_of_text(ret_refusal, verdict, &error, &limits);
    if (verdict != SLICE_OK)
        return ST_INVALID;
    read_members(&envelope, has_return_when, lenient, ret_request, ret_refusal);
    slice_envelope_clear(&envelope);
    if (ret_refusal->no_memory) {
        refusal_of_text(ret_refusal, SLICE_NO_MEMORY, &error, &limits);
        return ST_NO_MEMORY;
    }
    return ret_refusal->error_count ? ST_INVALID : ST_OK;
}
