/* SPDX-License-Identifier: MIT */
/*
 * workload - a list of commands for a store, the same for the same seed.
 *
 * It begins with a tour that has every command of store.h in it, with each of its answers
 * that a sound disk allows; random steps follow. To add a command: a line in enum op, a
 * case in workload_give, a step in tour().
 */
#ifndef TESTS_FAULT_WORKLOAD_H
#define TESTS_FAULT_WORKLOAD_H

#include "server/store.h"

enum op {
    OP_PUT_JOB,
    OP_PUT_JOBS,
    OP_PUT_OUTCOME,
    OP_PUT_ATTEMPT,
    OP_PUT_STATUS,
    OP_PUT_EVENT, /* has no answer: joins one step, and another one joins it */
    OP_PUT_LOG,   /* the same */
    OP_PUT_FINISHED,
    OP_PUT_DELIVERY,
    OP_DELETE_JOB,
    OP_PUT_POOL,
    OP_DELETE_POOL,
    OP_PURGE,
    OP_IDLE,   /* until the WAL has been emptied */
    OP_REOPEN, /* an orderly end, and a new start */
    OP_COUNT
};
extern const char *const op_names[OP_COUNT];

#define STEP_JOBS     3
#define STEP_OUTCOMES 3

struct step {
    enum op op;
    bool joins;   /* is given while the step before is on its way to the disk */
    bool durable; /* must be on the disk when it is answered */
    struct job_spec *specs[STEP_JOBS];
    struct job_status statuses[STEP_JOBS];
    struct event events[STEP_JOBS]; /* id 0: none */
    struct outcome outcomes[STEP_OUTCOMES];
    size_t count; /* of jobs, or of outcomes */
    uint64_t number;
    struct blob *attempt;
    struct blob *log;            /* of put_log and put_finished */
    struct attempt_log attempts; /* of put_finished */
    struct delivery delivery;
    struct pool_spec *pool;
    enum pool_state pool_state;
    struct store_limits limits;
};

#define WORKLOAD_MAX 250

struct workload {
    struct step steps[WORKLOAD_MAX];
    size_t count;
};

/* What came back for a step. */
struct answer {
    unsigned called;
    enum status st;
    size_t log_len; /* entries in the disk's log then */
    void (*on_answer)(struct answer *answer);
};

/* The tour, and then so many random steps. */
struct workload *workload_new(uint64_t seed, size_t random_steps);
/* A job that fills the WAL beyond the size at which it is checkpointed, and what follows. */
struct workload *workload_new_large(void);
void workload_free(struct workload *workload);

/* Gives a step that is a command. */
void workload_give(struct store *store, const struct step *step, struct answer *answer);
/* Whether it is a command that is answered. */
bool workload_answers(enum op op);
/* Whether a command may be answered with this status. */
bool workload_may(enum op op, enum status st);

#endif
