/* SPDX-License-Identifier: MIT */
#include "server/store_sqlite_bind.h"

#include "common/buf.h"
#include "server/trace.h"

#include <string.h>

/* A status is changed by writing the job's row anew. A longer body lies in a table of its
 * own, so that it is not written anew with it; for a short one a second row would cost
 * more. */
#define INLINE_BODY_MAX 512

/* To put a row of outcomes in its place SQLite reads others there as a whole, as far as they
 * are not in one page. So longer results lie in a table apart. */
#define INLINE_OUTCOME_MAX 900

/* SQLite makes a copy of what becomes one row, and once more when it is read. So a very long
 * body becomes several. */
#define PART_BYTES (4u << 20)

/* Less is left alone: new jobs will use it. At once so much that commands do not wait. */
#define SHRINK_MIN_PAGES 1024
#define SHRINK_SQL       "PRAGMA incremental_vacuum(2048)"

static int64_t key_of(struct uuid id)
{
    return (int64_t)uuid_key(id);
}

/* ---- commands --------------------------------------------------------------------- */

/* Input and kwargs in one piece: where they are if they adjoin, else in `joined`. */
static bool body_of(const struct job_spec *spec, struct buf *joined,
                    struct text *ret_body)
{
    struct text input = spec->input, kwargs = spec->kwargs;

    if (kwargs.len == 0 || input.at + input.len == kwargs.at) {
        *ret_body = (struct text){ input.at, input.len + kwargs.len };
        return true;
    }
    buf_add_text(joined, input);
    buf_add_text(joined, kwargs);
    *ret_body = buf_text(joined);
    return !joined->failed;
}

static void bind_trace(struct binder *b, const char *trace)
{
    const char *state = trace ? trace_state_of(trace) : "";

    bind_text(b, (struct text){ trace, trace ? TRACE_PARENT_LEN : 0 });
    bind_string(b, state[0] ? state : NULL);
}

static void bind_spec(struct binder *b, const struct job_spec *spec,
                      const struct job_status *status, struct text body)
{
    bind_int(b, key_of(spec->id));
    bind_blob(b, (struct text){ (const char *)spec->id.bytes, sizeof(spec->id.bytes) });
    bind_string(b, job_method_names[spec->method]);
    bind_string(b, durability_names[spec->durability]);
    bind_string(b, spec->task);
    bind_string(b, spec->pool);
    bind_int(b, spec->priority);
    bind_int(b, (int64_t)job_items(spec, status));
    bind_int(b, (int64_t)spec->chunksize);
    bind_int(b, spec->created_at_ms);
    bind_int(b, spec->start_at_ms);
    bind_int(b, spec->expires_at_ms);
    bind_int(b, spec->time_limit_ms);
    bind_int(b, spec->result_ttl_ms);
    bind_int(b, spec->retries);
    bind_int(b, spec->crash_retries);
    bind_int(b, spec->backoff.initial_ms);
    bind_int(b, spec->backoff.max_ms);
    bind_real(b, spec->backoff.factor);
    bind_int(b, spec->backoff.jitter);
    bind_int(b, spec->return_exceptions);
    bind_int(b, spec->stop_on_error);
    bind_int(b, spec->cancel_on_disconnect);
    bind_string(b, spec->tags);
    bind_string(b, spec->metadata);
    bind_string(b, spec->callback);
    bind_string(b, spec->error_callback);
    bind_string(b, spec->idempotency_key);
    bind_int(b, (int64_t)spec->request_hash);
    bind_string(b, spec->unique_key);
    bind_int(b, (int64_t)spec->owner);
    bind_trace(b, spec->trace);
    bind_int(b, (int64_t)spec->input.len);
    bind_int(b, (int64_t)sqlite_body_checksum(spec->id, spec->input.len, body));
}

static void bind_status(struct binder *b, const struct job_status *status)
{
    bind_string(b, job_state_names[status->state]);
    bind_int(b, (int64_t)status->completed);
    bind_int(b, (int64_t)status->failed);
    bind_int(b, status->attempt);
    bind_int(b, (int64_t)status->forgiven);
    bind_int(b, status->started_at_ms);
    bind_int(b, status->finished_at_ms);
    bind_int(b, (int64_t)status->bytes);
    bind_string(b, status->error ? status->error->data : NULL);
}

/* The outcome that goes into the row of the command's job: its only one, of all its items, and
 * short. NULL: there is none. */
static const struct outcome *inline_result(const struct store_command *command)
{
    const struct outcome *outcome = command->outcomes;

    if (command->outcome_count != 1 || outcome->first > 0 || outcome->is_error ||
        outcome->text->len > STORE_RESULT_MAX ||
        outcome->count != job_items(command->spec, &command->status))
        return NULL;
    return outcome;
}

static void bind_result(struct binder *b, struct uuid id, const struct outcome *result)
{
    if (!result) {
        bind_string(b, NULL);
        bind_string(b, NULL);
        return;
    }
    bind_blob(b, blob_text(result->text));
    bind_int(b, (int64_t)sqlite_outcome_checksum(id, 0, result->count, false,
                                                 blob_text(result->text)));
}

static int find_existing(struct sqlite_writer *writer, struct store_command *command)
{
    struct binder b = { writer->statements[SQLITE_WRITE_EXISTING], 0, SQLITE_OK };
    struct store_existing *existing = &command->existing;

    bind_int(&b, (int64_t)command->spec->owner);
    bind_string(&b, command->spec->idempotency_key);
    if (b.rc != SQLITE_OK)
        return b.rc;
    if (sqlite3_step(b.statement) == SQLITE_ROW &&
        sqlite3_column_bytes(b.statement, 0) == (int)sizeof(existing->id.bytes)) {
        memcpy(existing->id.bytes, sqlite3_column_blob(b.statement, 0),
               sizeof(existing->id.bytes));
        existing->request_hash = (uint64_t)sqlite3_column_int64(b.statement, 1);
        command->st = ST_EXISTS;
    }
    b.rc = sqlite3_reset(b.statement);
    if (b.rc == SQLITE_OK && command->st != ST_EXISTS)
        return SQLITE_CORRUPT; /* the index has a key that the table has not */
    return b.rc;
}

/* Takes a part off the front of the body. */
static struct text next_part(struct text *body)
{
    struct text part = { body->at, body->len < PART_BYTES ? body->len : PART_BYTES };

    *body = (struct text){ body->at + part.len, body->len - part.len };
    return part;
}

/* The first part is in table body, the others in body_part. */
static int put_body(struct sqlite_writer *writer, struct uuid id, struct text body)
{
    struct binder b = { writer->statements[SQLITE_WRITE_BODY], 0, SQLITE_OK };
    int rc;

    bind_int(&b, key_of(id));
    bind_blob(&b, next_part(&body));
    rc = bind_run(&b);
    for (int64_t number = 1; body.len && rc == SQLITE_OK; number++) {
        b = (struct binder){ writer->statements[SQLITE_WRITE_PART], 0, SQLITE_OK };
        bind_int(&b, key_of(id));
        bind_int(&b, number);
        bind_blob(&b, next_part(&body));
        rc = bind_run(&b);
    }
    return rc;
}

/* Of the end of the job, if this is one, and it has a callback for it. */
static int add_delivery(struct sqlite_writer *writer, const struct job_spec *spec,
                        const struct job_status *status)
{
    struct binder b = { writer->statements[SQLITE_WRITE_ADD_DELIVERY], 0, SQLITE_OK };
    struct delivery delivery;
    enum status st = delivery_of_end(spec, status, &delivery);

    if (st != ST_OK)
        return st == ST_NOT_FOUND ? SQLITE_OK : SQLITE_NOMEM;
    bind_int(&b, key_of(delivery.job));
    bind_string(&b, delivery_state_names[delivery.state]);
    bind_int(&b, delivery.tries);
    bind_int(&b, delivery.created_at_ms);
    bind_int(&b, delivery.due_at_ms);
    bind_string(&b, delivery.url);
    bind_string(&b, delivery.body);
    bind_string(&b, delivery.attempts);
    b.rc = bind_run(&b);
    delivery_clear(&delivery);
    return b.rc;
}

static int put_delivery(struct sqlite_writer *writer, struct store_command *command)
{
    struct binder b = { writer->statements[SQLITE_WRITE_DELIVERY], 0, SQLITE_OK };
    const struct delivery *delivery = &command->delivery;
    int rc;

    bind_string(&b, delivery_state_names[delivery->state]);
    bind_int(&b, delivery->tries);
    bind_int(&b, delivery->due_at_ms);
    bind_string(&b, delivery->attempts);
    bind_int(&b, key_of(delivery->job));
    bind_int(&b, delivery->number);
    rc = bind_run(&b);
    if (rc == SQLITE_OK && sqlite3_changes(writer->db) == 0)
        command->st = ST_NOT_FOUND;
    return rc;
}

/* Takes the job out of the count, if it is in it. */
static int uncount(struct sqlite_writer *writer, struct uuid id)
{
    struct binder b = { writer->statements[SQLITE_WRITE_COUNTED], 0, SQLITE_OK };

    bind_int(&b, key_of(id));
    if (b.rc != SQLITE_OK)
        return b.rc;
    if (sqlite3_step(b.statement) == SQLITE_ROW && sqlite3_column_int(b.statement, 0))
        sqlite_writer_count(writer, -1, -sqlite3_column_int64(b.statement, 1));
    return sqlite3_reset(b.statement);
}

/* *ret_added is false if the job's idempotency key is there already. */
static int add_job(struct sqlite_writer *writer, const struct job_spec *spec,
                   const struct job_status *status, const struct outcome *result,
                   bool *ret_added)
{
    struct binder b = { writer->statements[SQLITE_WRITE_JOB], 0, SQLITE_OK };
    struct buf joined = BUF_INIT;
    struct text body;

    *ret_added = false;
    if (!body_of(spec, &joined, &body)) {
        buf_clear(&joined);
        return SQLITE_NOMEM;
    }
    bind_spec(&b, spec, status, body);
    bind_status(&b, status);
    if (body.len <= INLINE_BODY_MAX)
        bind_blob(&b, body);
    else
        bind_string(&b, NULL);
    bind_result(&b, spec->id, result);
    b.rc = bind_run(&b);
    *ret_added = b.rc == SQLITE_OK && sqlite3_changes(writer->db) > 0;
    if (*ret_added && status->finished_at_ms > 0)
        sqlite_writer_count(writer, 1, (int64_t)status->bytes);
    if (*ret_added && body.len > INLINE_BODY_MAX)
        b.rc = put_body(writer, spec->id, body);
    if (b.rc == SQLITE_OK && *ret_added)
        b.rc = add_delivery(writer, spec, status);
    buf_clear(&joined);
    return b.rc;
}

static int put_job(struct sqlite_writer *writer, struct store_command *command)
{
    bool added;
    int rc =
        add_job(writer, command->spec, &command->status, inline_result(command), &added);

    return rc == SQLITE_OK && !added ? find_existing(writer, command) : rc;
}

static int put_jobs(struct sqlite_writer *writer, struct store_command *command)
{
    bool added;
    int rc = SQLITE_OK;

    for (size_t i = 0; i < command->job_count && rc == SQLITE_OK; i++)
        rc = add_job(writer, command->jobs[i].spec, &command->jobs[i].status, NULL,
                     &added);
    return rc;
}

static int add_outcome(struct sqlite_writer *writer, struct store_command *command,
                       const struct outcome *outcome)
{
    struct binder b = { writer->statements[SQLITE_WRITE_OUTCOME], 0, SQLITE_OK };
    struct text text = blob_text(outcome->text);
    uint64_t sum = sqlite_outcome_checksum(command->id, outcome->first, outcome->count,
                                           outcome->is_error, text);
    bool apart = !outcome->is_error && text.len > INLINE_OUTCOME_MAX;
    int rc;

    bind_int(&b, key_of(command->id));
    bind_int(&b, (int64_t)outcome->first);
    bind_int(&b, (int64_t)outcome->count);
    bind_int(&b, outcome->is_error);
    bind_int(&b, (int64_t)sum);
    bind_blob(&b, apart ? (struct text){ NULL, 0 } : text);
    rc = bind_run(&b);
    if (rc == SQLITE_CONSTRAINT_FOREIGNKEY) {
        command->st = ST_NOT_FOUND;
        return SQLITE_OK;
    }
    if (rc != SQLITE_OK || !apart || sqlite3_changes(writer->db) == 0)
        return rc;
    b = (struct binder){ writer->statements[SQLITE_WRITE_TEXT], 0, SQLITE_OK };
    bind_int(&b, key_of(command->id));
    bind_int(&b, (int64_t)outcome->first);
    bind_blob(&b, text);
    return bind_run(&b);
}

static int put_outcome(struct sqlite_writer *writer, struct store_command *command)
{
    return add_outcome(writer, command, &command->outcomes[0]);
}

static int add_attempt(struct sqlite_writer *writer, struct store_command *command,
                       uint64_t number, const struct blob *attempt)
{
    struct binder b = { writer->statements[SQLITE_WRITE_ATTEMPT], 0, SQLITE_OK };
    struct binder trim = { writer->statements[SQLITE_WRITE_TRIM_ATTEMPTS], 0, SQLITE_OK };
    int rc;

    bind_int(&b, key_of(command->id));
    bind_int(&b, (int64_t)number);
    bind_string(&b, attempt->data);
    rc = bind_run(&b);
    if (rc == SQLITE_CONSTRAINT_FOREIGNKEY) {
        command->st = ST_NOT_FOUND;
        return SQLITE_OK;
    }
    if (rc != SQLITE_OK)
        return rc;
    bind_int(&trim, key_of(command->id));
    bind_int(&trim, ATTEMPTS_MAX);
    return bind_run(&trim);
}

static int put_attempt(struct sqlite_writer *writer, struct store_command *command)
{
    return add_attempt(writer, command, command->attempt_number, command->attempt);
}

static int put_log(struct sqlite_writer *writer, struct store_command *command)
{
    struct binder b = { writer->statements[SQLITE_WRITE_LOG], 0, SQLITE_OK };
    int rc;

    bind_int(&b, key_of(command->id));
    bind_string(&b, command->log->data);
    rc = bind_run(&b);
    if (rc != SQLITE_CONSTRAINT_FOREIGNKEY)
        return rc;
    command->st = ST_NOT_FOUND;
    return SQLITE_OK;
}

static int put_finished(struct sqlite_writer *writer, struct store_command *command)
{
    const struct attempt_log *attempts = &command->attempts;
    size_t rows = inline_result(command) ? 0 : command->outcome_count;
    int rc = put_job(writer, command);

    for (size_t i = 0; i < rows; i++) {
        if (rc != SQLITE_OK || command->st != ST_OK)
            break;
        rc = add_outcome(writer, command, &command->outcomes[i]);
    }
    for (size_t i = 0; i < attempts->count; i++) {
        if (rc != SQLITE_OK || command->st != ST_OK)
            break;
        rc = add_attempt(writer, command, attempts->dropped + i + 1,
                         attempt_log_at(attempts, i));
    }
    if (rc == SQLITE_OK && command->st == ST_OK && command->log)
        rc = put_log(writer, command);
    return rc;
}

/* Changes nothing if the job is over and `counted` is false. */
static int update_status(struct sqlite_writer *writer,
                         const struct store_command *command, bool counted)
{
    const struct outcome *result = inline_result(command);
    struct binder b = {
        writer->statements[result ? SQLITE_WRITE_END : SQLITE_WRITE_STATUS], 0, SQLITE_OK
    };

    bind_int(&b, (int64_t)job_items(command->spec, &command->status));
    bind_status(&b, &command->status);
    bind_int(&b, key_of(command->id));
    bind_int(&b, counted);
    if (result)
        bind_result(&b, command->id, result);
    return bind_run(&b);
}

/* Mostly the job was not over before, and then there is nothing to take out of the count. */
static int change_status(struct sqlite_writer *writer,
                         const struct store_command *command)
{
    int rc = update_status(writer, command, false);

    if (rc != SQLITE_OK || sqlite3_changes(writer->db) > 0)
        return rc;
    rc = uncount(writer, command->id);
    return rc == SQLITE_OK ? update_status(writer, command, true) : rc;
}

static int put_status(struct sqlite_writer *writer, struct store_command *command)
{
    struct binder forget = { writer->statements[SQLITE_WRITE_FORGET_ERRORS], 0,
                             SQLITE_OK };
    int rc = change_status(writer, command);

    if (rc == SQLITE_OK && sqlite3_changes(writer->db) == 0) {
        command->st = ST_NOT_FOUND;
    } else if (rc == SQLITE_OK) {
        if (command->status.finished_at_ms > 0)
            sqlite_writer_count(writer, 1, (int64_t)command->status.bytes);
        rc = add_delivery(writer, command->spec, &command->status);
    }
    if (rc != SQLITE_OK || command->status.state != JOB_QUEUED)
        return rc;
    bind_int(&forget, key_of(command->id));
    return bind_run(&forget);
}

static int delete_job(struct sqlite_writer *writer, struct store_command *command)
{
    struct binder b = { writer->statements[SQLITE_WRITE_DELETE], 0, SQLITE_OK };
    int rc = uncount(writer, command->id);

    bind_int(&b, key_of(command->id));
    if (rc == SQLITE_OK)
        rc = bind_run(&b);
    if (rc == SQLITE_OK && sqlite3_changes(writer->db) == 0)
        command->st = ST_NOT_FOUND;
    return rc;
}

/* The event comes with the command, as with others. */
static int put_events(struct sqlite_writer *writer, struct store_command *command)
{
    (void)writer;
    (void)command;
    return SQLITE_OK;
}

static int put_pool(struct sqlite_writer *writer, struct store_command *command)
{
    struct binder b = { writer->statements[SQLITE_WRITE_POOL], 0, SQLITE_OK };
    const struct pool_spec *spec = command->pool;

    bind_string(&b, spec->name);
    bind_int(&b, spec->processes);
    bind_int(&b, (int64_t)spec->maxtasksperchild);
    bind_string(&b, start_method_names[spec->start_method]);
    bind_string(&b, spec->initializer);
    bind_string(&b, spec->initargs);
    bind_int(&b, spec->time_limit_ms);
    bind_int(&b, (int64_t)spec->limits.at[LIMIT_MEMORY]);
    bind_string(&b, pool_state_names[command->pool_state]);
    bind_string(&b, spec->idempotency_key);
    bind_int(&b, (int64_t)spec->request_hash);
    bind_int(&b, spec->limits.cpu_ms);
    bind_int(&b, (int64_t)spec->limits.at[LIMIT_FILE_SIZE]);
    bind_int(&b, (int64_t)spec->limits.at[LIMIT_OPEN_FILES]);
    bind_int(&b, (int64_t)spec->limits.at[LIMIT_PROCESSES]);
    return bind_run(&b);
}

static int delete_pool(struct sqlite_writer *writer, struct store_command *command)
{
    struct binder b = { writer->statements[SQLITE_WRITE_DELETE_POOL], 0, SQLITE_OK };
    int rc;

    bind_string(&b, command->pool->name);
    rc = bind_run(&b);
    if (rc == SQLITE_OK && sqlite3_changes(writer->db) == 0)
        command->st = ST_NOT_FOUND;
    return rc;
}

int sqlite_writer_apply(struct sqlite_writer *writer, struct store_command *command)
{
    static int (*const handlers[])(struct sqlite_writer *, struct store_command *) = {
        [STORE_PUT_JOB] = put_job,           [STORE_PUT_JOBS] = put_jobs,
        [STORE_RECORD_JOB] = put_job,        [STORE_PUT_OUTCOME] = put_outcome,
        [STORE_PUT_ATTEMPT] = put_attempt,   [STORE_PUT_LOG] = put_log,
        [STORE_PUT_EVENTS] = put_events,     [STORE_PUT_STATUS] = put_status,
        [STORE_PUT_FINISHED] = put_finished, [STORE_DELETE_JOB] = delete_job,
        [STORE_PUT_DELIVERY] = put_delivery, [STORE_PUT_POOL] = put_pool,
        [STORE_DELETE_POOL] = delete_pool,   [STORE_PURGE] = sqlite_writer_purge,
    };
    int rc;

    command->st = ST_OK;
    rc = handlers[command->kind](writer, command);
    for (size_t i = 0; i < command->event_count; i++) {
        if (rc != SQLITE_OK || command->st != ST_OK)
            break;
        rc = sqlite_writer_add_event(writer, &command->events[i]);
    }
    return rc;
}

int sqlite_writer_shrink(struct sqlite_writer *writer)
{
    int64_t pages, unused;
    int rc = sqlite_number(writer->db, "PRAGMA page_count", &pages);

    if (rc == SQLITE_OK)
        rc = sqlite_number(writer->db, "PRAGMA freelist_count", &unused);
    if (rc != SQLITE_OK || unused < SHRINK_MIN_PAGES || unused < pages / 2)
        return rc;
    rc = sqlite_writer_begin(writer);
    if (rc == SQLITE_OK)
        rc = sqlite_run(writer->db, SHRINK_SQL);
    if (rc == SQLITE_OK)
        rc = sqlite_writer_commit(writer);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(writer->db))
        (void)sqlite_writer_run(writer, SQLITE_WRITE_ROLLBACK);
    return rc;
}

/* ---- life cycle ------------------------------------------------------------------- */

int sqlite_writer_run(struct sqlite_writer *writer, enum sqlite_write_statement which)
{
    sqlite3_step(writer->statements[which]);
    return sqlite3_reset(writer->statements[which]);
}

int sqlite_writer_begin(struct sqlite_writer *writer)
{
    writer->counted_jobs = writer->counted_bytes = 0;
    sqlite_writer_forget_events(writer);
    return sqlite_writer_run(writer, SQLITE_WRITE_BEGIN);
}

int sqlite_writer_commit(struct sqlite_writer *writer)
{
    struct binder b = { writer->statements[SQLITE_WRITE_ADD_TALLY], 0, SQLITE_OK };
    int rc = sqlite_writer_put_events(writer);

    if (rc == SQLITE_OK && (writer->counted_jobs != 0 || writer->counted_bytes != 0)) {
        bind_int(&b, writer->counted_jobs);
        bind_int(&b, writer->counted_bytes);
        rc = bind_run(&b);
    }
    if (rc == SQLITE_OK && writer->unmarked)
        rc = sqlite_identity_mark(writer->db, sqlite_migration_count);
    if (rc == SQLITE_OK)
        rc = sqlite_writer_run(writer, SQLITE_WRITE_COMMIT);
    if (rc == SQLITE_OK)
        writer->unmarked = false;
    return rc;
}

void sqlite_writer_count(struct sqlite_writer *writer, int64_t jobs, int64_t bytes)
{
    writer->counted_jobs += jobs;
    writer->counted_bytes += bytes;
}

enum status sqlite_writer_open(struct sqlite_writer *writer, const char *path,
                               struct error_text *err)
{
    enum status st = sqlite_open_writer(path, &writer->db, err);
    int rc;

    if (st != ST_OK)
        return st;
    writer->unmarked = true;
    rc = sqlite_prepare_all(writer->db, sqlite_write_sql, SQLITE_WRITE_COUNT,
                            writer->statements);
    return rc == SQLITE_OK ? ST_OK : sqlite_failure(path, writer->db, rc, err);
}

void sqlite_writer_close(struct sqlite_writer *writer)
{
    for (int i = 0; i < SQLITE_WRITE_COUNT; i++)
        sqlite3_finalize(writer->statements[i]);
    sqlite3_close(writer->db);
    buf_clear(&writer->events.body);
    memset(writer, 0, sizeof(*writer));
}
