/* SPDX-License-Identifier: MIT */
/*
 * What comes back from the database: a column of a row, and the texts in it that are read
 * again: runs of events, attempts, logs, problems. The input is each of them in turn.
 *
 * - A column that is no id or no name is noted as bad.
 * - What was read and is written again reads the same.
 */
#include "tests/fuzz/fuzz.h"

#include "server/attempt.h"
#include "server/event_run.h"
#include "server/failure.h"
#include "server/job_log.h"
#include "server/store_sqlite_row.h"

#include <assert.h>
#include <string.h>

/* ---- columns ----------------------------------------------------------------------- */

/* Gives back what it is given. One for the process: to open a database takes longer than
 * all of the rest. */
static sqlite3_stmt *echo(void)
{
    static sqlite3_stmt *statement;
    sqlite3 *db;

    if (!statement) {
        assert(sqlite3_open(":memory:", &db) == SQLITE_OK);
        assert(sqlite3_prepare_v2(db, "SELECT ?1", -1, &statement, NULL) == SQLITE_OK);
    }
    return statement;
}

static void check_column(sqlite3_stmt *statement, struct text text)
{
    struct row id = { .statement = statement }, name = id, blob = id, number = id;
    struct text bytes;
    struct uuid uuid;
    unsigned state;

    uuid = row_id(&id);
    assert(id.bad == (text.len != sizeof(uuid.bytes)));
    assert(id.bad || memcmp(uuid.bytes, text.at, sizeof(uuid.bytes)) == 0);
    bytes = row_blob(&blob);
    assert(text_equal(bytes, text));
    (void)row_int(&number);
    state = row_name(&name, job_state_names, JOB_STATE_COUNT);
    assert(state < JOB_STATE_COUNT);
    assert(name.bad ||
           strncmp(text.at, job_state_names[state], strlen(job_state_names[state])) == 0);
    assert(id.at == 1 && name.at == 1 && blob.at == 1 && number.at == 1);
}

static void check_columns(struct text text)
{
    sqlite3_stmt *statement = echo();

    for (int is_blob = 0; is_blob <= 1; is_blob++) {
        int rc = is_blob ? sqlite3_bind_blob(statement, 1, text.at, (int)text.len, NULL)
                         : sqlite3_bind_text(statement, 1, text.at, (int)text.len, NULL);

        assert(rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW);
        check_column(statement, text);
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
    }
}

/* ---- texts ------------------------------------------------------------------------- */

static void check_event(const struct event *event, struct buf *run)
{
    size_t before = run->len;
    struct event again;
    struct text line;

    assert(event->kind < EVENT_KIND_COUNT && event->state < JOB_STATE_COUNT);
    assert(!event->said);
    event_run_add(run, event);
    assert(!run->failed);
    line = (struct text){ run->data + before, run->len - before };
    assert(event_run_next(&line, &again) && line.len == 0);
    assert(again.id == event->id && again.kind == event->kind);
    assert(uuid_equal(again.job, event->job) && again.owner == event->owner);
    assert(again.state == event->state && again.total == event->total);
    assert(again.completed == event->completed && again.failed == event->failed);
}

static void check_events(struct text text)
{
    struct buf run = BUF_INIT, told = BUF_INIT;
    struct event event;

    while (event_run_next(&text, &event)) {
        check_event(&event, &run);
        event_write(&told, &event);
    }
    assert(!told.failed && (run.len == 0 || told.len > run.len));
    buf_clear(&told);
    buf_clear(&run);
}

static void check_attempt(struct text text)
{
    struct attempt_cost cost = { 0 };

    if (attempt_read(text, &cost) == ST_OK)
        assert(cost.number >= 1 && cost.item <= INT64_MAX);
}

static void check_log(struct text text)
{
    struct job_log log = { 0 }, again = { 0 };
    struct blob *first, *second;

    if (job_log_restore(&log, text) == ST_OK && (first = job_log_blob(&log))) {
        assert(job_log_restore(&again, blob_text(first)) == ST_OK);
        second = job_log_blob(&again);
        assert(second && text_equal(blob_text(first), blob_text(second)));
        blob_unref(second);
        blob_unref(first);
    } else {
        assert(!log.oldest && log.dropped == 0);
    }
    job_log_clear(&again);
    job_log_clear(&log);
}

static void check_problem(struct text text)
{
    int status = failure_http_status(text);

    assert(status >= 400 && status < 600);
    (void)failure_is_of_input(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text text = { size ? (const char *)data : "", size };

    check_columns(text);
    check_events(text);
    check_attempt(text);
    check_log(text);
    check_problem(text);
    return 0;
}
