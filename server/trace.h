/* SPDX-License-Identifier: MIT */
/*
 * trace - the headers of W3C Trace Context (level 1): which trace a request is part of. Pure.
 *
 *     traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *                  version-trace id-parent id-flags, lower case hexadecimal
 *     tracestate:  rojo=00f067aa0ba902b7,congo=t61rcWkgMzE
 *                  members, key=value: what each system on the way has noted, latest first
 *
 * The trace of a job is one text: the traceparent and, right behind its 55 bytes, the
 * tracestate, if there is one.
 */
#ifndef SERVER_TRACE_H
#define SERVER_TRACE_H

#include "common/blob.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define TRACE_PARENT_LEN  55
#define TRACE_STATE_MAX   512 /* bytes of a tracestate that are kept: what W3C asks for */
#define TRACE_MAX         (TRACE_PARENT_LEN + TRACE_STATE_MAX)
#define TRACE_MEMBERS_MAX 32
/* Longer members are the first to go if there are too many bytes. */
#define TRACE_MEMBER_LONG 128

/* Takes the header's value (NULL: there is none). False, and an empty text, if it is not
 * valid: the standard wants it ignored then. A version above 00 may have more behind these
 * fields; that is left out, and the version written as 00. */
bool trace_parent_take(const char *value, char ret_parent[TRACE_PARENT_LEN + 1]);

/* A tracestate, of as many headers as it has come in. */
struct trace_state {
    struct text members[TRACE_MEMBERS_MAX]; /* in what was added */
    unsigned count;
    bool bad; /* not valid: the standard wants all of it ignored then */
};
static inline void trace_state_init(struct trace_state *state)
{
    state->count = 0;
    state->bad = false;
}
/* Adds the value of the next header, which has to stay. Empty members and white space around
 * members are left out; a key that is there twice is none of ours. */
void trace_state_add(struct trace_state *state, const char *value);
/* Writes it as one header; "" if it is empty or not valid. What is longer than TRACE_STATE_MAX
 * loses whole members as the standard says: first long ones, then any, each from the end. */
void trace_state_write(struct trace_state *state, char ret_state[TRACE_STATE_MAX + 1]);

/* Both, where each is one text or NULL. False, and an empty text, if there is no valid
 * traceparent: a tracestate means nothing without. */
bool trace_take(const char *parent, const char *state, char ret_trace[TRACE_MAX + 1]);

/* The tracestate in a trace; "" if it has none. */
static inline const char *trace_state_of(const char *trace)
{
    return trace + TRACE_PARENT_LEN;
}

/* Appends the trace as members behind others of an object; nothing if it is NULL:
 * ,"traceparent":"00-…","tracestate":"…" */
void trace_write_json(struct buf *out, const char *trace);
/* Finds what was written so in `json`, of which nothing else may look like it. False, and an
 * empty text, if it is not there. */
bool trace_find_json(struct text json, char ret_trace[TRACE_MAX + 1]);

#endif
