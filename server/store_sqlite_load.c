/* SPDX-License-Identifier: MIT */
/* What the server reads when it starts: the jobs that are not over, events and pools. */
#include "server/store_sqlite_row.h"

#include "common/log.h"
#include "server/event_run.h"

#include <string.h>

/* ---- the restart ------------------------------------------------------------------ */

static enum status read_newest(struct sqlite_reader *reader, struct uuid *ret_newest)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_NEWEST];
    int rc = sqlite3_step(statement);

    memset(ret_newest, 0, sizeof(*ret_newest));
    if (rc == SQLITE_ROW) {
        struct row row = { statement, 0, false };

        *ret_newest = row_id(&row);
        rc = row.bad ? SQLITE_CORRUPT : SQLITE_OK;
    } else if (rc == SQLITE_DONE) {
        rc = SQLITE_OK;
    }
    sqlite3_reset(statement);
    return row_status(rc);
}

/* The row that the statement is at; the texts stay in it. */
static enum status read_stub(sqlite3_stmt *statement, struct stored_stub *ret_stub)
{
    struct row row = { statement, 1, false };

    ret_stub->id = row_id(&row);
    ret_stub->pool = row_string(&row);
    ret_stub->priority = (int)row_int(&row);
    ret_stub->start_at_ms = row_int(&row);
    ret_stub->expires_at_ms = row_int(&row);
    ret_stub->idempotency_key = row_string(&row);
    ret_stub->bytes = (uint64_t)row_int(&row);
    ret_stub->state = row_name(&row, job_state_names, JOB_STATE_COUNT);
    ret_stub->unique_key = row_string(&row);
    ret_stub->owner = (uint64_t)row_int(&row);
    ret_stub->begun = row_bool(&row);
    if (sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
        return ST_NO_MEMORY; /* a text could not be fetched */
    row.bad |= !ret_stub->pool || ret_stub->priority < JOB_PRIORITY_MIN ||
               ret_stub->priority > JOB_PRIORITY_MAX ||
               uuid_key(ret_stub->id) != (uint64_t)sqlite3_column_int64(statement, 0);
    return row.bad ? ST_CORRUPT : ST_OK;
}

enum status sqlite_reader_unfinished(
    struct sqlite_reader *reader,
    enum status (*on_stub)(void *data, const struct stored_stub *stored), void *data,
    struct uuid *ret_newest)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_UNFINISHED];
    enum status st = read_newest(reader, ret_newest);
    int rc = SQLITE_DONE;

    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct stored_stub stub;

        st = read_stub(statement, &stub);
        if (st == ST_OK) {
            st = on_stub(data, &stub);
        } else if (st == ST_CORRUPT) {
            row_log_damaged(statement);
            st = ST_OK;
        }
    }
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = row_status(rc);
    return st;
}

/* An event that is damaged is left out: nothing depends on it. *left is how many older ones
 * there are still to leave out. */
static void read_run(sqlite3_stmt *statement, int64_t *left,
                     void (*on_event)(void *data, const struct event *event), void *data)
{
    const char *body = (const char *)sqlite3_column_text(statement, 1);
    struct text rest = { body, body ? (size_t)sqlite3_column_bytes(statement, 1) : 0 };
    struct event event;

    while (event_run_next(&rest, &event)) {
        if (*left > 0)
            --*left;
        else
            on_event(data, &event);
    }
}

enum status sqlite_reader_events(struct sqlite_reader *reader,
                                 void (*on_event)(void *data, const struct event *event),
                                 void *data)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_EVENTS];
    int64_t left = -1;
    int rc;

    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        if (left == -1)
            left = sqlite3_column_int64(statement, 0) - EVENTS_STORED_MAX;
        if (left < 0)
            left = 0;
        read_run(statement, &left, on_event, data);
    }
    sqlite3_reset(statement);
    return rc == SQLITE_DONE ? ST_OK : row_status(rc);
}

/* The row that the statement is at. */
static enum status read_pool(sqlite3_stmt *statement, struct pool_spec **ret_spec,
                             enum pool_state *ret_state)
{
    struct row row = { statement, 0, false };
    struct pool_spec spec = { .name = row_string(&row) };

    spec.processes = (unsigned)row_int(&row);
    spec.maxtasksperchild = (uint64_t)row_int(&row);
    spec.start_method = row_name(&row, start_method_names, START_METHOD_COUNT);
    spec.initializer = row_string(&row);
    spec.initargs = row_string(&row);
    spec.time_limit_ms = row_int(&row);
    spec.limits.at[LIMIT_MEMORY] = (uint64_t)row_int(&row);
    *ret_state = row_name(&row, pool_state_names, POOL_STATE_COUNT);
    spec.idempotency_key = row_string(&row);
    spec.request_hash = (uint64_t)row_int(&row);
    spec.limits.cpu_ms = row_int(&row);
    spec.limits.at[LIMIT_FILE_SIZE] = (uint64_t)row_int(&row);
    spec.limits.at[LIMIT_OPEN_FILES] = (uint64_t)row_int(&row);
    spec.limits.at[LIMIT_PROCESSES] = (uint64_t)row_int(&row);
    if (sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
        return ST_NO_MEMORY; /* a text could not be fetched */
    if (row.bad || !spec.name || !spec.initargs || spec.processes == 0)
        return ST_CORRUPT;
    *ret_spec = pool_spec_new(&spec);
    return *ret_spec ? ST_OK : ST_NO_MEMORY;
}

enum status sqlite_reader_pools(struct sqlite_reader *reader,
                                enum status (*on_pool)(void *data, struct pool_spec *spec,
                                                       enum pool_state state),
                                void *data)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_POOLS];
    enum status st = ST_OK;
    int rc = SQLITE_DONE;

    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct pool_spec *spec;
        enum pool_state state;

        st = read_pool(statement, &spec, &state);
        if (st == ST_OK) {
            st = on_pool(data, spec, state);
        } else if (st == ST_CORRUPT) {
            log_error("a stored pool is damaged, leaving it out and alone", "pool=%s",
                      (const char *)sqlite3_column_text(statement, 0));
            st = ST_OK;
        }
    }
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = row_status(rc);
    return st;
}
