/* SPDX-License-Identifier: MIT */
/*
 * program_line - what a persistent program reads and writes: one JSON object per line.
 *
 *     to the program      {"id":7,"args":[2],"kwargs":{"exp":10}}
 *                         of a job in a trace: …,"traceparent":"00-…","tracestate":"…"}
 *     from the program    {"id":7,"progress":{"current":1,"total":9,"message":"…"}}
 *     then one of         {"id":7,"result":1024}
 *                         {"id":7,"error":{"type":"…","message":"…","traceback":"…"}}
 *
 * docs/programs.md is what authors of programs read. Pure code: no I/O.
 */
#ifndef WORKERS_PROGRAM_LINE_H
#define WORKERS_PROGRAM_LINE_H

#include "common/blob.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define PROGRAM_TYPE_MAX      128   /* bytes of an error's type that are kept */
#define PROGRAM_MESSAGE_MAX   4096  /* of its message */
#define PROGRAM_TRACEBACK_MAX 16384 /* of its traceback */

/* Appends {"args":[…],"kwargs":{…}}, with "id" first unless id is 0, and last what there is of
 * `trace` (as in struct frame_chunk): "traceparent", "tracestate". `positional` is what stands
 * between the brackets. Byte for byte, but line breaks, which in valid JSON are only ever between
 * things, become spaces when there is an id. */
void program_line_request(struct buf *out, uint64_t id, struct text positional,
                          struct text kwargs, struct text trace);

enum program_answer_kind { PROGRAM_RESULT, PROGRAM_ERROR, PROGRAM_PROGRESS };

struct program_answer {
    enum program_answer_kind kind;
    uint64_t id;
    struct text value; /* what stands behind result, error or progress: a slice */
};

/* Reads a line, without its line break. False: it breaks the protocol, and *ret_why says
 * how, as in "the program wrote a line …": "that is not JSON". Members with other names
 * are passed over. An error is an object with the strings type and message, and perhaps
 * traceback. */
bool program_line_parse(struct text line, struct program_answer *ret_answer,
                        const char **ret_why);

/* The exception for clients, from the value of an error: {"type","message","traceback"},
 * each cut. The buffer may fail. *ret_is_memory: the type is MemoryError. */
void program_line_exception(struct text error, struct buf *out, bool *ret_is_memory);

struct program_progress {
    uint64_t current, total; /* 0 if not given */
    char message[257];       /* cut */
};
/* False: it is no object with the number current and perhaps total and message. */
bool program_line_progress(struct text value, struct program_progress *ret_progress);

/* Whether the text is one JSON value, as the server takes it. *ret_value is it, without
 * the white space around it. */
bool program_line_is_json(struct text text, struct text *ret_value);
/* Whether it can be a JSON string: UTF-8 without a NUL. */
bool program_line_is_text(struct text text);

#endif
