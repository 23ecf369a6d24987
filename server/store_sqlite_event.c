/* SPDX-License-Identifier: MIT */
/*
 * Events on their way to the disk. Those of a transaction gather and become one row when it
 * is committed, or several where they are many: a row for each would cost more than the jobs
 * that they are about.
 */
#include "server/store_sqlite.h"

#include "server/event_run.h"

#define RUN_MAX          500
#define TRIM_EVENTS_EACH 500 /* the oldest events are deleted after so many new ones */

static int run(sqlite3_stmt *statement, int rc)
{
    int reset;

    if (rc == SQLITE_OK)
        sqlite3_step(statement);
    reset = sqlite3_reset(statement);
    sqlite3_clear_bindings(statement); /* the text is not the statement's */
    return rc == SQLITE_OK ? reset : rc;
}

static int trim(struct sqlite_writer *writer)
{
    sqlite3_stmt *statement = writer->statements[SQLITE_WRITE_TRIM_EVENTS];

    writer->untrimmed_events = 0;
    return run(statement, sqlite3_bind_int(statement, 1, EVENTS_STORED_MAX));
}

int sqlite_writer_put_events(struct sqlite_writer *writer)
{
    struct sqlite_event_run *events = &writer->events;
    sqlite3_stmt *statement = writer->statements[SQLITE_WRITE_EVENTS];
    int rc;

    if (events->count == 0)
        return SQLITE_OK;
    rc = sqlite3_bind_int64(statement, 1, (int64_t)events->last_id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 2, events->count);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(statement, 3, events->body.data, (int)events->body.len,
                               SQLITE_STATIC);
    rc = run(statement, rc);
    writer->untrimmed_events += events->count;
    sqlite_writer_forget_events(writer);
    if (rc != SQLITE_OK || writer->untrimmed_events < TRIM_EVENTS_EACH)
        return rc;
    return trim(writer);
}

int sqlite_writer_add_event(struct sqlite_writer *writer, const struct event *event)
{
    struct sqlite_event_run *events = &writer->events;

    if (event->id == 0)
        return SQLITE_OK;
    event_run_add(&events->body, event);
    if (events->body.failed)
        return SQLITE_NOMEM;
    events->last_id = event->id;
    events->count++;
    return events->count < RUN_MAX ? SQLITE_OK : sqlite_writer_put_events(writer);
}

void sqlite_writer_forget_events(struct sqlite_writer *writer)
{
    buf_reset(&writer->events.body);
    writer->events.count = 0;
}
