/* SPDX-License-Identifier: MIT */
/*
 * store_sqlite - what the files of the SQLite back end share. Private to
 * server/store_sqlite*.c, the only files that include sqlite3.h.
 *
 *     store_sqlite.c            the store: threads, batches, commits, checkpoints
 *     store_sqlite_file.c       the file: lock, checks before it is opened, creation
 *     store_sqlite_identity.c   is the WAL that of this database?
 *     store_sqlite_schema.c     connections and migrations
 *     store_sqlite_write.c      commands -> rows
 *     store_sqlite_statement.c  the texts of what it runs
 *     store_sqlite_bind.c       parameters
 *     store_sqlite_event.c      events -> rows
 *     store_sqlite_purge.c      rows that are no longer kept
 *     store_sqlite_read.c       rows -> jobs
 *     store_sqlite_load.c       what is read at the start
 *     store_sqlite_row.c        columns and checksums
 *     store_sqlite_fault.c      the fault point inside of a checkpoint
 *     store_sqlite_copy.c       copies, of a database in use as well
 *     store_sqlite_check.c      is everything in it as it has to be?
 *
 * Functions that return int return an SQLite result code.
 */
#ifndef SERVER_STORE_SQLITE_H
#define SERVER_STORE_SQLITE_H

#include "server/store_backend.h"

#include <inttypes.h>
#include <sqlite3.h>

/* ---- the file --------------------------------------------------------------------- */

#define SQLITE_FILE_APPLICATION_ID 0x706f6c64 /* "pold" */

struct sqlite_file {
    char *dir;  /* of all that follow; owned, as they are */
    char *path; /* poold.db */
    char *wal;  /* poold.db-wal */
    int lock;   /* descriptor of poold.db.lock; the lock ends with it */
};

/* Takes the lock, refuses what is not a sound database of poold's, creates it if nothing
 * is there, and brings it to the newest schema: its number is *ret_version. On failure
 * the file is cleared. */
NODISCARD enum status sqlite_file_open(const char *dir, struct sqlite_file *ret_file,
                                       int *ret_version, struct error_text *err);
void sqlite_file_clear(struct sqlite_file *file); /* and gives the lock back */
/* For a look at a database: takes the lock, refuses what is not poold's, and opens a
 * connection that changes nothing. What is in it is not checked, nor upgraded. ST_BUSY: a
 * server has it; with may_be_used there is no lock then, and the connection reads beside
 * that server. ST_NOT_FOUND: nothing is there. On failure the file is cleared. */
NODISCARD enum status sqlite_file_look(const char *dir, bool may_be_used,
                                       struct sqlite_file *ret_file, sqlite3 **ret_db,
                                       struct error_text *err);
/* Before anything is connected to the database, with the lock: ST_CORRUPT if its WAL is that
 * of another database. No file is changed, nor the -shm file made. What cannot be read
 * in the main file alone, of an older schema for example, is not compared. */
NODISCARD enum status sqlite_check_wal(const struct sqlite_file *file,
                                       struct error_text *err);
/* Makes the WAL tell which database it is of. To be part of the first transaction after
 * each checkpoint, as each may be the first in a new WAL. version: of the schema. */
int sqlite_identity_mark(sqlite3 *db, int version);
struct buf;
/* The path as a file: URI with the parameter NAME=VALUE. */
void sqlite_add_uri(struct buf *uri, const char *path, const char *parameter);
/* ST_FOREIGN, ST_NEWER. */
NODISCARD enum status sqlite_check_identity(sqlite3 *db, const char *path,
                                            struct error_text *err);

/* ---- connections and the schema --------------------------------------------------- */

/* How long to wait for a foreign program that keeps the database locked. */
#define SQLITE_BUSY_MS 5000

/* From now on a read of the disk that fails is SQLITE_IOERR_READ, and never taken for damage.
 * Before SQLite opens its first file; any thread. sqlite_open does it. */
void sqlite_keep_read_errors(void);
/* A connection for one thread at a time; flags as for sqlite3_open_v2. */
NODISCARD enum status sqlite_open(const char *path, int flags, sqlite3 **ret_db,
                                  struct error_text *err);
/* The same with the settings for writing. */
NODISCARD enum status sqlite_open_writer(const char *path, sqlite3 **ret_db,
                                         struct error_text *err);

/* The scripts in schema/, one for each version from 1 on, each followed by a NUL. */
extern const unsigned char *const sqlite_migrations[];
extern const int sqlite_migration_count;

/* Applies the migrations that are not in the database yet, all in one transaction, after
 * a copy of a database that is not new: poold.db.v<old version>.bak. Foreign keys are off
 * on this connection from here on. ST_NEWER if it has more than count. */
NODISCARD enum status sqlite_migrate(sqlite3 *db, const struct sqlite_file *file,
                                     const unsigned char *const migrations[], int count,
                                     int *ret_version, struct error_text *err);
#define SQLITE_NEWER_TEXT                                                                \
    "%s: has schema version %" PRId64 ", this poold knows %d; use a newer poold"

/* While true, what SQLite writes on this thread passes the fault point mid_checkpoint. */
#ifdef POOLD_FAULTS
void sqlite_fault_writes(bool on);
#else
static inline void sqlite_fault_writes(bool on)
{
    (void)on;
}
#endif

/* Runs statements that give nothing. */
int sqlite_run(sqlite3 *db, const char *sql);
/* The first column of the first row; 0 if there is none. */
int sqlite_number(sqlite3 *db, const char *sql, int64_t *ret_number);
/* Prepares count statements that stay for the life of the connection. */
int sqlite_prepare_all(sqlite3 *db, const char *const sql[], int count,
                       sqlite3_stmt *ret_statements[]);

/* Set err to "PATH: message" and give the status that the failure means for an opening:
 * of SQLite, with its result code, and of a system call, from errno. db may be NULL. */
enum status sqlite_failure(const char *path, sqlite3 *db, int rc, struct error_text *err);
enum status sqlite_errno_failure(const char *path, struct error_text *err);
/* Makes an empty file that only its owner can read: SQLite would let the umask decide. */
NODISCARD enum status sqlite_make_private(const char *path, struct error_text *err);
/* Puts a file, or the names in a directory, on the disk. */
NODISCARD enum status sqlite_sync_path(const char *path, struct error_text *err);

/* ---- rows ------------------------------------------------------------------------- */

/* Every column of table job but gone, body and the result, in the order in which they are
 * written and read. */
#define SQLITE_JOB_COLUMNS                                                               \
    "key, id, method, durability, task, pool, priority, item_count, chunksize, "         \
    "created_at_ms, start_at_ms, expires_at_ms, time_limit_ms, result_ttl_ms, retries, " \
    "crash_retries, backoff_initial_ms, backoff_max_ms, backoff_factor, "                \
    "backoff_jitter, return_exceptions, stop_on_error, cancel_on_disconnect, tags, "     \
    "metadata, callback, error_callback, idempotency_key, request_hash, unique_key, "    \
    "owner, traceparent, tracestate, input_len, checksum, state, completed, failed, "    \
    "attempt, "                                                                          \
    "forgiven, started_at_ms, finished_at_ms, kept_bytes, error"

/* Every column of table pool, in that order, too. */
#define SQLITE_POOL_COLUMNS                                                              \
    "name, processes, maxtasksperchild, start_method, initializer, initargs, "           \
    "time_limit_ms, memory_limit, state, idempotency_key, request_hash, cpu_limit_ms, "  \
    "file_size_limit, open_files_limit, process_limit"

/* The place of a text is part of its checksum, so that one that has got into another row
 * is found out, too. body is the input followed by the kwargs. */
uint64_t sqlite_body_checksum(struct uuid id, size_t input_len, struct text body);
uint64_t sqlite_outcome_checksum(struct uuid id, uint64_t first, uint64_t count,
                                 bool is_error, struct text text);

enum sqlite_write_statement {
    SQLITE_WRITE_BEGIN,
    SQLITE_WRITE_COMMIT,
    SQLITE_WRITE_ROLLBACK,
    SQLITE_WRITE_JOB,
    SQLITE_WRITE_BODY,
    SQLITE_WRITE_PART,
    SQLITE_WRITE_EXISTING,
    SQLITE_WRITE_OUTCOME,
    SQLITE_WRITE_TEXT,
    SQLITE_WRITE_ATTEMPT,
    SQLITE_WRITE_TRIM_ATTEMPTS,
    SQLITE_WRITE_LOG,
    SQLITE_WRITE_EVENTS,
    SQLITE_WRITE_TRIM_EVENTS,
    SQLITE_WRITE_STATUS,
    SQLITE_WRITE_END, /* with the result */
    SQLITE_WRITE_FORGET_ERRORS,
    SQLITE_WRITE_ADD_DELIVERY,
    SQLITE_WRITE_DELIVERY,
    SQLITE_WRITE_DELETE,
    SQLITE_WRITE_STRIP,
    SQLITE_WRITE_DROP_BODY,
    SQLITE_WRITE_DROP_PARTS,
    SQLITE_WRITE_DROP_OUTCOMES,
    SQLITE_WRITE_DROP_TEXTS,
    SQLITE_WRITE_DROP_ATTEMPTS,
    SQLITE_WRITE_DROP_LOG,
    SQLITE_WRITE_TALLY,
    SQLITE_WRITE_ADD_TALLY,
    SQLITE_WRITE_COUNTED,
    SQLITE_WRITE_FIND_STRIPPED, /* the four: key and bytes of jobs, at most ?2 */
    SQLITE_WRITE_FIND_DUE,
    SQLITE_WRITE_FIND_HEAVY,
    SQLITE_WRITE_FIND_OLDEST,
    SQLITE_WRITE_POOL,
    SQLITE_WRITE_DELETE_POOL,
    SQLITE_WRITE_COUNT
};
extern const char *const sqlite_write_sql[SQLITE_WRITE_COUNT];

/* Of this transaction, not written yet. */
struct sqlite_event_run {
    struct buf body; /* event_run.h */
    unsigned count;
    uint64_t last_id;
};

struct sqlite_writer {
    sqlite3 *db;
    sqlite3_stmt *statements[SQLITE_WRITE_COUNT];
    struct sqlite_event_run events;
    unsigned untrimmed_events;           /* written since the older ones were deleted */
    int64_t counted_jobs, counted_bytes; /* of this transaction, not in tally yet */
    bool unmarked; /* the next commit may be the first in its WAL: the owner sets it */
};
NODISCARD enum status sqlite_writer_open(struct sqlite_writer *writer, const char *path,
                                         struct error_text *err);
void sqlite_writer_close(struct sqlite_writer *writer);
/* Runs a statement without parameters. */
int sqlite_writer_run(struct sqlite_writer *writer, enum sqlite_write_statement which);
/* A transaction. What it has counted becomes part of it in the end, in one write. */
int sqlite_writer_begin(struct sqlite_writer *writer);
int sqlite_writer_commit(struct sqlite_writer *writer);
/* So many more jobs that are over, or fewer, with so many bytes: for table tally. */
void sqlite_writer_count(struct sqlite_writer *writer, int64_t jobs, int64_t bytes);
/* An event that becomes true with this transaction; id 0: none. */
int sqlite_writer_add_event(struct sqlite_writer *writer, const struct event *event);
/* Writes those that were added. */
int sqlite_writer_put_events(struct sqlite_writer *writer);
/* The transaction they were added in has come to nothing. */
void sqlite_writer_forget_events(struct sqlite_writer *writer);
/* Carries out one command inside a transaction and sets its st. Not SQLITE_OK: the whole
 * transaction is to be rolled back. */
int sqlite_writer_apply(struct sqlite_writer *writer, struct store_command *command);
/* As store_purge: one batch, inside a transaction. */
int sqlite_writer_purge(struct sqlite_writer *writer, struct store_command *command);
/* Gives back a part of the file that deleted jobs have left, if it is most of the file.
 */
int sqlite_writer_shrink(struct sqlite_writer *writer);

enum sqlite_read_statement {
    SQLITE_READ_JOB,   /* without its body */
    SQLITE_READ_WHOLE, /* with it, but for what is in parts */
    SQLITE_READ_PARTS,
    SQLITE_READ_OUTCOMES,
    SQLITE_READ_ATTEMPTS,
    SQLITE_READ_LOG,
    SQLITE_READ_EVENTS,
    SQLITE_READ_JOBS,
    SQLITE_READ_JOBS_OF, /* of one owner */
    SQLITE_READ_UNFINISHED,
    SQLITE_READ_NEWEST,
    SQLITE_READ_KEY,
    SQLITE_READ_DELIVERIES,
    SQLITE_READ_PENDING,
    SQLITE_READ_POOLS,
    SQLITE_READ_COUNT
};

struct sqlite_reader {
    sqlite3 *db;
    sqlite3_stmt *statements[SQLITE_READ_COUNT];
};
NODISCARD enum status sqlite_reader_open(struct sqlite_reader *reader, const char *path,
                                         struct error_text *err);
/* The same with a connection that is open already, and becomes the reader's. */
NODISCARD enum status sqlite_reader_prepare(struct sqlite_reader *reader,
                                            const char *path, sqlite3 *db,
                                            struct error_text *err);
void sqlite_reader_close(struct sqlite_reader *reader);
/* Carries out one query and sets its st. */
void sqlite_reader_answer(struct sqlite_reader *reader, struct store_command *command);
/* As store_load_unfinished. */
NODISCARD enum status sqlite_reader_unfinished(
    struct sqlite_reader *reader,
    enum status (*on_stub)(void *data, const struct stored_stub *stored), void *data,
    struct uuid *ret_newest);
/* As store_load_events. */
NODISCARD enum status sqlite_reader_events(struct sqlite_reader *reader,
                                           void (*on_event)(void *data,
                                                            const struct event *event),
                                           void *data);
/* As store_load_pools. */
NODISCARD enum status sqlite_reader_pools(struct sqlite_reader *reader,
                                          enum status (*on_pool)(void *data,
                                                                 struct pool_spec *spec,
                                                                 enum pool_state state),
                                          void *data);

#endif
