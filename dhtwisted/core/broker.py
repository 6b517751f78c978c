"""Delivers events to the subscriptions that match (WebSocket reference, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dhtwisted.core.event_batch import EventBatch
from dhtwisted.core.event_kinds import EVENT_KINDS, SERVER_MADE
from dhtwisted.core.subscription import Subscription
from dhtwisted.core.subscription_index import Index
from dhtwisted.logs.tracing import Trace
from dhtwisted.model import Device, Event
from dhtwisted.wire.events import event_body, event_prefix

MAX_INSERTERS = 1_000_000
"""Commands of which the broker remembers the connection that inserted them; about 150 bytes each."""


class Listener(Protocol):
    """Takes all events, for a front whose clients do not subscribe as :class:`~dhtwisted.core.subscription.Subscription` says."""

    def may_want(self, event: Event) -> bool:
        """Whether anybody may want an event, wherever its device is."""

    def deliver(self, events: Sequence[Event], devices: Sequence[Device | None]) -> None:
        """Take events. It must not raise.

        :param devices: the device of each message, as it is now; ``None``: nobody wants the event.
        """

    def missed(self) -> None:
        """Some events will not come."""


class Broker:
    """Delivers each event to the sessions that should have it.

    :param updates_to_inserter: whether ``command/update`` also goes to the connection that inserted the command (section 4.4).
    :ivar deliveries: how many there were: events, each times the sessions that got it.
    :ivar deliver: delivers an event: :meth:`deliver_now`, or :meth:`deliver_traced` while there is a ``trace``.
    :ivar listener: takes all events besides the subscriptions; ``None`` for nobody.
    :ivar trace: a :class:`~dhtwisted.logs.tracing.Trace`, or ``None``.
    """

    def __init__(self, updates_to_inserter: bool) -> None:
        self._indexes = {kind.name: Index(kind) for kind in EVENT_KINDS.values()}
        self._inserters: dict[int, Any] = {}
        self._updates_to_inserter = updates_to_inserter
        for kind in EVENT_KINDS.values():
            if kind.reaches_inserter:
                self._indexes[kind.name].inserters = self._inserters
        self.deliveries = 0
        self.listener: Listener | None = None
        self.trace: Trace | None = None
        self.deliver: Callable[[Event, Device], None] = self.deliver_now

    def add(self, subscription: Subscription) -> None:
        """Deliver to a subscription from the next event on."""
        self._indexes[subscription.kind.name].add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Deliver nothing more to a subscription."""
        self._indexes[subscription.kind.name].remove(subscription)

    def drop_device(self, device_id: str) -> None:
        """End what subscriptions name of a deleted device. They stay listed; a new device with this id is another one. Subscriptions that
        did not name it, since their token is for this device alone, go on with the new one.
        """
        for index in self._indexes.values():
            found = index.by_device.pop(device_id, {})
            kept = {key: subscription for key, subscription in found.items() if not subscription.names_devices}
            if kept:
                index.by_device[device_id] = kept

    def names_device(self, device_id: str) -> bool:
        """Whether a subscription names this device."""
        return any(device_id in index.by_device for index in self._indexes.values())

    def named_devices(self) -> set[str]:
        """The ids of all devices that subscriptions name."""
        return {device_id for index in self._indexes.values() for device_id in index.by_device}

    def remember_inserter(self, command_id: int, session: Any) -> None:
        """Send the updates of a command to this session, until :meth:`forget_inserter`, or :data:`MAX_INSERTERS` were inserted later."""
        if self._updates_to_inserter:
            self._inserters[command_id] = session
            if len(self._inserters) > MAX_INSERTERS:
                del self._inserters[next(iter(self._inserters))]

    def forget_inserter(self, command_id: int) -> None:
        """Undo :meth:`remember_inserter`."""
        self._inserters.pop(command_id, None)

    def may_want(self, event: Event) -> bool:
        """Whether anybody may want an event, wherever its device is."""
        message, index = event.message, self._indexes[event.action]
        if index.wide > 0 or message.device_id in index.by_device or message.id in index.inserters:
            return True
        return self.listener is not None and self.listener.may_want(event)

    def deliver_many(self, events: Sequence[Event], devices: Sequence[Device | None], failed: Callable[[Event], None]) -> None:
        """Deliver several events, as :attr:`deliver` for each. An error with one event or receiver does not affect the others.

        :param devices: the device of each message, as it is now; ``None``: nobody wants the event.
        :param failed: called with an event that some receiver did not get, within the handler of the exception.
        """
        if self.listener is not None:
            self.listener.deliver(events, devices)
        if self.trace is None and not self._share_nothing(devices):
            batch = EventBatch(self._indexes, failed)
            try:
                batch.deliver(events, devices)
            finally:
                self.deliveries += batch.deliveries
            return
        for event, device in zip(events, devices, strict=True):
            try:
                if device is not None:
                    self.deliver(event, device)
            except Exception:
                failed(event)

    def _share_nothing(self, devices: Sequence[Device | None]) -> bool:
        """Whether events are of one device each and all subscriptions name their devices: a batch would then cost more than it saves."""
        if len(devices) > 1 and devices[0] is devices[-1]:
            # The usual case is that all are of one device.
            return False
        return len(set(map(id, devices))) == len(devices) and not any(index.wide for index in self._indexes.values())

    def deliver_traced(self, event: Event, device: Device) -> None:
        """Deliver an event, and log who gets it. This is found out a second time, so that it costs nothing where nobody is traced."""
        message, body, trace = event.message, event_body(event.message), self.trace
        for subscription in self._indexes[event.action].candidates(device):
            is_live = subscription.send is not None  # A replay logs what it sends, and the answer of a poll is logged.
            if trace is not None and is_live and subscription.matches(message, device.network_id, device.device_type_id):
                trace.event(subscription.session, subscription.principal, message, body, subscription.id)
        self.deliver_now(event, device)

    def deliver_now(self, event: Event, device: Device) -> None:
        """Deliver an event.

        :param device: of the message, as it is now.
        """
        message, index = event.message, self._indexes[event.action]
        place = index.permission, device.network_id, device.device_type_id
        inserter = index.inserters.get(message.id) if index.inserters else None
        body, server_made = None, message.name in SERVER_MADE
        if index.wide:
            candidates = index.candidates(device)
        else:
            # The same, without a call.
            entries = index.by_device.get(device.id)
            candidates = [] if entries is None else list(entries.values())
        self.deliveries += len(candidates)
        for subscription in candidates:
            if (subscription.is_filtered or server_made) and not subscription.passes_filters(
                message, device.network_id, device.device_type_id
            ):
                self.deliveries -= 1
                continue
            if not subscription.principal.receives(place):
                self.deliveries -= 1
                continue
            if body is None:
                body = event_body(message)
            if inserter is not None and subscription.session is inserter:
                inserter = None
            send = subscription.send
            if send is not None:
                send(subscription.prefix, body)
            else:
                subscription.session.deliver(subscription, message, body)
        if inserter is not None:
            self._deliver_to_inserter(inserter, event, place, body)

    def _deliver_to_inserter(self, session: Any, event: Event, place: tuple[int, int, int], body: bytes | None) -> None:
        principal, message = session.principal, event.message
        # A command may have been inserted with another token than that of the connection.
        if principal is not None and principal.device_id in (None, message.device_id) and principal.receives(place):
            self.deliveries += 1
            body = body or event_body(message)
            if self.trace is not None:
                self.trace.event(session, principal, message, body, None)
            session.send_event(event_prefix(event.action, None), body)

    def disconnect_all(self, reason: str) -> None:
        """End the connections of all subscribers, since they missed events. They come again and ask for what is stored.

        :param reason: a few words, for the log.
        """
        sessions = {subscription.session for index in self._indexes.values() for subscription in index}
        for session in sessions | set(self._inserters.values()):
            session.disconnect(reason)
        if self.listener is not None:
            self.listener.missed()
