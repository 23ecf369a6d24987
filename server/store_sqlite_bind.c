/* SPDX-License-Identifier: MIT */
#include "server/store_sqlite_bind.h"

void bind_int(struct binder *binder, int64_t number)
{
    int rc = sqlite3_bind_int64(binder->statement, ++binder->at, number);

    if (binder->rc == SQLITE_OK)
        binder->rc = rc;
}

void bind_real(struct binder *binder, double number)
{
    int rc = sqlite3_bind_double(binder->statement, ++binder->at, number);

    if (binder->rc == SQLITE_OK)
        binder->rc = rc;
}

void bind_string(struct binder *binder, const char *string)
{
    int rc =
        sqlite3_bind_text(binder->statement, ++binder->at, string, -1, SQLITE_STATIC);

    if (binder->rc == SQLITE_OK)
        binder->rc = rc;
}

void bind_text(struct binder *binder, struct text text)
{
    int rc = sqlite3_bind_text64(binder->statement, ++binder->at, text.at, text.len,
                                 SQLITE_STATIC, SQLITE_UTF8);

    if (binder->rc == SQLITE_OK)
        binder->rc = rc;
}

void bind_blob(struct binder *binder, struct text bytes)
{
    /* A NULL pointer would become SQL's NULL. */
    int rc = sqlite3_bind_blob64(binder->statement, ++binder->at,
                                 bytes.len ? bytes.at : "", bytes.len, SQLITE_STATIC);

    if (binder->rc == SQLITE_OK)
        binder->rc = rc;
}

int bind_run(struct binder *binder)
{
    int rc = binder->rc;

    if (rc != SQLITE_OK)
        return rc;
    sqlite3_step(binder->statement);
    return sqlite3_reset(binder->statement);
}
