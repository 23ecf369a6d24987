-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE body_part (
    job   INTEGER NOT NULL REFERENCES job (key) ON DELETE CASCADE,
    part  INTEGER NOT NULL,
    bytes BLOB    NOT NULL,
    PRIMARY KEY (job, part)
) STRICT;
