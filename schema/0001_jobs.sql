-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE job (
    key                  INTEGER PRIMARY KEY,
    id                   BLOB    NOT NULL,
    method               TEXT    NOT NULL,
    durability           TEXT    NOT NULL,
    task                 TEXT    NOT NULL,
    pool                 TEXT    NOT NULL,
    priority             INTEGER NOT NULL,
    item_count           INTEGER NOT NULL,
    chunksize            INTEGER NOT NULL,
    created_at_ms        INTEGER NOT NULL,
    start_at_ms          INTEGER NOT NULL,
    expires_at_ms        INTEGER NOT NULL,
    time_limit_ms        INTEGER NOT NULL,
    result_ttl_ms        INTEGER NOT NULL,
    retries              INTEGER NOT NULL,
    crash_retries        INTEGER NOT NULL,
    backoff_initial_ms   INTEGER NOT NULL,
    backoff_max_ms       INTEGER NOT NULL,
    backoff_factor       REAL    NOT NULL,
    backoff_jitter       INTEGER NOT NULL,
    return_exceptions    INTEGER NOT NULL,
    stop_on_error        INTEGER NOT NULL,
    cancel_on_disconnect INTEGER NOT NULL,
    tags                 TEXT,
    metadata             TEXT,
    idempotency_key      TEXT,
    request_hash         INTEGER NOT NULL,
    input_len            INTEGER NOT NULL,
    checksum             INTEGER NOT NULL,
    state                TEXT    NOT NULL,
    completed            INTEGER NOT NULL,
    failed               INTEGER NOT NULL,
    attempt              INTEGER NOT NULL,
    started_at_ms        INTEGER NOT NULL,
    finished_at_ms       INTEGER NOT NULL,
    error                TEXT,
    body                 BLOB
) STRICT;

CREATE INDEX job_unfinished ON job (key)
    WHERE state IN ('scheduled', 'queued', 'running');

CREATE UNIQUE INDEX job_idempotency_key ON job (idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE body (
    job   INTEGER PRIMARY KEY REFERENCES job (key) ON DELETE CASCADE,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE outcome (
    job      INTEGER NOT NULL REFERENCES job (key) ON DELETE CASCADE,
    first    INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    is_error INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body     BLOB    NOT NULL,
    PRIMARY KEY (job, first)
) STRICT, WITHOUT ROWID;
