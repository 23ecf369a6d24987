-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

ALTER TABLE job ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;

DROP INDEX job_idempotency_key;
CREATE UNIQUE INDEX job_idempotency_key ON job (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE INDEX job_owner ON job (owner, key) WHERE owner <> 0;
