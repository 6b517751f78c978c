"""The mark beside a data file: what it proves after a crash between any two steps, and what a start makes of it."""

import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.model import MessageQuery, Network, Notification
from dhtwisted.providers.sqlite import mark as sqlite_mark
from dhtwisted.providers.sqlite import process as writer_process
from dhtwisted.providers.sqlite import storage as file
from dhtwisted.providers.sqlite.data_files import MARK
from dhtwisted.providers.sqlite.mark import ACKNOWLEDGED, SLOT, SLOTS, Mark, read_mark, write_whole_mark
from dhtwisted.providers.sqlite.proof import LEAP, prove, shortfall, start_problem
from dhtwisted.testing.storage.base import notification, outcomes
from tests.support.writers import program

EVERYTHING = MessageQuery()


def counters(batch):
    return {"batch": batch, "notification": 10 * batch}


def wipe(path, slot):
    """What a crash in the middle of a write leaves of a slot."""
    with open(path + MARK, "r+b") as mark:
        mark.seek(slot * SLOT + 5)
        mark.write(b"torn")


def test_there_is_none_at_first(path):
    assert read_mark(path) is None
    open(path + MARK, "wb").close()
    assert read_mark(path) is None


def test_is_for_its_user_alone_and_readable(path):
    write_whole_mark(path, counters(3))
    assert os.stat(path + MARK).st_mode & 0o777 == 0o600
    assert os.path.getsize(path + MARK) == SLOTS * SLOT
    with open(path + MARK) as mark:
        assert json.loads(mark.readline().partition(" ")[2]) == counters(3)


def test_a_batch_that_was_begun_is_given_and_not_acknowledged(path):
    write_whole_mark(path, counters(3))
    with closing(Mark(path)) as mark:
        mark.give(counters(4))
        assert read_mark(path) == sqlite_mark.Marked(counters(3), counters(4))
        mark.acknowledge()
        assert read_mark(path) == sqlite_mark.Marked(counters(4), counters(4))


@given(batches=st.integers(1, 5), begun=st.booleans(), lost=st.sets(st.integers(0, SLOTS - 1), max_size=1))
def test_after_a_loss_of_power_all_but_the_last_batch_is_proved(tmp_path_factory, batches, begun, lost):
    """The slot of what is acknowledged may be as old as can be then, or one slot be torn; never is more proved than there was."""
    path = str(tmp_path_factory.mktemp("mark") / "data")
    write_whole_mark(path, counters(1))
    with open(path + MARK, "rb") as mark:
        old = mark.read()[ACKNOWLEDGED * SLOT :]
    last = 1
    with closing(Mark(path)) as mark:
        for last in range(2, 2 + batches):
            mark.give(counters(last))
            if not begun or last < 1 + batches:
                mark.acknowledge()
    with open(path + MARK, "r+b") as mark:
        mark.seek(ACKNOWLEDGED * SLOT)
        mark.write(old)
    for slot in lost:
        wipe(path, slot)
    marked = read_mark(path)
    acknowledged = last - 1 if begun else last
    torn = 1 if lost and lost != {ACKNOWLEDGED} else 0
    assert last - 1 - torn <= marked.acknowledged["batch"] <= acknowledged
    assert marked.acknowledged.get("notification", 0) <= 10 * acknowledged
    assert shortfall(marked.acknowledged, counters(acknowledged)) is None, "no start is refused for a crash"
    if not lost:
        assert marked.given == counters(last)


def test_a_batch_that_failed_and_was_tried_again_takes_the_place_of_itself(path):
    write_whole_mark(path, counters(3))
    with closing(Mark(path)) as mark:
        for _ in range(3):
            mark.give(counters(4))
    assert read_mark(path).acknowledged == counters(3)


def test_a_file_system_that_always_uses_the_cache(path, monkeypatch):
    real = os.open

    def refuse(name, flags, *arguments):
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(name, flags, *arguments)

    write_whole_mark(path, counters(3))
    monkeypatch.setattr(os, "open", refuse)
    with closing(Mark(path)) as mark:
        mark.give(counters(4))
        mark.acknowledge()
    assert read_mark(path).acknowledged == counters(4)


@pytest_twisted.ensureDeferred
async def test_the_data_say_that_a_server_is_at_them_also_in_the_file_alone(opened, path, tmp_path, reactor):
    storage = await opened(path)
    await storage.append([notification("a")])
    alone = str(tmp_path / "alone.sqlite")
    shutil.copy(path, alone)
    with pytest.raises(ConfigurationError, match="was copied while a server worked on it, or .*alone.sqlite.mark was lost") as caught:
        await opened(alone)
    assert "\n" not in str(caught.value)
    assert "put " in start_problem(alone)
    await storage.close()
    shutil.copy(path, alone)
    again = await opened(alone)
    assert [message.name for message in await again.find_messages(Notification, EVERYTHING)] == ["a"], "one that was stopped is whole"


@pytest_twisted.ensureDeferred
async def test_without_its_mark_the_ids_of_accepted_data_leap(opened, path, tmp_path):
    storage = await opened(path)
    await storage.append([notification("a")])
    alone = str(tmp_path / "alone.sqlite")
    for suffix in ("", "-wal"):
        shutil.copy(path + suffix, alone + suffix)
    again = await opened(alone, accepts_loss=True)
    later = notification("later")
    await again.append([later])
    assert later.id == 1 + LEAP + 1
    assert later.arrived < 2 * storage_time(storage), "the time is not an id"
    assert len(again.losses) == 1


def storage_time(storage):
    return storage._reactor.seconds() * 1000


@pytest_twisted.ensureDeferred
async def test_an_older_file_beside_the_mark_is_refused_and_then_gives_no_id_again(opened, path, tmp_path):
    storage = await opened(path)
    await storage.append([notification("a")])
    await storage.close()
    shutil.copy(path, tmp_path / "older")
    storage = await opened(path)
    await storage.append([notification("b"), notification("c")])
    await storage.insert(Network(name="n"))
    await storage.close()
    os.replace(tmp_path / "older", path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(
        ConfigurationError,
        match=r"notifications with id 2 to 3, networks with id 1, all that was changed by the last \d+ writes to the disk .*; first copy",
    ):
        await opened(path)
    left = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert {name: left[name] for name in before if name != "data.sqlite.lock"} == {
        name: before[name] for name in before if name != "data.sqlite.lock"
    }
    again = await opened(path, accepts_loss=True)
    later = notification("later")
    await again.append([later])
    assert later.id == 4
    assert (await again.insert(Network(name="n"))).id == 2
    await again.close()
    once_more = await opened(path)
    assert once_more.losses == []


@pytest_twisted.ensureDeferred
async def test_a_data_file_that_is_gone_is_not_begun_anew_beside_its_mark(opened, path):
    storage = await opened(path)
    await storage.append([notification("a")])
    await storage.close()
    os.unlink(path)
    with pytest.raises(ConfigurationError, match="lacks what was acknowledged last.*notifications with id 1,"):
        await opened(path)
    again = await opened(path, accepts_loss=True)
    later = notification("later")
    await again.append([later])
    assert later.id == 2


@pytest_twisted.ensureDeferred
async def test_data_of_before_there_were_marks_get_one(opened, path):
    storage = await opened(path)
    await storage.append([notification("a")])
    await storage.close()
    os.unlink(path + MARK)
    storage = await opened(path)
    assert read_mark(path).acknowledged["notification"] == 1


@pytest_twisted.ensureDeferred
async def test_a_backup_starts_anywhere(opened, path, tmp_path):
    storage = await opened(path)
    await storage.append([notification("a")])
    copy = tmp_path / "copy.sqlite"

    async def write(data):
        with copy.open("ab") as file:
            file.write(data)

    await storage.back_up(write)
    assert prove(str(copy)).crashed is False
    again = await opened(copy)
    assert [message.name for message in await again.find_messages(Notification, EVERYTHING)] == ["a"]


@pytest_twisted.ensureDeferred
async def test_a_mark_that_is_gone_is_told_and_stops_nothing(opened, path, tmp_path):
    storage = await opened(path)
    (tmp_path / "data.sqlite.mark").unlink()
    assert "data.sqlite.mark: was deleted" in storage.problem()
    await storage.append([notification("a")])
    assert [message.name for message in await storage.find_messages(Notification, EVERYTHING)] == ["a"]


@pytest.mark.parametrize(("step", "stored"), [("give", []), ("acknowledge", ["refused"])])
@pytest_twisted.ensureDeferred
async def test_nothing_is_acknowledged_that_the_mark_does_not_have(opened, path, monkeypatch, step, stored):
    change = f"def fail(*arguments):\n    raise OSError(5, 'Input/output error')\nprogram.Mark.{step} = fail"
    monkeypatch.setattr(writer_process, "COMMAND", program(change))
    storage = await opened(path)
    monkeypatch.setattr("dhtwisted.providers.sqlite.writer.write_whole_mark", _fail)
    (refused,) = await outcomes(storage.append([notification("refused")]))
    assert isinstance(refused, StorageUnavailable)
    assert "mark cannot be written: Input/output error" in str(refused)
    assert [message.name for message in await storage.find_messages(Notification, EVERYTHING)] == stored


def _fail(path, counters):
    raise OSError(5, "Input/output error")


@pytest_twisted.ensureDeferred
async def test_after_a_crash_a_large_file_is_searched_while_the_server_works(opened, path, tmp_path, monkeypatch):
    storage = await opened(path)
    await storage.append([notification(f"n{number}") for number in range(2000)])
    crashed = str(tmp_path / "crashed.sqlite")
    for suffix in ("", "-wal", MARK):
        shutil.copy(path + suffix, crashed + suffix)
    with closing(sqlite3.connect(crashed)) as connection:
        connection.execute("DELETE FROM notification WHERE id = 7")
        connection.commit()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'notification_by_arrival'").fetchone()
    with open(crashed, "r+b") as damaged:
        damaged.seek((root - 1) * 4096 + 4090)
        damaged.write(b"\xff" * 6)
    monkeypatch.setattr(file, "LARGE_FILE", 0)
    monkeypatch.setattr("dhtwisted.providers.sqlite.proof.LARGE", 0)
    again = await opened(crashed)
    assert "is searched for damage" in again.problem()
    while "is searched" in (problem := again.problem()):
        await again.find_messages(Notification, MessageQuery(take=1))
    assert "the storage file is damaged" in problem


@pytest_twisted.ensureDeferred
async def test_a_new_file_is_begun_also_where_losses_are_accepted(opened, path):
    storage = await opened(path, accepts_loss=True)
    await storage.append([notification("a")])
    assert storage.losses == []


@pytest_twisted.ensureDeferred
async def test_a_damaged_file_of_an_older_release_is_left_to_that(opened, path):
    storage = await opened(path)
    await storage.append([notification(f"n{number}") for number in range(2000)])
    await storage.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE notification DROP COLUMN checksum")
    before = os.path.getsize(path)
    with open(path, "r+b") as damaged:
        damaged.seek(before // 2 // SLOT * SLOT)
        damaged.write(bytes(SLOT))
    with pytest.raises(ConfigurationError, match="what is whole cannot be saved .no such column: checksum"):
        await opened(path, accepts_loss=True)
    assert os.path.getsize(path) == before
    assert not os.path.exists(f"{path}.rebuilt")
