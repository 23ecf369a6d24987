/* SPDX-License-Identifier: MIT */
/* Connections and the schema; see schema/README.md for both. */
#include "server/store_sqlite.h"

#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* schema/NNNN_*.sql, in order; the build makes an array of each, with a NUL behind it. */
#define MIGRATIONS(X)                                                                    \
    X(0001)                                                                              \
    X(0002)                                                                              \
    X(0003)                                                                              \
    X(0004)                                                                              \
    X(0005)                                                                              \
    X(0006)                                                                              \
    X(0007)                                                                              \
    X(0008)                                                                              \
    X(0009) X(0010) X(0011) X(0012) X(0013) X(0014) X(0015) X(0016) X(0017) X(0018)

#define X(number) extern const unsigned char embed_schema_##number[];
MIGRATIONS(X)
#undef X

const unsigned char *const sqlite_migrations[] = {
#define X(number) embed_schema_##number,
    MIGRATIONS(X)
#undef X
};
const int sqlite_migration_count =
    sizeof(sqlite_migrations) / sizeof(sqlite_migrations[0]);

#define CONNECTION_SETTINGS                                                              \
    "PRAGMA mmap_size = 0;" /* a read error would become a SIGBUS */                     \
    "PRAGMA cell_size_check = ON;"                                                       \
    "PRAGMA temp_store = MEMORY;"                                                        \
    "PRAGMA cache_size = -16384;"
#define WRITER_SETTINGS                                                                  \
    "PRAGMA synchronous = FULL;"                                                         \
    "PRAGMA wal_autocheckpoint = 0;"                                                     \
    "PRAGMA journal_size_limit = 67108864;"                                              \
    "PRAGMA secure_delete = FAST;"                                                       \
    "PRAGMA foreign_keys = ON;"

/* ---- failures --------------------------------------------------------------------- */

static enum status errno_status(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
        return ST_DENIED;
    case ENOSPC:
    case EDQUOT:
        return ST_STORAGE_FULL;
    case ENOMEM:
        return ST_NO_MEMORY;
    default:
        return ST_IO;
    }
}

enum status sqlite_errno_failure(const char *path, struct error_text *err)
{
    int error = errno;

    return error_set(err, errno_status(error), "%s: %s", path, strerror(error));
}

enum status sqlite_failure(const char *path, sqlite3 *db, int rc, struct error_text *err)
{
    enum status st = ST_IO;

    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        st = ST_NO_MEMORY;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        st = ST_BUSY;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        st = ST_CORRUPT;
        break;
    case SQLITE_FULL:
        st = ST_STORAGE_FULL;
        break;
    case SQLITE_PERM:
    case SQLITE_READONLY:
        st = ST_DENIED;
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR: /* without room for the -shm file, too */
        if (db)
            st = errno_status(sqlite3_system_errno(db));
        break;
    default:
        break;
    }
    return error_set(err, st, "%s: %s", path,
                     db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

enum status sqlite_make_private(const char *path, struct error_text *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return sqlite_errno_failure(path, err);
    fd_close(&fd);
    return ST_OK;
}

enum status sqlite_sync_path(const char *path, struct error_text *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum status st = ST_OK;

    if (fd < 0 || fsync(fd) != 0)
        st = sqlite_errno_failure(path, err);
    fd_close(&fd);
    return st;
}

int sqlite_run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int sqlite_number(sqlite3 *db, const char *sql, int64_t *ret_number)
{
    sqlite3_stmt *statement;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    *ret_number = 0;
    if (rc != SQLITE_OK)
        return rc;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *ret_number = sqlite3_column_int64(statement, 0);
    return sqlite3_finalize(statement);
}

int sqlite_prepare_all(sqlite3 *db, const char *const sql[], int count,
                       sqlite3_stmt *ret_statements[])
{
    int rc = SQLITE_OK;

    for (int i = 0; i < count && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &ret_statements[i], NULL);
    return rc;
}

/* ---- connections ------------------------------------------------------------------ */

enum status sqlite_open(const char *path, int flags, sqlite3 **ret_db,
                        struct error_text *err)
{
    enum status st = ST_OK;
    sqlite3 *db = NULL;
    int rc;

    sqlite_keep_read_errors();
    rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                         NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, SQLITE_BUSY_MS);
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        rc = sqlite_run(db, CONNECTION_SETTINGS);
    }
    if (rc != SQLITE_OK) {
        st = sqlite_failure(path, db, rc, err);
        sqlite3_close(db);
        return st;
    }
    *ret_db = db;
    return ST_OK;
}

enum status sqlite_open_writer(const char *path, sqlite3 **ret_db, struct error_text *err)
{
    enum status st = sqlite_open(path, SQLITE_OPEN_READWRITE, ret_db, err);
    int rc;

    if (st != ST_OK)
        return st;
    rc = sqlite_run(*ret_db, WRITER_SETTINGS);
    if (rc == SQLITE_OK)
        return ST_OK;
    st = sqlite_failure(path, *ret_db, rc, err);
    sqlite3_close(*ret_db);
    *ret_db = NULL;
    return st;
}

/* ---- schema ----------------------------------------------------------------------- */

/* A copy that is complete or not there at all. */
static enum status back_up(sqlite3 *db, const struct sqlite_file *file, int version,
                           struct error_text *err)
{
    char *copy = sqlite3_mprintf("%s.v%d.bak", file->path, version);
    char *draft = copy ? sqlite3_mprintf("%s.new", copy) : NULL;
    char *sql = draft ? sqlite3_mprintf("VACUUM INTO %Q", draft) : NULL;
    enum status st = ST_OK;
    int rc = SQLITE_NOMEM;

    if (sql) {
        unlink(draft);
        st = sqlite_make_private(draft, err);
        rc = st == ST_OK ? sqlite_run(db, sql) : SQLITE_OK;
    }
    if (rc != SQLITE_OK)
        st = sqlite_failure(file->path, db, rc, err);
    if (st == ST_OK)
        st = sqlite_sync_path(draft, err);
    if (st == ST_OK && rename(draft, copy) != 0)
        st = sqlite_errno_failure(copy, err);
    if (st == ST_OK)
        st = sqlite_sync_path(file->dir, err);
    if (st == ST_OK)
        log_info("database copied before its upgrade", "copy=%s", copy);
    sqlite3_free(sql);
    sqlite3_free(draft);
    sqlite3_free(copy);
    return st;
}

static int apply_all(sqlite3 *db, const unsigned char *const migrations[], int from,
                     int to)
{
    int rc = sqlite_run(db, "BEGIN IMMEDIATE");

    for (int i = from; i < to && rc == SQLITE_OK; i++) {
        rc = sqlite_run(db, (const char *)migrations[i]);
        if (rc == SQLITE_OK && FAULT(mid_migration))
            rc = SQLITE_IOERR;
    }
    if (rc == SQLITE_OK)
        rc = sqlite_identity_mark(db, to);
    if (rc == SQLITE_OK)
        rc = sqlite_run(db, "COMMIT");
    return rc;
}

enum status sqlite_migrate(sqlite3 *db, const struct sqlite_file *file,
                           const unsigned char *const migrations[], int count,
                           int *ret_version, struct error_text *err)
{
    enum status st = ST_OK;
    int64_t version;
    /* A migration that makes a table anew must not delete what refers to the old one. */
    int rc = sqlite_run(db, "PRAGMA foreign_keys = OFF");

    *ret_version = count;
    if (rc == SQLITE_OK)
        rc = sqlite_number(db, "PRAGMA user_version", &version);
    if (rc != SQLITE_OK)
        return sqlite_failure(file->path, db, rc, err);
    if (version > count)
        return error_set(err, ST_NEWER, SQLITE_NEWER_TEXT, file->path, version, count);
    if (version == count)
        return ST_OK;
    if (version > 0)
        st = back_up(db, file, (int)version, err);
    if (st != ST_OK)
        return st;
    rc = apply_all(db, migrations, (int)version, count);
    if (rc != SQLITE_OK) {
        st = sqlite_failure(file->path, db, rc, err);
        if (!sqlite3_get_autocommit(db))
            sqlite_run(db, "ROLLBACK");
    }
    return st;
}
