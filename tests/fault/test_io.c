/* SPDX-License-Identifier: MIT */
/*
 * Errors of the disk: each call of each kind fails, once and from then on, while the store
 * is opened (a new database, one of a server that was killed, one of version 1), while it
 * works, with checkpoints and an orderly end in between, and while it is closed.
 *
 *     test_io [--all] [--test PATTERN]       --all: every call while it works, too
 */
#include "tests/fault/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP 9 /* of writes and reads while it works: they are many, and alike */

static bool all;

static void arm(const struct fault *fault, unsigned n, bool sticky)
{
    disk_fail(fault->call, fault->error, n, sticky);
}

/* A disk that fails is not a damaged database. */
static bool open_may(enum status st)
{
    return st == ST_IO || st == ST_STORAGE_FULL;
}

static void sweep_with(const struct sweep *sweep, enum disk_call call,
                       enum disk_error error)
{
    char name[64];
    struct fault fault = { .name = name,
                           .arm = arm,
                           .fired = disk_failed,
                           .open_may = open_may,
                           .call = call,
                           .error = error };

    struct sweep this = *sweep;

    if (call != DISK_WRITE && call != DISK_READ)
        this.step = 1;
    (void)snprintf(name, sizeof(name), "%s %s", disk_call_names[call],
                   disk_error_names[error]);
    sweep_all(&this, &fault);
}

/* Every kind of fault that makes a difference. */
static void sweep_disk(const struct sweep *sweep)
{
    for (enum disk_call call = 0; call < DISK_CALL_COUNT; call++) {
        sweep_with(sweep, call, DISK_EIO);
        if (call == DISK_WRITE || call == DISK_SHM || call == DISK_SYSTEM ||
            call == DISK_OPEN)
            sweep_with(sweep, call, DISK_ENOSPC);
    }
    sweep_with(sweep, DISK_WRITE, DISK_SHORT);
}

/* ---- opening ------------------------------------------------------------------------ */

static void a_new_database_is_made_whole_or_not_at_all(void **state)
{
    struct workload *workload = workload_new(1, 0);
    const struct sweep sweep = { .workload = workload, .phase = PHASE_OPEN };

    (void)state;
    workload->count = 1;
    sweep_disk(&sweep);
    workload_free(workload);
}

static void what_a_killed_server_has_left_is_not_lost(void **state)
{
    struct workload *workload = workload_new(1, 0);
    char before[RIG_DIR_MAX];
    const struct sweep sweep = { .workload = workload,
                                 .before = before,
                                 .phase = PHASE_OPEN };

    (void)state;
    sweep_make_killed(before);
    workload->count = 0;
    sweep_disk(&sweep);
    rig_remove_dir(before);
    workload_free(workload);
}

static void an_upgrade_is_made_whole_or_not_at_all(void **state)
{
    struct workload *workload = workload_new(1, 0);
    char before[RIG_DIR_MAX];
    const struct sweep sweep = { .workload = workload,
                                 .before = before,
                                 .phase = PHASE_OPEN };

    (void)state;
    rig_make_dir(before);
    rig_make_version_1(before);
    workload->count = 1;
    sweep_disk(&sweep);
    rig_remove_dir(before);
    workload_free(workload);
}

/* ---- working ------------------------------------------------------------------------ */

static void sweep_work(enum phase phase)
{
    struct workload *workload = workload_new(1, 0);
    char before[RIG_DIR_MAX];
    const struct sweep sweep = {
        .workload = workload, .before = before, .phase = phase, .step = all ? 1 : STEP
    };
    struct rig rig = { .patient = true };

    rig_make_dir(rig.dir);
    assert_int_equal(rig_open(&rig), ST_OK);
    rig_close(&rig);
    strcpy(before, rig.dir);
    sweep_disk(&sweep);
    rig_remove_dir(before);
    workload_free(workload);
}

static void what_is_answered_is_true_while_the_disk_fails(void **state)
{
    (void)state;
    sweep_work(PHASE_RUN);
}

static void what_is_answered_is_true_when_the_disk_does_not_recover(void **state)
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
        cmocka_unit_test(what_is_answered_is_true_while_the_disk_fails),
        cmocka_unit_test(what_is_answered_is_true_when_the_disk_does_not_recover),
    };

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0)
            all = true;
        else if (strcmp(argv[i], "--test") == 0 && i + 1 < argc)
            cmocka_set_test_filter(argv[++i]);
        else
            return 2;
    }
    rig_init(LOG_LEVEL_COUNT); /* faults are told by the hundred */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
