/* SPDX-License-Identifier: MIT */
/*
 * Is the WAL beside a database its own? SQLite does not ask: it plays back whatever is
 * sound in itself, and the result is the other database, or a mix of two.
 *
 * A database has 16 random bytes, its identity. They are read twice: from the main file
 * alone, and as they are with the WAL. So that the second look cannot miss, the first
 * transaction in each WAL writes the two pages that it goes by: that of the row, and the
 * first one, which leads to it. What it changes is the mark beside the identity, always of
 * the same length, so that the identity is at the same place in both versions of the page
 * and a write of it that was cut off is no difference.
 *
 * Both looks leave every file as it is, the -shm file included: one takes the main file
 * for one that does not change, the other keeps the index of the WAL in its own memory,
 * which SQLite does for a connection without locks. poold.db.lock stands in for those.
 */
#include "server/store_sqlite.h"

#include "common/buf.h"

#include <stdio.h>
#include <string.h>

#define IDENTITY_LEN 16
#define ALONE        "immutable=1"
#define WITH_WAL     "vfs=unix-none"

int sqlite_identity_mark(sqlite3 *db, int version)
{
    char sql[128];

    /* Written always, also when it was that before. */
    snprintf(sql, sizeof(sql),
             "UPDATE identity SET mark = randomblob(16); PRAGMA user_version = %d",
             version);
    return sqlite_run(db, sql);
}

void sqlite_add_uri(struct buf *uri, const char *path, const char *parameter)
{
    buf_add_str(uri, "file:");
    for (const char *c = path; *c; c++) {
        if (strchr("%?#", *c))
            buf_addf(uri, "%%%02X", (unsigned char)*c);
        else
            buf_add_char(uri, *c);
    }
    buf_addf(uri, "?%s", parameter);
}

/* Nothing here may read the file before the locking mode is set. */
static int open_view(const char *path, const char *parameter, sqlite3 **ret_db)
{
    struct buf uri = BUF_INIT;
    int rc = SQLITE_NOMEM;

    *ret_db = NULL;
    sqlite_keep_read_errors();
    sqlite_add_uri(&uri, path, parameter);
    if (!uri.failed)
        rc = sqlite3_open_v2(uri.data, ret_db,
                             SQLITE_OPEN_READONLY | SQLITE_OPEN_URI |
                                 SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             NULL);
    buf_clear(&uri);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return sqlite_run(*ret_db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA mmap_size = 0;"
                               "PRAGMA cell_size_check = ON");
}

/* SQLITE_ROW: it has one. SQLITE_DONE, SQLITE_ERROR: it has none, no such table. */
static int read_identity(const char *path, const char *parameter,
                         uint8_t ret_bytes[IDENTITY_LEN])
{
    sqlite3_stmt *statement = NULL;
    sqlite3 *db;
    int rc = open_view(path, parameter, &db);

    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(
            db, "SELECT bytes FROM identity WHERE key = 1 AND length(bytes) = 16", -1,
            &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW && sqlite3_column_type(statement, 0) == SQLITE_BLOB)
        memcpy(ret_bytes, sqlite3_column_blob(statement, 0), IDENTITY_LEN);
    else if (rc == SQLITE_ROW)
        rc = SQLITE_DONE;
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return rc;
}

enum status sqlite_check_wal(const struct sqlite_file *file, struct error_text *err)
{
    uint8_t alone[IDENTITY_LEN], with_wal[IDENTITY_LEN];

    if (read_identity(file->path, ALONE, alone) != SQLITE_ROW)
        return ST_OK;
    switch (read_identity(file->path, WITH_WAL, with_wal)) {
    case SQLITE_ROW:
        if (memcmp(alone, with_wal, IDENTITY_LEN) == 0)
            return ST_OK;
        break;
    case SQLITE_DONE:
    case SQLITE_ERROR:
        break;
    default:
        return ST_OK; /* whatever is wrong with it, the next look says so */
    }
    return error_set(err, ST_CORRUPT,
                     "%s: is the write-ahead log of another database; move it away and "
                     "put back the one that came with %s, or restore both from a backup",
                     file->wal, file->path);
}
