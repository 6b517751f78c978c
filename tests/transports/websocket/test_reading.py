"""Messages of one connection are taken in turns with those of others, and none is lost by it; the rest is in ``test_frames.py``."""

import json

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from dhtwisted.transports.websocket import reading as turns
from tests.support.alone import Side
from tests.support.raw import BINARY, PING, frame

INSERT = {"action": "notification/insert", "deviceId": "d1", "notification": {"notification": "t"}}


async def with_device(server):
    connection = await server.authenticated()
    assert (await connection.call(action="device/save", deviceId="d1", device={}))["status"] == "success"
    return connection


@pytest_twisted.ensureDeferred
async def test_what_comes_at_once_is_taken_in_turns_with_others(listen, monkeypatch):
    monkeypatch.setattr(turns, "MESSAGES_IN_TURN", 2)
    server = await listen()
    hasty, other = await server.websocket(), await server.websocket()
    order = []
    hasty.write(b"".join(frame(json.dumps({"action": "server/info", "requestId": n})) for n in range(50)))
    other.write(frame(json.dumps({"action": "server/info", "requestId": "other"})))

    async def answers(connection, count):
        for _ in range(count):
            order.append((await connection.message())["requestId"])

    await gatherResults([Deferred.fromCoroutine(answers(hasty, 50)), Deferred.fromCoroutine(answers(other, 1))])
    assert [n for n in order if n != "other"] == list(range(50))
    assert order.index("other") < 40


@pytest_twisted.ensureDeferred
async def test_what_was_sent_before_the_end_is_taken_before_it(listen, monkeypatch):
    monkeypatch.setattr(turns, "MESSAGES_IN_TURN", 2)
    server = await listen()
    hasty = await with_device(server)
    subscriber = await server.authenticated()
    await subscriber.call(action="notification/subscribe", deviceId="d1")
    hasty.write(b"".join(frame(json.dumps(INSERT | {"requestId": n})) for n in range(50)))
    hasty.transport.loseConnection()
    for _ in range(50):
        assert (await subscriber.message())["notification"]["notification"] == "t"


@pytest_twisted.ensureDeferred
async def test_one_that_does_not_read_is_not_read_either_in_its_turns(listen, monkeypatch):
    monkeypatch.setattr(turns, "MESSAGES_IN_TURN", 2)
    server = await listen()
    connection = await with_device(server)
    connection.transport.pauseProducing()
    request = frame(json.dumps({"action": "server/info", "requestId": "x" * 50_000}))
    sent = 60
    for _ in range(sent):
        connection.write(request)
    for _ in range(50):
        await server.tick()
    connection.transport.resumeProducing()
    for _ in range(sent):
        assert (await connection.message())["status"] == "success"


BETWEEN = {
    "a ping": frame(b"", PING),
    "a fragmented message": frame(b"ab", fin=False) + frame(b"", PING) + frame(b"c", 0),
    "a large frame": frame(b"x" * 70_000),
    "the end of a large frame": None,
}


@pytest.mark.parametrize("between", BETWEEN)
def test_what_is_for_autobahn_does_not_end_the_turns(monkeypatch, between):
    monkeypatch.setattr(turns, "MESSAGES_IN_TURN", 4)
    side = Side()
    stream = BETWEEN[between]
    if stream is None:
        large = frame(b"x" * 70_000)
        side.protocol.dataReceived(large[:-5])
        stream = large[-5:]
    side.protocol.dataReceived(stream + frame(b"m") * 50)
    assert side.session.messages.count(b"m") <= 4
    side.clock.advance(0)
    assert side.session.messages.count(b"m") == 50


def test_what_comes_after_the_end_is_not_kept():
    side = Side()
    side.feed(frame(b"\x03\xe8", 8))
    for _ in range(10):
        side.protocol.dataReceived(b"x" * 1000)
    assert side.protocol.data == b""


def test_behind_a_violation_nothing_is_read():
    side = Side()
    side.feed(frame(b"binary", BINARY) + frame(b"m") * 3)
    assert side.session.messages == []
