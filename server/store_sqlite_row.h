/* SPDX-License-Identifier: MIT */
/*
 * store_sqlite_row - what is read from a row of the database, column by column. Private to
 * server/store_sqlite*.c.
 */
#ifndef SERVER_STORE_SQLITE_ROW_H
#define SERVER_STORE_SQLITE_ROW_H

#include "server/store_sqlite.h"

/* Reads one column after the other; what cannot be is noted in bad. */
struct row {
    sqlite3_stmt *statement;
    int at;
    bool bad;
};

int64_t row_int(struct row *row);
bool row_bool(struct row *row);
/* Valid until the statement moves on. */
const char *row_string(struct row *row);
struct text row_blob(struct row *row);
/* The position of the text in the table of names. */
unsigned row_name(struct row *row, const char *const names[], unsigned count);
struct uuid row_id(struct row *row);

/* What the result code of a query means. */
enum status row_status(int rc);
/* The job in the first column is left out. */
void row_log_damaged(sqlite3_stmt *statement);

#endif
