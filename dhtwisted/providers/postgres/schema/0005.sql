-- Whose quota an entity counts for: that of the user who made it. Of what is here already nobody knows.
ALTER TABLE networks ADD COLUMN owner_id bigint;
ALTER TABLE device_types ADD COLUMN owner_id bigint;
ALTER TABLE devices ADD COLUMN owner_id bigint;

-- How many entities of a kind count for a user, and the bytes of their data. Triggers keep it, in the transaction that changes
-- the entity: so it is right whichever node did that, one of the release before too, and asking costs one row however many there are.
CREATE TABLE holdings (
    kind text COLLATE "C",
    owner_id bigint,
    count bigint NOT NULL,
    size bigint NOT NULL,
    PRIMARY KEY (owner_id, kind)
) WITH (fillfactor = 50);

-- Counts an entity, or with -1 and the negative of its bytes counts it no longer.
CREATE FUNCTION hold(held text, owner bigint, entities bigint, bytes bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF owner IS NOT NULL THEN
        INSERT INTO holdings AS known VALUES (held, owner, entities, coalesce(bytes, 0))
        ON CONFLICT (owner_id, kind) DO UPDATE SET count = known.count + excluded.count, size = known.size + excluded.size;
    END IF;
END
$$;

CREATE FUNCTION hold_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM hold('device', OLD.owner_id, -1, -octet_length(OLD.data::text));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM hold('device', NEW.owner_id, 1, octet_length(NEW.data::text));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER hold AFTER INSERT OR DELETE OR UPDATE OF owner_id, data ON devices FOR EACH ROW EXECUTE FUNCTION hold_device();

-- For networks and device types; the argument is the name of the kind.
CREATE FUNCTION hold_group() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM hold(TG_ARGV[0], OLD.owner_id, -1, 0);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM hold(TG_ARGV[0], NEW.owner_id, 1, 0);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER hold AFTER INSERT OR DELETE OR UPDATE OF owner_id ON networks
    FOR EACH ROW EXECUTE FUNCTION hold_group('network');
CREATE TRIGGER hold AFTER INSERT OR DELETE OR UPDATE OF owner_id ON device_types
    FOR EACH ROW EXECUTE FUNCTION hold_group('devicetype');

CREATE FUNCTION hold_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM hold('devicetoken', OLD.user_id, -1, 0);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM hold('devicetoken', NEW.user_id, 1, 0);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER hold AFTER INSERT OR DELETE OR UPDATE OF user_id ON device_tokens FOR EACH ROW EXECUTE FUNCTION hold_token();
INSERT INTO holdings SELECT 'devicetoken', user_id, count(*), 0 FROM device_tokens GROUP BY user_id;

-- How much was stored today for the quotas of users and devices. Each node adds what it stored, a hundredth of a quota at a time.
CREATE TABLE stored_bytes (
    id text COLLATE "C" PRIMARY KEY,
    size bigint NOT NULL
);
