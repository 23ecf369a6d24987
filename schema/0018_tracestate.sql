-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

ALTER TABLE job ADD COLUMN tracestate TEXT;
