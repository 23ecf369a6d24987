-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE outcome_text (
    job   INTEGER NOT NULL REFERENCES job (key) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    bytes BLOB    NOT NULL,
    PRIMARY KEY (job, first)
) STRICT;
