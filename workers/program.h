/* SPDX-License-Identifier: MIT */
/*
 * program - tasks that are programs: the runtime of *.json files (workers/runtime.h).
 *
 * docs/programs.md is the manual for whoever writes a program or its manifest. The parts:
 *
 *     program_manifest      what the file says, and whether the program is there
 *     program_process       starting it without a shell, ending it, and what it leaves
 *     program_line          the lines of JSON of a persistent program; pure
 *     program_persistent    an item for the program that this worker keeps
 *     program_oneshot       a process for an item
 *
 * How an item fails:
 *
 *     the program says so, or a oneshot ends with a code     task-error
 *     a line that breaks the protocol, or none               protocol-error; replaced
 *     it runs longer, or uses more processor, than it may    time-limit; replaced
 *     it dies: of a signal, or a persistent one of a code    worker-lost: program_follow
 */
#ifndef WORKERS_PROGRAM_H
#define WORKERS_PROGRAM_H

#include "workers/program_manifest.h"
#include "workers/program_process.h"
#include "workers/runtime.h"

/* The functions of the runtime. */
enum status program_probe(const char *path, const json_t *settings, json_t *file,
                          struct error_text *err);
enum status program_load(struct catalog_file *file, const json_t *settings,
                         struct error_text *err);

/* ---- for program*.c ---------------------------------------------------------------- */

/* How long a program that has closed its output may take to end. */
#define PROGRAM_GRACE_MS 1000

/* The data of a task. */
struct program {
    struct program_manifest manifest;
    /* Of a persistent one: */
    struct process process; /* none before the first item, and after a failure */
    uint64_t id;            /* of the last request */
    bool granted;           /* its processor time is limited */
    struct buf in;          /* what it has written and nobody has read yet */
    struct buf request;
};

/* The `run` of a task, by mode. */
void program_run_persistent(struct task_call *call);
void program_run_oneshot(struct task_call *call);

/* Ends the call with a failure of that kind and an exception of that type. */
void program_fail(struct task_call *call, enum failure_kind kind, const char *type,
                  struct text message, struct text traceback);
/* It could not be executed: raises FileNotFoundError, PermissionError or OSError. */
void program_fail_start(struct task_call *call, int error, const struct error_text *err);
/* The item ran longer than the manifest allows. */
void program_fail_time(struct task_call *call);
/* It used more processor time than it may. */
void program_fail_cpu(struct task_call *call);

/* A program that has died takes its worker along, in the same way: by the same signal, or
 * with the same exit code. So its death is what the death of a task is elsewhere: the
 * item fails with worker-lost after crash_retries more attempts, and is told which signal
 * or code it was. */
_Noreturn void program_follow(const struct program *program, int wait_status);

/* Milliseconds until the deadline, for poll(2); -1: there is none (0). */
int program_ms_left(uint64_t deadline_ns);
/* When an item that begins now is late; 0: never. */
uint64_t program_deadline(const struct program *program);

enum program_read { READ_SOME, READ_NOTHING, READ_END, READ_NO_MEMORY };
/* Appends what there is to read now, once. */
enum program_read program_read(int fd, struct buf *buf);
/* Writes what fits: *sent of the text have been written. False: nobody reads any more.
 * SIGPIPE has to be ignored. */
bool program_write(int fd, struct text text, size_t *sent);

#endif
