-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE job_log (
    job  INTEGER PRIMARY KEY REFERENCES job (key) ON DELETE CASCADE,
    body TEXT NOT NULL
) STRICT;
