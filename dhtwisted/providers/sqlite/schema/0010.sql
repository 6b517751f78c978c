-- Entities in a table with rowids, which packs rows of any size. Without rowids a row of more than a quarter of a page takes pages of its own:
-- retained messages of 640 bytes took 4.4 KB each.
ALTER TABLE entity RENAME TO entity_without_rowids;
CREATE TABLE entity (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,   -- JSON; of what MQTT keeps MessagePack, or JSON in rows of before (entity_bodies.py)
    checksum INTEGER,
    PRIMARY KEY (kind, key)
);
INSERT INTO entity (kind, key, body, checksum) SELECT kind, key, body, checksum FROM entity_without_rowids;
DROP TABLE entity_without_rowids;
