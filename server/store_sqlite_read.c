/* SPDX-License-Identifier: MIT */
#include "server/store_sqlite.h"

#include "common/log.h"
#include "common/mem.h"

#include <string.h>

#define DELIVERY_COLUMNS                                                                 \
    "key, id, number, delivery.state, tries, delivery.created_at_ms, due_at_ms, url, "   \
    "delivery.body, attempts"

static const char *const read_sql[SQLITE_READ_COUNT] = {
    [SQLITE_READ_JOB] =
        "SELECT " SQLITE_JOB_COLUMNS ", gone, coalesce(job.body, body.bytes) FROM job "
        "LEFT JOIN body ON body.job = key WHERE key = ?",
    [SQLITE_READ_OUTCOMES] = "SELECT first, count, is_error, checksum, body FROM outcome "
                             "WHERE job = ? ORDER BY first",
    [SQLITE_READ_ATTEMPTS] = "SELECT seq, body FROM attempt WHERE job = ? ORDER BY seq",
    [SQLITE_READ_EVENTS] = "SELECT id, kind, job, state, total, completed, failed FROM "
                           "(SELECT * FROM event ORDER BY id DESC LIMIT ?) ORDER BY id",
    /* json_valid: a damaged row must not end the whole listing. */
    [SQLITE_READ_JOBS] =
        "SELECT " SQLITE_JOB_COLUMNS ", gone FROM job WHERE key < ?1 "
        "AND (?2 IS NULL OR state = ?2 OR (?2 = 'queued' AND state = 'scheduled')) "
        "AND (?3 IS NULL OR task = ?3) "
        "AND (?4 IS NULL OR pool = ?4) AND (?5 IS NULL OR (json_valid(tags) AND "
        "EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.value = ?5))) "
        "ORDER BY key DESC LIMIT ?6",
    [SQLITE_READ_UNFINISHED] =
        "SELECT key, id, pool, priority, start_at_ms, expires_at_ms, idempotency_key, "
        "input_len, state, unique_key, "
        "started_at_ms > 0 OR EXISTS (SELECT 1 FROM outcome WHERE outcome.job = key) "
        "FROM job INDEXED BY job_unfinished "
        "WHERE state IN ('scheduled', 'queued', 'running') ORDER BY key",
    [SQLITE_READ_DELIVERIES] = "SELECT " DELIVERY_COLUMNS " FROM delivery CROSS JOIN job "
                               "ON key = delivery.job WHERE delivery.job = ? "
                               "ORDER BY number DESC LIMIT ?",
    [SQLITE_READ_PENDING] = "SELECT " DELIVERY_COLUMNS " FROM delivery INDEXED BY "
                            "delivery_pending CROSS JOIN job ON key = delivery.job "
                            "WHERE delivery.state = 'pending' ORDER BY due_at_ms LIMIT ?",
    [SQLITE_READ_NEWEST] = "SELECT id FROM job ORDER BY key DESC LIMIT 1",
    [SQLITE_READ_KEY] = "SELECT id, request_hash FROM job WHERE idempotency_key = ?1",
    [SQLITE_READ_POOLS] = "SELECT " SQLITE_POOL_COLUMNS " FROM pool ORDER BY rowid",
};

/* ---- columns ---------------------------------------------------------------------- */

/* Reads one column after the other; what cannot be is noted in bad. */
struct row {
    sqlite3_stmt *statement;
    int at;
    bool bad;
};

static int64_t row_int(struct row *row)
{
    return sqlite3_column_int64(row->statement, row->at++);
}

static bool row_bool(struct row *row)
{
    return row_int(row) != 0;
}

/* Valid until the statement moves on. */
static const char *row_string(struct row *row)
{
    return (const char *)sqlite3_column_text(row->statement, row->at++);
}

static struct text row_blob(struct row *row)
{
    const void *at = sqlite3_column_blob(row->statement, row->at);
    int len = sqlite3_column_bytes(row->statement, row->at++);

    return (struct text){ at, (size_t)len };
}

/* The position of the text in the table of names. */
static unsigned row_name(struct row *row, const char *const names[], unsigned count)
{
    const char *name = row_string(row);

    for (unsigned i = 0; name && i < count; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    row->bad = true;
    return 0;
}

static struct uuid row_id(struct row *row)
{
    struct text bytes = row_blob(row);
    struct uuid id = { { 0 } };

    if (bytes.len == sizeof(id.bytes))
        memcpy(id.bytes, bytes.at, sizeof(id.bytes));
    else
        row->bad = true;
    return id;
}

/* ---- rows ------------------------------------------------------------------------- */

/* The texts stay in the row. */
static void read_spec(struct row *row, struct job_spec *spec, uint64_t *ret_checksum)
{
    uint64_t key = (uint64_t)row_int(row);

    spec->id = row_id(row);
    row->bad |= uuid_key(spec->id) != key;
    spec->method = row_name(row, job_method_names, JOB_METHOD_COUNT);
    spec->durability = row_name(row, durability_names, DURABILITY_COUNT);
    spec->task = row_string(row);
    spec->pool = row_string(row);
    spec->priority = (int)row_int(row);
    spec->item_count = (uint64_t)row_int(row);
    spec->chunksize = (uint64_t)row_int(row);
    spec->created_at_ms = row_int(row);
    spec->start_at_ms = row_int(row);
    spec->expires_at_ms = row_int(row);
    spec->time_limit_ms = row_int(row);
    spec->result_ttl_ms = row_int(row);
    spec->retries = (uint32_t)row_int(row);
    spec->crash_retries = (uint32_t)row_int(row);
    spec->backoff.initial_ms = row_int(row);
    spec->backoff.max_ms = row_int(row);
    spec->backoff.factor = sqlite3_column_double(row->statement, row->at++);
    spec->backoff.jitter = row_bool(row);
    spec->return_exceptions = row_bool(row);
    spec->stop_on_error = row_bool(row);
    spec->cancel_on_disconnect = row_bool(row);
    spec->tags = row_string(row);
    spec->metadata = row_string(row);
    spec->callback = row_string(row);
    spec->error_callback = row_string(row);
    spec->idempotency_key = row_string(row);
    spec->request_hash = (uint64_t)row_int(row);
    spec->unique_key = row_string(row);
    spec->input.len = (size_t)row_int(row);
    *ret_checksum = (uint64_t)row_int(row);
    row->bad |= !spec->task || !spec->pool;
}

static enum status read_status(struct row *row, struct job_status *ret_status)
{
    struct text error;

    ret_status->state = row_name(row, job_state_names, JOB_STATE_COUNT);
    ret_status->completed = (uint64_t)row_int(row);
    ret_status->failed = (uint64_t)row_int(row);
    ret_status->attempt = (uint32_t)row_int(row);
    ret_status->started_at_ms = row_int(row);
    ret_status->finished_at_ms = row_int(row);
    ret_status->bytes = (uint64_t)row_int(row);
    error = row_blob(row);
    if (!error.at)
        return ST_OK;
    ret_status->error = blob_new(error.at, error.len);
    return ret_status->error ? ST_OK : ST_NO_MEMORY;
}

/* spec->input.len is what the row says; sets body, input and kwargs. */
static enum status read_body(struct row *row, struct job_spec *spec, uint64_t checksum)
{
    struct text body = row_blob(row);
    size_t input_len = spec->input.len;

    if (!body.at || input_len > body.len ||
        sqlite_body_checksum(spec->id, input_len, body) != checksum)
        return ST_CORRUPT;
    spec->body = blob_new(body.at, body.len);
    if (!spec->body)
        return ST_NO_MEMORY;
    spec->input = (struct text){ spec->body->data, input_len };
    spec->kwargs = (struct text){ spec->body->data + input_len, body.len - input_len };
    return ST_OK;
}

static bool wants_index(const struct job_spec *spec, const struct job_status *status)
{
    return spec->body && spec->method != JOB_APPLY && !job_state_final(status->state);
}

/* The row that the statement is at. On failure ret_job is left empty. */
static enum status read_job(sqlite3_stmt *statement, bool with_body,
                            struct stored_job *ret_job)
{
    struct row row = { statement, 0, false };
    struct job_spec spec = { 0 };
    uint64_t checksum;
    enum status st;

    read_spec(&row, &spec, &checksum);
    st = read_status(&row, &ret_job->status);
    ret_job->gone = row_bool(&row);
    if (st == ST_OK && sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
        st = ST_NO_MEMORY; /* a text could not be fetched */
    if (st == ST_OK && row.bad)
        st = ST_CORRUPT;
    if (st == ST_OK && with_body && !ret_job->gone)
        st = read_body(&row, &spec, checksum);
    else
        spec.input.len = 0;
    if (st == ST_OK && wants_index(&spec, &ret_job->status)) {
        spec.index = slice_index_new(spec.input);
        st = spec.index ? ST_OK : ST_NO_MEMORY;
        if (spec.index && spec.index->count != spec.item_count) {
            slice_index_free(spec.index);
            st = ST_CORRUPT;
        }
    }
    if (st == ST_OK) {
        ret_job->spec = job_spec_new(&spec);
        st = ret_job->spec ? ST_OK : ST_NO_MEMORY;
    }
    blob_unref(spec.body);
    if (st != ST_OK)
        stored_job_clear(ret_job);
    return st;
}

static enum status read_outcome(sqlite3_stmt *statement, struct uuid id,
                                struct outcome *ret_outcome)
{
    struct row row = { statement, 0, false };
    uint64_t checksum;
    struct text text;

    ret_outcome->first = (uint64_t)row_int(&row);
    ret_outcome->count = (uint64_t)row_int(&row);
    ret_outcome->is_error = row_bool(&row);
    ret_outcome->shown = true;
    checksum = (uint64_t)row_int(&row);
    text = row_blob(&row);
    if (!text.at && sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
        return ST_NO_MEMORY;
    if (!text.at || sqlite_outcome_checksum(id, ret_outcome->first, ret_outcome->count,
                                            ret_outcome->is_error, text) != checksum)
        return ST_CORRUPT;
    ret_outcome->text = blob_new(text.at, text.len);
    return ret_outcome->text ? ST_OK : ST_NO_MEMORY;
}

static enum status status_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
        return ST_OK;
    case SQLITE_NOMEM:
        return ST_NO_MEMORY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ST_CORRUPT;
    default:
        return ST_IO;
    }
}

/* ---- queries ---------------------------------------------------------------------- */

static enum status add_outcome(struct stored_job *job, size_t *cap,
                               sqlite3_stmt *statement)
{
    enum status st;

    if (job->outcome_count == *cap) {
        size_t more = *cap ? 2 * *cap : 8;
        void *outcomes = mem_realloc(job->outcomes, more * sizeof(*job->outcomes));

        if (!outcomes)
            return ST_NO_MEMORY;
        job->outcomes = outcomes;
        *cap = more;
    }
    st = read_outcome(statement, job->spec->id, &job->outcomes[job->outcome_count]);
    if (st == ST_OK)
        job->outcome_count++;
    return st;
}

static enum status read_outcomes(struct sqlite_reader *reader, struct stored_job *job)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_OUTCOMES];
    enum status st = ST_OK;
    size_t cap = 0;
    int rc;

    rc = sqlite3_bind_int64(statement, 1, (int64_t)uuid_key(job->spec->id));
    if (rc != SQLITE_OK)
        return status_of(rc);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW)
        st = add_outcome(job, &cap, statement);
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = status_of(rc);
    return st;
}

/* The oldest are gone from the table when the first that is there is not number 1. */
static enum status add_attempt(struct attempt_log *log, sqlite3_stmt *statement)
{
    struct row row = { statement, 0, false };
    uint64_t seq = (uint64_t)row_int(&row);
    struct text text = row_blob(&row);
    struct blob *attempt = text.at ? blob_new(text.at, text.len) : NULL;

    if (!attempt)
        return ST_NO_MEMORY;
    if (log->count == 0 && seq > 0)
        log->dropped = seq - 1;
    return attempt_log_add(log, attempt) ? ST_OK : ST_NO_MEMORY;
}

static enum status read_attempts(struct sqlite_reader *reader, struct stored_job *job)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_ATTEMPTS];
    enum status st = ST_OK;
    int rc = sqlite3_bind_int64(statement, 1, (int64_t)uuid_key(job->spec->id));

    if (rc != SQLITE_OK)
        return status_of(rc);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW)
        st = add_attempt(&job->attempts, statement);
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = status_of(rc);
    return st;
}

/* The statement for the job stays open until the outcomes and attempts are read: so all see
 * the same commit. */
static enum status get_job(struct sqlite_reader *reader, struct store_command *command)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_JOB];
    struct stored_job *job = &command->job;
    enum status st;
    int rc = sqlite3_bind_int64(statement, 1, (int64_t)uuid_key(command->id));

    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        st = read_job(statement, true, job);
    else
        st = rc == SQLITE_DONE ? ST_NOT_FOUND : status_of(rc);
    if (st == ST_OK && !uuid_equal(job->spec->id, command->id))
        st = ST_NOT_FOUND; /* shares the time, but not the random part */
    if (st == ST_OK && (command->with & STORE_WITH_OUTCOMES))
        st = read_outcomes(reader, job);
    if (st == ST_OK && (command->with & STORE_WITH_ATTEMPTS))
        st = read_attempts(reader, job);
    sqlite3_reset(statement);
    if (st != ST_OK)
        stored_job_clear(job);
    return st;
}

static enum status find_key(struct sqlite_reader *reader, struct store_command *command)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_KEY];
    int rc = sqlite3_bind_text(statement, 1, command->key, -1, SQLITE_STATIC);
    struct row row = { statement, 0, false };
    enum status st;

    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        command->existing.id = row_id(&row);
        command->existing.request_hash = (uint64_t)row_int(&row);
        st = row.bad ? ST_CORRUPT : ST_EXISTS;
    } else {
        st = rc == SQLITE_DONE ? ST_NOT_FOUND : status_of(rc);
    }
    sqlite3_reset(statement);
    return st;
}

static void log_damaged(sqlite3_stmt *statement)
{
    log_error("a stored job is damaged, leaving it out and alone", "key=%lld",
              (long long)sqlite3_column_int64(statement, 0));
}

static int bind_filter(sqlite3_stmt *statement, const struct job_filter *filter)
{
    bool any_state = filter->state == JOB_STATE_COUNT;
    const char *texts[] = { any_state ? NULL : job_state_names[filter->state],
                            filter->task, filter->pool, filter->tag };
    int64_t before = filter->has_before ? (int64_t)uuid_key(filter->before) : INT64_MAX;
    int rc = sqlite3_bind_int64(statement, 1, before);

    for (int i = 0; i < 4 && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_text(statement, 2 + i, texts[i], -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 6, filter->limit);
    return rc;
}

static enum status list_jobs(struct sqlite_reader *reader, struct store_command *command)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_JOBS];
    enum status st = ST_OK;
    int rc = SQLITE_OK;

    command->jobs = mem_zalloc(command->filter.limit * sizeof(*command->jobs));
    if (!command->jobs)
        return ST_NO_MEMORY;
    rc = bind_filter(statement, &command->filter);
    if (rc != SQLITE_OK)
        return status_of(rc);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        st = read_job(statement, false, &command->jobs[command->job_count]);
        if (st == ST_OK) {
            command->job_count++;
        } else if (st == ST_CORRUPT) {
            log_damaged(statement);
            st = ST_OK;
        }
    }
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = status_of(rc);
    return st;
}

static enum status read_delivery(sqlite3_stmt *statement, struct delivery *ret_delivery)
{
    struct row row = { statement, 1, false };
    struct delivery there = { 0 };

    there.job = row_id(&row);
    there.number = (uint32_t)row_int(&row);
    there.state = row_name(&row, delivery_state_names, DELIVERY_STATE_COUNT);
    there.tries = (uint32_t)row_int(&row);
    there.created_at_ms = row_int(&row);
    there.due_at_ms = row_int(&row);
    /* Only looked at, by the copy: they stay in the row. */
    there.url = (char *)(uintptr_t)row_string(&row);
    there.body = (char *)(uintptr_t)row_string(&row);
    there.attempts = (char *)(uintptr_t)row_string(&row);
    if (sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
        return ST_NO_MEMORY;
    if (row.bad || !there.url || !there.body || !there.attempts)
        return ST_CORRUPT;
    return delivery_copy(&there, ret_delivery);
}

static enum status list_deliveries(struct sqlite_reader *reader,
                                   struct store_command *command)
{
    const struct delivery_query *query = &command->deliveries_of;
    sqlite3_stmt *statement =
        reader->statements[query->of_job ? SQLITE_READ_DELIVERIES : SQLITE_READ_PENDING];
    enum status st = ST_OK;
    int rc = SQLITE_OK;

    command->deliveries = mem_zalloc(query->limit * sizeof(*command->deliveries));
    if (!command->deliveries)
        return ST_NO_MEMORY;
    if (query->of_job)
        rc = sqlite3_bind_int64(statement, 1, (int64_t)uuid_key(query->job));
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, query->of_job ? 2 : 1, query->limit);
    if (rc != SQLITE_OK)
        return status_of(rc);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        st = read_delivery(statement, &command->deliveries[command->delivery_count]);
        if (st == ST_OK) {
            command->delivery_count++;
        } else if (st == ST_CORRUPT) {
            log_damaged(statement);
            st = ST_OK;
        }
    }
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = status_of(rc);
    return st;
}

void sqlite_reader_answer(struct sqlite_reader *reader, struct store_command *command)
{
    static enum status (*const handlers[])(struct sqlite_reader *,
                                           struct store_command *) = {
        [STORE_GET_JOB] = get_job,
        [STORE_FIND_KEY] = find_key,
        [STORE_LIST_JOBS] = list_jobs,
        [STORE_LIST_DELIVERIES] = list_deliveries,
    };

    command->st = handlers[command->kind](reader, command);
}

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
    return status_of(rc);
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
            log_damaged(statement);
            st = ST_OK;
        }
    }
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = status_of(rc);
    return st;
}

/* An event that is damaged is left out: nothing depends on it. */
enum status sqlite_reader_events(struct sqlite_reader *reader,
                                 void (*on_event)(void *data, const struct event *event),
                                 void *data)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_EVENTS];
    int rc = sqlite3_bind_int(statement, 1, EVENTS_STORED_MAX);

    if (rc != SQLITE_OK)
        return status_of(rc);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct row row = { statement, 0, false };
        struct event event = { .id = (uint64_t)row_int(&row) };

        event.kind = row_name(&row, event_kind_names, EVENT_KIND_COUNT);
        event.job = row_id(&row);
        event.state = row_name(&row, job_state_names, JOB_STATE_COUNT);
        event.total = (uint64_t)row_int(&row);
        event.completed = (uint64_t)row_int(&row);
        event.failed = (uint64_t)row_int(&row);
        if (!row.bad)
            on_event(data, &event);
    }
    sqlite3_reset(statement);
    return rc == SQLITE_DONE ? ST_OK : status_of(rc);
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
    spec.memory_limit = (uint64_t)row_int(&row);
    *ret_state = row_name(&row, pool_state_names, POOL_STATE_COUNT);
    spec.idempotency_key = row_string(&row);
    spec.request_hash = (uint64_t)row_int(&row);
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
        st = status_of(rc);
    return st;
}

/* ---- life cycle ------------------------------------------------------------------- */

enum status sqlite_reader_open(struct sqlite_reader *reader, const char *path,
                               struct error_text *err)
{
    enum status st = sqlite_open(path, SQLITE_OPEN_READONLY, &reader->db, err);
    int rc;

    if (st != ST_OK)
        return st;
    rc = sqlite_prepare_all(reader->db, read_sql, SQLITE_READ_COUNT, reader->statements);
    return rc == SQLITE_OK ? ST_OK : sqlite_failure(path, reader->db, rc, err);
}

void sqlite_reader_close(struct sqlite_reader *reader)
{
    for (int i = 0; i < SQLITE_READ_COUNT; i++)
        sqlite3_finalize(reader->statements[i]);
    sqlite3_close(reader->db);
    memset(reader, 0, sizeof(*reader));
}
