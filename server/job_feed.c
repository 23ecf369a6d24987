/* SPDX-License-Identifier: MIT */
/* Items that come one by one, and outcomes that go before their job does. */
#include "server/job.h"

#include <assert.h>

enum status job_feed(struct job *job, struct text item)
{
    enum status st;

    assert(job->open);
    st = feed_add(&job->feed, item);
    if (st == ST_OK)
        job->status.fed++;
    return st;
}

void job_end_input(struct job *job, struct blob *problem)
{
    assert(job->open && !job->fault);
    job->open = false;
    job->fault = problem;
}

void job_let_go(struct job *job, bool nobody_reads)
{
    size_t kept = 0;

    for (size_t i = 0; i < job->outcome_count; i++) {
        struct outcome *outcome = &job->outcomes[i];

        if (outcome->stored && (outcome->read || nobody_reads) &&
            outcome->first != job->lowest_failed) {
            job->let_go_bytes += outcome->text->len;
            job->outcome_bytes -= job_outcome_bytes(outcome->count, outcome->text);
            blob_unref(outcome->text);
        } else {
            job->outcomes[kept++] = *outcome;
        }
    }
    job->outcome_count = kept;
}
