/* SPDX-License-Identifier: MIT */
/* Copies of a database, and what `poold check` finds in one. */
#include "common/clock.h"
#include "tests/unit/server/test_store_sqlite_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static struct job_spec *job_of_three(struct fixture *fx)
{
    struct job_spec plan = {
        .method = JOB_MAP,
        .durability = DURABILITY_DURABLE,
        .task = "square",
        .pool = "default",
        .item_count = 3,
        .created_at_ms = 1000,
        .result_ttl_ms = 1000,
        .backoff = { .initial_ms = 1, .max_ms = 10, .factor = 1 },
    };
    struct job_spec *spec;

    plan.id = uuid_next(&fx->ids, clock_wall_ms());
    plan.body = blob_new("[1,2,3]", 7);
    plan.input = blob_text(plan.body);
    spec = job_spec_new(&plan);
    blob_unref(plan.body);
    assert_non_null(spec);
    return spec;
}

/* A job that is over with two results and an error. Its id is given. */
static struct uuid put_finished(struct fixture *fx)
{
    struct job_spec *spec = job_of_three(fx);
    struct job_status status = { .state = JOB_FAILED,
                                 .completed = 2,
                                 .failed = 1,
                                 .started_at_ms = 1000,
                                 .finished_at_ms = 2000,
                                 .error = blob_new("{}", 2) };
    struct outcome outcomes[2] = {
        { .first = 0, .count = 2, .text = blob_new("1,4", 3) },
        { .first = 2, .count = 1, .is_error = true, .text = blob_new("{}", 2) },
    };
    struct answer answer = { 0 };
    struct uuid id = spec->id;

    store_put_finished(fx->store, spec, &status, outcomes, 2, NULL, NULL, note_done,
                       &answer);
    wait_for(fx, &answer, 1);
    assert_int_equal(answer.st, ST_OK);
    blob_unref(status.error);
    blob_unref(outcomes[0].text);
    blob_unref(outcomes[1].text);
    job_spec_unref(spec);
    return id;
}

static void put_queued(struct fixture *fx)
{
    struct job_spec *spec = job_of_three(fx);
    struct job_status status = { .state = JOB_QUEUED };
    struct answer answer = { 0 };

    store_put_job(fx->store, spec, &status, NULL, note_put, &answer);
    wait_for(fx, &answer, 1);
    assert_int_equal(answer.st, ST_OK);
    job_spec_unref(spec);
}

/* ---- checking ---------------------------------------------------------------------- */

struct found {
    unsigned count;
    char text[2048]; /* the lines */
};

static void on_finding(void *data, const char *text)
{
    struct found *found = data;
    size_t len = strlen(found->text);

    found->count++;
    (void)snprintf(found->text + len, sizeof(found->text) - len, "%s\n", text);
}

static enum status check(struct fixture *fx, struct found *ret_found,
                         struct store_check *ret_check)
{
    struct error_text err = { "" };

    memset(ret_found, 0, sizeof(*ret_found));
    return store_check_sqlite(fx->dir, on_finding, ret_found, ret_check, &err);
}

static void assert_sound(struct fixture *fx, uint64_t jobs)
{
    struct store_check report;
    struct found found;

    assert_int_equal(check(fx, &found, &report), ST_OK);
    assert_string_equal(found.text, "");
    assert_int_equal(report.findings, 0);
    assert_int_equal(report.jobs, jobs);
    assert_int_equal(report.schema_version, sqlite_migration_count);
}

static void a_sound_database_has_no_findings_and_stays_as_it_is(void **state)
{
    struct fixture *fx = *state;
    struct stat before, after;
    char wal[512];

    put_finished(fx);
    put_queued(fx);
    close_store(fx);
    assert_int_equal(stat(path_of(fx, "poold.db"), &before), 0);
    assert_sound(fx, 2);
    assert_int_equal(stat(path_of(fx, "poold.db"), &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
    (void)snprintf(wal, sizeof(wal), "%s", path_of(fx, "poold.db-wal"));
    assert_int_not_equal(access(wal, F_OK), 0); /* nor is anything left beside it */
}

static void a_new_database_is_sound(void **state)
{
    struct fixture *fx = *state;

    close_store(fx);
    assert_sound(fx, 0);
}

static void what_is_wrong_with_rows_is_found(void **state)
{
    static const struct {
        const char *sql, *says;
    } cases[] = {
        { "UPDATE job SET completed = 1, kept_bytes = kept_bytes", "not as many as" },
        { "UPDATE job SET finished_at_ms = 0", "its state and the time of its end" },
        { "UPDATE job SET error = NULL", "its state and its error" },
        { "UPDATE job SET state = 'succeeded', error = NULL, item_count = 4",
          "without an outcome for each item" },
        { "UPDATE job SET gone = 1", "it was stripped, and has a text" },
        { "UPDATE job SET gone = 1, state = 'queued', error = NULL, finished_at_ms = 0",
          "it was stripped before its end" },
        { "DELETE FROM outcome WHERE first = 2", "not as many as" },
        { "UPDATE outcome SET count = 2 WHERE first = 2", "items that it does not have" },
        { "UPDATE outcome SET count = 3 WHERE first = 0", "for the same item" },
        { "UPDATE outcome SET body = CAST('1,5' AS BLOB) WHERE first = 0", "is damaged" },
        { "UPDATE job SET result = CAST('[1]' AS BLOB)", "for the same item" },
        { "UPDATE job SET result = CAST('[1]' AS BLOB)", "is damaged" },
        { "UPDATE job SET gone = 1, body = NULL, result = x'00'; DELETE FROM outcome",
          "it was stripped, and has a text" },
        { "UPDATE job SET body = CAST('[1,2,4]' AS BLOB)", "is damaged" },
        { "UPDATE job SET method = 'guess'", "is damaged" },
        { "UPDATE tally SET finished_jobs = 7", "table tally" },
        { "DELETE FROM tally", "table tally" },
        { "INSERT INTO body VALUES (4711, x'00')",
          "table body: 1 rows of jobs that are" },
    };
    struct fixture *fx = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct store_check report;
        struct found found;

        put_finished(fx);
        close_store(fx);
        change(fx, cases[i].sql);
        assert_int_equal(check(fx, &found, &report), ST_OK);
        if (!strstr(found.text, cases[i].says))
            fail_msg("%s: \"%s\"", cases[i].sql, found.text);
        assert_int_equal(report.findings, found.count);
        assert_int_equal(unlink(path_of(fx, "poold.db")), 0);
        fixture_open(fx);
    }
}

static void the_job_that_is_damaged_is_named(void **state)
{
    struct fixture *fx = *state;
    char id[UUID_TEXT_LEN + 1];
    struct store_check report;
    struct found found;

    put_queued(fx);
    uuid_format(put_finished(fx), id);
    close_store(fx);
    change(fx, "UPDATE outcome SET checksum = checksum + 1 WHERE first = 0");
    assert_int_equal(check(fx, &found, &report), ST_OK);
    assert_int_equal(found.count, 1);
    assert_non_null(strstr(found.text, id));
    assert_int_equal(report.jobs, 2);
}

static void a_damaged_page_is_found(void **state)
{
    struct fixture *fx = *state;
    struct store_check report;
    struct found found;
    FILE *file;
    char byte;

    put_finished(fx);
    close_store(fx);
    change(fx, "PRAGMA wal_checkpoint(TRUNCATE)");
    file = fopen(path_of(fx, "poold.db"), "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 4096 + 2, SEEK_SET), 0);
    byte = 0x7f;
    assert_int_equal(fwrite(&byte, 1, 1, file), 1);
    fclose(file);
    if (check(fx, &found, &report) == ST_OK)
        assert_true(found.count > 0);
    assert_int_equal(report.jobs, 0); /* rows are not asked then */
}

static void a_database_in_use_is_not_checked(void **state)
{
    struct store_check report;
    struct found found;

    assert_int_equal(check(*state, &found, &report), ST_BUSY);
}

static void without_a_database_there_is_nothing_to_check(void **state)
{
    struct fixture *fx = *state;
    struct store_check report;
    struct found found;

    close_store(fx);
    assert_int_equal(unlink(path_of(fx, "poold.db")), 0);
    assert_int_equal(check(fx, &found, &report), ST_NOT_FOUND);
    assert_int_not_equal(access(path_of(fx, "poold.db"), F_OK), 0);
}

static void a_foreign_or_newer_one_is_refused(void **state)
{
    struct fixture *fx = *state;
    struct store_check report;
    struct found found;

    close_store(fx);
    change(fx, "PRAGMA user_version = 999");
    assert_int_equal(check(fx, &found, &report), ST_NEWER);
    change(fx, "PRAGMA application_id = 1");
    assert_int_equal(check(fx, &found, &report), ST_FOREIGN);
}

static void of_an_older_one_only_the_structure_is_checked(void **state)
{
    struct fixture *fx = *state;
    struct store_check report;
    struct found found;

    close_store(fx);
    change(fx, "PRAGMA user_version = 1");
    assert_int_equal(check(fx, &found, &report), ST_OK);
    assert_true(report.older);
    assert_int_equal(report.schema_version, 1);
    assert_int_equal(found.count, 0);
}

/* ---- copying ----------------------------------------------------------------------- */

static enum status copy(struct fixture *fx, const char *name, const atomic_bool *stop)
{
    struct error_text err = { "" };
    struct stat file;
    uint64_t bytes;
    char path[512];
    enum status st;

    (void)snprintf(path, sizeof(path), "%s", path_of(fx, name));
    st = store_copy_sqlite(fx->dir, path, stop, &bytes, &err);
    if (st == ST_OK) {
        assert_int_equal(stat(path, &file), 0);
        assert_int_equal(file.st_size, bytes);
    } else {
        assert_int_equal(bytes, 0);
        assert_true(err.text[0]);
    }
    assert_int_not_equal(access(path_of(fx, ".copy.part"), F_OK), 0);
    return st;
}

static void a_copy_of_a_database_in_use_holds_what_is_committed(void **state)
{
    struct fixture *fx = *state;
    char command[256];

    put_finished(fx);
    put_queued(fx);
    assert_int_equal(copy(fx, "copy", NULL), ST_OK);
    put_queued(fx); /* the store goes on */
    close_store(fx);
    assert_int_equal(ask(fx, "SELECT count(*) FROM job"), 3);
    (void)snprintf(command, sizeof(command), "mv '%s/copy' '%s/poold.db'", fx->dir,
                   fx->dir);
    assert_int_equal(system(command), 0);
    assert_sound(fx, 2);
    fixture_open(fx);
}

static void a_copy_of_a_database_that_rests_is_made(void **state)
{
    struct fixture *fx = *state;

    put_finished(fx);
    close_store(fx);
    assert_int_equal(copy(fx, "copy", NULL), ST_OK);
}

static void a_copy_never_writes_over_a_file(void **state)
{
    struct fixture *fx = *state;

    assert_int_equal(copy(fx, "copy", NULL), ST_OK);
    assert_int_equal(copy(fx, "copy", NULL), ST_EXISTS);
}

static void a_copy_that_is_stopped_leaves_nothing(void **state)
{
    struct fixture *fx = *state;
    atomic_bool stop = true;

    for (int i = 0; i < 50; i++)
        put_finished(fx);
    assert_int_equal(copy(fx, "copy", &stop), ST_CLOSED);
    assert_int_not_equal(access(path_of(fx, "copy"), F_OK), 0);
}

static void a_copy_that_was_interrupted_is_begun_anew(void **state)
{
    struct fixture *fx = *state;
    FILE *file = fopen(path_of(fx, ".copy.part"), "w");

    assert_non_null(file);
    (void)fputs("half of it", file);
    fclose(file);
    assert_int_equal(copy(fx, "copy", NULL), ST_OK);
}

static void nothing_is_copied_from_what_is_not_a_database(void **state)
{
    struct fixture *fx = *state;
    FILE *file;

    close_store(fx);
    assert_int_equal(truncate(path_of(fx, "poold.db"), 0), 0);
    assert_int_equal(copy(fx, "copy", NULL), ST_CORRUPT);
    file = fopen(path_of(fx, "poold.db"), "w");
    (void)fputs("this is some text, and longer than sixteen bytes", file);
    fclose(file);
    assert_int_equal(copy(fx, "copy", NULL), ST_FOREIGN);
    assert_int_equal(unlink(path_of(fx, "poold.db")), 0);
    assert_int_equal(copy(fx, "copy", NULL), ST_NOT_FOUND);
    assert_int_not_equal(access(path_of(fx, "copy"), F_OK), 0);
}

static void a_copy_into_a_folder_that_is_not_there_fails(void **state)
{
    assert_int_not_equal(copy(*state, "none/copy", NULL), ST_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SQLITE(a_sound_database_has_no_findings_and_stays_as_it_is),
        SQLITE(a_new_database_is_sound),
        SQLITE(what_is_wrong_with_rows_is_found),
        SQLITE(the_job_that_is_damaged_is_named),
        SQLITE(a_damaged_page_is_found),
        SQLITE(a_database_in_use_is_not_checked),
        SQLITE(without_a_database_there_is_nothing_to_check),
        SQLITE(a_foreign_or_newer_one_is_refused),
        SQLITE(of_an_older_one_only_the_structure_is_checked),
        SQLITE(a_copy_of_a_database_in_use_holds_what_is_committed),
        SQLITE(a_copy_of_a_database_that_rests_is_made),
        SQLITE(a_copy_never_writes_over_a_file),
        SQLITE(a_copy_that_is_stopped_leaves_nothing),
        SQLITE(a_copy_that_was_interrupted_is_begun_anew),
        SQLITE(nothing_is_copied_from_what_is_not_a_database),
        SQLITE(a_copy_into_a_folder_that_is_not_there_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
