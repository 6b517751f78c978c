-- Which script each version was made by (schema_files.py), so that data of another script are told at a start and not by a request that fails.
ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS checksum text;
