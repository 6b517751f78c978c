-- Entities are looked up in memory; here is only what a restart needs.
CREATE TABLE entity (
    kind TEXT NOT NULL,   -- KIND of the class in model.py
    key TEXT NOT NULL,    -- the key as text; integers in decimal digits
    body BLOB NOT NULL,   -- the whole entity as JSON, bytes as base64
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

-- What was given out last, also when nothing that has it is left.
CREATE TABLE counter (
    name TEXT PRIMARY KEY NOT NULL,   -- KIND of an entity with integer keys or of a message; server_time, in milliseconds; batch, how many commits
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- Times are integer milliseconds since 1970 UTC. BLOBs are JSON texts, byte for byte as the client sent them.
CREATE TABLE command (
    id INTEGER PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    device_id TEXT NOT NULL,
    network_id INTEGER NOT NULL,       -- of the device at the time of the command
    device_type_id INTEGER NOT NULL,   -- the same
    user_id INTEGER,                   -- who sent it; NULL for the server itself
    parameters BLOB,
    lifetime INTEGER,                  -- as the client gave it
    status TEXT,
    result BLOB,
    timestamp INTEGER NOT NULL,
    last_updated INTEGER NOT NULL,
    updated INTEGER NOT NULL           -- 1 after the first update
);

CREATE TABLE notification (
    id INTEGER PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    device_id TEXT NOT NULL,
    network_id INTEGER NOT NULL,
    device_type_id INTEGER NOT NULL,
    parameters BLOB,
    timestamp INTEGER NOT NULL
);

-- Each entry ends with the row's id, so (timestamp, id) is the order of both.
CREATE INDEX command_of_device ON command (device_id, timestamp);
CREATE INDEX command_by_time ON command (timestamp);
CREATE INDEX notification_of_device ON notification (device_id, timestamp);
CREATE INDEX notification_by_time ON notification (timestamp);
