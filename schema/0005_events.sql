-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE event (
    id        INTEGER PRIMARY KEY,
    kind      TEXT    NOT NULL,
    job       BLOB    NOT NULL,
    state     TEXT    NOT NULL,
    total     INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed    INTEGER NOT NULL
) STRICT;
