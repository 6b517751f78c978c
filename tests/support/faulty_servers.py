"""Small servers that make one mistake, or none. They test the load generator.

Each server answers every request and copies it to all of its subscribers. A fault changes its messages on their way out. It is a function
of the target's kind (``answer`` or ``delivery``), the connection, the message and the number of messages before it. It returns the pairs of
connection and message that are sent instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Factory, Protocol

Sent = list[tuple[Any, Any]]
Fault = Callable[[str, Any, Any, int], Sent]

AT = 7
"""The number of the message that a fault concerns: neither the first nor the last."""

MUCH_LATER = AT + 1500
"""A message so much later that the generator no longer remembers the request."""


def none(kind: str, connection: Any, message: Any, count: int) -> Sent:
    """Make no mistake."""
    return [(connection, message)]


def drop(wrong_kind: str) -> Fault:
    """Leave one out."""
    return lambda kind, connection, message, count: [] if (kind, count) == (wrong_kind, AT) else [(connection, message)]


def double(wrong_kind: str) -> Fault:
    """Send one twice."""
    return lambda kind, connection, message, count: [(connection, message)] * (1 + ((kind, count) == (wrong_kind, AT)))


def double_much_later(wrong_kind: str) -> Fault:
    """Send one again when the generator has forgotten it."""
    kept: Sent = []

    def fault(kind: str, connection: Any, message: Any, count: int) -> Sent:
        if (kind, count) == (wrong_kind, AT):
            kept.append((connection, message))
        again = kept if (kind, count) == (wrong_kind, MUCH_LATER) else []
        return [(connection, message), *again]

    return fault


def swap(wrong_kind: str) -> Fault:
    """Send one after the next."""
    kept: Sent = []

    def fault(kind: str, connection: Any, message: Any, count: int) -> Sent:
        if (kind, count) == (wrong_kind, AT):
            kept.append((connection, message))
            return []
        if (kind, count) == (wrong_kind, AT + 1):
            return [(connection, message), *kept]
        return [(connection, message)]

    return fault


def replace(wrong_kind: str, text: Any, other: Any) -> Fault:
    """Change one of them."""

    def fault(kind: str, connection: Any, message: Any, count: int) -> Sent:
        return [(connection, message.replace(text, other) if (kind, count) == (wrong_kind, AT) else message)]

    return fault


def misdirect(wrong_kind: str, factory: _Base) -> Fault:
    """Send one to another connection of the same sort."""

    def fault(kind: str, connection: Any, message: Any, count: int) -> Sent:
        if (kind, count) == (wrong_kind, AT):
            others = factory.publishers if kind == "answer" else factory.subscribers
            connection = next(other for other in others if other is not connection)
        return [(connection, message)]

    return fault


class _Base:
    """What the servers share: the lists of connections, and the fault."""

    fault: Fault = staticmethod(none)

    def start_counting(self) -> None:
        self.publishers: list[Any] = []
        self.subscribers: list[Any] = []
        self.counts = {"answer": 0, "delivery": 0}

    def pass_on(self, kind: str, connection: Any, message: Any) -> None:
        """Send a message, or what the fault makes of it."""
        count = self.counts[kind]
        self.counts[kind] += 1
        for target, changed in self.fault(kind, connection, message, count):
            target.send_text(changed)


class Hive(_Base, WebSocketServerFactory):  # type: ignore[misc]  # both bases declare it
    """Speaks WebSocket; subscribers come to ``/subscribe``.

    :ivar reply: form of an answer.
    :ivar wrap: form of a delivery.
    :ivar mute_after: number of answers after which it says nothing any more; ``None`` for never.
    :ivar close_after: number of answers after which it cuts the first connection; ``None`` for never.
    """

    def __init__(self) -> None:
        super().__init__()
        self.protocol = HiveConnection
        self.reply = '{{"action":"insert","requestId":"{id}","status":"success"}}'
        self.wrap = '{{"subscriptionId":1,"notification":{request}}}'
        self.mute_after: int | None = None
        self.close_after: int | None = None
        self.start_counting()

    def treat(self, sender: HiveConnection, text: str) -> None:
        request = json.loads(text)
        if request["action"] != "insert":
            sender.send_text(f'{{"requestId":"{request["requestId"]}","status":"success"}}')
            return
        for subscriber in self.subscribers[:]:
            if "device" not in request or subscriber.device in (None, request["device"]):
                self.pass_on("delivery", subscriber, self.wrap.format(request=text))
        self.pass_on("answer", sender, self.reply.format(id=request["requestId"]))


class HiveConnection(WebSocketServerProtocol):
    factory: Hive
    device: str | None = None
    pieces = False

    def onConnect(self, request: Any) -> None:
        self.path, _, device = request.path.strip("/").partition("-")
        self.device = device or None
        return None

    def onOpen(self) -> None:
        everybody = self.factory.subscribers if self.path == "subscribe" else self.factory.publishers
        everybody.append(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        text = payload.decode()
        if text.startswith("follow "):
            self.device = text.removeprefix("follow ")
            self.send_text('"status": "success"')
        elif self.factory.mute_after is None or self.factory.counts["answer"] < self.factory.mute_after:
            self.factory.treat(self, text)
        if self.factory.close_after == self.factory.counts["answer"]:
            self.factory.publishers[0].transport.abortConnection()

    def send_text(self, text: str) -> None:
        self.sendMessage(text.encode(), fragmentSize=11 if self.pieces else None)


class Broker(_Base, Factory):
    """Speaks the part of MQTT that the generator uses: one topic, QoS 1."""

    def __init__(self) -> None:
        self.protocol = BrokerConnection  # type: ignore[assignment]  # Twisted's annotation declares no subclasses
        self.start_counting()


class BrokerConnection(Protocol):
    """One connection. Its packets are shorter than 16 KB, so their length takes one or two bytes."""

    factory: Broker
    transport: ITransport

    def connectionMade(self) -> None:
        self.waiting = b""
        self.factory.publishers.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.waiting += data
        while (packet := self.next_packet()) is not None:
            self.treat(*packet)

    def next_packet(self) -> tuple[int, bytes, int] | None:
        if len(self.waiting) < 3:
            return None
        head, length = (2, self.waiting[1]) if self.waiting[1] < 128 else (3, self.waiting[1] - 128 + 128 * self.waiting[2])
        if len(self.waiting) < head + length:
            return None
        packet, self.waiting = self.waiting[: head + length], self.waiting[head + length :]
        return packet[0] >> 4, packet, head

    def treat(self, kind: int, packet: bytes, head: int) -> None:
        if kind == 1:
            self.send_text(b"\x20\x02\x00\x00")
        elif kind == 8:
            self.factory.publishers.remove(self)
            self.factory.subscribers.append(self)
            self.send_text(b"\x90\x03" + packet[head : head + 2] + b"\x01")
        elif kind == 3:
            self.publish(packet, head)

    def publish(self, packet: bytes, head: int) -> None:
        topic_length = int.from_bytes(packet[head : head + 2], "big")
        identifier = packet[head + 2 + topic_length : head + 4 + topic_length]
        for subscriber in self.factory.subscribers:
            self.factory.pass_on("delivery", subscriber, packet)
        self.factory.pass_on("answer", self, b"\x40\x02" + identifier)

    def send_text(self, packet: bytes) -> None:
        self.transport.write(packet)


class Echo(_Base, Factory):
    """Sends every line back. A line is a request, however the network cuts the bytes."""

    def __init__(self) -> None:
        self.protocol = EchoConnection  # type: ignore[assignment]  # Twisted's annotation declares no subclasses
        self.start_counting()


class EchoConnection(Protocol):
    factory: Echo
    transport: ITransport
    waiting = b""

    def dataReceived(self, data: bytes) -> None:
        *lines, self.waiting = (self.waiting + data).split(b"\n")
        for line in lines:
            self.factory.pass_on("answer", self, line + b"\n")

    def send_text(self, line: bytes) -> None:
        self.transport.write(line)
