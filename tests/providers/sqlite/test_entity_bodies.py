"""The bodies of entities in the file: small, and those of an older release are read too."""

import sqlite3
from contextlib import closing

import msgspec
import pytest
import pytest_twisted

from dhtwisted.kit.schema_scripts import schema_directory
from dhtwisted.model import ENTITY_KINDS, EntityQuery, MqttQueued, MqttReceived, MqttRetained, MqttSession, User
from dhtwisted.providers.sqlite.database import connect_writer, migrate
from dhtwisted.providers.sqlite.entity_bodies import body_decoder, encode_body
from dhtwisted.providers.sqlite.row_checksum import checksum_of
from dhtwisted.providers.sqlite.storage import FileStorage

SCHEMA = schema_directory("dhtwisted.providers.sqlite")
ENTITIES = [
    User(id=1, login="anna", login_key="anna"),
    MqttSession(id="1 c", user_id=1, client_id="c", created=1, claims=b"{}", device_state=b"\x00\xff"),
    MqttRetained(topic="a/b", payload=b"\x00\xff", qos=1, published=1),
    MqttQueued.of("1 c", 1, topic="a/b", qos=1, payload=b'{"a": 1}', identifiers=(7,)),
    MqttReceived.of("1 c", 5, 16),
]


def make_file_of_schema_9(path, directory, entities):
    """A data file as the release before schema 10 left it."""
    for number in range(1, 10):
        (directory / f"{number:04}.sql").write_text((SCHEMA / f"{number:04}.sql").read_text("utf-8"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, "data", directory)
        for entity in entities:
            row = entity.KIND, str(entity.key), msgspec.json.encode(entity)
            values = (*row, checksum_of(row))
            connection.execute("INSERT INTO entity (kind, key, body, checksum) VALUES (?, ?, ?, ?)", values)


@pytest_twisted.ensureDeferred
async def test_a_file_of_the_release_before_has_the_same_entities(tmp_path, reactor):
    path, scripts = str(tmp_path / "data.sqlite"), tmp_path / "scripts"
    scripts.mkdir()
    make_file_of_schema_9(path, scripts, ENTITIES)
    storage = FileStorage(path, reactor)
    await storage.open()
    try:
        for entity in ENTITIES:
            assert await storage.find(type(entity), EntityQuery()) == [entity]
        changed = msgspec.structs.replace(ENTITIES[3], state=1)
        await storage.change_many([changed, ENTITIES[2]], [(MqttReceived, ENTITIES[4].key)])
        assert await storage.update(MqttQueued, changed.key, {"state": 2}) == msgspec.structs.replace(changed, state=2)
        assert await storage.find(MqttReceived, EntityQuery()) == []
    finally:
        await storage.close()
    again = FileStorage(path, reactor)
    await again.open()
    try:
        assert await again.find(MqttRetained, EntityQuery()) == [ENTITIES[2]]
        assert await again.get(MqttQueued, changed.key) == msgspec.structs.replace(changed, state=2)
    finally:
        await again.close()


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.KIND)
def test_a_body_of_either_form_is_read(entity):
    decode = body_decoder(type(entity))
    assert decode(encode_body(entity)) == decode(msgspec.json.encode(entity)) == entity


def test_a_payload_is_stored_as_it_is():
    payload = bytes(range(256)) * 4
    body = encode_body(MqttRetained(topic="a", payload=payload, qos=1, published=1))
    assert payload in body
    assert len(body) < len(payload) + 120


@pytest.mark.parametrize("kind", [kind for kind in ENTITY_KINDS.values() if kind.BULK], ids=lambda kind: kind.KIND)
def test_no_body_begins_as_json_does(kind):
    """Otherwise the two forms could not be told apart: 0x80 to 0x8F, 0xDE and 0xDF begin an object of MessagePack."""
    assert len(kind.__struct_fields__) < 2**16
    assert encode_body(next(entity for entity in ENTITIES if type(entity) is kind))[0] in {*range(0x80, 0x90), 0xDE, 0xDF}


@pytest_twisted.ensureDeferred
async def test_retained_messages_take_little_more_than_their_bytes(tmp_path, reactor):
    """At most one and a half times: they fill their pages."""
    path, count, size = str(tmp_path / "data.sqlite"), 2000, 640
    storage = FileStorage(path, reactor)
    await storage.open()
    try:
        await storage.change_many(
            [MqttRetained(topic=f"home/room-{number}/sensor/state", payload=b"x" * size, qos=1, published=1) for number in range(count)], []
        )
    finally:
        await storage.close()
    with closing(connect_writer(path)) as connection:
        ((pages,), (page_size,)) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    assert pages * page_size < 1.5 * count * size
