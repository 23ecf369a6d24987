-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE attempt (
    job  INTEGER NOT NULL REFERENCES job (key) ON DELETE CASCADE,
    seq  INTEGER NOT NULL,
    body TEXT    NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;
