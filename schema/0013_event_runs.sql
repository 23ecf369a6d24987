-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

CREATE TABLE event_run (
    last_id INTEGER PRIMARY KEY,
    count   INTEGER NOT NULL,
    body    TEXT    NOT NULL
) STRICT;

INSERT INTO event_run (last_id, count, body)
SELECT id, 1,
    printf('%d %s %s-%s-%s-%s-%s %s %d %d %d %d', id, kind,
        substr(lower(hex(job)), 1, 8), substr(lower(hex(job)), 9, 4),
        substr(lower(hex(job)), 13, 4), substr(lower(hex(job)), 17, 4),
        substr(lower(hex(job)), 21), state, total, completed, failed, owner) || char(10)
FROM event;

DROP TABLE event;
