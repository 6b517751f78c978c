-- Where users have come in by password, and what no two logins may have in common: fold_login in model.py. Of two logins of older releases
-- that differ in case alone, the later has none. Other logins than these, and those that a node of the release before inserts, get theirs
-- at the next start of a server.
ALTER TABLE users
    ADD COLUMN login_key text COLLATE "C" UNIQUE,
    ADD COLUMN known_addresses json NOT NULL DEFAULT '[]';   -- pairs of an address and a time
UPDATE users SET login_key = lower(login)
WHERE login ~ '^[!-~]+$'
    AND NOT EXISTS (SELECT FROM users AS earlier WHERE lower(earlier.login) = lower(users.login) AND earlier.id < users.id);
