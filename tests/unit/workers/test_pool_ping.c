/* SPDX-License-Identifier: MIT */
/* A forkserver that is played by the test (pool_stage.h) is asked whether it is there. */
#include "tests/unit/workers/pool_stage.h"

#include "workers/pool_internal.h"

#define MS(n) ((n)*NS_PER_MS)

static bool take_ping(struct stage *stage)
{
    struct forkserver_request request;
    int fds[FD_PASS_MAX];
    size_t len, count;

    if (!is_readable(stage->forkserver))
        return false;
    assert_int_equal(
        fd_recv(stage->forkserver, &request, sizeof(request), &len, fds, &count), ST_OK);
    return request.kind == FORKSERVER_PING && count == 0;
}

static void answer_ping(struct stage *stage)
{
    answer(stage, (struct forkserver_answer){ .kind = FORKSERVER_PONG }, -1);
    WAIT(&stage->rig, !stage->rig.pool->ping_open);
}

static void a_forkserver_that_answers_is_asked_again_and_again(void **state)
{
    struct stage *stage = *state;
    struct pool *pool = stage->rig.pool;

    (void)idle_actor(stage);
    for (int i = 0; i < 3; i++) {
        uint64_t at = pool->ping_ns;

        assert_int_equal(pool_ping_tend(pool, at - 1), at);
        assert_false(take_ping(stage));
        assert_int_equal(pool_ping_tend(pool, at), at + MS(5000));
        assert_true(take_ping(stage));
        assert_int_equal(pool_ping_tend(pool, at + MS(4000)), at + MS(5000));
        assert_false(take_ping(stage));
        answer_ping(stage);
        assert_true(pool->ping_ns <= clock_mono_ns() + MS(2000));
    }
    assert_int_equal(pool_idle(pool), 1);
}

static void whatever_a_forkserver_says_is_an_answer(void **state)
{
    struct stage *stage = *state;
    struct pool *pool = stage->rig.pool;
    struct actor *actor = idle_actor(stage);

    (void)pool_ping_tend(pool, pool->ping_ns);
    assert_true(pool->ping_open);
    exited(stage, actor, SIGKILL);
    WAIT(&stage->rig, !pool->ping_open);
}

static void one_that_has_not_said_anything_is_not_asked(void **state)
{
    struct stage *stage = *state;

    (void)take_request(stage);
    assert_int_equal(pool_ping_tend(stage->rig.pool, clock_mono_ns() + MS(60000)),
                     UINT64_MAX);
    assert_false(take_ping(stage));
}

/* A process that does nothing, in the forkserver's place, for the pool to kill. */
static pid_t stand_in(struct pool *pool)
{
    pid_t pid = fork();

    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        close_range(3, ~0U, 0);
        for (;;)
            pause();
    }
    pool->forkserver.pid = pid;
    pool->forkserver.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return pid;
}

static bool has_ended(pid_t pid)
{
    siginfo_t info = { 0 };

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == pid;
}

static void one_that_does_not_answer_is_killed(void **state)
{
    struct stage *stage = *state;
    struct pool *pool = stage->rig.pool;
    uint64_t limit;
    pid_t pid;

    (void)idle_actor(stage);
    pid = stand_in(pool);
    limit = pool_ping_tend(pool, pool->ping_ns);
    assert_int_equal(pool_ping_tend(pool, limit - 1), limit);
    assert_false(has_ended(pid));
    assert_int_equal(pool_ping_tend(pool, limit), UINT64_MAX);
    WAIT(&stage->rig, has_ended(pid));
}

static void a_server_that_was_stopped_itself_waits_once_more(void **state)
{
    struct stage *stage = *state;
    struct pool *pool = stage->rig.pool;
    uint64_t limit, late;
    pid_t pid;

    (void)idle_actor(stage);
    pid = stand_in(pool);
    limit = pool_ping_tend(pool, pool->ping_ns);
    late = limit + MS(60000);
    assert_int_equal(pool_ping_tend(pool, late), late + MS(5000));
    assert_false(has_ended(pid));
    assert_int_equal(pool_ping_tend(pool, late + MS(5000)), UINT64_MAX);
    WAIT(&stage->rig, has_ended(pid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(a_forkserver_that_answers_is_asked_again_and_again),
        CASE(whatever_a_forkserver_says_is_an_answer),
        CASE(one_that_has_not_said_anything_is_not_asked),
        CASE(one_that_does_not_answer_is_killed),
        CASE(a_server_that_was_stopped_itself_waits_once_more),
    };

    return cmocka_run_group_tests_name("pool_ping", tests, NULL, NULL);
}
