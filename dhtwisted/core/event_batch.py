"""Delivers several events together. Who gets them is found out once, and each connection gets its events in one call.

The events of a connection keep the order in which they were published, whatever their kinds, devices and subscriptions. Between connections
the order is different from that of single deliveries: there is none that a client could rely on.

A replay or a poll takes each event in its place in this order, and this may change the subscriptions. So what was found out is forgotten
then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import length_hint
from typing import Any, NamedTuple

from dhtwisted.core.event_kinds import SERVER_MADE
from dhtwisted.core.subscription import Subscription
from dhtwisted.core.subscription_index import Index
from dhtwisted.model import Device, Event, Message
from dhtwisted.wire.events import event_bodies, event_body, event_prefix

RUN = 32
"""Events whose JSON is made together. It is in memory until it has been sent, so not more at once."""

MAX_BYTES = 256 * 1024
MAX_DELIVERIES = 32_768
"""Bytes of JSON and number of deliveries, 56 bytes each, after which the events that have gathered are sent."""

Outgoing = list[tuple[bytes, bytes]]
"""Prefix and body of each event of a connection."""


class Receivers(NamedTuple):
    """Who gets the events of one kind, device and name.

    :ivar entries: for each subscription what takes prefix and body, the prefix, and the subscription. A replay or poll takes an event
        itself: then the first is ``None``.
    :ivar has_own_order: whether there is such a one.
    :ivar inserters: those of the :class:`~dhtwisted.core.subscription_index.Index`.
    """

    entries: list[tuple[Callable[[tuple[bytes, bytes]], None] | None, bytes, Subscription]]
    has_own_order: bool
    inserters: dict[int, Any]


Wanted = tuple[Event, Device, Receivers, Any]
"""An event that somebody gets; the last is the session that inserted its command and gets the event without a subscription, or ``None``."""


class EventBatch:
    """One delivery of several events.

    :param indexes: action -> its :class:`~dhtwisted.core.subscription_index.Index`.
    :param failed: called with an event that some receiver did not get, within the handler of the exception.
    :ivar deliveries: how many there were: events, each times the sessions that got it.
    """

    __slots__ = ("_failed", "_gathered", "_indexes", "_outgoing", "_receivers", "_wide", "deliveries")

    def __init__(self, indexes: Mapping[str, Index], failed: Callable[[Event], None]) -> None:
        self._indexes = indexes
        self._failed = failed
        self._receivers: dict[tuple[str, str, str], Receivers] = {}
        self._wide: dict[tuple[str, int, int, str], list[Subscription]] = {}
        self._outgoing: dict[Any, Outgoing] = {}
        self._gathered: list[tuple[list[Wanted], list[bytes]]] = []
        self.deliveries = 0

    def deliver(self, events: Sequence[Event], devices: Sequence[Device | None]) -> None:
        """Deliver the events.

        :param devices: the device of each message, as it is now; ``None``: nobody wants the event.
        """
        position = size = sent = 0
        while position < len(events):
            position, wanted = self._choose(events, devices, position)
            bodies = self._encode(wanted)
            self._gathered.append((wanted, bodies))
            self._hand_over(wanted, bodies)
            size += sum(map(len, bodies))
            if size > MAX_BYTES or self.deliveries - sent > MAX_DELIVERIES:
                self._send_all()
                size, sent = 0, self.deliveries
        self._send_all()

    def _choose(self, events: Sequence[Event], devices: Sequence[Device | None], position: int) -> tuple[int, list[Wanted]]:
        """Find out who gets the next events: so many as can be handed over without finding it out anew.

        :returns: the position after them, and those that somebody gets.
        """
        wanted: list[Wanted] = []
        found, room, end = self._receivers, MAX_DELIVERIES, position + RUN
        for event, device in zip(events[position:end], devices[position:end], strict=True):
            position += 1
            if device is None:
                continue
            message = event.message
            key = event.action, device.id, message.name
            receivers = found.get(key)
            if receivers is None:
                try:
                    receivers = found[key] = self._find(event, device)
                except Exception:
                    self._failed(event)
                    continue
            inserter = receivers.inserters.get(message.id) if receivers.inserters else None
            if receivers.entries or inserter is not None:
                wanted.append((event, device, receivers, inserter))
                room -= len(receivers.entries)
                if receivers.has_own_order or room <= 0:
                    break
        return position, wanted

    def _find(self, event: Event, device: Device) -> Receivers:
        """Find the receivers of events like this one. Filters and rights ask for nothing but their kind, device and name."""
        index, message = self._indexes[event.action], event.message
        named = index.by_device.get(device.id)
        subscriptions = [] if named is None else list(_admitted(named.values(), index, message, device))
        if index.wide:
            key = event.action, device.network_id, device.device_type_id, message.name
            wide = self._wide.get(key)
            if wide is None:
                wide = self._wide[key] = list(_admitted(index.wide_candidates(device), index, message, device))
            subscriptions += wide
        entries = [
            (None if subscription.send is None else self._outgoing_of(subscription.session).append, subscription.prefix, subscription)
            for subscription in subscriptions
        ]
        return Receivers(entries, any(take is None for take, _, _ in entries), index.inserters)

    def _outgoing_of(self, session: Any) -> Outgoing:
        outgoing = self._outgoing.get(session)
        if outgoing is None:
            outgoing = self._outgoing[session] = []
        return outgoing

    def _encode(self, wanted: list[Wanted]) -> list[bytes]:
        """Make the JSON of events. One that cannot be made is taken out of the list."""
        try:
            return event_bodies([event.message for event, _, _, _ in wanted])
        except Exception:
            bodies, made = [], []
            for one in wanted:
                try:
                    bodies.append(event_body(one[0].message))
                    made.append(one)
                except Exception:
                    self._failed(one[0])
            wanted[:] = made
            return bodies

    def _hand_over(self, wanted: list[Wanted], bodies: list[bytes]) -> None:
        deliveries = 0
        for (event, device, receivers, inserter), body in zip(wanted, bodies, strict=True):
            deliveries += len(receivers.entries)
            for take, prefix, subscription in receivers.entries:
                if take is not None:
                    take((prefix, body))
                else:
                    self._deliver_in_its_place(event, subscription, body)
            if inserter is not None and all(subscription.session is not inserter for _, _, subscription in receivers.entries):
                self._add_for_inserter(inserter, event, device, body)
        self.deliveries += deliveries

    def _deliver_in_its_place(self, event: Event, subscription: Subscription, body: bytes) -> None:
        """Give an event to a replay or poll, after all events of its connection before it."""
        session = subscription.session
        self._send(session)
        try:
            session.deliver(subscription, event.message, body)
        except Exception:
            self._failed(event)
        self._receivers.clear()
        self._wide.clear()

    def _add_for_inserter(self, session: Any, event: Event, device: Device, body: bytes) -> None:
        """Send the update of a command to the session that inserted it, if it may still read it."""
        principal, message = session.principal, event.message
        place = self._indexes[event.action].permission, device.network_id, device.device_type_id
        # A command may have been inserted with another token than that of the connection.
        if principal is not None and principal.device_id in (None, message.device_id) and principal.receives(place):
            self.deliveries += 1
            self._outgoing_of(session).append((event_prefix(event.action, None), body))

    def _send_all(self) -> None:
        for session in self._outgoing:
            self._send(session)
        self._gathered.clear()

    def _send(self, session: Any) -> None:
        """Send what has gathered for a session. After an error it goes on with the event behind the one that caused it."""
        outgoing = self._outgoing.get(session)
        if not outgoing:
            return
        events = outgoing.copy()
        outgoing.clear()
        rest = iter(events)
        while left := length_hint(rest):
            try:
                session.output.send_events(rest)
            except Exception:
                if length_hint(rest) == left:
                    next(rest)
                self._failed(self._event_of(events[-length_hint(rest) - 1][1]))

    def _event_of(self, body: bytes) -> Event:
        """The event with this body, the same object."""
        found = (event for wanted, bodies in self._gathered for (event, *_), one in zip(wanted, bodies, strict=True) if one is body)
        return next(found)


def _admitted(candidates: Iterable[Subscription], index: Index, message: Message, device: Device) -> Iterable[Subscription]:
    """The subscriptions whose filters and rights admit a message."""
    network_id, device_type_id, server_made = device.network_id, device.device_type_id, message.name in SERVER_MADE
    place = index.permission, network_id, device_type_id
    for subscription in candidates:
        if (subscription.is_filtered or server_made) and not subscription.passes_filters(message, network_id, device_type_id):
            continue
        if subscription.principal.receives(place):
            yield subscription
