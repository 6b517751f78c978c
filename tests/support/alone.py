"""The server's WebSocket protocol without sockets: it has a clock that stands still, and a list instead of a session."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

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

    :ivar messages: the texts of all messages, in order.
    :ivar output: the protocol, once it is open.
    :ivar drained: how often the protocol has called :meth:`writable`.
    """

    principal = None

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.output: Any = None
        self.receive = self.messages.append
        self.drained = 0
        self.closed = False

    def receive_many(self, texts: list[bytes]) -> int:
        taken = 0
        while taken < len(texts) and not self.output.ended:
            self.receive(texts[taken])
            taken += 1
        return taken

    def writable(self) -> None:
        self.drained += 1

    def close(self) -> None:
        self.closed = True


class Transport(StringTransport):
    """As lenient as a TCP transport."""

    def unregisterProducer(self) -> None:
        self.producer = None


class Side:
    """One opened connection.

    :param accept: as Autobahn's option ``perMessageCompressionAccept``.
    :param headers: further lines of the handshake.
    :param limits: settings to change, by name.
    """

    def __init__(
        self,
        factory_class: type[DeviceHiveFactory] = DeviceHiveFactory,
        clock: Clock | None = None,
        transport: Any = None,
        accept: Callable[[Any], Any] | None = None,
        headers: str = "",
        **limits: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.session = Recording()
        settings = replace(Settings(), limits=replace(Settings().limits, **limits))
        sessions = SimpleNamespace(
            server=SimpleNamespace(reactor=self.clock, settings=settings, metrics=Metrics(), budget=Budget(self.clock)),
            build=self._build_session,
        )
        self.factory = factory_class(cast(Any, sessions), rest_url=lambda path, client, host, secure: "")
        if accept is not None:
            self.factory.protocol.perMessageCompressionAccept = staticmethod(accept)  # type: ignore[attr-defined]  # of the subclass
        self.traffic = self.factory.traffic
        self.transport = cast(Any, transport or Transport())
        self.protocol = cast(Any, self.factory.buildProtocol(None))
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self.feed(HANDSHAKE.format(path="/client", port=1, headers=headers).encode())

    def _build_session(self, output: Any) -> Recording:
        self.session.output = output
        return self.session

    @property
    def is_open(self) -> bool:
        return bool(self.protocol.state == WebSocketProtocol.STATE_OPEN)

    def feed(self, data: bytes) -> None:
        """Read one chunk, and let the reactor turn end."""
        self.protocol.dataReceived(data)
        self.clock.advance(0)
