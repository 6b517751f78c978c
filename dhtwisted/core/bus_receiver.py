"""What the bus brings, on its way to the subscribers of this node.

Rights go by the present place of a device. The place that a message has is where the device was when it was inserted, which is long ago
perhaps if it is a command that is updated now. So an event of a device that is not at hand waits until the device is read, and later events
behind it. The node that takes the requests of a device has it at hand; one that knows it from events alone reads it once.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import islice

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import run
from dhtwisted.core.entity_cache import MAX_KEYS
from dhtwisted.core.event_kinds import EVENT_KINDS
from dhtwisted.errors import StorageUnavailable
from dhtwisted.model import Device

FRESH = 60_000
"""Milliseconds by which the event of a stored message may be late, while the bus is not cut off."""

PAUSE = 1.0
"""Seconds after which the storage is asked again for devices when it could not answer."""

MAX_WAITING = 10_000
"""Events that may wait for a storage that does not answer."""

MAX_MISSING = 10_000
"""Ids that have been passed over, and whose events are looked out for."""


class ArrivedIds:
    """Which messages of one kind, or which updates of commands, have come as events.

    Their ids count upwards in the order of commits. So one that is passed over is on its way, by another node perhaps, or it never comes:
    its node died before it could tell, or it was an update of no command. What time a message or an update has says nothing of that: the
    clocks of nodes differ.

    :ivar highest: the highest id that came. Who sees that an event has the next one may raise it himself, which saves a call.
    """

    __slots__ = ("_missing", "_settled", "_unsure_until", "highest", "number")

    def __init__(self, kind):
        self.number = kind.number
        self.highest = 0
        self._missing = {}
        self._settled = 0
        self._unsure_until = 0

    def begin(self, highest, settled, now):
        """Take note of what was stored before this node began to hear.

        :param highest: the highest id there is.
        :param settled: that of one which was stored so long ago that its event, and those of all before it, come no more.
        :param now: milliseconds.
        """
        self.highest, self._settled, self._unsure_until = highest, settled, now + FRESH

    def add(self, message_id, seconds):
        """Take note of an event.

        :param seconds: the time of the reactor.
        """
        if message_id == self.highest + 1:
            self.highest = message_id
        elif message_id <= self.highest:
            self._missing.pop(message_id, None)
        else:
            self._pass_over(range(self.highest + 1, message_id), int(seconds * 1000) + FRESH)
            self.highest = message_id

    def _pass_over(self, ids, until):
        if len(self._missing) + len(ids) > MAX_MISSING:
            # As when this node has just begun: other messages were there before.
            self._missing.clear()
            self._unsure_until = until
        else:
            self._missing |= dict.fromkeys(ids, until)

    def all_until(self, now):
        """The id up to which no event will come any more."""
        if now < self._unsure_until:
            return self._settled
        self._missing = {message_id: until for message_id, until in self._missing.items() if until > now}
        return min(self._missing, default=self.highest + 1) - 1


class Arrivals:
    """Takes events and changes from the bus.

    :param reactor: time and delayed calls.
    :param entities: the :class:`~dhtwisted.core.entity_cache.Entities`.
    :param broker: the :class:`~dhtwisted.core.broker.Broker` that delivers.
    :ivar cut_at: when the bus was cut off last, in milliseconds: what comes soon after that may be very late.
    """

    _log = Logger()

    def __init__(self, reactor, entities, broker):
        self._reactor = reactor
        self._seconds = reactor.seconds
        self._entities = entities
        self._device = entities.device
        self._broker = broker
        self._ids = {kind.name: ArrivedIds(kind) for kind in EVENT_KINDS.values()}
        self.cut_at = 0
        self._waiting = deque()
        self._busy = False
        self._failing = False
        self._pause = None

    def receive(self, events):
        """Deliver events from the bus; the first callback of ``IMessageBus.start``."""
        if self._busy:
            self._hold(events)
            return
        for position, event in enumerate(events):
            device = self._device(event.message.device_id)
            if device is None and self._broker.may_want(event):
                self._hold(events[position:])
                return
            self._deliver(event, device)

    def _hold(self, events):
        """Deliver events when their devices, and those of all before them, have been read."""
        self._waiting.extend(events)
        if not self._busy:
            self._busy = True
            run(self._deliver_waiting(), self._delivered)
        elif self._failing and len(self._waiting) > MAX_WAITING:
            self.forget()
            self._broker.disconnect_all("too many events wait for the storage")

    async def changed(self, keys):
        """Take account of entities that were changed on other nodes; the second callback of ``IMessageBus.start``.

        A device that was deleted, and saved anew before this looks for it, counts as changed.
        """
        if keys is None:
            self.cut_at = self._now()
        await self._entities.changed(keys)
        if keys is None:
            named = self._broker.named_devices()
        else:
            named = {key for kind, key in keys if kind is Device and self._broker.names_device(key)}
        for device_id in await self._entities.fetch(Device, named):
            # Unless it has been saved anew, and perhaps subscribed to, while others were read.
            if self._entities.device(device_id) is None:
                self._broker.drop_device(device_id)

    async def begin(self, messages):
        """Find out what was stored before; without it, replays would remember all of that in case it comes. Called when events are heard.

        :param messages: an ``IMessageStorage``.
        """
        for kind in EVENT_KINDS.values():
            ids = self._ids[kind.name]
            newest = await self._newest(messages, kind)
            if newest is not None:
                time, last = newest
                # What was imported may have any time.
                settled = await self._newest(messages, kind, min(time, self._now()) - FRESH)
                ids.begin(max(ids.highest, last), 0 if settled is None else settled[1], self._now())

    @staticmethod
    async def _newest(messages, kind, before=None):
        """The time that the storage gave to what came last, and its id; ``None`` for nothing."""
        found = await messages.find_messages(kind.message_kind, kind.newest_stored(before))
        return next(((kind.stored_at(message), kind.number_of(message)) for message in found), None)

    def horizon(self, kind):
        """Say whose events will come no more: of inserts those up to this ``id``, of updates those up to this ``update_id``."""
        return self._ids[kind.name].all_until(self._now())

    def forget(self):
        """Deliver none of the events that wait."""
        self._waiting.clear()
        if self._pause is not None:
            self._pause.cancel()

    def _now(self):
        return int(self._reactor.seconds() * 1000)

    async def _deliver_waiting(self):
        gone = ()
        while self._waiting:
            event = self._waiting[0]
            if event.message.device_id not in gone and self._is_unknown(event):
                gone = await self._read_devices()
            else:
                self._waiting.popleft()
                self._deliver(event, self._entities.device(event.message.device_id))

    def _delivered(self, _, error):
        self._busy = self._failing = False
        if error is not None:
            self._log.failure("Events could not be delivered", failure=Failure(error))

    def _deliver(self, event, device):
        """Hand over an event. Without a device nobody here wants it, or the device was deleted."""
        ids = self._ids[event.action]
        event_id = getattr(event.message, ids.number)
        if event_id == ids.highest + 1:
            ids.highest = event_id
        else:
            ids.add(event_id, self._seconds())
        if device is not None:
            try:
                self._broker.deliver(event, device)
            except Exception:
                self._log.failure("{action} {id} could not be delivered", action=event.action, id=event.message.id)

    def _is_unknown(self, event):
        return self._entities.device(event.message.device_id) is None and self._broker.may_want(event)

    async def _read_devices(self):
        """Read the device of the first event, and those of the next ones with it, unless the events are forgotten before that succeeds.

        :returns: the ids of those that are no more.
        """
        unknown = {event.message.device_id for event in islice(self._waiting, MAX_KEYS) if self._is_unknown(event)}
        while self._waiting:
            try:
                gone = await self._entities.fetch(Device, unknown)
            except StorageUnavailable as error:
                self._log.warn("Events wait for their devices, storage unavailable: {error}", error=str(error))
            except Exception:
                self._log.failure("Events wait for their devices, which cannot be read")
            else:
                self._failing = False
                return gone
            self._failing = True
            await self._wait()
        return ()

    async def _wait(self):
        self._pause = deferLater(self._reactor, PAUSE)
        with suppress(CancelledError):
            await self._pause
