/* SPDX-License-Identifier: MIT */
#include "tests/fault/workload.h"

#include "tests/fault/sim_log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const op_names[OP_COUNT] = {
    [OP_PUT_JOB] = "put_job",
    [OP_PUT_JOBS] = "put_jobs",
    [OP_PUT_OUTCOME] = "put_outcome",
    [OP_PUT_ATTEMPT] = "put_attempt",
    [OP_PUT_STATUS] = "put_status",
    [OP_PUT_EVENT] = "put_event",
    [OP_PUT_LOG] = "put_log",
    [OP_PUT_FINISHED] = "put_finished",
    [OP_PUT_DELIVERY] = "put_delivery",
    [OP_DELETE_JOB] = "delete_job",
    [OP_PUT_POOL] = "put_pool",
    [OP_DELETE_POOL] = "delete_pool",
    [OP_PURGE] = "purge",
    [OP_IDLE] = "idle",
    [OP_REOPEN] = "reopen",
};

#define NOW_MS    1700000000000
#define TTL_MS    1000
#define MAX_JOBS  WORKLOAD_MAX
#define LARGE_LEN ((8u << 20) + 500000)

struct maker {
    struct workload *workload;
    uint64_t random;
    struct uuid_generator ids;
    uint64_t event_id;
    /* What was made so far, to go on with. */
    struct job_spec *jobs[MAX_JOBS];
    size_t job_count;
};

/* ---- parts ------------------------------------------------------------------------ */

/* Rises; its random part is the same for the same workload. */
static struct uuid next_id(struct maker *maker)
{
    struct uuid id = uuid_next(&maker->ids, NOW_MS);

    for (int i = 9; i < 16; i++)
        id.bytes[i] = (uint8_t)sim_random(&maker->random);
    id.bytes[8] = 0x80;
    return id;
}

struct plan {
    enum durability durability;
    enum job_method method;
    uint64_t items;
    size_t padding; /* bytes of kwargs */
    const char *key, *callback;
};

static char *input_of(const struct plan *plan, size_t *ret_input_len)
{
    char *text = malloc(64 + 8 * plan->items + plan->padding);
    size_t len = 0;

    assert(text);
    text[len++] = '[';
    for (uint64_t i = 0; i < plan->items; i++)
        len += (size_t)sprintf(text + len, "%s%u", i ? "," : "", (unsigned)i);
    text[len++] = ']';
    *ret_input_len = len;
    if (plan->padding) {
        len += (size_t)sprintf(text + len, "{\"k\":\"");
        memset(text + len, 'x', plan->padding);
        len += plan->padding;
        (void)strcpy(text + len, "\"}");
    } else {
        text[len] = '\0';
    }
    return text;
}

static struct job_spec *job_make(struct maker *maker, struct plan plan)
{
    struct job_spec spec = { .id = next_id(maker),
                             .method = plan.method,
                             .durability = plan.durability,
                             .task = "square",
                             .pool = "default",
                             .item_count = plan.items,
                             .created_at_ms = NOW_MS,
                             .result_ttl_ms = TTL_MS,
                             .tags = "[\"a\"]",
                             .idempotency_key = plan.key,
                             .request_hash = plan.key ? 7 : 0,
                             .callback = plan.callback,
                             .error_callback = plan.callback };
    size_t input_len;
    char *text = input_of(&plan, &input_len);
    struct job_spec *made;

    spec.body = blob_new(text, strlen(text));
    free(text);
    assert(spec.body);
    spec.input = (struct text){ spec.body->data, input_len };
    spec.kwargs =
        (struct text){ spec.body->data + input_len, spec.body->len - input_len };
    made = job_spec_new(&spec);
    blob_unref(spec.body);
    assert(made && maker->job_count < MAX_JOBS);
    return maker->jobs[maker->job_count++] = made;
}

static struct blob *blob_of(const char *text)
{
    struct blob *blob = blob_new(text, strlen(text));

    assert(blob);
    return blob;
}

static struct job_status status_of(const struct job_spec *spec, enum job_state state)
{
    struct job_status status = { .state = state };

    if (state >= JOB_RUNNING)
        status.started_at_ms = NOW_MS + 100;
    if (job_state_final(state)) {
        status.finished_at_ms = NOW_MS + 200 + spec->id.bytes[7];
        status.bytes = spec->input.len + spec->kwargs.len + 9;
        status.attempt = 1;
    }
    if (state == JOB_SUCCEEDED)
        status.completed = spec->item_count;
    if (state == JOB_FAILED) {
        status.failed = 1;
        status.error = blob_of("{\"type\":\"/problems/task-error\"}");
    }
    return status;
}

/* ---- steps ------------------------------------------------------------------------ */

static struct step *step_add(struct maker *maker, enum op op)
{
    struct workload *workload = maker->workload;
    struct step *step = &workload->steps[workload->count++];

    assert(workload->count <= WORKLOAD_MAX);
    step->op = op;
    step->durable = workload_answers(op) && op != OP_PURGE;
    return step;
}

/* About these jobs, which then have this state; with an event for every other one. */
static struct step *step_of(struct maker *maker, enum op op, enum job_state state,
                            struct job_spec *const specs[], size_t count)
{
    struct step *step = step_add(maker, op);

    for (size_t i = 0; i < count; i++) {
        step->specs[i] = job_spec_ref(specs[i]);
        step->statuses[i] = status_of(specs[i], state);
        if (specs[i]->durability != DURABILITY_DURABLE)
            step->durable = false;
        if (++maker->event_id % 2)
            step->events[i] = (struct event){ .id = maker->event_id,
                                              .kind = EVENT_CREATED,
                                              .job = specs[i]->id,
                                              .state = state };
    }
    step->count = count;
    return step;
}

static struct step *put(struct maker *maker, struct job_spec *spec, enum job_state state)
{
    return step_of(maker, OP_PUT_JOB, state, &spec, 1);
}

static struct step *change(struct maker *maker, struct job_spec *spec,
                           enum job_state state)
{
    return step_of(maker, OP_PUT_STATUS, state, &spec, 1);
}

static void add_outcome(struct step *step, uint64_t first, uint64_t count, bool is_error)
{
    step->outcomes[step->number++] =
        (struct outcome){ .first = first,
                          .count = count,
                          .is_error = is_error,
                          .text = blob_of(is_error ? "{\"type\":\"x\"}" : "1,4,9") };
}

static struct step *outcome(struct maker *maker, struct job_spec *spec, uint64_t first,
                            bool is_error)
{
    struct step *step = step_of(maker, OP_PUT_OUTCOME, JOB_RUNNING, &spec, 1);

    add_outcome(step, first, is_error ? 1 : 3, is_error);
    return step;
}

static struct step *attempt(struct maker *maker, struct job_spec *spec, uint64_t number)
{
    struct step *step = step_of(maker, OP_PUT_ATTEMPT, JOB_RUNNING, &spec, 1);

    step->number = number;
    step->attempt = blob_of("{\"item\":1,\"exception\":\"ValueError\"}");
    return step;
}

static struct step *put_log(struct maker *maker, struct job_spec *spec)
{
    struct step *step = step_of(maker, OP_PUT_LOG, JOB_RUNNING, &spec, 1);

    step->durable = false; /* nobody is told */
    step->log = blob_of("{\"log\":[],\"dropped\":7}");
    return step;
}

static struct step *finished(struct maker *maker, struct job_spec *spec)
{
    struct step *step = step_of(maker, OP_PUT_FINISHED, JOB_SUCCEEDED, &spec, 1);
    bool added;

    for (unsigned i = 0; i < STEP_OUTCOMES; i++)
        add_outcome(step, 3 * i, 3, false);
    step->log = blob_of("{\"log\":[],\"dropped\":8}");
    added = attempt_log_add(&step->attempts, blob_of("{\"item\":2}"));
    assert(added);
    return step;
}

static struct step *delivery(struct maker *maker, struct job_spec *spec, unsigned number,
                             enum delivery_state state)
{
    struct step *step = step_add(maker, OP_PUT_DELIVERY);
    struct delivery like = { .job = spec->id,
                             .number = number,
                             .state = state,
                             .tries = 1,
                             .created_at_ms = NOW_MS,
                             .due_at_ms = NOW_MS + 5000,
                             .url = (char *)(uintptr_t) "https://example.org/",
                             .body = (char *)(uintptr_t) "{}",
                             .attempts = (char *)(uintptr_t) "[{\"status\":200}]" };
    enum status st = delivery_copy(&like, &step->delivery);

    assert(st == ST_OK);
    return step;
}

static struct step *delete_job(struct maker *maker, struct job_spec *spec)
{
    struct step *step = step_add(maker, OP_DELETE_JOB);

    step->specs[0] = job_spec_ref(spec);
    step->count = 1;
    return step;
}

static struct step *pool(struct maker *maker, enum op op, const char *name,
                         unsigned processes, enum pool_state state)
{
    struct step *step = step_add(maker, op);

    step->pool = pool_spec_new(
        &(struct pool_spec){ .name = name, .processes = processes, .initargs = "[1]" });
    step->pool_state = state;
    assert(step->pool);
    return step;
}

static struct step *purge(struct maker *maker, int64_t now_ms, uint64_t max_jobs)
{
    struct step *step = step_add(maker, OP_PURGE);

    step->limits = (struct store_limits){ .now_ms = now_ms,
                                          .job_ttl_ms = 100 * TTL_MS,
                                          .max_jobs = max_jobs };
    return step;
}

static struct step *joins(struct step *step)
{
    step->joins = true;
    return step;
}

/* ---- the tour --------------------------------------------------------------------- */

static const struct plan durable_map = { .method = JOB_MAP, .items = 9 };
static const struct plan relaxed_apply = { .durability = DURABILITY_RELAXED,
                                           .method = JOB_APPLY,
                                           .items = 1 };

static void tour_of_one_job(struct maker *maker)
{
    struct plan plan = durable_map;
    struct job_spec *job;

    plan.callback = "https://example.org/";
    job = job_make(maker, plan);
    put(maker, job, JOB_QUEUED);
    change(maker, job, JOB_RUNNING);
    joins(step_of(maker, OP_PUT_EVENT, JOB_RUNNING, &job, 1))->events[0] =
        (struct event){ .id = ++maker->event_id, .kind = EVENT_STARTED, .job = job->id };
    joins(outcome(maker, job, 0, false));
    joins(put_log(maker, job));
    joins(attempt(maker, job, 1));
    outcome(maker, job, 3, true);
    joins(outcome(maker, job, 3, false)); /* the first one stays */
    change(maker, job, JOB_FAILED);       /* and a delivery */
    delivery(maker, job, 1, DELIVERY_DELIVERED);
    joins(delivery(maker, job, 9, DELIVERY_GIVEN_UP)); /* there is none */
    change(maker, job, JOB_QUEUED);                    /* a retry */
    step_add(maker, OP_IDLE);
    outcome(maker, job, 3, false);
    joins(change(maker, job, JOB_SUCCEEDED));
}

static void tour_of_keys(struct maker *maker)
{
    struct plan plan = relaxed_apply;
    struct job_spec *first, *second, *third;

    plan.key = "order-1";
    first = job_make(maker, plan);
    plan.durability = DURABILITY_DURABLE;
    second = job_make(maker, plan);
    third = job_make(maker, plan);
    put(maker, first, JOB_QUEUED);
    put(maker, second, JOB_QUEUED);     /* exists */
    finished(maker, third);             /* exists, too */
    change(maker, second, JOB_RUNNING); /* is not there */
    change(maker, first, JOB_SUCCEEDED);
    purge(maker, NOW_MS + 2 * TTL_MS, UINT64_MAX); /* strips both */
    finished(maker, job_make(maker, relaxed_apply));
    put(maker, job_make(maker, durable_map), JOB_SCHEDULED);
    joins(purge(maker, NOW_MS + 200 * TTL_MS, 1)); /* deletes */
}

static void tour_of_batches(struct maker *maker)
{
    struct plan large = durable_map;
    struct job_spec *jobs[STEP_JOBS];

    large.padding = 20000;
    jobs[0] = job_make(maker, durable_map);
    jobs[1] = job_make(maker, large);
    jobs[2] = job_make(maker, durable_map);
    step_of(maker, OP_PUT_JOBS, JOB_QUEUED, jobs, STEP_JOBS);
    change(maker, jobs[0], JOB_CANCELLED);
    joins(change(maker, jobs[1], JOB_EXPIRED));
    joins(delete_job(maker, jobs[2]));
    joins(outcome(maker, jobs[2], 0, false)); /* is not there */
    delete_job(maker, jobs[2]);               /* is not there */
}

static void tour_of_relaxed_jobs(struct maker *maker)
{
    struct job_spec *jobs[STEP_JOBS];

    for (int i = 0; i < STEP_JOBS; i++)
        jobs[i] = job_make(maker, relaxed_apply);
    step_of(maker, OP_PUT_JOBS, JOB_QUEUED, jobs, STEP_JOBS);
    finished(maker, job_make(maker, relaxed_apply));
    finished(maker, job_make(maker, durable_map));
    change(maker, jobs[0], JOB_SUCCEEDED);
    delete_job(maker, jobs[1]);
    joins(change(maker, jobs[2], JOB_RUNNING));
}

static void tour_of_pools(struct maker *maker)
{
    pool(maker, OP_PUT_POOL, "z", 2, POOL_RUNNING);
    joins(pool(maker, OP_PUT_POOL, "a", 1, POOL_RUNNING));
    pool(maker, OP_PUT_POOL, "z", 5, POOL_CLOSED);
    joins(pool(maker, OP_DELETE_POOL, "a", 1, POOL_TERMINATED));
    pool(maker, OP_DELETE_POOL, "a", 1, POOL_TERMINATED);
}

static void tour(struct maker *maker)
{
    tour_of_one_job(maker);
    tour_of_keys(maker);
    step_add(maker, OP_REOPEN);
    tour_of_batches(maker);
    tour_of_relaxed_jobs(maker);
    tour_of_pools(maker);
    step_add(maker, OP_IDLE);
}

/* ---- random steps ----------------------------------------------------------------- */

static unsigned below(struct maker *maker, unsigned limit)
{
    return (unsigned)(sim_random(&maker->random) % limit);
}

static struct job_spec *any_job(struct maker *maker)
{
    return maker->jobs[below(maker, (unsigned)maker->job_count)];
}

static struct step *random_command(struct maker *maker)
{
    static const enum job_state states[] = { JOB_QUEUED, JOB_RUNNING, JOB_SUCCEEDED,
                                             JOB_FAILED, JOB_CANCELLED };
    struct plan plan = below(maker, 2) ? durable_map : relaxed_apply;
    struct job_spec *jobs[STEP_JOBS];

    plan.padding = below(maker, 3) ? 0 : below(maker, 9000);
    switch (below(maker, 12)) {
    case 0:
    case 1:
        return put(maker, job_make(maker, plan), JOB_QUEUED);
    case 2:
        for (int i = 0; i < STEP_JOBS; i++)
            jobs[i] = job_make(maker, plan);
        return step_of(maker, OP_PUT_JOBS, JOB_QUEUED, jobs, STEP_JOBS);
    case 3:
    case 4:
        return outcome(maker, any_job(maker), 3 * below(maker, 3), below(maker, 2));
    case 5:
        return attempt(maker, any_job(maker), below(maker, 4));
    case 6:
    case 7:
        return change(maker, any_job(maker), states[below(maker, 5)]);
    case 8:
        return finished(maker, job_make(maker, plan));
    case 9:
        return delete_job(maker, any_job(maker));
    case 10:
        return delivery(maker, any_job(maker), 1, DELIVERY_GIVEN_UP);
    default:
        return purge(maker, NOW_MS + below(maker, 3) * 2 * TTL_MS, 5 + below(maker, 50));
    }
}

static void random_step(struct maker *maker)
{
    enum op before = maker->workload->steps[maker->workload->count - 1].op;
    unsigned dice = below(maker, 20);

    if (dice == 0 && before < OP_IDLE) {
        change(maker, job_make(maker, durable_map), JOB_RUNNING);
        put(maker, job_make(maker, durable_map), JOB_QUEUED);
        step_add(maker, OP_IDLE);
    } else if (dice == 1 && before < OP_IDLE) {
        step_add(maker, OP_REOPEN);
    } else {
        struct step *step = random_command(maker);

        step->joins = before < OP_IDLE && dice % 2;
    }
}

/* ---- life cycle ------------------------------------------------------------------- */

static struct maker maker_of(uint64_t seed)
{
    struct maker maker = { .random = seed };

    maker.workload = calloc(1, sizeof(*maker.workload));
    assert(maker.workload);
    return maker;
}

static struct workload *made(struct maker *maker)
{
    for (size_t i = 0; i < maker->job_count; i++)
        job_spec_unref(maker->jobs[i]);
    return maker->workload;
}

struct workload *workload_new(uint64_t seed, size_t random_steps)
{
    struct maker maker = maker_of(seed);
    size_t tour_len;

    tour(&maker);
    tour_len = maker.workload->count;
    while (maker.workload->count < tour_len + random_steps)
        random_step(&maker);
    return made(&maker);
}

struct workload *workload_new_large(void)
{
    struct maker maker = maker_of(0);
    struct plan large = durable_map;
    struct job_spec *job;

    large.padding = LARGE_LEN;
    job = job_make(&maker, large);
    put(&maker, job_make(&maker, durable_map), JOB_QUEUED);
    put(&maker, job, JOB_QUEUED); /* a checkpoint: the next commits begin the WAL anew */
    outcome(&maker, job, 0, false);
    joins(outcome(&maker, job, 3, false));
    put(&maker, job_make(&maker, relaxed_apply), JOB_QUEUED);
    delete_job(&maker, job);
    put(&maker, job_make(&maker, durable_map), JOB_QUEUED);
    step_add(&maker, OP_IDLE); /* and the file shrinks */
    put(&maker, job_make(&maker, durable_map), JOB_QUEUED);
    return made(&maker);
}

static void step_clear(struct step *step)
{
    for (size_t i = 0; i < STEP_JOBS; i++) {
        job_spec_unref(step->specs[i]);
        job_status_clear(&step->statuses[i]);
    }
    for (size_t i = 0; i < STEP_OUTCOMES; i++)
        blob_unref(step->outcomes[i].text);
    blob_unref(step->attempt);
    blob_unref(step->log);
    attempt_log_clear(&step->attempts);
    delivery_clear(&step->delivery);
    pool_spec_unref(step->pool);
}

void workload_free(struct workload *workload)
{
    /* A test may have taken steps from the end. */
    for (size_t i = 0; workload && i < WORKLOAD_MAX; i++)
        step_clear(&workload->steps[i]);
    free(workload);
}

/* ---- giving ----------------------------------------------------------------------- */

static void on_done(void *data, enum status st)
{
    struct answer *answer = data;

    answer->called++;
    answer->st = st;
    answer->on_answer(answer);
}

static void on_put(void *data, enum status st, const struct store_existing *existing)
{
    assert((st == ST_EXISTS) == (existing != NULL));
    on_done(data, st);
}

static void on_purged(void *data, enum status st, const struct store_purged *purged)
{
    assert(st == ST_OK || (!purged->by_age && !purged->by_size && !purged->more));
    on_done(data, st);
}

void workload_give(struct store *store, const struct step *step, struct answer *answer)
{
    struct job_spec *spec = step->specs[0];
    const struct event *events = step->events;
    const struct event *event = events->id ? events : NULL;

    switch (step->op) {
    case OP_PUT_JOB:
        store_put_job(store, spec, &step->statuses[0], event, on_put, answer);
        break;
    case OP_PUT_JOBS:
        store_put_jobs(store, step->specs, step->statuses, events, step->count, on_done,
                       answer);
        break;
    case OP_PUT_OUTCOME:
        store_put_outcome(store, spec, &step->outcomes[0], on_done, answer);
        break;
    case OP_PUT_ATTEMPT:
        store_put_attempt(store, spec, step->number, step->attempt, on_done, answer);
        break;
    case OP_PUT_STATUS:
        store_put_status(store, spec, &step->statuses[0], event, on_done, answer);
        break;
    case OP_PUT_EVENT:
        store_put_events(store, event, 1);
        break;
    case OP_PUT_LOG:
        store_put_log(store, spec, step->log);
        break;
    case OP_PUT_FINISHED:
        store_put_finished(store, spec, &step->statuses[0], step->outcomes, step->number,
                           &step->attempts, step->log, on_done, answer);
        break;
    case OP_PUT_DELIVERY:
        store_put_delivery(store, &step->delivery, on_done, answer);
        break;
    case OP_DELETE_JOB:
        store_delete_job(store, spec->id, on_done, answer);
        break;
    case OP_PUT_POOL:
        store_put_pool(store, step->pool, step->pool_state, on_done, answer);
        break;
    case OP_DELETE_POOL:
        store_delete_pool(store, step->pool, on_done, answer);
        break;
    case OP_PURGE:
        store_purge(store, &step->limits, on_purged, answer);
        break;
    default:
        assert(!"a command");
    }
}

bool workload_answers(enum op op)
{
    return op < OP_IDLE && op != OP_PUT_EVENT && op != OP_PUT_LOG;
}

bool workload_may(enum op op, enum status st)
{
    bool is_new = op == OP_PUT_JOB || op == OP_PUT_JOBS;

    switch (st) {
    case ST_OK:
    case ST_UNKNOWN:
        return true;
    case ST_EXISTS:
        return op == OP_PUT_JOB || op == OP_PUT_FINISHED;
    case ST_NOT_FOUND:
        return !is_new && op != OP_PUT_FINISHED && op != OP_PUT_POOL && op != OP_PURGE;
    case ST_STORAGE_FULL:
    case ST_BUSY:
        return is_new;
    case ST_NO_MEMORY: /* of put_finished: the outcomes cannot be copied */
        return is_new || op == OP_PUT_FINISHED;
    default:
        return false;
    }
}
