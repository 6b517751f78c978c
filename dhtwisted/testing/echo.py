"""A WebSocket server that sends every message back, with the protocol of the server: for conformance tests and for authors of clients.

The code that serves DeviceHive clients reads, queues and writes the frames. There are four differences: binary messages are allowed; a
flood of small frames is allowed, because conformance tests send one; clients need not authenticate; there are no timers, so there are no
pings, and no client is disconnected for silence or slow reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from dhtwisted.config.settings import Settings
from dhtwisted.core.budget import Budget
from dhtwisted.core.counters import Metrics
from dhtwisted.transports.websocket.protocol import DeviceHiveFactory, DeviceHiveProtocol

MESSAGE_SIZE = 64 * 1024**2
"""Bytes. The largest message of the Autobahn test suite has a quarter of that."""


def echo_factory(reactor: Any = None, message_size: int = MESSAGE_SIZE) -> EchoFactory:
    """Make a factory, for ``reactor.listenTCP(port, echo_factory())``. It answers on every path.

    :param reactor: by default the global one.
    :param message_size: the largest message in bytes; a larger one closes the connection with 1009. 0 for no limit.
    """
    if reactor is None:
        from twisted.internet import reactor
    limits = replace(Settings().limits, message_size=message_size, authenticate_timeout=0.0)
    server = SimpleNamespace(reactor=reactor, settings=replace(Settings(), limits=limits), metrics=Metrics(), budget=Budget(reactor))
    sessions: Any = EchoSessions(server)
    return EchoFactory(sessions, rest_url=_no_rest)


def _no_rest(path: str, client: str, host: str | None, secure: bool) -> str:
    return ""


class EchoSession:
    """Sends back what it receives. It reads no more while the client does not read: the queue has at most the messages of one read."""

    principal = None

    def __init__(self, output: EchoProtocol) -> None:
        self._output = output

    def receive(self, text: bytes) -> None:
        """Take a text message."""
        self._output.send(text)
        self._keep_pace()

    def receive_many(self, texts: Sequence[bytes]) -> int:
        """Take the text messages that were read together, until the connection ends.

        :returns: how many were taken.
        """
        for taken, text in enumerate(texts):
            if self._output.ended:
                return taken
            self.receive(text)
        return len(texts)

    def receive_binary(self, payload: bytes) -> None:
        """Take a binary message."""
        self._output.send_binary(payload)
        self._keep_pace()

    def _keep_pace(self) -> None:
        if self._output.congested:
            self._output.pause()

    def writable(self) -> None:
        """The client has taken everything."""
        self._output.resume()

    def finish(self, finished: Callable[[], object]) -> None:
        """Call ``finished`` at once: there is nothing to wait for."""
        finished()

    def close(self) -> None:
        """The client has disconnected."""


class EchoSessions:
    """Makes sessions, as :class:`~dhtwisted.fronts.session.SessionFactory` does."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def build(self, output: EchoProtocol) -> EchoSession:
        return EchoSession(output)


class EchoProtocol(DeviceHiveProtocol):
    """One connection; it takes binary messages too."""

    max_small_frames = math.inf

    def onConnect(self, request: Any) -> None:
        # There is no authentication: an ``Authorization`` header is ignored.
        self.address = getattr(self.transport.getPeer(), "host", "")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if not isBinary:
            super().onMessage(payload, isBinary)
        elif self.state == self.STATE_OPEN:
            self.factory.traffic.messages_received += 1
            self.session.receive_binary(payload)

    def send_binary(self, payload: bytes) -> None:
        """Send one whole binary message. Autobahn makes the frame, and :meth:`sendData` queues it."""
        self.sendMessage(payload, isBinary=True)


class EchoFactory(DeviceHiveFactory):
    """Makes the protocols of an echo server; see :func:`echo_factory`."""

    protocol_base = EchoProtocol
