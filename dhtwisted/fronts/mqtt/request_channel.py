"""Requests on ``dh/request``: a WebSocket session whose messages are MQTT publishes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.json import Decoder
from twisted.internet.defer import Deferred
from zope.interface import implementer

from dhtwisted.core.access import Principal
from dhtwisted.errors import UNREADABLE, AccessDenied
from dhtwisted.fronts.mqtt.event_topics import FLOWS_BY_ACTION, event_path
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.responses import ERROR
from dhtwisted.fronts.queues import EMPTY, append
from dhtwisted.fronts.session import Session
from dhtwisted.interfaces import IOutput
from dhtwisted.model import Command, Notification
from dhtwisted.model.mqtt import ANONYMOUS
from dhtwisted.wire.mqtt.topics import DEVICEHIVE


class _Answer(Struct):
    action: Any = None


class _Source(Struct, rename="camel"):
    """What the topic of an event needs."""

    device_id: str
    network_id: int
    device_type_id: int
    notification: str = ""
    command: str = ""


class _Pushed(Struct):
    action: str
    notification: _Source | None = None
    command: _Source | None = None


_read_answer = Decoder(_Answer).decode
_read_event = Decoder(_Pushed).decode


class Expected(Struct, gc=False):
    """What the answer to a request needs.

    :ivar topic: where the client of MQTT 5.0 wants it; ``None`` for the usual topic.
    """

    topic: str | None
    correlation: bytes | None


@implementer(IOutput)
class RequestOutput:
    """The connection of a client, for its requests."""

    __slots__ = ("_session", "expected", "settled", "spare")

    def __init__(self, session: Any) -> None:
        self._session = session
        self.expected: deque[Expected] = EMPTY
        self.settled: deque[Deferred[None]] = EMPTY
        self.spare: Any = None

    @property
    def _connection(self) -> Any:
        connection = self._session.session.connection
        return None if connection is None else connection.output

    @property
    def address(self) -> str:
        """See :class:`~dhtwisted.interfaces.IConnection`. After the end of the connection, which a will outlives, it is empty."""
        return "" if self._connection is None else self._connection.address

    @property
    def number(self) -> int:
        """See :class:`~dhtwisted.interfaces.IConnection`."""
        return 0 if self._connection is None else self._connection.number

    @property
    def rest_url(self) -> str:
        """See :class:`~dhtwisted.interfaces.IOutput`."""
        return getattr(self._connection, "rest_url", "")

    @property
    def congested(self) -> bool:
        """See :class:`~dhtwisted.interfaces.IOutput`."""
        return self._connection is not None and self._connection.congested

    @property
    def ended(self) -> bool:
        """See :class:`~dhtwisted.interfaces.IOutput`. A will is handled after the end."""
        return self._connection is not None and self._connection.ended

    @property
    def account(self) -> Any:
        """See :class:`~dhtwisted.interfaces.IOutput`."""
        if self._connection is not None:
            return self._connection.account
        if self.spare is None:
            self.spare = self._session.make_account()
        return self.spare

    def send(self, payload: bytes) -> None:
        """Send an answer on its topic. Answers leave in the order of the requests."""
        expected = self.expected.popleft() if self.expected else Expected(None, None)
        try:
            action = _read_answer(payload).action
        except UNREADABLE:
            action = None
        self._session.responses.send(action if isinstance(action, str) else ERROR, payload, expected.topic, expected.correlation)
        if not self.expected:
            settled, self.settled = self.settled, EMPTY
            for one in settled:
                one.callback(None)

    def send_many(self, payloads: Iterable[bytes]) -> None:
        """See :class:`~dhtwisted.interfaces.IOutput`."""
        for payload in payloads:
            self.send(payload)

    def send_event(self, prefix: bytes, body: bytes) -> None:
        """Send an event of a subscription by request, on the topic of the event."""
        payload = prefix + body
        pushed = _read_event(payload)
        source = pushed.notification or pushed.command
        flow = FLOWS_BY_ACTION.get(pushed.action)
        if source is None or flow is None:
            return
        kind: Any = Notification if source is pushed.notification else Command
        name = source.notification or source.command
        place = source.network_id, source.device_type_id
        message = kind(name=name, device_id=source.device_id, network_id=place[0], device_type_id=place[1])
        self._session.session.deliver(Message(DEVICEHIVE + event_path(flow, *place, message), payload), 0)

    def send_events(self, events: Iterable[tuple[bytes, bytes]]) -> None:
        """See :class:`~dhtwisted.interfaces.IOutput`."""
        for prefix, body in events:
            self.send_event(prefix, body)

    def abort(self, reason: str) -> None:
        """See :class:`~dhtwisted.interfaces.IOutput`."""
        if self._connection is not None:
            self._connection.abort(reason)

    def pause(self) -> None:
        """Do nothing: the connection takes nothing more until the requests are answered."""

    def resume(self) -> None:
        """Do nothing."""


class RequestChannel(Session):
    """The requests of one connection.

    Answers go to the client alone, events of subscriptions too. A publish with QoS 1 or 2 is acknowledged when its request is answered.
    """

    __slots__ = ("_device",)

    counts_connection = False

    def __init__(self, device: Any, topics: Any) -> None:
        super().__init__(topics.server, topics.decoder, device.output)
        self._device = device
        self.principal = device.session.principal

    def request(self, messages: Sequence[Message]) -> Deferred[None] | None:
        """Execute requests.

        :returns: a Deferred that fires when all are answered; ``None`` if they are.
        """
        output, responses = self._device.output, self._device.responses
        for message in messages:
            properties = message.properties
            topic = None if properties is None else properties.response_topic
            correlation = None if properties is None else properties.correlation_data
            own = topic if topic is not None and responses.is_own(topic) else None
            output.expected = append(output.expected, Expected(own, correlation))
        self.receive_many([message.payload for message in messages])
        if not output.expected:
            return None
        waiting: Deferred[None] = Deferred()
        output.settled = append(output.settled, waiting)
        return waiting

    def authenticated(self, principal: Principal) -> None:
        """Take on an identity, for the whole connection. A session belongs to its user, so a client that has logged in can only renew its
        token.

        :raises AccessDenied: the token is of another user.
        """
        session = self._device.session
        if session.key[0] not in (ANONYMOUS, principal.user_id):
            raise AccessDenied(detail="the client has logged in as another user; connect again to change the user")
        self._device.identify(principal)
        super().authenticated(principal)

    def remember_command(self, command_id: int) -> None:
        """Do nothing: a client that wants the updates of its commands subscribes to them, and gets one copy of each."""

    def close(self) -> None:
        """The connection has ended: what has begun is finished, and not answered."""
        super().close()
        output = self._device.output
        output.expected = EMPTY
        settled, output.settled = output.settled, EMPTY
        for one in settled:
            one.callback(None)
