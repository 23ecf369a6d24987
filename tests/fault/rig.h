/* SPDX-License-Identifier: MIT */
/*
 * rig - a store on the simulated disk, driven step by step; and what its database holds.
 *
 * The store's threads and the test go in step: a thread that has answered waits until the
 * test has taken the answer, so that the same workload makes the same log each time.
 */
#ifndef TESTS_FAULT_RIG_H
#define TESTS_FAULT_RIG_H

#include "common/log.h"
#include "tests/fault/sim_disk.h"
#include "tests/fault/workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define RIG_DIR_MAX 64

struct rig {
    struct store *store; /* NULL: it could not be opened */
    char dir[RIG_DIR_MAX];
    unsigned fatal;        /* calls of on_fatal */
    bool patient;          /* no command may be kept for long, idleness has to come */
    struct error_text why; /* of the last opening, or of on_fatal */
    struct answer answers[WORKLOAD_MAX];
};

/* Once in a program. Lines of the log below this level are not written. */
void rig_init(enum log_level level);

/* A new empty directory, and its end. */
void rig_make_dir(char ret_dir[RIG_DIR_MAX]);
void rig_remove_dir(const char *dir);
void rig_copy_dir(const char *from, const char *to);
/* Puts a database of version 1 there, with two jobs. */
void rig_make_version_1(const char *dir);

/* What store_open_sqlite says. */
enum status rig_open(struct rig *rig);
void rig_close(struct rig *rig);
/* Runs the steps from `from` on to before `to`. Commands that the store keeps are left
 * with it unless the rig is patient. Ends when the store cannot be opened again, or is to be
 * after on_fatal. */
void rig_run(struct rig *rig, const struct workload *workload, size_t from, size_t to);
/* Until nothing is kept any more. */
void rig_settle(struct rig *rig);

/* Asks for every job of the workload, and loads what a start loads. NULL, or what is wrong
 * with it. */
const char *rig_ask_all(struct rig *rig, const struct workload *workload);

/* ---- what a database holds -------------------------------------------------------- */

struct digest {
    uint64_t all;      /* of every row of every table */
    uint64_t decisive; /* without table attempt: what is in it may be left out */
};
/* All zero if SQLite finds anything wrong, in tables, indexes or references. The store may
 * be open. */
struct digest rig_digest(const char *dir);
/* Of the database in this file; -1 if anything is wrong with it. */
int rig_user_version(const char *path);
/* The same as text, for people. */
void rig_dump(const char *dir);

/* What the database holds after each command, on a disk without faults. */
struct reference {
    struct digest digests[WORKLOAD_MAX + 1]; /* after so many steps; zero: not known */
    enum status st[WORKLOAD_MAX];            /* the answers */
};
/* Starts from a copy of `from` (NULL: from nothing) and leaves out the steps in `without`
 * (NULL: none). */
struct reference *reference_new(const struct workload *workload, const char *from,
                                const bool without[]);
/* The number of steps, at least `least`, after which the database held this; SIZE_MAX if
 * it never did. */
size_t reference_find(const struct reference *reference, const struct workload *workload,
                      struct digest digest, size_t least);
/* The same without the attempts. */
size_t reference_find_decisive(const struct reference *reference,
                               const struct workload *workload, struct digest digest,
                               size_t least);

#endif
