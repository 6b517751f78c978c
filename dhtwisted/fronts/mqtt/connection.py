"""One network connection of a client, from CONNECT to DISCONNECT."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from dhtwisted.errors import InvalidPacket
from dhtwisted.fronts.mqtt import acknowledging, connecting, subscribing
from dhtwisted.fronts.mqtt.receiving import GONE, LOST, PacketReceiver
from dhtwisted.fronts.mqtt.small_maps import UNUSED
from dhtwisted.fronts.mqtt.tracing import follow
from dhtwisted.fronts.queues import EMPTY, append
from dhtwisted.wire.mqtt.packets import (
    V5,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Properties,
    Pubcomp,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
)
from dhtwisted.wire.mqtt.reasons import ReasonCode, connack_code, return_code

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.fronts.mqtt.interfaces import IMqttOutput
    from dhtwisted.fronts.mqtt.session import ClientSession

PINGRESP = b"\xd0\x00"
UNCHECKED = object()
"""Stands for the user of a connection whose rights were not looked at yet."""

PATIENCE = 1.5
"""A client is gone after so many times its keep alive ([MQTT-3.1.2-22])."""


class MqttConnection(PacketReceiver):
    """A connection, as the transport drives it.

    :ivar routes: topic -> what may happen with it, see :mod:`~dhtwisted.fronts.mqtt.publishing`.
    :ivar topics: topic alias of the client -> topic.
    :ivar keep_alive: seconds; 0 for none.
    """

    __slots__ = ("_checked", "_timer", "keep_alive", "routes", "topics")

    def __init__(self, broker: MqttBroker, output: IMqttOutput) -> None:
        super().__init__(broker, output)
        self._checked: Any = UNCHECKED
        self.routes: dict[str, Any] = UNUSED
        self.topics: dict[int, str] | None = None
        self.keep_alive = 0
        self._timer: Any = broker.timers.call(broker.server.settings.limits.handshake_timeout, self._connect_timeout)
        broker.connections.add(self)
        broker.counters.opened += 1

    # What the transport calls

    def writable(self) -> None:
        """The client reads again."""
        if self.session is not None:
            self.session.send_more()
        self._go_on()

    def connection_lost(self, reason: str) -> None:
        """The connection is gone. What came before is still handled: a client may publish, and close at once."""
        self._is_lost = True
        if self.session is not None:
            self.session.outgoing.link = None
        if self.is_over or not (self.is_busy or self._held):
            self.leave(why=GONE)
        else:
            self._held = append(self._held, LOST)
            self._go_on()

    def shutting_down(self) -> None:
        """End the connection, since the server stops."""
        self.end(ReasonCode.SERVER_SHUTTING_DOWN, "the server stops")

    # What the client sends

    def _pingreq(self, packet: Pingreq) -> None:
        self.broker.counters.sent[Pingresp] += 1
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
        why = f"the client has disconnected, reason {packet.reason_code:#04x}"
        self.leave(packet.reason_code != ReasonCode.NORMAL_DISCONNECTION, why)

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
        # What is subscribed from now on, or resumed, is looked at then.
        self._checked = self.principal.user if self.principal.is_valid else UNCHECKED
        self.routes.clear()
        if server.trace is not None:
            follow(self)

    def check_identity_if_changed(self) -> None:
        """Look again who the client is, if users or tokens have changed, or the token has expired."""
        principal = self.principal
        if self.epoch != self.broker.entities.users_epoch or (principal is not None and principal.expired):
            try:
                self.check_identity()
            except Exception:
                # Of others it must be looked at too, and of this one it is not known any more.
                self._broken(None)

    def check_identity(self) -> None:
        """Look again who the client is, and what it may hear. Nothing changes for it if users have changed, but not its own."""
        self.epoch = self.broker.entities.users_epoch
        principal, session = self.principal, self.session
        user = None if principal is None else principal.user
        is_known = user is self._checked and (principal is None or (user is not None and not principal.expired))
        if self.is_over or is_known:
            return
        self.routes.clear()
        if principal is not None and not principal.is_valid:
            text = "the token has expired" if principal.expired else "the user or the token is not valid any more"
            self.end(ReasonCode.NOT_AUTHORIZED, text)
        else:
            if session is not None and self.is_accepted:
                subscribing.check_rights(self, session)
            self._checked = user

    def rights_changed(self) -> None:
        """Look again what the client may do with plain topics."""
        self.routes.clear()
        if self.session is not None and self.is_accepted:
            try:
                subscribing.check_rights(self, self.session)
            except Exception:
                self._broken(None)

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
        reason_code = connack_code(reason_code)
        self.broker.counters.connects[reason_code] += 1
        self.version = self.version or version or V5
        if self.version >= V5 or return_code(reason_code) is not None:
            properties = Properties(reason_string=text) if text and self.version >= V5 else None
            self.write(Connack(reason_code, False, properties))

    def cannot_send(self, packet: Any) -> None:
        """End the connection, since an answer is too large for the client: it would wait for it for ever."""
        if self.is_accepted and type(packet) is not Disconnect:
            self.end(ReasonCode.PACKET_TOO_LARGE, f"the answer, {type(packet).__name__.upper()}, is larger than the client permits")

    def storage_failed(self) -> None:
        """End the connection, since the storage does not answer; the client comes again, and repeats what was not answered."""
        self.end(ReasonCode.SERVER_BUSY, "the storage does not answer")

    def taken_over(self) -> None:
        """Another connection takes over the session ([MQTT-3.1.4-3]). What this one has not begun to handle, the client sends again."""
        if not self._is_lost:
            self._held = EMPTY
            self.end(ReasonCode.SESSION_TAKEN_OVER, "the session was taken over by another connection")

    def leave(self, sends_will: bool = True, why: str = "") -> None:
        """Nothing more is received or sent; the session goes on without the connection, or ends.

        :param why: for the log; empty if it is there already.
        """
        if self.is_over:
            return
        if why and self.broker.is_debugging:
            self.log.debug("ended: {why}", why=why, **self.identity())
        self.is_over = True
        self._timer.cancel()
        self._end_receiving()
        self.broker.connections.discard(self)
        if self.principal is not None:
            self.broker.server.quotas.give_back(self.principal.account, connections=1)
        session, self.session = self.session, None
        if session is not None and session.connection is self:
            session.unsettled = self if self.is_busy else None
            self.broker.disconnected(session, sends_will)


MqttConnection.handlers = {
    Connect: MqttConnection._connect,
    Pubrec: acknowledging.pubrec,
    Pubrel: acknowledging.pubrel,
    Pubcomp: acknowledging.pubcomp,
    Subscribe: MqttConnection._subscribe,
    Unsubscribe: MqttConnection._unsubscribe,
    Pingreq: MqttConnection._pingreq,
    Disconnect: MqttConnection._disconnect,
    Auth: MqttConnection._auth,
}
