"""One network connection of a client, from CONNECT to DISCONNECT."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.addresses import limit_key
from dhtwisted.core.coroutines import run
from dhtwisted.core.throttle import RateLimit
from dhtwisted.errors import InvalidPacket
from dhtwisted.fronts.mqtt import connecting, publishing, subscribing
from dhtwisted.fronts.mqtt.in_flight import Delivery
from dhtwisted.fronts.mqtt.message import OVERHEAD
from dhtwisted.fronts.mqtt.sending import PacketSender
from dhtwisted.fronts.queues import EMPTY, append
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.wire.mqtt.packets import (
    V5,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
)
from dhtwisted.wire.mqtt.reasons import FAILURE, ReasonCode, return_code

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.fronts.mqtt.interfaces import IMqttOutput
    from dhtwisted.fronts.mqtt.session import ClientSession

PUBREL, PUBCOMP = b"\x62\x02", b"\x70\x02"
"""Acknowledgements without a reason code, up to the packet id: the same in all versions."""

PINGRESP = b"\xd0\x00"
ANY_NUMBER = 65_535
PATIENCE = 1.5
"""A client is gone after so many times its keep alive ([MQTT-3.1.2-22])."""

LOST = object()
"""Stands for the end of the connection behind the packets that came before it."""

RATED = (Publish, Subscribe, Unsubscribe)
"""The packets that count for ``limits.requests_per_second``."""


class MqttConnection(PacketSender):
    """A connection, as the transport drives it.

    :ivar principal: who the client is; ``None`` for nobody.
    :ivar receiving: packet ids of publishes with QoS 2 that this connection has begun and not completed.
    :ivar most_receiving: how many publishes the client may have under way.
    :ivar routes: topic -> what may happen with it, see :mod:`~dhtwisted.fronts.mqtt.publishing`.
    :ivar topics: topic alias of the client -> topic.
    :ivar epoch: of users and tokens, when the client's identity was looked at.
    :ivar is_accepted: whether CONNACK has left without an error.
    :ivar is_over: whether nothing more is received or sent.
    """

    log = Logger()
    broker: MqttBroker

    __slots__ = (
        "epoch",
        "_has_left",
        "_heard_at",
        "_held",
        "_held_size",
        "_is_busy",
        "_is_lost",
        "_is_paused",
        "_is_taking",
        "_rate",
        "_rate_timer",
        "_settled",
        "_timer",
        "is_accepted",
        "is_over",
        "keep_alive",
        "most_receiving",
        "principal",
        "receiving",
        "routes",
        "topics",
    )

    def __init__(self, broker: MqttBroker, output: IMqttOutput) -> None:
        super().__init__(broker, output)
        self.principal: Principal | None = None
        self.keep_alive = 0
        self.most_receiving = ANY_NUMBER
        # An empty set takes three times the memory, and most connections are idle.
        self.receiving: dict[int, None] = {}
        self.routes: dict[str, Any] = {}
        self.topics: dict[int, str] | None = None
        self.is_accepted = self.is_over = False
        self._has_left = self._is_busy = self._is_lost = self._is_paused = self._is_taking = False
        self._held: deque[Any] = EMPTY
        self._held_size = 0
        self._settled: Any = EMPTY
        self.epoch = broker.entities.users_epoch
        self._heard_at = broker.second
        per_second = broker.server.settings.limits.requests_per_second
        self._rate = RateLimit(broker.clock, per_second) if per_second else None
        self._rate_timer: Any = None
        self._timer: Any = broker.timers.call(broker.server.settings.limits.handshake_timeout, self._connect_timeout)
        broker.connections.add(self)

    # What the transport calls

    def receive(self, packets: Sequence[Packet | InvalidPacket]) -> None:
        """Take the packets of one read."""
        self._heard_at = self.broker.second
        if self._is_busy or self._held or self._is_taking or self._is_blocked():
            self._hold(packets)
        else:
            self._take(packets)
            if self._held:
                self._go_on()

    def malformed(self, error: InvalidPacket) -> None:
        """End the connection, since the decoder found what is no packet. What came before it is handled first."""
        self.receive((*error.packets, error))

    def writable(self) -> None:
        """The client reads again."""
        if self.session is not None:
            self._send_more(self.session)
        self._go_on()

    def connection_lost(self, reason: str) -> None:
        """The connection is gone. What came before is still handled: a client may publish, and close at once."""
        self._is_lost = True
        if self.session is not None:
            self.session.outgoing.link = None
        if self.is_over or not (self._is_busy or self._held):
            self.leave()
        else:
            self._held = append(self._held, LOST)
            self._go_on()

    def shutting_down(self) -> None:
        """End the connection, since the server stops."""
        self.end(ReasonCode.SERVER_SHUTTING_DOWN, "the server stops")

    # What came

    def _is_blocked(self) -> bool:
        """Whether the next packet has to wait: the client does not read its answers, sends too many, or the memory of all is used up."""
        return self.output.congested or self.broker.server.budget.is_used_up or self._rate_timer is not None

    def _take(self, packets: Sequence[Any]) -> None:
        """Handle packets in their order, up to one that has to wait; keep the others."""
        at = 0
        if self.epoch != self.broker.entities.users_epoch:
            self.check_identity()
        self._is_taking = True
        try:
            at = self._take_some(packets)
        except InvalidPacket as error:
            self.end(error.reason_code, error.text, version=error.version)
        except Exception:
            self._broken(None)
        finally:
            self._is_taking = False
        if at < len(packets):
            self._hold(packets[at:])

    def _take_some(self, packets: Sequence[Any]) -> int:
        """:returns: how many need nothing more."""
        at, count = 0, len(packets)
        while at < count and not self.is_over:
            kind = type(packets[at])
            if kind is Puback and self.session is not None:
                # What subscribers send most.
                self.broker.counters.received[Puback] += 1
                self._complete(packets[at].packet_id, 1)
                at += 1
                continue
            if self._rate is not None and kind in RATED and not self._admit():
                return at
            first = at
            at += 1
            if kind is Publish and self.session is not None:
                while at < count and type(packets[at]) is Publish and self._rate is None:
                    at += 1
                work = publishing.receive(self, packets[first:at])
            else:
                work = self._handle(kind, packets[first])
            if work is not None:
                self._begin(work)
                if self._is_busy:
                    return at
        return at

    def _admit(self) -> bool:
        """Count a packet for the rate of the client; if it sends too many, wait."""
        rate = self._rate
        assert rate is not None  # The caller has looked.
        if rate.take() or self._is_lost:
            return True
        self._rate_timer = self.broker.clock.callLater(rate.delay, self._rate_passed)
        return False

    def _rate_passed(self) -> None:
        self._rate_timer = None
        self._go_on()

    def _handle(self, kind: Any, packet: Any) -> Coroutine[Any, Any, Any] | None:
        if packet is LOST:
            self.leave()
            return None
        if kind is InvalidPacket:
            raise packet
        self.broker.counters.received[kind] += 1
        if self.session is None and kind is not Connect:
            raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "the first packet of a connection must be CONNECT")
        handler = HANDLERS.get(kind)
        if handler is None:
            raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, f"a client must not send {kind.__name__.upper()}")
        return handler(self, packet)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        self._is_busy = True
        run_for_client(self.client, run, work, self._finished)

    @property
    def client(self) -> int | str:
        """Whom the server works for, where clients are served in turn."""
        return limit_key(self.output.address) if self.principal is None else self.principal.user_id

    def _finished(self, _: Any, error: BaseException | None) -> None:
        self._is_busy = False
        if isinstance(error, InvalidPacket):
            self.end(error.reason_code, error.text, version=error.version)
        elif error is not None:
            self._broken(Failure(error))
        self._go_on()

    def _broken(self, failure: Failure | None) -> None:
        """End the connection after an unexpected error, which must not affect others."""
        self.log.failure("a packet broke the connection", failure=failure, **self.identity())
        self.end(ReasonCode.UNSPECIFIED_ERROR, "internal error")

    # What waits

    def _hold(self, packets: Sequence[Any]) -> None:
        """Keep packets until those before them are done. Acknowledgements wait for nothing, since others may wait for them."""
        size = 0
        for packet in packets:
            kind = type(packet)
            if self._has_left:
                break
            if kind in ACKNOWLEDGEMENTS and self.session is not None and not self._is_taking:
                self._take((packet,))
                continue
            self._held = append(self._held, packet)
            size += OVERHEAD + (len(packet.payload) if kind is Publish else 0)
        if self._held:
            self._held_size += size
            self.output.account.add(size)
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.output.pause()
        if not self._is_busy and self.broker.server.budget.is_used_up:
            self.broker.server.budget.wait(self._go_on)

    def _go_on(self) -> None:
        """Handle what was held, as far as possible now."""
        while self._held and not self._is_busy and not self._is_taking:
            if self._is_blocked() and not self._is_lost:
                self._wait_for_room()
                return
            packets, self._held = list(self._held), EMPTY
            self.output.account.remove(self._held_size)
            self._held_size = 0
            self._take(packets)
        if not self._held and self._is_paused:
            self._is_paused = False
            if not self.is_over:
                self.output.resume()
        if self._settled and not self._is_busy and not self._held:
            settled, self._settled = self._settled, EMPTY
            for one in settled:
                one.callback(None)

    async def settled(self) -> None:
        """Wait until nothing of this connection is under way."""
        while self._is_busy or self._held:
            waiting: Deferred[None] = Deferred()
            self._settled = append(self._settled, waiting)
            await waiting

    # What the client acknowledges

    def _puback(self, packet: Puback) -> None:
        self._complete(packet.packet_id, 1)

    def _pubcomp(self, packet: Pubcomp) -> None:
        self._complete(packet.packet_id, 2)

    def _complete(self, packet_id: int, qos: int) -> None:
        session = self.current_session()
        delivery = session.outgoing.acknowledge(packet_id, qos)
        if delivery is not None:
            self._free(session, delivery)
        elif (waiting := session.outgoing.pending.get(packet_id)) is not None and waiting.qos != qos:
            raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "an acknowledgement is of another QoS than its PUBLISH")

    def _free(self, session: ClientSession, delivery: Delivery) -> None:
        """An exchange is complete: there may be room for the next message."""
        if delivery.is_counted:
            self.quota += 1
        if delivery.number or delivery.token is not None:
            self.broker.complete(session, delivery)
        if session.outgoing.queue or self.quota == 1:
            self._send_more(session)

    def _send_more(self, session: ClientSession) -> None:
        session.outgoing.pump()
        if session.device is not None and session.outgoing.has_room:
            session.device.writable()

    def _pubrec(self, packet: Pubrec) -> None:
        session = self.current_session()
        if packet.reason_code >= FAILURE:
            refused = session.outgoing.refused(packet.packet_id)
            if refused is not None:
                self._free(session, refused)
            return
        delivery = session.outgoing.received(packet.packet_id)
        if delivery is None:
            # It is of an exchange that we do not know ([MQTT-4.3.3-3] and 3.6.2.1): the client may free its side.
            self.answer(PUBREL, Pubrel, packet.packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
        elif delivery.number:
            # Once PUBREL has left, the message must never be sent again, also after a crash.
            self.broker.store_released(session, delivery, self.release)
        else:
            self.output.write(PUBREL + packet.packet_id.to_bytes(2, "big"))

    def release(self, delivery: Delivery) -> None:
        """Answer a PUBREC, for the first time or again."""
        self.output.write(PUBREL + delivery.packet_id.to_bytes(2, "big"))

    def _pubrel(self, packet: Pubrel) -> None:
        session, packet_id = self.current_session(), packet.packet_id
        self.receiving.pop(packet_id, None)
        if packet_id not in session.received:
            self.answer(PUBCOMP, Pubcomp, packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
        elif session.is_kept:
            # A new message with this packet id must not be taken for the old one, also after a crash.
            self.broker.forget_received(session, packet_id, partial(self._released, session, packet_id))
        else:
            self._released(session, packet_id)

    def _released(self, session: ClientSession, packet_id: int) -> None:
        session.received.pop(packet_id, None)
        self.output.write(PUBCOMP + packet_id.to_bytes(2, "big"))

    def _pingreq(self, packet: Pingreq) -> None:
        self.output.write(PINGRESP)

    def _auth(self, packet: Auth) -> None:
        raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "AUTH without an authentication method in CONNECT")

    def _connect(self, packet: Connect) -> Coroutine[Any, Any, Any]:
        if self.version:
            raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "a connection has one CONNECT")
        self._timer.cancel()
        self.version, self.is_v5 = packet.version, packet.version >= V5
        return connecting.connect(self, packet)

    def _subscribe(self, packet: Subscribe) -> Coroutine[Any, Any, Any]:
        return subscribing.subscribe(self, packet)

    def _unsubscribe(self, packet: Unsubscribe) -> Coroutine[Any, Any, Any]:
        return subscribing.unsubscribe(self, packet)

    def _disconnect(self, packet: Disconnect) -> None:
        """[MQTT-3.14.4-3]: after a DISCONNECT with reason 0x00 there is no will."""
        session, properties = self.current_session(), packet.properties
        if properties is not None and properties.session_expiry_interval is not None:
            self._change_expiry(session, properties.session_expiry_interval)
        self.output.close()
        self.leave(sends_will=packet.reason_code != ReasonCode.NORMAL_DISCONNECTION)

    def _change_expiry(self, session: ClientSession, expiry: int) -> None:
        if expiry and not session.expiry:
            raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "a session that ends with its connection cannot be given a longer life")
        session.expiry = self.broker.bounded_expiry(expiry)

    # Who the client is

    def authenticate(self, principal: Principal) -> None:
        """Take on an identity.

        :raises QuotaExceeded: the user has no room for the connection; the old identity stays.
        """
        server, before = self.broker.server, self.principal
        if before is None or before.account is not principal.account:
            server.quotas.take(principal.account, connections=1)
            if before is not None:
                server.quotas.give_back(before.account, connections=1)
        self.principal = principal.frozen() if server.settings.compatibility.frozen_connections else principal
        self.routes.clear()

    def check_identity_if_changed(self) -> None:
        """Look again who the client is, if users or tokens have changed, or the token has expired."""
        principal = self.principal
        if self.epoch != self.broker.entities.users_epoch or (principal is not None and principal.expired):
            self.check_identity()

    def check_identity(self) -> None:
        """Look again who the client is, and what it may hear."""
        self.epoch = self.broker.entities.users_epoch
        self.routes.clear()
        principal, session = self.principal, self.session
        if self.is_over:
            return
        if principal is not None and not principal.is_valid:
            text = "the token has expired" if principal.expired else "the user or the token is not valid any more"
            self.end(ReasonCode.NOT_AUTHORIZED, text)
        elif session is not None and self.is_accepted:
            subscribing.check_rights(self, session)

    def rights_changed(self) -> None:
        """Look again what the client may do with plain topics."""
        self.routes.clear()
        if self.session is not None and self.is_accepted:
            subscribing.check_rights(self, self.session)

    def identity(self) -> dict[str, Any]:
        """Fields that identify the connection in a log line."""
        user = {} if self.principal is None else {"user": self.principal.user_id}
        return {"connection": self.output.number, "address": self.output.address} | user

    # The end

    def watch(self, keep_alive: int) -> None:
        """End the connection when the client is silent for too long.

        :param keep_alive: seconds; 0 for any time.
        """
        self.keep_alive = keep_alive
        if keep_alive:
            self._timer = self.broker.timers.call(keep_alive * PATIENCE, self._check_alive)

    def _check_alive(self) -> None:
        limit = self.keep_alive * PATIENCE
        # What is not read is not silence.
        silent = 0.0 if self._is_paused else max(0.0, self.broker.second - self._heard_at)
        if silent >= limit:
            self.end(ReasonCode.KEEP_ALIVE_TIMEOUT, "nothing has come for one and a half times the keep alive")
        else:
            self._timer = self.broker.timers.call(limit - silent, self._check_alive)

    def _connect_timeout(self) -> None:
        self.broker.server.metrics.refused("handshake_timeout")
        self.end(ReasonCode.UNSPECIFIED_ERROR, "no CONNECT has come in time")

    def end(self, reason_code: int, text: str, *, version: int | None = None) -> None:
        """End the connection from our side. A client of MQTT 5.0 gets the reason; others only see that it is closed.

        :param version: the form in which an answer can be read, if there was no CONNECT yet.
        """
        if self.is_over:
            return
        self.broker.counters.ended[reason_code] += 1
        if self.broker.is_debugging:
            self.log.debug("closed, reason {code}: {text}", code=f"{reason_code:#04x}", text=text, **self.identity())
        if self.broker.server.trace is not None:
            self.broker.server.trace.end(self, reason_code, text)
        if self.is_accepted:
            if self.is_v5:
                self.write(Disconnect(reason_code, Properties(reason_string=text) if text else None))
        elif self.version or version:
            self.refuse(reason_code, text, version)
        self.output.close()
        self.leave()

    def refuse(self, reason_code: int, text: str, version: int | None = None) -> None:
        """Answer a CONNECT that is refused."""
        self.broker.counters.connects[reason_code] += 1
        self.version = self.version or version or V5
        if self.version >= V5 or return_code(reason_code) is not None:
            properties = Properties(reason_string=text) if text and self.version >= V5 else None
            self.write(Connack(reason_code, False, properties))

    def storage_failed(self) -> None:
        """End the connection, since the storage does not answer; the client comes again, and repeats what was not answered."""
        self.end(ReasonCode.SERVER_BUSY, "the storage does not answer")

    def taken_over(self) -> None:
        """Another connection takes over the session ([MQTT-3.1.4-3]). What this one has not begun to handle, the client sends again."""
        if not self._is_lost:
            self._held = EMPTY
            self.end(ReasonCode.SESSION_TAKEN_OVER, "the session was taken over by another connection")

    def leave(self, sends_will: bool = True) -> None:
        """Nothing more is received or sent; the session goes on without the connection, or ends."""
        if self._has_left:
            return
        self._has_left = self.is_over = True
        self._timer.cancel()
        if self._rate_timer is not None:
            self._rate_timer.cancel()
            self._rate_timer = None
        self.output.account.remove(self._held_size)
        self._held, self._held_size = EMPTY, 0
        self.broker.connections.discard(self)
        if self.principal is not None:
            self.broker.server.quotas.give_back(self.principal.account, connections=1)
        session, self.session = self.session, None
        if session is not None and session.connection is self:
            session.unsettled = self if self._is_busy else None
            self.broker.disconnected(session, sends_will)


ACKNOWLEDGEMENTS = frozenset({Puback, Pubrec, Pubcomp})
HANDLERS: dict[Any, Any] = {
    Connect: MqttConnection._connect,
    Puback: MqttConnection._puback,
    Pubrec: MqttConnection._pubrec,
    Pubrel: MqttConnection._pubrel,
    Pubcomp: MqttConnection._pubcomp,
    Subscribe: MqttConnection._subscribe,
    Unsubscribe: MqttConnection._unsubscribe,
    Pingreq: MqttConnection._pingreq,
    Disconnect: MqttConnection._disconnect,
    Auth: MqttConnection._auth,
}
"""What a client may send besides PUBLISH, and what handles it."""
