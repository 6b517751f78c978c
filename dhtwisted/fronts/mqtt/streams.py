"""Events with QoS 1 and 2 for one client: from the bus while the client keeps up, from the storage otherwise.

A stream has the events of one kind. They have numbers that ascend in the order in which they are stored. While the client keeps up, each
event is given to the session when it comes. When the session has no room, or no connection, nothing is kept but a number: what follows it
waits in the storage. When there is room again, it is read from there, in order, until nothing is left. Events that arrive while a page is
being read wait for the page. So none is missed, and memory holds a page.

An event may come from the storage and again from the bus, since other nodes are slower. So the numbers that were given are remembered until
their events cannot come any more, and until the client has acknowledged them.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from twisted.internet.task import deferLater

from dhtwisted.core.bus_receiver import LONGEST_DELAY
from dhtwisted.core.coroutines import run
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.core.stored_pages import MessagePages
from dhtwisted.fronts.mqtt.event_topics import UPDATES, Flow
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

CLOCK_MARGIN = 1000
"""Milliseconds by which the clocks of this process and a storage of its own may differ."""

RETRY = PATIENCE
"""Seconds after which a storage that could not answer is asked again."""


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

    :ivar given: number -> time of the events that the client has got: negative if it has acknowledged them.
    :ivar is_live: whether all events up to now were given.
    """

    __slots__ = (
        "_early",
        "_has_missed",
        "_is_reading",
        "_number_of",
        "_session",
        "_since",
        "_start",
        "_time_of",
        "_trim_above",
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
        self.is_live = False
        self.is_checked = False
        self._early: list[tuple[int, int, Message, Any]] | None = None
        self._has_missed = self._is_reading = False
        self._trim_above = REMEMBERED
        self._number_of: Callable[[Message], int] = attrgetter(flow.kind.number)
        self._time_of: Callable[[Message], int] = attrgetter(flow.kind.stored)
        self._start, self._since = self.newest(), self._earliest_new()

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
        self.given = dict.fromkeys(saved.done, -1)

    def save(self) -> SavedStream:
        """Where the client is."""
        start, since = self._position()
        return SavedStream(
            self.flow.index, start, since, sorted(number for number, time in self.given.items() if time < 0 and number > start)
        )

    def _position(self) -> tuple[int, int]:
        start, since = self._start, self._since
        if self.is_live:
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
        """Forget the events that are acknowledged and will not come again."""
        settled = self.server.bus_receiver.last_settled(self.flow.kind)
        if not self.is_live:
            settled = min(settled, self._start)
        elif settled > self._start:
            # What is forgotten must be below the start.
            self._start, self._since = self._position()
            settled = min(settled, self._start)
        self.given = {number: time for number, time in self.given.items() if time > 0 or number > settled}
        self._trim_above = 2 * len(self.given) + REMEMBERED

    # Events

    def offer(self, source: Message, message: EventMessage, qos: int, identifiers: tuple[int, ...]) -> None:
        """Take an event of the bus."""
        number, given = self._number_of(source), self.given
        if number in given:
            return
        if self.is_live:
            # As in _give, without a call.
            given[number] = time = self._time_of(source)
            record = (self.flow.level, source.device_id, number) if qos == 2 else None
            if not self._session.session.deliver(message, qos, False, identifiers, (self.flow.index, number), record):
                del given[number]
                self._fall_behind(number, time)
        elif self._early is not None:
            if len(self._early) < MOST_EARLY:
                self._early.append((number, self.flow.kind.stored_at(source), source, (message, qos, identifiers)))
            else:
                self._has_missed = True

    def _give(self, number: int, source: Message, message: EventMessage, qos: int, identifiers: tuple[int, ...]) -> bool:
        session, flow = self._session.session, self.flow
        record = (flow.level, source.device_id, number) if qos == 2 else None
        self.given[number] = flow.kind.stored_at(source)
        if session.deliver(message, qos, False, identifiers, (flow.index, number), record):
            return True
        del self.given[number]
        return False

    def _fall_behind(self, number: int, time: int) -> None:
        """The session has no room for an event: it and all that follow wait in the storage."""
        start, since = self._position()
        self.is_live = False
        self._start, self._since = min(start, number - 1), min(since, time)

    def pause(self) -> None:
        """The connection has ended, or events were missed."""
        if self.is_live:
            start, since = self._position()
            self.is_live = False
            self._start, self._since = start, since
        self._has_missed = True

    # From the storage

    def wake(self) -> None:
        """Read what waits in the storage, if there is room."""
        if not self.is_live and not self._is_reading and self._session.may_begin_reading:
            self._is_reading = True
            run_for_client(self._session.user_id, run, self._catch_up(), self._stopped)

    def _stopped(self, _: None, error: BaseException | None) -> None:
        self._is_reading, self._early = False, None
        if error is not None:
            self._session.reading_failed(error)
            self.server.reactor.callLater(RETRY, self.wake)

    async def _catch_up(self) -> None:
        """Give what is stored, until nothing is left or there is no room."""
        session, server = self._session, self.server
        pages = MessagePages(server.messages, self.flow.kind.message_kind, server.budget, PAGE)
        place: tuple[int, ...] | None = None
        self._early, self._has_missed = [], False
        newest, since = self.newest(), self._earliest_new()
        while session.may_read:
            if not self.is_checked:
                await session.check_gap(self, self._start, self._since)
                self.is_checked = True
            query = await self._query(place)
            page, is_last = await pages.read(query)
            for message in page:
                if not await self._take(message):
                    return
            if page:
                place = query.place(page[-1])
            if not is_last:
                # Others have their turn between pages: most messages of a page may be for other clients.
                await deferLater(server.reactor, 0)
            elif self._give_early():
                if not self._has_missed:
                    self._go_live(newest, since)
                    return
                place = None if self.flow is UPDATES else place
                self._early, self._has_missed = [], False
                newest, since = self.newest(), self._earliest_new()
            else:
                return

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
        """Give a stored message, if the client wants it.

        :returns: false if there is no room, or no connection any more.
        """
        kind, number = self.flow.kind, self.flow.kind.number_of(source)
        if number > self._start and number not in self.given and self._is_due(source):
            chosen = await self._session.choose(self.flow, source, number)
            if chosen is not None and not self._give(number, source, *chosen):
                return False
        if not self._session.is_connected:
            return False
        if self.flow is not UPDATES:
            self._start, self._since = max(self._start, number), max(self._since, kind.stored_at(source))
        return True

    def _is_due(self, message: Message) -> bool:
        """Whether it is no command whose lifetime is over."""
        if type(message) is not Command or message.lifetime is None:
            return True
        return (message.arrived or 0) + message.lifetime * 1000 >= self.server.now()

    def _give_early(self) -> bool:
        """Give the events that arrived while the last page was being read.

        :returns: false if there is no room for all of them.
        """
        early, self._early = self._early or [], []
        early.sort(key=lambda one: one[0])
        for number, _, source, (message, qos, identifiers) in early:
            if number in self.given or (number <= self._start and self.flow is not UPDATES):
                continue
            if not self._give(number, source, message, qos, identifiers):
                return False
            if self.flow is not UPDATES:
                self._start, self._since = number, max(self._since, self.flow.kind.stored_at(source))
        return True

    def _go_live(self, newest: int, since: int) -> None:
        """All is given that was stored, up to this number at least."""
        if newest > self._start:
            self._start, self._since = newest, max(self._since, since)
        self.is_live = True
