-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

DROP TRIGGER job_tally_insert;
DROP TRIGGER job_tally_update;
DROP TRIGGER job_tally_delete;

DROP INDEX job_finished;
DROP INDEX job_result_due;

CREATE INDEX job_over
    ON job (gone, CASE gone WHEN 0 THEN finished_at_ms + result_ttl_ms ELSE finished_at_ms END)
    WHERE finished_at_ms > 0;
