import pytest_twisted
from msgspec import json

from bench.filling import ASKED, DAY, SHARE, Filling, fill
from dhtwisted.model import MessageQuery, Notification
from dhtwisted.providers.sqlite.storage import FileStorage

FILLING = Filling(1_790_000_000_000, 1500, 7)


def test_both_ways_to_fill_store_the_same():
    requests = [json.decode(request) for request in FILLING.requests()]
    messages = [message for first in (0, 1000) for message in FILLING.messages(first)]
    assert len(requests) == len(messages) == 1500
    for request, message in zip(requests, messages, strict=True):
        notification = request["notification"]
        assert (request["deviceId"], notification["notification"]) == (message.device_id, message.name)
        assert notification["timestamp"] == message.timestamp
        assert notification["parameters"] == json.decode(message.parameters)


def test_messages_are_of_one_day_in_order():
    times = [FILLING.timestamp(number) for number in range(FILLING.count)]
    assert times == sorted(times)
    assert times[0] == FILLING.now - DAY
    assert times[-1] < FILLING.now


def test_the_newest_of_the_device_that_is_asked_for_are_known():
    asked = [number for number in range(FILLING.count) if FILLING.device_id(number) == ASKED]
    assert len(asked) == FILLING.count // SHARE
    assert FILLING.newest(4) == asked[-4:]
    assert FILLING.since(4) == FILLING.timestamp(asked[-4])


@pytest_twisted.ensureDeferred
async def test_a_file_is_filled(tmp_path, reactor):
    path = str(tmp_path / "data.sqlite")
    await fill(path, FILLING, reactor)
    storage = FileStorage(path, reactor)
    await storage.open()
    try:
        found = await storage.find_messages(Notification, MessageQuery(device_ids=(ASKED,), since=FILLING.since(5)))
        assert [json.decode(message.parameters)["n"] for message in found] == FILLING.newest(5)
        assert len(await storage.find_messages(Notification, MessageQuery())) == 1500
    finally:
        await storage.close()
