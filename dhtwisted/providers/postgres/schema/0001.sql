-- Text sorts by code point (COLLATE "C"), as in every storage. Times are integer milliseconds since 1970 UTC, exactly as on the wire.
-- Payloads are of type json, which keeps the client's text byte for byte; jsonb would rewrite it, and refuses some.

-- What tells this set of tables from any other, and names the channel on which its nodes wake each other.
CREATE TABLE store (
    id text PRIMARY KEY
);
INSERT INTO store VALUES (replace(gen_random_uuid()::text, '-', ''));

-- The last key of each kind of entity with integer keys, also when nothing that has it is left. Inserts of a kind wait here for each other.
CREATE TABLE entity_counter (
    kind text COLLATE "C" PRIMARY KEY,
    last_id bigint NOT NULL
);
INSERT INTO entity_counter VALUES ('user', 0), ('network', 0), ('devicetype', 0), ('configuration', 0);

CREATE TABLE users (
    id bigint PRIMARY KEY,
    login text COLLATE "C" NOT NULL UNIQUE,
    password text COLLATE "C" NOT NULL,           -- a hash with its scheme, or empty for nobody
    role smallint NOT NULL CHECK (role IN (0, 1)),            -- administrator, client
    status smallint NOT NULL CHECK (status IN (0, 1, 2)),     -- active, locked out, disabled
    data json,
    intro_reviewed boolean NOT NULL,
    last_login bigint,
    all_device_types_available boolean NOT NULL,
    network_ids bigint[] NOT NULL,                -- what is assigned; without duplicates, in no order
    device_type_ids bigint[] NOT NULL
);

CREATE TABLE networks (
    id bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    description text COLLATE "C"
);

CREATE TABLE device_types (
    id bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    description text COLLATE "C"
);

-- No foreign keys: who deletes a network deletes its devices first, and does all of it again when he is cut short in the middle.
CREATE TABLE devices (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    network_id bigint NOT NULL,
    device_type_id bigint NOT NULL,
    data json,
    is_blocked boolean NOT NULL
);
CREATE INDEX devices_of_network ON devices (network_id);
CREATE INDEX devices_of_type ON devices (device_type_id);

CREATE TABLE configurations (
    id bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    value text COLLATE "C" NOT NULL,
    entity_version bigint NOT NULL
);

-- The last ids and the server's time. Every commit that writes messages changes this row first and holds it to its end: so commits come one
-- after the other, whichever node they are from, and ids and times ascend in the order in which messages become visible. A sequence would
-- show ids out of that order. Half of each page is left free, so that the thousands of changes a second stay within it.
CREATE TABLE message_counter (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    command bigint NOT NULL,          -- the last id of each table
    notification bigint NOT NULL,
    command_update bigint NOT NULL,
    server_time bigint NOT NULL       -- never steps back
) WITH (fillfactor = 50);
INSERT INTO message_counter VALUES (true, 0, 0, 0, 0);

CREATE TABLE commands (
    id bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    network_id bigint NOT NULL,       -- of the device at the time of the command
    device_type_id bigint NOT NULL,   -- the same
    user_id bigint,                   -- who sent it; NULL for the server itself
    parameters json,
    lifetime bigint,                  -- in seconds, as the client gave it
    status text COLLATE "C",
    folded_status text COLLATE "C",   -- without upper case; only where lower(status) of this collation does not do
    result json,
    inserted_status text COLLATE "C", -- what these two were at first, for nodes that hear of the command when it has changed already
    inserted_result json,
    timestamp bigint NOT NULL,
    last_updated bigint NOT NULL,
    updated boolean NOT NULL          -- true after the first update
);
CREATE INDEX commands_of_device ON commands (device_id, timestamp, id);
CREATE INDEX commands_by_time ON commands (timestamp, id);
-- Long polls for updated commands read by the time of the update.
CREATE INDEX updated_commands_of_device ON commands (device_id, last_updated, id) WHERE updated;
CREATE INDEX updated_commands_by_time ON commands (last_updated, id) WHERE updated;

-- What each update made of its command, for nodes that have not heard of it yet: a command may change again before they read. Kept an hour.
CREATE TABLE command_updates (
    id bigint PRIMARY KEY,
    command_id bigint NOT NULL,
    status text COLLATE "C",
    result json,
    last_updated bigint NOT NULL,
    server_time bigint NOT NULL       -- when it was written
);

CREATE TABLE notifications (
    id bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    network_id bigint NOT NULL,
    device_type_id bigint NOT NULL,
    parameters json,
    timestamp bigint NOT NULL
);
CREATE INDEX notifications_of_device ON notifications (device_id, timestamp, id);
CREATE INDEX notifications_by_time ON notifications (timestamp, id);
