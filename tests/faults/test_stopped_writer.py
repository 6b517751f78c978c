"""The process that writes the file does nothing for a while (Messages 5, 7 and 12)."""

import json
import time
import urllib.request
from urllib.error import HTTPError

import pytest

from tests.support.servers.process import PASSWORD
from tests.support.writers import has_ended, writer_of

CONTRACT, STOP = 10, 15
"""Seconds."""


@pytest.fixture
def server(start):
    server = start("--storage", "file:hive.sqlite")
    server.client = server.connect()
    server.client.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
    return server


@pytest.fixture
def writer(server):
    writer = writer_of(server.log_path.parent / "hive.sqlite", server.process.pid)
    yield writer
    if not has_ended(writer):
        writer.resume()


def insert(client, number):
    client.send(action="notification/insert", requestId=number, deviceId="pump", notification={"notification": f"n{number}"})


def status_over_rest(server, token):
    request = urllib.request.Request(
        server.url("/api/rest/device/pump/notification", "http"),
        json.dumps({"notification": "rest"}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        return urllib.request.urlopen(request, timeout=30).status
    except HTTPError as error:
        return error.code


def test_everybody_is_answered_in_time_and_what_is_stored_is_told_once(server, writer):
    client, subscriber = server.client, server.connect()
    subscriber.call("notification/subscribe", deviceId="pump")
    token = client.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
    writer.suspend()
    begun = time.monotonic()
    insert(client, 0)
    assert subscriber.call("server/info"), "the first one has been read: the others cannot be in its batch"
    insert(client, 1)
    insert(client, 2)
    assert status_over_rest(server, token) == 503
    assert time.monotonic() - begun < CONTRACT
    assert [(reply["requestId"], reply["code"]) for reply in (client.receive() for _ in range(3))] == [(n, 503) for n in range(3)]
    assert time.monotonic() - begun < CONTRACT
    assert client.call("server/info"), "it answers all the time"
    writer.resume()
    resumed = time.monotonic()
    while "notification" not in (reply := client_reply(client)):
        assert time.monotonic() - resumed < STOP
    told = [subscriber.receive()["notification"] for _ in range(2)]
    assert [message["notification"] for message in told] == ["n0", "again"], "one was begun when the writer stopped"
    assert told[0]["id"] + 1 == told[1]["id"] == reply["notification"]["id"]
    stored = client.call("notification/list", deviceId="pump", sortField="timestamp", sortOrder="ASC")["notifications"]
    assert [message["notification"] for message in stored if not message["notification"].startswith("$")] == ["n0", "again"]


def client_reply(client):
    client.send(action="notification/insert", requestId="again", deviceId="pump", notification={"notification": "again"})
    return client.receive()


def test_the_server_stops_in_time(server, writer):
    writer.suspend()
    insert(server.client, 1)
    begun = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - begun < STOP
    assert has_ended(writer)
    assert "Traceback" not in server.log
