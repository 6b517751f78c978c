"""Clients that ask for much and read nothing, on clear and TLS connections: what is held for all of them stays under one bound."""

import json
import ssl
import time
from contextlib import suppress

import pytest

from tests.support.attacks.client import Wire
from tests.support.attacks.corpus import frame
from tests.support.attacks.measures import resident
from tests.support.certificates import write_certificate
from tests.support.servers.process import PASSWORD

pytestmark = pytest.mark.slow

BUDGET = 32
"""Megabytes, ``limits.output_total`` of these servers."""

SLACK = 110
"""Megabytes by which a server may grow beyond that: what was under way when the budget was used up, TLS, and what Python keeps."""

SIZE = 500_000
SECONDS = 4
"""For which it is measured: the server needs some to make all that was asked for."""


class Attacked:
    """A server with some large messages, and clients that do not read.

    :ivar grown: megabytes since the attack began, at most.
    """

    def __init__(self, start, certificate):
        environment = {"DHTWISTED_LIMITS_OUTPUT_TOTAL": f"{BUDGET}MiB", "DHTWISTED_TLS_CERTIFICATE": str(certificate or "")}
        endpoint = "tls:tcp:0:interface=127.0.0.1" if certificate else "tcp:0:interface=127.0.0.1"
        self.server = start("--storage", "file:data.sqlite", endpoint=endpoint, **environment)
        self.context = ssl.create_default_context(cafile=certificate) if certificate else None
        if certificate:
            self.context.check_hostname = False
        self.token, self.wires = None, []
        self.own = self.connect()
        self.token = self.ask(action="token", login="dhadmin", password=PASSWORD)["accessToken"]
        self.ask(action="authenticate", token=self.token)
        self.ask(action="device/save", deviceId="d", device={"id": "d", "name": "d", "networkId": 1, "deviceTypeId": 1})
        self.insert(40)
        self.memory, self.grown = resident(self.server), 0

    def connect(self, **options):
        """A client that has authenticated, if there is a token."""
        wire = Wire(self.server.port, context=self.context, **options)
        if self.token is not None:
            wire.say(action="authenticate", token=self.token, requestId=1)
            assert json.loads(wire.read_text())["status"] == "success"
        return wire

    def unread(self, count):
        """Clients that will read no more."""
        return self._kept([self.connect(window=4096) for _ in range(count)])

    def strangers(self, count):
        """Clients that do not authenticate."""
        return self._kept([Wire(self.server.port, context=self.context) for _ in range(count)])

    def _kept(self, wires):
        # Sockets that nobody refers to are closed.
        self.wires += wires
        for wire in wires:
            wire.socket.settimeout(0.2)
        return wires

    def ask(self, **members):
        """The answer to the one client that reads; it must not wait for long for the others."""
        self.own.say(requestId=7, **members)
        reply = json.loads(self.own.read_text())
        assert reply["status"] == "success", reply
        return reply

    def insert(self, count):
        """Store large messages."""
        for _ in range(count):
            self.ask(action="notification/insert", deviceId="d", notification={"notification": "n", "parameters": {"x": "y" * SIZE}})

    def look(self):
        """Ask as others do, while it is measured how much the server holds."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            self.ask(action="server/info")
            self.grown = max(self.grown, resident(self.server) - self.memory)
        assert self.grown < BUDGET + SLACK


@pytest.fixture(params=["clear", "tls"])
def attacked(request, start, tmp_path):
    attacked = Attacked(start, write_certificate(tmp_path / "server.pem") if request.param == "tls" else None)
    yield attacked
    assert attacked.server.process.poll() is None
    assert "Traceback" not in attacked.server.log


def send(wires, data):
    """Send as much of it as is taken at once."""
    for wire in wires:
        with suppress(OSError):
            wire.socket.sendall(data)


LOGIN = frame(b'{"action":"token","login":"dhadmin","password":"%b"}' % PASSWORD.encode())
"""Takes a moment, in which what follows is read, and waits for its turn."""

LIST = frame(b'{"action":"notification/list","deviceId":"d","take":4,"requestId":5}')
REPLAY = frame(b'{"action":"notification/subscribe","timestamp":"2000-01-01T00:00:00.000","requestId":5}')
LIVE = frame(b'{"action":"notification/subscribe","requestId":5}')


def test_unread_lists_of_one_client_are_not_begun(attacked):
    send(attacked.unread(1), LOGIN * 20 + LIST * 200)
    attacked.look()
    assert attacked.grown < 25


@pytest.mark.parametrize("request_frame", [LOGIN * 20 + LIST * 50, REPLAY], ids=["lists", "replays"])
def test_what_many_do_not_read_is_bounded(attacked, request_frame):
    send(attacked.unread(60), request_frame)
    attacked.look()


def test_unread_events_are_bounded(attacked):
    send(attacked.unread(30), LIVE)
    attacked.ask(action="server/info")
    attacked.insert(20)
    attacked.look()


def test_beginnings_of_large_messages_are_bounded(attacked):
    send(attacked.strangers(200), frame(b'{"action":"%b' % (b"x" * 1_000_000))[:-10])
    attacked.look()
