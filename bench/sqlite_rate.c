/* SPDX-License-Identifier: MIT */
/*
 * sqlite_rate - how fast SQLite itself stores jobs and their ends: what the durable calls
 * are compared with.
 *
 *     sqlite_rate DATABASE COUNT PER_COMMIT
 *
 * DATABASE is one of poold's, with at least one job that has succeeded: its row is the
 * pattern, so that the rows here are always those of the present schema, with its indexes.
 * COUNT jobs are inserted, PER_COMMIT in a transaction, and each transaction of inserts is
 * followed by one that gives the same jobs their end, with the result. synchronous = FULL.
 * Prints jobs per second.
 */
#include <sqlite3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 96

struct table {
    int columns, key, id; /* key: the number of the job's; id: -1 for none */
    char names[COLUMNS_MAX][64];
    sqlite3_value *pattern[COLUMNS_MAX];
    sqlite3_stmt *insert;
};

static sqlite3 *db;

static void fail(const char *what)
{
    (void)fprintf(stderr, "sqlite_rate: %s: %s\n", what, sqlite3_errmsg(db));
    exit(EXIT_FAILURE);
}

static void run(const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail(sql);
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail(sql);
    return statement;
}

static void step(sqlite3_stmt *statement)
{
    if (sqlite3_step(statement) != SQLITE_DONE)
        fail(sqlite3_sql(statement));
    sqlite3_reset(statement);
}

/* Reads the pattern, and prepares an insert of every column. */
static void read_table(struct table *table, const char *select, const char *name,
                       const char *key)
{
    sqlite3_stmt *row = prepare(select);
    char sql[8192];
    size_t len;

    if (sqlite3_step(row) != SQLITE_ROW)
        fail("there is no job that has succeeded");
    table->columns = sqlite3_column_count(row);
    table->key = table->id = -1;
    len = (size_t)snprintf(sql, sizeof(sql), "INSERT INTO %s VALUES (", name);
    for (int i = 0; i < table->columns; i++) {
        snprintf(table->names[i], sizeof(table->names[i]), "%s",
                 sqlite3_column_name(row, i));
        table->pattern[i] = sqlite3_value_dup(sqlite3_column_value(row, i));
        if (strcmp(table->names[i], key) == 0)
            table->key = i;
        if (strcmp(table->names[i], "id") == 0)
            table->id = i;
        len += (size_t)snprintf(sql + len, sizeof(sql) - len, "%s?", i ? "," : "");
    }
    snprintf(sql + len, sizeof(sql) - len, ")");
    sqlite3_finalize(row);
    table->insert = prepare(sql);
}

/* A job that is not over yet differs from the pattern in these. */
static void bind_unfinished(sqlite3_stmt *insert, int at, const char *name)
{
    static const char *const null[] = { "result", "result_checksum" };
    static const char *const zero[] = { "completed",     "failed",         "attempt",
                                        "started_at_ms", "finished_at_ms", "kept_bytes" };

    if (strcmp(name, "state") == 0)
        sqlite3_bind_text(insert, at, "queued", -1, SQLITE_STATIC);
    for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
        if (strcmp(name, zero[i]) == 0)
            sqlite3_bind_int(insert, at, 0);
    for (size_t i = 0; i < sizeof(null) / sizeof(null[0]); i++)
        if (strcmp(name, null[i]) == 0)
            sqlite3_bind_null(insert, at);
}

/* The pattern's value of a column. */
static const sqlite3_value *value_of(const struct table *table, const char *name)
{
    for (int i = 0; i < table->columns; i++)
        if (strcmp(table->names[i], name) == 0)
            return table->pattern[i];
    fail(name);
    return NULL;
}

static void insert(struct table *table, sqlite3_int64 key)
{
    unsigned char id[16] = { 0 };

    for (int i = 0; i < table->columns; i++) {
        sqlite3_bind_value(table->insert, i + 1, table->pattern[i]);
        bind_unfinished(table->insert, i + 1, table->names[i]);
    }
    sqlite3_bind_int64(table->insert, table->key + 1, key);
    memcpy(id, &key, sizeof(key));
    if (table->id != -1)
        sqlite3_bind_blob(table->insert, table->id + 1, id, sizeof(id), SQLITE_STATIC);
    step(table->insert);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static struct table job;
    sqlite3_int64 key, end_ms;
    sqlite3_stmt *end, *number;
    long count, per_commit;
    double start;

    if (argc != 4)
        return EXIT_FAILURE;
    count = strtol(argv[2], NULL, 10);
    per_commit = strtol(argv[3], NULL, 10);
    if (sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK ||
        sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        fail(argv[1]);
    run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = "
        "-16384;"
        "PRAGMA wal_autocheckpoint = 2048");
    read_table(&job, "SELECT * FROM job WHERE result IS NOT NULL LIMIT 1", "job", "key");
    end = prepare("UPDATE job SET state = 'succeeded', completed = 1, attempt = 1, "
                  "started_at_ms = ?1, finished_at_ms = ?1, kept_bytes = 7, result = ?3, "
                  "result_checksum = ?4 WHERE key = ?2");
    sqlite3_bind_value(end, 3, value_of(&job, "result"));
    sqlite3_bind_value(end, 4, value_of(&job, "result_checksum"));
    number = prepare("SELECT max(key), max(finished_at_ms) FROM job");
    sqlite3_step(number);
    key = sqlite3_column_int64(number, 0);
    end_ms = sqlite3_column_int64(number, 1);
    sqlite3_finalize(number);
    start = now();
    for (long done = 0; done < count; done += per_commit) {
        run("BEGIN IMMEDIATE");
        for (long i = 1; i <= per_commit; i++)
            insert(&job, key + done + i);
        run("COMMIT; BEGIN IMMEDIATE");
        for (long i = 1; i <= per_commit; i++) {
            sqlite3_bind_int64(end, 1, end_ms + done / 20);
            sqlite3_bind_int64(end, 2, key + done + i);
            step(end);
        }
        run("COMMIT");
    }
    return printf("%.1f\n", (double)count / (now() - start)) < 0;
}
