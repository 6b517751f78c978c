"""MQTT clients of a broker in memory, without sockets: bytes go in, packets come out."""

from __future__ import annotations

from collections import Counter
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from zope.interface import implementer

from dhtwisted.errors import InvalidPacket, StorageUnavailable
from dhtwisted.fronts.mqtt.broker import MqttBroker
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.connection import MqttConnection
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.interfaces import IMqttOutput, IMqttStore, IPlainAccess
from dhtwisted.kit.waiter import DONE
from dhtwisted.model import User
from dhtwisted.model.mqtt import WAITS
from dhtwisted.testing.server import MemoryServer, at_once
from dhtwisted.wire.mqtt.decoding import PacketDecoder
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import (
    V5,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from dhtwisted.wire.mqtt.replies import ReplyDecoder


@implementer(IPlainAccess)
class Access:
    """Everybody may do everything, except what a test forbids.

    :ivar silenced: topics on which nobody may publish.
    :ivar hidden: filters that nobody may hear.
    """

    def __init__(self) -> None:
        self.silenced: set[str] = set()
        self.hidden: set[str] = set()

    def may_publish(self, principal: Any, client_id: str, topic: str) -> bool:
        return topic not in self.silenced

    def may_subscribe(self, principal: Any, client_id: str, pattern: str) -> bool:
        return pattern not in self.hidden


@implementer(IMqttStore)
class Store:
    """Notes what is to be stored, by name and key; a test can make it slow or fail.

    :ivar kept: what is stored: ``("queued", client id, packet id)`` and the like.
    :ivar is_slow: whether :meth:`commit` waits for :meth:`release`.
    :ivar is_down: whether it fails.
    :ivar commits: how many there were.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[Any, ...], Any] = {}
        self.is_slow = self.is_down = False
        self.commits = 0
        self._reading: list[Deferred[None]] = []
        self._contents: dict[tuple[str, int], Delivery] = {}
        self._waiting: list[tuple[Changes, Deferred[None]]] = []

    def commit(self, changes: Changes) -> Any:
        self.commits += bool(changes)
        if self.is_slow and changes:
            waiting: Deferred[None] = Deferred()
            self._waiting.append((changes, waiting))
            return waiting
        if self.is_down and changes:
            return self._fail()
        self._apply(changes)
        return DONE

    async def _fail(self) -> None:
        raise StorageUnavailable("the test says so")

    def _apply(self, changes: Changes) -> None:
        for key, value in changes.puts:
            self.kept[key] = value
        for key in changes.deletes:
            self.kept.pop(key, None)

    def release(self) -> int:
        """Let what waits be stored, and what is read be read.

        :returns: how many commits waited.
        """
        reading, self._reading = self._reading, []
        for answer in reading:
            answer.callback(None)
        waiting, self._waiting = self._waiting, []
        for changes, deferred in waiting:
            if self.is_down:
                deferred.errback(StorageUnavailable("the test says so"))
            else:
                self._apply(changes)
                deferred.callback(None)
        return len(waiting)

    def names(self) -> Counter[str]:
        """How many records of each sort are kept."""
        return Counter(key[0] for key in self.kept)

    async def read_queued(self, session: Any, first: int, last: int) -> tuple[list[Delivery], bool]:
        """Only a few at once, so that there are several portions. A slow answer says what was there at the call."""
        names = [("queued", session.client_id, number) for number in range(first, last + 1)]
        found = [replace(self._contents[name[1:]]) for name in names if name in self.kept]
        if self.is_slow:
            waiting: Deferred[None] = Deferred()
            self._reading.append(waiting)
            await waiting
        if self.is_down:
            raise StorageUnavailable("the test says so")
        return found[:3], len(found) <= 3

    async def read_received(self, session: Any) -> dict[int, int]:
        if self.is_down:
            raise StorageUnavailable("the test says so")
        return {key[2]: 0 for key in self.kept if key[:2] == ("received", session.client_id)}

    def note_session(self, changes: Any, session: Any) -> None:
        changes.puts.append((("session", session.client_id), (dict(session.filters), session.expiry)))

    def note_session_ended(self, changes: Any, session: Any) -> None:
        changes.deletes += [key for key in self.kept if len(key) > 1 and key[1] == session.client_id and key[0] != "retained"]

    def note_queued(self, changes: Any, session: Any, delivery: Any, record: Any = None) -> None:
        self._contents[session.client_id, delivery.number] = replace(delivery, state=WAITS, is_held=False, share="")
        changes.puts.append((("queued", session.client_id, delivery.number), (delivery.packet_id, delivery.state, record)))

    def note_acknowledged(self, changes: Any, session: Any, delivery: Any) -> None:
        changes.deletes.append(("queued", session.client_id, delivery.number))

    def note_received(self, changes: Any, session: Any, packet_id: int) -> None:
        changes.puts.append((("received", session.client_id, packet_id), True))

    def note_released(self, changes: Any, session: Any, packet_id: int) -> None:
        changes.deletes.append(("received", session.client_id, packet_id))

    def note_retained(self, changes: Any, message: Any) -> None:
        if message.payload:
            changes.puts.append((("retained", message.topic), message.payload))
        else:
            changes.deletes.append(("retained", message.topic))


class Mqtt:
    """A broker with plain topics on a ``MemoryServer``."""

    def __init__(self, memory: MemoryServer, device_topics: Any = None) -> None:
        self.memory = memory
        self.access, self.store = Access(), Store()
        self.broker = MqttBroker(memory.server, self.access, self.store, device_topics)
        self.broker.start()
        self._clients = 0

    @classmethod
    def open(cls, reactor: Any, device_topics: Any = None, **settings: Any) -> Mqtt:
        """Open one.

        :param settings: of ``[mqtt]``.
        """
        sections = {name: settings.pop(name) for name in ("limits", "quotas", "auth", "compatibility") if name in settings}
        section = {"plain_topics": True, "anonymous": True} | settings
        memory = at_once(MemoryServer.open(reactor, hash_password=False, mqtt=section, **sections))
        return cls(memory, device_topics)

    def client(self, version: int = V5, address: str = "192.0.2.1") -> Client:
        """A client that has sent nothing yet."""
        self._clients += 1
        return Client(self, version, self._clients, address)

    def connect(self, client_id: str = "", version: int = V5, user: User | None = None, auto: bool = True, **fields: Any) -> Client:
        """A client that is connected; as a user if one is given."""
        client = self.client(version)
        client.auto = auto
        if user is not None:
            fields |= {"user_name": "token", "password": self.memory.token(user).encode()}
        answer = client.connect(client_id, **fields)
        assert answer.reason_code == 0, f"CONNECT was refused: {answer}"
        return client

    def pass_time(self, seconds: float) -> None:
        """Let the clock go, second by second."""
        for _ in range(int(seconds)):
            self.memory.clock.advance(1)

    @property
    def seconds(self) -> float:
        return self.memory.clock.seconds()


@implementer(IMqttOutput)
class Client:
    """One network connection.

    :ivar packets: all packets received, in order.
    :ivar auto: whether PUBLISH, PUBREC and PUBREL of the server are answered.
    :ivar is_present: whether the session was there when it connected; only :class:`~tests.support.mqtt.nodes.MqttNodes` sets it.
    :ivar congested: set it to act as a client that does not read. Call :meth:`drain` when it reads again.
    """

    is_present = False

    def __init__(self, mqtt: Mqtt, version: int, number: int, address: str) -> None:
        self.mqtt, self.version, self.number, self.address = mqtt, version, number, address
        self.account = mqtt.memory.server.budget.account(self.abort)
        self.packets: list[Any] = []
        self.auto = True
        self.congested = self.paused = self.closed = self.lost = False
        self.sent = b""
        self._decoder = PacketDecoder(mqtt.memory.settings.mqtt.packet_size)
        self._replies = ReplyDecoder(version)
        self._last_id = 0
        self._is_sending = False
        self.connection = MqttConnection(mqtt.broker, self)

    # What the connection calls

    @property
    def ended(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        if self.closed or self.lost:
            return
        self.sent += data
        found = self._replies.feed(data)
        self.packets += found
        if self.auto:
            for packet in found:
                self._answer(packet)

    def _answer(self, packet: Packet) -> None:
        if type(packet) is Publish and packet.qos:
            self.soon(Puback(packet.packet_id) if packet.qos == 1 else Pubrec(packet.packet_id))
        elif type(packet) is Pubrel:
            self.soon(Pubcomp(packet.packet_id))
        elif type(packet) is Pubrec and packet.reason_code < 0x80:
            self.soon(Pubrel(packet.packet_id))

    def soon(self, packet: Packet) -> None:
        """Send a packet in the next turn."""
        self.mqtt.memory.clock.callLater(0, self._send_if_open, packet)

    def _send_if_open(self, packet: Packet) -> None:
        if not (self.closed or self.lost):
            self.send(packet)

    def close(self) -> None:
        self.closed = True

    def abort(self, reason: str) -> None:
        self.closed = True
        self.lose()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    # What a test calls

    def send(self, *packets: Packet) -> None:
        """Send packets that the server reads at once."""
        self.send_bytes(b"".join(encode(packet, self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes that the server reads at once."""
        try:
            found = self._decoder.feed(data)
        except InvalidPacket as error:
            self.connection.malformed(error)
        else:
            self.connection.receive(found)
        self.mqtt.memory.clock.advance(0)

    def take(self, kind: Any = None) -> list[Any]:
        """The packets received since the last call, of one type if one is given; the others are forgotten too."""
        self.mqtt.memory.clock.advance(0)
        taken, self.packets = self.packets, []
        return [packet for packet in taken if kind is None or type(packet) is kind]

    def one(self, kind: Any) -> Any:
        """The only packet of a type that was received since the last call."""
        (packet,) = self.take(kind)
        return packet

    def connect(self, client_id: str = "", clean_start: bool = True, **fields: Any) -> Connack:
        """Send CONNECT.

        :param fields: of the packet, and properties by their names.
        :returns: the answer.
        """
        known = Connect.__struct_fields__
        properties = {name: fields.pop(name) for name in list(fields) if name not in known}
        packet = Connect(client_id, self.version, clean_start, properties=Properties(**properties) if properties else None, **fields)
        self.send(packet)
        found = [packet for packet in self.packets if type(packet) is Connack]
        assert found, f"no CONNACK, but {self.packets}"
        self.packets.remove(found[0])
        return found[0]

    def next_id(self) -> int:
        """A packet id."""
        self._last_id += 1
        return self._last_id

    def publish(self, topic: str, payload: bytes = b"", qos: int = 0, retain: bool = False, **properties: Any) -> Any:
        """Send PUBLISH.

        :returns: the first answer, or ``None``.
        """
        packet_id = self.next_id() if qos else 0
        found = Properties(**properties) if properties else None
        self.send(Publish(topic, payload, qos, retain, False, packet_id, found))
        for packet in self.packets:
            if type(packet) in (Puback, Pubrec) and packet.packet_id == packet_id:
                self.packets.remove(packet)
                return packet
        return None

    def subscribe(self, *filters: Any, identifier: int = 0, **options: Any) -> list[int]:
        """Send SUBSCRIBE.

        :param filters: texts, or ``Subscription`` objects.
        :param options: of the filters that are texts.
        :returns: the reason codes.
        """
        subscriptions = [Subscription(one, **options) if isinstance(one, str) else one for one in filters]
        properties = Properties(subscription_identifier=(identifier,)) if identifier else None
        packet_id = self.next_id()
        self.send(Subscribe(packet_id, subscriptions, properties))
        return self._answer_to(Suback, packet_id).reason_codes

    def unsubscribe(self, *filters: str) -> list[int]:
        """Send UNSUBSCRIBE.

        :returns: the reason codes.
        """
        packet_id = self.next_id()
        self.send(Unsubscribe(packet_id, list(filters)))
        return self._answer_to(Unsuback, packet_id).reason_codes

    def _answer_to(self, kind: Any, packet_id: int) -> Any:
        found = [packet for packet in self.packets if type(packet) is kind and packet.packet_id == packet_id]
        assert found, f"no answer, but {self.packets}"
        self.packets.remove(found[0])
        return found[0]

    def disconnect(self, reason_code: int = 0, **properties: Any) -> None:
        """Send DISCONNECT, and lose the connection."""
        self.send(Disconnect(reason_code, Properties(**properties) if properties else None))
        self.lose()

    def lose(self) -> None:
        """Lose the connection."""
        if not self.lost:
            self.lost = True
            self.account.close()
            self.connection.connection_lost("the test says so")

    def drain(self) -> None:
        """Read again."""
        self.congested = False
        self.connection.writable()

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        """Topic and payload of what was received since the last call."""
        return [(packet.topic, packet.payload) for packet in self.take(Publish)]

    @property
    def reason(self) -> int | None:
        """The reason code of the server's DISCONNECT; ``None`` if there was none."""
        found = [packet for packet in self.packets if type(packet) is Disconnect]
        return found[0].reason_code if found else None


class Nobody:
    """Stands for the real reactor where nothing needs its threads."""

    def __getattr__(self, name: str) -> Any:
        return None
