"""Twelve thousand malformed inputs: each has one answer or a close with a code, none is the server's fault (Messages 5, Access 6).

What was stored on the way can be read by everybody afterwards.
"""

import json
import re
import socket
from collections import Counter
from itertools import islice

import pytest

from dhtwisted.actions import ACTIONS
from tests.support.attacks.client import CLOSE, Wire
from tests.support.attacks.corpus import frames, http_requests, texts
from tests.support.attacks.measures import raise_own_file_limit

TEXTS, FRAMES, REQUESTS = 7000, 2500, 2500
AT_ONCE, CONNECTIONS = 50, min(1250, raise_own_file_limit() // 2)
SECONDS = 20
SHORT = {f"DHTWISTED_LIMITS_{name}_TIMEOUT": "1s" for name in ("AUTHENTICATE", "BODY", "HANDSHAKE")}
"""For who says nothing more: what is only the beginning of something ends there."""


CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009}


def batched(items, size):
    """Lists of so many."""
    items = iter(items)
    while some := list(islice(items, size)):
        yield some


@pytest.fixture
def limits():
    """Settings of :func:`server`."""
    return SHORT


@pytest.fixture
def server(start, limits):
    """A server with something in it."""
    server = start("--storage", "file:hive.sqlite", DHTWISTED_LIMITS_LOGINS_PER_MINUTE="0", **limits)
    administrator = server.connect()
    administrator.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
    administrator.call("command/insert", deviceId="pump", command={"command": "on"})
    administrator.call("notification/insert", deviceId="pump", notification={"notification": "wet"})
    server.token = administrator.call("token", login="dhadmin", password="administrator-1")["accessToken"]
    administrator.close()
    yield server
    check(server)


def check(server):
    """The server works, has logged no defect, and what it keeps is JSON to everybody."""
    client = server.connect()
    for device in client.call("device/list")["devices"]:
        for kind in ("command", "notification"):
            client.call(f"{kind}/list", deviceId=device["id"], take=1000)
    client.call("user/list")
    client.close()
    assert server.process.poll() is None
    assert "Traceback" not in server.log
    assert "failed" not in re.sub("a login failed", "", server.log)


def strict(text):
    """Decode as readers do that accept no more than JSON."""
    return json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize("limits", [{"DHTWISTED_LIMITS_AUTHENTICATE_TIMEOUT": "10m"}], ids=[""])
def test_every_text_has_one_reply(server):
    # One of the clients does not log in, however long all of it takes.
    wires = [Wire(server.port), Wire(server.port)]
    wires[1].say(action="authenticate", requestId="in", token=server.token)
    assert strict(wires[1].read_text())["status"] == "success"
    held = []
    for number, text in enumerate(texts(TEXTS)):
        if b"user/delete" in text or b"user/update" in text:
            # It may be the administrator, whose token ends.
            text = text.replace(b"user/update", b"user/get").replace(b"user/delete", b"user/get")
        wire = wires[number % 2]
        wire.send_text(text)
        wire.say(action="server/info", requestId=f"after {number}")
        held.append((wire, number, text))
        if len(held) == AT_ONCE:
            _check_replies(held)
            held = []
    _check_replies(held)


def _check_replies(held):
    for wire, number, text in held:
        replies = []
        while True:
            message = strict(wire.read_text())
            if message.get("requestId") == f"after {number}":
                break
            if "status" in message:
                replies.append(message)
        assert len(replies) == 1, text
        assert replies[0]["status"] == "success" or 400 <= replies[0]["code"] < 500, (text, replies)


def test_every_break_of_the_protocol_ends_in_a_close_with_a_code(server):
    for some in batched(frames(FRAMES), CONNECTIONS):
        wires = [(Wire(server.port), data) for data in some]
        for wire, data in wires:
            wire.socket.sendall(data)
        for wire, data in wires:
            (payload,) = [payload for opcode, payload in wire.read_frames() if opcode == CLOSE]
            # 1008 is told to those whose frame has not ended, and who have not authenticated.
            assert payload == b"" or int.from_bytes(payload[:2], "big") in CODES, (data, payload)
            wire.close()


def test_every_http_request_is_answered_below_500(server):
    statuses = Counter()
    for some in batched(http_requests(REQUESTS, authorization=b"Authorization: Bearer " + server.token.encode()), CONNECTIONS):
        connections = []
        for request in some:
            connection = socket.create_connection(("127.0.0.1", server.port), SECONDS)
            # What may be the administrator must not go.
            connection.sendall(request.replace(b"DELETE", b"GET").replace(b"/user", b"/network"))
            connections.append((connection, request))
        for connection, request in connections:
            with connection:
                status = answer_of(connection)
            assert status is None or status < 500, request
            statuses[status and status // 100] += 1
    assert statuses[2] > REQUESTS / 20
    assert statuses[4] > REQUESTS / 3
    assert statuses[None] < REQUESTS / 3, "closed without an answer"


def answer_of(connection):
    """The status of an answer; ``None`` when the connection is closed without one."""
    with connection.makefile("rb") as stream:
        while True:
            try:
                words = stream.readline().split()
                while stream.readline().strip():
                    pass
            except ConnectionError:
                return None
            if not words or words[1] != b"100":
                return int(words[1]) if words else None


def test_the_texts_name_every_action():
    named = {action for text in texts(TEXTS) for action in re.findall(rb'"action": ?"([\w/]+)"', text)}
    assert {name.encode() for name in ACTIONS} <= named
