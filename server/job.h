/* SPDX-License-Identifier: MIT */
/*
 * job - what a client submitted, how far it is, and which items are still to do. Pure: no
 * clock, no descriptor, no thread of its own.
 *
 * Three parts with three owners:
 *
 *     job_spec    what was asked for. Never changes, and is shared by counting
 *                 references: the loop, the store and answers read it side by side.
 *     job_status  how far it is: a plain struct that is copied to whoever needs it.
 *     job         the live job in the loop: spec, status, and what its items do.
 *
 * States and their moves are drawn in schema/README.md; job_set_state is the only
 * function that changes one. Items have no records of their own: the outcomes of
 * consecutive items are kept together (struct outcome), and what is still to do is a list
 * of ranges. Only items that failed or crashed before have a record (struct job_trouble).
 */
#ifndef SERVER_JOB_H
#define SERVER_JOB_H

#include "common/blob.h"
#include "common/buf.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/uuid.h"
#include "server/feed.h"
#include "server/json_slice.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* ---- what was asked for ------------------------------------------------------------ */

enum job_method {
    JOB_APPLY,
    JOB_MAP,
    JOB_STARMAP,
    JOB_IMAP,
    JOB_IMAP_UNORDERED,
    JOB_METHOD_COUNT
};
extern const char *const job_method_names[JOB_METHOD_COUNT]; /* "apply", ... */
bool job_method_streams(enum job_method method);             /* imap, imap_unordered */

enum durability {
    DURABILITY_DURABLE, /* acknowledged after a synced commit */
    DURABILITY_RELAXED, /* recorded behind the answer */
    DURABILITY_MEMORY,  /* never stored */
    DURABILITY_COUNT
};
extern const char *const durability_names[DURABILITY_COUNT];

#define JOB_PRIORITY_MIN   (-100)
#define JOB_PRIORITY_MAX   100
#define JOB_CHUNKSIZE_AUTO 0 /* chosen from the measured cost of an item */
#define JOB_WINDOW_MAX     100000
#define UNIQUE_KEY_MAX     128 /* bytes */

struct job_backoff {
    int64_t initial_ms, max_ms;
    double factor;
    bool jitter;
};

/* What a new job does when one with its unique_key is not over yet. */
enum job_conflict {
    CONFLICT_RETURN,  /* the request gets that job */
    CONFLICT_REJECT,  /* it is refused */
    CONFLICT_REPLACE, /* that job is cancelled, unless it runs */
    CONFLICT_COUNT
};
extern const char *const job_conflict_names[CONFLICT_COUNT];

struct job_spec {
    atomic_uint refs;
    struct uuid id;
    uint64_t owner; /* id of the API key that it was submitted with; 0: there was none */
    enum job_method method;
    enum durability durability;
    const char
        *task; /* this and the texts below are in the same allocation or in `body` */
    const char *pool;
    int priority;
    uint64_t item_count; /* 1 for apply; 0 if it is fed */
    uint64_t chunksize;  /* JOB_CHUNKSIZE_AUTO or what was asked for */
    uint64_t window; /* items begun that the submitter has not read yet, at most; 0: any
                        number. Not stored: it ends with the submitter's connection */
    int64_t created_at_ms; /* wall time, as all *_at_ms */
    int64_t start_at_ms;   /* 0: at once */
    int64_t expires_at_ms; /* 0: never; not started by then = expired */
    int64_t time_limit_ms; /* per item; 0: none */
    int64_t result_ttl_ms;
    uint32_t retries;       /* extra attempts after a task's error */
    uint32_t crash_retries; /* extra attempts after a worker's death */
    struct job_backoff backoff;
    bool return_exceptions;
    bool stop_on_error;
    bool cancel_on_disconnect;
    bool fed; /* its items come one by one, behind it: input is empty, and they are never
                 stored */
    const char *tags;            /* JSON array text, or NULL for [] */
    const char *metadata;        /* JSON object text, or NULL for {} */
    const char *callback;        /* URL for when it has succeeded, or NULL */
    const char *error_callback;  /* URL for when it has ended otherwise, or NULL */
    const char *idempotency_key; /* or NULL; each owner has its own */
    uint64_t request_hash;       /* of the request that carried the key */
    const char *trace;           /* see trace.h; NULL: none */
    const char *unique_key; /* or NULL: one such job at a time of its owner in its pool */
    enum job_conflict on_conflict; /* for the submission only, not stored */
    struct blob *body;             /* holds the two texts below */
    struct text input;  /* JSON array: the items; for apply the positional arguments */
    struct text kwargs; /* JSON object, or empty */
    struct slice_index *index; /* of input; NULL for apply and when finished */
};

/* A spec with one reference, filled from `from` by copying; strings are copied, `body`
 * gets another reference, `index` is taken over (also on failure). NULL without memory.
 */
struct job_spec *job_spec_new(const struct job_spec *from);
/* A copy without input, kwargs and index. NULL without memory. */
struct job_spec *job_spec_strip(const struct job_spec *from);
/* Copies input and kwargs out of a body that holds more; the spec must not be shared yet.
 * ST_NO_MEMORY: nothing has changed. */
NODISCARD enum status job_spec_own_body(struct job_spec *spec);
struct job_spec *job_spec_ref(struct job_spec *spec);
/* Makes the index that the spec of a finished job from the store lacks, if it lacks one;
 * the spec must not be shared yet then. ST_CORRUPT: the input is not what it was. */
NODISCARD enum status job_spec_make_index(struct job_spec *spec);
void job_spec_unref(struct job_spec *spec);           /* NULL is fine; any thread */
uint64_t job_spec_bytes(const struct job_spec *spec); /* of input and kwargs */

/* ---- how far it is ----------------------------------------------------------------- */

enum job_state {
    JOB_SCHEDULED, /* waits for its time */
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_SUCCEEDED, /* the first of the four states that are final */
    JOB_FAILED,
    JOB_CANCELLED,
    JOB_EXPIRED,
    JOB_STATE_COUNT
};
extern const char *const job_state_names[JOB_STATE_COUNT];
bool job_state_final(enum job_state state);
/* Whether a job may come from one state to the other; drawn in schema/README.md. */
bool job_may_move(enum job_state from, enum job_state to);

/* The URL to be called when a job has come to this state; NULL: none. */
const char *job_spec_callback(const struct job_spec *spec, enum job_state state);

struct job_status {
    enum job_state state;
    uint64_t completed; /* items with a result */
    uint64_t failed;    /* items with an error */
    uint32_t
        attempt; /* largest number of the attempts at one item so far, 1 once started */
    uint64_t forgiven; /* of the failed attempts, counted from 1 on: those up to here were
                        * before the last retry, and have spent nothing of the budgets */
    int64_t started_at_ms, finished_at_ms; /* 0: not yet */
    struct blob
        *error; /* problem object as JSON text, or NULL; a status owns one reference */
    uint64_t bytes;    /* of input, kwargs and outcomes; 0 until the job is over */
    struct blob *said; /* what a task has said last of an item that it runs, as text of
                        * progress_json; NULL: nothing, or the job is over. One reference;
                        * never stored */
    uint64_t fed;      /* items that have come, of a job that is fed */
};
/* A copy that owns its references; and its end. */
struct job_status job_status_copy(const struct job_status *status);
void job_status_clear(struct job_status *status);
/* How many items the job has, so far if it is fed. */
uint64_t job_items(const struct job_spec *spec, const struct job_status *status);

/* The outcomes of consecutive items. */
struct outcome {
    uint64_t first;
    uint64_t count; /* 1 for an error */
    bool is_error;
    bool shown;  /* clients may see it: it is stored, or need not be */
    bool stored; /* of a fed job: it is in the store, */
    bool read;   /* and its client has it */
    struct blob
        *text; /* results separated by commas; or one problem object. One reference. */
};

/* ---- the live job ------------------------------------------------------------------ */

/* The place of a job in a queue (server/queue.h). It is in a struct job, and the job is
 * whole; or in what stands for a job that is only in the store (server/stub.h). */
struct queue_place {
    TAILQ_ENTRY(queue_place) link;
    uint32_t bytes; /* of input and kwargs */
    int8_t priority;
    bool whole;
    bool queued; /* is in a queue */
    bool ahead;  /* no stub of its priority is before it; the queue's own */
};
TAILQ_HEAD(queue_place_list, queue_place);

/* Items [first, first + count). */
struct job_range {
    uint64_t first, count;
};

/* An item that has failed or crashed before, and has attempts left. */
struct job_trouble {
    uint64_t item;
    uint32_t errors;      /* attempts that ended in a task's error */
    uint32_t crashes;     /* attempts that a worker died in */
    uint64_t retry_at_ns; /* CLOCK_MONOTONIC; not to be handed out before */
    bool waiting; /* to be handed out again, as a chunk of its own: in job->waiting */
    TAILQ_ENTRY(job_trouble) link;
    UT_hash_handle hh; /* by item */
};
TAILQ_HEAD(job_trouble_list, job_trouble);

struct job {
    struct job_spec *spec;
    struct job_status status;

    uint64_t next_item; /* items from here on were never handed out */
    uint64_t open_to;   /* items from here on are outside of the window: not yet to be
                         handed out; UINT64_MAX when there is no window */
    bool open;          /* it is fed, and more items may come */
    struct feed feed;   /* its items without outcome */
    struct job_range *returned; /* handed out and come back without blame; a stack */
    size_t returned_count, returned_cap;
    struct job_trouble *troubles;    /* hash by item */
    struct job_trouble_list waiting; /* ordered by retry_at_ns */
    size_t waiting_count;
    uint64_t in_flight; /* items at workers */

    struct outcome
        *outcomes; /* ordered by first; kept until the job is dropped from memory */
    size_t outcome_count, outcome_cap;
    uint64_t outcome_bytes; /* of those that are here: of results and problems, without
                             * the commas between results */
    uint64_t let_go_bytes;  /* of outcomes that were let go of */
    uint64_t lowest_failed; /* index, UINT64_MAX for none: its error is the job's */
    struct blob
        *fault; /* problem that is the job's error whatever its items say, or NULL */
    enum job_state
        end; /* what it will be when nothing is in flight; JOB_STATE_COUNT: open */

    struct queue_place place;
    void *owner; /* server/dispatch keeps its own record of the job here */
};

/* Fresh job: takes the reference to spec. now_ms is wall time: SCHEDULED if start_at_ms
 * is later, else QUEUED. */
void job_init(struct job *job, struct job_spec *spec, int64_t now_ms);
/* A job that was stored: as it was, with what has no outcome yet left to do. Takes spec,
 * the content of status and of the outcomes, and the array; they are freed on failure
 * too. A job that was running is QUEUED again. */
NODISCARD enum status job_restore(struct job *job, struct job_spec *spec,
                                  const struct job_status *status,
                                  struct outcome *outcomes, size_t outcome_count);
/* A failed job once more: its errors are forgotten, its results stay, and every item
 * without a result is to do, with its budgets as at the beginning. QUEUED from here on;
 * started_at_ms stays, and tells that the job is no longer subject to its expiry. Not
 * ST_OK: it is as it was. */
NODISCARD enum status job_retry(struct job *job);
void job_clear(struct job *job);

/* The one mover. Asserts that the move is legal. */
void job_set_state(struct job *job, enum job_state state, int64_t now_ms);

/* One more item of a job that is open, copied. ST_NO_MEMORY: nothing has changed. */
NODISCARD enum status job_feed(struct job *job, struct text item);
/* No more items come. With a problem (takes the reference) the input is not complete: the
 * job ends as FAILED with it, when the items that came have their outcomes. */
void job_end_input(struct job *job, struct blob *problem);

/* The next range to hand over, at most `want` items (>= 1): items that came back first,
 * then items whose retry time has come (alone), then new ones. false: nothing now;
 * *ret_retry_at_ns is then when the next retry is due, or 0. The range counts as in
 * flight from here on. */
bool job_take(struct job *job, uint64_t want, uint64_t now_ns,
              struct job_range *ret_range, uint64_t *ret_retry_at_ns);
/* Moves the window on: items below open_to may be handed out. It never moves back;
 * UINT64_MAX takes it away. */
void job_open(struct job *job, uint64_t open_to);
/* Items that may be handed out, now or, when they are tried again, later. Those outside
 * of the window are not counted. */
uint64_t job_todo(const struct job *job);
/* Attempt number (1..) that a run of this item will be. */
uint32_t job_item_attempt(const struct job *job, uint64_t item);

/* What a task says of an item: takes the reference. */
void job_say(struct job *job, struct blob *said);

/* Outcomes that belong to the job. Each takes the items out of flight. */
/* Results of items [first, first + count); takes the reference to text. */
NODISCARD enum status job_add_results(struct job *job, uint64_t first, uint64_t count,
                                      struct blob *text);
/* What is to become of an item that failed or whose worker died. */
enum job_verdict { JOB_ITEM_FAILED, JOB_ITEM_RETRIES };
/* is_crash chooses the budget. For JOB_ITEM_RETRIES the item will be taken again, for a
 * task's error after the back-off (random in 0..1 is the jitter). For JOB_ITEM_FAILED the
 * caller adds the error with job_add_error. */
NODISCARD enum status job_item_trouble(struct job *job, uint64_t item, bool is_crash,
                                       uint64_t now_ns, double random,
                                       enum job_verdict *ret_verdict);
/* The same for an attempt that failed before the job was restored, in the order in which
 * they did: what it took from the budgets. Number 1 is the first one after a retry of the
 * job, which has given it new budgets. An item that is not there is left out. ST_NO_MEMORY. */
NODISCARD enum status job_restore_trouble(struct job *job, uint64_t item, uint32_t number,
                                          bool is_crash);
/* Takes the reference to problem. */
NODISCARD enum status job_add_error(struct job *job, uint64_t item, struct blob *problem);
/* What so many results in one text, or one problem, add to job->outcome_bytes. */
uint64_t job_outcome_bytes(uint64_t count, const struct blob *text);
/* The outcome that starts with this item, or NULL. */
struct outcome *job_outcome(const struct job *job, uint64_t first);
/* Lets go of the outcomes that are both stored and read (or only stored, if nobody reads),
 * but for the error that may become the job's. */
void job_let_go(struct job *job, bool nobody_reads);
/* A range came back without blame. */
NODISCARD enum status job_return(struct job *job, struct job_range range);

/* No new item starts from here on; the job ends as `state` when nothing is in flight. The first
 * reason counts, but a cancellation beats the others. */
void job_stop(struct job *job, enum job_state state);
/* The same, as FAILED, with this problem as the job's error; takes the reference. NULL is
 * fine: there is no error then. */
void job_fail(struct job *job, struct blob *problem);
/* Whether nothing is left to do or in flight, and which final state that makes. */
bool job_is_over(const struct job *job, enum job_state *ret_state);
/* The status that the job will have when it has ended as `state`: with its error, if it
 * has one. For the store, which has to know before the job is shown as ended. The caller
 * owns it. */
struct job_status job_end_status(const struct job *job, enum job_state state,
                                 int64_t now_ms);
/* Lets go of what a job that is over takes most memory for: input, kwargs and outcomes.
 * Status and all other members stay. ST_NO_MEMORY: nothing has changed. */
NODISCARD enum status job_strip(struct job *job);

#endif
