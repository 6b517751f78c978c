-- A result may be a megabyte, and an update of the status a few bytes. So not every row of command_updates has the result: it names the row
-- that has. That one was written at most half an hour before, so it is there as long as those that name it are read.
ALTER TABLE commands
    ADD COLUMN result_update bigint NOT NULL DEFAULT 0,        -- the last row of command_updates that has the result; 0 for none
    ADD COLUMN result_update_time bigint NOT NULL DEFAULT 0;   -- when that was written
ALTER TABLE command_updates ADD COLUMN result_update bigint;   -- the row that has the result; NULL for this one
