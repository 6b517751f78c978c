-- When a message arrived, by the server's time, whatever time its client gave it: what is deleted because it is old goes by this. Of what is
-- here already the earlier of its time and now counts; now by the server's time, in case the clock is not set yet.
ALTER TABLE command ADD COLUMN arrived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE notification ADD COLUMN arrived INTEGER NOT NULL DEFAULT 0;
UPDATE command SET arrived = min(
    timestamp,
    (SELECT max(strftime('%s', 'now') * 1000, coalesce(max(value), 0)) FROM counter WHERE name = 'server_time')
);
UPDATE notification SET arrived = min(
    timestamp,
    (SELECT max(strftime('%s', 'now') * 1000, coalesce(max(value), 0)) FROM counter WHERE name = 'server_time')
);
CREATE INDEX command_by_arrival ON command (arrived);
CREATE INDEX notification_by_arrival ON notification (arrived);
