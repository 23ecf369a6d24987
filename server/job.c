/* SPDX-License-Identifier: MIT */
/*
 * A job's items are kept as ranges, not as records: what was never handed out is one
 * number (next_item), what came back is a short stack of ranges, what is done is a list
 * of outcomes. A map of ten million items that goes well needs no memory per item here.
 * Only an item that failed or crashed gets a record of its own, and from then on it
 * travels alone, so that a poison item cannot take its neighbours down again.
 */
#include "server/job.h"

#include "common/clock.h"
#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Every legal move, and nothing else. Drawn in schema/README.md. */
static const bool job_moves[JOB_STATE_COUNT][JOB_STATE_COUNT] = {
    [JOB_SCHEDULED] = { [JOB_QUEUED] = true,
                        [JOB_CANCELLED] = true,
                        [JOB_EXPIRED] = true },
    [JOB_QUEUED] = { [JOB_RUNNING] = true,
                     [JOB_SUCCEEDED] = true, /* a map over nothing */
                     [JOB_FAILED] = true,
                     [JOB_CANCELLED] = true,
                     [JOB_EXPIRED] = true },
    [JOB_RUNNING] = { [JOB_SUCCEEDED] = true,
                      [JOB_FAILED] = true,
                      [JOB_CANCELLED] = true },
    [JOB_FAILED] = { [JOB_QUEUED] = true }, /* failed items are run again on request */
};

bool job_may_move(enum job_state from, enum job_state to)
{
    return job_moves[from][to];
}

void job_init(struct job *job, struct job_spec *spec, int64_t now_ms)
{
    memset(job, 0, sizeof(*job));
    job->spec = spec;
    job->status.state = spec->start_at_ms > now_ms ? JOB_SCHEDULED : JOB_QUEUED;
    job->open_to = spec->window ? spec->window : UINT64_MAX;
    job->open = spec->fed;
    feed_init(&job->feed);
    job->lowest_failed = UINT64_MAX;
    job->end = JOB_STATE_COUNT;
    TAILQ_INIT(&job->waiting);
    job->place.bytes = (uint32_t)job_spec_bytes(spec);
    job->place.priority = (int8_t)spec->priority;
    job->place.whole = true;
}

/* Counts the outcomes that there are, and puts what lies between them back among what is
 * to do. ST_NO_MEMORY: only the counts have changed. */
static enum status fill_gaps(struct job *job)
{
    struct job_range *gaps;
    size_t gap_count = 0;
    uint64_t next = 0;

    job->status.completed = job->status.failed = 0;
    job->lowest_failed = UINT64_MAX;
    job->outcome_bytes = 0;
    for (size_t i = 0; i < job->outcome_count; i++) {
        const struct outcome *outcome = &job->outcomes[i];

        job->outcome_bytes += job_outcome_bytes(outcome->count, outcome->text);
        gap_count += outcome->first > next;
        next = outcome->first + outcome->count;
        if (!outcome->is_error) {
            job->status.completed += outcome->count;
        } else {
            job->status.failed++;
            if (outcome->first < job->lowest_failed)
                job->lowest_failed = outcome->first;
        }
    }
    gaps = gap_count ? mem_alloc(gap_count * sizeof(*gaps)) : NULL;
    if (gap_count && !gaps)
        return ST_NO_MEMORY;
    mem_free(job->returned);
    job->returned = gaps;
    job->returned_count = 0;
    job->returned_cap = gap_count;
    job->next_item = 0;
    for (size_t i = 0; i < job->outcome_count; i++) {
        const struct outcome *outcome = &job->outcomes[i];

        if (outcome->first > job->next_item)
            gaps[job->returned_count++] =
                (struct job_range){ job->next_item, outcome->first - job->next_item };
        job->next_item = outcome->first + outcome->count;
    }
    return ST_OK;
}

enum status job_restore(struct job *job, struct job_spec *spec,
                        const struct job_status *status, struct outcome *outcomes,
                        size_t outcome_count)
{
    job_init(job, spec, 0);
    job->status = *status;
    job->outcomes = outcomes;
    job->outcome_count = job->outcome_cap = outcome_count;
    job->open = false;
    if (status->state == JOB_RUNNING)
        job->status.state = JOB_QUEUED;
    if (fill_gaps(job) != ST_OK) {
        job_clear(job);
        return ST_NO_MEMORY;
    }
    if (job->status.failed && spec->stop_on_error && !spec->return_exceptions)
        job_stop(job, JOB_FAILED);
    if (spec->fed && job->status.fed < job->next_item) /* what came after the row */
        job->status.fed = job->next_item;
    return ST_OK;
}

static void troubles_free(struct job *job)
{
    struct job_trouble *trouble, *next;

    HASH_ITER (hh, job->troubles, trouble, next) {
        HASH_DEL(job->troubles, trouble);
        mem_free(trouble);
    }
}

enum status job_retry(struct job *job)
{
    struct job before = *job;
    struct outcome *kept = mem_alloc((job->outcome_count + 1) * sizeof(*kept));

    assert(job->status.state == JOB_FAILED && !job->in_flight && !job->place.queued);
    if (!kept)
        return ST_NO_MEMORY;
    job->outcomes = kept;
    job->outcome_count = 0;
    for (size_t i = 0; i < before.outcome_count; i++)
        if (!before.outcomes[i].is_error)
            kept[job->outcome_count++] = before.outcomes[i];
    if (fill_gaps(job) != ST_OK) {
        mem_free(kept);
        *job = before;
        return ST_NO_MEMORY;
    }
    job->outcome_cap = before.outcome_count + 1;
    for (size_t i = 0; i < before.outcome_count; i++)
        if (before.outcomes[i].is_error)
            blob_unref(before.outcomes[i].text);
    mem_free(before.outcomes);
    troubles_free(job);
    TAILQ_INIT(&job->waiting);
    job->waiting_count = 0;
    blob_unref(job->status.error);
    job->status.error = NULL;
    blob_unref(job->fault);
    job->fault = NULL;
    job->status.attempt = 0;
    job->status.finished_at_ms = 0;
    job->end = JOB_STATE_COUNT;
    job_open(job, UINT64_MAX); /* whoever read it has seen its end */
    job_set_state(job, JOB_QUEUED, 0);
    return ST_OK;
}

void job_clear(struct job *job)
{
    troubles_free(job);
    for (size_t i = 0; i < job->outcome_count; i++)
        blob_unref(job->outcomes[i].text);
    mem_free(job->outcomes);
    mem_free(job->returned);
    feed_clear(&job->feed);
    blob_unref(job->fault);
    job_status_clear(&job->status);
    job_spec_unref(job->spec);
    memset(job, 0, sizeof(*job));
}

void job_set_state(struct job *job, enum job_state state, int64_t now_ms)
{
    assert(job_may_move(job->status.state, state));
    job->status.state = state;
    if (state == JOB_RUNNING)
        job->status.started_at_ms = now_ms;
    job->status.finished_at_ms = job_state_final(state) ? now_ms : 0;
    if (!job_state_final(state))
        job->status.bytes = 0;
    else
        job_say(job, NULL);
}

void job_say(struct job *job, struct blob *said)
{
    blob_unref(job->status.said);
    job->status.said = said;
}

/* ---- growing lists ----------------------------------------------------------------- */

/* Room for one more element of `size` bytes; false without memory, the list is as it was.
 */
static bool list_grow(void **list, size_t count, size_t *cap, size_t size)
{
    size_t new_cap = *cap ? *cap * 2 : 4;
    void *bigger;

    if (count < *cap)
        return true;
    bigger = mem_realloc(*list, new_cap * size);
    if (!bigger)
        return false;
    *list = bigger;
    *cap = new_cap;
    return true;
}

static struct job_trouble *trouble_find(const struct job *job, uint64_t item)
{
    struct job_trouble *trouble;

    HASH_FIND(hh, job->troubles, &item, sizeof(item), trouble);
    return trouble;
}

static struct job_trouble *trouble_new(struct job *job, uint64_t item)
{
    struct job_trouble *trouble = mem_zalloc(sizeof(*trouble));

    if (!trouble)
        return NULL;
    trouble->item = item;
    HASH_ADD(hh, job->troubles, item, sizeof(item), trouble);
    if (hash_added(&trouble->hh))
        return trouble;
    mem_free(trouble);
    return NULL;
}

/* Retry times mostly rise: the place is looked for from the end. */
static void trouble_wait(struct job *job, struct job_trouble *trouble)
{
    struct job_trouble *before = TAILQ_LAST(&job->waiting, job_trouble_list);

    while (before && before->retry_at_ns > trouble->retry_at_ns)
        before = TAILQ_PREV(before, job_trouble_list, link);
    if (before)
        TAILQ_INSERT_AFTER(&job->waiting, before, trouble, link);
    else
        TAILQ_INSERT_HEAD(&job->waiting, trouble, link);
    trouble->waiting = true;
    job->waiting_count++;
}

static void trouble_drop(struct job *job, struct job_trouble *trouble)
{
    assert(!trouble->waiting);
    HASH_DEL(job->troubles, trouble);
    mem_free(trouble);
}

/* ---- handing out ------------------------------------------------------------------- */

void job_open(struct job *job, uint64_t open_to)
{
    if (open_to > job->open_to)
        job->open_to = open_to;
}

/* Items that were never handed out and may be. Where a window ends, only whole chunks
 * count: a reader that takes items one by one does not make chunks of one. */
static uint64_t fresh_items(const struct job *job)
{
    uint64_t items = job_items(job->spec, &job->status);
    bool windowed = job->open_to < items;
    uint64_t end = windowed ? job->open_to : items;
    uint64_t fresh = end > job->next_item ? end - job->next_item : 0;

    return windowed && fresh < job->spec->chunksize ? 0 : fresh;
}

/* As many of `want` items as can be handed out together from this one on. */
static uint64_t in_one_piece(const struct job *job, uint64_t first, uint64_t want)
{
    uint64_t run = job->spec->fed ? feed_run(&job->feed, first) : want;

    return want < run ? want : run;
}

static bool take_returned(struct job *job, uint64_t want, struct job_range *ret_range)
{
    struct job_range *top;

    if (!job->returned_count)
        return false;
    top = &job->returned[job->returned_count - 1];
    want = in_one_piece(job, top->first, want);
    ret_range->first = top->first;
    ret_range->count = top->count < want ? top->count : want;
    top->first += ret_range->count;
    top->count -= ret_range->count;
    if (!top->count)
        job->returned_count--;
    return true;
}

static bool take_retry(struct job *job, uint64_t now_ns, struct job_range *ret_range,
                       uint64_t *ret_retry_at_ns)
{
    struct job_trouble *trouble = TAILQ_FIRST(&job->waiting);

    if (!trouble)
        return false;
    if (trouble->retry_at_ns > now_ns) {
        *ret_retry_at_ns = trouble->retry_at_ns;
        return false;
    }
    TAILQ_REMOVE(&job->waiting, trouble, link);
    trouble->waiting = false;
    job->waiting_count--;
    *ret_range = (struct job_range){ trouble->item, 1 };
    return true;
}

bool job_take(struct job *job, uint64_t want, uint64_t now_ns,
              struct job_range *ret_range, uint64_t *ret_retry_at_ns)
{
    uint64_t fresh = fresh_items(job);

    *ret_retry_at_ns = 0;
    if (job->end != JOB_STATE_COUNT)
        return false;
    if (!take_returned(job, want, ret_range) &&
        !take_retry(job, now_ns, ret_range, ret_retry_at_ns)) {
        if (!fresh)
            return false;
        want = in_one_piece(job, job->next_item, want);
        *ret_range = (struct job_range){ job->next_item, fresh < want ? fresh : want };
        job->next_item += ret_range->count;
    }
    job->in_flight += ret_range->count;
    return true;
}

uint64_t job_todo(const struct job *job)
{
    uint64_t todo = fresh_items(job);

    for (size_t i = 0; i < job->returned_count; i++)
        todo += job->returned[i].count;
    return todo + job->waiting_count;
}

uint32_t job_item_attempt(const struct job *job, uint64_t item)
{
    const struct job_trouble *trouble = trouble_find(job, item);

    return trouble ? 1 + trouble->errors + trouble->crashes : 1;
}

/* ---- outcomes ---------------------------------------------------------------------- */

uint64_t job_outcome_bytes(uint64_t count, const struct blob *text)
{
    uint64_t commas = count - 1;

    /* The worker has counted the results, and may be wrong. */
    return text->len > commas ? text->len - commas : text->len;
}

/* Outcomes mostly arrive in order: the place is looked for from the end. */
static enum status outcome_insert(struct job *job, const struct outcome *outcome)
{
    size_t at = job->outcome_count;

    if (!list_grow((void **)&job->outcomes, job->outcome_count, &job->outcome_cap,
                   sizeof(*job->outcomes)))
        return ST_NO_MEMORY;
    while (at > 0 && job->outcomes[at - 1].first > outcome->first)
        at--;
    memmove(job->outcomes + at + 1, job->outcomes + at,
            (job->outcome_count - at) * sizeof(*job->outcomes));
    job->outcomes[at] = *outcome;
    job->outcome_count++;
    job->outcome_bytes += job_outcome_bytes(outcome->count, outcome->text);
    return ST_OK;
}

enum status job_add_results(struct job *job, uint64_t first, uint64_t count,
                            struct blob *text)
{
    struct outcome outcome = { .first = first, .count = count, .text = text };
    struct job_trouble *trouble = count == 1 ? trouble_find(job, first) : NULL;

    assert(job->in_flight >= count);
    if (outcome_insert(job, &outcome) != ST_OK) {
        blob_unref(text);
        return ST_NO_MEMORY;
    }
    if (trouble)
        trouble_drop(job, trouble);
    if (job->spec->fed)
        feed_done(&job->feed, first, count);
    job->in_flight -= count;
    job->status.completed += count;
    return ST_OK;
}

enum status job_add_error(struct job *job, uint64_t item, struct blob *problem)
{
    struct outcome outcome = {
        .first = item, .count = 1, .is_error = true, .text = problem
    };
    struct job_trouble *trouble = trouble_find(job, item);

    assert(job->in_flight >= 1);
    if (outcome_insert(job, &outcome) != ST_OK) {
        blob_unref(problem);
        return ST_NO_MEMORY;
    }
    if (trouble)
        trouble_drop(job, trouble);
    if (job->spec->fed)
        feed_done(&job->feed, item, 1);
    job->in_flight--;
    job->status.failed++;
    if (item < job->lowest_failed)
        job->lowest_failed = item;
    if (job->spec->stop_on_error && !job->spec->return_exceptions)
        job_stop(job, JOB_FAILED);
    return ST_OK;
}

/* Attempt n (1, 2, ...) has failed: how long to wait before the next one. */
static uint64_t backoff_ns(const struct job_backoff *backoff, uint32_t n, double random)
{
    double ms = (double)backoff->initial_ms * pow(backoff->factor, n - 1);

    if (ms > (double)backoff->max_ms)
        ms = (double)backoff->max_ms;
    if (backoff->jitter)
        ms *= 0.5 + random / 2;
    return (uint64_t)(ms * NS_PER_MS);
}

enum status job_item_trouble(struct job *job, uint64_t item, bool is_crash,
                             uint64_t now_ns, double random,
                             enum job_verdict *ret_verdict)
{
    struct job_trouble *trouble = trouble_find(job, item);
    uint32_t budget = is_crash ? job->spec->crash_retries : job->spec->retries;
    uint32_t spent = !trouble ? 0 : is_crash ? trouble->crashes : trouble->errors;

    if (spent >= budget || job->end != JOB_STATE_COUNT) {
        *ret_verdict = JOB_ITEM_FAILED;
        return ST_OK;
    }
    if (!trouble) {
        trouble = trouble_new(job, item);
        if (!trouble)
            return ST_NO_MEMORY;
    }
    if (is_crash) {
        trouble->crashes++;
        trouble->retry_at_ns = now_ns;
    } else {
        trouble->errors++;
        trouble->retry_at_ns =
            now_ns + backoff_ns(&job->spec->backoff, trouble->errors, random);
    }
    trouble_wait(job, trouble);
    job->in_flight--;
    if (job->status.attempt < 1 + trouble->errors + trouble->crashes)
        job->status.attempt = 1 + trouble->errors + trouble->crashes;
    *ret_verdict = JOB_ITEM_RETRIES;
    return ST_OK;
}

enum status job_restore_trouble(struct job *job, uint64_t item, uint32_t number,
                                bool is_crash)
{
    struct job_trouble *trouble = trouble_find(job, item);
    uint32_t *spent;

    if (item >= job->spec->item_count)
        return ST_OK;
    if (!trouble)
        trouble = trouble_new(job, item);
    if (!trouble)
        return ST_NO_MEMORY;
    if (number == 1)
        trouble->errors = trouble->crashes = 0;
    spent = is_crash ? &trouble->crashes : &trouble->errors;
    (*spent)++;
    /* Those before the oldest that are kept: of which kind is not known. */
    if (trouble->errors + trouble->crashes < number)
        *spent += number - trouble->errors - trouble->crashes;
    return ST_OK;
}

enum status job_return(struct job *job, struct job_range range)
{
    struct job_trouble *trouble =
        range.count == 1 ? trouble_find(job, range.first) : NULL;

    assert(job->in_flight >= range.count);
    if (!range.count)
        return ST_OK;
    if (trouble) { /* it was on its own already, and stays so */
        trouble_wait(job, trouble);
    } else {
        if (!list_grow((void **)&job->returned, job->returned_count, &job->returned_cap,
                       sizeof(*job->returned)))
            return ST_NO_MEMORY;
        job->returned[job->returned_count++] = range;
    }
    job->in_flight -= range.count;
    return ST_OK;
}

struct outcome *job_outcome(const struct job *job, uint64_t first)
{
    size_t low = 0, high = job->outcome_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (job->outcomes[middle].first < first)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == job->outcome_count || job->outcomes[low].first != first)
        return NULL;
    return &job->outcomes[low];
}
