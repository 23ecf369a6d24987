/* SPDX-License-Identifier: MIT */
/*
 * problem - the one list of errors that a client can get (RFC 9457), and how they look.
 *
 *     {"type":"/problems/unknown-task","title":"There is no such
 * task","status":422,"detail":…}
 *
 * The type is a path that this server answers with the explanation from the same list. Some
 * are never why a request is refused, but why a job, or an item of it, has failed. Pure.
 */
#ifndef SERVER_PROBLEM_H
#define SERVER_PROBLEM_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>

enum problem {
    PROBLEM_INVALID_JSON,
    PROBLEM_JSON_TOO_DEEP,
    PROBLEM_INVALID_PARAMETER,
    PROBLEM_INVALID_URI,
    PROBLEM_BAD_REQUEST,
    PROBLEM_UNAUTHORIZED,
    PROBLEM_FORBIDDEN,
    PROBLEM_FORBIDDEN_ORIGIN,
    PROBLEM_UNKNOWN_HOST,
    PROBLEM_RATE_LIMITED,
    PROBLEM_TOO_MANY_REQUESTS,
    PROBLEM_QUOTA_EXCEEDED,
    PROBLEM_KEY_EXISTS,
    PROBLEM_TOO_MANY_KEYS,
    PROBLEM_UNSUPPORTED_MEDIA_TYPE,
    PROBLEM_BODY_TOO_LARGE,
    PROBLEM_TOO_MANY_ITEMS,
    PROBLEM_ITEM_TOO_LARGE,
    PROBLEM_VALIDATION_FAILED,
    PROBLEM_UNKNOWN_TASK,
    PROBLEM_UNKNOWN_POOL,
    PROBLEM_NOT_FOUND,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_NOT_IMPLEMENTED,
    PROBLEM_JOB_RUNNING,
    PROBLEM_ALREADY_FINISHED,
    PROBLEM_NOT_FINISHED,
    PROBLEM_NOT_FAILED,
    PROBLEM_JOB_CANCELLED,
    PROBLEM_JOB_EXPIRED,
    PROBLEM_RESULT_GONE,
    PROBLEM_RESULT_CORRUPT,
    PROBLEM_IDEMPOTENCY_MISMATCH,
    PROBLEM_UNIQUE_CONFLICT,
    PROBLEM_QUEUE_FULL,
    PROBLEM_TOO_MANY_WAITERS,
    PROBLEM_TOO_MANY_CONNECTIONS,
    PROBLEM_TOO_MANY_BODIES,
    PROBLEM_SHUTTING_DOWN,
    PROBLEM_STORAGE_FULL,
    PROBLEM_STORAGE_UNREADABLE,
    PROBLEM_STORAGE_ERROR,
    PROBLEM_NOT_READY,
    PROBLEM_NO_MEMORY,
    PROBLEM_INTERNAL_ERROR,
    PROBLEM_EXPECTATION_FAILED,
    PROBLEM_URI_TOO_LONG,
    PROBLEM_HEADERS_TOO_LARGE,
    PROBLEM_VERSION_NOT_SUPPORTED,
    PROBLEM_POOL_EXISTS,
    PROBLEM_POOL_CLOSED,
    PROBLEM_POOL_RUNNING,
    PROBLEM_POOL_DEFAULT,
    PROBLEM_BROKEN_POOL,
    PROBLEM_TOO_MANY_PROCESSES,
    PROBLEM_NO_BACKUPS,
    PROBLEM_BACKUP_EXISTS,
    PROBLEM_BACKUP_RUNNING,
    PROBLEM_BACKUP_FAILED,
    PROBLEM_INPUT_INCOMPLETE,
    PROBLEM_TASK_ERROR,
    PROBLEM_WORKER_LOST,
    PROBLEM_TIME_LIMIT,
    PROBLEM_OUT_OF_MEMORY,
    PROBLEM_RESULT_TOO_LARGE,
    PROBLEM_INVALID_RESULT,
    PROBLEM_PROTOCOL_ERROR,
    PROBLEM_COUNT
};

struct problem_info {
    const char *slug;
    int status;              /* HTTP */
    const char *title;       /* constant, one phrase */
    const char *explanation; /* what it means and what to do; a sentence or two */
};

extern const struct problem_info problem_infos[PROBLEM_COUNT];

/* Whether a request can be refused with it. Otherwise it is only the error of a job or an item
 * that has failed, which a request for its result is answered with. */
bool problem_is_of_request(enum problem problem);
/* PROBLEM_COUNT when there is none. */
enum problem problem_find(struct text slug);

/* Writes {"type":…,"title":…,"status":…,"detail":…  without the closing brace, so that
 * more members can follow. An empty detail is left out. */
void problem_open(struct buf *out, enum problem problem, struct text detail);

#endif
