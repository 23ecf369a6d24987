/* SPDX-License-Identifier: MIT */
/* For tests that look at, or change, the database behind the store's back. */
#ifndef TESTS_TEST_STORE_SQLITE_FIXTURE_H
#define TESTS_TEST_STORE_SQLITE_FIXTURE_H

#include "server/store_sqlite.h"
#include "tests/unit/server/test_store_fixture.h"

static inline const char *path_of(const struct fixture *fx, const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", fx->dir, name);
    return path;
}

/* Runs SQL on the database of a store that is closed. */
static inline void change(const struct fixture *fx, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path_of(fx, "poold.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static inline int64_t ask(const struct fixture *fx, const char *sql)
{
    int64_t number;
    sqlite3 *db;

    assert_int_equal(
        sqlite3_open_v2(path_of(fx, "poold.db"), &db, SQLITE_OPEN_READONLY, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite_number(db, sql, &number), SQLITE_OK);
    sqlite3_close(db);
    return number;
}

static inline void reopen(struct fixture *fx)
{
    store_close(fx->store);
    fx->store = NULL;
    fixture_open(fx);
}

static inline void close_store(struct fixture *fx)
{
    store_close(fx->store);
    fx->store = NULL;
}

#endif
