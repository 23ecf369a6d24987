/* SPDX-License-Identifier: MIT */
/*
 * The book's side of the disk: what was committed is noted in it by what the commands say, not
 * by what the disk then holds. At each start the two are compared.
 */
#include "tests/sim/sim.h"

#include "server/attempt.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is noted ----------------------------------------------------------------- */

static uint64_t hash_of(struct text text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.at[i]) * UINT64_C(0x100000001b3);
    return hash | 1;
}

void sim_values(const struct sim *sim, const struct outcome *outcome,
                uint64_t ret_values[SIM_ITEMS])
{
    char *at = outcome->text->data;

    SIM_DEMAND(sim, outcome->count <= SIM_ITEMS, "an outcome of too many items");
    if (outcome->is_error) {
        ret_values[0] = hash_of(blob_text(outcome->text));
        return;
    }
    for (uint64_t i = 0; i < outcome->count; i++) {
        ret_values[i] = strtoull(at, &at, 10);
        SIM_DEMAND(sim, ret_values[i] && *at == (i + 1 < outcome->count ? ',' : '\0'),
                   "an outcome has not as many results as items");
        at++;
    }
}

static void note_outcome(struct sim *sim, struct sim_job *job,
                         const struct outcome *outcome)
{
    uint64_t values[SIM_ITEMS];

    sim_values(sim, outcome, values);
    for (uint64_t i = 0; i < outcome->count; i++) {
        struct sim_item *item = &job->item[outcome->first + i];

        if (item->stored)
            continue; /* an outcome that is stored already stays as it is */
        item->stored = values[i];
        item->stored_error = outcome->is_error;
    }
}

static void note_attempt(struct sim *sim, struct sim_job *job, struct text attempt)
{
    struct attempt_cost cost;
    enum status st = attempt_read(attempt, &cost);

    SIM_DEMAND(sim, st == ST_OK && cost.item < job->items,
               "job %d: the record of an attempt is none", (int)sim_number(job));
    if (cost.number == 1) /* the first one, or after a retry */
        job->item[cost.item].stored_errors = job->item[cost.item].stored_crashes = 0;
    if (cost.is_crash)
        job->item[cost.item].stored_crashes++;
    else
        job->item[cost.item].stored_errors++;
}

static void note_status(struct sim_job *job, const struct job_status *status)
{
    SIM_DEMAND(job->sim,
               !job->in_store || !job_state_final(job->stored_state) ||
                   job->stored_state == status->state || job->retry_asked,
               "job %d: it is committed as %s, and has ended as %s", (int)sim_number(job),
               job_state_names[status->state], job_state_names[job->stored_state]);
    if (job->in_store && job_state_final(job->stored_state) &&
        status->state == JOB_QUEUED) /* a retry, with new budgets */
        for (unsigned i = 0; i < SIM_ITEMS; i++)
            job->item[i].stored_errors = job->item[i].stored_crashes = 0;
    job->in_store = true;
    job->stored_state = status->state;
    job->stored_completed = status->completed;
    job->stored_failed = status->failed;
    job->finished_at_ms = status->finished_at_ms;
    for (uint64_t i = 0; status->state == JOB_QUEUED && i < job->items; i++)
        if (job->item[i].stored_error)
            job->item[i].stored = 0; /* a retry */
}

void sim_book_note(struct sim *sim, const struct store_command *command)
{
    struct sim_job *job = sim_job_of(sim, command->id);

    switch (command->kind) {
    case STORE_PUT_JOBS:
        for (size_t i = 0; i < command->job_count; i++)
            note_status(sim_job_of(sim, command->jobs[i].spec->id),
                        &command->jobs[i].status);
        break;
    case STORE_PUT_JOB:
    case STORE_RECORD_JOB:
    case STORE_PUT_STATUS:
    case STORE_PUT_FINISHED:
        note_status(job, &command->status);
        for (size_t i = 0; i < command->outcome_count; i++)
            note_outcome(sim, job, &command->outcomes[i]);
        break;
    case STORE_PUT_OUTCOME:
        note_outcome(sim, job, &command->outcome);
        break;
    case STORE_PUT_ATTEMPT:
        note_attempt(sim, job, blob_text(command->attempt));
        break;
    case STORE_DELETE_JOB:
        job->in_store = false;
        job->deleted = true;
        break;
    default:
        break;
    }
}

/* ---- the book is right ------------------------------------------------------------- */

void sim_book_check(struct sim *sim, const struct sim_job *job,
                    const struct stored_job *row)
{
    uint64_t values[SIM_ITEMS], seen[SIM_ITEMS] = { 0 };
    int number = (int)sim_number(job);

    SIM_DEMAND(sim, row->status.state == job->stored_state,
               "job %d: committed as %s, but the disk says %s", number,
               job_state_names[job->stored_state], job_state_names[row->status.state]);
    for (size_t i = 0; i < row->outcome_count && !row->gone; i++) {
        const struct outcome *outcome = &row->outcomes[i];

        sim_values(sim, outcome, values);
        for (uint64_t n = 0; n < outcome->count; n++)
            seen[outcome->first + n] = values[n];
    }
    for (uint64_t i = 0; i < job->items && !row->gone; i++)
        SIM_DEMAND(sim, seen[i] == job->item[i].stored,
                   "job %d: the committed outcome of item %d is another one or missing",
                   number, (int)i);
}

/* By age; nothing else is in the way. */
bool sim_book_may_be_gone(const struct sim *sim, const struct sim_job *job)
{
    return job_state_final(job->stored_state) &&
           (sim->jumped || sim->wall_ms - job->finished_at_ms >= job->result_ttl_ms);
}
