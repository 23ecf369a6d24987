/* SPDX-License-Identifier: MIT */
/*
 * What is no longer kept of jobs that are over.
 *
 * A batch is four steps that share one budget of jobs and bytes: strip what is due,
 * delete what was stripped and is old, strip for max_bytes, delete for max_jobs. Each one reads
 * the front of an index, so that a batch costs the same whether a thousand or a million
 * jobs are kept. How many there are, and of what size, the writer keeps in table tally.
 *
 * A job is stripped or deleted whole: a large one is a batch of its own.
 */
#include "server/store_sqlite.h"

#include <string.h>

struct purge {
    struct sqlite_writer *writer;
    unsigned jobs; /* that the batch has room for */
    uint64_t bytes;
    int64_t keys[STORE_PURGE_JOBS];
    uint64_t sizes[STORE_PURGE_JOBS];
};

/* What a step looks for, how much of it is too much, and what happens to it. */
struct purge_step {
    enum sqlite_write_statement find;
    int64_t until_ms;
    uint64_t excess; /* jobs; or bytes, if `weighs` */
    bool weighs;
    int (*change)(struct sqlite_writer *writer, int64_t key, uint64_t size);
};

static int run_with_key(struct sqlite_writer *writer, enum sqlite_write_statement which,
                        int64_t key)
{
    int rc = sqlite3_bind_int64(writer->statements[which], 1, key);

    return rc == SQLITE_OK ? sqlite_writer_run(writer, which) : rc;
}

static int strip(struct sqlite_writer *writer, int64_t key, uint64_t size)
{
    int rc = run_with_key(writer, SQLITE_WRITE_STRIP, key);

    if (rc == SQLITE_OK)
        rc = run_with_key(writer, SQLITE_WRITE_DROP_BODY, key);
    if (rc == SQLITE_OK)
        rc = run_with_key(writer, SQLITE_WRITE_DROP_PARTS, key);
    if (rc == SQLITE_OK)
        rc = run_with_key(writer, SQLITE_WRITE_DROP_OUTCOMES, key);
    if (rc == SQLITE_OK)
        rc = run_with_key(writer, SQLITE_WRITE_DROP_TEXTS, key);
    if (rc == SQLITE_OK)
        rc = run_with_key(writer, SQLITE_WRITE_DROP_ATTEMPTS, key);
    if (rc == SQLITE_OK)
        rc = run_with_key(writer, SQLITE_WRITE_DROP_LOG, key);
    sqlite_writer_count(writer, 0, -(int64_t)size);
    return rc;
}

static int delete (struct sqlite_writer *writer, int64_t key, uint64_t size)
{
    sqlite_writer_count(writer, -1, -(int64_t)size);
    return run_with_key(writer, SQLITE_WRITE_DELETE, key);
}

/* Fills keys and sizes with what the statement finds. */
static int find(struct purge *purge, const struct purge_step *step, unsigned *ret_count)
{
    sqlite3_stmt *statement = purge->writer->statements[step->find];
    unsigned count = 0;
    int rc = sqlite3_bind_int64(statement, 1, step->until_ms);

    *ret_count = 0;
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 2, purge->jobs);
    if (rc != SQLITE_OK)
        return rc;
    while (count < purge->jobs && sqlite3_step(statement) == SQLITE_ROW) {
        purge->keys[count] = sqlite3_column_int64(statement, 0);
        purge->sizes[count++] = (uint64_t)sqlite3_column_int64(statement, 1);
    }
    *ret_count = count;
    return sqlite3_reset(statement);
}

static uint64_t less(uint64_t from, uint64_t by)
{
    return from > by ? from - by : 0;
}

/* Adds the jobs that it changes to *changed. */
static int purge_step(struct purge *purge, const struct purge_step *step,
                      unsigned *changed)
{
    uint64_t excess = step->excess;
    unsigned count = 0;
    int rc = excess ? find(purge, step, &count) : SQLITE_OK;

    for (unsigned i = 0; i < count && rc == SQLITE_OK && purge->bytes && excess; i++) {
        rc = step->change(purge->writer, purge->keys[i], purge->sizes[i]);
        excess = less(excess, step->weighs ? purge->sizes[i] : 1);
        purge->bytes = less(purge->bytes, purge->sizes[i]);
        purge->jobs--;
        ++*changed;
    }
    return rc;
}

static int read_tally(struct sqlite_writer *writer, uint64_t *ret_jobs,
                      uint64_t *ret_bytes)
{
    sqlite3_stmt *statement = writer->statements[SQLITE_WRITE_TALLY];

    *ret_jobs = *ret_bytes = 0;
    if (sqlite3_step(statement) == SQLITE_ROW) {
        *ret_jobs = (uint64_t)(sqlite3_column_int64(statement, 0) + writer->counted_jobs);
        *ret_bytes =
            (uint64_t)(sqlite3_column_int64(statement, 1) + writer->counted_bytes);
    }
    return sqlite3_reset(statement);
}

static int purge_by_age(struct purge *purge, const struct store_limits *limits,
                        unsigned *changed)
{
    const struct purge_step forget = { SQLITE_WRITE_FIND_STRIPPED,
                                       limits->now_ms - limits->job_ttl_ms, UINT64_MAX,
                                       false, delete };
    const struct purge_step expire = { SQLITE_WRITE_FIND_DUE, limits->now_ms, UINT64_MAX,
                                       false, strip };
    int rc = SQLITE_OK;

    if (limits->now_ms)
        rc = purge_step(purge, &expire, changed);
    if (limits->now_ms && rc == SQLITE_OK)
        rc = purge_step(purge, &forget, changed);
    return rc;
}

static int purge_by_size(struct purge *purge, const struct store_limits *limits,
                         unsigned *changed)
{
    struct purge_step lighten = { SQLITE_WRITE_FIND_HEAVY, 0, 0, true, strip };
    struct purge_step thin = { SQLITE_WRITE_FIND_OLDEST, 0, 0, false, delete };
    uint64_t jobs, bytes;
    int rc = read_tally(purge->writer, &jobs, &bytes);

    if (limits->max_bytes)
        lighten.excess = less(bytes, limits->max_bytes);
    thin.excess = less(jobs, limits->max_jobs);
    if (rc == SQLITE_OK)
        rc = purge_step(purge, &lighten, changed);
    if (rc == SQLITE_OK)
        rc = purge_step(purge, &thin, changed);
    return rc;
}

int sqlite_writer_purge(struct sqlite_writer *writer, struct store_command *command)
{
    struct purge purge = { .writer = writer,
                           .jobs = STORE_PURGE_JOBS,
                           .bytes = STORE_PURGE_BYTES };
    struct store_purged *purged = &command->purged;
    int rc;

    memset(purged, 0, sizeof(*purged)); /* a batch that failed is tried again */
    rc = purge_by_age(&purge, &command->limits, &purged->by_age);
    if (rc == SQLITE_OK)
        rc = purge_by_size(&purge, &command->limits, &purged->by_size);
    purged->more = !purge.jobs || !purge.bytes;
    return rc;
}
