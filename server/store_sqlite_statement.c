/* SPDX-License-Identifier: MIT */
/* The texts of all statements that change the database. */
#include "server/store_sqlite.h"

/* The order in which what is over goes, and the index that has it. */
#define JOB_OVER_ORDER                                                                   \
    "CASE gone WHEN 0 THEN finished_at_ms + result_ttl_ms ELSE finished_at_ms END"
#define JOB_OVER "job INDEXED BY job_over WHERE finished_at_ms > 0"

#define STATUS_IS                                                                        \
    "item_count = ?1, state = ?2, completed = ?3, failed = ?4, attempt = ?5, "           \
    "forgiven = ?6, started_at_ms = ?7, finished_at_ms = ?8, kept_bytes = ?9, "          \
    "error = ?10"
/* ?12: also if it is over already. */
#define STATUS_MAY_CHANGE "key = ?11 AND gone = 0 AND (?12 OR finished_at_ms = 0)"

const char *const sqlite_write_sql[SQLITE_WRITE_COUNT] = {
    [SQLITE_WRITE_BEGIN] = "BEGIN IMMEDIATE",
    [SQLITE_WRITE_COMMIT] = "COMMIT",
    [SQLITE_WRITE_ROLLBACK] = "ROLLBACK",
    [SQLITE_WRITE_JOB] =
        "INSERT INTO job (" SQLITE_JOB_COLUMNS ", body, result, result_checksum) VALUES "
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,"
        "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
        "ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS "
        "NOT NULL DO NOTHING",
    [SQLITE_WRITE_BODY] = "INSERT INTO body (job, bytes) VALUES (?, ?)",
    [SQLITE_WRITE_PART] = "INSERT INTO body_part (job, part, bytes) VALUES (?, ?, ?)",
    [SQLITE_WRITE_EXISTING] =
        "SELECT id, request_hash FROM job WHERE owner = ? AND idempotency_key = ?",
    [SQLITE_WRITE_OUTCOME] =
        "INSERT INTO outcome (job, first, count, is_error, checksum, body) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (job, first) DO NOTHING",
    [SQLITE_WRITE_TEXT] = "INSERT INTO outcome_text (job, first, bytes) VALUES (?, ?, ?)",
    [SQLITE_WRITE_ATTEMPT] =
        "INSERT INTO attempt (job, seq, body) SELECT ?1, "
        "max(?2, coalesce((SELECT max(seq) FROM attempt WHERE job = ?1), 0) + 1), ?3",
    [SQLITE_WRITE_TRIM_ATTEMPTS] =
        "DELETE FROM attempt WHERE job = ?1 AND "
        "seq <= (SELECT max(seq) FROM attempt WHERE job = ?1) - ?2",
    [SQLITE_WRITE_LOG] = "INSERT INTO job_log (job, body) VALUES (?, ?) "
                         "ON CONFLICT (job) DO UPDATE SET body = excluded.body",
    [SQLITE_WRITE_EVENTS] =
        "INSERT INTO event_run (last_id, count, body) VALUES (?, ?, ?)",
    /* Runs with nothing in them that is among the newest ?1 events. */
    [SQLITE_WRITE_TRIM_EVENTS] =
        "DELETE FROM event_run WHERE last_id <= (SELECT last_id FROM (SELECT last_id, "
        "sum(count) OVER (ORDER BY last_id DESC) - count AS newer FROM event_run) "
        "WHERE newer >= ?1 ORDER BY last_id DESC LIMIT 1)",
    [SQLITE_WRITE_STATUS] = "UPDATE job SET " STATUS_IS " WHERE " STATUS_MAY_CHANGE,
    [SQLITE_WRITE_END] = "UPDATE job SET " STATUS_IS
                         ", result = ?13, result_checksum = ?14 WHERE " STATUS_MAY_CHANGE,
    [SQLITE_WRITE_FORGET_ERRORS] = "DELETE FROM outcome WHERE job = ? AND is_error = 1",
    [SQLITE_WRITE_ADD_DELIVERY] =
        "INSERT INTO delivery (job, number, state, tries, created_at_ms, due_at_ms, url, "
        "body, attempts) SELECT ?1, coalesce(max(number), 0) + 1, ?, ?, ?, ?, ?, ?, ? "
        "FROM delivery WHERE job = ?1",
    [SQLITE_WRITE_DELIVERY] = "UPDATE delivery SET state = ?, tries = ?, due_at_ms = ?, "
                              "attempts = ? WHERE job = ? AND number = ?",
    [SQLITE_WRITE_DELETE] = "DELETE FROM job WHERE key = ?",
    [SQLITE_WRITE_STRIP] =
        "UPDATE job SET gone = 1, kept_bytes = 0, body = NULL, result = NULL, "
        "result_checksum = NULL WHERE key = ?",
    [SQLITE_WRITE_DROP_BODY] = "DELETE FROM body WHERE job = ?",
    [SQLITE_WRITE_DROP_PARTS] = "DELETE FROM body_part WHERE job = ?",
    [SQLITE_WRITE_DROP_OUTCOMES] = "DELETE FROM outcome WHERE job = ?",
    [SQLITE_WRITE_DROP_TEXTS] = "DELETE FROM outcome_text WHERE job = ?",
    [SQLITE_WRITE_DROP_ATTEMPTS] = "DELETE FROM attempt WHERE job = ?",
    [SQLITE_WRITE_DROP_LOG] = "DELETE FROM job_log WHERE job = ?",
    [SQLITE_WRITE_TALLY] = "SELECT finished_jobs, finished_bytes FROM tally",
    [SQLITE_WRITE_ADD_TALLY] = "UPDATE tally SET finished_jobs = finished_jobs + ?, "
                               "finished_bytes = finished_bytes + ?",
    [SQLITE_WRITE_COUNTED] =
        "SELECT finished_at_ms > 0, kept_bytes FROM job WHERE key = ?",
    [SQLITE_WRITE_FIND_STRIPPED] =
        "SELECT key, kept_bytes FROM " JOB_OVER " AND gone = 1 AND " JOB_OVER_ORDER
        " <= ?1 ORDER BY " JOB_OVER_ORDER " LIMIT ?2",
    [SQLITE_WRITE_FIND_DUE] =
        "SELECT key, kept_bytes FROM " JOB_OVER " AND gone = 0 AND " JOB_OVER_ORDER
        " <= ?1 ORDER BY " JOB_OVER_ORDER " LIMIT ?2",
    [SQLITE_WRITE_FIND_HEAVY] = "SELECT key, kept_bytes FROM " JOB_OVER
                                " AND gone = 0 ORDER BY " JOB_OVER_ORDER " LIMIT ?2",
    /* The index orders each of the two parts; their fronts are merged here. */
    [SQLITE_WRITE_FIND_OLDEST] =
        "SELECT key, kept_bytes FROM ("
        "SELECT * FROM (SELECT key, kept_bytes, " JOB_OVER_ORDER
        " AS place FROM " JOB_OVER " AND gone = 0 ORDER BY " JOB_OVER_ORDER
        " LIMIT ?2) UNION ALL "
        "SELECT * FROM (SELECT key, kept_bytes, " JOB_OVER_ORDER
        " AS place FROM " JOB_OVER " AND gone = 1 ORDER BY " JOB_OVER_ORDER " LIMIT ?2)) "
        "ORDER BY place LIMIT ?2",
    /* Only what can change of a pool is written anew. */
    [SQLITE_WRITE_POOL] =
        "INSERT INTO pool (" SQLITE_POOL_COLUMNS ") VALUES "
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
        "ON CONFLICT (name) DO UPDATE SET processes = excluded.processes, "
        "maxtasksperchild = excluded.maxtasksperchild, "
        "time_limit_ms = excluded.time_limit_ms, memory_limit = excluded.memory_limit, "
        "state = excluded.state, cpu_limit_ms = excluded.cpu_limit_ms, "
        "file_size_limit = excluded.file_size_limit, "
        "open_files_limit = excluded.open_files_limit, "
        "process_limit = excluded.process_limit",
    [SQLITE_WRITE_DELETE_POOL] = "DELETE FROM pool WHERE name = ?",
};
