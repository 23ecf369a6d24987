-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

ALTER TABLE job ADD COLUMN callback TEXT;
ALTER TABLE job ADD COLUMN error_callback TEXT;

CREATE TABLE delivery (
    job           INTEGER NOT NULL REFERENCES job (key) ON DELETE CASCADE,
    number        INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    tries         INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    due_at_ms     INTEGER NOT NULL,
    url           TEXT    NOT NULL,
    body          TEXT    NOT NULL,
    attempts      TEXT    NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX delivery_pending ON delivery (due_at_ms)
    WHERE state = 'pending';
