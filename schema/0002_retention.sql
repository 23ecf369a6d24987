-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

ALTER TABLE job ADD COLUMN unique_key TEXT;
ALTER TABLE job ADD COLUMN kept_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;

UPDATE job SET kept_bytes =
        coalesce(length(body), (SELECT length(bytes) FROM body WHERE body.job = key), 0) +
        (SELECT coalesce(sum(length(outcome.body)), 0) FROM outcome
         WHERE outcome.job = key)
    WHERE finished_at_ms > 0;

CREATE INDEX job_finished ON job (gone, finished_at_ms) WHERE finished_at_ms > 0;

CREATE INDEX job_result_due ON job (finished_at_ms + result_ttl_ms)
    WHERE finished_at_ms > 0 AND gone = 0;

CREATE TABLE tally (
    finished_jobs  INTEGER NOT NULL,
    finished_bytes INTEGER NOT NULL
) STRICT;

INSERT INTO tally
    SELECT count(*), coalesce(sum(kept_bytes), 0) FROM job WHERE finished_at_ms > 0;

CREATE TRIGGER job_tally_insert AFTER INSERT ON job WHEN NEW.finished_at_ms > 0
BEGIN
    UPDATE tally SET finished_jobs = finished_jobs + 1,
                     finished_bytes = finished_bytes + NEW.kept_bytes;
END;

CREATE TRIGGER job_tally_update AFTER UPDATE OF finished_at_ms, kept_bytes ON job
    WHEN (NEW.finished_at_ms > 0) <> (OLD.finished_at_ms > 0) OR NEW.kept_bytes <> OLD.kept_bytes
BEGIN
    UPDATE tally SET
        finished_jobs = finished_jobs + (NEW.finished_at_ms > 0) - (OLD.finished_at_ms > 0),
        finished_bytes = finished_bytes + NEW.kept_bytes - OLD.kept_bytes;
END;

CREATE TRIGGER job_tally_delete AFTER DELETE ON job WHEN OLD.finished_at_ms > 0
BEGIN
    UPDATE tally SET finished_jobs = finished_jobs - 1,
                     finished_bytes = finished_bytes - OLD.kept_bytes;
END;
