"""Events with QoS 1 and 2 for one client: from the bus while the client keeps up, from the storage otherwise.

A stream has the events of one kind. They have numbers that ascend in the order in which they are stored. While the client keeps up, each
event is given to the session when it comes. When the session has no room, events wait in memory, as many as there may be; so a client that
is a little behind costs no reading. When there is no room in memory either, or no connection, nothing is kept but a number: what follows it
waits in the storage, and is read from there when nothing waits in memory any more. Events that arrive while a page is being read wait for
the page. When the last page has been read, what comes waits in memory again, or is given. So none is missed, and memory is bounded.

Rights are looked at when an event leaves, however it has waited.

An event may come from the storage and again from the bus, since other nodes are slower. So the numbers that were given are remembered until
their events cannot come any more, and until the client has acknowledged them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from twisted.internet.task import deferLater

from dhtwisted.core.bus_receiver import LONGEST_DELAY
from dhtwisted.core.coroutines import run
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.core.stored_pages import MessagePages
from dhtwisted.fronts.mqtt.event_topics import FLOWS, UPDATES, Flow
from dhtwisted.fronts.mqtt.stored_events import choose
from dhtwisted.fronts.mqtt.waiting_events import MOST_BYTES, WaitingEvent, WaitingEvents
from dhtwisted.fronts.queues import EMPTY
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.model import Command, Message, MessageQuery

if TYPE_CHECKING:
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.event_messages import EventMessage

PAGE = 200
"""Messages that are read at once, at most."""

MOST_EARLY = 500
"""Events that wait while a page is being read. If there are more, they are read from the storage too."""

REMEMBERED = 128
"""Numbers that are remembered before it is looked which of them can be forgotten."""

MOST_GIVEN = 20_000
"""Numbers that are remembered at most. They become many if a client acknowledges all events but an old one; then its connection ends."""

CLOCK_MARGIN = 1000
"""Milliseconds by which the clocks of this process and a storage of its own may differ."""

RETRY = PATIENCE
"""Seconds after which a storage that could not answer is asked again."""


_FIELDS: list[tuple[Callable[[Message], int], Callable[[Message], int]]] = [
    (attrgetter(flow.kind.number), attrgetter(flow.kind.stored)) for flow in FLOWS
]
"""For each flow what gives the number and the time of an event."""


class SavedStream(Struct, array_like=True):
    """What outlives the process.

    :ivar index: of the flow.
    :ivar start: all events up to this number are done.
    :ivar since: later ones have no earlier time than this, in milliseconds.
    :ivar done: numbers above ``start`` that the client has acknowledged.
    """

    index: int
    start: int
    since: int
    done: list[int]


class Stream:
    """The events of one kind for one client.

    :ivar given: number -> time of the events that the client has got or that wait in memory: negative if it has acknowledged them.
    :ivar is_live: whether all events up to now were given.
    """

    __slots__ = (
        "_done",
        "_early",
        "_has_missed",
        "_is_interrupted",
        "_is_reading",
        "_is_whole",
        "_number_of",
        "_session",
        "_since",
        "_start",
        "_time_of",
        "_trim_above",
        "_waiting",
        "flow",
        "given",
        "is_checked",
        "is_live",
        "server",
    )

    def __init__(self, session: Any, server: Server, flow: Flow) -> None:
        self._session = session
        self.server = server
        self.flow = flow
        self.given: dict[int, int] = {}
        self.is_live = self._is_whole = False
        self.is_checked = False
        self._waiting: WaitingEvents = EMPTY
        self._early: list[WaitingEvent] | None = None
        self._has_missed = self._is_interrupted = self._is_reading = False
        self._trim_above = REMEMBERED
        self._number_of, self._time_of = _FIELDS[flow.index]
        self._start, self._since = self.newest(), self._earliest_new()
        # What the client got on another node may come from the bus later than here.
        self._done = 0

    def go_live(self) -> None:
        """Begin with the next event."""
        self.is_live = self._is_whole = True

    # Where the client is

    def newest(self) -> int:
        """The number of the newest event."""
        return self.server.bus_receiver.highest(self.flow.kind)

    def _earliest_new(self) -> int:
        """The earliest time of an event that is stored from now on, in milliseconds."""
        margin = CLOCK_MARGIN if self.server.is_alone else LONGEST_DELAY + CLOCK_MARGIN
        return self.server.now() - margin

    def restore(self, saved: SavedStream) -> None:
        """Begin where the client was before a restart."""
        self._start, self._since = saved.start, saved.since
        self._done = saved.start
        self.given = dict.fromkeys(saved.done, -1)

    def save(self) -> SavedStream:
        """Where the client is."""
        start, since = self._position()
        return SavedStream(
            self.flow.index, start, since, sorted(number for number, time in self.given.items() if time < 0 and number > start)
        )

    def _position(self) -> tuple[int, int]:
        start, since = self._start, self._since
        if self._is_whole:
            settled = self.server.bus_receiver.last_settled(self.flow.kind)
            if settled > start:
                start, since = settled, self._earliest_new()
        waiting = [(number, time) for number, time in self.given.items() if time > 0]
        if waiting:
            start, since = min(start, min(waiting)[0] - 1), min(since, *(time for _, time in waiting))
        return start, since

    def note_given(self, number: int) -> None:
        """An event that was given before is still in flight."""
        self.given.setdefault(number, max(1, self._since))

    def acknowledged(self, number: int) -> None:
        """The client has got an event."""
        time = self.given.get(number)
        if time is not None and time > 0:
            self.given[number] = -time
            if len(self.given) > self._trim_above:
                self._trim()

    def _trim(self) -> None:
        """Forget the events that are acknowledged and will not come again: neither from the bus, nor because the client begins anew where
        it is, also after a restart.
        """
        start, since = self._position()
        if self._is_whole:
            self._start, self._since = start, since
        settled = min(start, self.server.bus_receiver.last_settled(self.flow.kind))
        self.given = {number: time for number, time in self.given.items() if time > 0 or number > settled}
        if len(self.given) - len(self._waiting) <= MOST_GIVEN:
            self._trim_above = 2 * len(self.given) + REMEMBERED
        else:
            self._trim_above = 0
            self._session.end_connection(f"an event is not acknowledged, though {MOST_GIVEN} later ones are")

    # Events

    def offer(self, messages: Sequence[EventMessage], qos: int, identifiers: tuple[int, ...]) -> None:
        """Take events of the bus."""
        given, flow, session = self.given, self.flow, self._session.session
        number_of, time_of, deliver, index = self._number_of, self._time_of, session.deliver, flow.index
        for message in messages:
            source = message.source
            number = number_of(source)
            if number in given or number <= self._done:
                continue
            if self.is_live:
                # As in _give, without a call.
                given[number] = time_of(source)
                record = (flow.level, source.device_id, number) if qos == 2 else None
                if deliver(message, qos, False, identifiers, (index, number), record):
                    continue
                self.is_live = False
            if self._is_whole or self._early is not None:
                device = self.server.entities.device(source.device_id)
                self._hold(WaitingEvent(number, source, device, message, qos, identifiers))

    def _hold(self, event: WaitingEvent) -> None:
        """Let an event of the bus wait: it has its turn behind all that waits, and behind the page that is being read."""
        if self._is_whole:
            if not self._wait(event):
                self._leave_to_storage(event)
        elif self._early is not None and len(self._early) < MOST_EARLY:
            self._early.append(event)
        else:
            self._has_missed = True

    def _wait(self, event: WaitingEvent) -> bool:
        """Let an event wait in memory.

        :returns: false if there is no room for it.
        """
        if self._waiting is EMPTY:
            self._waiting = WaitingEvents(self._session.waiting_room)
        if self._waiting.append(event):
            self.given[event.number] = self._time_of(event.source)
            return True
        self.given.pop(event.number, None)
        return False

    def _leave_to_storage(self, event: WaitingEvent) -> None:
        """There is no room for an event: it and all that follow wait in the storage."""
        time = self._time_of(event.source)
        start, since = self._position()
        if self.server.is_alone and self.flow is not UPDATES:
            # All that was stored before it has come before it.
            since = time
        self._is_whole = self.is_live = False
        self._start, self._since = min(start, event.number - 1), min(since, time)

    def _give(self, event: WaitingEvent) -> bool:
        flow, source, number = self.flow, event.source, event.number
        record = (flow.level, source.device_id, number) if event.qos == 2 else None
        self.given[number] = self._time_of(source)
        return self._session.session.deliver(event.message, event.qos, False, event.identifiers, (flow.index, number), record)  # type: ignore[no-any-return]

    def pause(self) -> None:
        """The connection has ended, events were missed, or the client wants others: all that it has not got waits in the storage."""
        self._start, self._since = self._position()
        self._is_whole = self.is_live = False
        if self._waiting:
            for event in self._waiting.clear():
                del self.given[event.number]
        self._is_interrupted = self._is_reading

    def reconsider(self) -> None:
        """The client wants others, or on other topics: what waits in memory is read again."""
        if self._waiting or self._is_reading:
            self.pause()

    def wake(self) -> None:
        """Give what waits, if there is room: in memory first, then in the storage."""
        if self.is_live or self._is_reading:
            return
        if self._waiting:
            self._give_waiting()
        if self._waiting:
            return
        if self._is_whole:
            self.is_live = self._session.is_connected
        elif self._session.may_begin_reading:
            self._is_reading = True
            run_for_client(self._session.user_id, run, self._catch_up(), self._stopped)

    def _give_waiting(self) -> None:
        session, waiting, find = self._session, self._waiting, self.server.entities.device
        if not session.may_read:
            return
        checked, may_receive = None, False
        while waiting:
            event = waiting.first
            device = event.device
            if device is not checked or device is None:
                if device is None or find(device.id) is not device:
                    # It has been changed, deleted, or is not in the cache.
                    self.pause()
                    return
                checked, may_receive = device, session.may_receive(self.flow, device)
            if not may_receive or not self._is_due(event.source):
                del self.given[event.number]
            elif not self._give(event):
                return
            waiting.drop_first()

    # From the storage

    def _stopped(self, _: None, error: BaseException | None) -> None:
        was_interrupted = self._is_interrupted
        self._is_reading = self._is_interrupted = False
        self._early = None
        if error is not None:
            self._session.reading_failed(error)
            self.server.reactor.callLater(RETRY, self.wake)
        elif was_interrupted or self._waiting:
            self.wake()

    async def _catch_up(self) -> None:
        """Take what is stored, until nothing is left, or a page of it waits in memory."""
        session, server = self._session, self.server
        pages = MessagePages(server.messages, self.flow.kind.message_kind, server.budget, PAGE)
        place: tuple[int, ...] | None = None
        self._early, self._has_missed = [], False
        newest, since = self.newest(), self._earliest_new()
        while session.is_connected and not self._is_interrupted:
            if not self.is_checked:
                await session.check_gap(self, self._start, self._since)
                self.is_checked = True
            query = await self._query(place)
            page, is_last = await pages.read(query, MOST_BYTES)
            for message in page:
                if not await self._take(message):
                    return
            if page:
                place = query.place(page[-1])
            if is_last:
                if not self._take_early():
                    return
                if not self._has_missed:
                    self._take_from_now_on(newest, since)
                    return
                place = None if self.flow is UPDATES else place
                self._early, self._has_missed = [], False
                newest, since = self.newest(), self._earliest_new()
            elif len(self._waiting) >= PAGE:
                return
            else:
                # Others have their turn between pages: most messages of a page may be for other clients.
                await deferLater(server.reactor, 0)

    async def _query(self, place: tuple[int, ...] | None) -> MessageQuery:
        devices = await self._session.few_devices(self.flow)
        if self.flow is UPDATES:
            # A command that its client has dated ahead has updates that are ahead too.
            query = MessageQuery(device_ids=devices, updated=True, by_update=True, since=self._since - LONGEST_DELAY - CLOCK_MARGIN)
            return query if place is None else MessageQuery(device_ids=devices, updated=True, by_update=True, behind=place)
        if place is not None:
            return MessageQuery(device_ids=devices, by_arrival=True, behind=place)
        return MessageQuery(device_ids=devices, by_arrival=True, since=self._since)

    async def _take(self, source: Message) -> bool:
        """Take a stored message, if the client wants it.

        :returns: false if there is no room even in memory, or the client is not to get it now.
        """
        number = self._number_of(source)
        if number > self._start and number not in self.given and self._is_due(source):
            chosen = await choose(self._session, self.flow, source, number)
            if self._is_interrupted or not self._session.is_connected:
                return False
            if chosen is not None and number not in self.given and not self._give_or_wait(WaitingEvent(number, source, *chosen)):
                return False
        if self._is_interrupted or not self._session.is_connected:
            return False
        self._taken(number, source)
        return True

    def _give_or_wait(self, event: WaitingEvent) -> bool:
        """Give an event, or let it wait in memory behind others.

        :returns: false if there is no room for either.
        """
        return (not self._waiting and self._give(event)) or self._wait(event)

    def _taken(self, number: int, source: Message) -> None:
        """All up to this event is taken. Times of updates do not ascend: one can be ahead of those that come."""
        time = self._time_of(source)
        if self.flow is not UPDATES:
            self._start, self._since = max(self._start, number), max(self._since, time)
        elif time < self._earliest_new():
            self._since = max(self._since, time)

    def _is_due(self, message: Message) -> bool:
        """Whether it is no command whose lifetime is over."""
        if type(message) is not Command or message.lifetime is None:
            return True
        return (message.arrived or 0) + message.lifetime * 1000 >= self.server.now()

    def _take_early(self) -> bool:
        """Take the events that arrived while the last page was being read.

        :returns: false if there is no room for all of them.
        """
        early, self._early = self._early or [], []
        early.sort(key=attrgetter("number"))
        for event in early:
            if event.number in self.given or (event.number <= self._start and self.flow is not UPDATES):
                continue
            if not self._give_or_wait(event):
                return False
            self._taken(event.number, event.source)
        return True

    def _take_from_now_on(self, newest: int, since: int) -> None:
        """All is taken that was stored, up to this number at least."""
        if newest > self._start:
            self._start, self._since = newest, max(self._since, since)
        self._is_whole = True
        self.is_live = not self._waiting
