/* SPDX-License-Identifier: MIT */
/*
 * store_backend - what store.c and the back ends share. Private to server/store*.c.
 *
 * Every call of store.h becomes a struct store_command. store.c, or store_query.c, makes it
 * and gives it to the back end; the back end carries it out, on a thread of its own or at
 * once, fills in the answer and returns it with store_answer; store_drain calls the callback
 * and frees it.
 *
 *     loop's thread                     back end
 *     store_put_job --- submit ------>  carried out, st is set
 *     store_drain  <--- answers ------  store_answer, on_wake
 *
 * A command has a fixed size and holds references, so that a small reserve made at the
 * start carries what must not get lost when memory runs out.
 */
#ifndef SERVER_STORE_BACKEND_H
#define SERVER_STORE_BACKEND_H

#include "server/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

enum store_command_kind {
    STORE_PUT_JOB,
    STORE_PUT_JOBS,
    STORE_RECORD_JOB,
    STORE_PUT_OUTCOME,
    STORE_PUT_ATTEMPT,
    STORE_PUT_LOG,
    STORE_PUT_EVENTS,
    STORE_PUT_STATUS,
    STORE_PUT_FINISHED,
    STORE_PUT_DELIVERY,
    STORE_DELETE_JOB,
    STORE_PUT_POOL,
    STORE_DELETE_POOL,
    STORE_PURGE, /* the last one that changes something */
    STORE_GET_JOB,
    STORE_FIND_KEY,
    STORE_LIST_JOBS,
    STORE_LIST_DELIVERIES,
    STORE_FATAL /* only among the answers: on_fatal is due */
};

struct store_command {
    STAILQ_ENTRY(store_command) link;
    enum store_command_kind kind;
    enum status st;         /* the answer */
    size_t bytes;           /* of the texts that are to be written */
    struct job_spec *spec;  /* one reference; NULL for those that name an id; of several
                               jobs, one whose durability holds for all */
    struct pool_spec *pool; /* one reference, or NULL */
    enum pool_state pool_state;
    struct uuid id;
    struct job_status status; /* owned */
    struct outcome outcome;   /* owned */
    struct outcome *outcomes; /* owned, unless it is &outcome */
    size_t outcome_count;
    struct store_existing existing; /* the answer, for ST_EXISTS */
    struct store_limits limits;
    struct store_purged purged; /* the answer */
    char *key;                  /* to be found, of this owner; owned */
    uint64_t owner;
    struct blob *attempt; /* one reference */
    struct blob *log;     /* one reference, or NULL */
    uint64_t attempt_number;
    struct event event;
    struct event *events; /* that come with it; owned, unless it is &event */
    size_t event_count;
    struct attempt_log attempts; /* owned; of put_finished */
    unsigned with;               /* STORE_WITH_... */
    struct job_filter filter;    /* owned */
    struct stored_job job;       /* the answer; owned until it is handed over */
    struct stored_job *jobs;     /* the answer; of STORE_PUT_JOBS what to store; owned */
    size_t job_count;
    struct delivery delivery; /* owned */
    struct delivery_query deliveries_of;
    struct delivery *deliveries; /* the answer; owned */
    size_t delivery_count;
    union {
        store_put_done *put;
        store_done *done;
        store_purge_done *purge;
        store_got_job *job;
        store_got_jobs *jobs;
        store_got_deliveries *deliveries;
    } on;
    void *data; /* of the callback */
};
STAILQ_HEAD(store_command_list, store_command);

static inline bool store_command_writes(const struct store_command *command)
{
    return command->kind <= STORE_PURGE;
}

struct store_backend {
    const char *kind;
    /* Takes the command. Loop's thread. */
    void (*submit)(struct store *store, struct store_command *command);
    enum status (*load_unfinished)(
        struct store *store,
        enum status (*on_stub)(void *data, const struct stored_stub *stored), void *data,
        struct uuid *ret_newest, struct error_text *err);
    enum status (*load_events)(struct store *store,
                               void (*on_event)(void *data, const struct event *event),
                               void *data, struct error_text *err);
    enum status (*load_pools)(struct store *store,
                              enum status (*on_pool)(void *data, struct pool_spec *spec,
                                                     enum pool_state state),
                              void *data, struct error_text *err);
    /* Fills in what is not in struct store. */
    void (*get_info)(struct store *store, struct store_info *ret_info);
    /* Answers what was submitted and stops the threads. */
    void (*stop)(struct store *store);
    /* Frees all, with the struct store in it. After stop, and with nothing left to
     * answer. */
    void (*free)(struct store *store);
};

/* The first member of each back end's own struct. */
struct store {
    const struct store_backend *backend;
    struct store_events events;
    void *data;
    bool closing; /* loop's thread */

    pthread_mutex_t lock; /* of answers, fatal_said and the histograms */
    bool lock_made;
    struct store_command_list answers;
    struct store_command fatal; /* becomes an answer at most once */
    struct error_text fatal_why;
    bool fatal_said;

    struct store_command_list reserve; /* loop's thread */
    size_t reserve_count;

    atomic_size_t backlog;
    atomic_bool writable;
    atomic_uint_fast64_t commits, commands;
    struct histogram commit_ns, commit_commands;
};

/* For the calls of store.h: a command that is all zero but for its kind. NULL ends the store:
 * something that it was to keep is lost. Loop's thread. */
struct store_command *store_command_new(struct store *store,
                                        enum store_command_kind kind);
/* Gives it to the back end; answers it at once if its st is set already, or the store is
 * closing. Loop's thread. */
void store_command_submit(struct store *store, struct store_command *command);

/* Storage that is all zero before. On failure store_base_clear still has to follow. */
NODISCARD enum status store_base_init(struct store *store,
                                      const struct store_backend *backend,
                                      const struct store_events *events, void *data);
void store_base_clear(struct store *store);

/* Returns commands with their answers; the list is empty afterwards. Any thread. */
void store_answer(struct store *store, struct store_command_list *list);
void store_answer_one(struct store *store, struct store_command *command);
/* A commit went well. Any thread. */
void store_committed(struct store *store, size_t commands, uint64_t duration_ns);
/* Has on_fatal called, the first time. Any thread. */
void store_fail(struct store *store, const char *format, ...) PRINTF(2, 3);

#endif
