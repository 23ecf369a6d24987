/* SPDX-License-Identifier: MIT */
/*
 * The store in an SQLite database.
 *
 * A commit that waits for the disk costs about the same for one row and for a thousand,
 * so a thread of its own writes: it takes all commands that are there, carries them out
 * in one transaction, and while it waits for the disk the next batch gathers by itself.
 * No timer delays anybody.
 *
 * Exactly one connection writes and checkpoints, on that thread. The other one is
 * read-only, on the reader's thread. Versions of SQLite up to 3.51.2 can damage a WAL
 * that two connections write or checkpoint at the same moment; with one writer that
 * cannot happen.
 *
 * What a failed commit means:
 *
 *     FULL, NOMEM, BUSY  surely not committed: new jobs are refused, everything else is
 *                        kept and tried again, since clients know of these jobs
 *     all others         unknown. After a failed fsync the kernel may have dropped the
 *                        pages and call them clean, so that another try would lie; and
 *                        the commit may show up after a restart all the same. Only
 *                        stopping and reading what is on the disk gives one answer
 */
#include "server/store.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store_queue.h"
#include "server/store_sqlite.h"

#include <string.h>
#include <sys/stat.h>

#define BATCH_MAX_COMMANDS 4096
#define BATCH_MAX_BYTES    (16u << 20)
/* How long relaxed jobs gather for one commit: fewer commits, and fewer wake-ups of the
 * thread. */
#define GATHER_MS 5
#define RETRY_MS  1000
#define IDLE_MS   2000 /* without a command: the WAL is emptied */
/* Pages of 4 KiB in the WAL since the last checkpoint: with so many there is one when nothing
 * is to do for a moment, as commands would wait for it; with too many there is one at once. */
#define CHECKPOINT_PAGES     2048
#define CHECKPOINT_PAGES_MAX 8192
#define CHECKPOINT_PAUSE_MS  20

struct sqlite_store {
    struct store base;
    struct sqlite_file file;
    int version; /* of the schema */

    struct store_queue writes, reads;
    pthread_t writer_thread, reader_thread;
    bool writer_started, reader_started;
    struct sqlite_reader reader; /* the reader's thread, after the start */

    /* The writer's thread, after the start. */
    struct sqlite_writer writer;
    bool relaxed;       /* commits do not wait for the disk now */
    bool failed;        /* the outcome of a commit is unknown */
    bool full_said;     /* it is in the log that commits are refused */
    int wal_pages;      /* in the WAL */
    int wal_pages_done; /* of them when the last checkpoint was made */
};

static struct sqlite_store *sqlite_of(struct store *store)
{
    return (struct sqlite_store *)store;
}

/* ---- checkpoints ------------------------------------------------------------------ */

/* After each commit, with the pages that are in the WAL then. */
static int on_wal(void *data, sqlite3 *db, const char *name, int pages)
{
    struct sqlite_store *store = data;

    (void)db;
    (void)name;
    if (pages < store->wal_pages)
        store->wal_pages_done = 0; /* it began anew */
    store->wal_pages = pages;
    return SQLITE_OK;
}

static void fail(struct sqlite_store *store, int rc)
{
    const char *why = sqlite3_errmsg(store->writer.db);

    store->failed = true;
    log_error("writing to the database has failed, stopping",
              "path=%s code=%d error=\"%s\"", store->file.path, rc, why);
    store_fail(&store->base, "%s: writing has failed: %s", store->file.path, why);
}

/* Work that nobody waits for. Without the space, or beside a reader, the next time may do
 * better; a disk that fails is as bad as in a commit. */
static void judge(struct sqlite_store *store, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_NOMEM:
        break;
    default:
        fail(store, rc);
    }
}

static int unchecked_pages(const struct sqlite_store *store)
{
    return store->wal_pages - store->wal_pages_done;
}

static void checkpoint(struct sqlite_store *store, int mode)
{
    int rc;

    /* Nobody waits for a reader here: commands would wait with it. */
    sqlite3_busy_timeout(store->writer.db, 0);
    sqlite_fault_writes(true);
    rc = sqlite3_wal_checkpoint_v2(store->writer.db, NULL, mode, NULL, NULL);
    sqlite_fault_writes(false);
    sqlite3_busy_timeout(store->writer.db, SQLITE_BUSY_MS);
    store->writer.unmarked = true;
    store->wal_pages_done = store->wal_pages;
    if (rc == SQLITE_OK && mode == SQLITE_CHECKPOINT_TRUNCATE)
        store->wal_pages = store->wal_pages_done = 0;
    judge(store, rc);
}

/* What the shrinking writes is taken out of the WAL when the store is idle the next time.
 */
static void tidy(struct sqlite_store *store)
{
    checkpoint(store, SQLITE_CHECKPOINT_TRUNCATE);
    if (!store->failed)
        judge(store, sqlite_writer_shrink(&store->writer));
}

/* ---- commits ---------------------------------------------------------------------- */

static bool wants_disk(const struct store_command *command)
{
    if (command->kind == STORE_PURGE || command->kind == STORE_PUT_EVENTS)
        return false;
    return !command->spec || command->spec->durability == DURABILITY_DURABLE;
}

/* Must be outside of a transaction. */
static int choose_sync(struct sqlite_store *store, const struct store_command_list *batch)
{
    const struct store_command *command;
    bool relaxed = true;
    int rc;

    STAILQ_FOREACH(command, batch, link)
    relaxed = relaxed && !wants_disk(command);
    if (relaxed == store->relaxed)
        return SQLITE_OK;
    rc = sqlite_run(store->writer.db, relaxed ? "PRAGMA synchronous = NORMAL"
                                              : "PRAGMA synchronous = FULL");
    if (rc == SQLITE_OK)
        store->relaxed = relaxed;
    return rc;
}

static bool puts_job(const struct store_command *command)
{
    return command->kind == STORE_PUT_JOB || command->kind == STORE_PUT_JOBS;
}

/* It is committed, and nobody knows. */
static int pass_commit(const struct store_command_list *batch)
{
    const struct store_command *command;
    int error = 0;

    STAILQ_FOREACH(command, batch, link)
    {
        if (puts_job(command) && !error)
            error = FAULT(after_commit_before_reply);
        if ((command->kind == STORE_PUT_OUTCOME || command->kind == STORE_PUT_STATUS) &&
            command->outcome_count > 0 && !error)
            error = FAULT(after_result_commit);
    }
    return error ? SQLITE_IOERR : SQLITE_OK;
}

static int commit(struct sqlite_store *store, const struct store_command_list *batch)
{
    struct sqlite_writer *writer = &store->writer;
    struct store_command *command;
    int rc = choose_sync(store, batch);

    if (rc == SQLITE_OK)
        rc = sqlite_writer_begin(writer);
    STAILQ_FOREACH(command, batch, link)
    {
        if (rc != SQLITE_OK)
            break;
        rc = sqlite_writer_apply(writer, command);
        if (rc == SQLITE_OK && puts_job(command) && FAULT(after_insert))
            rc = SQLITE_IOERR;
    }
    if (rc == SQLITE_OK)
        rc = sqlite_writer_commit(writer);
    return rc == SQLITE_OK ? pass_commit(batch) : rc;
}

static void answer_all(struct sqlite_store *store, struct store_command_list *batch,
                       enum status st)
{
    struct store_command *command;

    STAILQ_FOREACH(command, batch, link)
    command->st = st;
    store_answer(&store->base, batch);
}

/* What the batch that could not be committed now means for its commands. */
static void keep(struct sqlite_store *store, struct store_command_list *batch,
                 enum status st)
{
    struct store_command_list refused = STAILQ_HEAD_INITIALIZER(refused);

    if (!store->full_said)
        log_warn("the database cannot be written now, refusing new jobs and trying again",
                 "path=%s error=\"%s\"", store->file.path, status_text(st));
    store->full_said = true;
    atomic_store(&store->base.writable, false);
    if (store_queue_closed(&store->writes)) {
        log_error("the database cannot be written, giving up the last changes", "path=%s",
                  store->file.path);
        answer_all(store, batch, st);
        return;
    }
    store_queue_put_back(&store->writes, batch);
    /* All of them: behind a long queue of what is kept they would wait without end. */
    store_queue_take_kind(&store->writes, STORE_PUT_JOB, &refused);
    store_queue_take_kind(&store->writes, STORE_PUT_JOBS, &refused);
    answer_all(store, &refused, st);
    store_queue_pause(&store->writes, RETRY_MS);
}

static void commit_failed(struct sqlite_store *store, struct store_command_list *batch,
                          int rc)
{
    enum status st = ST_UNKNOWN;

    switch (rc & 0xff) {
    case SQLITE_FULL:
        st = ST_STORAGE_FULL;
        break;
    case SQLITE_NOMEM:
        st = ST_NO_MEMORY;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        st = ST_BUSY;
        break;
    default:
        fail(store, rc); /* before the next call changes the message */
    }
    if (!sqlite3_get_autocommit(store->writer.db)) {
        rc = sqlite_writer_run(&store->writer, SQLITE_WRITE_ROLLBACK);
        if (rc != SQLITE_OK && st != ST_UNKNOWN) {
            fail(store, rc);
            st = ST_UNKNOWN;
        }
    }
    if (st == ST_UNKNOWN) {
        atomic_store(&store->base.writable, false);
        answer_all(store, batch, st);
        return;
    }
    /* What the WAL holds may be space that is needed. */
    checkpoint(store, SQLITE_CHECKPOINT_TRUNCATE);
    keep(store, batch, st);
}

static void write_batch(struct sqlite_store *store)
{
    struct store_command_list batch = STAILQ_HEAD_INITIALIZER(batch);
    size_t count =
        store_queue_take(&store->writes, BATCH_MAX_COMMANDS, BATCH_MAX_BYTES, &batch);
    uint64_t began_ns = clock_mono_ns();
    int rc;

    if (store->failed) {
        answer_all(store, &batch, ST_UNKNOWN);
        return;
    }
    rc = commit(store, &batch);
    if (rc != SQLITE_OK) {
        commit_failed(store, &batch, rc);
        return;
    }
    if (store->full_said)
        log_info("the database can be written again", "path=%s", store->file.path);
    store->full_said = false;
    atomic_store(&store->base.writable, true);
    store_committed(&store->base, count, clock_mono_ns() - began_ns);
    store_answer(&store->base, &batch);
    if (unchecked_pages(store) > CHECKPOINT_PAGES_MAX)
        checkpoint(store, SQLITE_CHECKPOINT_PASSIVE);
}

/* ---- threads ---------------------------------------------------------------------- */

static void *writer_main(void *data)
{
    struct sqlite_store *store = data;

    for (;;) {
        bool idle_matters = store->wal_pages > 0 && !store->failed;
        bool due = idle_matters && unchecked_pages(store) > CHECKPOINT_PAGES;
        int idle_ms = due ? CHECKPOINT_PAUSE_MS : IDLE_MS;

        switch (store_queue_wait(&store->writes, idle_matters ? idle_ms : -1)) {
        case STORE_QUEUE_READY:
            store_queue_gather(&store->writes, GATHER_MS);
            write_batch(store);
            break;
        case STORE_QUEUE_IDLE:
            if (due)
                checkpoint(store, SQLITE_CHECKPOINT_PASSIVE);
            else
                tidy(store);
            break;
        case STORE_QUEUE_CLOSED:
            return NULL;
        }
    }
}

static void *reader_main(void *data)
{
    struct sqlite_store *store = data;

    while (store_queue_wait(&store->reads, -1) != STORE_QUEUE_CLOSED) {
        struct store_command_list one = STAILQ_HEAD_INITIALIZER(one);

        store_queue_take(&store->reads, 1, SIZE_MAX, &one);
        sqlite_reader_answer(&store->reader, STAILQ_FIRST(&one));
        store_answer(&store->base, &one);
    }
    return NULL;
}

/* Nobody waits for the commit of a relaxed job, but a key has to be known before its client
 * is answered, and so has a batch. */
static bool is_urgent(const struct store_command *command)
{
    return wants_disk(command) || command->kind == STORE_PUT_JOBS ||
           (command->spec && command->spec->idempotency_key);
}

static void sqlite_submit(struct store *base, struct store_command *command)
{
    struct sqlite_store *store = sqlite_of(base);

    if (store_command_writes(command))
        store_queue_push(&store->writes, command, is_urgent(command));
    else
        store_queue_push(&store->reads, command, true);
}

static enum status sqlite_load_unfinished(
    struct store *base,
    enum status (*on_stub)(void *data, const struct stored_stub *stored), void *data,
    struct uuid *ret_newest, struct error_text *err)
{
    struct sqlite_store *store = sqlite_of(base);
    enum status st = sqlite_reader_unfinished(&store->reader, on_stub, data, ret_newest);

    if (st != ST_OK)
        error_set(err, st, "%s: the jobs that are not over cannot be read: %s",
                  store->file.path, status_text(st));
    return st;
}

static enum status sqlite_load_events(struct store *base,
                                      void (*on_event)(void *data,
                                                       const struct event *event),
                                      void *data, struct error_text *err)
{
    struct sqlite_store *store = sqlite_of(base);
    enum status st = sqlite_reader_events(&store->reader, on_event, data);

    if (st != ST_OK)
        error_set(err, st, "%s: the events cannot be read: %s", store->file.path,
                  status_text(st));
    return st;
}

static enum status sqlite_load_pools(struct store *base,
                                     enum status (*on_pool)(void *data,
                                                            struct pool_spec *spec,
                                                            enum pool_state state),
                                     void *data, struct error_text *err)
{
    struct sqlite_store *store = sqlite_of(base);
    enum status st = sqlite_reader_pools(&store->reader, on_pool, data);

    if (st != ST_OK)
        error_set(err, st, "%s: the pools cannot be read: %s", store->file.path,
                  status_text(st));
    return st;
}

/* By name only: closing a descriptor of these files would drop SQLite's locks on them. */
static uint64_t file_size(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void sqlite_get_info(struct store *base, struct store_info *ret_info)
{
    struct sqlite_store *store = sqlite_of(base);

    ret_info->path = store->file.path;
    ret_info->schema_version = store->version;
    ret_info->database_bytes = file_size(store->file.path);
    ret_info->wal_bytes = file_size(store->file.wal);
}

/* ---- life cycle ------------------------------------------------------------------- */

static void sqlite_stop(struct store *base)
{
    struct sqlite_store *store = sqlite_of(base);

    if (store->reader_started) {
        store_queue_close(&store->reads);
        pthread_join(store->reader_thread, NULL);
    }
    if (store->writer_started) {
        store_queue_close(&store->writes);
        pthread_join(store->writer_thread, NULL);
    }
    store->reader_started = store->writer_started = false;
}

/* Closing the last connection empties the WAL, unless writing has failed before: then it
 * is left to the next start. */
static void sqlite_free(struct store *base)
{
    struct sqlite_store *store = sqlite_of(base);

    sqlite_reader_close(&store->reader);
    if (store->failed)
        sqlite3_db_config(store->writer.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite_writer_close(&store->writer);
    store_queue_clear(&store->writes);
    store_queue_clear(&store->reads);
    sqlite_file_clear(&store->file);
    store_base_clear(base);
    mem_free(store);
}

static const struct store_backend sqlite_backend = {
    .kind = "sqlite",
    .submit = sqlite_submit,
    .load_unfinished = sqlite_load_unfinished,
    .load_events = sqlite_load_events,
    .load_pools = sqlite_load_pools,
    .get_info = sqlite_get_info,
    .stop = sqlite_stop,
    .free = sqlite_free,
};

static enum status start_threads(struct sqlite_store *store, struct error_text *err)
{
    if (store_queue_init(&store->writes) != ST_OK ||
        store_queue_init(&store->reads) != ST_OK)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    store->writer_started =
        pthread_create(&store->writer_thread, NULL, writer_main, store) == 0;
    store->reader_started =
        pthread_create(&store->reader_thread, NULL, reader_main, store) == 0;
    if (!store->writer_started || !store->reader_started)
        return error_set(err, ST_NO_MEMORY, "the threads of the store cannot be started");
    return ST_OK;
}

enum status store_open_sqlite(const char *dir, const struct store_events *events,
                              void *data, struct store **ret_store,
                              struct error_text *err)
{
    struct sqlite_store *store = mem_zalloc(sizeof(*store));
    enum status st;

    if (!store)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    /* Nobody asks SQLite how much memory it uses, and counting takes a lock around each
     * allocation: a third of the time of a small row. Refused, without harm, when SQLite
     * is in use already. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    store->file.lock = -1;
    st = store_base_init(&store->base, &sqlite_backend, events, data);
    if (st != ST_OK)
        error_set(err, st, "out of memory");
    else
        st = sqlite_file_open(dir, &store->file, &store->version, err);
    if (st == ST_OK)
        st = sqlite_writer_open(&store->writer, store->file.path, err);
    if (st == ST_OK)
        st = sqlite_reader_open(&store->reader, store->file.path, err);
    if (st == ST_OK) {
        sqlite3_wal_hook(store->writer.db, on_wal, store);
        st = start_threads(store, err);
    }
    if (st != ST_OK) {
        sqlite_stop(&store->base);
        sqlite_free(&store->base);
        return st;
    }
    *ret_store = &store->base;
    return ST_OK;
}
