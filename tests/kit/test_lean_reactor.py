"""The lean reactor does what Twisted's own does, and calls what is due at the end of a turn."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.internet import tcp
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from dhtwisted.kit import lean_reactor
from dhtwisted.kit.lean_reactor import INTERNALS, LeanReactor
from dhtwisted.kit.reactor import end_of_turn

ROOT = Path(__file__).parents[2]
SECONDS = 20


class ReactorWithoutInternals(LeanReactor):
    """As with a Twisted whose internals have other names."""

    def __init__(self):
        needed, lean_reactor.INTERNALS = lean_reactor.INTERNALS, ("renamed",)
        try:
            super().__init__()
        finally:
            lean_reactor.INTERNALS = needed


@pytest.fixture
def start():
    """Makes a reactor of a class, which is not the reactor of the process; its files are closed after the test."""
    started = []

    def make(kind):
        started.append(kind())
        started[-1].callLater(SECONDS, started[-1].stop)
        return started[-1]

    yield make
    for reactor in started:
        for reader in list(reactor._internalReaders):
            reactor.removeReader(reader)
            reader.connectionLost(None)
        reactor._poller.close()


@implementer(IHalfCloseableProtocol)
class Told(Protocol):
    """A server that writes down what it is told, and sends back what it gets. It fails on ``fail`` and ends on ``end``."""

    def __init__(self, happened):
        self._happened = happened

    def dataReceived(self, data):
        self._happened.append(data)
        if data == b"fail":
            raise RuntimeError("the protocol fails")
        self.transport.write(data)
        if data == b"end":
            self.transport.loseConnection()

    def readConnectionLost(self):
        self._happened.append("the client has closed its side")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        self._happened.append("the server has closed its side")

    def connectionLost(self, reason):
        self._happened.append(reason.type.__name__)
        self.factory.gone()
        if self.factory.fails_at_end:
            raise RuntimeError("the protocol fails at its end")


def serve(reactor, script, fails_at_end=False):
    """Let a client play a script with a server until that has lost the connection.

    :param script: what the client sends, after each answer the next; ``None``: it closes its side.
    :returns: what the server was told, and what the client read.
    """
    happened, read, script = [], bytearray(), list(script)
    factory = Factory.forProtocol(lambda: Told(happened))
    factory.fails_at_end, factory.noisy = fails_at_end, False
    factory.gone = lambda: reactor.callLater(0, reactor.stop)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port.getHost().port)) as client:
        client.setblocking(False)

        def play(is_answered=True):
            with suppress(BlockingIOError):
                received = client.recv(1000)
                read.extend(received)
                is_answered = bool(received)
            if script and is_answered:
                text = script.pop(0)
                client.shutdown(socket.SHUT_WR) if text is None else client.send(text)
                is_answered = False
            reactor.callLater(0.001, play, is_answered)

        reactor.callWhenRunning(play)
        reactor.run(installSignalHandlers=False)
    return happened, read


def texts_of(events):
    """Take the texts of what failed from a list of log events. The old log module has another name for the failure."""
    texts = [str(event.get("log_failure", event.get("failure")).value) for event in events]
    events.clear()
    return texts


SCRIPTS = {
    "talk": [b"one", b"two" * 9, b"end"],
    "half-close": [b"one", None],
    "failure": [b"one", b"fail"],
}


@pytest.mark.parametrize("kind", [LeanReactor, ReactorWithoutInternals])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_client_is_served_as_by_the_reactor_of_twisted(start, script, kind, nothing_logged):
    expected = serve(start(EPollReactor), script)
    assert expected[0][-1] in ("ConnectionDone", "RuntimeError")
    logged = texts_of(nothing_logged)
    assert serve(start(kind), script) == expected
    assert texts_of(nothing_logged) == logged


@pytest.mark.parametrize("kind", [EPollReactor, LeanReactor])
def test_what_a_protocol_fails_with_is_logged_and_ends_only_its_connection(start, kind, nothing_logged):
    serve(start(kind), [b"one", b"fail"], fails_at_end=True)
    assert "127.0.0.1" in nothing_logged[0]["system"]
    assert texts_of(nothing_logged) == ["the protocol fails", "the protocol fails at its end"]


def test_what_a_reset_connection_ends_with(start):
    for kind in (EPollReactor, LeanReactor):
        reactor, happened = start(kind), []
        factory = Factory.forProtocol(lambda happened=happened: Told(happened))
        factory.fails_at_end, factory.gone, factory.noisy = False, reactor.stop, False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reactor.callLater(0.01, client.close)
        reactor.run(installSignalHandlers=False)
        assert happened == ["ConnectionLost"]


@pytest.mark.parametrize("kind", [LeanReactor, ReactorWithoutInternals])
def test_calls_at_the_end_of_a_turn_come_in_order_before_the_reactor_waits(start, kind, nothing_logged):
    reactor, happened = start(kind), []

    def fail():
        raise RuntimeError("a call fails")

    def leave():
        raise SystemExit("a call ends the program")

    def again():
        happened.append("again")
        # Nothing else wakes the reactor: it must not wait now.
        reactor.call_at_end_of_turn(lambda: happened.append("one turn later"))
        reactor.call_at_end_of_turn(reactor.stop)

    def begin():
        for call in (lambda: happened.append("first"), fail, leave, again, lambda: happened.append("last")):
            reactor.call_at_end_of_turn(call)
        happened.append("begun")

    started_at = reactor.seconds()
    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    assert happened == ["begun", "first", "again", "last", "one turn later"]
    assert reactor.seconds() - started_at < SECONDS / 2
    assert texts_of(nothing_logged) == ["a call fails", "a call ends the program"]


def test_the_system_clock_does_not_delay_the_end_of_a_turn(start):
    reactor, happened = start(LeanReactor), []
    now = reactor.seconds()

    def set_back():
        reactor.call_at_end_of_turn(lambda: happened.append("called"))
        reactor.seconds = lambda: now - 3600
        reactor.call_at_end_of_turn(reactor.stop)

    reactor.callWhenRunning(set_back)
    reactor.run(installSignalHandlers=False)
    assert happened == ["called"]


def test_another_reactor_calls_at_the_end_of_its_turn_too():
    clock, happened = Clock(), []
    end_of_turn(clock)(lambda: happened.append("called"))
    assert not happened
    clock.advance(0)
    assert happened == ["called"]


def test_the_internals_of_twisted_are_there(start):
    reactor = start(EPollReactor)
    assert all(hasattr(reactor, name) for name in INTERNALS)
    assert start(LeanReactor).doIteration.__func__ is LeanReactor.doPoll
    assert start(ReactorWithoutInternals).doIteration.__func__ is EPollReactor.doPoll
    # Twisted's loop calls these, in this order.
    names = EPollReactor.mainLoop.__code__.co_names
    assert [name for name in names if name in ("runUntilCurrent", "timeout", "doIteration")] == [
        "runUntilCurrent",
        "timeout",
        "doIteration",
    ]
    assert callable(tcp.Server.doRead)


CHOSEN = {
    "": "LeanReactor",
    "from twisted.internet import selectreactor; selectreactor.install()": "SelectReactor",
}


@pytest.mark.parametrize("before", CHOSEN)
def test_a_server_has_the_lean_reactor_unless_another_was_chosen(before, tmp_path):
    code = f"""
{before}
from dhtwisted.tap import Options, makeService
options = Options()
options.parseOptions(["--storage", "memory:"])
makeService(options)
from twisted.internet import reactor
print(type(reactor).__name__)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [CHOSEN[before]]
