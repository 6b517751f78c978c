-- Which update of all is the last one of a command: the id that it has in command_updates, also when that row is gone. Times do not tell what
-- came after what, since the clocks of nodes differ. Of what was updated before nobody hears any more: it has 0.
ALTER TABLE commands ADD COLUMN update_id bigint NOT NULL DEFAULT 0;
