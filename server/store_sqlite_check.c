/* SPDX-License-Identifier: MIT */
/*
 * Is everything in a database as it has to be? Three looks, each deeper than the one
 * before: SQLite's at its pages and indexes; whether rows fit together, by queries that
 * find those that do not; and each job as the server would read it, checksums and all.
 */
#include "server/store_sqlite_row.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct check {
    sqlite3 *db;
    const char *path;
    void (*on_finding)(void *data, const char *text);
    void *data;
    struct store_check *report;
};

static void PRINTF(2, 3) find(struct check *check, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    check->report->findings++;
    check->on_finding(check->data, text);
}

static enum status failure(const struct check *check, int rc, struct error_text *err)
{
    return sqlite_failure(check->path, check->db, rc, err);
}

/* ---- structure --------------------------------------------------------------------- */

static enum status check_structure(struct check *check, struct error_text *err)
{
    sqlite3_stmt *statement;
    int rc =
        sqlite3_prepare_v2(check->db, "PRAGMA integrity_check", -1, &statement, NULL);

    if (rc != SQLITE_OK)
        return failure(check, rc, err);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *said = (const char *)sqlite3_column_text(statement, 0);

        if (said && strcmp(said, "ok") != 0)
            find(check, "the file: %s", said);
    }
    sqlite3_finalize(statement);
    return rc == SQLITE_DONE ? ST_OK : failure(check, rc, err);
}

/* ---- rows that do not fit together ------------------------------------------------- */

#define OVER "state IN ('succeeded', 'failed', 'cancelled', 'expired')"

#define OUTCOMES                                                                         \
    "(SELECT job, first, count, is_error FROM outcome UNION ALL "                        \
    "SELECT key, 0, item_count, 0 FROM job WHERE result IS NOT NULL)"

/* Each query gives the ids of the jobs that are wrong. */
static const struct rule {
    const char *sql, *says;
} rules[] = {
    { "SELECT id FROM job WHERE (finished_at_ms > 0) <> (" OVER ")",
      "its state and the time of its end do not agree" },
    { "SELECT id FROM job WHERE (state = 'failed') <> (error IS NOT NULL)",
      "its state and its error do not agree" },
    { "SELECT id FROM job WHERE gone AND NOT (" OVER ")",
      "it was stripped before its end" },
    { "SELECT id FROM job WHERE state = 'succeeded' AND completed + failed <> item_count",
      "it has succeeded without an outcome for each item" },
    { "SELECT id FROM job LEFT JOIN (SELECT job, sum(iif(is_error, 0, count)) AS good, "
      "sum(iif(is_error, count, 0)) AS bad FROM " OUTCOMES " GROUP BY job) ON job = key "
      "WHERE gone = 0 AND " OVER
      " AND (coalesce(good, 0) <> completed OR coalesce(bad, 0) <> failed)",
      "its outcomes are not as many as its progress says" },
    { "SELECT DISTINCT id FROM outcome JOIN job ON job = key WHERE first < 0 OR count < "
      "1 OR "
      "(is_error AND count <> 1) OR (first + count > item_count AND (input_len > 0 "
      "OR " OVER "))",
      "an outcome is for items that it does not have" },
    { "SELECT DISTINCT id FROM (SELECT job, first + count AS end, lead(first) OVER "
      "(PARTITION BY job ORDER BY first) AS next FROM " OUTCOMES
      ") JOIN job ON job = key "
      "WHERE next < end",
      "two outcomes are for the same item" },
    { "SELECT id FROM job WHERE gone AND (body IS NOT NULL OR result IS NOT NULL OR "
      "EXISTS (SELECT 1 FROM body WHERE body.job = key) OR "
      "EXISTS (SELECT 1 FROM outcome WHERE outcome.job = key))",
      "it was stripped, and has a text all the same" },
};

static enum status check_rule(struct check *check, const struct rule *rule,
                              struct error_text *err)
{
    char id[UUID_TEXT_LEN + 1];
    sqlite3_stmt *statement;
    int rc = sqlite3_prepare_v2(check->db, rule->sql, -1, &statement, NULL);

    if (rc != SQLITE_OK)
        return failure(check, rc, err);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct row row = { statement, 0, false };

        uuid_format(row_id(&row), id);
        find(check, "job %s: %s", id, rule->says);
    }
    sqlite3_finalize(statement);
    return rc == SQLITE_DONE ? ST_OK : failure(check, rc, err);
}

/* Rows of jobs that are not there. */
static enum status check_orphans(struct check *check, struct error_text *err)
{
    sqlite3_stmt *statement;
    int rc =
        sqlite3_prepare_v2(check->db,
                           "SELECT \"table\", count(*) FROM pragma_foreign_key_check "
                           "GROUP BY 1",
                           -1, &statement, NULL);

    if (rc != SQLITE_OK)
        return failure(check, rc, err);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
        find(check, "table %s: %lld rows of jobs that are not there",
             sqlite3_column_text(statement, 0), sqlite3_column_int64(statement, 1));
    sqlite3_finalize(statement);
    return rc == SQLITE_DONE ? ST_OK : failure(check, rc, err);
}

static enum status check_tally(struct check *check, struct error_text *err)
{
    int64_t right;
    int rc = sqlite_number(check->db,
                           "SELECT count(*) = 1 AND max(finished_jobs) = "
                           "(SELECT count(*) FROM job WHERE finished_at_ms > 0) AND "
                           "max(finished_bytes) = (SELECT coalesce(sum(kept_bytes), 0) "
                           "FROM job WHERE finished_at_ms > 0) FROM tally",
                           &right);

    if (rc != SQLITE_OK)
        return failure(check, rc, err);
    if (!right)
        find(check, "table tally: does not say how much is kept");
    return ST_OK;
}

/* ---- texts ------------------------------------------------------------------------- */

/* As the server reads it, in whole. */
static enum status check_job(struct check *check, struct sqlite_reader *reader,
                             struct uuid id, struct error_text *err)
{
    struct store_command command = { .kind = STORE_GET_JOB,
                                     .id = id,
                                     .with = STORE_WITH_OUTCOMES | STORE_WITH_ATTEMPTS |
                                             STORE_WITH_INPUT | STORE_WITH_LOG };
    char text[UUID_TEXT_LEN + 1];

    sqlite_reader_answer(reader, &command);
    stored_job_clear(&command.job);
    check->report->jobs++;
    if (command.st == ST_CORRUPT || command.st == ST_NOT_FOUND) {
        uuid_format(id, text);
        find(check, "job %s: its row, its input or a result is damaged", text);
        return ST_OK;
    }
    if (command.st == ST_OK)
        return ST_OK;
    return error_set(err, command.st, "%s: %s", check->path, status_text(command.st));
}

/* The reader takes the connection. */
static enum status check_texts(struct check *check, struct sqlite_reader *reader,
                               struct error_text *err)
{
    sqlite3_stmt *statement;
    enum status st = ST_OK;
    int rc = sqlite3_prepare_v2(check->db, "SELECT id FROM job ORDER BY key", -1,
                                &statement, NULL);

    if (rc != SQLITE_OK)
        return failure(check, rc, err);
    while (st == ST_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct row row = { statement, 0, false };

        st = check_job(check, reader, row_id(&row), err);
    }
    sqlite3_finalize(statement);
    return st != ST_OK || rc == SQLITE_DONE ? st : failure(check, rc, err);
}

/* ---- all of it --------------------------------------------------------------------- */

static enum status check_rows(struct check *check, struct sqlite_reader *reader,
                              struct error_text *err)
{
    enum status st = check_orphans(check, err);

    if (st == ST_OK)
        st = check_tally(check, err);
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) && st == ST_OK; i++)
        st = check_rule(check, &rules[i], err);
    if (st == ST_OK)
        st = check_texts(check, reader, err);
    return st;
}

/* Pages that are wrong, or another schema: then the rows are no longer asked. */
static enum status check_all(struct check *check, struct error_text *err)
{
    struct sqlite_reader reader = { 0 };
    int64_t version;
    enum status st;
    int rc = sqlite_number(check->db, "PRAGMA user_version", &version);

    st = rc == SQLITE_OK ? check_structure(check, err) : failure(check, rc, err);
    check->report->schema_version = (int)version;
    check->report->older = version < sqlite_migration_count;
    if (st != ST_OK || check->report->findings || check->report->older) {
        sqlite3_close(check->db);
        return st;
    }
    st = sqlite_reader_prepare(&reader, check->path, check->db, err);
    if (st == ST_OK)
        st = check_rows(check, &reader, err);
    sqlite_reader_close(&reader);
    return st;
}

enum status store_check_sqlite(const char *dir,
                               void (*on_finding)(void *data, const char *text),
                               void *data, struct store_check *ret_check,
                               struct error_text *err)
{
    struct check check = { .on_finding = on_finding, .data = data, .report = ret_check };
    struct sqlite_file file;
    enum status st;

    memset(ret_check, 0, sizeof(*ret_check));
    st = sqlite_file_look(dir, false, &file, &check.db, err);
    if (st != ST_OK)
        return st;
    check.path = file.path;
    st = check_all(&check, err);
    sqlite_file_clear(&file);
    return st;
}
