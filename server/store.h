/* SPDX-License-Identifier: MIT */
/*
 * store - where jobs are kept: a batch of commands in -> ok / failed / unknown out.
 *
 * Commands change the store, in the order in which they were given. They are gathered and
 * committed together, as many as have come in while the last commit was under way (group
 * commit); `done` is called on the loop's thread after the commit that holds the command.
 * A batch that holds only relaxed jobs is committed without waiting for the disk; it
 * survives a crash of the server and is on disk with the next durable commit.
 *
 *     ST_OK             it is stored
 *     ST_STORAGE_FULL   put_job and put_jobs only: nothing is stored, nothing has
 *                       changed. Commands for jobs that clients know of already are
 *                       kept and tried again every second
 *     ST_NO_MEMORY      as ST_STORAGE_FULL, when memory is short
 *     ST_BUSY           as ST_STORAGE_FULL, when a foreign program keeps the database
 *                       locked
 *     ST_EXISTS         put_job, put_finished: the idempotency key is known;
 *                       `existing` says which job
 *     ST_NOT_FOUND      put_outcome, put_attempt, put_status, put_delivery, delete_job: there is no
 *                       such job, because its put_job has failed or it was deleted
 *                       (or, for put_status, stripped); nothing has changed
 *     ST_LIMIT          over STORE_BYTES_MAX; nothing has changed
 *     ST_UNKNOWN        the disk has failed during the commit. Only a restart can tell
 *                       what is stored: on_fatal has been called, nothing more is
 *                       accepted
 *
 * The command that records the end of a job also adds the message to its callback, if it
 * has one for this end (server/delivery.h): both are committed, or neither.
 *
 * Commands that are still kept at store_stop are tried once more and then given up with
 * the status that kept them.
 *
 * Queries read what is committed, on a thread of their own, and may run beside commands.
 *
 * Back ends: SQLite (store_sqlite*.c) and memory (store_memory.c: for tests and
 * throw-away runs). SQL and the notion of a single node stay behind this header.
 *
 * Threads: all functions are called on the loop's thread. on_wake may come from any
 * thread. Callbacks may give commands and ask queries; they call neither store_drain nor
 * store_stop nor store_close.
 */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include "common/status.h"
#include "server/attempt_log.h"
#include "server/delivery.h"
#include "server/event.h"
#include "server/histogram.h"
#include "server/job.h"
#include "server/pool_spec.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_BYTES_MAX                                                                  \
    (900u << 20) /* of one job's input and kwargs, or of one outcome */

struct store;

struct store_events {
    /* Answers are waiting: have store_drain called on the loop's thread. Any thread. */
    void (*on_wake)(void *data);
    /* The outcome of a commit is unknown: stop and exit. Loop's thread, from store_drain
     * or store_stop, once, before the commands in question are answered. */
    void (*on_fatal)(void *data, const struct error_text *why);
};

/* ---- life cycle ------------------------------------------------------------------- */

/* Opens (or creates) the database in directory `dir` (created if only the last part of
 * its path is missing) and starts the threads. Failures, with err naming the file:
 * ST_DENIED, ST_IO, ST_STORAGE_FULL, ST_BUSY (another server has it), ST_CORRUPT,
 * ST_FOREIGN, ST_NEWER; the database is untouched then. */
NODISCARD enum status store_open_sqlite(const char *dir,
                                        const struct store_events *events, void *data,
                                        struct store **ret_store, struct error_text *err);
NODISCARD enum status store_open_memory(const struct store_events *events, void *data,
                                        struct store **ret_store, struct error_text *err);
/* Commits what is queued; nothing changes any more. `done` callbacks that are still due are
 * called from here. What the store is given from now on, by them or by clients that are
 * told that the server stops, is answered with ST_CLOSED. NULL is fine. */
void store_stop(struct store *store);
/* As store_stop, and closes: nobody may have the store any more. NULL is fine. */
void store_close(struct store *store);

/* Calls the callbacks that are due. */
void store_drain(struct store *store);
/* Commands that are not committed yet: a measure of how far the store lags behind. */
size_t store_backlog(const struct store *store);

/* ---- commands --------------------------------------------------------------------- */

/* In all of these, done may be NULL. An event, if there is one, is stored in the same
 * commit, or not at all if the command is refused; it is copied. */
typedef void store_done(void *data, enum status st);

struct store_existing {
    struct uuid id;
    uint64_t request_hash;
};
/* existing is set for ST_EXISTS only. */
typedef void store_put_done(void *data, enum status st,
                            const struct store_existing *existing);

/* Stores a new job, with its status of now: a job that is over already is stored as such,
 * in one row. Not for jobs of DURABILITY_MEMORY. */
void store_put_job(struct store *store, struct job_spec *spec,
                   const struct job_status *status, const struct event *event,
                   store_put_done *done, void *data);
/* Stores a job that clients know of already, as store_put_job; it has no idempotency key. Kept
 * like put_status when it cannot be stored now. */
void store_record_job(struct store *store, struct job_spec *spec,
                      const struct job_status *status, store_done *done, void *data);
/* Stores several new jobs as one command: all or none. None has an idempotency key, and
 * none is of DURABILITY_MEMORY. The arrays are copied; count >= 1. events: one for each
 * job, with the id 0 for none; or NULL. */
void store_put_jobs(struct store *store, struct job_spec *const specs[],
                    const struct job_status statuses[], const struct event events[],
                    size_t count, store_done *done, void *data);
/* Adds an outcome; takes a reference of its own to the text. An outcome that starts at
 * the same item and is stored already stays as it is. */
void store_put_outcome(struct store *store, struct job_spec *spec,
                       const struct outcome *outcome, store_done *done, void *data);
/* Adds the job's attempt of this number, from 1 on, which has failed; takes a reference of
 * its own to the text. A number that is not above all that are stored is raised. */
void store_put_attempt(struct store *store, struct job_spec *spec, uint64_t number,
                       struct blob *attempt, store_done *done, void *data);
/* What the job's tasks have printed, as JSON (server/job_log.h), in place of what was stored
 * of it; takes a reference of its own. Nobody waits for it. */
void store_put_log(struct store *store, struct job_spec *spec, struct blob *log);
/* Records the status. JOB_QUEUED for a job that had failed is a retry: its outcomes that
 * are errors are forgotten in the same commit. */
void store_put_status(struct store *store, struct job_spec *spec,
                      const struct job_status *status, const struct event *event,
                      store_done *done, void *data);
/* As store_put_status for a job that is over, with its result: of all its items, not stored
 * before, and not longer than this. Takes a reference of its own to the text. */
#define STORE_RESULT_MAX 512
void store_put_end(struct store *store, struct job_spec *spec,
                   const struct job_status *status, const struct outcome *result,
                   const struct event *event, store_done *done, void *data);
/* Events alone; nobody waits for them. */
void store_put_events(struct store *store, const struct event events[], size_t count);
/* Stores a new job that is over already, with all its outcomes, attempts and log (NULL:
 * none), as one command. The arrays are copied, the log is referenced; without memory for
 * the attempts they are left out. ST_NO_MEMORY when the outcomes cannot be; otherwise kept
 * like put_status. */
void store_put_finished(struct store *store, struct job_spec *spec,
                        const struct job_status *status, const struct outcome *outcomes,
                        size_t count, const struct attempt_log *attempts,
                        struct blob *log, store_done *done, void *data);
/* Records what became of a delivery: its state, times and attempts. */
void store_put_delivery(struct store *store, const struct delivery *delivery,
                        store_done *done, void *data);
/* Forgets a job with all that belongs to it, its idempotency key included. */
void store_delete_job(struct store *store, struct uuid id, store_done *done, void *data);

/* Stores a pool, new or changed; takes a reference of its own to the spec. Kept like
 * put_status when it cannot be stored now. */
void store_put_pool(struct store *store, struct pool_spec *spec, enum pool_state state,
                    store_done *done, void *data);
/* ST_NOT_FOUND if there is none of this name. */
void store_delete_pool(struct store *store, struct pool_spec *spec, store_done *done,
                       void *data);

/* What is kept of jobs that are over. */
struct store_limits {
    int64_t now_ms;     /* wall time for what goes by age; 0: nothing does */
    int64_t job_ttl_ms; /* how long the row is kept after the end; one that still has its
                           result stays longer */
    uint64_t max_jobs;  /* rows */
    uint64_t max_bytes; /* of inputs, kwargs and outcomes; 0: any number */
};
struct store_purged {
    unsigned by_age, by_size; /* jobs that were stripped or deleted */
    bool more;                /* the batch was full: there may be more to do */
};
/* A batch is this many jobs, and no further one after this many bytes: what other
 * commands have to wait for. */
#define STORE_PURGE_JOBS  200
#define STORE_PURGE_BYTES (4u << 20)

/* Makes room, one batch at a time; not in a hurry, and not synced:
 *
 *     its result_ttl is over, or max_bytes is passed    stripped: input and outcomes go,
 *                                                       the row stays, with its keys
 *     stripped, and job_ttl is over; or max_jobs passed deleted
 *
 * Stripped jobs go in the order in which they ended, whole ones in that in which the time
 * of their results ends. purged is all zero unless st is ST_OK. */
typedef void store_purge_done(void *data, enum status st,
                              const struct store_purged *purged);
void store_purge(struct store *store, const struct store_limits *limits,
                 store_purge_done *done, void *data);

/* ---- queries ---------------------------------------------------------------------- */

struct stored_job {
    struct job_spec *spec;
    struct job_status status;
    struct outcome *outcomes; /* ordered by first; only if asked for */
    size_t outcome_count;
    bool gone; /* stripped: there is no input and there are no outcomes any more */
    struct attempt_log attempts; /* only if asked for */
    struct blob *log;            /* the same; NULL: there is none */
};
void stored_job_clear(struct stored_job *stored);

/* st: ST_OK, ST_NOT_FOUND, ST_CORRUPT (a checksum is wrong), ST_IO, ST_NO_MEMORY. The
 * receiver owns the content, which is empty unless ST_OK. */
typedef void store_got_job(void *data, enum status st, struct stored_job *stored);
/* What is wanted beyond spec and status; to be combined. */
#define STORE_WITH_OUTCOMES 1u
#define STORE_WITH_ATTEMPTS 2u
#define STORE_WITH_INPUT    4u /* input, kwargs, and their index if it is not over */
#define STORE_WITH_LOG      8u
void store_get_job(struct store *store, struct uuid id, unsigned with, store_got_job *got,
                   void *data);

/* The job of this owner that has this idempotency key: ST_EXISTS; ST_NOT_FOUND: none has; ST_IO,
 * ST_NO_MEMORY. The key is copied. */
void store_find_key(struct store *store, uint64_t owner, const char *idempotency_key,
                    store_put_done *found, void *data);

#define STORE_LIST_MAX 1001 /* a page of 1000, and one to know if there is a next */

struct job_filter {
    enum job_state state;    /* JOB_STATE_COUNT: any */
    uint64_t owner;          /* 0: any */
    char *task, *pool, *tag; /* NULL: any; owned by the filter */
    bool has_before;         /* only jobs older than `before` */
    struct uuid before;
    unsigned limit; /* 1..STORE_LIST_MAX */
};
void job_filter_clear(struct job_filter *filter);
/* Whether this job passes owner, state, task, pool, tag and before. */
bool job_filter_matches(const struct job_filter *filter, const struct job_spec *spec,
                        enum job_state state);

/* Jobs that match, newest first, without outcomes (and the specs without input). Of those
 * that are not over the store knows the state at their submission only: with the filter
 * JOB_QUEUED, those that were JOB_SCHEDULED then come, too. jobs is freed after the call,
 * the receiver may steal contents by zeroing the element. The filter is copied. A job whose
 * row is damaged is left out, with a line in the log. */
typedef void store_got_jobs(void *data, enum status st, struct stored_job *jobs,
                            size_t count);
void store_list_jobs(struct store *store, const struct job_filter *filter,
                     store_got_jobs *got, void *data);

#define STORE_DELIVERIES_MAX 100

/* list is freed after the call. query->limit is at most STORE_DELIVERIES_MAX. */
typedef void store_got_deliveries(void *data, enum status st, const struct delivery *list,
                                  size_t count);
void store_list_deliveries(struct store *store, const struct delivery_query *query,
                           store_got_deliveries *got, void *data);

/* What has to be known of a job that is not over before it is read. */
struct stored_stub {
    struct uuid id;
    uint64_t owner;
    enum job_state state;
    bool begun; /* it had started, or has outcomes, or is fed and has lost its items */
    int priority;
    int64_t start_at_ms, expires_at_ms;
    uint64_t bytes;   /* of input and kwargs */
    const char *pool; /* this and the next two are valid during the call */
    const char *unique_key, *idempotency_key; /* or NULL */
};

/* At start-up, before any command: every job that is not over, oldest first. Blocks. When
 * on_stub does not return ST_OK, that ends the load and is what it returns. *ret_newest is
 * the newest id in the store, finished or not, all zero for none. A row that is damaged is
 * left out and left alone, with a line in the log. */
NODISCARD enum status store_load_unfinished(
    struct store *store,
    enum status (*on_stub)(void *data, const struct stored_stub *stored), void *data,
    struct uuid *ret_newest, struct error_text *err);

/* At start-up, before any command: the newest events, at most EVENTS_STORED_MAX, oldest
 * first. Blocks. */
#define EVENTS_STORED_MAX 10001 /* what is kept in memory, and one to know if more were */
NODISCARD enum status store_load_events(struct store *store,
                                        void (*on_event)(void *data,
                                                         const struct event *event),
                                        void *data, struct error_text *err);
/* At start-up, before any command: every pool that is stored, oldest first. Blocks. The
 * receiver owns a reference to spec; when on_pool does not return ST_OK, that ends the
 * load and is what it returns. A damaged one is left out and left alone, with a line in
 * the log. */
NODISCARD enum status store_load_pools(struct store *store,
                                       enum status (*on_pool)(void *data,
                                                              struct pool_spec *spec,
                                                              enum pool_state state),
                                       void *data, struct error_text *err);

/* ---- copies and checks of a database in SQLite --------------------------------------
 *
 * Each on any thread, with connections of its own. */

/* Copies the database in `dir` into the new file `file`, as it is when the copying begins:
 * all that was committed before is in it. A server may use the database meanwhile; its
 * commits go on, but its WAL grows until the copy is done. The copy is one file, was checked
 * by SQLite and is on the disk when this returns; one that is not complete does not stay.
 * Another thread may set *stop (or NULL) to end it: ST_CLOSED. ST_EXISTS: the file is there;
 * ST_NOT_FOUND: there is no database; ST_CORRUPT, ST_FOREIGN, ST_NEWER: the database;
 * ST_DENIED, ST_STORAGE_FULL, ST_IO, ST_NO_MEMORY. */
NODISCARD enum status store_copy_sqlite(const char *dir, const char *file,
                                        const atomic_bool *stop, uint64_t *ret_bytes,
                                        struct error_text *err);

struct store_check {
    int schema_version;
    bool older;        /* it will be upgraded; only its structure was looked at */
    uint64_t findings; /* that were told */
    uint64_t jobs;     /* whose texts were read */
};
/* Looks at all that is in the database of a server that does not run: its structure, each
 * text against its checksum, and whether what the rows say fits together. on_finding gets a
 * line for each thing that is wrong. Changes nothing. ST_OK: the look is complete;
 * ST_BUSY: a server has the database; ST_CORRUPT, ST_FOREIGN, ST_NEWER: it cannot be read
 * at all; others as above. */
NODISCARD enum status store_check_sqlite(const char *dir,
                                         void (*on_finding)(void *data, const char *text),
                                         void *data, struct store_check *ret_check,
                                         struct error_text *err);

/* ---- inspection ------------------------------------------------------------------- */

struct store_info {
    const char *kind;   /* "sqlite", "memory" */
    const char *path;   /* of the database file, "" for memory */
    bool writable;      /* the last commit went well */
    int schema_version; /* of the database; 0 for memory */
    uint64_t commits;   /* since the start */
    uint64_t commands;  /* that they held */
    uint64_t database_bytes, wal_bytes;
    struct histogram commit_ns, commit_commands; /* the same, one by one */
};
void store_get_info(struct store *store, struct store_info *ret_info);

#endif
