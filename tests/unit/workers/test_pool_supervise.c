/* SPDX-License-Identifier: MIT */
/*
 * The pool with a forkserver and workers that are played by the test (pool_stage.h): the
 * order of events is what the test makes it, and a worker may send and note down whatever
 * it likes.
 */
#include "tests/unit/workers/pool_stage.h"

#include <errno.h>

/* ---- starting ---------------------------------------------------------------------- */

static void worker_is_idle_after_spawned_and_ready_in_this_order(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = take_request(stage);
    struct worker_info info;

    assert_int_equal(pool_workers(stage->rig.pool, &info, 1), 1);
    assert_int_equal(info.state, WORKER_STARTING);
    assert_int_equal(info.pid, 0);
    spawn(stage, actor);
    WAIT(&stage->rig, pool_workers(stage->rig.pool, &info, 1) == 1 && info.pid > 0);
    assert_null(pool_free_slot(stage->rig.pool, 0));
    send_ready(actor, FRAME_VERSION);
    WAIT(&stage->rig, pool_idle(stage->rig.pool) == 1);
    assert_non_null(pool_free_slot(stage->rig.pool, 0));
    WAIT(&stage->rig, stage->rig.capacity_calls == 1);
}

static void worker_is_idle_after_ready_and_spawned_in_this_order(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = take_request(stage);

    send_ready(actor, FRAME_VERSION);
    for (int i = 0; i < 3; i++)
        rig_turn(&stage->rig);
    assert_null(pool_free_slot(stage->rig.pool, 0));
    spawn(stage, actor);
    WAIT(&stage->rig, pool_idle(stage->rig.pool) == 1);
}

static void worker_of_another_version_is_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = take_request(stage);

    spawn(stage, actor);
    send_ready(actor, FRAME_VERSION + 1);
    WAIT(&stage->rig, was_killed(actor));
    assert_int_equal(pool_idle(stage->rig.pool), 0);
}

static void fork_that_fails_is_told_and_tried_again_after_a_pause(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = take_request(stage);
    uint64_t failed_ns = clock_mono_ns();

    answer(stage,
           (struct forkserver_answer){
               .kind = FORKSERVER_FAILED, .tag = actor->tag, .error = EAGAIN },
           -1);
    WAIT(&stage->rig, pool_start_error(stage->rig.pool)[0] != '\0');
    assert_string_equal(pool_start_error(stage->rig.pool),
                        "fork: Resource temporarily unavailable");
    idle_actor(stage);
    assert_true(clock_mono_ns() - failed_ns >= 100 * NS_PER_MS);
    assert_string_equal(pool_start_error(stage->rig.pool), "");
}

static void pause_grows_while_workers_die_before_they_are_ready(void **state)
{
    struct stage *stage = *state;
    uint64_t began_ns = clock_mono_ns();

    for (int i = 0; i < 3; i++) {
        struct actor *actor = take_request(stage);

        fd_close(&actor->sock);
        exited(stage, actor, EXITED_WITH(1));
    }
    take_request(stage);
    assert_true(clock_mono_ns() - began_ns >= (100 + 200 + 400) * NS_PER_MS);
    assert_string_equal(pool_start_error(stage->rig.pool),
                        "a worker ended before it was ready");
}

/* ---- ends -------------------------------------------------------------------------- */

static void end_of_file_first_replaces_at_once_and_tells_when_reaped(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);
    const struct seen *seen;

    fd_close(&actor->sock);
    take_request(stage); /* the replacement */
    assert_int_equal(stage->rig.seen_count, 0);
    exited(stage, actor, SIGSEGV);
    seen = lost(&stage->rig);
    assert_int_equal(seen->item, 102);
    assert_int_equal(seen->exit.cause, EXIT_SIGNAL);
    assert_int_equal(seen->exit.code, SIGSEGV);
    assert_int_equal(seen->exit.cpu_ns, 123);
    assert_int_equal(seen->exit.max_rss_bytes, 456);
    assert_int_equal(pool_lost_count(stage->rig.pool), 1);
}

static void a_loss_comes_with_the_last_words_of_the_item(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);
    uint64_t began_ns = clock_mono_ns();
    pid_t pid = actor->pid;
    const struct seen *seen;

    assert_int_equal(write(actor->output, "of 100", 6), 6);
    rig_turn(&stage->rig); /* takes it in */
    send_result(actor, 1, 100, 2, 0);
    WAIT(&stage->rig, stage->rig.seen_count == 1);
    assert_int_equal(write(actor->output, "of 102", 6), 6);
    exited(stage, actor, SIGSEGV);
    seen = lost(&stage->rig);
    assert_int_equal(seen->trace.pid, pid);
    assert_string_equal(seen->output, "of 102");
    /* It is the first one without an outcome: it began when the last one was told. */
    assert_true(seen->trace.began_ns >= began_ns);
}

static void a_failure_comes_with_the_last_words_of_the_item(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);
    struct rig *rig = &stage->rig;

    assert_int_equal(write(actor->output, "why", 3), 3);
    send_failure(actor, 1, 100, 0);
    WAIT(rig, rig->seen_count == 1);
    assert_int_equal(rig->seen[0].kind, SEEN_FAILURE);
    assert_int_equal(rig->seen[0].trace.pid, actor->pid);
    assert_string_equal(rig->seen[0].output, "why");
    send_failure(actor, 1, 101, 0);
    WAIT(rig, rig->seen_count == 2);
    assert_string_equal(rig->seen[1].output, "");
}

static void reaped_first_reads_what_is_left_and_does_not_wait_for_the_end_of_file(
    void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);
    struct rig *rig = &stage->rig;

    /* A descendant of the task may hold the socket: it is not closed here. */
    send_result(actor, 1, 100, 2, 0);
    exited(stage, actor, EXITED_WITH(3));
    lost(rig);
    assert_int_equal(rig->seen_count, 2);
    assert_int_equal(rig->seen[0].kind, SEEN_RESULT);
    assert_int_equal(rig->seen[0].count, 2);
    assert_int_equal(rig->seen[1].item, 102);
    assert_int_equal(rig->seen[1].exit.cause, EXIT_CODE);
    assert_int_equal(rig->seen[1].exit.code, 3);
    assert_int_equal(rig->chunks[0].first, 102);
    assert_int_equal(rig->chunks[0].count, 8);
    take_request(stage);
}

static void exit_0_in_the_middle_of_a_chunk_is_no_normal_end(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);
    const struct seen *seen;

    fd_close(&actor->sock);
    exited(stage, actor, EXITED_WITH(0));
    seen = lost(&stage->rig);
    assert_int_equal(seen->exit.cause, EXIT_CODE);
    assert_int_equal(seen->exit.code, 0);
}

static void worker_that_closed_its_socket_and_lives_is_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    rig_let_clock_go();
    fd_close(&actor->sock);
    WAIT(&stage->rig, was_killed(actor));
    exited(stage, actor, SIGKILL);
    assert_int_equal(lost(&stage->rig)->exit.cause, EXIT_PROTOCOL);
}

static void chunk_that_waited_comes_back_when_its_worker_dies(void **state)
{
    struct stage *stage = *state;
    struct rig *rig = &stage->rig;
    struct actor *actor = busy_actor(stage);
    struct chunk *second = &rig->chunks[1];

    second->expected_ns = 1;
    rig_send(rig, second, "square", 1, "1");
    exited(stage, actor, SIGKILL);
    WAIT(rig, rig->seen_count == 2);
    assert_int_equal(rig->seen[0].kind, SEEN_LOST);
    assert_ptr_equal(rig->seen[0].chunk, &rig->chunks[0]);
    assert_int_equal(rig->seen[1].kind, SEEN_RETURNED);
    assert_ptr_equal(rig->seen[1].chunk, second);
    assert_null(second->worker);
}

/* Nor of one that is not the first. */
static void new_chunk_does_not_get_the_claim_slot_of_another(void **state)
{
    struct chunk chunks[WORKER_PIPELINE + 1] = { 0 };
    struct stage *stage = *state;
    struct rig *rig = &stage->rig;
    struct actor *actor = idle_actor(stage);

    rig_stop_clock();
    for (unsigned i = 0; i < WORKER_PIPELINE; i++) {
        chunks[i].expected_ns = 1;
        rig_send(rig, &chunks[i], "square", 1, "1");
    }
    for (unsigned i = 2; i < WORKER_PIPELINE; i++)
        assert_true(pool_reclaim(rig->pool, &chunks[i]));
    chunks[WORKER_PIPELINE].expected_ns = 1;
    rig_send(rig, &chunks[WORKER_PIPELINE], "square", 1, "1");
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(page_claim_state(actor->page, chunks[i].id), CLAIM_OFFERED);
    exited(stage, actor, SIGKILL);
    WAIT(rig, rig->seen_count == 3);
}

static void full_worker_gets_no_more_until_half_of_it_is_done(void **state)
{
    struct chunk chunks[WORKER_PIPELINE] = { 0 };
    struct stage *stage = *state;
    struct rig *rig = &stage->rig;
    struct actor *actor = idle_actor(stage);
    unsigned left = WORKER_PIPELINE;

    rig_stop_clock();
    for (unsigned i = 0; i < WORKER_PIPELINE; i++) {
        chunks[i].expected_ns = 1;
        rig_send(rig, &chunks[i], "square", 1, "1");
    }
    while (left >= WORKER_PIPELINE / 2) {
        assert_null(pool_free_slot(rig->pool, 1));
        assert_true(pool_reclaim(rig->pool, &chunks[--left]));
    }
    assert_ptr_equal(pool_free_slot(rig->pool, 1), chunks[0].worker);
    while (left < WORKER_PIPELINE)
        rig_send(rig, &chunks[left++], "square", 1, "1");
    assert_null(pool_free_slot(rig->pool, 1));
    exited(stage, actor, SIGKILL);
    WAIT(rig, rig->seen_count == WORKER_PIPELINE);
}

static void first_chunk_that_was_not_begun_is_lost_without_guilt(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = idle_actor(stage);

    rig_send(&stage->rig, &stage->rig.chunks[0], "square", 1, "1");
    exited(stage, actor, SIGKILL);
    assert_true(lost(&stage->rig)->item == UINT64_MAX);
}

static void item_that_cannot_be_is_not_believed(void **state)
{
    static const uint64_t wrong[] = { 0, 99, 110, UINT64_MAX };
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);
    struct worker_info info;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        actor->page->item = wrong[i];
        assert_int_equal(pool_workers(stage->rig.pool, &info, 1), 1);
        assert_int_equal(info.item, 100);
    }
    exited(stage, actor, SIGKILL);
    assert_int_equal(lost(&stage->rig)->item, 100);
}

static void kill_for_one_chunk_does_not_blame_the_next(void **state)
{
    struct stage *stage = *state;
    struct rig *rig = &stage->rig;
    struct actor *actor = busy_actor(stage);
    struct chunk *second = &rig->chunks[1];

    second->expected_ns = 1;
    rig_send(rig, second, "square", 1, "1");
    pool_kill_chunk(rig->pool, &rig->chunks[0], EXIT_TERMINATED);
    /* It was faster than the signal: finished, and on the second one. */
    send_result(actor, 1, 100, 10, FRAME_LAST);
    begin_item(actor, second->id, 0);
    exited(stage, actor, SIGKILL);
    WAIT(rig, rig->seen_count == 2);
    assert_int_equal(rig->seen[0].kind, SEEN_RESULT);
    assert_true(rig->seen[0].last);
    assert_int_equal(rig->seen[1].kind, SEEN_LOST);
    assert_ptr_equal(rig->seen[1].chunk, second);
    assert_true(rig->seen[1].item == UINT64_MAX);
}

/* ---- nonsense ---------------------------------------------------------------------- */

static void expect_protocol_error(struct stage *stage, struct actor *actor)
{
    WAIT(&stage->rig, was_killed(actor));
    exited(stage, actor, SIGKILL);
    assert_int_equal(lost(&stage->rig)->exit.cause, EXIT_PROTOCOL);
    assert_int_equal(stage->rig.seen_count, 1);
}

static void garbage_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_bytes(actor, "Segmentation fault\n", 19);
    expect_protocol_error(stage, actor);
}

static void frame_that_only_the_server_sends_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);
    uint8_t header[FRAME_HEADER_LEN];

    frame_header(FRAME_CHUNK, 0, 1, 0, header);
    send_bytes(actor, header, sizeof(header));
    expect_protocol_error(stage, actor);
}

static void failure_before_ready_without_an_initializer_gets_the_worker_killed(
    void **state)
{
    struct stage *stage = *state;
    struct actor *actor = take_request(stage);
    const struct frame_failure failure = { .item = 0 };
    uint8_t bytes[FRAME_HEADER_LEN + FRAME_FAILURE_HEAD_LEN + 2];

    spawn(stage, actor);
    frame_header(FRAME_FAILURE, FRAME_LAST, 0, FRAME_FAILURE_HEAD_LEN + 2, bytes);
    frame_failure_head(&failure, bytes + FRAME_HEADER_LEN);
    memcpy(bytes + sizeof(bytes) - 2, "{}", 2);
    send_bytes(actor, bytes, sizeof(bytes));
    WAIT(&stage->rig, was_killed(actor));
}

static void second_ready_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_ready(actor, FRAME_VERSION);
    expect_protocol_error(stage, actor);
}

static void result_of_another_chunk_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_result(actor, 2, 100, 10, FRAME_LAST);
    expect_protocol_error(stage, actor);
}

static void result_out_of_turn_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_result(actor, 1, 101, 1, 0);
    expect_protocol_error(stage, actor);
}

static void more_results_than_items_get_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_result(actor, 1, 100, 11, FRAME_LAST);
    expect_protocol_error(stage, actor);
}

static void last_result_too_early_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_result(actor, 1, 100, 9, FRAME_LAST);
    expect_protocol_error(stage, actor);
}

static void results_without_their_text_get_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_result(actor, 1, 100, 10, FRAME_LAST | FRAME_PACKED);
    expect_protocol_error(stage, actor);
}

static void progress_of_an_item_that_is_open_is_told(void **state)
{
    struct stage *stage = *state;
    struct rig *rig = &stage->rig;
    struct actor *actor = busy_actor(stage);

    send_progress(actor, 1, 102, 0);
    WAIT(rig, rig->seen_count == 1);
    assert_int_equal(rig->seen[0].kind, SEEN_PROGRESS);
    assert_ptr_equal(rig->seen[0].chunk, &rig->chunks[0]);
    assert_int_equal(rig->seen[0].item, 102);
    assert_int_equal(rig->seen[0].count, 5);
    assert_string_equal(rig->seen[0].output, "hm");
    /* It is no outcome. */
    assert_int_equal(rig->chunks[0].first, 100);
    assert_int_equal(rig->chunks[0].count, 10);
}

static void progress_of_another_chunk_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_progress(actor, 2, 102, 0);
    expect_protocol_error(stage, actor);
}

static void progress_before_the_chunk_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_progress(actor, 1, 99, 0);
    expect_protocol_error(stage, actor);
}

static void progress_behind_the_chunk_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_progress(actor, 1, 110, 0);
    expect_protocol_error(stage, actor);
}

static void progress_with_a_flag_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = busy_actor(stage);

    send_progress(actor, 1, 102, FRAME_LAST);
    expect_protocol_error(stage, actor);
}

static void progress_of_a_chunk_not_claimed_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = idle_actor(stage);

    rig_send(&stage->rig, &stage->rig.chunks[0], "square", 1, "1");
    send_progress(actor, 1, 0, 0);
    expect_protocol_error(stage, actor);
}

static void result_of_a_chunk_not_claimed_gets_the_worker_killed(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = idle_actor(stage);

    rig_send(&stage->rig, &stage->rig.chunks[0], "square", 1, "1");
    send_result(actor, 1, 0, 1, FRAME_LAST);
    expect_protocol_error(stage, actor);
}

/* ---- time limits, the forkserver --------------------------------------------------- */

static void start_in_the_future_does_not_lift_the_time_limit(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = idle_actor(stage);
    struct chunk *chunk = &stage->rig.chunks[0];
    uint64_t sent_ns = clock_mono_ns();

    chunk->time_limit_ms = 30;
    rig_send(&stage->rig, chunk, "square", 1, "1");
    actor->page->item_started_ns = sent_ns + 3600 * NS_PER_SEC;
    begin_item(actor, chunk->id, 0);
    WAIT(&stage->rig, was_killed(actor));
    assert_true(clock_mono_ns() - sent_ns >= 30 * NS_PER_MS);
    exited(stage, actor, SIGKILL);
    assert_int_equal(lost(&stage->rig)->exit.cause, EXIT_TIME_LIMIT);
    assert_int_equal(lost(&stage->rig)->item, 0);
}

static void result_in_the_socket_beats_the_time_limit(void **state)
{
    struct stage *stage = *state;
    struct rig *rig = &stage->rig;
    struct actor *actor = idle_actor(stage);
    struct chunk *chunk = &rig->chunks[0];

    chunk->time_limit_ms = 20;
    rig_send(rig, chunk, "square", 1, "1");
    begin_item(actor, chunk->id, 0);
    send_result(actor, 1, 0, 1, FRAME_LAST);
    /* The loop is late: the timer is due before the socket has been looked at. */
    while (clock_mono_ns() < chunk->sent_ns + 40 * NS_PER_MS)
        ;
    WAIT(rig, rig->seen_count == 1);
    assert_int_equal(rig->seen[0].kind, SEEN_RESULT);
    WAIT(rig, pool_idle(rig->pool) == 1);
    assert_false(was_killed(actor));
}

static void answer_about_a_worker_nobody_knows_is_ignored(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = idle_actor(stage);
    struct actor stranger = { .tag = 4711 };

    spawn(stage, &stranger);
    exited(stage, &stranger, SIGKILL);
    WAIT(&stage->rig, was_killed(&stranger));
    assert_int_equal(pool_idle(stage->rig.pool), 1);
    assert_false(was_killed(actor));
}

static void idle_worker_is_asked_to_end_by_closing(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = idle_actor(stage);
    char byte;

    stage->stopping = true;
    pool_stop(stage->rig.pool, rig_on_stopped);
    assert_int_equal(recv(actor->sock, &byte, 1, 0), 0);
    fd_close(&actor->sock);
    exited(stage, actor, EXITED_WITH(0));
    WAIT(&stage->rig, stage->rig.stopped);
    assert_int_equal(pool_lost_count(stage->rig.pool), 0);
    assert_false(was_killed(actor));
}

static void worker_that_was_asked_to_end_has_time_for_it_behind_its_socket(void **state)
{
    struct stage *stage = *state;
    struct actor *actor = idle_actor(stage);
    uint64_t began_ns = uv_hrtime(), closed_ns = clock_mono_ns();

    clock_fake(closed_ns, clock_wall_ms());
    stage->stopping = true;
    pool_stop(stage->rig.pool, rig_on_stopped);
    fd_close(&actor->sock);
    for (int i = 0; i < 3; i++)
        rig_turn(&stage->rig); /* sees it */
    /* So late that one that was not asked would be killed. */
    clock_fake(closed_ns + 1500 * NS_PER_MS, clock_wall_ms());
    while (uv_hrtime() < began_ns + 1200 * NS_PER_MS)
        rig_turn(&stage->rig);
    assert_false(was_killed(actor));
    exited(stage, actor, EXITED_WITH(0));
    WAIT(&stage->rig, stage->rig.stopped);
    assert_int_equal(pool_lost_count(stage->rig.pool), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(worker_is_idle_after_spawned_and_ready_in_this_order),
        CASE(worker_is_idle_after_ready_and_spawned_in_this_order),
        CASE(worker_of_another_version_is_killed),
        CASE(fork_that_fails_is_told_and_tried_again_after_a_pause),
        CASE(pause_grows_while_workers_die_before_they_are_ready),
        CASE(end_of_file_first_replaces_at_once_and_tells_when_reaped),
        CASE(a_loss_comes_with_the_last_words_of_the_item),
        CASE(a_failure_comes_with_the_last_words_of_the_item),
        CASE(reaped_first_reads_what_is_left_and_does_not_wait_for_the_end_of_file),
        CASE(exit_0_in_the_middle_of_a_chunk_is_no_normal_end),
        CASE(worker_that_closed_its_socket_and_lives_is_killed),
        CASE(chunk_that_waited_comes_back_when_its_worker_dies),
        CASE(new_chunk_does_not_get_the_claim_slot_of_another),
        CASE(full_worker_gets_no_more_until_half_of_it_is_done),
        CASE(first_chunk_that_was_not_begun_is_lost_without_guilt),
        CASE(item_that_cannot_be_is_not_believed),
        CASE(kill_for_one_chunk_does_not_blame_the_next),
        CASE(garbage_gets_the_worker_killed),
        CASE(frame_that_only_the_server_sends_gets_the_worker_killed),
        CASE(failure_before_ready_without_an_initializer_gets_the_worker_killed),
        CASE(second_ready_gets_the_worker_killed),
        CASE(result_of_another_chunk_gets_the_worker_killed),
        CASE(result_out_of_turn_gets_the_worker_killed),
        CASE(more_results_than_items_get_the_worker_killed),
        CASE(last_result_too_early_gets_the_worker_killed),
        CASE(results_without_their_text_get_the_worker_killed),
        CASE(progress_of_an_item_that_is_open_is_told),
        CASE(progress_of_another_chunk_gets_the_worker_killed),
        CASE(progress_before_the_chunk_gets_the_worker_killed),
        CASE(progress_behind_the_chunk_gets_the_worker_killed),
        CASE(progress_with_a_flag_gets_the_worker_killed),
        CASE(progress_of_a_chunk_not_claimed_gets_the_worker_killed),
        CASE(result_of_a_chunk_not_claimed_gets_the_worker_killed),
        CASE(start_in_the_future_does_not_lift_the_time_limit),
        CASE(result_in_the_socket_beats_the_time_limit),
        CASE(answer_about_a_worker_nobody_knows_is_ignored),
        CASE(idle_worker_is_asked_to_end_by_closing),
        CASE(worker_that_was_asked_to_end_has_time_for_it_behind_its_socket),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("pool_supervise", tests, NULL, NULL);
}
