/* SPDX-License-Identifier: MIT */
/*
 * Pools with an initializer, with a real forkserver and real workers.
 *
 * The forkserver is this program once more, started with the argument "forkserver".
 */
#include "tests/unit/workers/pool_rig.h"

#include <signal.h>

static struct rig *rig_new(unsigned processes, const char *task, const char *args,
                           int64_t limit_ms)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct pool_options options = rig_options(processes);
    struct error_text err;

    assert_non_null(rig);
    rig->fd_count = rig_count_fds();
    assert_int_equal(forkserver_start(&rig->forkserver, -1, NULL, &err), ST_OK);
    options.initializer = task;
    options.initargs = args;
    options.init_limit_ms = limit_ms;
    rig_start_with(rig, &options);
    return rig;
}

static void rig_free(struct rig *rig)
{
    if (!rig->stopped) {
        pool_stop(rig->pool, rig_on_stopped);
        pool_kill(rig->pool);
    }
    rig_end(rig);
    assert_int_equal(rig_count_fds(), rig->fd_count);
    free(rig);
}

static bool says(const struct rig *rig, const char *part)
{
    return strstr(rig->exception.data, part) != NULL;
}

static void worker_is_ready_after_its_initializer(void **state)
{
    struct rig *rig = rig_new(2, "square", "[3]", 0);
    struct chunk chunk = { 0 };

    (void)state;
    WAIT(rig, pool_idle(rig->pool) == 2);
    rig_send(rig, &chunk, "square", 2, "4,5");
    WAIT(rig, rig->seen_count == 1);
    assert_string_equal(rig->results.data, "16,25 ");
    rig_free(rig);
}

static void arguments_may_be_larger_than_the_socket(void **state)
{
    enum { LEN = 1 << 20 };
    char *args = malloc(LEN + 1);
    struct rig *rig;

    (void)state;
    assert_non_null(args);
    memset(args, 'x', LEN);
    memcpy(args, "[\"", 2);
    memcpy(args + LEN - 2, "\"]", 3);
    rig = rig_new(1, "echo", args, 0);
    free(args); /* the pool has a copy */
    WAIT(rig, pool_idle(rig->pool) == 1);
    rig_free(rig);
}

static void initializer_that_raises_three_times_breaks_the_pool(void **state)
{
    struct rig *rig = rig_new(1, "safe_square", "[-1]", 0);

    (void)state;
    WAIT(rig, rig->broken);
    assert_true(says(rig, "\"type\":\"ValueError\""));
    assert_true(says(rig, "Negative input not allowed"));
    assert_int_equal(pool_lost_count(rig->pool), INITIALIZER_TRIES);
    for (unsigned i = 0; i < 300; i++) /* longer than the pause would be */
        rig_turn(rig);
    assert_int_equal(rig->broken, 1);
    assert_int_equal(pool_lost_count(rig->pool), INITIALIZER_TRIES);
    rig_free(rig);
}

static void initializer_that_nobody_knows_breaks_the_pool(void **state)
{
    struct rig *rig = rig_new(3, "nonesuch", "[]", 0);

    (void)state;
    WAIT(rig, rig->broken);
    assert_true(says(rig, "LookupError"));
    rig_free(rig);
}

static void initializer_over_its_time_limit_breaks_the_pool(void **state)
{
    uint64_t begin_ns = clock_mono_ns();
    struct rig *rig = rig_new(3, "sleep", "[600]", 50);

    (void)state;
    WAIT(rig, rig->broken);
    assert_true(clock_mono_ns() - begin_ns <
                9 * NS_PER_SEC); /* its own, not that of starts */
    assert_true(says(rig, "WorkerLost"));
    assert_true(says(rig, "time_limit"));
    rig_free(rig);
}

static pid_t some_pid(const struct rig *rig)
{
    struct worker_info infos[4];
    size_t count = pool_workers(rig->pool, infos, 4);

    for (size_t i = 0; i < count; i++)
        if (infos[i].pid > 0)
            return infos[i].pid;
    return 0;
}

static void worker_that_dies_in_the_initializer_counts_as_a_failure(void **state)
{
    struct rig *rig = rig_new(1, "sleep", "[600]", 0);
    pid_t last = 0;

    (void)state;
    for (unsigned i = 0; i < INITIALIZER_TRIES; i++) {
        WAIT(rig, some_pid(rig) && some_pid(rig) != last);
        last = some_pid(rig);
        assert_int_equal(kill(last, SIGKILL), 0);
    }
    WAIT(rig, rig->broken);
    assert_true(says(rig, "signal 9"));
    rig_free(rig);
}

static void worker_that_is_stopped_in_the_initializer_is_no_failure(void **state)
{
    struct rig *rig = rig_new(3, "sleep", "[0.3]", 0);

    (void)state;
    WAIT(rig, some_pid(rig));
    pool_stop(rig->pool, rig_on_stopped);
    WAIT(rig, rig->stopped);
    assert_int_equal(rig->broken, 0);
    rig_free(rig);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worker_is_ready_after_its_initializer),
        cmocka_unit_test(arguments_may_be_larger_than_the_socket),
        cmocka_unit_test(initializer_that_raises_three_times_breaks_the_pool),
        cmocka_unit_test(initializer_that_nobody_knows_breaks_the_pool),
        cmocka_unit_test(initializer_over_its_time_limit_breaks_the_pool),
        cmocka_unit_test(worker_that_dies_in_the_initializer_counts_as_a_failure),
        cmocka_unit_test(worker_that_is_stopped_in_the_initializer_is_no_failure),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("pool_init", tests, NULL, NULL);
}
