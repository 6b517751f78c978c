-- A checksum of each row as it was stored (row_checksum.py), so that damage is told and never served; NULL in rows of before.
ALTER TABLE command ADD COLUMN checksum INTEGER;
ALTER TABLE notification ADD COLUMN checksum INTEGER;
ALTER TABLE entity ADD COLUMN checksum INTEGER;
