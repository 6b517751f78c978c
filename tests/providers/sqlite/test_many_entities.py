"""Entities that the file storage does not keep in memory: what else happens to the file holds for them too."""

import sqlite3
from contextlib import closing

import pytest
import pytest_twisted

from dhtwisted.errors import ConfigurationError, RowDamaged
from dhtwisted.model import EntityQuery, MqttQueued, MqttReceived, MqttRetained
from dhtwisted.providers.sqlite.many_rows import MANY_TABLES
from dhtwisted.providers.sqlite.storage import FileStorage

GROUPS = ("1 a", "1 b")


def queued(session, number):
    return MqttQueued.of(session, number, topic="a/b", qos=1, payload=b"x" * 100)


def of(session):
    return EntityQuery(equal={"session": session})


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "data.sqlite")


def change_file(path, sql):
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(sql).rowcount == 1


async def filled(path, reactor):
    storage = FileStorage(path, reactor)
    await storage.open()
    await storage.change_many([queued(session, number) for session in GROUPS for number in (1, 2)], [])
    await storage.change_many([MqttReceived.of("1 a", 7), MqttRetained(topic="a", payload=b"", qos=0, published=1)], [])
    return storage


@pytest_twisted.ensureDeferred
async def test_a_damaged_row_is_told_and_never_served(path, reactor):
    await (await filled(path, reactor)).close()
    change_file(path, "UPDATE entity SET body = replace(body, 'a/b', 'a/c') WHERE key = '1 a 0000000000000002'")
    storage = FileStorage(path, reactor)
    await storage.open()
    with pytest.raises(RowDamaged, match="queuedmessage 1 a 0000000000000002 is damaged"):
        await storage.find(MqttQueued, of("1 a"))
    assert await storage.find(MqttQueued, of("1 b")) == [queued("1 b", 1), queued("1 b", 2)]
    assert "queuedmessage 1 a 0000000000000002 is damaged" in storage.problem()
    await storage.close()


@pytest_twisted.ensureDeferred
async def test_a_start_that_accepts_the_loss_keeps_the_others(path, reactor):
    await (await filled(path, reactor)).close()
    change_file(path, "UPDATE entity SET checksum = 1 WHERE key = '1 a 0000000000000002'")
    storage = FileStorage(path, reactor)
    storage.accept_loss()
    await storage.open()
    assert any("queuedmessage 1 a 0000000000000002" in loss for loss in storage.losses)
    assert await storage.find(MqttQueued, EntityQuery()) == [queued("1 a", 1), queued("1 b", 1), queued("1 b", 2)]
    assert await storage.count(MqttReceived, EntityQuery()) == await storage.count(MqttRetained, EntityQuery()) == 1
    await storage.close()


@pytest_twisted.ensureDeferred
async def test_a_copy_has_them(path, reactor):
    storage = await filled(path, reactor)
    portions = []

    async def write(portion):
        portions.append(portion)

    counts = await storage.back_up(write)
    await storage.close()
    assert (counts["queuedmessage"], counts["receivedpacket"], counts["retainedmessage"]) == (4, 1, 1)
    with open(f"{path}.copy", "wb") as file:
        file.write(b"".join(portions))
    copy = FileStorage(f"{path}.copy", reactor)
    copy.accept_loss()
    await copy.open()
    assert await copy.find(MqttQueued, of("1 b")) == [queued("1 b", 1), queued("1 b", 2)]
    await copy.close()


@pytest_twisted.ensureDeferred
async def test_a_file_with_a_kind_that_is_not_known_is_refused(path, reactor):
    await (await filled(path, reactor)).close()
    change_file(path, "UPDATE entity SET kind = 'plugin' WHERE key = '1 a 0000000000000002'")
    with pytest.raises(ConfigurationError, match="plugin"):
        await FileStorage(path, reactor).open()


@pytest_twisted.ensureDeferred
async def test_a_group_is_read_along_the_primary_key(path, reactor):
    storage = await filled(path, reactor)
    await storage.close()
    with closing(sqlite3.connect(path)) as connection:
        for query in (of("1 a"), EntityQuery(equal={"session": "1 a"}, after=("1 a 0000000000000001",), take=5, descending=True)):
            sql, parameters = MANY_TABLES[MqttQueued].find(query)
            (plan,) = (row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
            assert plan.startswith("SEARCH entity USING INDEX sqlite_autoindex_entity_1 (kind=? AND key>? AND key<?"), (
                "that of the primary key"
            )
