/* SPDX-License-Identifier: MIT */
/*
 * Copies by VACUUM INTO: one read transaction, so the copy is the database at one moment,
 * without what was deleted. It is made under another name, in the folder where it is to be,
 * and gets its own when it is complete and on the disk.
 */
#include "server/store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEPS_BETWEEN_LOOKS 1000 /* of SQLite's machine: whether to stop */

static int on_progress(void *data)
{
    const atomic_bool *stop = data;

    return atomic_load(stop);
}

static void watch_stop(sqlite3 *db, const atomic_bool *stop)
{
    if (stop)
        sqlite3_progress_handler(db, STEPS_BETWEEN_LOOKS, on_progress, (void *)stop);
}

/* SQLite tells of the copy's file by the connection to the database. */
static enum status failure(const char *path, sqlite3 *db, int rc, struct error_text *err)
{
    if ((rc & 0xff) == SQLITE_INTERRUPT)
        return error_set(err, ST_CLOSED, "%s: the copying was ended", path);
    return sqlite_failure(path, db, rc, err);
}

static enum status write_copy(const char *dir, const char *draft, const atomic_bool *stop,
                              struct error_text *err)
{
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", draft);
    struct sqlite_file file;
    enum status st;
    sqlite3 *db;

    st = sql ? sqlite_file_look(dir, true, &file, &db, err)
             : error_set(err, ST_NO_MEMORY, "out of memory");
    if (st == ST_OK) {
        int rc = SQLITE_OK;

        watch_stop(db, stop);
        st = sqlite_make_private(draft, err);
        if (st == ST_OK)
            rc = sqlite_run(db, sql);
        if (rc != SQLITE_OK)
            st = failure(draft, db, rc, err);
        sqlite3_close(db);
        sqlite_file_clear(&file);
    }
    sqlite3_free(sql);
    return st;
}

/* As little as a start would accept, and more: every index. */
static enum status check_copy(const char *draft, const atomic_bool *stop,
                              struct error_text *err)
{
    int64_t sound = 0;
    sqlite3 *db;
    enum status st = sqlite_open(draft, SQLITE_OPEN_READONLY, &db, err);
    int rc;

    if (st != ST_OK)
        return st;
    watch_stop(db, stop);
    st = sqlite_check_identity(db, draft, err);
    if (st == ST_OK) {
        rc = sqlite_number(
            db, "SELECT integrity_check = 'ok' FROM pragma_integrity_check", &sound);
        if (rc != SQLITE_OK)
            st = failure(draft, db, rc, err);
        else if (!sound)
            st = error_set(err, ST_CORRUPT, "%s: the copy is damaged", draft);
    }
    sqlite3_close(db);
    return st;
}

/* "DIR/" of DIR/NAME, "" of NAME: how many bytes. */
static int folder_len(const char *file)
{
    const char *slash = strrchr(file, '/');

    return slash ? (int)(slash - file) + 1 : 0;
}

static enum status sync_folder_of(const char *file, struct error_text *err)
{
    char *folder = sqlite3_mprintf("%.*s.", folder_len(file), file);
    enum status st = folder ? sqlite_sync_path(folder, err)
                            : error_set(err, ST_NO_MEMORY, "out of memory");

    sqlite3_free(folder);
    return st;
}

/* Gives the draft its name, unless another file has it. */
static enum status publish(const char *draft, const char *file, struct error_text *err)
{
    if (link(draft, file) == 0)
        return sync_folder_of(file, err);
    if (errno == EEXIST)
        return error_set(err, ST_EXISTS, "%s: is there already", file);
    return sqlite_errno_failure(file, err);
}

/* DIR/.NAME.part: no other copy's name, as those over HTTP have no dot in front. */
static char *draft_of(const char *file)
{
    int len = folder_len(file);

    return sqlite3_mprintf("%.*s.%s.part", len, file, file + len);
}

enum status store_copy_sqlite(const char *dir, const char *file, const atomic_bool *stop,
                              uint64_t *ret_bytes, struct error_text *err)
{
    char *draft = draft_of(file);
    struct stat copy;
    enum status st = ST_OK;

    *ret_bytes = 0;
    if (!draft)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    if (lstat(file, &copy) == 0)
        st = error_set(err, ST_EXISTS, "%s: is there already", file);
    else
        (void)unlink(draft); /* of a copy that was interrupted */
    if (st == ST_OK) {
        st = write_copy(dir, draft, stop, err);
        if (st == ST_OK)
            st = check_copy(draft, stop, err);
        if (st == ST_OK)
            st = sqlite_sync_path(draft, err);
        if (st == ST_OK && stat(draft, &copy) != 0)
            st = sqlite_errno_failure(draft, err);
        if (st == ST_OK)
            st = publish(draft, file, err);
        (void)unlink(draft);
    }
    if (st == ST_OK)
        *ret_bytes = (uint64_t)copy.st_size;
    sqlite3_free(draft);
    return st;
}
