"""Sends stored messages to a new subscription and then lets it go live: none missed, none twice (WebSocket reference, section 4.3).

The stored messages are read in pages, in ascending ``(timestamp, id)``, and sent as fast as the client takes them. Events go on arriving
meanwhile. Since a message is stored before its event is published, an event that sorts behind the page last read needs no keeping: a
later page has it. One that sorts within the page is put into its place there, and what arrives *while a page is being read* waits for
it. So a replay of any length holds two pages and a moment's events, and keeps the order also towards a client that reads slowly.

A message may be read before its event comes: from another node, the event takes its time. So what a page had is remembered until its event
has come, or cannot come any more.

The replays of one connection take turns, a page each: a thousand of them hold one page, and ask the storage one question at a time.
"""

from __future__ import annotations

from bisect import insort
from itertools import accumulate
from operator import attrgetter

from msgspec.structs import replace

from dhtwisted.core.access import intersect
from dhtwisted.core.bus_receiver import FRESH
from dhtwisted.core.stored_pages import PAGE, PAGE_SIZE, MessagePages
from dhtwisted.model import Command, Device, EntityQuery, payload_size
from dhtwisted.wire.events import event_body

MAX_DEVICES_IN_QUERY = 200
"""Up to so many devices are asked for by name; more are found faster by reading all messages in order of time and sieving them."""

LARGEST_ID = 2**63 - 1


def _chronological(message):
    return message.timestamp, message.id


async def few_devices(server, subscription):
    """The devices whose messages a subscription is about, if they are few.

    :returns: a tuple of ids; ``None`` when messages are better read whatever their device, and sieved.
    """
    if subscription.device_ids is not None:
        return tuple(subscription.device_ids)
    principal = subscription.principal
    within = {
        "network_id": intersect(subscription.network_ids, principal.networks()),
        "device_type_id": intersect(subscription.device_type_ids, principal.device_types()),
    }
    within = {field: ids for field, ids in within.items() if ids is not None}
    if not within:
        return None
    devices = await server.entities.find(Device, EntityQuery(within=within, take=MAX_DEVICES_IN_QUERY + 1))
    return tuple(device.id for device in devices) if len(devices) <= MAX_DEVICES_IN_QUERY else None


class Replay:
    """The replay of one subscription.

    :param subscription: already known to the broker, with this object as its ``replay``.
    :param query: a ``MessageQuery`` with the subscription's filter and the lower bound.
    :param limit: send only the newest so many; ``None`` for all.
    :param now: milliseconds at the time of subscribing.
    """

    def __init__(self, server, subscription, query, limit, now):
        self._server = server
        self._subscription = subscription
        self._query = query
        self._devices = query.device_ids
        self._limit = limit
        self._horizon = 0
        self._now = now
        self._held = None
        self._page = []
        self._pages = MessagePages(server.messages, subscription.kind.message_kind, server.budget, PAGE)
        self._size = 0
        self._begun = False
        self._earliest = None
        self._first_live = LARGEST_ID
        self._position = self._cursor = (query.since, 0)
        self._sent = {}
        self._forget_above = PAGE
        self._watch_until = None
        self._cancelled = False
        self._number_of = attrgetter(subscription.kind.number)

    def cancel(self):
        """Send nothing more, and let go of what was to be sent: the subscription and this hold each other."""
        self._cancelled = True
        self._page.clear()
        self._sent.clear()
        self._count(-self._size)

    def take(self, message, body):
        """Decide about an event that arrives while the replay goes on, or soon after."""
        if self._held is not None:
            self._held.append((message, body))
            self._count(payload_size(message))
        elif self._is_new(message):
            self._place(message, body)
        if self._watch_until is not None and self._server.now() > max(self._watch_until, self._server.arrivals.cut_at + FRESH):
            self._subscription.session.go_live(self._subscription)

    async def advance(self):
        """Send a page.

        :returns: whether there is more; if not, the subscription is live.
        """
        if not self._begun and not self._cancelled:
            self._begun = True
            await self._name_devices()
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

    async def _name_devices(self):
        """Narrow the query to the devices of the subscription's networks and types, if they are few."""
        if self._devices is None:
            self._devices = await few_devices(self._server, self._subscription)

    async def _skip_to_newest(self):
        """Begin with the newest that are wanted, found by reading backwards, or with the earliest event that came meanwhile.

        They are only counted here: a client may ask for more than fit into memory. What came as an event meanwhile is no part of the
        count.
        """
        left, last, is_last = self._limit, None, False
        query = replace(self._query, descending=True)
        while left and not self._cancelled and not is_last:
            query = replace(query, device_ids=self._devices)
            page, is_last = await self._pages.read(query)
            query = self._pages.following(query, page)
            for message in page:
                if left and message.id < self._first_live and await self._wanted(message):
                    last = _chronological(message)
                    left -= 1
        starts = [place for place in (last, self._earliest) if place is not None]
        if not left:
            timestamp, message_id = min(starts, default=(None, 0))
            self._cursor = None if timestamp is None else (timestamp, message_id - 1)
            self._position = self._cursor or self._position
        self._limit = None

    async def _read(self, **bounds):
        self._held = []
        self._renew_horizon()
        return await self._find(**bounds)

    async def _find(self, **bounds):
        query = replace(self._query, device_ids=self._devices, **bounds)
        return await self._pages.read(query)

    def _fill(self, page, complete):
        """Take over a page, and put what was held meanwhile into its place.

        :param complete: nothing sorts behind this page but what is being held.
        """
        # What is left since the last turn is an update of the last message then.
        self._page = sorted(self._page + page, key=_chronological) if self._page else page
        self._cursor = None if complete else _chronological(page[-1])
        self._note(page)
        held, self._held = self._held, None
        # What was held counts with the page, if it gets there.
        self._count(sum(map(payload_size, self._page)) - self._size)
        for message, body in held:
            if self._is_new(message):
                self._place(message, body)

    def _place(self, message, body):
        """Send an event now, with the page, or not at all because a page to come has it."""
        if self._is_ahead(message):
            self._expect(message)
        elif self._watch_until is not None or _chronological(message) < self._position:
            self._send(message, body)
        else:
            insort(self._page, message, key=_chronological)
            self._count(payload_size(message))
            if len(self._page) > 2 * PAGE or self._size > 2 * PAGE_SIZE:
                self._cut()

    def _expect(self, message):
        """Have a page to come bring a message, also when its device came later than the list of devices."""
        if self._devices is not None and message.device_id not in self._devices:
            self._devices = self._query.device_ids
        if self._limit is not None:
            self._earliest = min(self._earliest or _chronological(message), _chronological(message))
            if not self._subscription.kind.is_update:
                self._first_live = min(self._first_live, message.id)

    def _cut(self):
        """Leave the end of a page that grew while the client did not read to be read again. Two states of one command stay together."""
        sizes = accumulate(map(payload_size, self._page))
        end = next((place for place, size in enumerate(sizes, 1) if place >= PAGE or size >= PAGE_SIZE), len(self._page))
        while end < len(self._page) and self._page[end].id == self._page[end - 1].id:
            end += 1
        self._count(-sum(map(payload_size, self._page[end:])))
        del self._page[end:]
        self._cursor = _chronological(self._page[-1])
        # Among what was cut may be messages of devices that came later than the list of devices.
        self._devices = self._query.device_ids

    async def _send_page(self):
        subscription, entities, page = self._subscription, self._server.entities, self._page
        session = subscription.session
        while page and not self._cancelled:
            if session.congested:
                await session.drained()
                continue
            message = page.pop(0)
            self._count(-payload_size(message))
            self._position = message.timestamp, message.id
            device = entities.device(message.device_id) or await entities.get(Device, message.device_id)
            if self._is_wanted(message, device) and not self._cancelled:
                self._send(message, event_body(message))

    def _count(self, size):
        """Have the client's account know what waits for it here: the page, and the events that came while it was being read."""
        self._size += size
        self._subscription.session.output.account.add(size)

    def _go_live(self):
        """Let events through. The event of a message that was read here can be late: a storage may show a message to one reader before the
        one who stored it hears that it is stored, and other nodes hear still later. So some are still watched for.
        """
        self._renew_horizon()
        self._forget_arrived()
        if self._sent:
            self._watch_until = self._server.now() + FRESH
        else:
            self._subscription.session.go_live(self._subscription)

    def _renew_horizon(self):
        self._horizon = self._server.arrivals.horizon(self._subscription.kind)

    def _note(self, page):
        """Remember what of a page may also come as an event: of old messages nothing."""
        marks = list(map(self._number_of, page))
        if max(marks, default=0) > self._horizon:
            self._sent.update((message.id, mark) for message, mark in zip(page, marks, strict=True) if mark > self._horizon)
        if len(self._sent) > self._forget_above:
            self._forget_arrived()
            self._forget_above = 2 * len(self._sent) + PAGE

    def _forget_arrived(self):
        """Remember no longer what has come as an event meanwhile."""
        self._sent = {message_id: mark for message_id, mark in self._sent.items() if mark > self._horizon}

    def _is_new(self, message):
        sent = self._sent.get(message.id)
        return sent is None or self._number_of(message) > sent

    def _is_ahead(self, message):
        return self._cursor is not None and _chronological(message) > self._cursor

    async def _wanted(self, message):
        return self._is_wanted(message, await self._server.entities.get(Device, message.device_id))

    def _is_wanted(self, message, device):
        if type(message) is Command and message.lifetime is not None and message.arrived + message.lifetime * 1000 < self._now:
            return False
        return device is not None and self._subscription.matches(message, device.network_id, device.device_type_id)

    def _send(self, message, body):
        subscription, trace = self._subscription, self._server.trace
        if trace is not None:
            trace.event(subscription.session, subscription.principal, message, body, subscription.id)
        subscription.session.send_event(subscription.prefix, body)
