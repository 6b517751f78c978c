from collections import Counter
from itertools import pairwise

import pytest
import pytest_twisted
from msgspec import json

from bench.filling import ASKED, SHARE
from bench.growth import history
from bench.growth.history import SILENT, SILENT_TIME, History, expire, fill
from dhtwisted.model import MessageQuery, Notification
from dhtwisted.providers.sqlite.inspection import damage_of
from dhtwisted.providers.sqlite.proof import start_problem
from dhtwisted.providers.sqlite.row_search import first_damaged_row
from dhtwisted.providers.sqlite.storage import FileStorage

NOW = 1_790_000_000_000


@pytest.fixture
def short(monkeypatch):
    """A history that is soon stored."""
    monkeypatch.setattr(history, "SILENT_COUNT", 20)
    monkeypatch.setitem(history.COMMIT, "file", 700)
    return History(NOW, 3000, 50)


def test_the_silent_device_has_sent_long_ago_and_no_more():
    found = History(NOW, 100_000, 100)
    silent = [number for number in range(found.count) if found.device_id(number) == SILENT]
    assert silent == list(found.silent)
    assert len(silent) == history.SILENT_COUNT
    first, end = SILENT_TIME
    assert found.count * first <= silent[0] < silent[-1] < found.count * end


def test_all_devices_send_about_as_much_in_no_order():
    found = History(NOW, 100_000, 100)
    devices = [found.device_id(number) for number in range(found.count)]
    counts = Counter(devices)
    assert counts.pop(ASKED) == found.count // SHARE
    del counts[SILENT]
    assert len(counts) == 100
    assert max(counts.values()) < 1.5 * min(counts.values())
    assert sum(one < other for one, other in pairwise(devices)) < 0.6 * len(devices)


@pytest_twisted.ensureDeferred
async def test_a_filled_file_is_whole_and_has_all_of_it(tmp_path, reactor, short):
    path = str(tmp_path / "data.sqlite")
    await fill(reactor, f"file:{path}", short.now, short.count, short.devices)
    assert start_problem(path) is None
    assert first_damaged_row(path) is None
    assert damage_of(path) is None
    storage = FileStorage(path, reactor)
    await storage.open()
    try:
        found = await storage.find_messages(Notification, MessageQuery(device_ids=(SILENT,)))
        assert [json.decode(message.parameters)["n"] for message in found] == list(short.silent)
        assert len(await storage.find_messages(Notification, MessageQuery())) == short.count
    finally:
        await storage.close()


@pytest_twisted.ensureDeferred
async def test_the_oldest_are_deleted_and_the_time_is_told(tmp_path, reactor, short, capsys):
    path = str(tmp_path / "data.sqlite")
    await fill(reactor, f"file:{path}", short.now, short.count, short.devices)
    await expire(reactor, f"file:{path}", "1000")
    assert float(capsys.readouterr().out) > 0
    storage = FileStorage(path, reactor)
    await storage.open()
    try:
        found = await storage.find_messages(Notification, MessageQuery())
        assert [message.id for message in found] == list(range(1001, 3001))
    finally:
        await storage.close()
