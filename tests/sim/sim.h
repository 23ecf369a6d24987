/* SPDX-License-Identifier: MIT */
/*
 * sim - the deciding core of the server as it is, in a world that one seed makes up.
 *
 *     sim_client   submits, waits, cancels, ends pools; stops and crashes the server
 *         │
 *     dispatch, job, queue, stubs, waiters, events, retention, store.c      the real code
 *         │                │                   │
 *     sim_pool         sim_store           sim_loop
 *     workers/pool.h   a back end of       timers of libuv on a virtual clock
 *                      the store
 *
 * Everything that happens is one step after another in one thread, chosen by a generator of
 * random numbers that begins with the seed: so a seed is a history, and always the same one.
 * After each step sim_check compares what the server holds with the book: what clients were
 * told, what was committed, and what workers were given.
 *
 * Times are nanoseconds and milliseconds as in common/clock.h, whose clocks are set. A breach
 * ends the process (sim_breach).
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "common/clock.h"
#include "server/dispatch.h"
#include "server/retention.h"
#include "server/store_backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define SIM_JOBS    48 /* in the book of one history, at most */
#define SIM_ITEMS   6  /* of one job */
#define SIM_POOLS   3  /* names of pools, the default one first */
#define SIM_KEYS    3  /* names of unique and of idempotency keys */
#define SIM_TIMERS  256
#define SIM_WORKERS 4 /* of one pool */

/* What is planted to see that it is noticed. */
enum sim_plant {
    PLANT_NONE,
    PLANT_LOST_COMMAND, /* the store says that it has committed what it has not */
    PLANT_EARLY_ANSWER, /* it answers before the commit */
    PLANT_NO_ANSWER,    /* it forgets to answer */
    PLANT_TWO_OUTCOMES, /* the pool tells the outcome of an item twice */
    PLANT_NO_OUTCOME,   /* a worker's answer gets lost */
    PLANT_OTHER_RESULT, /* the store changes a result */
    PLANT_WIDE_WINDOW,  /* a window moves further than its reader has read */
    PLANT_NO_END,       /* the end of an input gets lost */
    PLANT_RUN_AGAIN,    /* it forgets an outcome that it has committed */
    PLANT_COUNT
};
extern const char *const sim_plant_names[PLANT_COUNT];

/* One item as it was seen from outside. Values are what a result says, or a hash of an error;
 * 0: there is none. */
struct sim_item {
    uint64_t stored; /* the committed outcome, */
    uint64_t shown;  /* and the one that clients could see */
    bool stored_error, shown_error;
    unsigned errors,
        crashes; /* attempts that were charged to it, since the last retry; after
                               * a start those that were committed, */
    unsigned stored_errors, stored_crashes; /* which are these */
};

struct sim_job {
    struct uuid id;
    enum durability durability;
    uint64_t items;
    unsigned retries, crash_retries;
    int priority;
    unsigned pool;
    int unique, key; /* -1: none */
    bool bad;        /* its task mostly raises */
    int64_t expires_at_ms, start_at_ms, result_ttl_ms;
    enum {
        SIM_ASKED,    /* the client has no answer yet */
        SIM_ACCEPTED, /* he was told that it exists */
        SIM_REFUSED,  /* or does not */
        SIM_UNSURE,   /* he was told nothing for certain, or the server crashed before */
    } word;
    bool in_store; /* its row is committed, */
    enum job_state stored_state;
    uint64_t stored_completed, stored_failed;
    int64_t finished_at_ms;
    bool deleted;         /* by a client, or, at least its outcomes, by age */
    bool lost;            /* not durable, and the server has stopped */
    enum job_state state; /* as last seen in memory; JOB_STATE_COUNT: never */
    bool retry_asked;     /* a client has ever wanted it to be run again, */
    bool retrying;        /* has no answer yet, */
    bool forgiven;        /* and it is: its errors count no more */
    bool told_end;        /* a client was told its end, */
    enum job_state told_state;
    bool cancelled; /* a cancellation was answered by ST_OK: nothing is begun any more */
    bool holds_key; /* it has its unique_key for certain */
    uint64_t queued_at; /* order in which it came into the queue; 0: it has not yet */
    bool begun;         /* handed over, since the last start or retry */
    unsigned waits;     /* waiters that were not told yet */
    struct lane *lane;  /* where it is or was last */
    uint64_t window;    /* of a job of imap; 0: none */
    bool fed;           /* its items come one by one */
    bool cut;           /* they did not all come, or may not have: it does not succeed */
    struct live *at;    /* pinned, while a client reads or feeds it */
    bool reads, feeds;  /* which of them he does */
    uint64_t read;      /* items whose outcomes he has */
    struct feeder feeder;
    uint64_t start_ns; /* not to be handed over before, by the clock of this server */
    struct sim_item item[SIM_ITEMS];
    struct sim *sim;
};

struct sim_disk {
    struct store *rows; /* the store in memory, that outlives the server */
    struct {
        struct pool_spec *spec; /* NULL: none of this number */
        enum pool_state state;
    } pools[8];
    enum status trouble; /* what commits fail with for now; ST_OK: they do not */
    bool read_trouble;
};

struct sim {
    uint64_t seed, random;
    bool trace, quiet; /* print each step; faults have stopped */
    bool dying;        /* the server is being taken apart: nothing it does counts */
    enum sim_plant plant;
    bool planted;
    unsigned long steps;

    uint64_t mono_ns;
    int64_t wall_ms;
    uv_loop_t loop; /* only ->data is used, which is this */
    uv_timer_t *timers[SIM_TIMERS];
    size_t timer_count;
    uint64_t timer_starts;
    struct {
        uv_handle_t *handle;
        uv_close_cb done;
    } closing[SIM_TIMERS];
    size_t closing_count;

    struct sim_disk disk;
    struct store *store;
    struct dispatch *dispatch;
    struct retention *retention;
    struct pool *pools; /* a list */
    unsigned pids;
    uint64_t results; /* each has another value */
    bool wake_due, fatal, drained, stopped;
    bool jumped;    /* the wall clock was set */
    bool crash_due; /* the server crashes after this step */

    struct sim_job jobs[SIM_JOBS];
    unsigned job_count;
    uint64_t queue_order;
    uint64_t max_jobs;
};

/* ---- chance and words (test_sim.c) ------------------------------------------------------ */

uint64_t sim_random(struct sim *sim);
uint64_t sim_below(struct sim *sim, uint64_t end); /* 0..end-1 */
bool sim_chance(struct sim *sim, unsigned percent);
/* Whether the planted fault is due now: once in a history, at a random time. */
bool sim_plant_due(struct sim *sim, enum sim_plant plant);
void sim_say(struct sim *sim, const char *format, ...) PRINTF(2, 3);
/* Something is not as promised: says what, and how to see it again, and exits with 1. */
_Noreturn void sim_breach(const struct sim *sim, const char *format, ...) PRINTF(2, 3);
#define SIM_DEMAND(sim, condition, ...)                                                  \
    do {                                                                                 \
        if (!(condition))                                                                \
            sim_breach(sim, __VA_ARGS__);                                                \
    } while (0)
/* One history; returns when all of it was as promised. */
void sim_run(uint64_t seed, enum sim_plant plant, bool trace);
struct sim_job *sim_job_of(struct sim *sim, struct uuid id); /* NULL: none of ours */
unsigned sim_number(const struct sim_job *job);

/* ---- the loop (sim_loop.c) --------------------------------------------------------- */

/* The clocks go on. */
void sim_advance(struct sim *sim, uint64_t ns);
/* Calls the timers that are due; returns whether there was one. */
bool sim_fire(struct sim *sim);
/* Until the next timer is due, in ns; UINT64_MAX: there is none. */
uint64_t sim_next_due(const struct sim *sim);
void sim_close_handles(struct sim *sim);

/* ---- workers (sim_pool.c) ---------------------------------------------------------- */

/* Something happens to a worker; false: there is nobody to whom anything could. */
bool sim_pool_step(struct sim *sim);
/* What is due at the end of a turn of the loop. */
void sim_pool_turn(struct sim *sim);
/* All workers die now. */
void sim_pool_kill_all(struct sim *sim);
/* A forkserver dies, an initializer fails: of a random pool. */
void sim_pool_disaster(struct sim *sim);

/* ---- the disk (sim_store.c) -------------------------------------------------------- */

void sim_disk_open(struct sim *sim);
void sim_disk_close(struct sim *sim);
/* A back end of the store that writes to the disk when sim_store_step says so. */
struct store *sim_store_open(struct sim *sim, const struct store_events *events);
/* A commit, or the answer to a query; false: nothing was asked for. */
bool sim_store_step(struct sim *sim);
/* A commit of which nobody knows whether it has happened; false: there was none. */
bool sim_store_fail(struct sim *sim);
/* Loses what is not committed, as a crash does. */
void sim_store_cut(struct sim *sim);
/* The book's idea of the disk is right. */
void sim_disk_check(struct sim *sim);

/* ---- the book's side of it (sim_book.c) -------------------------------------------- */

/* The command was committed. */
void sim_book_note(struct sim *sim, const struct store_command *command);
/* What the disk has of the job is what the book says. */
void sim_book_check(struct sim *sim, const struct sim_job *job,
                    const struct stored_job *row);
/* Whether retention may have let go of it: by age; nothing else is in the way. */
bool sim_book_may_be_gone(const struct sim *sim, const struct sim_job *job);
/* The values of the texts of an outcome, one for each item. */
void sim_values(const struct sim *sim, const struct outcome *outcome,
                uint64_t ret_values[SIM_ITEMS]);

/* ---- clients (sim_client.c) -------------------------------------------------------- */

extern const char *const sim_pool_names[SIM_POOLS];
void sim_client_step(struct sim *sim);
/* A job that has failed, if there is one, is to be run again. */
void sim_client_retry(struct sim *sim);
/* Something of what clients have no hand in. */
void sim_fault_step(struct sim *sim);
/* Everything that was broken works again. */
void sim_heal(struct sim *sim);

/* ---- clients at both ends of a job (sim_feed.c) ------------------------------------ */

/* A client reads the job from here on, if it has a window or is fed, and feeds it. */
void sim_feed_begin(struct sim_job *job, struct live *live);
/* Something at one of these ends; false: there is nobody. */
bool sim_feed_step(struct sim *sim);
/* Their connections are closed. */
void sim_feed_leave_all(struct sim *sim);

/* ---- the server (sim_server.c) ----------------------------------------------------- */

void sim_server_start(struct sim *sim);
/* Without a goodbye. What was not committed is lost. */
void sim_server_crash(struct sim *sim);
/* As SIGTERM does; or at once, as a store that has failed. */
void sim_server_stop(struct sim *sim, bool at_once);
/* Callbacks, timers and wake-ups that are due. */
void sim_turn(struct sim *sim);

/* ---- promises (sim_check.c) -------------------------------------------------------- */

void sim_check(struct sim *sim);
/* Nothing is waited for, and everything is over. */
bool sim_at_rest(const struct sim *sim);
/* What a client was told. */
void sim_check_told_accepted(struct sim *sim, struct sim_job *job);
void sim_check_told_end(struct sim *sim, struct sim_job *job);
/* Just before the chunk is with a worker. */
void sim_check_handed_over(struct sim *sim, const struct live *live, uint64_t first,
                           uint64_t count);
/* An attempt has failed that counts. */
void sim_check_charged(struct sim *sim, const struct live *live, uint64_t item,
                       bool crash);
/* When nothing is left to happen. */
void sim_check_end(struct sim *sim);

#endif
