/* SPDX-License-Identifier: MIT */
/*
 * The database file: whose it is, whether it is sound, how it comes into being.
 *
 * SQLite takes an empty file for an empty database and repairs in silence what it can, so
 * a file is looked at before it is opened for writing: with read(2) while this process
 * has no connection to it (closing any descriptor of the file would drop SQLite's locks),
 * then through a read-only connection. What is not a sound database of poold's is refused
 * and left as it is. For the same reason a new database is made under another name and
 * renamed when it is complete: an empty poold.db is never a creation that was
 * interrupted.
 */
#include "server/store_sqlite.h"

#include "common/buf.h"
#include "common/fd.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Up to here the whole file is checked at each start, above only after an unclean stop.
 */
#define CHECK_ALWAYS_BYTES (1ll << 30)

#define FIRST_PAGE_LEN        4096
#define HEADER_LEN            100 /* https://www.sqlite.org/fileformat.html */
#define HEADER_USER_VERSION   60
#define HEADER_APPLICATION_ID 68

/* NULL without memory. */
static char *join(const char *first, const char *second)
{
    size_t len = strlen(first);
    char *joined = mem_alloc(len + strlen(second) + 1);

    if (!joined)
        return NULL;
    memcpy(joined, first, len);
    strcpy(joined + len, second);
    return joined;
}

/* ---- a look at what is there ------------------------------------------------------ */

static uint32_t big_endian(const uint8_t bytes[4])
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           bytes[3];
}

static enum status check_header(const char *path, struct error_text *err)
{
    uint8_t header[HEADER_LEN];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : pread(fd, header, sizeof(header), 0);
    uint32_t version;

    if (len < 0) {
        enum status st = sqlite_errno_failure(path, err);

        fd_close(&fd);
        return st;
    }
    fd_close(&fd);
    if (len == 0)
        return error_set(err, ST_CORRUPT,
                         "%s: is empty; restore it from a backup, or delete it to start "
                         "without any jobs",
                         path);
    if (len < 16 || memcmp(header, "SQLite format 3", 16) != 0)
        return error_set(err, ST_FOREIGN, "%s: is not an SQLite database", path);
    if (len < HEADER_LEN)
        return error_set(err, ST_CORRUPT, "%s: is cut off after %zd bytes", path, len);
    if (big_endian(header + HEADER_APPLICATION_ID) != SQLITE_FILE_APPLICATION_ID)
        return error_set(err, ST_FOREIGN, "%s: is the database of another program", path);
    version = big_endian(header + HEADER_USER_VERSION);
    if (version > (uint32_t)sqlite_migration_count)
        return error_set(err, ST_NEWER, SQLITE_NEWER_TEXT, path, (int64_t)version,
                         sqlite_migration_count);
    return ST_OK;
}

/* quick_check gives one row that says "ok", or rows that say what is wrong. */
static enum status quick_check(sqlite3 *db, const char *path, struct error_text *err)
{
    sqlite3_stmt *statement;
    enum status st = ST_OK;
    int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL);
    const char *said;

    if (rc != SQLITE_OK)
        return sqlite_failure(path, db, rc, err);
    rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW) {
        st = sqlite_failure(path, db, rc, err);
    } else {
        said = (const char *)sqlite3_column_text(statement, 0);
        if (!said || strcmp(said, "ok") != 0)
            st =
                error_set(err, ST_CORRUPT, "%s: is damaged; restore it from a backup: %s",
                          path, said ? said : "");
    }
    sqlite3_finalize(statement);
    return st;
}

/* With a WAL the header that counts may be in there. */
enum status sqlite_check_identity(sqlite3 *db, const char *path, struct error_text *err)
{
    int64_t id, version;
    int rc = sqlite_number(db, "PRAGMA application_id", &id);

    if (rc == SQLITE_OK)
        rc = sqlite_number(db, "PRAGMA user_version", &version);
    if (rc != SQLITE_OK)
        return sqlite_failure(path, db, rc, err);
    if (id != SQLITE_FILE_APPLICATION_ID)
        return error_set(err, ST_FOREIGN, "%s: is the database of another program", path);
    if (version > sqlite_migration_count)
        return error_set(err, ST_NEWER, SQLITE_NEWER_TEXT, path, version,
                         sqlite_migration_count);
    return ST_OK;
}

/* Without a WAL the file is opened as one that does not change: that leaves no trace. */
static enum status open_unchanged(const struct sqlite_file *file, bool unclean,
                                  sqlite3 **ret_db, struct error_text *err)
{
    struct buf uri = BUF_INIT;
    enum status st;

    if (unclean)
        buf_add_str(&uri, file->path);
    else
        sqlite_add_uri(&uri, file->path, "immutable=1");
    if (uri.failed)
        st = error_set(err, ST_NO_MEMORY, "out of memory");
    else
        st = sqlite_open(uri.data, SQLITE_OPEN_READONLY | (unclean ? 0 : SQLITE_OPEN_URI),
                         ret_db, err);
    buf_clear(&uri);
    if (st == ST_OK)
        sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return st;
}

static enum status check_content(const struct sqlite_file *file, bool unclean, off_t size,
                                 struct error_text *err)
{
    sqlite3 *db;
    enum status st = open_unchanged(file, unclean, &db, err);

    if (st != ST_OK)
        return st;
    st = sqlite_check_identity(db, file->path, err);
    if (st == ST_OK && (unclean || size < CHECK_ALWAYS_BYTES))
        st = quick_check(db, file->path, err);
    sqlite3_close(db);
    return st;
}

/* Of some pages SQLite tells a read that has failed as damage. A connection without anything
 * in its cache fails to read once more, or finds nothing. */
static enum status check_twice(const struct sqlite_file *file, bool unclean, off_t size,
                               struct error_text *err)
{
    enum status st = check_content(file, unclean, size, err);

    return st == ST_CORRUPT ? check_content(file, unclean, size, err) : st;
}

static bool is_unclean(const struct sqlite_file *file)
{
    struct stat wal;

    return stat(file->wal, &wal) == 0 && wal.st_size > 0;
}

static enum status check_file(const struct sqlite_file *file, bool *ret_exists,
                              struct error_text *err)
{
    struct stat db;
    bool unclean = is_unclean(file);
    enum status st;

    *ret_exists = stat(file->path, &db) == 0;
    if (!*ret_exists && errno != ENOENT)
        return sqlite_errno_failure(file->path, err);
    if (!*ret_exists && unclean)
        return error_set(err, ST_CORRUPT,
                         "%s: is missing, but %s is there; restore both, or move the "
                         "latter away to start without any jobs",
                         file->path, file->wal);
    if (!*ret_exists)
        return ST_OK;
    if (!S_ISREG(db.st_mode))
        return error_set(err, ST_FOREIGN, "%s: is not a regular file", file->path);
    st = check_header(file->path, err);
    /* A power cut while the WAL is put into the database may leave anything in its first
     * page, and the WAL still has it. What is empty or cut off is no such case, and SQLite
     * would delete the WAL of an empty file. */
    if (unclean && (st == ST_FOREIGN || st == ST_NEWER) && db.st_size >= FIRST_PAGE_LEN &&
        check_content(file, true, db.st_size, NULL) == ST_OK)
        return ST_OK;
    if (st == ST_OK && unclean)
        st = sqlite_check_wal(file, err);
    if (st == ST_OK)
        st = check_twice(file, unclean, db.st_size, err);
    return st;
}

/* ---- life cycle ------------------------------------------------------------------- */

static enum status lock_file(const char *path, int *ret_fd, struct error_text *err)
{
    *ret_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*ret_fd < 0)
        return sqlite_errno_failure(path, err);
    if (flock(*ret_fd, LOCK_EX | LOCK_NB) == 0)
        return ST_OK;
    if (errno != EWOULDBLOCK)
        return sqlite_errno_failure(path, err);
    return error_set(err, ST_BUSY, "%s: another poold uses this directory", path);
}

/* Everything in a file that nobody looks at yet. In a rollback journal first: only the
 * last step makes it a WAL database, so that there is no WAL to be lost with the
 * renaming. */
static enum status fill_draft(const struct sqlite_file *file, const char *draft,
                              struct error_text *err)
{
    int version, fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    sqlite3 *db;
    enum status st;
    char *sql;
    int rc = SQLITE_NOMEM;

    if (fd < 0)
        return sqlite_errno_failure(draft, err);
    fd_close(&fd);
    st = sqlite_open_writer(draft, &db, err);
    if (st != ST_OK)
        return st;
    sql = sqlite3_mprintf("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;"
                          "PRAGMA application_id = %d",
                          SQLITE_FILE_APPLICATION_ID);
    if (sql)
        rc = sqlite_run(db, sql);
    sqlite3_free(sql);
    if (rc == SQLITE_OK)
        st = sqlite_migrate(db, file, sqlite_migrations, sqlite_migration_count, &version,
                            err);
    if (rc == SQLITE_OK && st == ST_OK)
        rc = sqlite_run(db, "PRAGMA journal_mode = WAL");
    if (rc != SQLITE_OK)
        st = sqlite_failure(draft, db, rc, err);
    sqlite3_close(db);
    return st;
}

static enum status create(const struct sqlite_file *file, struct error_text *err)
{
    static const char *const suffixes[] = { "", "-journal", "-wal", "-shm" };
    char *draft = join(file->path, ".new");
    enum status st;

    if (!draft)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char *leftover = join(draft, suffixes[i]);

        if (leftover)
            unlink(leftover);
        mem_free(leftover);
    }
    st = fill_draft(file, draft, err);
    if (st == ST_OK && rename(draft, file->path) != 0)
        st = sqlite_errno_failure(file->path, err);
    if (st != ST_OK)
        unlink(draft);
    mem_free(draft);
    if (st == ST_OK)
        st = sqlite_sync_path(file->dir, err);
    return st;
}

/* Plays back what a server that was killed has left in the WAL, and upgrades. The WAL is
 * empty afterwards. */
static enum status recover(const struct sqlite_file *file, int *ret_version,
                           struct error_text *err)
{
    sqlite3 *db;
    int64_t is_wal = 0;
    enum status st = sqlite_open_writer(file->path, &db, err);
    int rc;

    if (st != ST_OK)
        return st;
    st = sqlite_migrate(db, file, sqlite_migrations, sqlite_migration_count, ret_version,
                        err);
    if (st != ST_OK)
        goto out;
    rc = sqlite_run(db, "PRAGMA journal_mode = WAL");
    if (rc == SQLITE_OK)
        rc = sqlite_number(db, "SELECT journal_mode = 'wal' FROM pragma_journal_mode",
                           &is_wal);
    if (rc == SQLITE_OK)
        rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc != SQLITE_OK)
        st = sqlite_failure(file->path, db, rc, err);
    else if (!is_wal)
        st = error_set(err, ST_IO, "%s: this file system cannot hold a WAL database",
                       file->path);
out:
    sqlite3_close(db);
    return st;
}

static enum status make_directory(const char *dir, struct error_text *err)
{
    enum status st;
    char *parent;

    if (mkdir(dir, 0700) != 0)
        return errno == EEXIST ? ST_OK : sqlite_errno_failure(dir, err);
    parent = join(dir, "/..");
    if (!parent)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    st = sqlite_sync_path(parent, err);
    mem_free(parent);
    return st;
}

/* The paths in the directory; cleared again on failure. */
static enum status name_files(const char *dir, struct sqlite_file *ret_file,
                              struct error_text *err)
{
    ret_file->lock = -1;
    ret_file->dir = mem_strdup(dir);
    ret_file->path = join(dir, "/poold.db");
    ret_file->wal = join(dir, "/poold.db-wal");
    if (ret_file->dir && ret_file->path && ret_file->wal)
        return ST_OK;
    sqlite_file_clear(ret_file);
    return error_set(err, ST_NO_MEMORY, "out of memory");
}

static enum status take_lock(struct sqlite_file *file, struct error_text *err)
{
    char *lock = join(file->path, ".lock");
    enum status st = lock ? lock_file(lock, &file->lock, err)
                          : error_set(err, ST_NO_MEMORY, "out of memory");

    mem_free(lock);
    return st;
}

enum status sqlite_file_open(const char *dir, struct sqlite_file *ret_file,
                             int *ret_version, struct error_text *err)
{
    struct sqlite_file file = { .lock = -1 };
    enum status st = name_files(dir, &file, err);
    bool exists;

    if (st == ST_OK)
        st = make_directory(dir, err);
    if (st == ST_OK)
        st = take_lock(&file, err);
    if (st == ST_OK)
        st = check_file(&file, &exists, err);
    if (st == ST_OK && !exists)
        st = create(&file, err);
    if (st == ST_OK)
        st = recover(&file, ret_version, err);
    if (st != ST_OK)
        sqlite_file_clear(&file);
    *ret_file = file;
    return st;
}

enum status sqlite_file_look(const char *dir, bool may_be_used,
                             struct sqlite_file *ret_file, sqlite3 **ret_db,
                             struct error_text *err)
{
    struct sqlite_file file = { .lock = -1 };
    enum status st = name_files(dir, &file, err);

    if (st == ST_OK && access(file.path, F_OK) != 0 && errno == ENOENT &&
        !is_unclean(&file))
        st = error_set(err, ST_NOT_FOUND, "%s: there is no database", file.path);
    if (st == ST_OK)
        st = take_lock(&file, err);
    if (st == ST_OK)
        st = check_header(file.path, err);
    else if (st == ST_BUSY && may_be_used)
        st = ST_OK; /* what has the lock has checked it */
    if (st == ST_OK && file.lock >= 0 && is_unclean(&file))
        st = sqlite_check_wal(&file, err);
    if (st == ST_OK)
        st = open_unchanged(&file, file.lock < 0 || is_unclean(&file), ret_db, err);
    if (st == ST_OK) {
        st = sqlite_check_identity(*ret_db, file.path, err);
        if (st != ST_OK)
            sqlite3_close(*ret_db);
    }
    if (st != ST_OK)
        sqlite_file_clear(&file);
    *ret_file = file;
    return st;
}

void sqlite_file_clear(struct sqlite_file *file)
{
    fd_close(&file->lock);
    mem_free(file->dir);
    mem_free(file->path);
    mem_free(file->wal);
    *file = (struct sqlite_file){ .lock = -1 };
}
