/* SPDX-License-Identifier: MIT */
/* What is no longer kept: a job loses what it came with and what it brought, and in the end
 * its record. */
#include "server/store_memory.h"

#include "common/mem.h"

static void strip(struct memory_store *memory, struct kept *kept)
{
    struct stored_job *job = &kept->job;
    struct job_spec *bare = job_spec_strip(job->spec);

    if (!bare)
        return; /* without memory: the next time */
    memory->finished_bytes -= job->status.bytes;
    job->status.bytes = 0;
    job->gone = true;
    for (size_t i = 0; i < job->outcome_count; i++)
        blob_unref(job->outcomes[i].text);
    mem_free(job->outcomes);
    job->outcomes = NULL;
    job->outcome_count = 0;
    attempt_log_clear(&job->attempts);
    blob_unref(job->log);
    job->log = NULL;
    job_spec_unref(job->spec);
    job->spec = bare;
}

void memory_purge_by_age(struct memory_store *memory, const struct store_limits *limits,
                         struct store_purged *purged)
{
    struct kept *kept, *next;

    for (kept = TAILQ_FIRST(&memory->finished); kept && purged->by_age < STORE_PURGE_JOBS;
         kept = next) {
        const struct job_status *status = &kept->job.status;
        int64_t age_ms = limits->now_ms - status->finished_at_ms;

        next = TAILQ_NEXT(kept, link);
        if (kept->job.gone && age_ms >= limits->job_ttl_ms)
            memory_remove_job(memory, memory_find(memory, kept->job.spec->id));
        else if (!kept->job.gone && age_ms >= kept->job.spec->result_ttl_ms)
            strip(memory, kept);
        else
            continue;
        purged->by_age++;
    }
}

void memory_purge_by_size(struct memory_store *memory, const struct store_limits *limits,
                          struct store_purged *purged)
{
    struct kept *kept = TAILQ_FIRST(&memory->finished);

    for (; kept && limits->max_bytes && memory->finished_bytes > limits->max_bytes;
         kept = TAILQ_NEXT(kept, link)) {
        if (kept->job.gone)
            continue;
        strip(memory, kept);
        purged->by_size++;
    }
    while (memory->finished_jobs > limits->max_jobs) {
        kept = TAILQ_FIRST(&memory->finished);
        memory_remove_job(memory, memory_find(memory, kept->job.spec->id));
        purged->by_size++;
    }
}
