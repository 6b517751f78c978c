"""Messages of one connection are taken in turns with those of others, and none is lost by it; the rest is in ``test_frames.py``."""

import json

import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from dhtwisted.transports import input as turns
from tests.transports.raw import frame

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
