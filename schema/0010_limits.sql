-- SPDX-License-Identifier: MIT
-- Described in README.md. Frozen: a change is a new file.

ALTER TABLE pool ADD COLUMN cpu_limit_ms     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pool ADD COLUMN file_size_limit  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pool ADD COLUMN open_files_limit INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pool ADD COLUMN process_limit    INTEGER NOT NULL DEFAULT 0;
