"""The newest notification of each name of each device, as retained messages for a new subscription (``mqtt.last_values``).

Nothing is kept for it. For each device that a filter matches, the newest notifications are read, with one query by the index of devices.
With a filter that names a notification, a second query finds that name if it is not among them, which may read all of the device. A name
that a device has not used in its newest :data:`NEWEST` notifications is found only by a filter that names it. What is read is sent before
the next device is read: memory has the values of one device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.access import intersect
from dhtwisted.core.coroutines import run
from dhtwisted.core.event_kinds import SERVER_MADE
from dhtwisted.core.stored_pages import EntityPages
from dhtwisted.errors import StorageUnavailable
from dhtwisted.fronts.mqtt.event_filters import EventFilter
from dhtwisted.fronts.mqtt.event_messages import EventMessage, event_payload
from dhtwisted.fronts.mqtt.event_topics import NOTIFICATIONS, event_path
from dhtwisted.fronts.mqtt.events import private, receiver_of
from dhtwisted.fronts.mqtt.filters import matches
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.model import NOTIFICATION_INSERT, Device, EntityQuery, MessageQuery, Notification
from dhtwisted.wire.mqtt.topics import DEVICEHIVE

if TYPE_CHECKING:
    from dhtwisted.core.server import Server

MOST = 1000
"""Values for one filter."""

MOST_DEVICES = 1000
"""Devices whose values are looked for, for one filter."""

NEWEST = 200
"""Notifications of a device that are looked through."""

SIZE = 256 * 1024
"""Bytes with which the newest notifications of a device end."""


class LastValues:
    """Sends the last values of the filters of one SUBSCRIBE, one after the other, as fast as the client takes them."""

    log = Logger()

    __slots__ = ("_filters", "_is_cancelled", "_is_started", "_room", "_server", "_session", "newer")

    def __init__(self, session: Any, server: Server) -> None:
        self._session = session
        self._server = server
        self._filters: deque[EventFilter] = deque()
        self._is_started = self._is_cancelled = False
        self._room: Deferred[None] | None = None
        self.newer: set[tuple[str, str]] = set()

    def add(self, one: EventFilter) -> None:
        """Send the values of a filter too."""
        self._filters.append(one)

    def start(self) -> None:
        """Begin to send."""
        if not self._is_started and not self._is_cancelled:
            self._is_started = True
            run_for_client(self._session.user_id, run, self._send_all(), self._ended)

    def go_on(self) -> None:
        """There may be room again."""
        if self._room is not None and self._session.session.has_room:
            room, self._room = self._room, None
            room.callback(None)

    def cancel(self) -> None:
        """Send nothing more."""
        self._is_cancelled = True
        if self._room is not None:
            room, self._room = self._room, None
            room.callback(None)

    def _ended(self, _: None, error: BaseException | None) -> None:
        if isinstance(error, StorageUnavailable):
            self.log.warn("last values could not be read: {error}", error=str(error), client=self._session.client_id)
        elif error is not None:
            self.log.failure("last values could not be sent", failure=Failure(error), client=self._session.client_id)
        self._session.values_sent(self)

    async def _send_all(self) -> None:
        while self._filters and not self._is_cancelled:
            await self._send_values(self._filters.popleft())

    async def _send_values(self, one: EventFilter) -> None:
        left, places = MOST, MOST_DEVICES
        async for device in self._devices(one):
            if left <= 0 or places <= 0 or self._is_cancelled:
                return
            places -= 1
            if self._session.may_receive(NOTIFICATIONS, device):
                left -= await self._send_device(one, device, left)

    async def _devices(self, one: EventFilter) -> Any:
        """The devices that a filter matches, as far as the client may see them."""
        network, device_type, device_id, _ = one.wanted.named
        only, principal = self._session.only_device, self._session.principal
        if device_id is not None or only is not None:
            device = await self._server.entities.get(Device, device_id or only)
            if device is not None:
                yield device
            return
        if principal is None:
            return
        networks, types = principal.networks(), principal.device_types()
        if network is not None:
            networks = intersect(networks, frozenset({int(network)}))
        if device_type is not None:
            types = intersect(types, frozenset({int(device_type)}))
        within = {"network_id": networks, "device_type_id": types}
        query = EntityQuery(within={field: ids for field, ids in within.items() if ids is not None}, take=MOST_DEVICES)
        async for page in EntityPages(self._server.entities, Device, self._server.budget).walk(query):
            for device in page:
                yield device

    async def _send_device(self, one: EventFilter, device: Device, most: int) -> int:
        """Send the values of one device.

        :returns: how many there were.
        """
        sent = 0
        for value in await self._values(one, device):
            path = event_path(NOTIFICATIONS, device.network_id, device.device_type_id, value)
            if value.name in SERVER_MADE or not matches(one.wanted.levels, path):
                continue
            payload = event_payload(NOTIFICATION_INSERT, value)
            message = EventMessage(DEVICEHIVE + path, payload, 2, True, source=value, action=NOTIFICATION_INSERT)
            await self._send(one, device, private(message, receiver_of(self._session, [one])) if one.is_private else message)
            sent += 1
            if sent == most or self._is_cancelled:
                break
        return sent

    async def _values(self, one: EventFilter, device: Device) -> Iterable[Notification]:
        find, name = self._server.messages.find_messages, one.wanted.named[3]
        query = MessageQuery(device_ids=(device.id,), descending=True, take=NEWEST, size=SIZE)
        values: dict[str, Notification] = {}
        for message in await find(Notification, query):
            values.setdefault(message.name, message)
        if name is None:
            return list(values.values())
        if name not in values:
            found = await find(Notification, MessageQuery(device_ids=(device.id,), names=(name,), descending=True, take=1))
            return found
        return [values[name]]

    async def _send(self, one: EventFilter, device: Device, message: EventMessage) -> None:
        session = self._session.session
        while not self._is_cancelled and not session.has_room:
            self._room = Deferred()
            await self._room
        is_newer = (device.id, message.source.name) in self.newer
        if not self._is_cancelled and not is_newer and self._session.may_receive(NOTIFICATIONS, device):
            session.deliver(message, one.qos, True, (one.identifier,) if one.identifier else ())
