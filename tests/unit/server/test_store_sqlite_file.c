/* SPDX-License-Identifier: MIT */
/* The database file: what is refused, how it is made, upgraded and made smaller. */
#include "tests/unit/server/test_store_sqlite_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Everything in the directory but the lock: names, sizes and bytes in one sum. */
static uint64_t fingerprint(const struct fixture *fx)
{
    DIR *dir = opendir(fx->dir);
    struct dirent *entry;
    uint64_t sum = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        uint64_t hash = 14695981039346656037u;
        FILE *file = fopen(path_of(fx, entry->d_name), "rb");
        int c;

        if (entry->d_name[0] != '.' && !strstr(entry->d_name, ".lock")) {
            for (const char *at = entry->d_name; *at; at++)
                hash = (hash ^ (uint8_t)*at) * 1099511628211u;
            while (file && (c = getc(file)) != EOF)
                hash = (hash ^ (uint8_t)c) * 1099511628211u;
            sum += hash;
        }
        if (file)
            fclose(file);
    }
    closedir(dir);
    return sum;
}

/* Of a closed store: opening fails with this status, says why, and changes nothing. */
static void assert_refused(struct fixture *fx, enum status expected, const char *why)
{
    struct error_text err = { "" };
    struct store *store = NULL;
    uint64_t before = fingerprint(fx);

    assert_int_equal(store_open_sqlite(fx->dir, &fixture_events, fx, &store, &err),
                     expected);
    assert_null(store);
    if (!strstr(err.text, why) || !strstr(err.text, fx->dir))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    assert_true(fingerprint(fx) == before);
}

static void write_file(const struct fixture *fx, const char *name, const char *content)
{
    FILE *file = fopen(path_of(fx, name), "wb");

    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

/* ---- opening ---------------------------------------------------------------------- */

static void a_new_database_says_whose_it_is(void **state)
{
    struct fixture *fx = *state;
    struct store_info info;
    struct stat st;

    store_get_info(fx->store, &info);
    assert_string_equal(info.kind, "sqlite");
    assert_string_equal(info.path, path_of(fx, "poold.db"));
    assert_int_equal(info.schema_version, sqlite_migration_count);
    assert_true(info.database_bytes > 0);
    close_store(fx);
    assert_int_equal(ask(fx, "PRAGMA application_id"), SQLITE_FILE_APPLICATION_ID);
    assert_int_equal(ask(fx, "PRAGMA user_version"), sqlite_migration_count);
    assert_int_equal(ask(fx, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
    assert_int_equal(stat(path_of(fx, "poold.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void closing_leaves_the_wal_empty(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    assert_int_equal(access(path_of(fx, "poold.db-wal"), F_OK), 0);
    close_store(fx);
    assert_int_not_equal(access(path_of(fx, "poold.db-wal"), F_OK), 0);
    job_spec_unref(spec);
}

static void an_unfinished_creation_is_begun_anew(void **state)
{
    struct fixture *fx = *state;

    close_store(fx);
    assert_int_equal(unlink(path_of(fx, "poold.db")), 0);
    write_file(fx, "poold.db.new", "half");
    fixture_open(fx);
    assert_int_not_equal(access(path_of(fx, "poold.db.new"), F_OK), 0);
}

static void an_empty_file_is_refused(void **state)
{
    close_store(*state);
    write_file(*state, "poold.db", "");
    assert_refused(*state, ST_CORRUPT, "is empty");
}

static void a_text_file_is_refused(void **state)
{
    close_store(*state);
    write_file(*state, "poold.db", "these are my notes, do not overwrite them\n");
    assert_refused(*state, ST_FOREIGN, "not an SQLite database");
}

static void a_directory_in_place_of_the_file_is_refused(void **state)
{
    struct fixture *fx = *state;

    close_store(fx);
    assert_int_equal(unlink(path_of(fx, "poold.db")), 0);
    assert_int_equal(mkdir(path_of(fx, "poold.db"), 0700), 0);
    assert_refused(fx, ST_FOREIGN, "not a regular file");
}

static void a_truncated_file_is_refused(void **state)
{
    struct fixture *fx = *state;

    close_store(fx);
    assert_int_equal(truncate(path_of(fx, "poold.db"), 8192), 0);
    assert_refused(fx, ST_CORRUPT, "malformed");
    assert_int_equal(truncate(path_of(fx, "poold.db"), 50), 0);
    assert_refused(fx, ST_CORRUPT, "is cut off");
}

static void a_file_with_random_bytes_in_it_is_refused(void **state)
{
    struct fixture *fx = *state;
    int fd;

    close_store(fx);
    fd = open(path_of(fx, "poold.db"), O_RDWR);
    assert_true(fd >= 0);
    for (int page = 1; page < 8; page++)
        assert_int_equal(pwrite(fd, "garbage!", 8, page * 4096), 8);
    close(fd);
    assert_refused(fx, ST_CORRUPT, "");
}

static void a_database_of_another_program_is_refused(void **state)
{
    close_store(*state);
    change(*state, "PRAGMA application_id = 1");
    assert_refused(*state, ST_FOREIGN, "another program");
}

static void a_newer_schema_is_refused(void **state)
{
    close_store(*state);
    change(*state, "PRAGMA user_version = 1000");
    assert_refused(*state, ST_NEWER, "schema version 1000");
}

static void a_wal_without_its_database_is_refused(void **state)
{
    struct fixture *fx = *state;

    close_store(fx);
    assert_int_equal(unlink(path_of(fx, "poold.db")), 0);
    write_file(fx, "poold.db-wal", "frames");
    assert_refused(fx, ST_CORRUPT, "is missing");
}

static void copy_file(const struct fixture *fx, const char *from, const char *to)
{
    FILE *in = fopen(path_of(fx, from), "rb"), *out = fopen(path_of(fx, to), "wb");
    int c;

    assert_non_null(in);
    assert_non_null(out);
    while ((c = getc(in)) != EOF)
        putc(c, out);
    fclose(in);
    fclose(out);
}

/* Leaves the files that a killed server leaves, under other names. */
static void copy_of_open(struct fixture *fx, const char *db, const char *wal)
{
    copy_file(fx, "poold.db", db);
    copy_file(fx, "poold.db-wal", wal);
}

/* Two seconds without a command, and there is a checkpoint. */
static void wait_for_an_empty_wal(const struct fixture *fx)
{
    struct stat wal = { .st_size = 1 };

    for (int i = 0; i < 2000 && wal.st_size > 0; i++) {
        assert_int_equal(stat(path_of(fx, "poold.db-wal"), &wal), 0);
        usleep(10000);
    }
    assert_int_equal(wal.st_size, 0);
}

/* The second database is the first with an identity of its own: all else is where it is
 * in the first, so nothing else tells them apart. */
static void the_wal_of_another_database_is_refused(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx), *more = spec_of(fx);

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    copy_of_open(fx, "first.db", "first.wal");
    close_store(fx);
    change(fx, "UPDATE identity SET bytes = randomblob(16)");
    fixture_open(fx);
    assert_int_equal(put_job(fx, more, JOB_QUEUED), ST_OK);
    wait_for_an_empty_wal(fx);
    assert_int_equal(put_status(fx, more, JOB_RUNNING), ST_OK);
    copy_of_open(fx, "second.db", "second.wal");
    close_store(fx);

    copy_file(fx, "first.wal", "poold.db-wal");
    copy_file(fx, "second.db", "poold.db");
    assert_refused(fx, ST_CORRUPT, "log of another database");
    copy_file(fx, "second.wal", "poold.db-wal");
    copy_file(fx, "first.db", "poold.db");
    assert_refused(fx, ST_CORRUPT, "log of another database");
    copy_file(fx, "second.db", "poold.db");
    fixture_open(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job"), 2);
    job_spec_unref(spec);
    job_spec_unref(more);
}

/* What each new WAL changes is the mark beside it. */
static void an_identity_never_changes(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);

    close_store(fx);
    change(fx, "CREATE TABLE before AS SELECT bytes, mark FROM identity");
    fixture_open(fx);
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    reopen(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM identity JOIN before USING (bytes)"),
                     1);
    assert_int_equal(ask(fx, "SELECT count(*) FROM identity JOIN before USING (mark)"),
                     0);
    assert_int_equal(ask(fx, "SELECT length(bytes) + length(mark) FROM identity"), 32);
    job_spec_unref(spec);
}

static void a_second_server_is_refused_and_the_first_goes_on(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct error_text err = { "" };
    struct store *second = NULL;

    assert_int_equal(store_open_sqlite(fx->dir, &fixture_events, fx, &second, &err),
                     ST_BUSY);
    assert_non_null(strstr(err.text, "another poold"));
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    job_spec_unref(spec);
}

static void a_directory_that_may_not_be_written_is_denied(void **state)
{
    struct fixture *fx = *state;
    struct error_text err = { "" };
    struct store *store = NULL;
    bool root = geteuid() == 0;
    enum status st;

    close_store(fx);
    assert_int_equal(chmod(fx->dir, 0555), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    st = store_open_sqlite(fx->dir, &fixture_events, fx, &store, &err);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(fx->dir, 0700), 0);
    assert_int_equal(st, ST_DENIED);
    assert_non_null(strstr(err.text, fx->dir));
}

static void a_missing_directory_is_made_but_not_its_parents(void **state)
{
    struct fixture *fx = *state;
    struct error_text err = { "" };
    struct store *store = NULL;
    char dir[128];

    snprintf(dir, sizeof(dir), "%s/a/b", fx->dir);
    assert_int_equal(store_open_sqlite(dir, &fixture_events, fx, &store, &err), ST_IO);
    assert_non_null(strstr(err.text, dir));
    *strrchr(dir, '/') = '\0';
    assert_int_equal(store_open_sqlite(dir, &fixture_events, fx, &store, &err), ST_OK);
    store_close(store);
}

static void a_path_with_special_characters_works(void **state)
{
    struct fixture *fx = *state;
    struct error_text err = { "" };
    struct store *store = NULL;
    char dir[128];

    snprintf(dir, sizeof(dir), "%s/a b?c#d%%41", fx->dir);
    for (int i = 0; i < 2; i++) { /* made, then looked at */
        assert_int_equal(store_open_sqlite(dir, &fixture_events, fx, &store, &err),
                         ST_OK);
        store_close(store);
    }
}

static void the_file_shrinks_after_large_jobs_are_deleted(void **state)
{
    struct fixture *fx = *state;
    struct sqlite_writer writer = { 0 };
    struct error_text err = { "" };
    char *input = malloc(12 << 20);
    struct job_spec *large, *small = spec_of(fx);
    int64_t before, after;

    assert_non_null(input);
    memset(input, '1', 12 << 20);
    input[(12 << 20) - 1] = '\0';
    large = spec_make(spec_plan(fx), input, "");
    assert_int_equal(put_job(fx, small, JOB_QUEUED), ST_OK);
    assert_int_equal(put_job(fx, large, JOB_QUEUED), ST_OK);
    assert_int_equal(delete_job(fx, large->id), ST_OK);
    close_store(fx);
    before = ask(fx, "PRAGMA page_count");
    assert_int_equal(sqlite_writer_open(&writer, path_of(fx, "poold.db"), &err), ST_OK);
    assert_int_equal(sqlite_writer_shrink(&writer), SQLITE_OK);
    sqlite_writer_close(&writer);
    after = ask(fx, "PRAGMA page_count");
    assert_true(before > 3000 && after < before - 2000);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job"), 1);
    job_spec_unref(large);
    job_spec_unref(small);
    free(input);
}

/* ---- migrations ------------------------------------------------------------------- */

/* Migrates the closed store's database with these scripts, as a later version would. */
static enum status migrate(struct fixture *fx, const char *next, int *ret_version)
{
    const unsigned char *migrations[32];
    int count = sqlite_migration_count;
    char path[128];
    struct sqlite_file file = { .dir = fx->dir, .path = path };
    struct error_text err = { "" };
    enum status st;
    sqlite3 *db;

    assert_in_range(count, 1, 31);
    for (int i = 0; i < count; i++)
        migrations[i] = sqlite_migrations[i];
    migrations[count] = (const unsigned char *)next;
    strcpy(path, path_of(fx, "poold.db"));
    assert_int_equal(sqlite_open_writer(path, &db, &err), ST_OK);
    st = sqlite_migrate(db, &file, migrations, count + 1, ret_version, &err);
    sqlite3_close(db);
    return st;
}

static void an_old_schema_is_copied_and_upgraded(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    char name[32];
    int64_t number;
    sqlite3 *copy;
    int version;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    close_store(fx);
    assert_int_equal(migrate(fx, "ALTER TABLE job ADD COLUMN colour TEXT", &version),
                     ST_OK);
    assert_int_equal(version, sqlite_migration_count + 1);
    assert_int_equal(ask(fx, "PRAGMA user_version"), version);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job WHERE colour IS NULL"), 1);
    (void)snprintf(name, sizeof(name), "poold.db.v%d.bak", sqlite_migration_count);
    assert_int_equal(sqlite3_open(path_of(fx, name), &copy), SQLITE_OK);
    assert_int_equal(sqlite_number(copy, "PRAGMA user_version", &number), SQLITE_OK);
    assert_int_equal(number, sqlite_migration_count);
    assert_int_equal(sqlite_number(copy, "SELECT count(*) FROM job", &number), SQLITE_OK);
    assert_int_equal(number, 1);
    sqlite3_close(copy);
    job_spec_unref(spec);
}

/* Undoes the migrations from 0003 on; each new one adds its part. */
/* As schema/0002_retention.sql has them, as far as a migration has to find them. */
#define VERSION_2_TALLY                                                                  \
    "CREATE INDEX job_finished ON job (gone, finished_at_ms) WHERE finished_at_ms > 0; " \
    "CREATE INDEX job_result_due ON job (finished_at_ms + result_ttl_ms) "               \
    "WHERE finished_at_ms > 0 AND gone = 0; "                                            \
    "CREATE TRIGGER job_tally_insert AFTER INSERT ON job BEGIN SELECT 1; END; "          \
    "CREATE TRIGGER job_tally_update AFTER UPDATE ON job BEGIN SELECT 1; END; "          \
    "CREATE TRIGGER job_tally_delete AFTER DELETE ON job BEGIN SELECT 1; END; "
#define BACK_TO_VERSION_2                                                                \
    "DROP TABLE delivery; ALTER TABLE job DROP COLUMN callback; "                        \
    "ALTER TABLE job DROP COLUMN error_callback; DROP TABLE attempt; "                   \
    "DROP TABLE event_run; DROP TABLE pool; DROP TABLE body_part; "                      \
    "DROP TABLE outcome_text; DROP TABLE identity; "                                     \
    "ALTER TABLE job DROP COLUMN result; ALTER TABLE job DROP COLUMN result_checksum; "  \
    "DROP TABLE job_log; DROP INDEX job_owner; DROP INDEX job_idempotency_key; "         \
    "ALTER TABLE job DROP COLUMN owner; ALTER TABLE job DROP COLUMN traceparent; "       \
    "ALTER TABLE job DROP COLUMN forgiven; ALTER TABLE job DROP COLUMN tracestate; "     \
    "CREATE UNIQUE INDEX job_idempotency_key ON job (idempotency_key) "                  \
    "WHERE idempotency_key IS NOT NULL; DROP INDEX "                                     \
    "job_over; " VERSION_2_TALLY "PRAGMA user_version = 2"

static void jobs_of_the_schema_without_an_outbox_stay(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer got;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    close_store(fx);
    change(fx, BACK_TO_VERSION_2);
    fixture_open(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM delivery"), 0);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    assert_null(got.job.spec->callback);
    answer_clear(&got);
    assert_int_equal(put_status(fx, spec, JOB_SUCCEEDED), ST_OK);
    job_spec_unref(spec);
}

static void a_failed_upgrade_changes_nothing(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct answer got;
    int version;

    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    close_store(fx);
    assert_int_not_equal(
        migrate(fx, "DELETE FROM job; ALTER TABLE nothing ADD COLUMN x TEXT", &version),
        ST_OK);
    assert_int_equal(ask(fx, "PRAGMA user_version"), sqlite_migration_count);
    fixture_open(fx);
    assert_int_equal(get_job(fx, spec->id, false, &got), ST_OK);
    answer_clear(&got);
    job_spec_unref(spec);
}

#define JOB_OF_VERSION_1                                                                 \
    "INSERT INTO job VALUES (%lld, x'%s', 'apply', 'durable', 'square', 'default', 0, "  \
    "1, "                                                                                \
    "0, 1700000000000, 0, 0, 0, 1000, 0, 2, 1000, 60000, 2.0, 1, 0, 0, 0, NULL, NULL, "  \
    "%s, 7, 3, %lld, '%s', 0, 0, 0, 0, %d, NULL, CAST('[5]' AS BLOB))"

static void insert_of_version_1(sqlite3 *db, struct uuid id, const char *key,
                                const char *state, int finished_at_ms)
{
    uint64_t sum = sqlite_body_checksum(id, 3, (struct text){ "[5]", 3 });
    char hex[33];
    char *sql;

    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", id.bytes[i]);
    sql = sqlite3_mprintf(JOB_OF_VERSION_1, (long long)uuid_key(id), hex, key,
                          (long long)sum, state, finished_at_ms);
    assert_int_equal(sqlite_run(db, sql), SQLITE_OK);
    sqlite3_free(sql);
}

/* Puts a database as version 1 made it in place of the store's. */
static void make_version_1(struct fixture *fx, struct uuid over, struct uuid queued)
{
    sqlite3 *db;

    close_store(fx);
    assert_int_equal(unlink(path_of(fx, "poold.db")), 0);
    assert_int_equal(sqlite3_open(path_of(fx, "poold.db"), &db), SQLITE_OK);
    assert_int_equal(
        sqlite_run(db, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;"
                       "PRAGMA application_id = 1886350436; PRAGMA user_version = 1"),
        SQLITE_OK);
    assert_int_equal(sqlite_run(db, (const char *)sqlite_migrations[0]), SQLITE_OK);
    insert_of_version_1(db, over, "'k'", "succeeded", 5000);
    insert_of_version_1(db, queued, "NULL", "queued", 0);
    assert_int_equal(
        sqlite_run(db, "INSERT INTO outcome SELECT key, 0, 1, 0, 0, CAST('25' AS BLOB) "
                       "FROM job WHERE state = 'succeeded'; PRAGMA journal_mode = WAL"),
        SQLITE_OK);
    sqlite3_close(db);
}

static void jobs_of_version_1_are_upgraded(void **state)
{
    struct fixture *fx = *state;
    struct uuid over = uuid_next(&fx->ids, 1700000000000);
    struct uuid queued = uuid_next(&fx->ids, 1700000000000);
    struct answer got;

    assert_int_equal(SQLITE_FILE_APPLICATION_ID, 1886350436);
    make_version_1(fx, over, queued);
    fixture_open(fx);
    assert_int_equal(access(path_of(fx, "poold.db.v1.bak"), R_OK), 0);
    assert_int_equal(get_job(fx, queued, false, &got), ST_OK);
    assert_text_is(got.job.spec->input, "[5]");
    assert_null(got.job.spec->unique_key);
    answer_clear(&got);
    assert_int_equal(get_job(fx, over, false, &got), ST_OK);
    assert_int_equal(got.job.status.bytes, 5);
    assert_false(got.job.gone);
    answer_clear(&got);
    close_store(fx);
    assert_int_equal(ask(fx, "PRAGMA user_version"), sqlite_migration_count);
    assert_int_equal(ask(fx, "SELECT finished_jobs FROM tally"), 1);
    assert_int_equal(ask(fx, "SELECT finished_bytes FROM tally"), 5);
}

static void a_database_of_version_2_is_upgraded(void **state)
{
    struct fixture *fx = *state;
    struct job_spec *spec = spec_of(fx);
    struct blob *attempt = blob_new("{}", 2);
    struct answer answer = { 0 };

    assert_non_null(attempt);
    assert_int_equal(put_job(fx, spec, JOB_QUEUED), ST_OK);
    close_store(fx);
    change(fx, BACK_TO_VERSION_2);
    fixture_open(fx);
    store_put_attempt(fx->store, spec, 1, attempt, note_done, &answer);
    blob_unref(attempt);
    wait_for(fx, &answer, 1);
    assert_int_equal(answer.st, ST_OK);
    job_spec_unref(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SQLITE(a_new_database_says_whose_it_is),
        SQLITE(closing_leaves_the_wal_empty),
        SQLITE(an_unfinished_creation_is_begun_anew),
        SQLITE(an_empty_file_is_refused),
        SQLITE(a_text_file_is_refused),
        SQLITE(a_directory_in_place_of_the_file_is_refused),
        SQLITE(a_truncated_file_is_refused),
        SQLITE(a_file_with_random_bytes_in_it_is_refused),
        SQLITE(a_database_of_another_program_is_refused),
        SQLITE(a_newer_schema_is_refused),
        SQLITE(a_wal_without_its_database_is_refused),
        SQLITE(the_wal_of_another_database_is_refused),
        SQLITE(an_identity_never_changes),
        SQLITE(a_second_server_is_refused_and_the_first_goes_on),
        SQLITE(a_directory_that_may_not_be_written_is_denied),
        SQLITE(a_missing_directory_is_made_but_not_its_parents),
        SQLITE(a_path_with_special_characters_works),
        SQLITE(the_file_shrinks_after_large_jobs_are_deleted),
        SQLITE(an_old_schema_is_copied_and_upgraded),
        SQLITE(jobs_of_the_schema_without_an_outbox_stay),
        SQLITE(a_failed_upgrade_changes_nothing),
        SQLITE(jobs_of_version_1_are_upgraded),
        SQLITE(a_database_of_version_2_is_upgraded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
