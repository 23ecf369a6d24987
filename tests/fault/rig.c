/* SPDX-License-Identifier: MIT */
#include "tests/fault/rig.h"

#include "server/store_sqlite.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- going in step ----------------------------------------------------------------- */

static sem_t news;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t taken = PTHREAD_COND_INITIALIZER;
static bool waiting, alone; /* under lock: a thread waits; none is to */
static pthread_t test_thread;

static void on_news(void)
{
    (void)sem_post(&news);
}

static void on_wake(void *data)
{
    (void)data;
    pthread_mutex_lock(&lock);
    on_news();
    if (!alone && !pthread_equal(pthread_self(), test_thread)) {
        waiting = true;
        while (waiting)
            pthread_cond_wait(&taken, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void go_on(bool leave_alone)
{
    pthread_mutex_lock(&lock);
    alone = leave_alone;
    waiting = false;
    pthread_cond_broadcast(&taken);
    pthread_mutex_unlock(&lock);
}

static void on_fatal(void *data, const struct error_text *why)
{
    struct rig *rig = data;

    rig->fatal++;
    rig->why = *why;
}

/* false when nothing has come for a second. */
static bool take_news(struct rig *rig)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += rig->patient ? 60 : 1;
    while (sem_timedwait(&news, &until) != 0) {
        if (errno == ETIMEDOUT)
            return false;
    }
    store_drain(rig->store);
    go_on(false);
    return true;
}

void rig_init(enum log_level level)
{
    log_init(level, LOG_TEXT, NULL);
    test_thread = pthread_self();
    sem_init(&news, 0, 0);
    disk_init(on_news);
}

/* ---- directories ------------------------------------------------------------------- */

void rig_make_dir(char ret_dir[RIG_DIR_MAX])
{
    bool shm = access("/dev/shm", W_OK) == 0; /* in memory: there is much to write */

    (void)snprintf(ret_dir, RIG_DIR_MAX, "%s/poold-fault-XXXXXX",
                   shm ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(ret_dir));
}

typedef void on_file(const char *path, const char *name, const char *to);

static void each_file(const char *dir, on_file *what, const char *to)
{
    DIR *open = opendir(dir);
    struct dirent *there;
    char path[RIG_DIR_MAX + 300];

    assert_non_null(open);
    while ((there = readdir(open))) {
        if (strcmp(there->d_name, ".") == 0 || strcmp(there->d_name, "..") == 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, there->d_name);
        what(path, there->d_name, to);
    }
    (void)closedir(open);
}

static void remove_one(const char *path, const char *name, const char *to)
{
    (void)name;
    (void)to;
    assert_int_equal(remove(path), 0);
}

void rig_remove_dir(const char *dir)
{
    each_file(dir, remove_one, NULL);
    assert_int_equal(remove(dir), 0);
}

static void copy_one(const char *path, const char *name, const char *to)
{
    char copy[RIG_DIR_MAX + 300], bytes[65536];
    FILE *in = fopen(path, "rb"), *out;
    size_t len;

    (void)snprintf(copy, sizeof(copy), "%s/%s", to, name);
    out = fopen(copy, "wb");
    assert_true(in && out);
    while ((len = fread(bytes, 1, sizeof(bytes), in)) > 0)
        assert_int_equal(fwrite(bytes, 1, len, out), len);
    (void)fclose(in);
    assert_int_equal(fclose(out), 0);
}

void rig_copy_dir(const char *from, const char *to)
{
    each_file(from, copy_one, to);
}

/* ---- an old database --------------------------------------------------------------- */

void rig_make_version_1(const char *dir)
{
    char path[RIG_DIR_MAX + 16];
    sqlite3 *db;

    (void)snprintf(path, sizeof(path), "%s/poold.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite_run(db, "PRAGMA page_size = 4096;"
                                    "PRAGMA auto_vacuum = INCREMENTAL;"
                                    "PRAGMA application_id = 1886350436;"
                                    "PRAGMA user_version = 1"),
                     SQLITE_OK);
    assert_int_equal(sqlite_run(db, (const char *)sqlite_migrations[0]), SQLITE_OK);
    assert_int_equal(
        sqlite_run(db,
                   "WITH id (key, at) AS (VALUES (1, 5000), (2, 6000)) INSERT INTO job "
                   "SELECT key, randomblob(16), 'apply', 'durable', 'square', 'default', "
                   "0, 1, 0, at, 0, 0, 0, 1000, 0, 2, 1000, 60000, 2.0, 1, 0, 0, 0, "
                   "NULL, NULL, 'k' || key, 7, 3, 0, 'succeeded', 1, 0, 1, at, at, NULL, "
                   "zeroblob(3000) FROM id; PRAGMA journal_mode = WAL"),
        SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- the store --------------------------------------------------------------------- */

enum status rig_open(struct rig *rig)
{
    static const struct store_events events = { on_wake, on_fatal };
    enum status st;

    go_on(false);
    rig->store = NULL;
    st = store_open_sqlite(rig->dir, &events, rig, &rig->store, &rig->why);
    assert_int_equal(st == ST_OK, rig->store != NULL);
    return st;
}

void rig_close(struct rig *rig)
{
    go_on(true);
    disk_release();
    store_close(rig->store);
    rig->store = NULL;
    go_on(false);
}

static void note_answer(struct answer *answer)
{
    answer->log_len = disk_log_len();
}

static void give(struct rig *rig, const struct workload *workload, size_t step)
{
    rig->answers[step].on_answer = note_answer;
    workload_give(rig->store, &workload->steps[step], &rig->answers[step]);
}

static bool is_answered(const struct rig *rig, const struct workload *workload,
                        size_t step)
{
    return rig->answers[step].called || !workload_answers(workload->steps[step].op);
}

/* Until the steps are answered, or the store has tried twice and keeps them. */
static void wait_for(struct rig *rig, const struct workload *workload, size_t from,
                     size_t to)
{
    unsigned pauses = disk_pauses();

    for (size_t i = from; i < to; i++) {
        while (!is_answered(rig, workload, i)) {
            if (!rig->patient && disk_pauses() - pauses > 2)
                return;
            if (!take_news(rig) && rig->patient)
                fail_msg("step %zu (%s) is not answered", i,
                         op_names[workload->steps[i].op]);
        }
    }
}

void rig_settle(struct rig *rig)
{
    while (rig->store && store_backlog(rig->store) > 0)
        if (!take_news(rig))
            fail_msg("the store keeps what it could store");
}

/* Nothing to wait for when the WAL is empty, or will never be. */
static void idle(struct rig *rig)
{
    unsigned emptied = disk_emptied(), idles = disk_idles();
    struct store_info info;

    store_get_info(rig->store, &info);
    if (rig->fatal || !info.writable || info.wal_bytes == 0)
        return;
    disk_idle(true);
    while (disk_emptied() == emptied && !rig->fatal && disk_idles() - idles < 3)
        if (!take_news(rig))
            break;
    disk_idle(false);
    if (rig->patient && disk_emptied() == emptied)
        fail_msg("the WAL has not been emptied");
}

/* The first one holds the disk until the others are given: they share a commit. */
static void run_group(struct rig *rig, const struct workload *workload, size_t from,
                      size_t to)
{
    unsigned pauses = disk_pauses();
    size_t next = from + 1;

    if (to > next)
        disk_hold();
    give(rig, workload, from);
    while (to > next && !disk_held() && !is_answered(rig, workload, from) &&
           disk_pauses() - pauses <= 2 && take_news(rig))
        continue;
    if (disk_held()) {
        while (next < to)
            give(rig, workload, next++);
        disk_release();
        wait_for(rig, workload, from, to);
        return;
    }
    disk_release();
    wait_for(rig, workload, from, next);
    for (; next < to; next++) {
        give(rig, workload, next);
        wait_for(rig, workload, next, next + 1);
    }
}

void rig_run(struct rig *rig, const struct workload *workload, size_t from, size_t to)
{
    while (from < to && rig->store) {
        size_t next = from + 1;

        switch (workload->steps[from].op) {
        case OP_IDLE:
            idle(rig);
            break;
        case OP_REOPEN:
            rig_close(rig);
            if (rig->fatal || rig_open(rig) != ST_OK)
                return;
            break;
        default:
            while (next < to && workload->steps[next].joins)
                next++;
            run_group(rig, workload, from, next);
        }
        from = next;
    }
}

/* ---- questions --------------------------------------------------------------------- */

struct question {
    unsigned called;
    enum status st;
};

static void on_job(void *data, enum status st, struct stored_job *stored)
{
    struct question *question = data;

    question->called++;
    question->st = st;
    stored_job_clear(stored);
}

static enum status on_loaded(void *data, const struct stored_stub *stored)
{
    (void)stored;
    ++*(size_t *)data;
    return ST_OK;
}

static void on_event(void *data, const struct event *event)
{
    (void)event;
    ++*(size_t *)data;
}

static enum status on_pool(void *data, struct pool_spec *spec, enum pool_state state)
{
    (void)state;
    ++*(size_t *)data;
    pool_spec_unref(spec);
    return ST_OK;
}

static int64_t number(const char *dir, const char *sql);

static bool has_rows(const struct rig *rig, size_t count, const char *sql)
{
    return number(rig->dir, sql) == (int64_t)count;
}

/* ST_NOT_FOUND is fine: what should be there, the digest knows. */
static bool ask_for(struct rig *rig, struct uuid id)
{
    struct question question = { 0 };

    store_get_job(rig->store, id,
                  STORE_WITH_INPUT | STORE_WITH_OUTCOMES | STORE_WITH_ATTEMPTS, on_job,
                  &question);
    while (!question.called && take_news(rig))
        continue;
    return question.st == ST_OK || question.st == ST_NOT_FOUND;
}

static bool ask_for_jobs(struct rig *rig, const struct step *step)
{
    bool is_new =
        step->op == OP_PUT_JOB || step->op == OP_PUT_JOBS || step->op == OP_PUT_FINISHED;

    for (size_t i = 0; is_new && i < step->count; i++)
        if (!ask_for(rig, step->specs[i]->id))
            return false;
    return true;
}

const char *rig_ask_all(struct rig *rig, const struct workload *workload)
{
    size_t jobs = 0, events = 0, pools = 0;
    struct error_text err;
    struct uuid newest;

    if (store_load_unfinished(rig->store, on_loaded, &jobs, &newest, &err) != ST_OK ||
        !has_rows(rig, jobs,
                  "SELECT count(*) FROM job WHERE state IN "
                  "('scheduled', 'queued', 'running')"))
        return "the jobs that are not over cannot all be loaded";
    if (store_load_events(rig->store, on_event, &events, &err) != ST_OK ||
        !has_rows(rig, events, "SELECT coalesce(sum(count), 0) FROM event_run"))
        return "the events cannot all be loaded";
    if (store_load_pools(rig->store, on_pool, &pools, &err) != ST_OK ||
        !has_rows(rig, pools, "SELECT count(*) FROM pool"))
        return "the pools cannot all be loaded";
    for (size_t i = 0; i < workload->count; i++)
        if (!ask_for_jobs(rig, &workload->steps[i]))
            return "a job cannot be read";
    return NULL;
}

/* ---- what a database holds -------------------------------------------------------- */

/* Without the simulation. */
static sqlite3 *look_at_file(const char *path)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, "unix"), SQLITE_OK);
    return db;
}

static sqlite3 *look_at(const char *dir)
{
    char path[RIG_DIR_MAX + 16];

    (void)snprintf(path, sizeof(path), "%s/poold.db", dir);
    return look_at_file(path);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    return statement;
}

static int64_t number(const char *dir, const char *sql)
{
    sqlite3 *db = look_at(dir);
    sqlite3_stmt *statement = prepare(db, sql);
    int64_t number;

    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

#define FNV_BEGIN 0xcbf29ce484222325 /* FNV-1a */

static void digest_add(uint64_t *digest, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        *digest = (*digest ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
}

static void print_column(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    print_error(" %s=%.40s", sqlite3_column_name(statement, column),
                text ? (const char *)text : "-");
}

static void add_rows(sqlite3 *db, const char *sql, uint64_t *digest, bool prints)
{
    sqlite3_stmt *statement = prepare(db, sql);
    int rc;

    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        if (prints)
            print_error("%s:", strrchr(sql, ' ') + 1);
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            int type = sqlite3_column_type(statement, i);
            const void *bytes = sqlite3_column_blob(statement, i);
            int len = sqlite3_column_bytes(statement, i);

            digest_add(digest, &type, sizeof(type));
            digest_add(digest, &len, sizeof(len));
            digest_add(digest, bytes, (size_t)len);
            if (prints)
                print_column(statement, i);
        }
        if (prints)
            print_error("\n");
    }
    assert_int_equal(rc, SQLITE_DONE);
    sqlite3_finalize(statement);
}

/* The identity is of random bytes, others in each database. */
static struct digest digest_of(const char *dir, bool prints)
{
    sqlite3 *db = look_at(dir);
    sqlite3_stmt *tables =
        prepare(db, "SELECT 'SELECT * FROM ' || name, name FROM sqlite_schema WHERE "
                    "type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'identity' "
                    "ORDER BY name");
    struct digest digest = { FNV_BEGIN, FNV_BEGIN };

    while (sqlite3_step(tables) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(tables, 1);
        uint64_t table = FNV_BEGIN;

        digest_add(&table, name, strlen(name));
        add_rows(db, (const char *)sqlite3_column_text(tables, 0), &table, prints);
        digest_add(&digest.all, &table, sizeof(table));
        if (strcmp(name, "attempt") != 0)
            digest_add(&digest.decisive, &table, sizeof(table));
    }
    sqlite3_finalize(tables);
    sqlite3_close(db);
    return digest;
}

static bool says(sqlite3 *db, const char *sql, const char *expected)
{
    sqlite3_stmt *statement = prepare(db, sql);
    bool row = sqlite3_step(statement) == SQLITE_ROW;
    const char *said = row ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    bool is = expected ? said && strcmp(said, expected) == 0 : !row;

    sqlite3_finalize(statement);
    return is;
}

static bool is_whole(sqlite3 *db)
{
    return says(db, "PRAGMA integrity_check", "ok") &&
           says(db, "PRAGMA foreign_key_check", NULL);
}

int rig_user_version(const char *path)
{
    sqlite3 *db = look_at_file(path);
    sqlite3_stmt *statement = prepare(db, "PRAGMA user_version");
    int version = -1;

    if (is_whole(db) && sqlite3_step(statement) == SQLITE_ROW)
        version = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return version;
}

struct digest rig_digest(const char *dir)
{
    sqlite3 *db = look_at(dir);
    bool whole = is_whole(db);

    sqlite3_close(db);
    return whole ? digest_of(dir, false) : (struct digest){ 0, 0 };
}

void rig_dump(const char *dir)
{
    (void)digest_of(dir, true);
}

/* ---- the reference ----------------------------------------------------------------- */

static void reference_step(struct rig *rig, const struct workload *workload, size_t step,
                           struct reference *reference)
{
    enum op op = workload->steps[step].op;

    if (op >= OP_IDLE)
        return;
    give(rig, workload, step);
    if (!workload_answers(op))
        return;
    wait_for(rig, workload, step, step + 1);
    reference->st[step] = rig->answers[step].st;
}

struct reference *reference_new(const struct workload *workload, const char *from,
                                const bool without[])
{
    struct reference *reference = calloc(1, sizeof(*reference));
    struct rig rig = { .patient = true };

    assert_non_null(reference);
    rig_make_dir(rig.dir);
    if (from)
        rig_copy_dir(from, rig.dir);
    assert_int_equal(rig_open(&rig), ST_OK);
    reference->digests[0] = digest_of(rig.dir, false);
    for (size_t i = 0; i < workload->count; i++) {
        bool left_out = without && without[i];

        if (!left_out)
            reference_step(&rig, workload, i, reference);
        if (left_out || workload->steps[i].op >= OP_IDLE)
            reference->digests[i + 1] = reference->digests[i];
        else if (workload_answers(workload->steps[i].op))
            reference->digests[i + 1] = digest_of(rig.dir, false);
    }
    assert_int_equal(rig.fatal, 0);
    rig_close(&rig);
    rig_remove_dir(rig.dir);
    return reference;
}

size_t reference_find(const struct reference *reference, const struct workload *workload,
                      struct digest digest, size_t least)
{
    for (size_t i = least; i <= workload->count; i++)
        if (reference->digests[i].all == digest.all)
            return i;
    return SIZE_MAX;
}

size_t reference_find_decisive(const struct reference *reference,
                               const struct workload *workload, struct digest digest,
                               size_t least)
{
    for (size_t i = least; i <= workload->count; i++)
        if (reference->digests[i].decisive == digest.decisive)
            return i;
    return SIZE_MAX;
}
