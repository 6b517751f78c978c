"""The part of an MQTT session that is about DeviceHive: its filters, where it is in each stream of events, its requests and publishes."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dhtwisted.core.client import WEBSOCKET, IClient
from dhtwisted.core.replay import few_devices
from dhtwisted.core.subscription import Subscription as CoreSubscription
from dhtwisted.errors import StorageUnavailable
from dhtwisted.fronts.mqtt.event_filters import EventFilter, WantedEvents, is_first_response, read_filter
from dhtwisted.fronts.mqtt.event_messages import EventMessage, event_payload
from dhtwisted.fronts.mqtt.event_topics import FLOWS, MAPPED_COMMANDS, NOTIFICATIONS, UPDATES, Flow, event_path
from dhtwisted.fronts.mqtt.events import Filters, FilterTree, mapped_message, private, receiver_of
from dhtwisted.fronts.mqtt.gaps import find_gap
from dhtwisted.fronts.mqtt.inserts import Publishes
from dhtwisted.fronts.mqtt.interfaces import IDeviceSession, Outcome, Refusal
from dhtwisted.fronts.mqtt.last_values import LastValues
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.payloads import from_json
from dhtwisted.fronts.mqtt.refusals import NOBODY
from dhtwisted.fronts.mqtt.request_channel import RequestChannel, RequestOutput
from dhtwisted.fronts.mqtt.responses import Responses
from dhtwisted.fronts.mqtt.small_maps import FewItems
from dhtwisted.fronts.mqtt.streams import SavedStream, Stream
from dhtwisted.fronts.mqtt.subscription_rights import check_rights
from dhtwisted.fronts.mqtt.waiting_events import WaitingRoom
from dhtwisted.model import Device, MessageQuery, MqttQueued
from dhtwisted.model import Message as StoredMessage
from dhtwisted.model.mqtt import ANONYMOUS
from dhtwisted.wire.envelope import encode
from dhtwisted.wire.mqtt.packets import Publish, Subscription
from dhtwisted.wire.mqtt.topics import DEVICEHIVE

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.session import ClientSession

MOST_UPDATES = 100
"""Among so many latest updates of its device an update that was in flight is looked for after a restart."""

ON_SUBSCRIBE, IF_NEW = 0, 1
"""Retain handling: send retained messages at each SUBSCRIBE, or only at the first of a filter."""


class SavedFilter(Struct, array_like=True):
    """A filter, and for each flow the number of the newest event when the client subscribed."""

    text: str
    qos: int
    identifier: int
    since: list[int]


class SavedState(Struct, array_like=True):
    """What outlives the process."""

    filters: list[SavedFilter]
    streams: list[SavedStream]


@implementer(IDeviceSession, IClient)
class DeviceSession:
    """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`.

    :param topics: the :class:`~dhtwisted.fronts.mqtt.device_topics.DeviceTopics`, which all sessions share.
    :param session: the session whose part this is.
    :ivar filters: filter as the client gave it -> what it wants.
    :ivar streams: for each flow the events with QoS 1 and 2; ``None`` for those to which it has not subscribed.
    :ivar values: the last values that are being sent; ``None`` for none.
    :ivar only_device: the id of the device of the client's token; ``None`` for any device.
    """

    log = Logger()
    conventions = WEBSOCKET

    __slots__ = (
        "_channel",
        "_groups",
        "_is_connected",
        "_output",
        "_publishes",
        "_quota",
        "_topics",
        "_tree",
        "client_id",
        "filters",
        "only_device",
        "responses",
        "server",
        "session",
        "streams",
        "values",
    )

    def __init__(self, topics: Any, session: ClientSession, state: bytes = b"") -> None:
        self.session = session
        self.client_id = session.key[1]
        self._topics = topics
        self.server: Server = topics.server
        self.filters: FewItems[str, Filters] = FewItems()
        self._groups: FewItems[WantedEvents, Filters] = FewItems()
        self.streams: list[Stream | None] = [None] * len(FLOWS)
        self.responses = Responses(session)
        self.only_device: str | None = None
        self._is_connected = False
        self._tree: FilterTree | None = None
        self._channel: RequestChannel | None = None
        self._output: RequestOutput | None = None
        self._publishes = Publishes(self, topics)
        self.values: LastValues | None = None
        self._quota: tuple[Any, int] | None = None
        if state:
            self._restore(msgspec.json.decode(state, type=SavedState))

    # The client, for the core

    @property
    def principal(self) -> Principal | None:
        """See :class:`~dhtwisted.core.client.IClient`."""
        return self.session.principal

    @property
    def user_id(self) -> int | None:
        """The id of the user; ``None`` for nobody."""
        return None if self.session.principal is None else self.session.principal.user_id

    @property
    def output(self) -> RequestOutput:
        """See :class:`~dhtwisted.core.client.IClient`."""
        if self._output is None:
            self._output = RequestOutput(self)
        return self._output

    def remember_command(self, command_id: int) -> None:
        """Do nothing: a client that wants the updates of its commands subscribes to them, and gets one copy of each."""

    @property
    def waiting_room(self) -> WaitingRoom:
        """What all clients share for events that wait in memory."""
        room: WaitingRoom = self._topics.waiting_room
        return room

    # The connection

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._is_connected

    @property
    def may_read(self) -> bool:
        """Whether events can be read from the storage and sent."""
        return self._is_connected and self.session.has_room and self.session.principal is not None

    @property
    def may_begin_reading(self) -> bool:
        """Whether there is room for some: a page for each acknowledgement would read most messages many times."""
        connection = self.session.outgoing.link
        return self.may_read and connection is not None and 2 * connection.quota >= connection.most_in_flight

    def connected(self, is_present: bool) -> None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        self._is_connected = True
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
        self._is_connected = False
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

    def _count(self) -> None:
        """Count the filters as subscriptions of the user, as long as there is a connection."""
        quotas, principal = self.server.quotas, self.session.principal
        count = sum(map(len, self._groups.values())) if self._is_connected and principal is not None else 0
        if self._quota is not None:
            quotas.give_back(self._quota[0], subscriptions=self._quota[1])
            self._quota = None
        if count and principal is not None:
            # Those of a session that comes back count whether there is room or not.
            principal.account.subscriptions += count
            self._quota = principal.account, count

    def make_account(self) -> Any:
        """An account for what happens after the end of the connection."""
        return self.server.budget.account(lambda reason: None)

    # What outlives the process

    def state(self) -> bytes:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        filters = []
        for text, wanted in self.filters.items():
            since = [0] * len(FLOWS)
            for one in wanted:
                since[one.wanted.flow.index] = one.since
            some = wanted[0] if wanted else None
            options = self.responses.options(text) if some is None else (some.qos, some.identifier)
            filters.append(SavedFilter(text, *options, since))
        streams = [stream.save() for stream in self.streams if stream is not None]
        return msgspec.json.encode(SavedState(filters, streams))

    def _restore(self, saved: SavedState) -> None:
        for one in saved.filters:
            self._put(one.text, one.qos, one.identifier, one.since)
        for each in saved.streams:
            stream = self.streams[each.index]
            if stream is not None:
                stream.restore(each)

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

    # Subscriptions

    async def subscribe(self, subscriptions: Sequence[Subscription], identifier: int) -> list[int | Refusal]:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        outcomes = [await self._subscribe(one, identifier) for one in subscriptions]
        if self.values is not None:
            # Behind SUBACK, which leaves in this turn if nothing has to be stored.
            self.server.reactor.callLater(0, self.values.start)
        return outcomes

    async def _subscribe(self, options: Subscription, identifier: int) -> int | Refusal:
        text, principal = options.filter, self.session.principal
        mapped = self._topics.mapped_commands(text)
        if principal is None:
            if is_first_response(text, self.client_id):
                self._put(text, options.qos, identifier)
                return options.qos
            return NOBODY
        found = read_filter(text, self.client_id)
        if isinstance(found, Refusal) and not mapped:
            return found
        events = () if isinstance(found, Refusal) else found.events
        wanted, refusal = await check_rights(self, events, mapped)
        if refusal is not None and not wanted and (isinstance(found, Refusal) or not found.has_responses):
            return refusal
        before = self.filters.get(text)
        self._put(text, options.qos, identifier, None, wanted)
        if self.server.settings.mqtt.last_values and (
            options.retain_handling == ON_SUBSCRIBE or (options.retain_handling == IF_NEW and before is None)
        ):
            self._send_values(text)
        return options.qos

    def _put(
        self, text: str, qos: int, identifier: int, since: Sequence[int] | None = None, permitted: Sequence[WantedEvents] | None = None
    ) -> None:
        """Begin a filter, or replace it.

        :param since: the numbers of the newest events, by flow; ``None``: those of now.
        :param permitted: what the client may have; ``None`` for all.
        """
        earlier = {one.wanted.flow: one.since for one in self.filters.get(text, ())}
        self._remove(text)
        found = read_filter(text, self.client_id)
        filters = []
        if not isinstance(found, Refusal):
            if found.has_responses:
                self.responses.put(text, qos, identifier)
            filters = [EventFilter(text, wanted, found.is_private, qos, identifier) for wanted in found.events]
        filters += [EventFilter(text, wanted, False, qos, identifier, 0, one) for wanted, one in self._topics.mapped_commands(text)]
        filters = [one for one in filters if permitted is None or one.wanted in permitted]
        for one in filters:
            flow = one.wanted.flow
            stream = self._stream(flow) if qos else None
            one.since = since[flow.index] if since is not None else earlier.get(flow, self.server.bus_receiver.highest(flow.kind))
            self._set_group(one.wanted, (*self._groups.get(one.wanted, ()), one))
            if stream is not None and self._is_connected:
                stream.wake()
        self.filters[text] = tuple(filters)
        self._count()

    def _stream(self, flow: Flow) -> Stream:
        stream = self.streams[flow.index]
        if stream is None:
            stream = self.streams[flow.index] = Stream(self, self.server, flow)
            stream.is_checked = True
            if self._is_connected:
                stream.go_live()
        return stream

    def _set_group(self, wanted: WantedEvents, filters: Filters) -> None:
        before = self._groups.pop(wanted, ())
        if filters:
            self._groups[wanted] = filters
        if self._is_connected:
            self._topics.events.put(self, wanted, before, filters)
        self._tree = None
        stream = self.streams[wanted.flow.index]
        if stream is not None:
            stream.reconsider()

    def _remove(self, text: str) -> bool:
        self.responses.remove(text)
        filters = self.filters.pop(text, None)
        for one in filters or ():
            self._set_group(one.wanted, tuple(other for other in self._groups[one.wanted] if other is not one))
        return filters is not None

    def unsubscribe(self, filters: Sequence[str]) -> list[bool]:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        found = [self._remove(text) for text in filters]
        wanted = {one.wanted.flow.index for group in self._groups.values() for one in group if one.qos}
        for index, stream in enumerate(self.streams):
            if stream is not None and index not in wanted:
                stream.pause()
                self.streams[index] = None
        self._count()
        return found

    def _send_values(self, text: str) -> None:
        for one in self.filters[text]:
            if one.wanted.flow is NOTIFICATIONS and not one.wanted.is_server_made:
                if self.values is None:
                    self.values = LastValues(self, self.server)
                self.values.add(one)

    # Events

    def may_receive(self, flow: Flow, device: Device) -> bool:
        """Whether the client may have the events of a device now."""
        principal = self.session.principal
        if principal is None or self.only_device not in (None, device.id):
            return False
        return principal.receives((flow.kind.permission, device.network_id, device.device_type_id))

    async def choose(self, flow: Flow, source: StoredMessage, number: int) -> tuple[Device, EventMessage, int, tuple[int, ...]] | None:
        """What the client gets of a stored event with QoS 1 or 2.

        :returns: the device, the message, its QoS and the subscription identifiers; ``None`` if it does not get it.
        """
        entities = self.server.entities
        device = entities.device(source.device_id) or await entities.get(Device, source.device_id)
        if device is None or not self.may_receive(flow, device):
            return None
        path = event_path(flow, device.network_id, device.device_type_id, source)
        receivers = self._own_tree().match(path, source.name)
        filters = [one for receiver in receivers for one in receiver.filters if one.since < number]
        if not filters or not any(one.qos for one in filters):
            return None
        receiver = receiver_of(self, filters)
        if flow is MAPPED_COMMANDS:
            message = mapped_message(receiver, source, device)
            if message is None:
                return None
        else:
            action = flow.kind.name
            message = EventMessage(DEVICEHIVE + path, event_payload(action, source), 2, source=source, action=action)
            if receiver.is_private:
                message = private(message, receiver)
        if self.server.trace is not None:
            self.trace(source, message)
        return device, message, receiver.qos, receiver.identifiers

    def _own_tree(self) -> FilterTree:
        if self._tree is None:
            self._tree = FilterTree()
            for wanted, filters in self._groups.items():
                self._tree.put(self, wanted, filters)
        return self._tree

    async def recall(self, record: MqttQueued) -> tuple[Message, Any] | None:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceSession`."""
        flow = next((flow for flow in FLOWS if flow.level == record.message), None)
        source = None if flow is None else await self._find(flow, record)
        if flow is None or source is None:
            return None
        action, is_mapped = flow.kind.name, flow is MAPPED_COMMANDS
        payload = from_json(source.parameters) if is_mapped else event_payload(action, source)
        return EventMessage(record.topic, payload, 2, source=source, action=action), (flow.index, record.message_id)

    async def _find(self, flow: Flow, record: MqttQueued) -> Any:
        find, kind = self.server.messages, flow.kind.message_kind
        if flow is not UPDATES:
            return await find.get_message(kind, record.device_id, record.message_id)
        query = MessageQuery(device_ids=(record.device_id,), updated=True, by_update=True, descending=True, take=MOST_UPDATES)
        return next((one for one in await find.find_messages(kind, query) if one.update_id == record.message_id), None)

    async def few_devices(self, flow: Flow) -> tuple[str, ...] | None:
        """The devices whose events the client wants, if they are few; ``None`` for all."""
        if self.only_device is not None:
            return (self.only_device,)
        named = {one.wanted.named[2] for group in self._groups.values() for one in group if one.wanted.flow is flow and one.qos}
        if None not in named:
            return tuple(sorted(filter(None, named)))
        if self.principal is None:
            return ()
        nobody: Any = None
        return await few_devices(self.server, CoreSubscription(nobody, self.principal, 0, flow.kind, None, None, None, None))

    def trace(self, source: StoredMessage, message: EventMessage) -> None:
        """Log an event, if anybody follows it."""
        trace = self.server.trace
        if trace is not None:
            trace.event(self, self.session.principal, source, message.payload.lstrip(b"{"), None)

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

    def values_sent(self, values: LastValues) -> None:
        """Last values have been sent."""
        if self.values is values:
            self.values = None

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
