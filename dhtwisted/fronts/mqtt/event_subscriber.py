"""What one client has subscribed to below ``dh/``: its filters, and where it is in each stream of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from dhtwisted.core.replay import few_devices
from dhtwisted.core.subscription import Subscription as CoreSubscription
from dhtwisted.fronts.mqtt.event_filters import EventFilter, WantedEvents, is_first_response, read_filter
from dhtwisted.fronts.mqtt.event_topics import FLOWS, NOTIFICATIONS, Flow
from dhtwisted.fronts.mqtt.events import Filters, FilterTree
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.last_values import LastValues
from dhtwisted.fronts.mqtt.refusals import NOBODY
from dhtwisted.fronts.mqtt.responses import Responses
from dhtwisted.fronts.mqtt.small_maps import FewItems
from dhtwisted.fronts.mqtt.streams import SavedStream, Stream
from dhtwisted.fronts.mqtt.subscription_rights import check_rights
from dhtwisted.fronts.mqtt.waiting_events import WaitingRoom
from dhtwisted.model import Device
from dhtwisted.model import Message as StoredMessage
from dhtwisted.wire.mqtt.packets import Subscription

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.event_messages import EventMessage
    from dhtwisted.fronts.mqtt.session import ClientSession

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


class EventSubscriber:
    """The filters and streams of one client.

    :param topics: the :class:`~dhtwisted.fronts.mqtt.device_topics.DeviceTopics`, which all sessions share.
    :param session: the session whose part this is.
    :ivar filters: filter as the client gave it -> what it wants.
    :ivar streams: for each flow the events with QoS 1 and 2; ``None`` for those to which it has not subscribed.
    :ivar values: the last values that are being sent; ``None`` for none.
    :ivar only_device: the id of the device of the client's token; ``None`` for any device.
    :ivar is_connected: whether there is a connection.
    """

    __slots__ = (
        "_groups",
        "_quota",
        "_topics",
        "_tree",
        "client_id",
        "filters",
        "is_connected",
        "only_device",
        "responses",
        "server",
        "session",
        "streams",
        "values",
    )

    def __init__(self, topics: Any, session: ClientSession) -> None:
        self.session = session
        self.client_id = session.key[1]
        self._topics = topics
        self.server: Server = topics.server
        self.filters: FewItems[str, Filters] = FewItems()
        self._groups: FewItems[WantedEvents, Filters] = FewItems()
        self.streams: list[Stream | None] = [None] * len(FLOWS)
        self.responses = Responses(session)
        self.only_device: str | None = None
        self.is_connected = False
        self._tree: FilterTree | None = None
        self.values: LastValues | None = None
        self._quota: tuple[Any, int] | None = None

    @property
    def principal(self) -> Principal | None:
        """See :class:`~dhtwisted.core.client.IClient`."""
        return self.session.principal

    @property
    def user_id(self) -> int | None:
        """The id of the user; ``None`` for nobody."""
        return None if self.session.principal is None else self.session.principal.user_id

    @property
    def waiting_room(self) -> WaitingRoom:
        """What all clients share for events that wait in memory."""
        room: WaitingRoom = self._topics.waiting_room
        return room

    def may_receive(self, flow: Flow, device: Device) -> bool:
        """Whether the client may have the events of a device now."""
        principal = self.session.principal
        if principal is None or self.only_device not in (None, device.id):
            return False
        return principal.receives((flow.kind.permission, device.network_id, device.device_type_id))

    def trace(self, source: StoredMessage, message: EventMessage) -> None:
        """Log an event, if anybody follows it."""
        trace = self.server.trace
        if trace is not None:
            trace.event(self, self.session.principal, source, message.payload.lstrip(b"{"), None)

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

    def restore(self, state: bytes) -> None:
        """Take what :meth:`state` gave before a restart."""
        saved = msgspec.json.decode(state, type=SavedState)
        for one in saved.filters:
            self._put(one.text, one.qos, one.identifier, one.since)
        for each in saved.streams:
            stream = self.streams[each.index]
            if stream is not None:
                stream.restore(each)

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
            if stream is not None and self.is_connected:
                stream.wake()
        self.filters[text] = tuple(filters)
        self._count()

    def _stream(self, flow: Flow) -> Stream:
        stream = self.streams[flow.index]
        if stream is None:
            stream = self.streams[flow.index] = Stream(self, self.server, flow)
            stream.is_checked = True
            if self.is_connected:
                stream.go_live()
        return stream

    def _set_group(self, wanted: WantedEvents, filters: Filters) -> None:
        before = self._groups.pop(wanted, ())
        if filters:
            self._groups[wanted] = filters
        if self.is_connected:
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

    def _count(self) -> None:
        """Count the filters as subscriptions of the user, as long as there is a connection."""
        quotas, principal = self.server.quotas, self.session.principal
        count = sum(map(len, self._groups.values())) if self.is_connected and principal is not None else 0
        if self._quota is not None:
            quotas.give_back(self._quota[0], subscriptions=self._quota[1])
            self._quota = None
        if count and principal is not None:
            # Those of a session that comes back count whether there is room or not.
            principal.account.subscriptions += count
            self._quota = principal.account, count

    # Last values

    def _send_values(self, text: str) -> None:
        for one in self.filters[text]:
            if one.wanted.flow is NOTIFICATIONS and not one.wanted.is_server_made:
                if self.values is None:
                    self.values = LastValues(self, self.server)
                self.values.add(one)

    def values_sent(self, values: LastValues) -> None:
        """Last values have been sent."""
        if self.values is values:
            self.values = None

    # What is wanted

    def own_tree(self) -> FilterTree:
        """The filters of this client alone."""
        if self._tree is None:
            self._tree = FilterTree()
            for wanted, filters in self._groups.items():
                self._tree.put(self, wanted, filters)
        return self._tree

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
