"""Three hundred polls waiting at once: no thread, little memory, each answered; those that wait at the end are answered too."""

import json
import re
import socket
from pathlib import Path

import pytest

from tests.support.servers.process import START_SECONDS

pytestmark = pytest.mark.slow

POLLS = 300
MEGABYTES = 20
PATH = "/api/rest/device/pump/notification/poll"


@pytest.fixture
def server(start):
    """A server with one device."""
    server = start("--storage", "file:hive.sqlite")
    server.administrator = server.connect()
    server.administrator.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
    server.token = server.administrator.call("token", login="dhadmin", password="administrator-1")["accessToken"]
    return server


def status(server, name):
    """A number of what the kernel says about the process."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1])


def poll(server):
    """A connection that waits for notifications of the device: its request came together with one that has been answered."""
    connection = socket.create_connection(("127.0.0.1", server.port), START_SECONDS)
    fields = f"HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    connection.sendall(f"GET {PATH}?names=other&waitTimeout=0 {fields}GET {PATH}?names=temperature&waitTimeout=60 {fields}".encode())
    stream = connection.makefile("rb")
    connection.close()
    assert answer_of(stream) == (200, [])
    return stream


def answer_of(stream):
    """Status and body of the next answer."""
    number, length = int(stream.readline().split()[1]), 0
    while (line := stream.readline()) != b"\r\n":
        assert line, "the connection was closed without an answer"
        name, value = line.split(b":", 1)
        length = int(value) if name.lower() == b"content-length" else length
    return number, json.loads(stream.read(length))


def test_they_cost_no_thread_and_little_memory_and_all_are_answered(server):
    threads, kilobytes = status(server, "Threads"), status(server, "VmRSS")
    connections = [poll(server) for _ in range(POLLS)]
    assert status(server, "Threads") == threads
    assert status(server, "VmRSS") - kilobytes < MEGABYTES * 1024
    told = server.administrator.call(
        "notification/insert", deviceId="pump", notification={"notification": "temperature", "parameters": {"c": 21.5}}
    )
    answers = [answer_of(connection) for connection in connections]
    assert {number for number, _ in answers} == {200}
    assert [[message["id"] for message in messages] for _, messages in answers] == [[told["notification"]["id"]]] * POLLS


def test_those_that_wait_when_the_server_ends_are_answered_with_nothing(server):
    connections = [poll(server) for _ in range(POLLS)]
    assert server.terminate() == 0
    assert [answer_of(connection) for connection in connections] == [(200, [])] * POLLS
    assert "Traceback" not in server.log
