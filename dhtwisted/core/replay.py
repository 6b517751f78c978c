"""Sends stored messages to a new subscription before live events: none is missed, none comes twice (WebSocket reference, section 4.3).

The stored messages are read in pages, in ascending ``(timestamp, id)``, and sent as fast as the client reads them. Events arrive meanwhile.
A message is stored before its event is published. So an event that sorts behind the last page is ignored, since a later page will have its
message. An event that sorts within the page is inserted there. Events that arrive *while a page is being read* wait for the page. So a
replay of any length keeps two pages and a few events in memory, and the order is right also for a client that reads slowly.

A page is sent in portions of about :data:`~dhtwisted.core.client.FLUSH_SIZE`. Within a portion nothing waits: so rights and devices are
looked up once for all its messages of a device, and no event can arrive. Between portions the client may be found congested, and anything
may change while the replay waits for it.

A message may be read before its event arrives, since events of other nodes take time. So the messages of a page are remembered until their
events have arrived or cannot arrive any more.

The replays of one connection take turns, a page each: a thousand of them keep one page in memory, and one query runs at a time.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from itertools import accumulate
from operator import attrgetter
from typing import Any, cast

from msgspec.structs import replace

from dhtwisted.core.access import intersect
from dhtwisted.core.bus_receiver import LONGEST_DELAY
from dhtwisted.core.client import FLUSH_SIZE
from dhtwisted.core.stored_pages import PAGE, PAGE_SIZE, MessagePages
from dhtwisted.core.subscription import Subscription
from dhtwisted.model import Command, Device, EntityQuery, Message, MessageQuery, payload_size
from dhtwisted.wire.events import event_bodies, event_body

MAX_DEVICES_IN_QUERY = 200
"""A query names up to so many devices. With more, it is faster to read the messages of all devices in order of time and to filter them."""

ENVELOPE_SIZE = 256
"""Bytes of an event besides its payload, roughly."""

Place = tuple[int, int]
"""Time and id of a message, by which messages are ordered."""

LARGEST_ID = 2**63 - 1


def _place(message: Message) -> Place:
    return cast(int, message.timestamp), message.id


async def few_devices(server: Any, subscription: Subscription) -> tuple[str, ...] | None:
    """The devices whose messages a subscription wants, if they are few.

    :returns: their ids; ``None`` when the messages of all devices should be read and filtered.
    """
    if subscription.device_ids is not None:
        return tuple(subscription.device_ids)
    principal = subscription.principal
    places = {
        "network_id": intersect(subscription.network_ids, principal.networks()),
        "device_type_id": intersect(subscription.device_type_ids, principal.device_types()),
    }
    within = {field: cast(frozenset, ids) for field, ids in places.items() if ids is not None}
    if not within:
        return None
    devices = await server.entities.find(Device, EntityQuery(within=within, take=MAX_DEVICES_IN_QUERY + 1))
    return tuple(device.id for device in devices) if len(devices) <= MAX_DEVICES_IN_QUERY else None


class Replay:
    """The replay of one subscription.

    :param subscription: the broker has it already, with this object as its ``replay``.
    :param query: a ``MessageQuery`` with the subscription's filter and the lower bound.
    :param limit: send only the newest so many; ``None`` for all.
    :param now: milliseconds at the time of subscribing.
    """

    def __init__(self, server: Any, subscription: Subscription, query: MessageQuery, limit: int | None, now: int) -> None:
        self._server = server
        self._subscription = subscription
        self._query = query
        self._devices = query.device_ids
        self._limit = limit
        self._last_settled = 0
        self._now = now
        # Events that arrive while a page is being read; None at other times.
        self._early: list[tuple[Message, bytes]] | None = None
        self._page: list[Message] = []
        self._pages = MessagePages(server.messages, subscription.kind.message_kind, server.budget, PAGE)
        self._size = 0
        self._begun = False
        self._earliest: Place | None = None
        self._first_live = LARGEST_ID
        # Where the client is, and behind which place the next page begins; None when there is no next page.
        self._position: Place = (query.since or 0, 0)
        self._cursor: Place | None = self._position
        # Message id -> number of its event, for sent messages whose events may still arrive.
        self._sent: dict[int, int] = {}
        self._forget_above = PAGE
        self._watch_until: int | None = None
        self._cancelled = False
        self._number_of: Callable[[Message], int] = attrgetter(subscription.kind.number)

    def cancel(self) -> None:
        """Send nothing more, and free the memory: the subscription and its replay refer to each other."""
        self._cancelled = True
        self._page.clear()
        self._sent.clear()
        self._count(-self._size)

    def receive(self, message: Message, body: bytes) -> None:
        """Handle an event that arrives during the replay, or soon after."""
        if self._early is not None:
            self._early.append((message, body))
            self._count(payload_size(message))
        elif self._is_new(message):
            self._insert(message, body)
        if self._watch_until is not None:
            latest = self._server.bus_receiver.disconnected_at + LONGEST_DELAY
            if self._server.now() > max(self._watch_until, latest):
                self._subscription.session.go_live(self._subscription)

    async def advance(self) -> bool:
        """Send a page.

        :returns: whether there are more pages; if not, the subscription is live.
        """
        if not self._begun and not self._cancelled:
            self._begun = True
            await self._narrow_to_few_devices()
            if self._limit is not None:
                await self._skip_to_newest()
        if self._cursor is not None and not self._cancelled:
            page, is_last = await self._read(after=self._cursor)
            if not self._cancelled:
                self._fill(page, is_last)
                await self._send_page()
        if self._cancelled:
            return False
        if self._cursor is None:
            self._go_live()
        return self._cursor is not None

    async def _narrow_to_few_devices(self) -> None:
        """Narrow the query to the devices of the subscription's networks and types, if they are few."""
        if self._devices is None:
            self._devices = await few_devices(self._server, self._subscription)

    async def _skip_to_newest(self) -> None:
        """Begin with the newest messages within the limit, found by reading backwards, or with the earliest event that arrived meanwhile.

        Messages are only counted here, since a client may ask for more than fit into memory. Those that arrived as events are not counted.
        """
        left, is_last = self._limit or 0, False
        last: Place | None = None
        query = replace(self._query, descending=True)
        while left and not self._cancelled and not is_last:
            query = replace(query, device_ids=self._devices)
            page, is_last = await self._pages.read(query)
            query = self._pages.following(query, page)
            for message in page:
                if left and message.id < self._first_live and await self._wanted(message):
                    last = _place(message)
                    left -= 1
        starts = [place for place in (last, self._earliest) if place is not None]
        if not left:
            timestamp, message_id = min(starts, default=(None, 0))
            self._cursor = None if timestamp is None else (timestamp, message_id - 1)
            self._position = self._cursor or self._position
        self._limit = None

    async def _read(self, after: Place) -> tuple[list[Message], bool]:
        self._early = []
        self._update_settled()
        return await self._pages.read(replace(self._query, device_ids=self._devices, after=after))

    def _fill(self, page: list[Message], is_last: bool) -> None:
        """Take a page, and insert the events that arrived meanwhile.

        :param is_last: only these events sort behind this page.
        """
        # Here is still an update of the last message that arrived since the last page, if any.
        self._page = sorted(self._page + page, key=_place) if self._page else page
        self._cursor = None if is_last else _place(page[-1])
        self._remember(page)
        early, self._early = self._early or [], None
        # The early events are counted again when they are inserted.
        self._count(sum(map(payload_size, self._page)) - self._size)
        for message, body in early:
            if self._is_new(message):
                self._insert(message, body)

    def _insert(self, message: Message, body: bytes) -> None:
        """Send an event now, or with the page, or not at all because a later page will have it."""
        if self._is_ahead(message):
            self._expect(message)
        elif self._watch_until is not None or _place(message) < self._position:
            self._send(message, body)
        else:
            insort(self._page, message, key=_place)
            self._count(payload_size(message))
            if len(self._page) > 2 * PAGE or self._size > 2 * PAGE_SIZE:
                self._cut()

    def _expect(self, message: Message) -> None:
        """Make sure that a later page has a message, also when its device is newer than the list of devices."""
        if self._devices is not None and message.device_id not in self._devices:
            self._devices = self._query.device_ids
        if self._limit is not None:
            self._earliest = min(self._earliest or _place(message), _place(message))
            if not self._subscription.kind.is_update:
                self._first_live = min(self._first_live, message.id)

    def _cut(self) -> None:
        """Drop the end of a page that grew while the client did not read; it is read again later. States of one command stay together."""
        sizes = accumulate(map(payload_size, self._page))
        end = next((place for place, size in enumerate(sizes, 1) if place >= PAGE or size >= PAGE_SIZE), len(self._page))
        while end < len(self._page) and self._page[end].id == self._page[end - 1].id:
            end += 1
        self._count(-sum(map(payload_size, self._page[end:])))
        del self._page[end:]
        self._cursor = _place(self._page[-1])
        # Dropped messages may be of devices that are newer than the list of devices.
        self._devices = self._query.device_ids

    async def _send_page(self) -> None:
        session, entities, page = self._subscription.session, self._server.entities, self._page
        while page and not self._cancelled:
            if session.congested:
                await session.drained()
            elif entities.device(page[0].device_id) is not None:
                self._send_portion()
            else:
                await self._send_first()

    def _send_portion(self) -> None:
        """Send the first messages of the page, whose devices are cached."""
        wanted = self._take_portion()
        if not wanted:
            return
        subscription, trace = self._subscription, self._server.trace
        bodies = event_bodies(wanted)
        if trace is not None:
            for message, body in zip(wanted, bodies, strict=True):
                trace.event(subscription.session, subscription.principal, message, body, subscription.id)
        prefix = subscription.prefix
        subscription.session.output.send_events([(prefix, body) for body in bodies])

    def _take_portion(self) -> list[Message]:
        """Take the messages of a portion off the page, up to the last one that the client may have now.

        What follows stays in the page: the client may get other rights while the replay waits.

        :returns: those that the client may have now. If there are none, all were taken up to one whose device is not cached.
        """
        page, is_command = self._page, self._subscription.kind.message_kind is Command
        # Device and name of a message decide. All else does not change while nothing waits.
        answers: dict[tuple[str, str], bool | None] = {}
        wanted: list[Message] = []
        count = size = 0
        for number, message in enumerate(page, 1):
            key = message.device_id, message.name
            answer = answers.get(key)
            if answer is None:
                answer = answers[key] = self._cached_answer(message)
                if answer is None:
                    break
            if answer and (not is_command or self._is_due(message)):
                size += payload_size(message) + ENVELOPE_SIZE
                if wanted and size > FLUSH_SIZE:
                    break
                wanted.append(message)
                count = number
            elif not wanted:
                count = number
        self._position = _place(page[count - 1])
        self._count(-sum(map(payload_size, page[:count])))
        del page[:count]
        return wanted

    def _cached_answer(self, message: Message) -> bool | None:
        """Whether the client may have a message; ``None`` if its device is not cached."""
        device = self._server.entities.device(message.device_id)
        return None if device is None else self._subscription.matches(message, device.network_id, device.device_type_id)

    async def _send_first(self) -> None:
        """Send the first message of the page, whose device must be read."""
        message = self._page.pop(0)
        self._count(-payload_size(message))
        self._position = _place(message)
        device = await self._server.entities.get(Device, message.device_id)
        if self._is_wanted(message, device) and not self._cancelled:
            self._send(message, event_body(message))

    def _count(self, size: int) -> None:
        """Count what waits here in the client's account: the page, and the events that arrived while it was being read."""
        self._size += size
        self._subscription.session.output.account.add(size)

    def _go_live(self) -> None:
        """Pass events on. The event of a message that was read here may be late: a storage may show a message to a reader before its writer
        learns that it is stored, and other nodes learn it still later. So the events of messages that were sent are still watched for.
        """
        self._update_settled()
        self._forget_settled()
        if self._sent:
            self._watch_until = self._server.now() + LONGEST_DELAY
        else:
            self._subscription.session.go_live(self._subscription)

    def _update_settled(self) -> None:
        self._last_settled = self._server.bus_receiver.last_settled(self._subscription.kind)

    def _remember(self, page: list[Message]) -> None:
        """Remember the messages of a page whose events may still arrive; those of old messages cannot."""
        numbers = list(map(self._number_of, page))
        if max(numbers, default=0) > self._last_settled:
            self._sent.update((message.id, number) for message, number in zip(page, numbers, strict=True) if number > self._last_settled)
        if len(self._sent) > self._forget_above:
            self._forget_settled()
            self._forget_above = 2 * len(self._sent) + PAGE

    def _forget_settled(self) -> None:
        """Forget messages whose events have arrived meanwhile, or cannot arrive any more."""
        self._sent = {message_id: number for message_id, number in self._sent.items() if number > self._last_settled}

    def _is_new(self, message: Message) -> bool:
        sent = self._sent.get(message.id)
        return sent is None or self._number_of(message) > sent

    def _is_ahead(self, message: Message) -> bool:
        return self._cursor is not None and _place(message) > self._cursor

    async def _wanted(self, message: Message) -> bool:
        entities = self._server.entities
        return self._is_wanted(message, entities.device(message.device_id) or await entities.get(Device, message.device_id))

    def _is_wanted(self, message: Message, device: Device | None) -> bool:
        if device is None or not self._is_due(message):
            return False
        return self._subscription.matches(message, device.network_id, device.device_type_id)

    def _is_due(self, message: Message) -> bool:
        """Whether it is no command whose lifetime was over when the client subscribed."""
        if type(message) is not Command or message.lifetime is None:
            return True
        return (message.arrived or 0) + message.lifetime * 1000 >= self._now

    def _send(self, message: Message, body: bytes) -> None:
        subscription, trace = self._subscription, self._server.trace
        if trace is not None:
            trace.event(subscription.session, subscription.principal, message, body, subscription.id)
        subscription.session.send_event(subscription.prefix, body)
