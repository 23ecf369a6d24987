/* SPDX-License-Identifier: MIT */
#include "server/store_sqlite_row.h"

#include "common/log.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- checksums -------------------------------------------------------------------- */

static uint64_t checksum(struct uuid id, const uint64_t place[3], struct text text)
{
    uint64_t seed = XXH3_64bits_withSeed(place, 3 * sizeof(*place), uuid_key(id));

    return XXH3_64bits_withSeed(text.at, text.len, seed);
}

uint64_t sqlite_body_checksum(struct uuid id, size_t input_len, struct text body)
{
    return checksum(id, (const uint64_t[]){ UINT64_MAX, input_len, 0 }, body);
}

uint64_t sqlite_outcome_checksum(struct uuid id, uint64_t first, uint64_t count,
                                 bool is_error, struct text text)
{
    return checksum(id, (const uint64_t[]){ first, count, is_error }, text);
}

/* ---- columns ----------------------------------------------------------------------- */

int64_t row_int(struct row *row)
{
    return sqlite3_column_int64(row->statement, row->at++);
}

bool row_bool(struct row *row)
{
    return row_int(row) != 0;
}

const char *row_string(struct row *row)
{
    return (const char *)sqlite3_column_text(row->statement, row->at++);
}

struct text row_blob(struct row *row)
{
    const void *at = sqlite3_column_blob(row->statement, row->at);
    int len = sqlite3_column_bytes(row->statement, row->at++);

    return (struct text){ at, (size_t)len };
}

unsigned row_name(struct row *row, const char *const names[], unsigned count)
{
    const char *name = row_string(row);

    for (unsigned i = 0; name && i < count; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    row->bad = true;
    return 0;
}

struct uuid row_id(struct row *row)
{
    struct text bytes = row_blob(row);
    struct uuid id = { { 0 } };

    if (bytes.len == sizeof(id.bytes))
        memcpy(id.bytes, bytes.at, sizeof(id.bytes));
    else
        row->bad = true;
    return id;
}

enum status row_status(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
        return ST_OK;
    case SQLITE_NOMEM:
        return ST_NO_MEMORY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ST_CORRUPT;
    default:
        return ST_IO;
    }
}

void row_log_damaged(sqlite3_stmt *statement)
{
    log_error("a stored job is damaged, leaving it out and alone", "key=%lld",
              (long long)sqlite3_column_int64(statement, 0));
}
