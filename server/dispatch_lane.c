/* SPDX-License-Identifier: MIT */
/*
 * A lane is a pool with its queue. Whenever a worker can take work, the job in front
 * hands over one chunk and the next job has its turn.
 *
 * How large is a chunk? If the client did not say, about CHUNK_TARGET_NS of work by the
 * average cost of the task's items, so that hand-over costs nothing in comparison and
 * other jobs get their turn soon; less towards the end of the job, so that the workers
 * finish together; and one item while the cost is not known.
 */
#include "server/dispatch_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/attempt.h"
#include "server/failure.h"
#include "server/progress_json.h"
#include "server/trace.h"

#include <assert.h>
#include <string.h>

#define CHUNK_TARGET_NS (20 * NS_PER_MS)
#define CHUNK_MIN_NS                                                                     \
    (1 * NS_PER_MS) /* not less than this only because the end is near    \
                                    */
#define CHUNK_BYTES_MAX (128u << 10) /* of input, by the average item of the job */
/* Workers that may die before they begin a chunk of one job, until its first item is
 * blamed: else a chunk that kills its worker on arrival would go round for ever. */
#define UNBEGUN_LOSSES_MAX 16
#define COST_WEIGHT        0.25 /* of the newest measurement */

/* ---- handing out ------------------------------------------------------------------- */

static uint64_t chunk_want(const struct lane *lane, const struct live *live)
{
    const struct job_spec *spec = live->job.spec;
    double items = (double)job_items(spec, &live->job.status);
    double bytes = (double)(spec->fed ? live->job.feed.all_bytes : spec->input.len);
    double item_ns = live->cost->item_ns;
    double share, want;

    if (spec->chunksize != JOB_CHUNKSIZE_AUTO)
        return spec->chunksize;
    if (items <= 1 || item_ns <= 0)
        return 1;
    share = (double)job_todo(&live->job) / (2.0 * pool_processes(lane->pool));
    want = CHUNK_TARGET_NS / item_ns;
    if (want > share)
        want = share > CHUNK_MIN_NS / item_ns ? share : CHUNK_MIN_NS / item_ns;
    if (want * bytes > CHUNK_BYTES_MAX * items)
        want = CHUNK_BYTES_MAX * items / bytes;
    return want < 1 ? 1 : (uint64_t)want;
}

static const enum call_style style_of_method[JOB_METHOD_COUNT] = {
    [JOB_APPLY] = CALL_APPLY,        [JOB_MAP] = CALL_MAP,
    [JOB_STARMAP] = CALL_STARMAP,    [JOB_IMAP] = CALL_MAP,
    [JOB_IMAP_UNORDERED] = CALL_MAP,
};

static_assert(TRACE_PARENT_LEN == FRAME_TRACE_PARENT_LEN &&
                  TRACE_STATE_MAX == FRAME_TRACE_STATE_MAX,
              "workers are sent what is stored");

static struct text items_of(const struct live *live, const struct chunk *chunk)
{
    const struct job_spec *spec = live->job.spec;

    if (spec->fed)
        return feed_items(&live->job.feed, chunk->first, chunk->count);
    return spec->index
               ? slice_index_range(spec->index, spec->input, chunk->first, chunk->count)
               : spec->input;
}

static void send_chunk(struct lane *lane, struct live *live, struct worker *worker,
                       struct chunk *chunk)
{
    const struct job_spec *spec = live->job.spec;
    struct frame_chunk content = {
        .first = chunk->first,
        .count = chunk->count,
        .style = style_of_method[spec->method],
        .task = { spec->task, strlen(spec->task) },
        .trace = { spec->trace, spec->trace ? strlen(spec->trace) : 0 },
        .kwargs = spec->kwargs,
        .items = items_of(live, chunk),
    };

    bool starts = live->job.status.state == JOB_QUEUED;

    if (starts) {
        job_set_state(&live->job, JOB_RUNNING, clock_wall_ms());
        live->job.status.attempt =
            live->job.status.attempt ? live->job.status.attempt : 1;
        live_arm(live, 0); /* it can no longer expire */
        live_started(live);
        waiter_wake_all(&live->waiters, WAKE_CHANGE, ST_OK);
    }
    TAILQ_INSERT_TAIL(&live->chunks, chunk, link);
    lane->in_flight++;
    pool_send(live_pool(live), worker, chunk, &content);
    if (starts) {
        uint64_t since_ns = live_waits_since_ns(live);

        live->began_ns = chunk->sent_ns;
        histogram_add(&lane->dispatch->counts.wait,
                      chunk->sent_ns > since_ns ? chunk->sent_ns - since_ns : 0);
    }
}

/* Items come back without an outcome. Without memory to note them their job fails, and
 * they are forgotten, or it would never be over. */
static void give_back(struct live *live, struct job_range range)
{
    if (job_return(&live->job, range) == ST_OK)
        return;
    live->job.in_flight -= range.count;
    live_out_of_memory(live);
}

/* The job in front gives one chunk to the worker. Returns false if the job had none to
 * give: then it has left the queue, and the worker is still free. */
static bool hand_out(struct lane *lane, struct live *live, struct worker *worker)
{
    struct job *job = &live->job;
    uint64_t retry_at_ns = 0;
    struct job_range range;
    struct chunk *chunk;

    if (!job_take(job, chunk_want(lane, live), clock_mono_ns(), &range, &retry_at_ns)) {
        queue_remove(live_queue(live), &job->place);
        live_arm(live, retry_at_ns);
        return false;
    }
    chunk = mem_zalloc(sizeof(*chunk));
    if (!chunk) {
        give_back(live, range);
        live_out_of_memory(live);
        return false;
    }
    live_bind(live);
    chunk->owner = live;
    chunk->first = range.first;
    chunk->count = (uint32_t)range.count;
    chunk->time_limit_ms = job->spec->time_limit_ms;
    chunk->expected_ns = (uint64_t)(live->cost->item_ns * (double)range.count);
    if (job_todo(job))
        queue_rotate(live_queue(live), &job->place);
    else
        queue_remove(live_queue(live), &job->place);
    send_chunk(lane, live, worker, chunk);
    return true;
}

static void pump(struct lane *lane, const struct queue *queue, struct pool *pool)
{
    struct queue_place *place;

    while (!lane->dispatch->draining && lane->dispatch->disk != DISK_FULL &&
           (place = queue_front(queue)) && place->whole) {
        struct live *live = queue_job(place)->owner;
        double expected_ns = live->cost->item_ns * (double)chunk_want(lane, live);
        struct worker *worker = pool_free_slot(pool, (uint64_t)expected_ns);

        if (!worker)
            break;
        if (!hand_out(lane, live, worker))
            live_settle(live); /* it may have failed for lack of memory */
    }
}

void lane_pump(struct lane *lane)
{
    pump(lane, &lane->old.queue, lane->old.pool);
    pump(lane, &lane->queue, lane->pool);
    dispatch_store_started(lane->dispatch);
    lane_fill(lane);
}

void lane_offer(struct lane *lane, struct live *live)
{
    if (!live->job.place.queued && job_todo(&live->job) &&
        live->job.end == JOB_STATE_COUNT)
        queue_push(live_queue(live), &live->job.place);
    lane_pump(lane);
}

/* ---- chunks that come back --------------------------------------------------------- */

/* The chunk is over; returns its job. */
static struct live *chunk_end(struct lane *lane, struct chunk *chunk)
{
    struct live *live = chunk->owner;

    TAILQ_REMOVE(&live->chunks, chunk, link);
    lane->in_flight--;
    mem_free(chunk);
    return live;
}

/* Items came back without an outcome: the job is next again, unless it has been stopped.
 */
static void requeue(struct live *live)
{
    if (!live->job.place.queued && job_todo(&live->job) &&
        live->job.end == JOB_STATE_COUNT)
        queue_push_front(live_queue(live), &live->job.place);
}

/* All of the chunk, without blame. */
static void chunk_return(struct lane *lane, struct chunk *chunk)
{
    struct job_range range = { chunk->first, chunk->count };
    struct live *live = chunk_end(lane, chunk);

    give_back(live, range);
    requeue(live);
    live_settle(live);
}

static void check_drained(struct lane *lane)
{
    struct dispatch *dispatch = lane->dispatch;

    if (dispatch->draining && !dispatch_in_flight(dispatch))
        dispatch->events.on_drained(dispatch->data);
}

void lane_recall(struct lane *lane, struct live *live, bool kill)
{
    struct chunk *chunk, *next;

    for (chunk = TAILQ_FIRST(&live->chunks); chunk; chunk = next) {
        next = TAILQ_NEXT(chunk, link);
        if (pool_reclaim(live_pool(live), chunk)) {
            struct job_range range = { chunk->first, chunk->count };

            (void)chunk_end(lane, chunk);
            give_back(live, range);
        } else if (kill) {
            pool_cancel_chunk(live_pool(live), chunk,
                              lane->dispatch->options.cancel_grace_ms);
        }
    }
}

/* ---- outcomes ---------------------------------------------------------------------- */

/* An outcome on its way to the store. */
struct pending_outcome {
    struct live *live;
    uint64_t first;
};

void live_show_outcome(struct live *live, uint64_t first)
{
    struct outcome *outcome = job_outcome(&live->job, first);

    if (!outcome || outcome->shown)
        return;
    outcome->shown = true;
    if (!live_arrived(live, first))
        live_out_of_memory(live);
    if (!TAILQ_EMPTY(&live->waiters))
        waiter_wake_all(&live->waiters, WAKE_CHANGE, ST_OK);
    live_progressed(live);
}

static void on_outcome_stored(void *data, enum status st)
{
    struct pending_outcome *pending = data;
    struct live *live = pending->live;

    live->storing--;
    if (st == ST_OK) {
        live_show_outcome(live, pending->first);
        live_outcome_stored(live, pending->first);
    }
    live_settle(live);
    mem_free(pending);
    live_unpin(live);
}

/* Whether the job is over with this outcome, and it is no trouble to keep it until the end is
 * stored, in this turn. */
static bool is_all(const struct live *live, const struct outcome *outcome)
{
    const struct job *job = &live->job;

    return !job->spec->fed && !outcome->is_error && outcome->first == 0 &&
           outcome->count == job->spec->item_count &&
           outcome->text->len <= STORE_RESULT_MAX;
}

/* The outcome that starts with `first` is new. It is stored as it comes if the job's row
 * is in the store already; otherwise it follows with the row. */
static void publish(struct live *live, uint64_t first)
{
    struct dispatch *dispatch = live->dispatch;
    const struct outcome *outcome = job_outcome(&live->job, first);
    struct pending_outcome *pending;

    if (!live->in_store) {
        live_show_outcome(live, first);
        return;
    }
    if (is_all(live, outcome)) {
        live->result_waits = true;
        if (live->job.spec->durability != DURABILITY_DURABLE)
            live_show_outcome(live, first);
        return;
    }
    pending = mem_alloc(sizeof(*pending));
    if (!pending) { /* stored all the same, only streams learn of it later */
        store_put_outcome(dispatch->store, live->job.spec, outcome, NULL, NULL);
        return;
    }
    *pending = (struct pending_outcome){ live, first };
    live_pin(live);
    live->storing++;
    store_put_outcome(dispatch->store, live->job.spec, outcome, on_outcome_stored,
                      pending);
    if (live->job.spec->durability != DURABILITY_DURABLE)
        live_show_outcome(live, first);
}

static void learn_cost(struct live *live, uint64_t items, uint64_t run_ns)
{
    double item_ns = (double)run_ns / (double)items;
    double *average = &live->cost->item_ns;

    if (item_ns < 1)
        item_ns = 1;
    *average = *average > 0 ? *average + COST_WEIGHT * (item_ns - *average) : item_ns;
}

/* Notes what the worker has printed for these items. */
static void note_output(struct live *live, uint64_t item, uint64_t count,
                        const struct worker_trace *trace)
{
    const struct job_log_place place = { item, count,
                                         job_item_attempt(&live->job, item) };

    if (trace->output.len > 0 || trace->output_cut)
        job_log_add(&live->log, &place, trace, live->dispatch->options.max_log_bytes);
}

/* The job is ending: no more of its items are handed out. */
static void stop_items(struct lane *lane, struct live *live, bool kill)
{
    if (live->job.place.queued)
        queue_remove(live_queue(live), &live->job.place);
    lane_recall(lane, live, kill);
}

/* Whether the job has no room for this outcome: then it fails, if it has not been stopped
 * already, and the items are forgotten. */
static bool is_too_much(struct lane *lane, struct live *live, uint64_t count,
                        const struct blob *text)
{
    uint64_t max = lane->dispatch->options.max_job_result_bytes;
    struct job *job = &live->job;

    if (!max || job->outcome_bytes + job_outcome_bytes(count, text) <= max)
        return false;
    job->in_flight -= count;
    if (job->end == JOB_STATE_COUNT) {
        job_fail(job, failure_of_results(&job->spec->id, max));
        stop_items(lane, live, true);
    }
    return true;
}

void lane_add_results(struct lane *lane, struct live *live, uint64_t first,
                      uint64_t count, struct blob *text)
{
    if (text && is_too_much(lane, live, count, text)) {
        blob_unref(text);
    } else if (!text || job_add_results(&live->job, first, count, text) != ST_OK) {
        live->job.in_flight -= count;
        live_out_of_memory(live);
    } else {
        publish(live, first);
    }
    live_settle(live);
    check_drained(lane);
}

static void on_result(void *data, struct chunk *chunk, const struct frame_result *result,
                      const struct worker_trace *trace, bool last)
{
    struct lane *lane = data;
    struct live *live = chunk->owner;

    if (last)
        (void)chunk_end(lane, chunk);
    learn_cost(live, result->count, result->run_ns);
    note_output(live, result->first, result->count, trace);
    lane->items_total += result->count;
    lane->dispatch->counts.succeeded += result->count;
    lane_gather(lane, live, result);
}

static void on_read(void *data)
{
    lane_gathered(data);
}

/* The item is lost to the job: its error is its outcome. */
static void add_error(struct lane *lane, struct live *live, uint64_t item,
                      struct blob *problem)
{
    lane->items_total++;
    if (problem && is_too_much(lane, live, 1, problem)) {
        blob_unref(problem);
        return;
    }
    if (!problem || job_add_error(&live->job, item, problem) != ST_OK) {
        live->job.in_flight--;
        live_out_of_memory(live);
        return;
    }
    publish(live, item);
    if (live->job.end != JOB_STATE_COUNT) /* on_error: stop */
        stop_items(lane, live, false);
}

/* Takes the attempt. Without memory it is not known afterwards, which harms nobody else. */
static void note_attempt(struct live *live, struct blob *attempt)
{
    struct dispatch *dispatch = live->dispatch;

    struct attempt_log *log = &live->attempts;

    if (attempt && live->in_store)
        store_put_attempt(dispatch->store, live->job.spec, log->dropped + log->count + 1,
                          attempt, NULL, NULL);
    if (!attempt || !attempt_log_add(log, attempt))
        log_warn("no memory to note a failed attempt", "");
}

static struct failure_place place_of(const struct live *live, uint64_t item)
{
    return (struct failure_place){ live->job.spec->id, item,
                                   job_item_attempt(&live->job, item) };
}

static void on_failure(void *data, struct chunk *chunk,
                       const struct frame_failure *failure,
                       const struct worker_trace *trace, bool last)
{
    struct lane *lane = data;
    struct live *live = chunk->owner;
    struct dispatch *dispatch = lane->dispatch;
    enum job_verdict verdict = JOB_ITEM_FAILED;
    struct failure_place place = place_of(live, failure->item);

    lane_gathered(lane);
    if (last)
        (void)chunk_end(lane, chunk);
    learn_cost(live, 1, failure->run_ns);
    dispatch->counts.raised++;
    note_attempt(live, attempt_of_task(&place, failure, trace));
    note_output(live, failure->item, 1, trace);
    if (job_item_trouble(&live->job, failure->item, false, clock_mono_ns(),
                         dispatch_random(dispatch), &verdict) != ST_OK)
        verdict = JOB_ITEM_FAILED;
    if (verdict == JOB_ITEM_FAILED)
        add_error(lane, live, failure->item, failure_of_task(&place, failure));
    else
        requeue(live);
    live_settle(live);
    lane_pump(lane); /* another worker may be free for the item, or its timer be due */
    check_drained(lane);
}

/* News that may be missed: without memory it is. */
static void on_progress(void *data, struct chunk *chunk,
                        const struct frame_progress *progress)
{
    struct live *live = chunk->owner;
    struct blob *said = progress_json_said(progress);

    (void)data;
    if (!said)
        return;
    job_say(&live->job, said);
    waiter_wake_all(&live->waiters, WAKE_CHANGE, ST_OK);
    live_progressed(live);
}

/* Who is to blame for the end of the worker, and from which budget is it paid? */
static bool exit_is_blameless(enum exit_cause cause)
{
    return cause == EXIT_NORMAL || cause == EXIT_TERMINATED || cause == EXIT_FORKSERVER;
}

/* The task is to blame, and will run into it again: its budget is that of errors. */
static bool is_limit(enum exit_cause cause)
{
    return cause == EXIT_TIME_LIMIT || cause == EXIT_CPU_LIMIT ||
           cause == EXIT_MEMORY_LIMIT;
}

static void blame(struct lane *lane, struct live *live, uint64_t item,
                  const struct worker_exit *exit)
{
    struct failure_place place = place_of(live, item);
    enum job_verdict verdict = JOB_ITEM_FAILED;

    note_attempt(live, attempt_of_exit(&place, exit, live->job.spec->time_limit_ms));
    note_output(live, item, 1, &exit->trace);
    if (job_item_trouble(&live->job, item, !is_limit(exit->cause), clock_mono_ns(),
                         dispatch_random(lane->dispatch), &verdict) != ST_OK)
        verdict = JOB_ITEM_FAILED;
    if (verdict == JOB_ITEM_FAILED)
        add_error(lane, live, item,
                  failure_of_exit(&place, exit, live->job.spec->time_limit_ms));
}

static void on_lost(void *data, struct chunk *chunk, uint64_t guilty,
                    const struct worker_exit *exit)
{
    struct lane *lane = data;
    uint64_t first = chunk->first, end = chunk->first + chunk->count;
    struct live *live;

    live = chunk->owner;
    if (guilty != UINT64_MAX)
        lane->dispatch->counts.lost[exit->cause]++;
    if (guilty == UINT64_MAX && !exit_is_blameless(exit->cause) &&
        ++live->unbegun_losses > UNBEGUN_LOSSES_MAX)
        guilty = first;
    if (guilty == UINT64_MAX || exit_is_blameless(exit->cause)) {
        chunk_return(lane, chunk);
        lane_pump(lane);
        check_drained(lane);
        return;
    }
    live = chunk_end(lane, chunk);
    give_back(live, (struct job_range){ guilty + 1, end - guilty - 1 });
    give_back(live, (struct job_range){ first, guilty - first });
    blame(lane, live, guilty, exit);
    requeue(live);
    live_settle(live);
    lane_pump(lane);
    check_drained(lane);
}

static void on_returned(void *data, struct chunk *chunk)
{
    struct lane *lane = data;

    chunk_return(lane, chunk);
    lane_pump(lane);
    check_drained(lane);
}

static void on_capacity(void *data)
{
    lane_pump(data);
}

static void on_exit_of_worker(void *data, enum exit_cause cause)
{
    struct lane *lane = data;

    lane->dispatch->counts.worker_exits[cause]++;
}

static void on_broken(void *data, struct text exception)
{
    lane_break(data, exception);
}

const struct pool_events lane_pool_events = {
    .on_capacity = on_capacity,
    .on_result = on_result,
    .on_failure = on_failure,
    .on_progress = on_progress,
    .on_read = on_read,
    .on_lost = on_lost,
    .on_returned = on_returned,
    .on_exit = on_exit_of_worker,
    .on_broken = on_broken,
};
