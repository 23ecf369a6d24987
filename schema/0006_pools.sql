-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE pool (
    name             TEXT    NOT NULL UNIQUE,
    processes        INTEGER NOT NULL,
    maxtasksperchild INTEGER NOT NULL,
    start_method     TEXT    NOT NULL,
    initializer      TEXT,
    initargs         TEXT    NOT NULL,
    time_limit_ms    INTEGER NOT NULL,
    memory_limit     INTEGER NOT NULL,
    state            TEXT    NOT NULL,
    idempotency_key  TEXT,
    request_hash     INTEGER NOT NULL
) STRICT;
