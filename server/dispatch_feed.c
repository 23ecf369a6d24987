/* SPDX-License-Identifier: MIT */
/*
 * What bounds a job on its way: the window of its reader, and, if it is fed, the room for
 * items. What of a job that is fed is in memory is bounded on both ends:
 *
 *     items ──> FEED_ITEMS_MAX, FEED_BYTES_MAX ──> workers ──> window ──> reader
 *                (the feeder waits)                     └───> store
 *
 * An item is let go of with its outcome, an outcome when it is read and stored. While the
 * store lags behind, the feeder waits, too.
 */
#include "server/dispatch_private.h"

#include "server/failure.h"

#include <string.h>

#define LET_GO_MIN 256 /* outcomes: not for each of them */

void dispatch_set_feeder(struct live *live, struct feeder *feeder)
{
    live->feeder = feeder;
}

bool dispatch_takes_items(const struct live *live)
{
    const struct job *job = &live->job;

    return job->open && job->end == JOB_STATE_COUNT && !live->ending &&
           !job_state_final(job->status.state);
}

static bool is_full(const struct live *live)
{
    const struct job_status *status = &live->job.status;

    return dispatch_takes_items(live) &&
           (status->fed - status->completed - status->failed >= FEED_ITEMS_MAX ||
            live->job.feed.bytes >= FEED_BYTES_MAX ||
            live->storing >= RELAXED_BACKLOG_MAX);
}

bool dispatch_feed_full(struct live *live)
{
    bool full = is_full(live);

    if (full && live->feeder)
        live->feeder->waits = true;
    return full;
}

void live_feed_on(struct live *live)
{
    struct feeder *feeder = live->feeder;

    if (!feeder || !feeder->waits || is_full(live))
        return;
    feeder->waits = false;
    feeder->on_room(feeder->data);
}

enum status dispatch_feed(struct live *live, struct text item)
{
    return job_feed(&live->job, item);
}

void dispatch_fed(struct live *live)
{
    if (dispatch_takes_items(live) && live->accepted)
        lane_offer(live->lane, live);
}

void dispatch_end_input(struct live *live, struct blob *problem)
{
    if (!dispatch_takes_items(live)) {
        blob_unref(problem);
        return;
    }
    job_end_input(&live->job, problem);
    live_settle(live);
}

void live_end_fed(struct live *live)
{
    if (live->ending || job_state_final(live->job.status.state))
        return;
    job_fail(&live->job,
             failure_of_input(&live->id,
                              "the server stopped, and items that are fed are not stored",
                              0));
    if (live->job.place.queued)
        queue_remove(live_queue(live), &live->job.place);
    live_settle(live);
}

void dispatch_read(struct live *live, uint64_t items)
{
    uint64_t window = live->job.spec->window;

    live->unread |= items == NOBODY_READS;
    if (!window || !live->findable) /* not findable: over, or the server is at its end */
        return;
    job_open(&live->job, items < UINT64_MAX - window ? items + window : UINT64_MAX);
    if (live->accepted && live->job.status.state != JOB_SCHEDULED)
        lane_offer(live->lane, live);
}

/* ---- outcomes that leave memory ---------------------------------------------------- */

static bool is_done_with(const struct live *live, const struct outcome *outcome)
{
    return outcome->stored && (outcome->read || live->unread);
}

static void trim_arrivals(struct live *live)
{
    const struct outcome *outcome;
    size_t n = 0;

    while (n < live->arrival_count &&
           (!(outcome = job_outcome(&live->job, live->arrivals[n])) ||
            is_done_with(live, outcome)))
        n++;
    if (!n)
        return;
    live->arrival_count -= n;
    live->arrivals_gone += n;
    memmove(live->arrivals, live->arrivals + n,
            live->arrival_count * sizeof(*live->arrivals));
}

/* Often enough that no more than twice of what has to stay is there. */
static void let_go(struct live *live)
{
    struct job *job = &live->job;

    if (live->holds || job->outcome_count < live->let_go_at)
        return;
    trim_arrivals(live);
    job_let_go(job, live->unread);
    live->let_go_at = 2 * job->outcome_count + LET_GO_MIN;
}

void live_outcome_stored(struct live *live, uint64_t first)
{
    struct outcome *outcome = live->job.spec->fed ? job_outcome(&live->job, first) : NULL;

    if (!outcome)
        return;
    outcome->stored = true;
    let_go(live);
}

void dispatch_has_read(struct live *live, uint64_t first)
{
    struct outcome *outcome = live->job.spec->fed ? job_outcome(&live->job, first) : NULL;

    if (outcome)
        outcome->read = true;
}

bool live_let_go_of(const struct live *live)
{
    return live->job.let_go_bytes > 0;
}

void live_hold(struct live *live)
{
    live_pin(live);
    live->holds++;
}

void live_release(struct live *live)
{
    live->holds--;
    live_unpin(live);
}
