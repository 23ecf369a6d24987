/* SPDX-License-Identifier: MIT */
/*
 * The queue and the jobs in it against a made-up pool: a random simulation on a virtual
 * clock that does what server/dispatch_lane.c does with them. After each event everything
 * that must always hold is checked.
 *
 * A failure names its seed. To run that one alone: POOLD_SEED=<seed> ./test_queue_sim
 */
#include "server/queue.h"

#include "common/clock.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct job_spec *spec_of(int priority, uint64_t items)
{
    struct job_spec from = {
        .method = JOB_MAP,
        .task = "square",
        .pool = "default",
        .priority = priority,
        .item_count = items,
    };
    struct job_spec *spec = job_spec_new(&from);

    assert_non_null(spec);
    return spec;
}

#define SIM_SEEDS   20000
#define SIM_JOBS    6
#define SIM_WORKERS 4
#define SIM_ITEMS   40
#define SIM_STEPS   20000 /* more than any run needs */

enum place { LEFT, AT_WORKER, DONE };

struct sim_job {
    struct job job;
    bool in_play; /* begun and not over */
    bool over, cancelled;
    uint64_t retry_at_ns; /* its timer; 0: not armed */
    enum place places[SIM_ITEMS];
    unsigned errors[SIM_ITEMS], crashes[SIM_ITEMS];
};

struct sim {
    uint64_t seed, random;
    uint64_t now_ns;
    struct queue queue;
    struct sim_job jobs[SIM_JOBS];
    unsigned job_count, worker_count, poison; /* of 100 items' runs go wrong */
    struct sim_worker {
        struct sim_job *job; /* NULL: idle */
        struct job_range range;
    } workers[SIM_WORKERS];
};

#define CHECK(sim, claim)                                                                \
    do {                                                                                 \
        if (!(claim))                                                                    \
            fail_msg("POOLD_SEED=%" PRIu64 ": %s", (sim)->seed, #claim);                 \
    } while (0)

/* xorshift64, from 0 to below - 1. */
static uint64_t roll(struct sim *sim, uint64_t below)
{
    sim->random ^= sim->random << 13;
    sim->random ^= sim->random >> 7;
    sim->random ^= sim->random << 17;
    return (sim->random >> 11) % below;
}

static void check_job(const struct sim *sim, const struct sim_job *sj)
{
    const struct job *job = &sj->job;
    uint64_t with_outcome = 0, at_workers = 0, next = 0;
    enum job_state state;

    for (size_t i = 0; i < job->outcome_count; i++) {
        const struct outcome *outcome = &job->outcomes[i];

        CHECK(sim, outcome->first >= next); /* ordered, and no item has two */
        CHECK(sim, !outcome->is_error || outcome->count == 1);
        next = outcome->first + outcome->count;
        CHECK(sim, next <= job->spec->item_count);
        for (uint64_t item = outcome->first; item < next; item++)
            CHECK(sim, sj->places[item] == DONE);
        with_outcome += outcome->count;
    }
    for (uint64_t i = 0; i < job->spec->item_count; i++)
        at_workers += sj->places[i] == AT_WORKER;
    CHECK(sim, job->in_flight == at_workers);
    CHECK(sim, job->in_flight + job_todo(job) + with_outcome == job->spec->item_count);
    CHECK(sim, job->status.completed + job->status.failed == with_outcome);
    CHECK(sim, !sj->in_play || !job_is_over(job, &state));
    CHECK(sim, !job->place.queued || (sj->in_play && job->end == JOB_STATE_COUNT));
    /* Whatever is left to do is looked after: by the queue, a worker or a timer. */
    CHECK(sim, !sj->in_play || job->place.queued || job->in_flight || sj->retry_at_ns);
}

static void check_all(const struct sim *sim)
{
    size_t queued = 0;
    int largest = JOB_PRIORITY_MIN - 1;
    const struct queue_place *front = queue_front(&sim->queue);

    for (unsigned i = 0; i < sim->job_count; i++) {
        const struct job *job = &sim->jobs[i].job;

        check_job(sim, &sim->jobs[i]);
        queued += job->place.queued;
        if (job->place.queued && job->spec->priority > largest)
            largest = job->spec->priority;
    }
    CHECK(sim, queued == sim->queue.count);
    CHECK(sim, !front == !queued);
    CHECK(sim, !front || front->priority == largest);
}

static void check_end(const struct sim *sim, const struct sim_job *sj,
                      enum job_state state)
{
    const struct job *job = &sj->job;
    const struct job_spec *spec = job->spec;
    bool failed = job->status.failed && !spec->return_exceptions;
    struct job_status end = job_end_status(job, state, 1);

    CHECK(sim, state == JOB_CANCELLED || (state == JOB_FAILED) == failed);
    CHECK(sim, (state == JOB_CANCELLED) <= sj->cancelled);
    CHECK(sim, state != JOB_SUCCEEDED ||
                   job->status.completed + job->status.failed == spec->item_count);
    CHECK(sim, spec->stop_on_error || sj->cancelled || job_todo(job) == 0);
    CHECK(sim, (end.error != NULL) == (state == JOB_FAILED));
    job_status_clear(&end);
    for (uint64_t i = 0; i < spec->item_count; i++) {
        CHECK(sim, sj->errors[i] <= spec->retries + 1);
        CHECK(sim, sj->crashes[i] <= spec->crash_retries + 1);
    }
}

/* What live_settle does. */
static void settle(struct sim *sim, struct sim_job *sj)
{
    enum job_state state;

    if (!sj->in_play || !job_is_over(&sj->job, &state))
        return;
    check_end(sim, sj, state);
    job_set_state(&sj->job, state, 1);
    if (sj->job.place.queued)
        queue_remove(&sim->queue, &sj->job.place);
    sj->in_play = false;
    sj->over = true;
}

static void offer(struct sim *sim, struct sim_job *sj, bool in_front)
{
    struct job *job = &sj->job;

    if (job->place.queued || !job_todo(job) || job->end != JOB_STATE_COUNT)
        return;
    sj->retry_at_ns = 0;
    if (in_front)
        queue_push_front(&sim->queue, &job->place);
    else
        queue_push(&sim->queue, &job->place);
}

static void set_places(struct sim *sim, struct sim_job *sj, struct job_range range,
                       enum place from, enum place to)
{
    for (uint64_t i = range.first; i < range.first + range.count; i++) {
        CHECK(sim, sj->places[i] == from);
        sj->places[i] = to;
    }
}

/* What hand_out does. */
static void hand_out(struct sim *sim, struct sim_worker *worker)
{
    struct job *job = queue_job(queue_front(&sim->queue));
    struct sim_job *sj = job->owner;
    struct job_range range;
    uint64_t retry_at_ns;

    if (!job_take(job, 1 + roll(sim, job->spec->chunksize), sim->now_ns, &range,
                  &retry_at_ns)) {
        CHECK(sim, retry_at_ns > sim->now_ns);
        queue_remove(&sim->queue, &job->place);
        sj->retry_at_ns = retry_at_ns;
        return;
    }
    CHECK(sim, range.count >= 1 && range.count <= job->spec->chunksize);
    set_places(sim, sj, range, LEFT, AT_WORKER);
    if (job_todo(job))
        queue_rotate(&sim->queue, &job->place);
    else
        queue_remove(&sim->queue, &job->place);
    if (job->status.state == JOB_QUEUED)
        job_set_state(job, JOB_RUNNING, 1);
    *worker = (struct sim_worker){ sj, range };
}

static void pump(struct sim *sim)
{
    for (unsigned i = 0; i < sim->worker_count; i++)
        while (!sim->workers[i].job && queue_front(&sim->queue))
            hand_out(sim, &sim->workers[i]);
}

/* The next `count` items of the worker's chunk leave it. */
static struct job_range take_off(struct sim_worker *worker, uint64_t count)
{
    struct job_range range = { worker->range.first, count };

    worker->range.first += count;
    worker->range.count -= count;
    if (!worker->range.count)
        worker->job = NULL;
    return range;
}

static struct blob *text(const char *string)
{
    struct blob *blob = blob_new(string, strlen(string));

    assert_non_null(blob);
    return blob;
}

static void give_results(struct sim *sim, struct sim_worker *worker)
{
    struct sim_job *sj = worker->job;
    struct job_range range = take_off(worker, 1 + roll(sim, worker->range.count));

    set_places(sim, sj, range, AT_WORKER, DONE);
    CHECK(sim, job_add_results(&sj->job, range.first, range.count, text("1")) == ST_OK);
}

static void give_trouble(struct sim *sim, struct sim_job *sj, uint64_t item,
                         bool is_crash)
{
    struct job *job = &sj->job;
    double random = (double)roll(sim, 1000) / 1000;
    uint32_t attempt = job_item_attempt(job, item);
    enum job_verdict verdict;

    CHECK(sim, attempt == 1 + sj->errors[item] + sj->crashes[item]);
    sj->errors[item] += !is_crash;
    sj->crashes[item] += is_crash;
    CHECK(sim,
          job_item_trouble(job, item, is_crash, sim->now_ns, random, &verdict) == ST_OK);
    set_places(sim, sj, (struct job_range){ item, 1 }, AT_WORKER,
               verdict == JOB_ITEM_FAILED ? DONE : LEFT);
    if (verdict == JOB_ITEM_RETRIES)
        return;
    CHECK(sim, job_add_error(job, item, text("{}")) == ST_OK);
    if (job->end != JOB_STATE_COUNT && job->place.queued)
        queue_remove(&sim->queue, &job->place);
}

static void give_back(struct sim *sim, struct sim_job *sj, struct job_range range)
{
    set_places(sim, sj, range, AT_WORKER, LEFT);
    CHECK(sim, job_return(&sj->job, range) == ST_OK);
}

/* The worker dies: one item is guilty, the others come back. */
static void crash(struct sim *sim, struct sim_worker *worker)
{
    struct sim_job *sj = worker->job;
    struct job_range range = take_off(worker, worker->range.count);
    uint64_t guilty = range.first + roll(sim, range.count);
    uint64_t end = range.first + range.count;

    give_back(sim, sj, (struct job_range){ guilty + 1, end - guilty - 1 });
    give_back(sim, sj, (struct job_range){ range.first, guilty - range.first });
    give_trouble(sim, sj, guilty, true);
}

static void worker_event(struct sim *sim, struct sim_worker *worker)
{
    struct sim_job *sj = worker->job;

    if (roll(sim, 100) >= sim->poison)
        give_results(sim, worker);
    else if (roll(sim, 2))
        give_trouble(sim, sj, take_off(worker, 1).first, false);
    else if (roll(sim, 2))
        crash(sim, worker);
    else
        give_back(sim, sj, take_off(worker, worker->range.count));
    offer(sim, sj, true);
    settle(sim, sj);
}

static void cancel(struct sim *sim, struct sim_job *sj)
{
    if (!sj->in_play)
        return;
    sj->cancelled = true;
    job_stop(&sj->job, JOB_CANCELLED);
    if (sj->job.place.queued)
        queue_remove(&sim->queue, &sj->job.place);
    for (unsigned i = 0; i < sim->worker_count; i++)
        if (sim->workers[i].job == sj && roll(sim, 2))
            give_back(sim, sj, take_off(&sim->workers[i], sim->workers[i].range.count));
    settle(sim, sj);
}

/* All timers that are due. */
static void tick(struct sim *sim, uint64_t by_ns)
{
    sim->now_ns += by_ns;
    for (unsigned i = 0; i < sim->job_count; i++) {
        struct sim_job *sj = &sim->jobs[i];

        if (sj->in_play && sj->retry_at_ns && sj->retry_at_ns <= sim->now_ns) {
            sj->retry_at_ns = 0;
            offer(sim, sj, false);
        }
    }
}

static void step(struct sim *sim)
{
    uint64_t what = roll(sim, 100);
    struct sim_worker *worker = &sim->workers[roll(sim, sim->worker_count)];

    if (what < 1)
        cancel(sim, &sim->jobs[roll(sim, sim->job_count)]);
    else if (what < 10)
        tick(sim, roll(sim, 3 * NS_PER_SEC));
    else if (worker->job)
        worker_event(sim, worker);
    check_all(sim);
    pump(sim);
    check_all(sim);
}

static void sim_start(struct sim *sim, uint64_t seed)
{
    memset(sim, 0, sizeof(*sim));
    sim->seed = seed;
    sim->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    sim->now_ns = NS_PER_SEC;
    sim->job_count = 1 + (unsigned)roll(sim, SIM_JOBS);
    sim->worker_count = 1 + (unsigned)roll(sim, SIM_WORKERS);
    sim->poison = (unsigned)roll(sim, 60);
    queue_init(&sim->queue);
    for (unsigned i = 0; i < sim->job_count; i++) {
        struct sim_job *sj = &sim->jobs[i];
        struct job_spec *spec =
            spec_of((int)roll(sim, 3) - 1, roll(sim, 5) ? roll(sim, SIM_ITEMS) : 1);

        spec->chunksize = 1 + roll(sim, 8);
        spec->retries = (uint32_t)roll(sim, 3);
        spec->crash_retries = (uint32_t)roll(sim, 3);
        spec->backoff = (struct job_backoff){ (int64_t)roll(sim, 2000), 3000, 2, true };
        spec->return_exceptions = roll(sim, 4) == 0;
        spec->stop_on_error = roll(sim, 4) == 0;
        job_init(&sj->job, spec, 0);
        sj->job.owner = sj;
        sj->in_play = true;
        offer(sim, sj, false);
        settle(sim, sj);
    }
}

static unsigned sim_run(struct sim *sim, uint64_t seed)
{
    unsigned steps = 0, over;

    sim_start(sim, seed);
    pump(sim);
    do {
        CHECK(sim, steps < SIM_STEPS); /* or else it never ends */
        step(sim);
        steps++;
        over = 0;
        for (unsigned i = 0; i < sim->job_count; i++)
            over += sim->jobs[i].over;
    } while (over < sim->job_count);
    CHECK(sim, sim->queue.count == 0);
    for (unsigned i = 0; i < sim->worker_count; i++)
        CHECK(sim, !sim->workers[i].job);
    for (unsigned i = 0; i < sim->job_count; i++)
        job_clear(&sim->jobs[i].job);
    return steps;
}

static void whatever_happens_every_job_ends_as_it_has_to(void **state)
{
    const char *only = getenv("POOLD_SEED");
    static struct sim sim;

    (void)state;
    if (only) {
        (void)sim_run(&sim, strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 0; seed < SIM_SEEDS; seed++)
        (void)sim_run(&sim, seed);
}

static void same_seed_gives_the_same_run(void **state)
{
    static struct sim a, b;

    (void)state;
    assert_int_equal(sim_run(&a, 7), sim_run(&b, 7));
    assert_int_equal(a.random, b.random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_gives_the_same_run),
        cmocka_unit_test(whatever_happens_every_job_ends_as_it_has_to),
    };

    return cmocka_run_group_tests_name("queue_sim", tests, NULL, NULL);
}
