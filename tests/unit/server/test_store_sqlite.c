/* SPDX-License-Identifier: MIT */
/*
 * What only the SQLite back end promises: files that it refuses, recovery, checksums,
 * group commit, and what a failing disk means.
 *
 * The disk fails on demand: this program's own fdatasync is the one that SQLite calls,
 * and its writes go through a function that SQLite lets us replace.
 */
#include "tests/unit/server/test_store_sqlite_fixture.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a disk that fails on demand -------------------------------------------------- */

static atomic_int sync_error, write_error; /* errno of each call; 0: it works */
static atomic_uint sync_count;
static atomic_bool sync_blocks; /* the next one waits for sync_go */
static sem_t sync_entered, sync_go;

int fdatasync(int fd)
{
    atomic_fetch_add(&sync_count, 1);
    if (atomic_exchange(&sync_blocks, false)) {
        sem_post(&sync_entered);
        while (sem_wait(&sync_go) != 0)
            continue;
    }
    if (atomic_load(&sync_error)) {
        errno = atomic_load(&sync_error);
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static ssize_t failing_pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    if (atomic_load(&write_error)) {
        errno = atomic_load(&write_error);
        return -1;
    }
    return pwrite(fd, bytes, len, offset);
}

static void replace_writes(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    /* Which of them it uses depends on how SQLite was built. */
    vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)failing_pwrite);
    vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)failing_pwrite);
}

static int mend_and_tear_down(void **state)
{
    atomic_store(&sync_error, 0);
    atomic_store(&write_error, 0);
    return tear_down(state);
}

/* ---- recovery --------------------------------------------------------------------- */

struct loaded {
    struct stored_stub stubs[8]; /* their texts have gone */
    size_t count;
    bool keys_are_right; /* of the last one */
    enum status st;      /* to be returned */
};

static enum status note_loaded(void *data, const struct stored_stub *stored)
{
    struct loaded *loaded = data;

    assert_true(loaded->count < 8);
    assert_string_equal(stored->pool, "default");
    loaded->keys_are_right = stored->unique_key && stored->idempotency_key &&
                             strcmp(stored->unique_key, "sync:7") == 0 &&
                             strcmp(stored->idempotency_key, "order-7") == 0;
    loaded->stubs[loaded->count++] = *stored;
    return loaded->st;
}

static enum status load(struct fixture *fx, struct loaded *loaded,
                        struct uuid *ret_newest)
{
    struct error_text err = { "" };

    return store_load_unfinished(fx->store, note_loaded, loaded, ret_newest, &err);
}

/* Pools as they were loaded: "name/processes/state name/..." */
static enum status note_pool(void *data, struct pool_spec *spec, enum pool_state state)
{
    buf_addf(data, "%s/%u/%s/%s ", spec->name, spec->processes,
             spec->initializer ? spec->initializer : "-", pool_state_names[state]);
    pool_spec_unref(spec);
    return ST_OK;
}

static void assert_pools(struct fixture *fx, const char *expected)
{
    struct error_text err = { "" };
    struct buf all = BUF_INIT;

    reopen(fx);
    buf_add_str(&all, "");
    assert_int_equal(store_load_pools(fx->store, note_pool, &all, &err), ST_OK);
    assert_string_equal(all.data ? all.data : "", expected);
    buf_clear(&all);
}

static void put_pool(struct fixture *fx, const char *name, unsigned processes,
                     enum pool_state state)
{
    struct pool_spec *spec =
        pool_spec_new(&(struct pool_spec){ .name = name,
                                           .processes = processes,
                                           .initializer = processes > 1 ? "echo" : NULL,
                                           .initargs = "[1]" });
    struct answer got = { 0 };

    assert_non_null(spec);
    store_put_pool(fx->store, spec, state, note_done, &got);
    pool_spec_unref(spec);
    wait_for(fx, &got, 1);
    assert_int_equal(got.st, ST_OK);
}

static enum status delete_pool(struct fixture *fx, const char *name)
{
    struct pool_spec *spec =
        pool_spec_new(&(struct pool_spec){ .name = name, .initargs = "[]" });
    struct answer got = { 0 };

    assert_non_null(spec);
    store_delete_pool(fx->store, spec, note_done, &got);
    pool_spec_unref(spec);
    wait_for(fx, &got, 1);
    return got.st;
}

static void pools_outlive_a_restart_in_the_order_in_which_they_were_made(void **state)
{
    struct fixture *fx = *state;

    assert_pools(fx, "");
    put_pool(fx, "z", 2, POOL_RUNNING);
    put_pool(fx, "a", 1, POOL_CLOSED);
    put_pool(fx, "m", 1, POOL_RUNNING);
    put_pool(fx, "z", 5, POOL_TERMINATED); /* changed, not made anew */
    assert_int_equal(delete_pool(fx, "m"), ST_OK);
    assert_int_equal(delete_pool(fx, "m"), ST_NOT_FOUND);
    assert_pools(fx, "z/5/echo/terminated a/1/-/closed ");
}

static void a_damaged_pool_is_left_out_and_alone(void **state)
{
    struct fixture *fx = *state;

    put_pool(fx, "a", 1, POOL_RUNNING);
    put_pool(fx, "b", 1, POOL_RUNNING);
    close_store(fx);
    change(fx, "UPDATE pool SET state = 'dancing' WHERE name = 'a'");
    fixture_open(fx);
    assert_pools(fx, "b/1/-/running ");
    close_store(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM pool"), 2);
    fixture_open(fx);
}

static struct job_spec *map_of_three(struct fixture *fx)
{
    struct job_spec plan = spec_plan(fx);

    plan.method = JOB_MAP;
    plan.item_count = 3;
    return spec_make(plan, "[10, 20, 30]", "{\"k\":1}");
}

static void a_restart_finds_every_job_that_is_not_over(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *scheduled = spec_of(fx), *map = map_of_three(fx),
                    *over = spec_of(fx);
    struct loaded loaded = { .st = ST_OK };
    struct job_spec plan = spec_plan(fx), *keyed;
    struct uuid newest;

    plan.start_at_ms = 1700000000001;
    plan.expires_at_ms = 1700000000002;
    plan.priority = -7;
    plan.unique_key = "sync:7";
    plan.idempotency_key = "order-7";
    keyed = spec_make(plan, "[5, 6]", "");
    assert_int_equal(put_job(fx, map, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, map, JOB_RUNNING), ST_OK);
    assert_int_equal(put_outcome(fx, map, 2, 1, true, "{}"), ST_OK);
    assert_int_equal(put_outcome(fx, map, 0, 2, false, "1,2"), ST_OK);
    assert_int_equal(put_job(fx, scheduled, JOB_SCHEDULED), ST_OK);
    assert_int_equal(put_job(fx, over, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, over, JOB_SUCCEEDED), ST_OK);
    assert_int_equal(put_job(fx, keyed, JOB_SCHEDULED), ST_OK);
    reopen(fx);
    assert_int_equal(load(fx, &loaded, &newest), ST_OK);
    assert_true(uuid_equal(newest, keyed->id));
    assert_int_equal(loaded.count, 3);
    assert_true(uuid_equal(loaded.stubs[0].id, scheduled->id));
    assert_int_equal(loaded.stubs[0].state, JOB_SCHEDULED);
    assert_false(loaded.stubs[0].begun);
    assert_true(uuid_equal(loaded.stubs[1].id, map->id));
    assert_true(loaded.stubs[1].begun); /* it has outcomes */
    assert_true(loaded.keys_are_right);
    assert_int_equal(loaded.stubs[2].start_at_ms, plan.start_at_ms);
    assert_int_equal(loaded.stubs[2].expires_at_ms, plan.expires_at_ms);
    assert_int_equal(loaded.stubs[2].priority, -7);
    assert_int_equal(loaded.stubs[2].bytes, 6);
    job_spec_unref(keyed);
    job_spec_unref(scheduled);
    job_spec_unref(map);
    job_spec_unref(over);
}

static void an_empty_store_has_no_newest_id(void **state)
{
    static const struct uuid zero;
    struct loaded loaded = { .st = ST_OK };
    struct uuid newest;

    assert_int_equal(load(*state, &loaded, &newest), ST_OK);
    assert_int_equal(loaded.count, 0);
    assert_true(uuid_equal(newest, zero));
}

static void a_load_ends_with_the_first_refusal(void **state)
{
    struct fixture *fx = *state;
    struct loaded loaded = { .st = ST_NO_MEMORY };
    struct uuid newest;

    for (int i = 0; i < 3; i++) {
        struct job_spec *spec = spec_of(fx);

        assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
        job_spec_unref(spec);
    }
    assert_int_equal(load(fx, &loaded, &newest), ST_NO_MEMORY);
    assert_int_equal(loaded.count, 1);
}

/* In a process that dies with SIGKILL as soon as the answer has come. */
static void put_and_die(struct fixture *fx, struct job_spec *durable,
                        struct job_spec *relaxed)
{
    fixture_open(fx);
    if (put_job(fx, relaxed, JOB_QUEUED) == ST_OK &&
        put_job(fx, durable, JOB_QUEUED) == ST_OK)
        raise(SIGKILL);
    _exit(1);
}

static void what_was_acknowledged_outlives_a_killed_server(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_spec *durable = spec_of(fx), *relaxed;
    struct loaded loaded = { .st = ST_OK };
    struct uuid newest;
    int how;
    pid_t pid;

    plan.durability = DURABILITY_RELAXED;
    relaxed = spec_make(plan, "[6]", "");
    close_store(fx);
    pid = fork();
    if (pid == 0)
        put_and_die(fx, durable, relaxed);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    fixture_open(fx);
    assert_int_equal(load(fx, &loaded, &newest), ST_OK);
    assert_int_equal(loaded.count, 2);
    job_spec_unref(durable);
    job_spec_unref(relaxed);
}

static void an_idempotency_key_outlives_a_restart(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_spec *first, *second;

    plan.idempotency_key = "order-20";
    first = spec_make(plan, "[5]", "");
    plan.id = uuid_next(&fx->ids, 1700000000000);
    second = spec_make(plan, "[5]", "");
    assert_int_equal(put_job(fx, first, JOB_QUEUED), ST_OK);
    reopen(fx);
    assert_int_equal(put_job(fx, second, JOB_QUEUED), ST_EXISTS);
    job_spec_unref(first);
    job_spec_unref(second);
}

/* ---- damage ----------------------------------------------------------------------- */

/* Two map jobs that run, each with one outcome; then the SQL. */
static void damage(struct fixture *fx, struct job_spec *ret_specs[2], const char *sql)
{
    for (int i = 0; i < 2; i++) {
        ret_specs[i] = map_of_three(fx);
        assert_int_equal(put_job(fx, ret_specs[i], JOB_RUNNING), ST_OK);
        assert_int_equal(put_outcome(fx, ret_specs[i], 0, 1, false, i ? "11" : "10"),
                         ST_OK);
    }
    close_store(fx);
    change(fx, sql);
    fixture_open(fx);
}

/* The first job is damaged, the second is whole. The load leaves out the first, or at least
 * (if the damage is not in what the load looks at) it cannot be read. */
static void assert_first_is_corrupt(struct fixture *fx, struct job_spec *specs[2])
{
    struct loaded loaded = { .st = ST_OK };
    struct uuid newest;
    struct answer got;

    assert_int_equal(get_job(fx, specs[0]->id, true, &got), ST_CORRUPT);
    assert_null(got.job.spec);
    assert_int_equal(get_job(fx, specs[1]->id, true, &got), ST_OK);
    assert_int_equal(got.job.outcome_count, 1);
    answer_clear(&got);
    assert_int_equal(load(fx, &loaded, &newest), ST_OK);
    assert_in_range(loaded.count, 1, 2);
    assert_true(uuid_equal(loaded.stubs[loaded.count - 1].id, specs[1]->id));
    job_spec_unref(specs[0]);
    job_spec_unref(specs[1]);
}

static void a_changed_byte_of_the_input_is_found(void **state)
{
    struct job_spec *specs[2];

    damage(*state, specs,
           "UPDATE job SET body = CAST('[10, 20, 31]{\"k\":1}' AS BLOB) "
           "WHERE key = (SELECT min(key) FROM job)");
    assert_first_is_corrupt(*state, specs);
}

/* An array of one string, of so many bytes in all. The caller frees it. */
static char *long_input(size_t len)
{
    char *input = malloc(len + 1);

    assert_non_null(input);
    memset(input, 'x', len);
    memcpy(input, "[\"", 2);
    memcpy(input + len - 2, "\"]", 3);
    for (size_t i = 2; i < len - 2; i += 1000) /* no two parts are alike */
        input[i] = (char)('a' + i / 1000 % 26);
    return input;
}

static void a_very_long_body_is_in_parts(void **state)
{
    static const size_t lens[] = { 4u << 20, (4u << 20) + 1, 9u << 20 };
    static const int64_t parts[] = { 0, 1, 2 };
    struct fixture *fx = *state;
    struct answer got;

    for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
        char *input = long_input(lens[i]);
        struct job_spec *spec = spec_make(spec_plan(fx), input, "");

        assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
        assert_int_equal(ask(fx, "SELECT count(*) FROM body_part"), parts[i]);
        assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
        assert_int_equal(got.job.spec->input.len, lens[i]);
        assert_memory_equal(got.job.spec->input.at, input, lens[i]);
        answer_clear(&got);
        store_get_job(fx->store, spec->id, 0, note_job, &got);
        wait_for(fx, &got, 1);
        assert_int_equal(got.st, ST_OK);
        assert_null(got.job.spec->body); /* not asked for */
        answer_clear(&got);
        store_delete_job(fx->store, spec->id, note_done, &got);
        wait_for(fx, &got, 1);
        assert_int_equal(ask(fx, "SELECT count(*) FROM body_part"), 0);
        job_spec_unref(spec);
        free(input);
    }
}

static void assert_part_is_missed(struct fixture *fx, const char *sql)
{
    char *input = long_input(9u << 20);
    struct job_spec *spec = spec_make(spec_plan(fx), input, "");
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    close_store(fx);
    change(fx, sql);
    fixture_open(fx);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_CORRUPT);
    job_spec_unref(spec);
    free(input);
}

static void a_lost_or_exchanged_part_is_found(void **state)
{
    assert_part_is_missed(*state, "DELETE FROM body_part WHERE part = 2");
    assert_part_is_missed(*state, "UPDATE body_part SET part = 3 WHERE part = 1");
}

static void a_moved_border_between_input_and_kwargs_is_found(void **state)
{
    struct job_spec *specs[2];

    damage(*state, specs,
           "UPDATE job SET input_len = input_len + 1 "
           "WHERE key = (SELECT min(key) FROM job)");
    assert_first_is_corrupt(*state, specs);
}

static void a_changed_byte_of_an_outcome_is_found(void **state)
{
    struct job_spec *specs[2];

    damage(*state, specs,
           "UPDATE outcome SET body = CAST('12' AS BLOB) "
           "WHERE job = (SELECT min(job) FROM outcome)");
    assert_first_is_corrupt(*state, specs);
}

static void an_outcome_of_another_job_is_found(void **state)
{
    struct job_spec *specs[2];

    damage(
        *state, specs,
        "INSERT INTO outcome SELECT (SELECT min(job) FROM outcome), 1, count, is_error, "
        "checksum, body FROM outcome WHERE job = (SELECT max(job) FROM outcome)");
    assert_first_is_corrupt(*state, specs);
}

static void an_unknown_state_is_found(void **state)
{
    struct job_spec *specs[2];
    struct answer got;

    damage(*state, specs,
           "UPDATE job SET state = 'rnning' WHERE key = (SELECT min(key) FROM job)");
    assert_int_equal(get_job(*state, specs[0]->id, true, &got), ST_CORRUPT);
    job_spec_unref(specs[0]);
    job_spec_unref(specs[1]);
}

/* ---- commits ---------------------------------------------------------------------- */

#define MANY 64

static void commands_that_gather_are_committed_together(void **state)
{
    struct fixture *fx = *state;
    struct job_status queued = status_of(JOB_QUEUED);
    struct job_spec *begin = spec_of(fx), *first = spec_of(fx), *specs[MANY];
    struct answer put_first = { 0 }, puts = { 0 };
    struct store_info info;
    unsigned syncs;

    assert_int_equal(put_job(fx, begin, JOB_QUEUED), ST_OK); /* begins the WAL */
    atomic_store(&sync_blocks, true);
    store_put_job(fx->store, first, &queued, NULL, note_put, &put_first);
    sem_wait(&sync_entered);
    syncs = atomic_load(&sync_count);
    for (int i = 0; i < MANY; i++) {
        specs[i] = spec_of(fx);
        store_put_job(fx->store, specs[i], &queued, NULL, note_put, &puts);
    }
    assert_int_equal(store_backlog(fx->store), MANY + 1);
    store_drain(fx->store);
    assert_int_equal(put_first.called, 0); /* not before it is on the disk */
    sem_post(&sync_go);
    wait_for(fx, &puts, MANY);
    store_get_info(fx->store, &info);
    assert_int_equal(info.commits, 3);
    assert_int_equal(info.commands, MANY + 2);
    assert_int_equal(atomic_load(&sync_count) - syncs, 1);
    for (int i = 0; i < MANY; i++)
        job_spec_unref(specs[i]);
    job_spec_unref(first);
    job_spec_unref(begin);
}

static void only_durable_jobs_wait_for_the_disk(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    struct job_spec *relaxed, *durable = spec_of(fx);
    unsigned syncs;

    plan.durability = DURABILITY_RELAXED;
    relaxed = spec_make(plan, "[5]", "");
    assert_int_equal(put_job(fx, durable, JOB_QUEUED), ST_OK); /* begins the WAL */
    syncs = atomic_load(&sync_count);
    assert_int_equal(put_job(fx, relaxed, JOB_QUEUED), ST_OK);
    assert_int_equal(put_status(fx, relaxed, JOB_RUNNING), ST_OK);
    assert_int_equal(atomic_load(&sync_count), syncs);
    assert_int_equal(put_status(fx, durable, JOB_RUNNING), ST_OK);
    assert_int_equal(atomic_load(&sync_count), syncs + 1);
    assert_int_equal(delete_job(fx, relaxed->id), ST_OK);
    assert_int_equal(atomic_load(&sync_count), syncs + 2);
    job_spec_unref(relaxed);
    job_spec_unref(durable);
}

static void the_wal_is_bounded(void **state)
{
    struct fixture *fx = *state;
    struct job_spec plan = spec_plan(fx);
    char *input = malloc(1 << 20);
    struct store_info info;

    assert_non_null(input);
    memset(input, '1', 1 << 20);
    input[(1 << 20) - 1] = '\0';
    plan.durability = DURABILITY_RELAXED;
    for (int i = 0; i < 100; i++) {
        struct job_spec *spec;

        plan.id = uuid_next(&fx->ids, 1700000000000);
        spec = spec_make(plan, input, "");
        assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
        job_spec_unref(spec);
    }
    store_get_info(fx->store, &info);
    assert_true(info.wal_bytes < 36u << 20);
    assert_true(info.database_bytes > 64u << 20);
    free(input);
}

/* ---- a disk that fails ------------------------------------------------------------ */

static void a_full_disk_refuses_jobs_and_keeps_what_belongs_to_others(void **state)
{
    struct fixture *fx = *state;
    struct job_status succeeded = status_of(JOB_SUCCEEDED);
    struct job_spec *spec = spec_of(fx), *late = spec_of(fx);
    struct answer done = { 0 }, got;
    struct store_info info;

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    atomic_store(&write_error, ENOSPC);
    store_put_status(fx->store, spec, &succeeded, NULL, note_done, &done);
    assert_int_equal(put_job(fx, late, JOB_QUEUED), ST_STORAGE_FULL);
    assert_int_equal(done.called, 0);
    assert_int_equal(store_backlog(fx->store), 1);
    store_get_info(fx->store, &info);
    assert_false(info.writable);
    atomic_store(&write_error, 0);
    wait_for(fx, &done, 1); /* by itself, within a second */
    assert_int_equal(done.st, ST_OK);
    store_get_info(fx->store, &info);
    assert_true(info.writable);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_SUCCEEDED);
    answer_clear(&got);
    assert_int_equal(get_job(fx, late->id, false, &got), ST_NOT_FOUND);
    assert_int_equal(put_job(fx, late, JOB_QUEUED), ST_OK);
    assert_int_equal(fx->fatal_count, 0);
    job_spec_unref(late);
    job_spec_unref(spec);
}

static void a_full_disk_keeps_a_job_that_its_client_knows_of(void **state)
{
    struct fixture *fx = *state;
    struct job_status queued = status_of(JOB_QUEUED),
                      succeeded = status_of(JOB_SUCCEEDED);
    struct job_spec *known = spec_of(fx), *late = spec_of(fx);
    struct answer recorded = { 0 }, done = { 0 }, got;

    known->idempotency_key = NULL;
    atomic_store(&write_error, ENOSPC);
    store_record_job(fx->store, known, &queued, note_done, &recorded);
    assert_int_equal(put_job(fx, late, JOB_QUEUED), ST_STORAGE_FULL);
    store_put_status(fx->store, known, &succeeded, NULL, note_done, &done);
    assert_int_equal(recorded.called, 0);
    atomic_store(&write_error, 0);
    wait_for(fx, &done, 1); /* by itself, within a second */
    assert_int_equal(recorded.st, ST_OK);
    assert_int_equal(done.st, ST_OK);
    assert_int_equal(get_job(fx, known->id, false, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_SUCCEEDED);
    answer_clear(&got);
    job_spec_unref(late);
    job_spec_unref(known);
}

static void close_tries_once_more_what_a_full_disk_has_kept(void **state)
{
    struct fixture *fx = *state;
    struct job_status succeeded = status_of(JOB_SUCCEEDED);
    struct job_spec *spec = spec_of(fx), *late = spec_of(fx);
    struct answer done = { 0 }, got;

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    atomic_store(&write_error, ENOSPC);
    store_put_status(fx->store, spec, &succeeded, NULL, note_done, &done);
    assert_int_equal(put_job(fx, late, JOB_QUEUED), ST_STORAGE_FULL);
    atomic_store(&write_error, 0);
    reopen(fx);
    assert_int_equal(done.st, ST_OK);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_SUCCEEDED);
    answer_clear(&got);
    job_spec_unref(late);
    job_spec_unref(spec);
}

static void close_gives_up_what_still_cannot_be_stored(void **state)
{
    struct fixture *fx = *state;
    struct job_status succeeded = status_of(JOB_SUCCEEDED);
    struct job_spec *spec = spec_of(fx);
    struct answer done = { 0 }, got;

    assert_int_equal(put_job(fx, spec, JOB_RUNNING), ST_OK);
    atomic_store(&write_error, ENOSPC);
    store_put_status(fx->store, spec, &succeeded, NULL, note_done, &done);
    close_store(fx);
    assert_int_equal(done.called, 1);
    assert_int_equal(done.st, ST_STORAGE_FULL);
    atomic_store(&write_error, 0);
    fixture_open(fx);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_int_equal(got.job.status.state, JOB_RUNNING);
    answer_clear(&got);
    job_spec_unref(spec);
}

static void a_failed_sync_is_unknown_and_fatal_once(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx), *late = spec_of(fx);

    atomic_store(&sync_error, EIO);
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_UNKNOWN);
    assert_int_equal(fx->fatal_count, 1);
    assert_non_null(strstr(fx->fatal_why.text, "poold.db"));
    atomic_store(&sync_error, 0);
    /* The disk works again, but nothing can be trusted now. */
    assert_int_equal(put_job(fx, late, JOB_QUEUED), ST_UNKNOWN);
    assert_int_equal(put_status(fx, spec, JOB_RUNNING), ST_UNKNOWN);
    assert_int_equal(fx->fatal_count, 1);
    reopen(fx);
    assert_int_equal(put_job(fx, late, JOB_QUEUED), ST_OK);
    job_spec_unref(late);
    job_spec_unref(spec);
}

static void a_failed_write_is_unknown(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);

    atomic_store(&write_error, EIO);
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_UNKNOWN);
    assert_int_equal(fx->fatal_count, 1);
    job_spec_unref(spec);
}

#define TEST(test)                                                                       \
    cmocka_unit_test_setup_teardown(test, set_up_sqlite, mend_and_tear_down)

/* ---- events ------------------------------------------------------------------------ */

static void note_event(void *data, const struct event *event)
{
    struct answer *answer = data;

    answer->called++;
    answer->existing.request_hash = event->id; /* the newest */
}

static void load_events(struct fixture *fx, struct answer *ret_answer)
{
    struct error_text err = { "" };

    memset(ret_answer, 0, sizeof(*ret_answer));
    assert_int_equal(store_load_events(fx->store, note_event, ret_answer, &err), ST_OK);
}

static void an_event_is_stored_with_what_makes_it_true(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx), *unknown = spec_of(fx);
    struct event event = { .id = 5, .kind = EVENT_CREATED, .job = spec->id };
    struct job_status status = status_of(JOB_QUEUED);
    struct answer answer = { 0 };

    store_put_job(fx->store, spec, &status, &event, note_put, &answer);
    wait_for(fx, &answer, 1);
    event.id = 6;
    store_put_events(fx->store, &event, 1);
    event.id = 7;
    event.kind = EVENT_SUCCEEDED;
    status.state = event.state = JOB_SUCCEEDED;
    store_put_status(fx->store, spec, &status, &event, NULL, NULL);
    event.id = 8; /* refused: there is no such job */
    store_put_status(fx->store, unknown, &status, &event, note_done, &answer);
    wait_for(fx, &answer, 2);
    assert_int_equal(answer.st, ST_NOT_FOUND);
    reopen(fx);
    load_events(fx, &answer);
    assert_int_equal(answer.called, 3);
    assert_int_equal(answer.existing.request_hash, 7);
    job_spec_unref(spec);
    job_spec_unref(unknown);
}

static void the_newest_events_are_kept(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct event event = { .kind = EVENT_STARTED, .job = spec->id };
    struct answer answer;

    for (event.id = 1; event.id <= 12500; event.id++)
        store_put_events(fx->store, &event, 1);
    reopen(fx);
    load_events(fx, &answer);
    assert_int_equal(answer.called, EVENTS_STORED_MAX);
    assert_int_equal(answer.existing.request_hash, 12500);
    close_store(fx);
    assert_in_range(ask(fx, "SELECT sum(count) FROM event_run"), EVENTS_STORED_MAX,
                    EVENTS_STORED_MAX + 1000);
    fixture_open(fx);
    job_spec_unref(spec);
}

static void many_events_of_a_commit_are_a_few_rows(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    static struct event events[5000];
    struct answer answer;

    for (size_t i = 0; i < 5000; i++)
        events[i] = (struct event){ .id = i + 1, .kind = EVENT_STARTED, .job = spec->id };
    store_put_events(fx->store, events, 5000);
    reopen(fx);
    load_events(fx, &answer);
    assert_int_equal(answer.called, 5000);
    assert_int_equal(answer.existing.request_hash, 5000);
    close_store(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM event_run"), 10);
    assert_int_equal(ask(fx, "SELECT max(count) FROM event_run"), 500);
    fixture_open(fx);
    job_spec_unref(spec);
}

static void copy_event(void *data, const struct event *event)
{
    *(struct event *)data = *event;
}

static void events_of_an_older_schema_are_taken_over(void **state)
{
    struct fixture *fx = *state;
    struct error_text err = { "" };
    struct event event;
    struct uuid job;

    assert_true(uuid_parse("01900000-0000-7000-8000-00000000002a", 36, &job));
    close_store(fx);
    change(fx, "CREATE TABLE event (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, "
               "job BLOB NOT NULL, state TEXT NOT NULL, total INTEGER NOT NULL, "
               "completed INTEGER NOT NULL, failed INTEGER NOT NULL, "
               "owner INTEGER NOT NULL DEFAULT 0) STRICT; "
               "INSERT INTO event VALUES (7, 'job.failed', "
               "x'0190000000007000800000000000002a', 'failed', 9, 4, 5, 3); "
               "DROP TABLE event_run; ALTER TABLE job DROP COLUMN traceparent; "
               "ALTER TABLE job DROP COLUMN tracestate; "
               "ALTER TABLE job DROP COLUMN forgiven; "
               "ALTER TABLE job DROP COLUMN result; "
               "ALTER TABLE job DROP COLUMN result_checksum; "
               "DROP TABLE identity; PRAGMA user_version = 12");
    fixture_open(fx);
    assert_int_equal(store_load_events(fx->store, copy_event, &event, &err), ST_OK);
    assert_int_equal(event.id, 7);
    assert_int_equal(event.kind, EVENT_FAILED);
    assert_true(uuid_equal(event.job, job));
    assert_int_equal(event.state, JOB_FAILED);
    assert_int_equal(event.total, 9);
    assert_int_equal(event.completed, 4);
    assert_int_equal(event.failed, 5);
    assert_int_equal(event.owner, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SQLITE(many_events_of_a_commit_are_a_few_rows),
        SQLITE(events_of_an_older_schema_are_taken_over),
        SQLITE(an_event_is_stored_with_what_makes_it_true),
        SQLITE(the_newest_events_are_kept),
        TEST(a_restart_finds_every_job_that_is_not_over),
        TEST(an_empty_store_has_no_newest_id),
        TEST(pools_outlive_a_restart_in_the_order_in_which_they_were_made),
        TEST(a_damaged_pool_is_left_out_and_alone),
        TEST(a_load_ends_with_the_first_refusal),
        TEST(what_was_acknowledged_outlives_a_killed_server),
        TEST(an_idempotency_key_outlives_a_restart),
        TEST(a_very_long_body_is_in_parts),
        TEST(a_lost_or_exchanged_part_is_found),
        TEST(a_changed_byte_of_the_input_is_found),
        TEST(a_moved_border_between_input_and_kwargs_is_found),
        TEST(a_changed_byte_of_an_outcome_is_found),
        TEST(an_outcome_of_another_job_is_found),
        TEST(an_unknown_state_is_found),
        TEST(commands_that_gather_are_committed_together),
        TEST(only_durable_jobs_wait_for_the_disk),
        TEST(the_wal_is_bounded),
        TEST(a_full_disk_refuses_jobs_and_keeps_what_belongs_to_others),
        TEST(a_full_disk_keeps_a_job_that_its_client_knows_of),
        TEST(close_tries_once_more_what_a_full_disk_has_kept),
        TEST(close_gives_up_what_still_cannot_be_stored),
        TEST(a_failed_sync_is_unknown_and_fatal_once),
        TEST(a_failed_write_is_unknown),
    };

    sem_init(&sync_entered, 0, 0);
    sem_init(&sync_go, 0, 0);
    replace_writes();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
