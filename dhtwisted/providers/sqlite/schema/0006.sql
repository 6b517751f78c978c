-- Which update of all is the last one of a command, counted by the counter command_update. Times do not tell what came after what, since
-- clocks are set. Of what was updated before nobody hears any more: it has 0.
ALTER TABLE command ADD COLUMN update_id INTEGER NOT NULL DEFAULT 0;
