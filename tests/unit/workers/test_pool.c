/* SPDX-License-Identifier: MIT */
/*
 * The pool with a real forkserver and real workers. What cannot be had from them (a
 * certain order of events, nonsense) is in test_pool_supervise.c.
 *
 * The forkserver is this program once more, started with the argument "forkserver".
 */
#include "common/clock.h"
#include "tests/unit/workers/pool_rig.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 2

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct error_text err;

    if (!rig)
        return -1;
    rig->fd_count = rig_count_fds();
    if (forkserver_start(&rig->forkserver, -1, NULL, &err) != ST_OK)
        return -1;
    *state = rig;
    rig_start(rig, PROCESSES);
    WAIT(rig, pool_idle(rig->pool) == PROCESSES);
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    if (!rig->stopped) {
        pool_stop(rig->pool, rig_on_stopped);
        pool_kill(rig->pool);
    }
    rig_end(rig);
    assert_int_equal(rig_count_fds(), rig->fd_count);
    free(rig);
    return 0;
}

static struct worker_info info_of(const struct rig *rig, const struct chunk *chunk)
{
    struct worker_info infos[16];
    size_t count = pool_workers(rig->pool, infos, 16);

    for (size_t i = 0; i < count; i++) {
        if (infos[i].chunk == chunk)
            return infos[i];
    }
    return (struct worker_info){ 0 };
}

static bool is_on_item(const struct rig *rig, const struct chunk *chunk, uint64_t item)
{
    struct worker_info info = info_of(rig, chunk);

    return info.pid > 0 && info.item == item;
}

static void results_come_in_the_order_of_the_items(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { .first = 5 };

    rig_send(rig, &chunk, "square", 4, "1,2,3,4");
    assert_int_equal(pool_busy(rig->pool), 1);
    assert_int_equal(pool_idle(rig->pool), PROCESSES - 1);
    WAIT(rig, rig->seen_count > 0 && rig_newest(rig)->last);
    assert_int_equal(rig->seen[0].item, 5);
    assert_int_equal(rig->seen[0].count, 4);
    assert_int_equal(chunk.first, 9);
    assert_int_equal(chunk.count, 0);
    assert_null(chunk.worker);
    assert_true(text_equals(buf_text(&rig->results), "1,4,9,16 "));
    assert_int_equal(pool_idle(rig->pool), PROCESSES);
}

static void failure_comes_between_the_results_around_it(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { 0 };

    rig_send(rig, &chunk, "safe_square", 3, "1,-2,3");
    WAIT(rig, rig->seen_count == 3);
    assert_int_equal(rig->seen[0].kind, SEEN_RESULT);
    assert_int_equal(rig->seen[1].kind, SEEN_FAILURE);
    assert_int_equal(rig->seen[1].item, 1);
    assert_false(rig->seen[1].last);
    assert_int_equal(rig->seen[2].item, 2);
    assert_true(rig->seen[2].last);
}

static void chunk_larger_than_the_socket_arrives(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { 0 };
    struct buf items = BUF_INIT;

    for (int i = 0; i < 4000; i++)
        buf_addf(&items, "%s\"%0500d\"", i ? "," : "", i);
    rig_send(rig, &chunk, "echo", 4000, items.data);
    WAIT(rig, rig->seen_count > 0 && rig_newest(rig)->last);
    assert_int_equal(chunk.first, 4000);
    for (size_t i = 0; i < rig->results.len; i++) {
        if (rig->results.data[i] == ' ')
            rig->results.data[i] = ',';
    }
    assert_int_equal(rig->results.len, items.len + 1);
    assert_memory_equal(rig->results.data, items.data, items.len);
    buf_clear(&items);
}

static void capacity_is_told_once_for_all_workers_that_became_free(void **state)
{
    struct rig *rig = *state;
    struct chunk a = { 0 }, b = { 0 };
    unsigned before;

    uv_run(&rig->loop, UV_RUN_NOWAIT);
    before = rig->capacity_calls;
    rig_send(rig, &a, "square", 1, "1");
    rig_send(rig, &b, "square", 1, "2");
    assert_null(pool_free_slot(rig->pool, 0));
    WAIT(rig, pool_idle(rig->pool) == PROCESSES);
    uv_run(&rig->loop, UV_RUN_NOWAIT);
    assert_in_range(rig->capacity_calls - before, 1, 2);
}

static void killed_worker_loses_only_what_had_no_result_and_is_replaced(void **state)
{
    struct rig *rig = *state;
    struct chunk victim = { .first = 10 }, other = { 0 };
    struct worker_info info;

    rig_send(rig, &victim, "sleep", 4, "0.05,0,30,30");
    rig_send(rig, &other, "sleep", 1, "0.2");
    /* The first item is slow enough to be sent at once. */
    WAIT(rig, is_on_item(rig, &victim, 12) && victim.first == 11);
    info = info_of(rig, &victim);
    assert_int_equal(kill(info.pid, SIGKILL), 0);
    WAIT(rig, rig->seen_count > 1 && pool_lost_count(rig->pool) == 1);
    WAIT(rig, pool_idle(rig->pool) == PROCESSES);
    for (unsigned i = 0; i < rig->seen_count; i++) {
        if (rig->seen[i].kind != SEEN_LOST) {
            assert_int_equal(rig->seen[i].kind, SEEN_RESULT);
            continue;
        }
        assert_ptr_equal(rig->seen[i].chunk, &victim);
        assert_int_equal(rig->seen[i].item, 12);
        assert_int_equal(rig->seen[i].exit.cause, EXIT_SIGNAL);
        assert_int_equal(rig->seen[i].exit.code, SIGKILL);
        assert_true(rig->seen[i].exit.max_rss_bytes > 0);
    }
    assert_int_equal(victim.first, 11);
    assert_int_equal(victim.count, 3);
    assert_int_equal(other.count, 0); /* the neighbour went on */
}

static void pool_is_full_again_soon_after_a_kill(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(kill(info_of(rig, NULL).pid, SIGKILL), 0);
    WAIT(rig, pool_lost_count(rig->pool) == 1);
    while (pool_idle(rig->pool) < PROCESSES) {
        rig_turn(rig);
        /* There is no pause before a start without one. */
        assert_string_equal(pool_start_error(rig->pool), "");
    }
}

static void item_over_its_time_limit_is_killed_and_guilty(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { .time_limit_ms = 1000 };
    uint64_t sent_ns = clock_mono_ns();

    rig_send(rig, &chunk, "sleep", 3, "0,30,0");
    WAIT(rig, rig->seen_count > 0 && rig_newest(rig)->kind == SEEN_LOST);
    assert_int_equal(rig_newest(rig)->exit.cause, EXIT_TIME_LIMIT);
    assert_int_equal(rig_newest(rig)->item, 1);
    assert_true(clock_mono_ns() - sent_ns >= NS_PER_SEC);
    WAIT(rig, pool_idle(rig->pool) == PROCESSES);
}

static void time_limit_is_for_each_item_and_not_for_the_chunk(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { .time_limit_ms = 1500 };

    rig_send(rig, &chunk, "sleep", 8, "0.2,0.2,0.2,0.2,0.2,0.2,0.2,0.2");
    WAIT(rig, rig->seen_count > 0 && rig_newest(rig)->last);
    assert_int_equal(pool_lost_count(rig->pool), 0);
    assert_int_equal(chunk.first, 8);
}

/* Makes all workers but one busy, gives that one a chunk that is said to be short, and
 * prepares another such chunk. */
static void fill_up(struct rig *rig, const char *seconds, struct chunk **ret_blocker,
                    struct chunk **ret_head, struct chunk **ret_second)
{
    *ret_blocker = &rig->chunks[0];
    *ret_head = &rig->chunks[1];
    *ret_second = &rig->chunks[2];
    (*ret_head)->expected_ns = (*ret_second)->expected_ns = PIPELINE_NS;
    /* The clock stands still until the second one is sent: a busy machine must not make the
     * head look slow before that. */
    rig_stop_clock();
    rig_send(rig, *ret_blocker, "sleep", 1, "30");
    rig_send(rig, *ret_head, "sleep", 1, seconds);
}

static void send_second(struct rig *rig, struct chunk *second)
{
    rig_send(rig, second, "square", 1, "3");
    rig_let_clock_go();
}

static void only_a_short_chunk_may_wait_behind_a_short_one(void **state)
{
    struct rig *rig = *state;
    struct chunk *blocker, *head, *second;

    fill_up(rig, "30", &blocker, &head, &second);
    assert_null(pool_free_slot(rig->pool, 0));
    assert_null(pool_free_slot(rig->pool, PIPELINE_NS + 1));
    send_second(rig, second);
    assert_ptr_equal(second->worker, head->worker);
    assert_ptr_not_equal(second->worker, blocker->worker);
    assert_null(pool_free_slot(rig->pool, PIPELINE_NS)); /* two are enough */
}

/* What a socket does not take is not copied for a worker that has enough to do. */
static void worker_whose_socket_is_full_gets_nothing_more(void **state)
{
    enum { BLANKS = 1 << 20, SHORT_NS = 1000 };
    struct rig *rig = *state;
    struct chunk *blocker = &rig->chunks[0], *head = &rig->chunks[1],
                 *second = &rig->chunks[2];
    struct buf items = BUF_INIT;
    pid_t pid;

    for (int i = 0; i < BLANKS; i++)
        buf_add_char(&items, ' ');
    buf_add_str(&items, "30");
    rig_stop_clock(); /* to the end: the head is not to look slow */
    head->expected_ns = second->expected_ns = SHORT_NS;
    rig_send(rig, blocker, "sleep", 1, "30");
    rig_send(rig, head, "sleep", 1, "0");
    pid = info_of(rig, head).pid;
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_non_null(pool_free_slot(rig->pool, SHORT_NS));
    rig_send(rig, second, "sleep", 1, items.data);
    assert_ptr_equal(second->worker, head->worker);
    assert_null(pool_free_slot(rig->pool, SHORT_NS));
    assert_int_equal(kill(pid, SIGCONT), 0);
    /* It reads the second one, and is at it for long. */
    WAIT(rig, rig->seen_count == 1 && pool_free_slot(rig->pool, SHORT_NS));
    assert_ptr_equal(rig->seen[0].chunk, head);
    assert_ptr_equal(pool_free_slot(rig->pool, SHORT_NS), second->worker);
    buf_clear(&items);
}

static void chunk_that_waits_too_long_comes_back(void **state)
{
    struct rig *rig = *state;
    struct chunk *blocker, *head, *second;

    fill_up(rig, "1", &blocker, &head, &second);
    send_second(rig, second);
    WAIT(rig, rig->seen_count == 1);
    assert_non_null(blocker->worker);
    assert_int_equal(rig->seen[0].kind, SEEN_RETURNED);
    assert_ptr_equal(rig->seen[0].chunk, second);
    assert_int_equal(second->count, 1);
    assert_null(second->worker);
    /* And nothing else is put behind one that is known to be slow. */
    assert_null(pool_free_slot(rig->pool, PIPELINE_NS));
    /* The worker skips what was taken back, and goes on to the next. */
    WAIT(rig, rig->seen_count == 2);
    assert_ptr_equal(rig->seen[1].chunk, head);
    rig_send(rig, second, "square", 1, "4");
    WAIT(rig, rig->seen_count == 3);
    assert_true(text_equals(buf_text(&rig->results), "null 16 "));
}

static void reclaim_takes_back_only_what_was_not_begun(void **state)
{
    struct rig *rig = *state;
    struct chunk *blocker, *head, *second;

    fill_up(rig, "30", &blocker, &head, &second);
    send_second(rig, second);
    assert_ptr_equal(second->worker, head->worker);
    assert_true(pool_reclaim(rig->pool, second));
    assert_null(second->worker);
    WAIT(rig, info_of(rig, blocker).item == 0);
    assert_false(pool_reclaim(rig->pool, blocker));
    assert_int_equal(rig->seen_count, 0);
}

static void killed_chunk_is_lost_for_the_cause_it_was_killed_for(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { .first = 3 };

    rig_send(rig, &chunk, "sleep", 2, "0.05,30");
    WAIT(rig, chunk.first == 4 && is_on_item(rig, &chunk, 4));
    pool_kill_chunk(rig->pool, &chunk, EXIT_TERMINATED);
    assert_int_equal(pool_busy(rig->pool), 0);
    WAIT(rig, rig_newest(rig)->kind == SEEN_LOST);
    assert_int_equal(rig_newest(rig)->exit.cause, EXIT_TERMINATED);
    assert_int_equal(rig_newest(rig)->item, 4);
    WAIT(rig, pool_idle(rig->pool) == PROCESSES);
}

static void stopped_worker_is_killed_by_the_time_limit(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { .time_limit_ms = 100 };

    struct worker_info infos[PROCESSES];

    assert_int_equal(pool_workers(rig->pool, infos, PROCESSES), PROCESSES);
    for (unsigned i = 0; i < PROCESSES; i++)
        assert_int_equal(kill(infos[i].pid, SIGSTOP), 0);
    rig_send(rig, &chunk, "square", 1, "1");
    WAIT(rig, rig->seen_count == 1);
    assert_int_equal(rig->seen[0].kind, SEEN_LOST);
    assert_int_equal(rig->seen[0].exit.cause, EXIT_TIME_LIMIT);
    assert_true(rig->seen[0].item == UINT64_MAX); /* it never began the item */
}

static pid_t parent_of(pid_t pid)
{
    char path[64], line[256];
    int parent = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (parent == 0 && fgets(line, sizeof(line), file))
        sscanf(line, "PPid: %d", &parent);
    fclose(file);
    return parent;
}

static void dead_forkserver_is_restarted_and_nobody_is_to_blame(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { 0 };

    rig_send(rig, &chunk, "sleep", 1, "30");
    for (unsigned i = 1; i <= 2; i++) {
        kill(parent_of(info_of(rig, NULL).pid), SIGKILL);
        WAIT(rig, pool_lost_count(rig->pool) == i * PROCESSES);
        WAIT(rig, pool_idle(rig->pool) == PROCESSES);
    }
    assert_int_equal(rig->seen_count, 1);
    assert_int_equal(rig->seen[0].kind, SEEN_LOST);
    assert_int_equal(rig->seen[0].exit.cause, EXIT_FORKSERVER);
    chunk.first = 0;
    rig_send(rig, &chunk, "square", 1, "7");
    WAIT(rig, rig->seen_count == 2);
    assert_true(text_equals(buf_text(&rig->results), "49 "));
}

static void workers_are_confined(void **state)
{
    struct rig *rig = *state;
    char path[64], line[256];
    pid_t pid = info_of(rig, NULL).pid;
    int new_privs = -1, umask_value = -1;
    FILE *file;

    assert_int_equal(getpgid(pid), pid);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        sscanf(line, "NoNewPrivs: %d", &new_privs);
        sscanf(line, "Umask: %o", (unsigned *)&umask_value);
    }
    fclose(file);
    assert_int_equal(new_privs, 1);
    assert_int_equal(umask_value, 077);
    for (int fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
        /* Its socket, and behind that its folder. */
        assert_int_equal(access(path, F_OK) == 0, fd <= FORKSERVER_FD + 1);
    }
}

static void stop_lets_a_busy_worker_finish(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { 0 };

    rig_send(rig, &chunk, "sleep", 1, "0.1");
    pool_stop(rig->pool, rig_on_stopped);
    assert_null(pool_free_slot(rig->pool, 0));
    WAIT(rig, rig->stopped);
    assert_int_equal(rig->seen_count, 1);
    assert_true(rig->seen[0].last);
    assert_int_equal(pool_lost_count(rig->pool), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG),
                     -1); /* no child is left, dead or alive */
    assert_int_equal(errno, ECHILD);
}

static void kill_does_not_wait_and_blames_nobody(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { 0 };

    rig_send(rig, &chunk, "sleep", 1, "30");
    WAIT(rig, is_on_item(rig, &chunk, 0));
    pool_stop(rig->pool, rig_on_stopped);
    pool_kill(rig->pool);
    WAIT(rig, rig->stopped);
    assert_int_equal(rig->seen_count, 1);
    assert_int_equal(rig->seen[0].exit.cause, EXIT_TERMINATED);
    assert_true(rig->seen[0].item == UINT64_MAX);
}

/* ---- change ------------------------------------------------------------------------ */

/* Runs one chunk of one item and waits for its result. */
static void run_one(struct rig *rig, struct chunk *chunk)
{
    unsigned before = rig->seen_count;

    WAIT(rig, pool_idle(rig->pool) > 0);
    *chunk = (struct chunk){ 0 };
    rig_send(rig, chunk, "square", 1, "3");
    WAIT(rig, rig->seen_count > before);
    assert_int_equal(rig_newest(rig)->kind, SEEN_RESULT);
}

static void change(struct rig *rig, unsigned processes, uint64_t chunks, uint64_t memory)
{
    struct pool_options options = rig_options(processes);

    options.chunks_per_worker = chunks;
    options.worker.limits.at[LIMIT_MEMORY] = memory;
    pool_change(rig->pool, &options);
}

static size_t worker_count(const struct rig *rig)
{
    struct worker_info infos[16];

    return pool_workers(rig->pool, infos, 16);
}

static void growing_pool_starts_workers(void **state)
{
    struct rig *rig = *state;

    change(rig, 4, 0, 0);
    WAIT(rig, pool_idle(rig->pool) == 4);
    assert_int_equal(pool_processes(rig->pool), 4);
}

static void shrinking_pool_ends_idle_workers_first(void **state)
{
    struct rig *rig = *state;
    struct chunk chunk = { 0 };

    rig_send(rig, &chunk, "sleep", 1, "30");
    WAIT(rig, is_on_item(rig, &chunk, 0));
    change(rig, 1, 0, 0);
    WAIT(rig, worker_count(rig) == 1);
    assert_true(is_on_item(rig, &chunk, 0));
    assert_int_equal(pool_lost_count(rig->pool), 0);
    pool_kill_chunk(rig->pool, &chunk, EXIT_TERMINATED);
    WAIT(rig, pool_idle(rig->pool) == 1);
}

static void busy_worker_that_is_too_many_finishes_first(void **state)
{
    struct rig *rig = *state;
    struct chunk chunks[PROCESSES];

    memset(chunks, 0, sizeof(chunks));
    for (unsigned i = 0; i < PROCESSES; i++) {
        rig_send(rig, &chunks[i], "sleep", 1, "1");
        WAIT(rig, is_on_item(rig, &chunks[i], 0));
    }
    change(rig, 1, 0, 0);
    assert_int_equal(pool_busy(rig->pool), PROCESSES);
    WAIT(rig, rig->seen_count == PROCESSES);
    for (unsigned i = 0; i < PROCESSES; i++)
        assert_int_equal(rig->seen[i].kind, SEEN_RESULT);
    WAIT(rig, worker_count(rig) == 1 && pool_idle(rig->pool) == 1);
    assert_int_equal(pool_lost_count(rig->pool), 0);
}

static void pool_that_shrinks_while_it_starts_has_no_worker_too_many(void **state)
{
    struct rig *rig = *state;

    change(rig, 8, 0, 0);
    change(rig, 3, 0, 0);
    WAIT(rig, worker_count(rig) == 3 && pool_idle(rig->pool) == 3);
    assert_string_equal(pool_start_error(rig->pool), "");
    assert_int_equal(pool_lost_count(rig->pool), 0);
}

static void worker_is_replaced_after_its_chunks(void **state)
{
    struct rig *rig = *state;
    struct worker_info infos[4];
    pid_t pids[3];

    change(rig, 1, 2, 0);
    WAIT(rig, worker_count(rig) == 1);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned j = 0; j < 2; j++) {
            WAIT(rig, pool_idle(rig->pool) == 1);
            assert_int_equal(pool_workers(rig->pool, infos, 4), 1);
            pids[i] = infos[0].pid;
            run_one(rig, &rig->chunks[0]);
        }
    }
    assert_true(pids[0] != pids[1] && pids[1] != pids[2]);
    WAIT(rig, pool_idle(rig->pool) == 1);
    assert_int_equal(pool_lost_count(rig->pool), 0);
}

static void worker_with_one_chunk_left_takes_no_second_one(void **state)
{
    struct rig *rig = *state;
    struct chunk first = { .expected_ns = 1000 }, second = { .expected_ns = 1000 };

    change(rig, 1, 2, 0);
    WAIT(rig, worker_count(rig) == 1);
    rig_stop_clock();
    rig_send(rig, &first, "square", 1, "3");
    assert_non_null(pool_free_slot(rig->pool, 1000)); /* behind it */
    rig_send(rig, &second, "square", 1, "4");
    assert_null(pool_free_slot(rig->pool, 1000)); /* these were its two */
    WAIT(rig, rig->seen_count == 2 && pool_idle(rig->pool) == 1);
    assert_string_equal(rig->results.data, "9 16 ");
    assert_int_equal(pool_lost_count(rig->pool), 0);
}

static void another_memory_limit_replaces_every_worker(void **state)
{
    struct rig *rig = *state;
    struct worker_info before[PROCESSES], after[PROCESSES];
    char path[64], line[256];
    bool seen = false;
    FILE *file;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they need terabytes of address space */
#endif
    assert_int_equal(pool_workers(rig->pool, before, PROCESSES), PROCESSES);
    change(rig, PROCESSES, 0, 256u << 20);
    WAIT(rig, pool_workers(rig->pool, after, PROCESSES) == PROCESSES &&
                  pool_idle(rig->pool) == PROCESSES && after[0].pid != before[0].pid &&
                  after[1].pid != before[1].pid);
    (void)snprintf(path, sizeof(path), "/proc/%d/limits", (int)after[0].pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        seen = seen || (strstr(line, "Max address space") && strstr(line, " 268435456 "));
    fclose(file);
    assert_true(seen);
    run_one(rig, &rig->chunks[0]);
}

static int set_up_fresh(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct pool_options options = rig_options(PROCESSES);
    struct error_text err;

    if (!rig)
        return -1;
    rig->fd_count = rig_count_fds();
    if (forkserver_start(&rig->forkserver, -1, NULL, &err) != ST_OK)
        return -1;
    *state = rig;
    options.worker.fresh = true;
    rig_start_with(rig, &options);
    WAIT(rig, pool_idle(rig->pool) == PROCESSES);
    return 0;
}

static void fresh_worker_is_an_executed_one(void **state)
{
    struct rig *rig = *state;
    struct worker_info infos[PROCESSES];
    char path[64], text[64] = "";
    FILE *file;

    assert_int_equal(pool_workers(rig->pool, infos, PROCESSES), PROCESSES);
    (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)infos[0].pid);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 12);
    fclose(file);
    assert_memory_equal(text, "poold\0worker", 12);
    run_one(rig, &rig->chunks[0]);
    assert_string_equal(rig->results.data, "9 ");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(results_come_in_the_order_of_the_items),
        CASE(failure_comes_between_the_results_around_it),
        CASE(chunk_larger_than_the_socket_arrives),
        CASE(capacity_is_told_once_for_all_workers_that_became_free),
        CASE(killed_worker_loses_only_what_had_no_result_and_is_replaced),
        CASE(pool_is_full_again_soon_after_a_kill),
        CASE(item_over_its_time_limit_is_killed_and_guilty),
        CASE(time_limit_is_for_each_item_and_not_for_the_chunk),
        CASE(only_a_short_chunk_may_wait_behind_a_short_one),
        CASE(worker_whose_socket_is_full_gets_nothing_more),
        CASE(chunk_that_waits_too_long_comes_back),
        CASE(reclaim_takes_back_only_what_was_not_begun),
        CASE(killed_chunk_is_lost_for_the_cause_it_was_killed_for),
        CASE(stopped_worker_is_killed_by_the_time_limit),
        CASE(dead_forkserver_is_restarted_and_nobody_is_to_blame),
        CASE(workers_are_confined),
        CASE(stop_lets_a_busy_worker_finish),
        CASE(kill_does_not_wait_and_blames_nobody),
        CASE(growing_pool_starts_workers),
        CASE(shrinking_pool_ends_idle_workers_first),
        CASE(busy_worker_that_is_too_many_finishes_first),
        CASE(pool_that_shrinks_while_it_starts_has_no_worker_too_many),
        CASE(worker_is_replaced_after_its_chunks),
        CASE(worker_with_one_chunk_left_takes_no_second_one),
        CASE(another_memory_limit_replaces_every_worker),
        cmocka_unit_test_setup_teardown(fresh_worker_is_an_executed_one, set_up_fresh,
                                        tear_down),
        cmocka_unit_test_setup_teardown(workers_are_confined, set_up_fresh, tear_down),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0)
        return forkserver_main(argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return worker_main(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
