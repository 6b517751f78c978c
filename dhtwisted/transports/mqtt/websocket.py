"""MQTT over WebSocket: binary frames carry the bytes of packets, cut anywhere (MQTT 5.0, section 6).

The frames are those of :mod:`dhtwisted.transports.websocket`. This depends on more of Autobahn: ``onMessageBegin`` and ``onMessageEnd``,
``onMessageFrameBegin``, ``onMessageFrameData`` and ``onMessageFrameEnd`` are overridden, so that no frame is collected first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from dhtwisted.errors import HandshakeFault
from dhtwisted.fronts.mqtt.interfaces import IMqttOutput
from dhtwisted.transports.mqtt.reading import FRONT, PacketReader
from dhtwisted.transports.websocket.frames import FOR_AUTOBAHN, OPEN, PLAIN_BINARY, frame_header, split_binary_frames
from dhtwisted.transports.websocket.protocol import CLOSE_UNSUPPORTED, DeviceHiveProtocol, WebSocketFactory
from dhtwisted.transports.websocket.reading import FrameReader
from dhtwisted.transports.websocket.shedding import shed
from dhtwisted.transports.writing import FLUSH_AT

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from dhtwisted.fronts.mqtt.broker import MqttBroker

SUBPROTOCOLS = ("mqtt", "mqttv3.1")
CLOSE_NORMAL = 1000
NO_SUBPROTOCOL = "MQTT needs the header Sec-WebSocket-Protocol with mqtt. Most client libraries send it by default."


@implementer(IMqttOutput)
class MqttWebSocket(DeviceHiveProtocol):
    """One connection. Its session is a :class:`~dhtwisted.fronts.mqtt.connection.MqttConnection`."""

    reader: Any = None

    def onConnect(self, request: Any) -> Any:
        """Choose the subprotocol ([MQTT-6.0.0-3], [MQTT-6.0.0-4]).

        :param request: Autobahn's ``ConnectionRequest``.
        """
        self.find_rest(request)
        for name in SUBPROTOCOLS:
            if name in request.protocols:
                return name
        return self._deny(HandshakeFault(NO_SUBPROTOCOL))

    def onOpen(self) -> None:
        shed(self)
        # All connections can share one set of counters.
        self.trafficStats = self.factory.autobahn_traffic
        self._parts: list[bytes] = []
        self.reader = PacketReader(self.factory.broker, self, self.factory.pings)
        self.session = self.reader.connection
        self.factory.connections.add(self)
        self.factory.upkeep.add(self)
        if self.factory.is_debugging:
            self.events.debug("a WebSocket with MQTT is open", **self._identity())

    # What comes

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self._feed()

    def _feed(self) -> None:
        """Decode what the frames of one read have brought."""
        if self.reader is None or not self._parts:
            return
        parts, self._parts = self._parts, []
        try:
            self.reader.feed(b"".join(parts) if len(parts) > 1 else parts[0])
        except Exception:
            self._session_broken()

    def take_rest(self) -> None:
        super().take_rest()
        self._feed()

    def _take_text_frames(self, data: bytes, most: int) -> tuple[int, int, int]:
        """Take the plain binary frames at the start of ``data``."""
        if self.inside_message or self.state != OPEN:
            return 0, 0, FOR_AUTOBAHN
        payloads, position, rest = split_binary_frames(data, most)
        self._parts += payloads
        return position, len(payloads), rest

    def onMessageBegin(self, isBinary: bool) -> None:
        if not isBinary:
            # [MQTT-6.0.0-1]
            self._fail_connection(CLOSE_UNSUPPORTED, "binary frames only")

    def onMessageFrameBegin(self, length: int) -> None:
        """Do nothing: only packets have a largest size, since a frame can have any number of them."""

    def onMessageFrameData(self, payload: bytes) -> None:
        if not self.failedByMe:
            self._parts.append(payload)

    def onMessageFrameEnd(self) -> None:
        """Do nothing: a packet can go on in the next frame ([MQTT-6.0.0-2])."""

    def onMessageEnd(self) -> None:
        """Do nothing, as for :meth:`onMessageFrameEnd`."""

    def _count_held(self) -> None:
        """Do nothing: the reader counts what is held of a packet, and nothing is held of a frame."""

    # Called by the front

    def write(self, data: bytes) -> None:
        if self.state != OPEN:
            return
        if not self._queue:
            self.factory.flush_later(self)
        header = frame_header(len(data), PLAIN_BINARY)
        self._queue += (header, data)
        self.queued = queued = self.queued + len(header) + len(data)
        if queued > FLUSH_AT:
            self.flush()

    def close(self) -> None:
        if self.state == OPEN:
            # The client's close frame can only arrive when the server reads again.
            self.start_reading()
            self.sendCloseFrame(code=CLOSE_NORMAL)
            self.flush()

    def pause(self) -> None:
        if self.reader is None:
            self.stop_reading()
        else:
            self.reader.pause(FRONT)

    def resume(self) -> None:
        if self.reader is None:
            self.start_reading()
        else:
            self.reader.resume(FRONT)

    # Called by the reader, and at the end

    def stop_reading(self) -> None:
        """Read nothing more from the socket."""
        FrameReader.pause(self)

    def start_reading(self) -> None:
        """Read again."""
        FrameReader.resume(self)

    def finish(self) -> None:
        if self.reader is None:
            self.dropConnection(abort=False)
        else:
            self.reader.finish()

    def _close_session(self) -> None:
        self.reader.lost()
        self.reader = None


class MqttWebSocketFactory(WebSocketFactory):
    """Makes the WebSockets of one server that carry MQTT.

    :param broker: a started :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :param pings: as for :class:`~dhtwisted.transports.mqtt.reading.PacketReader`.
    :param rest_url: as for :class:`~dhtwisted.transports.websocket.protocol.DeviceHiveFactory`.
    """

    protocol_base = MqttWebSocket

    def __init__(self, broker: MqttBroker, pings: Counter[Any], rest_url: Callable[..., str]) -> None:
        super().__init__(broker.server)
        self.rest_url = rest_url
        self.broker = broker
        self.pings = pings
        broker.system_topics.traffic.append(self.traffic)

    def _configure_protocol(self, message_size: int) -> None:
        super()._configure_protocol(0)
