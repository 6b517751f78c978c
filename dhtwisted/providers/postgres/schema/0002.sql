-- Tokens of a user that carry a lower number are no good any more.
ALTER TABLE users ADD COLUMN valid_from bigint NOT NULL DEFAULT 0;

-- That there are tokens which are good for one device alone, while their row is here.
INSERT INTO entity_counter VALUES ('devicetoken', 0);
CREATE TABLE device_tokens (
    id bigint PRIMARY KEY,
    device_id text COLLATE "C" NOT NULL,
    user_id bigint NOT NULL,
    created bigint NOT NULL,
    expires bigint NOT NULL,
    label text COLLATE "C"
);
CREATE INDEX ON device_tokens (device_id);
