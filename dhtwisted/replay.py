"""Sends stored messages to a new subscription and then lets it go live: none missed, none twice (WebSocket reference, section 4.3).

The stored messages are read in pages, in ascending ``(timestamp, id)``, and sent as fast as the client takes them. Events go on arriving
meanwhile. Since a message is stored before its event is published, an event that sorts behind the page last read needs no keeping: a
later page has it. Only what arrives *while a page is being read* may be older than that page and is kept until the page is there. So a
replay of any length holds one page and a moment's events.
"""

from __future__ import annotations

from msgspec.structs import replace

from dhtwisted.access import intersect
from dhtwisted.broker import COMMAND_UPDATE
from dhtwisted.model import Command, Device, EntityQuery
from dhtwisted.resources import event_body

PAGE = 500
MAX_DEVICES_IN_QUERY = 200
"""Up to so many devices are asked for by name; more are found faster by reading all messages in order of time and sieving them."""

FRESH = 60_000


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
        self._limit = limit
        self._fresh_from = now - FRESH
        self._floor = server.broker.delivered_ids[subscription.kind]
        self._now = now
        self._held = []
        self._cursor = (query.since, 0)
        self._sent = {}
        self._cancelled = False

    def cancel(self):
        """Send nothing more."""
        self._cancelled = True

    def take(self, message, body):
        """Decide about an event that arrives while the replay goes on."""
        if self._held is not None:
            self._held.append((message, body))
        elif self._is_new(message) and not self._is_ahead(message):
            self._send(message, body)

    async def run(self):
        """Send all; the subscription is live when this returns."""
        done = False
        await self._name_devices()
        if self._limit is not None:
            page = await self._newest()
            done = not page or await self._send_page(page, complete=True)
        while not done and not self._cancelled:
            page = await self._read(replace(self._query, take=PAGE, after=self._cursor if self._sent_any else None))
            done = await self._send_page(page, complete=len(page) < PAGE)
        if not self._cancelled:
            self._release(last=True)
            self._subscription.replay = None

    @property
    def _sent_any(self):
        return self._cursor[1] > 0

    async def _name_devices(self):
        """Narrow the query to the devices of the subscription's networks and types, if they are few."""
        if self._query.device_ids is not None:
            return
        principal, subscription = self._subscription.session.principal, self._subscription
        within = {
            "network_id": intersect(subscription.network_ids, principal.networks()),
            "device_type_id": intersect(subscription.device_type_ids, principal.device_types()),
        }
        within = {field: ids for field, ids in within.items() if ids is not None}
        if within:
            devices = await self._server.entities.find(Device, EntityQuery(within=within, take=MAX_DEVICES_IN_QUERY + 1))
            if len(devices) <= MAX_DEVICES_IN_QUERY:
                self._query = replace(self._query, device_ids=tuple(device.id for device in devices))

    async def _send_page(self, page, complete):
        """Send a page.

        :param complete: nothing sorts behind this page but what is being held.
        :returns: true when that still holds at the end, so that the subscription can go live. A client that made us wait gets another
            page: holding events for as long as it takes to read would need memory without bound.
        """
        if page:
            self._cursor = (page[-1].timestamp, page[-1].id)
        self._note(page)
        if not complete:
            self._release(last=False)
        for message in page:
            if await self._wanted(message):
                await self._room()
                if self._cancelled:
                    return False
                self._send(message, event_body(message))
        return complete and self._held is not None

    async def _room(self):
        """Wait until the client takes more."""
        session = self._subscription.session
        while session.congested and not self._cancelled:
            self._release(last=False)
            await session.drained()

    async def _newest(self):
        """The newest that are wanted, ascending, found by reading backwards."""
        found, skip, page = {}, 0, None
        while len(found) < self._limit and not self._cancelled and (page is None or len(page) == PAGE):
            page = await self._read(replace(self._query, descending=True, take=PAGE, skip=skip))
            skip += len(page)
            for message in page:
                if await self._wanted(message):
                    found[message.id] = message
        return list(found.values())[: self._limit][::-1]

    async def _read(self, query):
        if self._held is None:
            self._held = []
        return await self._server.messages.find_messages(self._subscription.kind, query)

    def _note(self, page):
        """Remember what of a page may also come, or have come, as an event: what was stored or changed since about the subscribing."""
        for message in page:
            if message.id > self._floor or getattr(message, "last_updated", 0) >= self._fresh_from:
                self._sent[message.id] = message

    def _release(self, last):
        """Send what was held and was not yet sent, unless a page to come has it."""
        held, self._held = self._held or (), None
        for message, body in held:
            if self._is_new(message) and (last or not self._is_ahead(message)):
                self._send(message, body)

    def _is_new(self, message):
        sent = self._sent.get(message.id)
        if sent is None:
            return True
        return self._subscription.action == COMMAND_UPDATE and message.last_updated > sent.last_updated

    def _is_ahead(self, message):
        devices = self._query.device_ids
        return (message.timestamp, message.id) > self._cursor and (devices is None or message.device_id in devices)

    async def _wanted(self, message):
        if type(message) is Command and message.lifetime is not None and message.timestamp + message.lifetime * 1000 < self._now:
            return False
        device = await self._server.entities.get(Device, message.device_id)
        return device is not None and self._subscription.matches(message, device.network_id, device.device_type_id)

    def _send(self, message, body):
        self._subscription.session.send_event(self._subscription.prefix, body)
