/* SPDX-License-Identifier: MIT */
/*
 * Results that come one by one and together. A worker that has many small chunks in its
 * socket answers them with many frames, and one read finds them all. What follows from a
 * result (a blob, an outcome, a row of the store, waking those who wait) costs more than a
 * short result itself, so neighbours are joined until the read is over: nobody could have
 * been told of the first before the last.
 */
#include "server/dispatch_private.h"

/* The limits of the store's backlog count outcomes: joined ones are to be short as well. */
#define JOIN_BYTES_MAX   1024 /* a longer result stays alone */
#define GATHER_BYTES_MAX 4096 /* nothing joins so much */

/* Whether the result is the next one of those that are gathered. */
static bool joins(const struct gathered *gathered, const struct live *live,
                  const struct frame_result *result)
{
    return gathered->live == live && result->first == gathered->first + gathered->count &&
           gathered->text.len < GATHER_BYTES_MAX;
}

static void begin(struct gathered *gathered, struct live *live, uint64_t first)
{
    gathered->live = live;
    gathered->first = first;
    gathered->count = 0;
    buf_reset(&gathered->text);
}

void lane_gather(struct lane *lane, struct live *live, const struct frame_result *result)
{
    struct gathered *gathered = &lane->gathered;

    /* An item that failed before has a record of its own, which goes with its result. */
    if (result->results.len > JOIN_BYTES_MAX ||
        job_item_attempt(&live->job, result->first) > 1) {
        lane_gathered(lane);
        lane_add_results(lane, live, result->first, result->count,
                         blob_new(result->results.at, result->results.len));
        return;
    }
    if (!joins(gathered, live, result)) {
        lane_gathered(lane);
        begin(gathered, live, result->first);
    }
    if (gathered->count > 0)
        buf_add_char(&gathered->text, ',');
    buf_add_text(&gathered->text, result->results);
    gathered->count += result->count;
}

void lane_gathered(struct lane *lane)
{
    struct gathered *gathered = &lane->gathered;
    struct live *live = gathered->live;
    struct blob *text;

    if (!live)
        return;
    gathered->live = NULL;
    text =
        gathered->text.failed ? NULL : blob_new(gathered->text.data, gathered->text.len);
    lane_add_results(lane, live, gathered->first, gathered->count, text);
}
