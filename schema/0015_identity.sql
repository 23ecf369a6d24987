-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE identity (
    key   INTEGER PRIMARY KEY CHECK (key = 1),
    bytes BLOB    NOT NULL,
    mark  BLOB    NOT NULL
) STRICT;

INSERT INTO identity (key, bytes, mark) VALUES (1, randomblob(16), randomblob(16));
