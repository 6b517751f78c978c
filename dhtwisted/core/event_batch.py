"""Delivers several events together. Who gets them is found out once, and each connection gets its events in one call.

The events of a connection keep the order in which they were published, whatever their kinds, devices and subscriptions. Between connections
the order is different from that of single deliveries: there is none that a client could rely on.

A replay or a poll takes each event in its place in this order, and this may change the subscriptions. So what was found out is forgotten
then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import length_hint
from typing import Any

from dhtwisted.core.event_kinds import EVENT_KINDS, SERVER_MADE
from dhtwisted.core.subscription import Subscription
from dhtwisted.core.subscription_index import Index
from dhtwisted.model import Device, Event, Message
from dhtwisted.wire.events import event_bodies, event_body, event_prefix

RUN = 32
"""Events whose JSON is made together. It is in memory until it has been sent, so not more at once."""

MAX_BYTES = 256 * 1024
MAX_DELIVERIES = 32_768
"""Bytes of JSON and number of deliveries, 56 bytes each, after which the events that have gathered are sent."""

_PREFIXES = {name: event_prefix(name, None) for name in EVENT_KINDS}
"""Action -> prefix of an event that belongs to no subscription."""

Outgoing = list[tuple[bytes, bytes]]
"""Prefix and body of each event of a connection."""

Entry = tuple[Any, bytes, Subscription]
"""The :data:`Outgoing` of a subscription, and its prefix. A replay or poll takes its events itself: then the first is ``None``."""

Receivers = tuple[list[Entry], bool, bool]
"""Subscriptions that get the same events; whether each has a connection of its own and none takes its events itself; whether one does. A
tuple, since one is made for each device.
"""

NOBODY: Receivers = ([], True, False)
FAILED: Receivers = ([], True, False)
"""Could not be found out; it is tried again for the next event."""


class Audience:
    """Who gets the events of one kind whose messages have the same name, by their device. Filters and rights ask for nothing else.

    :param message: one of the messages.
    :param outgoing: session -> where its events gather.
    """

    __slots__ = ("_by_device", "_by_place", "_by_subscription", "_is_server_made", "_message", "_outgoing", "index")

    def __init__(self, index: Index, message: Message, outgoing: dict[Any, Outgoing]) -> None:
        self.index = index
        self._message = message
        self._is_server_made = message.name in SERVER_MADE
        self._outgoing = outgoing
        self._by_device: dict[str, Receivers] = {}
        self._by_place: dict[tuple[int, int], Receivers] = {}
        self._by_subscription: dict[Subscription, Receivers] = {}

    def receivers(self, device: Device) -> Receivers:
        """Find who gets the events of a device. The same object for two devices, if the same subscription or wide ones get both."""
        device_id = device.id
        found = self._by_device.get(device_id)
        if found is None:
            index = self.index
            named = index.by_device.get(device_id)
            if not index.wide:
                found = NOBODY if named is None else self._together(self._entries(named.values(), device))
            else:
                found = self._wide_receivers(device)
                if named is not None:
                    found = self._together(self._entries(named.values(), device) + found[0])
            self._by_device[device_id] = found
        return found

    def _wide_receivers(self, device: Device) -> Receivers:
        """Those of them that do not name their devices: the same for all devices of a network and type."""
        place = device.network_id, device.device_type_id
        found = self._by_place.get(place)
        if found is None:
            found = self._by_place[place] = self._together(self._entries(self.index.wide_candidates(device), device))
        return found

    def _together(self, entries: list[Entry]) -> Receivers:
        if len(entries) == 1:
            outgoing, _, subscription = entries[0]
            found = self._by_subscription.get(subscription)
            if found is None:
                found = self._by_subscription[subscription] = (entries, outgoing is not None, outgoing is None)
            return found
        places = {id(outgoing) for outgoing, _, _ in entries}
        has_own_order = id(None) in places
        return entries, len(places) == len(entries) and not has_own_order, has_own_order

    def _entries(self, candidates: Iterable[Subscription], device: Device) -> list[Entry]:
        """Choose subscriptions whose filters and rights admit the messages of a device."""
        message, network_id, device_type_id = self._message, device.network_id, device.device_type_id
        place = self.index.permission, network_id, device_type_id
        entries: list[Entry] = []
        for subscription in candidates:
            is_filtered = subscription.is_filtered or self._is_server_made
            if is_filtered and not subscription.passes_filters(message, network_id, device_type_id):
                continue
            if subscription.principal.receives(place):
                outgoing = None
                if subscription.send is not None:
                    session = subscription.session
                    outgoing = self._outgoing.get(session)
                    if outgoing is None:
                        outgoing = self._outgoing[session] = []
                entries.append((outgoing, subscription.prefix, subscription))
        return entries


Part = tuple[Receivers, list[Event], Any, Any]
"""Successive events with the same receivers; the session that inserted the command of the only event, and gets its update without a
subscription, or ``None``; the :class:`~dhtwisted.model.Device` of the first event."""


class EventBatch:
    """One delivery of several events.

    :param indexes: action -> its :class:`~dhtwisted.core.subscription_index.Index`.
    :param failed: called with an event that some receiver did not get, within the handler of the exception.
    :ivar deliveries: how many there were: events, each times the sessions that got it.
    """

    __slots__ = ("_audiences", "_failed", "_gathered", "_indexes", "_outgoing", "deliveries")

    def __init__(self, indexes: Mapping[str, Index], failed: Callable[[Event], None]) -> None:
        self._indexes = indexes
        self._failed = failed
        self._audiences: dict[tuple[str, str], Audience] = {}
        self._outgoing: dict[Any, Outgoing] = {}
        self._gathered: list[tuple[list[Part], list[bytes]]] = []
        self.deliveries = 0

    def deliver(self, events: Sequence[Event], devices: Sequence[Device | None]) -> None:
        """Deliver the events.

        :param devices: the device of each message, as it is now; ``None``: nobody wants the event.
        """
        position = size = sent = 0
        while position < len(events):
            position, parts = self._choose(events, devices, position)
            if parts:
                bodies = self._encode(parts)
                self._gathered.append((parts, bodies))
                self._hand_over(parts, bodies)
                size += sum(map(len, bodies))
                if size > MAX_BYTES or self.deliveries - sent > MAX_DELIVERIES:
                    self._send_all()
                    size, sent = 0, self.deliveries
        self._send_all()

    def _choose(self, events: Sequence[Event], devices: Sequence[Device | None], position: int) -> tuple[int, list[Part]]:
        """Find out who gets the next events: so many as can be handed over without finding it out anew.

        :returns: the position after them, and those that somebody gets.
        """
        parts: list[Part] = []
        together: list[Event] = []
        action = name = last = before = None
        room, end = MAX_DELIVERIES, position + RUN
        for event, device in zip(events[position:end], devices[position:end], strict=True):
            position += 1
            message = event.message
            if device is not last or event.action != action or message.name != name:
                action, name = event.action, message.name
                receivers = self._receivers(event, device)
                last = None if receivers is FAILED else device
                entries, _, has_own_order = receivers
                inserters = self._indexes[action].inserters
            inserter = inserters.get(message.id) if inserters and device is not None else None
            if inserter is not None:
                parts.append((receivers, [event], inserter, device))
                before = None
            elif receivers is before:
                together.append(event)
            elif entries:
                together = [event]
                parts.append((receivers, together, None, device))
                before = receivers
            else:
                before = None
            room -= len(entries)
            if has_own_order or room <= 0:
                break
        return position, parts

    def _receivers(self, event: Event, device: Device | None) -> Receivers:
        if device is None:
            return NOBODY
        key = event.action, event.message.name
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(self._indexes[event.action], event.message, self._outgoing)
        try:
            return audience.receivers(device)
        except Exception:
            self._failed(event)
            return FAILED

    def _encode(self, parts: list[Part]) -> list[bytes]:
        """Make the JSON of events. One that cannot be made is taken out of its part."""
        try:
            return event_bodies([event.message for _, events, _, _ in parts for event in events])
        except Exception:
            return [body for _, events, _, _ in parts for body in self._encode_singly(events)]

    def _encode_singly(self, events: list[Event]) -> list[bytes]:
        bodies, encoded = [], []
        for event in events:
            try:
                bodies.append(event_body(event.message))
                encoded.append(event)
            except Exception:
                self._failed(event)
        events[:] = encoded
        return bodies

    def _hand_over(self, parts: list[Part], bodies: list[bytes]) -> None:
        start = 0
        for (entries, is_simple, _), events, inserter, device in parts:
            count = len(events)
            self.deliveries += count * len(entries)
            if not is_simple:
                for event, body in zip(events, bodies[start : start + count], strict=True):
                    self._hand_over_one(entries, event, body)
            elif count == 1:
                body = bodies[start]
                for outgoing, prefix, _ in entries:
                    outgoing.append((prefix, body))
            else:
                own = bodies[start : start + count]
                for outgoing, prefix, _ in entries:
                    outgoing += zip(repeat(prefix), own)
            if inserter is not None and count:
                try:
                    self._add_for_inserter(inserter, entries, events[0], device, bodies[start])
                except Exception:
                    self._failed(events[0])
            start += count

    def _hand_over_one(self, entries: list[Entry], event: Event, body: bytes) -> None:
        for outgoing, prefix, subscription in entries:
            if outgoing is not None:
                outgoing.append((prefix, body))
            else:
                self._deliver_in_its_place(event, subscription, body)

    def _deliver_in_its_place(self, event: Event, subscription: Subscription, body: bytes) -> None:
        """Give an event to a replay or poll, after all events of its connection before it."""
        session = subscription.session
        outgoing = self._outgoing.get(session)
        if outgoing:
            events = outgoing.copy()
            outgoing.clear()
            self._send(session, events)
        try:
            session.deliver(subscription, event.message, body)
        except Exception:
            self._failed(event)
        self._audiences.clear()

    def _add_for_inserter(self, session: Any, entries: list[Entry], event: Event, device: Device, body: bytes) -> None:
        """Send the update of a command to the session that inserted it, if it has no copy yet, and may still read it."""
        for _, _, subscription in entries:
            if subscription.session is session:
                return
        principal, action = session.principal, event.action
        place = self._indexes[action].permission, device.network_id, device.device_type_id
        # A command may have been inserted with another token than that of the connection.
        if principal is not None and principal.device_id in (None, device.id) and principal.receives(place):
            self.deliveries += 1
            self._outgoing.setdefault(session, []).append((_PREFIXES[action], body))

    def _send_all(self) -> None:
        for session, events in self._outgoing.items():
            if events:
                self._send(session, events)
        # The audiences refer to the lists that were sent.
        self._outgoing.clear()
        self._audiences.clear()
        self._gathered.clear()

    def _send(self, session: Any, events: Outgoing) -> None:
        """Send what has gathered for a session. After an error it goes on with the event behind the one that caused it."""
        rest = iter(events)
        left = len(events)
        while left:
            try:
                if left == 1:
                    session.output.send_event(*next(rest))
                else:
                    session.output.send_events(rest)
                return
            except Exception:
                if length_hint(rest) == left:
                    next(rest)
                left = length_hint(rest)
                self._failed(self._event_of(events[-left - 1][1]))

    def _event_of(self, body: bytes) -> Event:
        """The event with this body, the same object."""
        return next(
            event
            for parts, bodies in self._gathered
            for event, one in zip((event for _, events, _, _ in parts for event in events), bodies, strict=True)
            if one is body
        )
