-- A user may have thousands of tokens among those of others, and a client may ask for devices by name.
CREATE INDEX device_tokens_of_user ON device_tokens (user_id);
CREATE INDEX devices_by_name ON devices (name, id);
