/* SPDX-License-Identifier: MIT */
/* How a job ends: when nothing of it is left to do, and what is kept of it then. */
#include "server/job.h"

#include "common/mem.h"

#include <assert.h>

void job_stop(struct job *job, enum job_state state)
{
    assert(job_state_final(state));
    if (job->end == JOB_STATE_COUNT || state == JOB_CANCELLED)
        job->end = state;
}

void job_fail(struct job *job, struct blob *problem)
{
    job_stop(job, JOB_FAILED);
    blob_unref(job->fault);
    job->fault = problem;
}

bool job_is_over(const struct job *job, enum job_state *ret_state)
{
    if (job->in_flight)
        return false;
    if (job->end != JOB_STATE_COUNT) {
        *ret_state = job->end;
        return true;
    }
    if (job->open ||
        job->status.completed + job->status.failed < job_items(job->spec, &job->status))
        return false;
    *ret_state = job->fault || (job->status.failed && !job->spec->return_exceptions)
                     ? JOB_FAILED
                     : JOB_SUCCEEDED;
    return true;
}

struct job_status job_end_status(const struct job *job, enum job_state state,
                                 int64_t now_ms)
{
    struct job_status status = job_status_copy(&job->status);

    assert(job_may_move(job->status.state, state));
    blob_unref(status.said);
    status.said = NULL;
    status.state = state;
    status.finished_at_ms = now_ms;
    status.bytes = job_spec_bytes(job->spec) + job->let_go_bytes;
    for (size_t i = 0; i < job->outcome_count; i++)
        status.bytes += job->outcomes[i].text->len;
    if (state == JOB_FAILED && job->fault) {
        blob_unref(status.error);
        status.error = blob_ref(job->fault);
    } else if (state == JOB_FAILED && job->lowest_failed != UINT64_MAX) {
        blob_unref(status.error);
        status.error = blob_ref(job_outcome(job, job->lowest_failed)->text);
    }
    return status;
}

enum status job_strip(struct job *job)
{
    struct job_spec *spec = job_spec_strip(job->spec);

    assert(job_state_final(job->status.state));
    if (!spec)
        return ST_NO_MEMORY;
    job_spec_unref(job->spec);
    job->spec = spec;
    for (size_t i = 0; i < job->outcome_count; i++)
        blob_unref(job->outcomes[i].text);
    mem_free(job->outcomes);
    job->outcomes = NULL;
    job->outcome_count = job->outcome_cap = 0;
    job->outcome_bytes = 0;
    job->status.bytes = 0;
    return ST_OK;
}
