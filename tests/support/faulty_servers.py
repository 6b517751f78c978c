"""Small servers for the load generator that make one mistake, or none.

Each answers every request and copies it to all of its subscribers. Its messages pass a fault on their way out, a function of the
target's kind (``answer`` or ``delivery``), the sending connection, its message and how many went before; it returns the list of pairs
of connection and message that are sent instead.
"""

import json

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.protocol import Factory, Protocol

AT = 7
"""The message at which a fault happens, so that it is not the first and not the last."""

MUCH_LATER = AT + 1500
"""Beyond what the generator remembers of requests that are finished."""


def none(kind, connection, message, count):
    """Make no mistake."""
    return [(connection, message)]


def drop(wrong_kind):
    """Leave one out."""
    return lambda kind, connection, message, count: [] if (kind, count) == (wrong_kind, AT) else [(connection, message)]


def double(wrong_kind):
    """Send one twice."""
    return lambda kind, connection, message, count: [(connection, message)] * (1 + ((kind, count) == (wrong_kind, AT)))


def double_much_later(wrong_kind):
    """Send one again when it is long forgotten."""
    kept = []

    def fault(kind, connection, message, count):
        if (kind, count) == (wrong_kind, AT):
            kept.append((connection, message))
        again = kept if (kind, count) == (wrong_kind, MUCH_LATER) else []
        return [(connection, message), *again]

    return fault


def swap(wrong_kind):
    """Send one after the next."""
    kept = []

    def fault(kind, connection, message, count):
        if (kind, count) == (wrong_kind, AT):
            kept.append((connection, message))
            return []
        if (kind, count) == (wrong_kind, AT + 1):
            return [(connection, message), *kept]
        return [(connection, message)]

    return fault


def replace(wrong_kind, text, other):
    """Change one of them."""

    def fault(kind, connection, message, count):
        return [(connection, message.replace(text, other) if (kind, count) == (wrong_kind, AT) else message)]

    return fault


def misdirect(wrong_kind, factory):
    """Send one to another connection of the same sort."""

    def fault(kind, connection, message, count):
        if (kind, count) == (wrong_kind, AT):
            others = factory.publishers if kind == "answer" else factory.subscribers
            connection = next(other for other in others if other is not connection)
        return [(connection, message)]

    return fault


class _Base:
    """What the servers share: who is there, and messages on their way through the fault."""

    fault = staticmethod(none)

    def start_counting(self):
        self.publishers, self.subscribers = [], []
        self.counts = {"answer": 0, "delivery": 0}

    def pass_on(self, kind, connection, message):
        """Send a message as the fault will have it."""
        count = self.counts[kind]
        self.counts[kind] += 1
        for target, changed in self.fault(kind, connection, message, count):
            target.send_text(changed)


class Hive(_Base, WebSocketServerFactory):  # type: ignore[misc]  # both bases declare it
    """Speaks WebSocket; subscribers come to ``/subscribe``.

    :ivar reply: form of an answer.
    :ivar wrap: form of a delivery.
    """

    def __init__(self):
        super().__init__()
        self.protocol = HiveConnection
        self.reply = '{{"action":"insert","requestId":"{id}","status":"success"}}'
        self.wrap = '{{"subscriptionId":1,"notification":{request}}}'
        self.mute_after = self.close_after = None
        self.start_counting()

    def treat(self, sender, text):
        request = json.loads(text)
        if request["action"] != "insert":
            sender.send_text(f'{{"requestId":"{request["requestId"]}","status":"success"}}')
            return
        for subscriber in self.subscribers[:]:
            if "device" not in request or subscriber.device in (None, request["device"]):
                self.pass_on("delivery", subscriber, self.wrap.format(request=text))
        self.pass_on("answer", sender, self.reply.format(id=request["requestId"]))


class HiveConnection(WebSocketServerProtocol):
    device = None
    pieces = False

    def onConnect(self, request):
        self.path, _, device = request.path.strip("/").partition("-")
        self.device = device or None
        return None

    def onOpen(self):
        everybody = self.factory.subscribers if self.path == "subscribe" else self.factory.publishers
        everybody.append(self)

    def onMessage(self, payload, isBinary):
        text = payload.decode()
        if text.startswith("follow "):
            self.device = text.removeprefix("follow ")
            self.send_text('"status": "success"')
        elif self.factory.mute_after is None or self.factory.counts["answer"] < self.factory.mute_after:
            self.factory.treat(self, text)
        if self.factory.close_after == self.factory.counts["answer"]:
            self.factory.publishers[0].transport.abortConnection()

    def send_text(self, text):
        self.sendMessage(text.encode(), fragmentSize=11 if self.pieces else None)


class Broker(_Base, Factory):
    """Speaks as much MQTT as it takes: one topic, QoS 1."""

    def __init__(self):
        self.protocol = BrokerConnection
        self.start_counting()


class BrokerConnection(Protocol):
    """Packets here are shorter than 16 KB and come with a length of one or two bytes."""

    def connectionMade(self):
        self.waiting = b""
        self.factory.publishers.append(self)

    def dataReceived(self, data):
        self.waiting += data
        while (packet := self.next_packet()) is not None:
            self.treat(*packet)

    def next_packet(self):
        if len(self.waiting) < 3:
            return None
        head, length = (2, self.waiting[1]) if self.waiting[1] < 128 else (3, self.waiting[1] - 128 + 128 * self.waiting[2])
        if len(self.waiting) < head + length:
            return None
        packet, self.waiting = self.waiting[: head + length], self.waiting[head + length :]
        return packet[0] >> 4, packet, head

    def treat(self, kind, packet, head):
        if kind == 1:
            self.send_text(b"\x20\x02\x00\x00")
        elif kind == 8:
            self.factory.publishers.remove(self)
            self.factory.subscribers.append(self)
            self.send_text(b"\x90\x03" + packet[head : head + 2] + b"\x01")
        elif kind == 3:
            self.publish(packet, head)

    def publish(self, packet, head):
        topic_length = int.from_bytes(packet[head : head + 2], "big")
        identifier = packet[head + 2 + topic_length : head + 4 + topic_length]
        for subscriber in self.factory.subscribers:
            self.factory.pass_on("delivery", subscriber, packet)
        self.factory.pass_on("answer", self, b"\x40\x02" + identifier)

    def send_text(self, packet):
        self.transport.write(packet)


class Echo(_Base, Factory):
    """Sends back bytes, cut and joined as they come; a request is one line."""

    def __init__(self):
        self.protocol = EchoConnection
        self.start_counting()


class EchoConnection(Protocol):
    waiting = b""

    def dataReceived(self, data):
        *lines, self.waiting = (self.waiting + data).split(b"\n")
        for line in lines:
            self.factory.pass_on("answer", self, line + b"\n")

    def send_text(self, line):
        self.transport.write(line)
