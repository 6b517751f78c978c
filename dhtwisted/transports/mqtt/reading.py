"""Reads packets out of the bytes of a connection, whatever carries them, and gives those of one read together to the front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from dhtwisted.errors import InvalidPacket
from dhtwisted.fronts.mqtt.connection import MqttConnection
from dhtwisted.fronts.mqtt.tracing import follow
from dhtwisted.wire.mqtt.body import LARGEST_VARINT
from dhtwisted.wire.mqtt.decoding import PacketDecoder
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import V5, Connack, Connect, Pingreq, Properties
from dhtwisted.wire.mqtt.reasons import ReasonCode, return_code

if TYPE_CHECKING:
    from collections import Counter

    from dhtwisted.fronts.mqtt.broker import MqttBroker

LARGE = 8 * 1024
"""An unfinished packet above this size (bytes) counts in the connection's account."""

MANY_PACKETS = 16
"""Packets of one read from which on it is looked at what they are: one by one they cost less than their system call."""

MAX_PINGS = 500
"""PINGREQs that a connection may send per second, as far as many come in one read. A client could send two million."""

FRONT, BUDGET, STOP = 1, 2, 4
"""Why nothing is read: the front has enough to do, the memory of all clients is used up, the server stops."""

GONE = "the client has gone"


class PacketReader:
    """Reads one connection.

    :param broker: that of the server.
    :param output: the connection's :class:`~dhtwisted.fronts.mqtt.interfaces.IMqttOutput`. It has ``stop_reading`` and ``start_reading``.
    :param pings: connection -> how many PINGREQs it has sent in this second; whoever has it empties it.
    :ivar connection: the :class:`~dhtwisted.fronts.mqtt.connection.MqttConnection`.
    """

    log = Logger()

    __slots__ = ("_decoder", "_held", "_output", "_pauses", "_pings", "connection")

    def __init__(self, broker: MqttBroker, output: Any, pings: Counter[Any]) -> None:
        self._decoder: PacketDecoder | None = new_decoder(broker)
        self._output = output
        self._pings = pings
        self._held = self._pauses = 0
        self.connection = MqttConnection(broker, output)

    def feed(self, data: bytes) -> None:
        """Take what was read. After an error nothing more is decoded."""
        decoder = self._decoder
        if decoder is None:
            return
        try:
            packets = decoder.feed(data)
        except InvalidPacket as error:
            self._end_input()
            self.connection.malformed(error)
            return
        if packets:
            if len(packets) > MANY_PACKETS and self._is_flood(packets):
                return
            trace = self.connection.broker.server.trace
            if trace is not None:
                follow(self.connection)
                trace.packets(self.connection, packets)
            self.connection.receive(packets)
        if self._held or decoder.held > LARGE:
            self._count_held(decoder.held)

    def _end_input(self) -> None:
        self._decoder = None
        self._count_held(0)

    def _is_flood(self, packets: list[Any]) -> bool:
        """End a connection that sends too many packets without a message."""
        pings = sum(type(packet) is Pingreq for packet in packets)
        self._pings[self._output] += pings
        if not pings or self._pings[self._output] <= MAX_PINGS:
            return False
        self.connection.broker.server.metrics.ended("flood")
        self.log.info("closed: a flood of PINGREQ", **self.connection.identity())
        self._end_input()
        self.connection.end(ReasonCode.MESSAGE_RATE_TOO_HIGH, "too many PINGREQ")
        return True

    def _count_held(self, held: int) -> None:
        """Count the received part of a large packet. If the budget is used up, stop reading until there is room."""
        held = held if held > LARGE else 0
        account, budget = self._output.account, self.connection.broker.server.budget
        account.add(held - self._held)
        account.expect_more(held > 0)
        self._held = held
        if held and not self._pauses and budget.is_used_up:
            # The server stops reading, so the client is not slow.
            account.expect_more(False)
            self.pause(BUDGET)
            budget.wait(self._has_room)

    def _has_room(self) -> None:
        if self._decoder is not None and self.connection.broker.server.budget.is_used_up:
            self.connection.broker.server.budget.wait(self._has_room)
        else:
            self.resume(BUDGET)

    def pause(self, why: int) -> None:
        """Read nothing until :meth:`resume` for this reason, and for each other."""
        if not self._pauses:
            self._output.stop_reading()
        self._pauses |= why

    def resume(self, why: int) -> None:
        """Read again, as far as this reason goes."""
        was, self._pauses = self._pauses, self._pauses & ~why
        if was and not self._pauses:
            self._output.start_reading()

    def writable(self) -> None:
        """The client has read everything."""
        self.connection.writable()

    def finish(self) -> None:
        """Take nothing more, answer what has come, then say that the server stops."""
        self.pause(STOP)
        Deferred.fromCoroutine(self._finish()).addErrback(self._failed)

    async def _finish(self) -> None:
        await self.connection.settled()
        self.connection.shutting_down()

    def _failed(self, failure: Any) -> None:
        self.log.failure("a connection of MQTT could not be finished", failure=failure, **self.connection.identity())
        self._output.abort("it could not be finished")

    def lost(self) -> None:
        """The connection is gone."""
        self._decoder = None
        self.connection.connection_lost(GONE)


class RefusingReader:
    """Answers the CONNECT of a client that is not let in. Only then it is known which version can be answered.

    :param output: as for :class:`PacketReader`.
    """

    __slots__ = ("_counters", "_decoder", "_output", "_reason_code", "_text")

    def __init__(self, broker: MqttBroker, output: Any, reason_code: int, text: str) -> None:
        self._decoder: PacketDecoder | None = new_decoder(broker)
        self._counters = broker.counters
        self._output = output
        self._reason_code, self._text = reason_code, text

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        if self._decoder is None:
            return
        version: int | None = None
        try:
            packets = self._decoder.feed(data)
            if not packets:
                return
            version = packets[0].version if type(packets[0]) is Connect else None
        except InvalidPacket as error:
            version = error.version
        self._decoder = None
        if version is not None:
            self._counters.received[Connect] += 1
            self._counters.connects[self._reason_code] += 1
        if version is not None and (version >= V5 or return_code(self._reason_code) is not None):
            properties = Properties(reason_string=self._text) if version >= V5 else None
            self._counters.sent[Connack] += 1
            self._output.write(encode(Connack(self._reason_code, False, properties), version))
        self._output.close()

    def writable(self) -> None:
        """Do nothing: nothing waits."""

    def finish(self) -> None:
        """Close: the server stops."""
        self._output.close()

    def lost(self) -> None:
        """Forget the connection: it is gone."""
        self._decoder = None


def new_decoder(broker: MqttBroker) -> PacketDecoder:
    """A decoder with the limit of ``mqtt.packet_size``."""
    return PacketDecoder(broker.server.settings.mqtt.packet_size or LARGEST_VARINT)
