-- What MQTT keeps (dhtwisted/model/mqtt.py). Nobody is notified of these rows: no node keeps what another may change.
CREATE TABLE mqtt_sessions (
    id text COLLATE "C" PRIMARY KEY,          -- user and client id
    user_id bigint NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    version smallint NOT NULL,
    expiry bigint NOT NULL,                   -- seconds
    ended bigint,                             -- NULL while it is connected
    subscriptions json NOT NULL,
    will json,
    claims bytea NOT NULL,
    device_state bytea NOT NULL,
    last_packet_id bigint NOT NULL
);
CREATE INDEX mqtt_sessions_of_user ON mqtt_sessions (user_id);

CREATE TABLE mqtt_retained (
    topic text COLLATE "C" PRIMARY KEY,
    payload bytea NOT NULL,
    qos smallint NOT NULL,
    published bigint NOT NULL,
    user_id bigint NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    properties bytea NOT NULL,
    expires bigint
);

-- A row lives for milliseconds where the subscriber is connected. The key begins with the session, so one index is enough.
CREATE TABLE mqtt_queued (
    id text COLLATE "C" PRIMARY KEY,
    session text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    qos smallint NOT NULL,
    packet_id bigint NOT NULL,
    state smallint NOT NULL,
    retain boolean NOT NULL,
    payload bytea NOT NULL,
    properties bytea NOT NULL,
    identifiers json NOT NULL,
    expires bigint,
    message text COLLATE "C" NOT NULL,        -- the kind of a stored message that this row refers to; empty for none
    device_id text COLLATE "C" NOT NULL,
    message_id bigint NOT NULL
);

CREATE TABLE mqtt_received (
    id text COLLATE "C" PRIMARY KEY,
    session text COLLATE "C" NOT NULL,
    packet_id bigint NOT NULL,
    reason_code smallint NOT NULL
);
