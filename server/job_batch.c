/* SPDX-License-Identifier: MIT */
#include "server/job_batch.h"

#include <stdio.h>

/* Of more than max: max + 1. */
static size_t element_count(struct text array, size_t max)
{
    struct text rest = slice_inside(array), element;
    size_t count = 0;

    while (count <= max && slice_next(&rest, &element))
        count++;
    return count;
}

/* Whether the body is an array that is not too long. */
static bool check_array(struct text body, const struct batch_intake *intake,
                        const struct job_rules *rules, struct refusal *refusal)
{
    char what[64];
    struct slice_error error = { 0 };
    enum slice_kind kind;
    enum slice_verdict verdict = slice_check_sent(body, rules->max_depth, &kind, &error);

    if (verdict != SLICE_OK) {
        refusal_of_text(refusal, verdict, &error, NULL);
        return false;
    }
    if (kind != SLICE_ARRAY) {
        refusal_add(refusal, WHOLE, -1, PROBLEM_VALIDATION_FAILED, "is not an array");
    } else if (element_count(body, intake->max_jobs) > intake->max_jobs) {
        (void)snprintf(what, sizeof(what), "has more than %zu jobs (max_batch_jobs)",
                       intake->max_jobs);
        refusal_add(refusal, WHOLE, -1, PROBLEM_VALIDATION_FAILED, what);
    }
    return !refusal->error_count;
}

/* Each job has a body of its own: if they shared the batch's, one that waits for long would
 * keep the inputs of all. */
static enum status parse_one(struct blob *body, struct text element,
                             const struct job_intake *intake,
                             const struct job_rules *rules, struct job_spec **ret_spec,
                             struct refusal *ret_refusal)
{
    struct slice_error error = { 0 };
    enum status st =
        job_json_parse_in(body, element, intake, rules, ret_spec, ret_refusal);

    if (st != ST_OK || job_spec_own_body(*ret_spec) == ST_OK)
        return st;
    job_spec_unref(*ret_spec);
    refusal_of_text(ret_refusal, SLICE_NO_MEMORY, &error, NULL);
    return ST_NO_MEMORY;
}

enum status job_batch_parse(struct blob *body, const struct batch_intake *intake,
                            const struct job_rules *rules, struct job_spec **ret_specs,
                            size_t *ret_count, struct refusal *ret_refusal)
{
    struct job_intake each = { .async = true,
                               .in_batch = true,
                               .lenient = intake->lenient,
                               .trace = intake->trace,
                               .owner = intake->owner,
                               .now_ms = intake->now_ms };
    struct text rest, element;
    enum status st = ST_OK;
    size_t count = 0;

    refusal_init(ret_refusal);
    if (!check_array(blob_text(body), intake, rules, ret_refusal))
        return ST_INVALID;
    rest = slice_inside(blob_text(body));
    /* Goes on behind what is wrong, so that the client hears of all of it at once; not
     * behind what has no pointer of its own. */
    for (bool more = true; more && slice_next(&rest, &element);) {
        unsigned before = ret_refusal->error_count;
        enum status one;

        ret_refusal->element++;
        each.id = intake->new_id(intake->data, intake->now_ms);
        one = parse_one(body, element, &each, rules, &ret_specs[count], ret_refusal);
        if (one == ST_OK)
            count++;
        else
            st = one;
        more = one == ST_OK || ret_refusal->error_count > before;
    }
    for (size_t i = 0; st != ST_OK && i < count; i++)
        job_spec_unref(ret_specs[i]);
    *ret_count = st == ST_OK ? count : 0;
    return st;
}
