"""The part of an MQTT session that is about DeviceHive: its connections, requests and publishes."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dhtwisted.core.client import WEBSOCKET, IClient
from dhtwisted.errors import StorageUnavailable
from dhtwisted.fronts.mqtt.event_subscriber import EventSubscriber
from dhtwisted.fronts.mqtt.event_topics import FLOWS, FLOWS_BY_ACTION
from dhtwisted.fronts.mqtt.gaps import find_gap
from dhtwisted.fronts.mqtt.inserts import Publishes
from dhtwisted.fronts.mqtt.interfaces import IDeviceSession, Outcome, Refusal
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.request_channel import RequestChannel, RequestOutput
from dhtwisted.fronts.mqtt.stored_events import recall
from dhtwisted.fronts.mqtt.streams import Stream
from dhtwisted.model import Device, MqttQueued
from dhtwisted.model.mqtt import ANONYMOUS
from dhtwisted.wire.envelope import encode
from dhtwisted.wire.mqtt.packets import Publish
from dhtwisted.wire.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.fronts.mqtt.event_messages import EventMessage
    from dhtwisted.fronts.mqtt.session import ClientSession


@implementer(IDeviceSession, IClient)
class DeviceSession(EventSubscriber):
    """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`.

    :param topics: the :class:`~dhtwisted.fronts.mqtt.device_topics.DeviceTopics`, which all sessions share.
    :param session: the session whose part this is.
    :param state: what it had before a restart; empty for nothing.
    """

    log = Logger()
    conventions = WEBSOCKET

    __slots__ = ("_channel", "_output", "_publishes")

    def __init__(self, topics: Any, session: ClientSession, state: bytes = b"") -> None:
        super().__init__(topics, session)
        self._channel: RequestChannel | None = None
        self._output: RequestOutput | None = None
        self._publishes = Publishes(self, topics)
        if state:
            self.restore(state)

    # The client, for the core

    @property
    def output(self) -> RequestOutput:
        """See :class:`~dhtwisted.core.client.IClient`."""
        if self._output is None:
            self._output = RequestOutput(self)
        return self._output

    def remember_command(self, command_id: int) -> None:
        """Do nothing: a client that wants the updates of its commands subscribes to them, and gets one copy of each."""

    # The connection

    @property
    def may_read(self) -> bool:
        """Whether events can be read from the storage and sent."""
        return self.is_connected and self.session.has_room and self.session.principal is not None

    @property
    def may_begin_reading(self) -> bool:
        """Whether there is room for some: a page for each acknowledgement would read most messages many times."""
        connection = self.session.outgoing.link
        return self.may_read and connection is not None and 2 * connection.quota >= connection.most_in_flight

    def end_connection(self, text: str) -> None:
        """End the connection as soon as what is under way is done: the client goes beyond a bound."""
        connection = self.session.connection
        if connection is not None:
            self.server.reactor.callLater(0, connection.end, ReasonCode.QUOTA_EXCEEDED, text)

    def connected(self, is_present: bool) -> None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        self.is_connected = True
        for delivery in self.session.outgoing.pending.values():
            if delivery.token is not None:
                index, number = delivery.token
                stream = self.streams[index]
                if stream is not None:
                    stream.note_given(number)
        self._identified()
        self._topics.events.sessions.add(self)
        for wanted, filters in self._groups.items():
            self._topics.events.put(self, wanted, (), filters)
        for stream in self.streams:
            if stream is not None:
                stream.is_checked = False
                stream.wake()

    def disconnected(self) -> None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        self.is_connected = False
        self._topics.events.sessions.discard(self)
        for wanted, filters in self._groups.items():
            self._topics.events.put(self, wanted, filters, ())
        for stream in self.streams:
            if stream is not None:
                stream.pause()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self.values is not None:
            self.values.cancel()
            self.values = None
        self._count()
        if self.session.key[0] == ANONYMOUS:
            self._forget_events()

    def _forget_events(self) -> None:
        """A client without a user of its own that had logged in: whoever comes next with its id may not see what it has not received."""
        for delivery in list(self.session.outgoing.pending.values()):
            if delivery.token is not None:
                self.session.outgoing.drop(delivery)
        for text in list(self.filters):
            self._remove(text)
        self.streams = [None] * len(FLOWS)
        self.responses.clear()

    def ended(self) -> None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        self._topics.unsaved.discard(self)

    def missed(self) -> None:
        """Some events will not come: they are read from the storage."""
        for stream in self.streams:
            if stream is not None:
                stream.pause()
                stream.wake()

    def identify(self, principal: Principal) -> None:
        """Take on an identity, as a client that connected without one does.

        :raises QuotaExceeded: the user has no room for the connection; the old identity stays.
        """
        self.session.authenticate(principal)
        self._identified()

    def _identified(self) -> None:
        principal = self.session.principal
        self.only_device = None if principal is None else principal.device_id
        self._count()

    def make_account(self) -> Any:
        """An account for what happens after the end of the connection."""
        return self.server.budget.account(lambda reason: None)

    # Publishes

    def publish(self, messages: Sequence[Message | Publish], packet_ids: Sequence[int] = ()) -> list[Outcome] | Awaitable[list[Outcome]]:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        return self._publishes.publish(messages, packet_ids)

    @property
    def channel(self) -> RequestChannel:
        """What takes requests; it lasts as long as the connection."""
        if self._channel is None:
            self._channel = RequestChannel(self, self._topics)
        return self._channel

    def refused(self, message: Message | Publish, refusal: Refusal) -> None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`. The client hears it on ``dh/response/error@CLIENT``."""
        answer = {
            "action": "error",
            "status": "error",
            "code": refusal.reason_code,
            "error": refusal.text,
            "topic": message.topic,
        }
        self.responses.send("error", encode(answer))

    # Events

    async def recall(self, record: MqttQueued) -> tuple[Message, Any] | None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        return await recall(self.server, record)

    async def may_have(self, messages: Sequence[EventMessage]) -> list[bool]:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        # The token of this connection may be for another device than that of the one before.
        self._identified()
        entities, devices = self.server.entities, {}
        for device_id in dict.fromkeys(message.source.device_id for message in messages):
            devices[device_id] = await entities.get(Device, device_id)
        # Others may have been changed while one was read.
        devices = {device_id: entities.device(device_id) or device for device_id, device in devices.items()}
        found = [(FLOWS_BY_ACTION[message.action], devices[message.source.device_id]) for message in messages]
        return [device is not None and self.may_receive(flow, device) for flow, device in found]

    def acknowledged(self, tokens: Sequence[Any]) -> None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        streams = self.streams
        for index, number in tokens:
            stream = streams[index]
            if stream is not None:
                stream.acknowledged(number)
        if self.session.is_kept:
            self._topics.save_later(self)
        for stream in streams:
            if stream is not None and not stream.is_live:
                stream.wake()
        if self.values is not None:
            self.values.go_on()

    def writable(self) -> None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        for stream in self.streams:
            if stream is not None and not stream.is_live:
                stream.wake()
        if self._channel is not None:
            self._channel.writable()
        if self.values is not None:
            self.values.go_on()

    # Gaps and errors

    async def check_gap(self, stream: Stream, start: int, since: int) -> None:
        """Tell the client what it has missed for good, if anything."""
        gap = await find_gap(self.server, stream.flow, start, since)
        if gap is not None:
            self.responses.send("gap", encode(gap))

    def reading_failed(self, error: BaseException) -> None:
        """Log that stored events could not be read; it is tried again."""
        if isinstance(error, StorageUnavailable):
            self.log.warn("events of an MQTT client wait for the storage: {error}", error=str(error), client=self.client_id)
        else:
            self.log.failure("events of an MQTT client could not be read", failure=Failure(error), client=self.client_id)
