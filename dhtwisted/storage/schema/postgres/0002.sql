-- Tokens of a user that carry a lower number are no good any more.
ALTER TABLE users ADD COLUMN valid_from bigint NOT NULL DEFAULT 0;
