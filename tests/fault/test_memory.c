/* SPDX-License-Identifier: MIT */
/*
 * Lack of memory in the store: each allocation of SQLite and of the store itself fails,
 * once and from then on, while it is opened, works and is closed. Memory that was short
 * never ends the server, and nothing leaks (with the preset asan).
 *
 *     test_memory [--all] [--test PATTERN]
 */
#include "tests/fault/sim_memory.h"
#include "tests/fault/sweep.h"

#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

/* Of the allocations: there are thousands, and many are alike. */
#define STEP_OPEN 151
#define STEP_WORK 41
#define STEP_OWN  7 /* of the store's: most are the reserve of commands */

static bool all;
static bool own_fired;

static void arm_sqlite(const struct fault *fault, unsigned n, bool sticky)
{
    (void)fault;
    memory_fail(n, sticky);
}

static void arm_own(const struct fault *fault, unsigned n, bool sticky)
{
    static unsigned armed;

    (void)fault;
    if (armed)
        own_fired = mem_calls() >= armed;
    armed = n;
    mem_fail_at(n, sticky);
}

/* Ends it. */
static bool own_failed(void)
{
    arm_own(NULL, 0, false);
    return own_fired;
}

static bool open_may(enum status st)
{
    return st == ST_NO_MEMORY;
}

static const struct fault sqlite_fault = { .name = "SQLite",
                                           .arm = arm_sqlite,
                                           .fired = memory_failed,
                                           .open_may = open_may,
                                           .never_fatal = true };
static const struct fault own_fault = { .name = "the store",
                                        .arm = arm_own,
                                        .fired = own_failed,
                                        .open_may = open_may,
                                        .never_fatal = true,
                                        .loses_attempts = true };

static void sweep_memory(const char *before, size_t steps, enum phase phase)
{
    struct workload *workload = workload_new(1, 0);
    struct sweep sweep = { .workload = workload, .before = before, .phase = phase };

    if (workload->count > steps)
        workload->count = steps;
    if (!all)
        sweep.step = STEP_OWN;
    sweep_all(&sweep, &own_fault);
    if (!all)
        sweep.step = phase == PHASE_OPEN ? STEP_OPEN : STEP_WORK;
    sweep_all(&sweep, &sqlite_fault);
    workload_free(workload);
}

static void a_new_database_is_made_whole_or_not_at_all(void **state)
{
    (void)state;
    sweep_memory(NULL, 1, PHASE_OPEN);
}

static void what_a_killed_server_has_left_is_not_lost(void **state)
{
    char before[RIG_DIR_MAX];

    (void)state;
    sweep_make_killed(before);
    sweep_memory(before, 0, PHASE_OPEN);
    rig_remove_dir(before);
}

static void an_upgrade_is_made_whole_or_not_at_all(void **state)
{
    char before[RIG_DIR_MAX];

    (void)state;
    rig_make_dir(before);
    rig_make_version_1(before);
    sweep_memory(before, 1, PHASE_OPEN);
    rig_remove_dir(before);
}

static void sweep_work(enum phase phase)
{
    struct rig rig = { .patient = true };

    rig_make_dir(rig.dir);
    assert_int_equal(rig_open(&rig), ST_OK);
    rig_close(&rig);
    sweep_memory(rig.dir, SIZE_MAX, phase);
    rig_remove_dir(rig.dir);
}

static void what_is_answered_is_true_while_memory_is_short(void **state)
{
    (void)state;
    sweep_work(PHASE_RUN);
}

static void what_is_answered_is_true_when_memory_stays_short(void **state)
{
    (void)state;
    sweep_work(PHASE_CLOSE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_database_is_made_whole_or_not_at_all),
        cmocka_unit_test(what_a_killed_server_has_left_is_not_lost),
        cmocka_unit_test(an_upgrade_is_made_whole_or_not_at_all),
        cmocka_unit_test(what_is_answered_is_true_while_memory_is_short),
        cmocka_unit_test(what_is_answered_is_true_when_memory_stays_short),
    };

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0)
            all = true;
        else if (strcmp(argv[i], "--test") == 0 && i + 1 < argc)
            cmocka_set_test_filter(argv[++i]);
        else
            return 2;
    }
    memory_init();
    rig_init(LOG_LEVEL_COUNT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
