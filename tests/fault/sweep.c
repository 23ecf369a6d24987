/* SPDX-License-Identifier: MIT */
#include "tests/fault/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const phase_names[PHASE_COUNT] = {
    [PHASE_OPEN] = "open",
    [PHASE_RUN] = "run",
    [PHASE_CLOSE] = "close",
};

/* ---- references -------------------------------------------------------------------- */

/* Most runs leave out the same steps. */
static struct {
    const struct sweep *sweep;
    struct {
        bool without[WORKLOAD_MAX];
        struct reference *reference;
    } of[200];
    size_t count;
} known;

static void known_clear(const struct sweep *sweep)
{
    while (known.count)
        free(known.of[--known.count].reference);
    known.sweep = sweep;
}

static const struct reference *reference_of(const bool without[])
{
    size_t i = 0;

    while (i < known.count &&
           memcmp(known.of[i].without, without, sizeof(known.of[i].without)) != 0)
        i++;
    if (i == known.count) {
        assert_true(i < sizeof(known.of) / sizeof(known.of[0]));
        memcpy(known.of[i].without, without, sizeof(known.of[i].without));
        known.of[i].reference =
            reference_new(known.sweep->workload, known.sweep->before, without);
        known.count++;
    }
    return known.of[i].reference;
}

/* ---- one run ----------------------------------------------------------------------- */

struct run {
    const struct sweep *sweep;
    const struct fault *fault;
    unsigned n;
    bool sticky;
    struct rig rig;
    enum status opened;
    size_t given; /* the steps before this one */
};

static void fail_run(const struct run *run, const char *what, const char *detail)
{
    fail_msg("%s, %s, call %u%s: %s%s", run->fault->name, phase_names[run->sweep->phase],
             run->n, run->sticky ? " and all after it" : "", what, detail);
}

static void go(struct run *run)
{
    const struct sweep *sweep = run->sweep;
    struct rig *rig = &run->rig;

    if (sweep->phase == PHASE_OPEN)
        run->fault->arm(run->fault, run->n, run->sticky);
    run->opened = rig_open(rig);
    if (sweep->phase == PHASE_OPEN)
        run->fault->arm(run->fault, 0, false);
    if (run->opened != ST_OK)
        return;
    if (sweep->phase != PHASE_OPEN)
        run->fault->arm(run->fault, run->n, run->sticky);
    rig_run(rig, sweep->workload, 0, sweep->workload->count);
    if (sweep->phase == PHASE_RUN) {
        run->fault->arm(run->fault, 0, false);
        if (rig->store)
            rig_settle(rig);
    }
    if (rig->store)
        rig_close(rig);
}

static bool is_refusal(enum status st)
{
    return st == ST_STORAGE_FULL || st == ST_NO_MEMORY || st == ST_BUSY;
}

/* The store is closed after this step, and the fault may be there then. */
static bool may_be_given_up(const struct run *run, size_t step)
{
    const struct workload *workload = run->sweep->workload;

    while (step < workload->count && workload->steps[step].op != OP_REOPEN)
        step++;
    return step < workload->count || run->sweep->phase == PHASE_CLOSE;
}

/* Sets what is surely not stored, and the first number of steps that the database may
 * hold. */
static void judge_answers(const struct run *run, bool without[], size_t *ret_least)
{
    const struct workload *workload = run->sweep->workload;
    bool unknown = false;

    *ret_least = 0;
    for (size_t i = 0; i < workload->count; i++) {
        const struct answer *answer = &run->rig.answers[i];
        enum op op = workload->steps[i].op;

        if (!workload_answers(op))
            continue;
        without[i] = !answer->called || is_refusal(answer->st);
        if (answer->called > 1)
            fail_run(run, "answered twice: ", op_names[op]);
        if (!answer->called)
            continue; /* never given */
        if (!workload_may(op, answer->st) &&
            !(is_refusal(answer->st) && may_be_given_up(run, i)))
            fail_run(run, op_names[op], status_text(answer->st));
        if (unknown && answer->st != ST_UNKNOWN)
            fail_run(run, "answered after on_fatal: ", op_names[op]);
        unknown = unknown || answer->st == ST_UNKNOWN;
        if (answer->st != ST_UNKNOWN && !without[i])
            *ret_least = i + 1;
    }
    if (run->rig.fatal > 1 || (unknown && !run->rig.fatal))
        fail_run(run, "on_fatal: ", run->rig.fatal ? "twice" : "never");
    if (run->rig.fatal && run->fault->never_fatal)
        fail_run(run, "fatal: ", run->rig.why.text);
}

/* Of some commands nobody is told. Mostly they went with what joins them: others is a bit
 * for each one that did not. false: it has a bit too many. */
static bool guess(const struct workload *workload, bool without[], unsigned others)
{
    for (size_t i = workload->count; i-- > 0;) {
        enum op op = workload->steps[i].op;

        if (op >= OP_IDLE || workload_answers(op))
            continue;
        without[i] = without[i + 1] != (bool)(others & 1);
        others >>= 1;
    }
    return others == 0;
}

static void compare_answers(const struct run *run, const struct reference *reference,
                            const bool without[], size_t least)
{
    for (size_t i = 0; i < least; i++) {
        enum op op = run->sweep->workload->steps[i].op;

        if (workload_answers(op) && !without[i] && run->rig.answers[i].called &&
            run->rig.answers[i].st != reference->st[i])
            fail_run(run, "another answer than without a fault: ", op_names[op]);
    }
}

static bool holds(const struct run *run, bool without[], size_t least,
                  struct digest digest)
{
    const struct workload *workload = run->sweep->workload;

    for (unsigned others = 0; guess(workload, without, others); others++) {
        const struct reference *reference = reference_of(without);

        compare_answers(run, reference, without, least);
        if (reference_find(reference, workload, digest, least) != SIZE_MAX)
            return true;
        if (run->fault->loses_attempts &&
            reference_find_decisive(reference, workload, digest, least) != SIZE_MAX)
            return true;
    }
    return false;
}

/* Opened again on a sound disk. */
static void judge_content(struct run *run)
{
    bool without[WORKLOAD_MAX] = { false };
    struct rig again = { .patient = true };
    const char *wrong;
    struct digest digest;
    size_t least;

    judge_answers(run, without, &least);
    strcpy(again.dir, run->rig.dir);
    if (rig_open(&again) != ST_OK)
        fail_run(run, "it is not opened again: ", again.why.text);
    wrong = rig_ask_all(&again, run->sweep->workload);
    if (wrong)
        fail_run(run, wrong, "");
    digest = rig_digest(again.dir);
    if (!digest.all)
        fail_run(run, "the database is damaged", "");
    if (!holds(run, without, least, digest)) {
        rig_dump(again.dir);
        fail_run(run, "it does not hold what was answered", "");
    }
    rig_close(&again);
}

/* false: there was no fault any more. */
static bool try_once(const struct sweep *sweep, const struct fault *fault, unsigned n,
                     bool sticky)
{
    struct run run = { .sweep = sweep, .fault = fault, .n = n, .sticky = sticky };
    bool fired;

    rig_make_dir(run.rig.dir);
    if (sweep->before)
        rig_copy_dir(sweep->before, run.rig.dir);
    go(&run);
    fired = fault->fired();
    fault->arm(fault, 0, false);
    if (run.opened != ST_OK && !(fired && fault->open_may(run.opened)))
        fail_run(&run, "opening says: ", run.rig.why.text);
    judge_content(&run);
    rig_remove_dir(run.rig.dir);
    return fired;
}

void sweep_all(const struct sweep *sweep, const struct fault *fault)
{
    unsigned runs = 0;

    known_clear(sweep);
    for (int sticky = 0; sticky < 2; sticky++) {
        unsigned step = sweep->step ? sweep->step : 1;
        /* Each sweep has other ones. */
        unsigned n = 1 + (unsigned)(3 * fault->call + fault->error + sticky) % step;

        for (; try_once(sweep, fault, n, sticky); n += step)
            runs++;
    }
    print_message("%s, %s: %u runs\n", fault->name, phase_names[sweep->phase], runs);
    known_clear(NULL);
}

void sweep_make_killed(char ret_dir[RIG_DIR_MAX])
{
    struct workload *workload = workload_new(1, 0);
    struct rig rig = { .patient = true };

    rig_make_dir(ret_dir);
    rig_make_dir(rig.dir);
    assert_int_equal(rig_open(&rig), ST_OK);
    rig_run(&rig, workload, 0, 8);
    rig_copy_dir(rig.dir, ret_dir); /* as it is now */
    rig_close(&rig);
    rig_remove_dir(rig.dir);
    workload_free(workload);
}
