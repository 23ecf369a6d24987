/* SPDX-License-Identifier: MIT */
/*
 * store_sqlite_bind - the parameters of a statement, one after the other. Private to
 * server/store_sqlite*.c.
 *
 *     struct binder b = { statement, 0, SQLITE_OK };
 *
 *     bind_int(&b, 1);
 *     bind_string(&b, name);
 *     rc = bind_run(&b);
 *
 * Texts and blobs have to stay until the statement has run.
 */
#ifndef SERVER_STORE_SQLITE_BIND_H
#define SERVER_STORE_SQLITE_BIND_H

#include "server/store_sqlite.h"

/* Binds one parameter after the other; the first failure stays in rc. */
struct binder {
    sqlite3_stmt *statement;
    int at;
    int rc;
};

void bind_int(struct binder *binder, int64_t number);
void bind_real(struct binder *binder, double number);
/* NULL becomes SQL's NULL. */
void bind_string(struct binder *binder, const char *string);
/* Text of somebody else, without a NUL at its end; NULL if `at` is. */
void bind_text(struct binder *binder, struct text text);
/* Never NULL, even if there are no bytes. */
void bind_blob(struct binder *binder, struct text bytes);

/* Runs the statement, unless binding has failed, and resets it. */
int bind_run(struct binder *binder);

#endif
