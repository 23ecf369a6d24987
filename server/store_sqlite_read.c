/* SPDX-License-Identifier: MIT */
#include "server/store_sqlite_row.h"

#include "common/log.h"
#include "common/mem.h"
#include "server/trace.h"

#include <string.h>

#define DELIVERY_COLUMNS                                                                 \
    "key, id, number, delivery.state, tries, delivery.created_at_ms, due_at_ms, url, "   \
    "delivery.body, attempts"

#define MATCHES                                                                          \
    "AND (?2 IS NULL OR state = ?2 OR (?2 = 'queued' AND state = 'scheduled')) "         \
    "AND (?3 IS NULL OR task = ?3) "                                                     \
    "AND (?4 IS NULL OR pool = ?4) AND (?5 IS NULL OR (json_valid(tags) AND "            \
    "EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.value = ?5))) "

static const char *const read_sql[SQLITE_READ_COUNT] = {
    [SQLITE_READ_JOB] = "SELECT " SQLITE_JOB_COLUMNS ", gone FROM job WHERE key = ?",
    [SQLITE_READ_WHOLE] =
        "SELECT " SQLITE_JOB_COLUMNS ", gone, coalesce(job.body, body.bytes), "
        "(SELECT sum(length(bytes)) FROM body_part WHERE body_part.job = key) FROM job "
        "LEFT JOIN body ON body.job = key WHERE key = ?",
    [SQLITE_READ_PARTS] = "SELECT bytes FROM body_part WHERE job = ? ORDER BY part",
    [SQLITE_READ_OUTCOMES] =
        "SELECT outcome.first AS first, count, is_error, checksum, coalesce(bytes, body) "
        "FROM outcome LEFT JOIN outcome_text USING (job, first) "
        "WHERE outcome.job = ?1 UNION ALL "
        "SELECT 0, item_count, 0, result_checksum, result FROM job "
        "WHERE key = ?1 AND result IS NOT NULL ORDER BY 1",
    [SQLITE_READ_ATTEMPTS] = "SELECT seq, body FROM attempt WHERE job = ? ORDER BY seq",
    [SQLITE_READ_LOG] = "SELECT body FROM job_log WHERE job = ?",
    /* The number of all comes with each, so that the oldest can be left out. */
    [SQLITE_READ_EVENTS] =
        "SELECT (SELECT sum(count) FROM event_run), body FROM event_run "
        "ORDER BY last_id",
    /* json_valid: a damaged row must not end the whole listing. */
    [SQLITE_READ_JOBS] =
        "SELECT " SQLITE_JOB_COLUMNS ", gone FROM job WHERE key < ?1 " MATCHES
        "ORDER BY key DESC LIMIT ?6",
    [SQLITE_READ_JOBS_OF] =
        "SELECT " SQLITE_JOB_COLUMNS
        ", gone FROM job INDEXED BY job_owner WHERE owner <> 0 AND "
        "owner = ?7 AND key < ?1 " MATCHES "ORDER BY key DESC LIMIT ?6",
    [SQLITE_READ_UNFINISHED] =
        "SELECT key, id, pool, priority, start_at_ms, expires_at_ms, idempotency_key, "
        "coalesce(length(job.body), (SELECT length(bytes) FROM body WHERE body.job = "
        "key) + "
        "(SELECT coalesce(sum(length(bytes)), 0) FROM body_part WHERE body_part.job = "
        "key), "
        "input_len), state, unique_key, owner, "
        "started_at_ms > 0 OR input_len = 0 OR EXISTS (SELECT 1 FROM outcome WHERE "
        "outcome.job = key) "
        "FROM job INDEXED BY job_unfinished "
        "WHERE state IN ('scheduled', 'queued', 'running') ORDER BY key",
    [SQLITE_READ_DELIVERIES] = "SELECT " DELIVERY_COLUMNS " FROM delivery CROSS JOIN job "
                               "ON key = delivery.job WHERE delivery.job = ? "
                               "ORDER BY number DESC LIMIT ?",
    [SQLITE_READ_PENDING] = "SELECT " DELIVERY_COLUMNS " FROM delivery INDEXED BY "
                            "delivery_pending CROSS JOIN job ON key = delivery.job "
                            "WHERE delivery.state = 'pending' ORDER BY due_at_ms LIMIT ?",
    [SQLITE_READ_NEWEST] = "SELECT id FROM job ORDER BY key DESC LIMIT 1",
    [SQLITE_READ_KEY] =
        "SELECT id, request_hash FROM job WHERE idempotency_key = ?1 AND owner = ?2",
    [SQLITE_READ_POOLS] = "SELECT " SQLITE_POOL_COLUMNS " FROM pool ORDER BY rowid",
};

/* ---- rows ------------------------------------------------------------------------- */

/* One that was stored. In ret_trace, or NULL. */
static const char *read_trace(struct row *row, char ret_trace[TRACE_MAX + 1])
{
    const char *parent = row_string(row), *state = row_string(row);

    return trace_take(parent, state, ret_trace) ? ret_trace : NULL;
}

/* The texts stay in the row, and in ret_trace. */
static void read_spec(struct row *row, struct job_spec *spec,
                      char ret_trace[TRACE_MAX + 1], uint64_t *ret_checksum)
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
    spec->owner = (uint64_t)row_int(row);
    spec->trace = read_trace(row, ret_trace);
    spec->input.len = (size_t)row_int(row);
    spec->fed = !spec->input.len && job_method_streams(spec->method);
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
    ret_status->forgiven = (uint64_t)row_int(row);
    ret_status->started_at_ms = row_int(row);
    ret_status->finished_at_ms = row_int(row);
    ret_status->bytes = (uint64_t)row_int(row);
    error = row_blob(row);
    if (!error.at)
        return ST_OK;
    ret_status->error = blob_new(error.at, error.len);
    return ret_status->error ? ST_OK : ST_NO_MEMORY;
}

/* Reads the parts of a body into its last bytes, from `at` on. */
static enum status read_parts(struct sqlite_reader *reader, struct uuid id,
                              struct blob *body, size_t at)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_PARTS];
    int rc = sqlite3_bind_int64(statement, 1, (int64_t)uuid_key(id));

    if (rc != SQLITE_OK)
        return row_status(rc);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct row row = { statement, 0, false };
        struct text part = row_blob(&row);

        if (!part.at || part.len > body->len - at)
            break;
        memcpy(body->data + at, part.at, part.len);
        at += part.len;
    }
    sqlite3_reset(statement);
    if (rc == SQLITE_ROW)
        return ST_CORRUPT;
    return rc == SQLITE_DONE ? ST_OK : row_status(rc);
}

/* spec->input.len is what the row says; sets body, input and kwargs. */
static enum status read_body(struct sqlite_reader *reader, struct row *row,
                             struct job_spec *spec, uint64_t checksum)
{
    struct text first = row_blob(row);
    size_t rest = (size_t)row_int(row);
    size_t input_len = spec->input.len;
    enum status st = ST_OK;

    if (!first.at && spec->fed) /* SQLite gives an empty one as NULL */
        first.at = "";
    if (!first.at || rest > STORE_BYTES_MAX || input_len > first.len + rest)
        return ST_CORRUPT;
    spec->body = blob_new_uninit(first.len + rest);
    if (!spec->body)
        return ST_NO_MEMORY;
    memcpy(spec->body->data, first.at, first.len);
    if (rest)
        st = read_parts(reader, spec->id, spec->body, first.len);
    if (st == ST_OK &&
        sqlite_body_checksum(spec->id, input_len, blob_text(spec->body)) != checksum)
        st = ST_CORRUPT;
    spec->input = (struct text){ spec->body->data, input_len };
    spec->kwargs =
        (struct text){ spec->body->data + input_len, spec->body->len - input_len };
    return st;
}

static bool wants_index(const struct job_spec *spec, const struct job_status *status)
{
    return spec->body && !spec->fed && spec->method != JOB_APPLY &&
           !job_state_final(status->state);
}

/* The row that the statement is at; with its body, if a reader is given. On failure ret_job
 * is left empty. */
static enum status read_job(sqlite3_stmt *statement, struct sqlite_reader *for_body,
                            struct stored_job *ret_job)
{
    struct row row = { statement, 0, false };
    struct job_spec spec = { 0 };
    char trace[TRACE_MAX + 1];
    uint64_t checksum;
    enum status st;

    read_spec(&row, &spec, trace, &checksum);
    st = read_status(&row, &ret_job->status);
    ret_job->gone = row_bool(&row);
    if (spec.fed) {
        ret_job->status.fed = spec.item_count;
        spec.item_count = 0;
    }
    if (st == ST_OK && sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
        st = ST_NO_MEMORY; /* a text could not be fetched */
    if (st == ST_OK && row.bad)
        st = ST_CORRUPT;
    if (st == ST_OK && for_body && !ret_job->gone)
        st = read_body(for_body, &row, &spec, checksum);
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
        return row_status(rc);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW)
        st = add_outcome(job, &cap, statement);
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = row_status(rc);
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
        return row_status(rc);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW)
        st = add_attempt(&job->attempts, statement);
    sqlite3_reset(statement);
    if (st == ST_OK && rc != SQLITE_DONE)
        st = row_status(rc);
    return st;
}

static enum status read_log(struct sqlite_reader *reader, struct stored_job *job)
{
    sqlite3_stmt *statement = reader->statements[SQLITE_READ_LOG];
    enum status st = ST_OK;
    int rc = sqlite3_bind_int64(statement, 1, (int64_t)uuid_key(job->spec->id));

    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        struct row row = { statement, 0, false };
        struct text text = row_blob(&row);

        job->log = text.at ? blob_new(text.at, text.len) : NULL;
        st = job->log ? ST_OK : ST_NO_MEMORY;
    } else if (rc != SQLITE_DONE) {
        st = row_status(rc);
    }
    sqlite3_reset(statement);
    return st;
}

/* The statement for the job stays open until the outcomes and attempts are read: so all see
 * the same commit. */
static enum status get_job(struct sqlite_reader *reader, struct store_command *command)
{
    bool whole = command->with & STORE_WITH_INPUT;
    sqlite3_stmt *statement =
        reader->statements[whole ? SQLITE_READ_WHOLE : SQLITE_READ_JOB];
    struct stored_job *job = &command->job;
    enum status st;
    int rc = sqlite3_bind_int64(statement, 1, (int64_t)uuid_key(command->id));

    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        st = read_job(statement, whole ? reader : NULL, job);
    else
        st = rc == SQLITE_DONE ? ST_NOT_FOUND : row_status(rc);
    if (st == ST_OK && !uuid_equal(job->spec->id, command->id))
        st = ST_NOT_FOUND; /* shares the time, but not the random part */
    if (st == ST_OK && (command->with & STORE_WITH_OUTCOMES))
        st = read_outcomes(reader, job);
    if (st == ST_OK && (command->with & STORE_WITH_ATTEMPTS))
        st = read_attempts(reader, job);
    if (st == ST_OK && (command->with & STORE_WITH_LOG))
        st = read_log(reader, job);
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
        rc = sqlite3_bind_int64(statement, 2, (int64_t)command->owner);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        command->existing.id = row_id(&row);
        command->existing.request_hash = (uint64_t)row_int(&row);
        st = row.bad ? ST_CORRUPT : ST_EXISTS;
    } else {
        st = rc == SQLITE_DONE ? ST_NOT_FOUND : row_status(rc);
    }
    sqlite3_reset(statement);
    return st;
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
    if (rc == SQLITE_OK && filter->owner)
        rc = sqlite3_bind_int64(statement, 7, (int64_t)filter->owner);
    return rc;
}

static enum status list_jobs(struct sqlite_reader *reader, struct store_command *command)
{
    sqlite3_stmt *statement =
        reader
            ->statements[command->filter.owner ? SQLITE_READ_JOBS_OF : SQLITE_READ_JOBS];
    enum status st = ST_OK;
    int rc = SQLITE_OK;

    command->jobs = mem_zalloc(command->filter.limit * sizeof(*command->jobs));
    if (!command->jobs)
        return ST_NO_MEMORY;
    rc = bind_filter(statement, &command->filter);
    if (rc != SQLITE_OK)
        return row_status(rc);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        st = read_job(statement, NULL, &command->jobs[command->job_count]);
        if (st == ST_OK) {
            command->job_count++;
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
        return row_status(rc);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        st = read_delivery(statement, &command->deliveries[command->delivery_count]);
        if (st == ST_OK) {
            command->delivery_count++;
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

/* ---- life cycle ------------------------------------------------------------------- */

enum status sqlite_reader_open(struct sqlite_reader *reader, const char *path,
                               struct error_text *err)
{
    sqlite3 *db;
    enum status st = sqlite_open(path, SQLITE_OPEN_READONLY, &db, err);

    return st == ST_OK ? sqlite_reader_prepare(reader, path, db, err) : st;
}

enum status sqlite_reader_prepare(struct sqlite_reader *reader, const char *path,
                                  sqlite3 *db, struct error_text *err)
{
    int rc = sqlite_prepare_all(db, read_sql, SQLITE_READ_COUNT, reader->statements);

    reader->db = db;
    return rc == SQLITE_OK ? ST_OK : sqlite_failure(path, db, rc, err);
}

void sqlite_reader_close(struct sqlite_reader *reader)
{
    for (int i = 0; i < SQLITE_READ_COUNT; i++)
        sqlite3_finalize(reader->statements[i]);
    sqlite3_close(reader->db);
    memset(reader, 0, sizeof(*reader));
}
