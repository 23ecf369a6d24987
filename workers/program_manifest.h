/* SPDX-License-Identifier: MIT */
/*
 * program_manifest - what a *.json file in a task folder says of a program.
 *
 *     {"name": "wordcount", "command": ["./wordcount.sh"], "mode": "oneshot"}
 *
 * docs/programs.md has the table of the members. It is read twice: by the probe, from the
 * file, where everything in it is checked and the program is looked for; and by workers,
 * from the catalog's definition, which is the manifest with what the probe has found:
 * {"manifest": {...}, "file": "/usr/bin/node", "folder": "/srv/tasks"}.
 *
 * Looks at files, but runs nothing.
 */
#ifndef WORKERS_PROGRAM_MANIFEST_H
#define WORKERS_PROGRAM_MANIFEST_H

#include "common/blob.h"
#include "common/status.h"
#include "workers/frame.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRAM_FILE_MAX     (1u << 20)  /* bytes of a manifest */
#define PROGRAM_ARGS_MAX     256         /* strings in command */
#define PROGRAM_ENV_MAX      256         /* variables in env */
#define PROGRAM_LINE_DEFAULT (16u << 20) /* bytes of an answer of a persistent program */
#define PROGRAM_LINE_MAX     (512u << 20)
#define PROGRAM_TRACE        "TRACEPARENT" /* the variables */
#define PROGRAM_TRACE_STATE  "TRACESTATE"

enum program_mode {
    PROGRAM_PERSISTENT, /* one process for many items: lines of JSON */
    PROGRAM_ONESHOT,    /* one process per item */
    PROGRAM_MODE_COUNT
};

/* What a limit is about; 0: there is none. */
enum program_limit {
    PROGRAM_TIME, /* milliseconds of an item; in the manifest seconds, with a fraction */
    PROGRAM_CPU, /* seconds of processor time for an item: comes back in task_call.cpu_ms */
    PROGRAM_MEMORY,    /* bytes of address space */
    PROGRAM_FILE_SIZE, /* bytes of a file that it writes */
    PROGRAM_OPEN_FILES,
    PROGRAM_LINE, /* bytes of an answer of a persistent program; never 0 */
    PROGRAM_LIMIT_COUNT
};

struct program_manifest {
    const char *name;   /* of the task */
    const char *file;   /* to be executed: absolute */
    const char *folder; /* where it is started */
    char **argv;        /* with a NULL at its end; owned, the strings are the json's */
    char **env;         /* "NAME=value", with a NULL at its end; owned with its strings */
    /* Its end, with room for two more. NULL: the manifest sets the first; own_state: and
     * the second. */
    char **env_trace;
    bool own_state;
    char trace[sizeof(PROGRAM_TRACE "=") + FRAME_TRACE_PARENT_LEN];
    char trace_state[sizeof(PROGRAM_TRACE_STATE "=") + FRAME_TRACE_STATE_MAX];
    enum program_mode mode;
    uint64_t limits[PROGRAM_LIMIT_COUNT];
};

/* Checks a manifest that is in `folder`, finds its program, and gives the definition for
 * the catalog (one reference for the caller). ST_INVALID: err begins with a JSON pointer
 * to what is wrong: "/command/0: there is no program of that name in PATH". */
NODISCARD enum status program_manifest_check(const json_t *manifest, const char *folder,
                                             json_t **ret_definition,
                                             struct error_text *err);
/* Reads a definition, which has to stay. inherited is an environment, such as `environ`;
 * of it, the program gets what program_inherits says, unless the manifest sets it. */
NODISCARD enum status program_manifest_read(const json_t *definition, char **inherited,
                                            struct program_manifest *ret_manifest,
                                            struct error_text *err);
void program_manifest_clear(struct program_manifest *manifest);

/* Sets the variables in env for the next process, to what there is of the trace (as in struct
 * frame_chunk), or takes them out. What the manifest sets stays; where it sets PROGRAM_TRACE,
 * which another trace's state would not fit, nothing is set. */
void program_manifest_trace(struct program_manifest *manifest, struct text trace);

/* The variables that a program has from the server's environment: PATH, HOME, LANG, TZ,
 * TMPDIR. */
bool program_inherits(const char *variable);

#endif
