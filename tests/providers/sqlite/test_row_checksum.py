"""Rows that are not as they were stored: told by id, never served, and nobody else's requests fail for them."""

import os
import sqlite3
from contextlib import closing

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from dhtwisted.errors import ConfigurationError, RowDamaged, StorageDamaged
from dhtwisted.model import Command, EntityQuery, MessageQuery, Network, Notification, User
from dhtwisted.providers.sqlite.row_checksum import checksum_of, first_damaged, is_whole
from dhtwisted.testing.storage.base import command, notification, outcomes

VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"])) | st.binary()


@given(st.lists(VALUES, min_size=1).map(tuple))
def test_what_sqlite_gives_back_is_whole(values):
    with closing(sqlite3.connect(":memory:")) as connection:
        found = connection.execute(f"SELECT {', '.join('?' * len(values))}, ?", (*values, checksum_of(values))).fetchone()
    assert is_whole(found)


@given(st.binary(min_size=1), st.integers(0))
def test_a_bit_that_is_flipped_is_told(payload, place):
    row = bytearray(payload)
    row[place // 8 % len(row)] ^= 1 << place % 8
    assert not is_whole((1, "a", bytes(row), checksum_of((1, "a", payload))))


damaged_or_not = st.sampled_from(["whole", "damaged", "from before there were checksums"])


@given(st.lists(st.tuples(st.tuples(VALUES, VALUES), damaged_or_not)))
def test_of_many_rows_the_first_damaged_one_is_found(kinds):
    checksums = {
        "whole": checksum_of,
        "damaged": lambda values: checksum_of((*values, 1)),
        "from before there were checksums": lambda _: None,
    }
    rows = [(*values, checksums[kind](values)) for values, kind in kinds]
    damaged = [row for row, (_, kind) in zip(rows, kinds, strict=True) if kind == "damaged"]
    assert [row for row in rows if not is_whole(row)] == damaged
    assert first_damaged(rows) == (damaged[0] if damaged else None)


def test_the_checksum_is_the_same_for_all_time():
    """It is in files: another Python must find the same."""
    assert checksum_of((1, "aä", b"\0", None, -(2**40))) == 1885561438


def damage(path, sql):
    """Change what is in a row, as a disk does, past the server."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


@pytest_twisted.ensureDeferred
async def test_a_damaged_message_is_told_by_id(opened, path):
    storage = await opened()
    await storage.append([notification(f"n{number}", parameters=b'{"a": 1}') for number in range(3)])
    damage(path, "UPDATE notification SET parameters = CAST('{\"a\": 3}' AS BLOB) WHERE id = 2")
    lines = []
    globalLogPublisher.addObserver(lines.append)
    (read,) = await outcomes(storage.find_messages(Notification, MessageQuery()))
    globalLogPublisher.removeObserver(lines.append)
    assert isinstance(read, RowDamaged)
    assert str(read) == "notification 2 is damaged (it was changed on the disk)"
    assert [event["damage"] for event in lines if event["log_format"] == "{path}: {damage}; whoever asks for it gets 503"] == [str(read)]
    assert "notification 2 is damaged" in storage.problem()
    assert (await storage.get_message(Notification, "a", 3)).name == "n2", "what is whole is served"
    await storage.close()
    again = await opened(accepts_loss=True)
    assert [message.id for message in await again.find_messages(Notification, MessageQuery())] == [1, 3]
    assert "has lost notifications 2" in again.losses
    assert again.problem() == ""


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_no_text_any_more(opened, path):
    storage = await opened()
    await storage.append([notification("a")])
    damage(path, "UPDATE notification SET name = CAST(x'ff61' AS TEXT)")
    (read,) = await outcomes(storage.find_messages(Notification, MessageQuery()))
    assert isinstance(read, RowDamaged)
    assert "notification 1" in str(read)


@pytest_twisted.ensureDeferred
async def test_a_text_that_cannot_be_decoded_does_not_hide_an_earlier_damage(opened, path):
    storage = await opened()
    await storage.append([notification("a"), notification("b"), notification("c")])
    damage(path, "UPDATE notification SET name = CAST(x'ff61' AS TEXT) WHERE id = 3")
    damage(path, "UPDATE notification SET parameters = 7 WHERE id = 2")
    (read,) = await outcomes(storage.find_messages(Notification, MessageQuery(size=1000)))
    assert "notification 2" in str(read)
    assert [message.id for message in await storage.find_messages(Notification, MessageQuery(take=1))] == [1], "others are read as before"


@pytest_twisted.ensureDeferred
async def test_an_update_does_not_make_damage_good_and_fails_alone(opened, path):
    storage = await opened()
    await storage.append([command("a"), command("b")])
    damage(path, "UPDATE command SET parameters = x'00' WHERE id = 1")
    blocking = storage.append([notification()])
    bad, good, other = await outcomes(
        storage.update_command("a", 1, {"status": "done"}),
        storage.update_command("a", 2, {"status": "done"}),
        storage.append([notification()]),
    )
    await blocking
    assert isinstance(bad, RowDamaged)
    assert (good.status, other) == ("done", None)
    assert "command 1 is damaged" in storage.problem()
    (read,) = await outcomes(storage.get_message(Command, "a", 1))
    assert isinstance(read, RowDamaged)
    assert (await storage.get_message(Command, "a", 2)).status == "done", "one that was updated is whole"


@pytest_twisted.ensureDeferred
async def test_a_damaged_entity_is_told_at_the_start(opened, path):
    storage = await opened()
    await storage.insert(User(login="anna", password="", role=1, status=0))
    await storage.insert(Network(name="home"))
    await storage.close()
    damage(path, "UPDATE entity SET body = CAST(replace(CAST(body AS TEXT), 'anna', 'ante') AS BLOB) WHERE kind = 'user'")
    with pytest.raises(ConfigurationError, match=r"user 1 is damaged \(it was changed on the disk\).*--accept-loss"):
        await opened()
    again = await opened(accepts_loss=True)
    assert await again.find(User, EntityQuery()) == []
    assert [network.name for network in await again.find(Network, EntityQuery())] == ["home"]
    assert (await again.insert(User(login="anna", password="", role=1, status=0))).id == 2


@pytest_twisted.ensureDeferred
async def test_a_backup_with_damaged_rows_is_refused_and_names_them(opened, path):
    storage = await opened()
    portions = []

    async def take(data):
        portions.append(data)

    await storage.insert(Network(name="home"))
    await storage.append([notification(f"n{number}") for number in range(20)])
    await storage.append([command("a")])
    # Rows of before there were checksums are taken as they are.
    damage(path, "UPDATE notification SET name = 'old', checksum = NULL WHERE id = 20")
    await storage.back_up(take)
    assert portions
    portions.clear()
    damage(path, "UPDATE notification SET name = 'other' WHERE id = 2")
    with pytest.raises(StorageDamaged, match=r"\(not as it was stored: notification 2\); stop the server"):
        await storage.back_up(take)
    assert "notification 2" in storage.problem(), "the health tells it too"
    damage(path, "UPDATE entity SET body = CAST(replace(CAST(body AS TEXT), 'home', 'dome') AS BLOB) WHERE kind = 'network'")
    damage(path, "UPDATE notification SET name = CAST(x'ff61' AS TEXT) WHERE id BETWEEN 2 AND 15")
    with pytest.raises(StorageDamaged, match="network 1, notification 2, .*notification 10 and 5 more"):
        await storage.back_up(take)
    assert (portions, os.path.exists(f"{path}.backup")) == ([], False)
