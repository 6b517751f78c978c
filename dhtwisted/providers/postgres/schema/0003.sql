-- When a message arrived, by the server's time, whatever time its client gave it: what is deleted because it is old goes by this. Of what is
-- here already the earlier of its time and now counts; now by the server's time, in case the clock is not set yet.
-- Each table is written anew, once, and nobody reads or writes it meanwhile; an UPDATE would leave it twice as large. The default is for a
-- node of the release before that still runs, and knows nothing of the column.
DO $$
DECLARE
    latest bigint := (SELECT greatest(server_time, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM message_counter);
    kind text;
BEGIN
    FOREACH kind IN ARRAY ARRAY['commands', 'notifications'] LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN arrived bigint', kind);
        EXECUTE format(
            'ALTER TABLE %I ALTER COLUMN arrived TYPE bigint USING least(timestamp, %s), ALTER COLUMN arrived SET NOT NULL,'
            ' ALTER COLUMN arrived SET DEFAULT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint',
            kind, latest
        );
        EXECUTE format('CREATE INDEX %I ON %I (arrived, id)', kind || '_by_arrival', kind);
    END LOOP;
END
$$;
