-- Long polls for updated commands read by the time of the update.
CREATE INDEX command_update_of_device ON command (device_id, last_updated) WHERE updated = 1;
CREATE INDEX command_by_update ON command (last_updated) WHERE updated = 1;
