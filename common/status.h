/* SPDX-License-Identifier: MIT */
/*
 * status - the one list of ways to fail, and the text that goes with a failure.
 *
 * A function that can fail returns enum status and is marked NODISCARD. Where a person
 * has to act on the failure, the function also fills a caller-supplied struct error_text:
 * what happened, to what, why, and what to do, in one sentence without a full stop.
 *
 * To add a status: add a line to STATUS_LIST, and to the table in server/http.c if it can
 * reach a client.
 */
#ifndef COMMON_STATUS_H
#define COMMON_STATUS_H

#include <stdarg.h>

#define NODISCARD                  __attribute__((warn_unused_result))
#define PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))

/* name, text */
#define STATUS_LIST(X)                                                                   \
    X(ST_OK, "ok")                                                                       \
    X(ST_NO_MEMORY, "out of memory")                                                     \
    X(ST_INVALID, "invalid input")                                                       \
    X(ST_NOT_FOUND, "not found")                                                         \
    X(ST_EXISTS, "already exists")                                                       \
    X(ST_STATE, "not possible in this state")                                            \
    X(ST_GONE, "no longer kept")                                                         \
    X(ST_CONFLICT, "in conflict with another one")                                       \
    X(ST_NOT_RUNNING, "not running")                                                     \
    X(ST_LIMIT, "a limit is reached")                                                    \
    X(ST_AGAIN, "not now, try again")                                                    \
    X(ST_CLOSED, "the other side has closed")                                            \
    X(ST_PROTOCOL, "protocol error")                                                     \
    X(ST_IO, "input/output error")                                                       \
    X(ST_DENIED, "permission denied")                                                    \
    X(ST_BUSY, "in use by another process")                                              \
    X(ST_CORRUPT, "damaged data")                                                        \
    X(ST_FOREIGN, "not a poold database")                                                \
    X(ST_NEWER, "written by a newer version")                                            \
    X(ST_STORAGE_FULL, "the storage is full")                                            \
    X(ST_UNKNOWN, "outcome unknown")

enum status {
#define X(name, text) name,
    STATUS_LIST(X)
#undef X
        ST_COUNT
};

/* The text of a status, for logs; never NULL. */
const char *status_text(enum status st);

#define ERROR_TEXT_MAX 512 /* bytes, with the final NUL; longer texts are cut */

struct error_text {
    char text[ERROR_TEXT_MAX];
};

/* Writes the text and returns st, so that a failing branch is one line:
 *     return error_set(err, ST_INVALID, "--port: %s is not a number", value);
 * err may be NULL. */
enum status error_set(struct error_text *err, enum status st, const char *format, ...)
    PRINTF(3, 4);

#endif
