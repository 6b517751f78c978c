"""Receives events from the bus and gives them to the broker of this node.

Rights depend on where a device is now. A message says where its device was when the message was inserted, which may be long ago: a command
may be updated now. So an event of a device that is not in the cache waits until the device has been read, and later events wait behind it.
The node that serves a device has it in its cache; a node that only receives its events reads it once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from itertools import islice

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.broker import Broker
from dhtwisted.core.coroutines import run
from dhtwisted.core.entity_cache import MAX_KEYS, EntityCache
from dhtwisted.core.event_kinds import EVENT_KINDS, EventKind
from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IMessageStorage
from dhtwisted.model import Device, Event

LONGEST_DELAY = 60_000
"""Milliseconds by which the event of a stored message may be late, while the bus is connected."""

RETRY_PAUSE = 1.0
"""Seconds until the storage is asked again for devices when it could not answer."""

MAX_WAITING = 10_000
"""Events that may wait while the storage does not answer."""

MAX_MISSING = 10_000
"""Numbers that were skipped and whose events are still expected."""


class ReceivedNumbers:
    """The numbers of the events of one kind that have been received.

    Numbers ascend in the order of commits. When one is skipped, its event is on its way, perhaps from another node, or it never comes: its
    node died before it could publish, or it was an update of no command. The times of messages do not help here, since the clocks of nodes
    differ.

    :ivar number: the field of a message that has the number.
    :ivar highest: the highest number received. A caller that receives the next number may raise it directly, which saves a call.
    """

    __slots__ = ("_missing", "_settled", "_unsure_until", "highest", "number")

    def __init__(self, kind: EventKind) -> None:
        self.number = kind.number
        self.highest = 0
        self._missing: dict[int, int] = {}
        self._settled = 0
        self._unsure_until = 0

    def begin(self, highest: int, settled: int, now: int) -> None:
        """Set what was stored before this node began to receive events.

        :param highest: the highest number there is.
        :param settled: the number of a message that was stored so long ago that its event, and those of all before it, come no more.
        :param now: milliseconds.
        """
        self.highest, self._settled, self._unsure_until = highest, settled, now + LONGEST_DELAY

    def add(self, number: int, seconds: float) -> None:
        """Record an event.

        :param seconds: the time of the reactor.
        """
        if number == self.highest + 1:
            self.highest = number
        elif number <= self.highest:
            self._missing.pop(number, None)
        else:
            self._skip(range(self.highest + 1, number), int(seconds * 1000) + LONGEST_DELAY)
            self.highest = number

    def _skip(self, numbers: range, until: int) -> None:
        if len(self._missing) + len(numbers) > MAX_MISSING:
            # For example at the first event of this node: other messages were stored before.
            self._missing.clear()
            self._unsure_until = until
        else:
            self._missing |= dict.fromkeys(numbers, until)

    def last_settled(self, now: int) -> int:
        """The highest number for which no event with it or a lower one will come any more.

        :param now: milliseconds.
        """
        if now < self._unsure_until:
            return self._settled
        self._missing = {number: until for number, until in self._missing.items() if until > now}
        return min(self._missing, default=self.highest + 1) - 1


class BusReceiver:
    """Receives events and changes of entities from the bus.

    :param reactor: time and delayed calls.
    :ivar disconnected_at: when the bus was disconnected last, in milliseconds. Events that come soon after that may be very late.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, entities: EntityCache, broker: Broker) -> None:
        self._reactor = reactor
        self._seconds = reactor.seconds
        self._entities = entities
        self._device = entities.device
        self._broker = broker
        self._received = {kind.name: ReceivedNumbers(kind) for kind in EVENT_KINDS.values()}
        self.disconnected_at = 0
        self._waiting: deque[Event] = deque()
        self._is_delivering = False
        self._is_failing = False
        self._pause: Deferred | None = None

    def receive(self, events: Sequence[Event]) -> None:
        """Deliver events from the bus; the first callback of ``IMessageBus.start``."""
        if self._is_delivering:
            self._deliver_in_turn(events)
        elif len(events) == 1:
            event = events[0]
            device = self._device(event.message.device_id)
            if device is None and self._broker.may_want(event):
                self._deliver_in_turn(events)
            else:
                self._deliver(event, device)
        else:
            find = self._device
            devices = [find(event.message.device_id) for event in events]
            if all(devices):
                self._deliver_together(events, devices)
            else:
                self._deliver_in_turn(events)

    def _deliver_together(self, events: Sequence[Event], devices: Sequence[Device | None]) -> None:
        """Give events to the broker. Those that are published because of a delivery come after them."""
        self._is_delivering = True
        try:
            self._broker.deliver_many(events, devices, self._not_delivered)
        finally:
            self._is_delivering = False
        self._count(events)
        if self._waiting:
            self._deliver_in_turn(())

    def _deliver_in_turn(self, events: Iterable[Event]) -> None:
        """Deliver events when their devices have been read, and all events before them are delivered."""
        self._waiting.extend(events)
        if not self._is_delivering:
            self._is_delivering = True
            run(self._deliver_waiting(), self._delivered)
        elif self._is_failing and len(self._waiting) > MAX_WAITING:
            self.drop_waiting()
            self._broker.disconnect_all("too many events wait for the storage")

    async def entities_changed(self, keys: Sequence[tuple[type, int | str]] | None) -> None:
        """Apply changes of entities on other nodes; the second callback of ``IMessageBus.start``.

        A device that was deleted and created again before this node reads it counts as changed.

        :param keys: ``None`` when anything may have changed, since the bus was disconnected.
        """
        if keys is None:
            self.disconnected_at = self._now()
        await self._entities.changed_elsewhere(keys)
        if keys is None:
            named = self._broker.named_devices()
        else:
            named = {key for kind, key in keys if kind is Device and isinstance(key, str) and self._broker.names_device(key)}
        for device_id in await self._entities.refresh(Device, named):
            # It may have been created again, and subscribed to, while others were read.
            if self._entities.device(device_id) is None:
                self._broker.drop_device(device_id)

    async def read_newest(self, messages: IMessageStorage) -> None:
        """Find out what was stored before. Without it, replays would remember all of that in case its events come. Call it when the bus is
        started.
        """
        for kind in EVENT_KINDS.values():
            received = self._received[kind.name]
            newest = await self._newest(messages, kind)
            if newest is not None:
                time, last = newest
                # An imported message may have any time.
                settled = await self._newest(messages, kind, min(time, self._now()) - LONGEST_DELAY)
                received.begin(max(received.highest, last), 0 if settled is None else settled[1], self._now())

    @staticmethod
    async def _newest(messages: IMessageStorage, kind: EventKind, before: int | None = None) -> tuple[int, int] | None:
        """The storage's time of the last event, and its number; ``None`` when there is none."""
        found = await messages.find_messages(kind.message_kind, kind.newest_stored(before))
        return next(((kind.stored_at(message), kind.number_of(message)) for message in found), None)

    def last_settled(self, kind: EventKind) -> int:
        """The highest number of this kind for which no event with it or a lower one will come any more."""
        return self._received[kind.name].last_settled(self._now())

    def highest(self, kind: EventKind) -> int:
        """The highest number of this kind that has been received, or was stored before."""
        return self._received[kind.name].highest

    def drop_waiting(self) -> None:
        """Deliver none of the events that wait."""
        self._waiting.clear()
        if self._pause is not None:
            self._pause.cancel()

    def _now(self) -> int:
        return int(self._reactor.seconds() * 1000)

    async def _deliver_waiting(self) -> None:
        missing: Collection[int | str] = ()
        while self._waiting:
            events, devices = self._take_known(missing)
            if events:
                self._broker.deliver_many(events, devices, self._not_delivered)
                self._count(events)
            else:
                missing = await self._read_devices()

    def _take_known(self, missing: Collection[int | str]) -> tuple[list[Event], list[Device | None]]:
        """Take the events that wait out of the queue, up to the first whose device must be read.

        :param missing: the ids of devices that do not exist.
        """
        waiting, find, events, devices = self._waiting, self._device, [], []
        while waiting:
            event = waiting[0]
            device_id = event.message.device_id
            device = find(device_id)
            if device is None and device_id not in missing and self._broker.may_want(event):
                break
            events.append(waiting.popleft())
            devices.append(device)
        return events, devices

    def _delivered(self, _: None, error: BaseException | None) -> None:
        self._is_delivering = self._is_failing = False
        if error is not None:
            self._log.failure("Events could not be delivered", failure=Failure(error))

    def _count(self, events: Iterable[Event]) -> None:
        """Record that events have been received. A replay that begins before remembers more than it must."""
        action = None
        for event in events:
            if event.action != action:
                action = event.action
                received = self._received[action]
                field = received.number
            number = getattr(event.message, field)
            if number == received.highest + 1:
                received.highest = number
            else:
                received.add(number, self._seconds())

    def _deliver(self, event: Event, device: Device | None) -> None:
        """Give an event to the broker. Without a device nobody here wants it, or the device was deleted."""
        # As in _count, without the call: this is the way of a lone insert.
        received = self._received[event.action]
        number = getattr(event.message, received.number)
        if number == received.highest + 1:
            received.highest = number
        else:
            received.add(number, self._seconds())
        if device is not None:
            if self._broker.listener is not None:
                self._broker.listener.deliver((event,), (device,))
            try:
                self._broker.deliver(event, device)
            except Exception:
                self._not_delivered(event)

    def _not_delivered(self, event: Event) -> None:
        self._log.failure("{action} {id} could not be delivered", action=event.action, id=event.message.id)

    def _is_unknown(self, event: Event) -> bool:
        return self._entities.device(event.message.device_id) is None and self._broker.may_want(event)

    async def _read_devices(self) -> Collection[int | str]:
        """Read the device of the first event, and those of the next ones with it. Ends early when the events are dropped.

        :returns: the ids of those that do not exist.
        """
        unknown = {event.message.device_id for event in islice(self._waiting, MAX_KEYS) if self._is_unknown(event)}
        while self._waiting:
            try:
                missing = await self._entities.refresh(Device, unknown)
            except StorageUnavailable as error:
                self._log.warn("Events wait for their devices, storage unavailable: {error}", error=str(error))
            except Exception:
                self._log.failure("Events wait for their devices, which cannot be read")
            else:
                self._is_failing = False
                return missing
            self._is_failing = True
            await self._wait()
        return ()

    async def _wait(self) -> None:
        self._pause = deferLater(self._reactor, RETRY_PAUSE)
        with suppress(CancelledError):
            await self._pause
