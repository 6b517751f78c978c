"""A WebSocket protocol of ours without sockets: on a clock that stands still, with a list in the place of its session."""

from dataclasses import replace
from types import SimpleNamespace

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from dhtwisted.config.settings import Settings
from dhtwisted.core.budget import Budget
from dhtwisted.core.counters import Metrics
from dhtwisted.transports.websocket.protocol import DeviceHiveFactory
from tests.support.raw import HANDSHAKE


class Recording:
    """A session that keeps what it receives.

    :ivar drained: how often it was told that there is room again.
    """

    principal = None

    def __init__(self):
        self.messages = []
        self.receive = self.messages.append
        self.drained = 0
        self.closed = False

    def writable(self):
        self.drained += 1

    def close(self):
        self.closed = True


class Transport(StringTransport):
    """As lenient as a TCP transport."""

    def unregisterProducer(self):
        self.producer = None


class Side:
    """One opened connection.

    :param accept: as Autobahn's option ``perMessageCompressionAccept``.
    :param headers: further lines of the handshake.
    :param limits: settings to change, by name.
    """

    def __init__(self, factory_class=DeviceHiveFactory, clock=None, transport=None, accept=None, headers="", **limits):
        self.clock = clock or Clock()
        self.session = Recording()
        settings = replace(Settings(), limits=replace(Settings().limits, **limits))
        sessions = SimpleNamespace(
            server=SimpleNamespace(reactor=self.clock, settings=settings, metrics=Metrics(), budget=Budget(self.clock)),
            build=lambda output: self.session,
        )
        self.factory = factory_class(sessions, rest_url=lambda path, client, host, secure: "")
        if accept is not None:
            self.factory.protocol.perMessageCompressionAccept = staticmethod(accept)
        self.traffic = self.factory.traffic
        self.transport = transport or Transport()
        self.protocol = self.factory.buildProtocol(None)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self.feed(HANDSHAKE.format(path="/client", port=1, headers=headers).encode())

    @property
    def is_open(self):
        return self.protocol.state == WebSocketProtocol.STATE_OPEN

    def feed(self, data):
        """Read one chunk, and let the reactor turn end."""
        self.protocol.dataReceived(data)
        self.clock.advance(0)
