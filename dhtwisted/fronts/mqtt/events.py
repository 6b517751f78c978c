"""Events on their way to MQTT clients: who wants them, by filters, and may have them, by rights.

An event is looked up in a topic tree, and encoded once for all who get it on the same topic. Each client gets one copy, however many of its
filters match.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from twisted.logger import Logger

from dhtwisted.core.event_kinds import SERVER_MADE
from dhtwisted.fronts.mqtt.event_filters import EventFilter, WantedEvents
from dhtwisted.fronts.mqtt.event_messages import PREFIXES, EventMessage
from dhtwisted.fronts.mqtt.event_topics import FLOWS_BY_ACTION, MAPPED_COMMANDS, NOTIFICATIONS, OWNER, Flow, event_path
from dhtwisted.fronts.mqtt.payloads import from_json
from dhtwisted.fronts.mqtt.topic_tree import TopicTree
from dhtwisted.model import COMMAND_INSERT, Device, Event
from dhtwisted.model import Message as StoredMessage
from dhtwisted.wire.events import event_bodies
from dhtwisted.wire.mqtt.body import encode_text
from dhtwisted.wire.mqtt.topics import DEVICEHIVE

if TYPE_CHECKING:
    from dhtwisted.core.server import Server

Filters = tuple[EventFilter, ...]
"""The filters of one client that want the same: written in different ways, or with and without an owner."""


class Receiver(Struct, gc=False, eq=False):
    """A client that gets an event, by all of its filters that match.

    :ivar qos: the highest of its filters.
    :ivar is_private: whether all of them have an owner: then the topic has one too.
    :ivar filters: all of them.
    """

    session: Any
    qos: int
    identifiers: tuple[int, ...]
    is_private: bool
    filters: Sequence[EventFilter]


class _Run(Struct, gc=False, eq=False):
    """Successive events with the same topic."""

    flow: Flow
    topic: str
    receivers: list[Receiver]
    messages: list[StoredMessage] = []


Tree = TopicTree[Any, Filters, Receiver]


def merge(session: Any, groups: Sequence[Filters]) -> Receiver:
    """Make one receiver of all filters of a client that match a topic."""
    return receiver_of(session, [one for group in groups for one in group])


def receiver_of(session: Any, filters: Sequence[EventFilter]) -> Receiver:
    """Make a receiver of some filters."""
    identifiers = tuple(dict.fromkeys(one.identifier for one in filters if one.identifier))
    return Receiver(session, max(one.qos for one in filters), identifiers, all(one.is_private for one in filters), filters)


class FilterTree:
    """Filters of clients for events. Those that name notifications of the server are apart: no wildcard matches these."""

    def __init__(self) -> None:
        self.tree: Tree = TopicTree(merge)
        self.server_made: Tree = TopicTree(merge)

    @property
    def is_empty(self) -> bool:
        """Whether there is no filter."""
        return self.tree.is_empty and self.server_made.is_empty

    def put(self, session: Any, wanted: WantedEvents, filters: Filters) -> None:
        """Set what a client wants by a filter; empty for nothing."""
        tree = self.server_made if wanted.is_server_made else self.tree
        if filters:
            tree.put(wanted.topic_filter, session, filters)
        else:
            tree.discard(wanted.topic_filter, session)

    def match(self, path: str, name: str) -> tuple[Receiver, ...]:
        """Who wants the events of a path.

        :param name: of the message.
        """
        return (self.server_made if name in SERVER_MADE else self.tree).match(path).receivers


class Events:
    """Gives the events of one server to its MQTT clients; a :class:`~dhtwisted.core.broker.Listener`.

    :ivar filters: of all clients that are connected.
    :ivar sessions: these clients.
    """

    log = Logger()

    def __init__(self, server: Server) -> None:
        self._server = server
        self.filters = FilterTree()
        self.sessions: set[Any] = set()
        self._mapped = 0

    def put(self, session: Any, wanted: WantedEvents, before: Filters, filters: Filters) -> None:
        """Set what a client wants by a filter.

        :param before: what it wanted.
        """
        if wanted.flow is MAPPED_COMMANDS:
            self._mapped += bool(filters) - bool(before)
        self.filters.put(session, wanted, filters)

    def may_want(self, event: Event) -> bool:
        """See :class:`~dhtwisted.core.broker.Listener`."""
        return not self.filters.is_empty

    def missed(self) -> None:
        """All clients read from the storage what may be missing."""
        for session in list(self.sessions):
            session.missed()

    def deliver(self, events: Sequence[Event], devices: Sequence[Device | None]) -> None:
        """See :class:`~dhtwisted.core.broker.Listener`."""
        if self.filters.is_empty:
            return
        runs: list[_Run] = []
        action = name = None
        last: Device | None = None
        together: list[StoredMessage] | None = None
        for event, device in zip(events, devices, strict=True):
            message = event.message
            if device is not last or message.name != name or event.action != action:
                action, name, last, together = event.action, message.name, device, None
                run = None if device is None else self._begin_run(action, message, device)
                if run is not None:
                    together = run.messages
                    runs.append(run)
            if together is not None:
                together.append(message)
            if self._mapped and device is not None and action == COMMAND_INSERT:
                self._deliver_mapped(message, device)
        if runs:
            self._deliver_runs(runs)

    def _begin_run(self, action: str, message: StoredMessage, device: Device) -> _Run | None:
        """Find out who gets the events of a device with one name; ``None`` if nobody does. Nothing of this changes while they are given."""
        flow = FLOWS_BY_ACTION[action]
        path = event_path(flow, device.network_id, device.device_type_id, message)
        place = flow.kind.permission, device.network_id, device.device_type_id
        receivers = []
        for receiver in self.filters.match(path, message.name):
            session = receiver.session
            principal = session.session.principal
            if principal is not None and principal.receives(place) and session.only_device in (None, device.id):
                receivers.append(receiver)
        return _Run(flow, DEVICEHIVE + path, receivers) if receivers else None

    def _deliver_runs(self, runs: Sequence[_Run]) -> None:
        try:
            bodies = iter(event_bodies([message for run in runs for message in run.messages]))
        except Exception:
            self.log.failure("events could not be encoded for MQTT")
            return
        for run in runs:
            flow, topic, receivers = run.flow, run.topic, run.receivers
            action, field = flow.kind.name, encode_text(topic)
            prefix = PREFIXES[action]
            messages = [
                EventMessage(topic, prefix + next(bodies), 2, source=source, action=action, topic_field=field) for source in run.messages
            ]
            for receiver in receivers:
                if receiver.is_private:
                    self._hand_over(receiver, flow, [private(message, receiver) for message in messages])
                else:
                    self._hand_over(receiver, flow, messages)

    def _deliver_mapped(self, message: StoredMessage, device: Device) -> None:
        path = event_path(MAPPED_COMMANDS, device.network_id, device.device_type_id, message)
        for receiver in self.filters.match(path, message.name):
            if receiver.session.may_receive(MAPPED_COMMANDS, device):
                sent = mapped_message(receiver, message, device)
                if sent is not None:
                    self._hand_over(receiver, MAPPED_COMMANDS, (sent,))

    def _hand_over(self, receiver: Receiver, flow: Flow, messages: Sequence[EventMessage]) -> None:
        server, session = self._server, receiver.session
        server.broker.deliveries += len(messages)
        try:
            if server.trace is not None:
                for message in messages:
                    session.trace(message.source, message)
            if session.values is not None and flow is NOTIFICATIONS:
                session.values.newer.update((message.source.device_id, message.source.name) for message in messages)
            stream = session.streams[flow.index] if receiver.qos else None
            if stream is None:
                for message in messages:
                    session.session.deliver(message, 0, False, receiver.identifiers)
            else:
                stream.offer(messages, receiver.qos, receiver.identifiers)
        except Exception:
            # Others must not miss the events for this; what this client has not got is read again.
            self.log.failure("events could not be delivered by MQTT", client=session.client_id)
            session.missed()


def private(message: EventMessage, receiver: Receiver) -> EventMessage:
    """The same event on the topic of its owner."""
    topic = f"{message.topic}{OWNER}{receiver.session.client_id}"
    return EventMessage(topic, message.payload, 2, message.retain, source=message.source, action=message.action)


def mapped_message(receiver: Receiver, source: Any, device: Device) -> EventMessage | None:
    """A command on its topic of ``mqtt.map`` for a client; ``None`` if it has none."""
    for one in receiver.filters:
        topic = None if one.mapped is None else one.mapped.topic(device.id, device.name, source.name)
        if topic is not None:
            return EventMessage(topic, from_json(source.parameters), 2, source=source, action=COMMAND_INSERT)
    return None
