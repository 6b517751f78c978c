"""The topics of DeviceHive of one server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from dhtwisted.fronts.batches import ACTIONS_BY_FIELDS
from dhtwisted.fronts.mqtt.device_session import DeviceSession
from dhtwisted.fronts.mqtt.event_filters import ROOT, WantedEvents
from dhtwisted.fronts.mqtt.event_topics import MAPPED_COMMANDS, EventTopic, read_topic
from dhtwisted.fronts.mqtt.events import Events
from dhtwisted.fronts.mqtt.filters import overlaps
from dhtwisted.fronts.mqtt.interfaces import IDeviceTopics, Refusal
from dhtwisted.fronts.mqtt.mappings import MappedCommands, Mappings
from dhtwisted.fronts.mqtt.waiting_events import WaitingRoom
from dhtwisted.interfaces import IBulkStorage
from dhtwisted.wire.envelope import RequestDecoder
from dhtwisted.wire.mqtt.topics import ONE, REST, SHARE

if TYPE_CHECKING:
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.session import ClientSession

CACHED_TOPICS = 8192
"""Topics of publishes that are remembered."""

LONGEST_CACHED = 512
"""Characters of a topic that is remembered."""

SAVE_INTERVAL = 10
"""Seconds within which it is stored what a client has acknowledged. After a crash of the server, events with QoS 1 of this time may come to
it again."""


@implementer(IDeviceTopics)
class DeviceTopics:
    """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceTopics`.

    :param server: a started :class:`~dhtwisted.core.server.Server`.
    :param storage: where sessions are stored; ``None`` for nowhere.
    :ivar bulk: the storage, if it can store messages and packet ids of QoS 2 in one commit; else ``None``.
    :ivar events: gives the events to clients.
    :ivar decoder: reads requests.
    :ivar mappings: of ``mqtt.map``.
    :ivar waiting_room: for events of clients that are a little behind.
    :ivar unsaved: sessions whose place in the streams has changed since they were stored.
    """

    def __init__(self, server: Server, storage: Any = None) -> None:
        self.server = server
        self.bulk = storage if storage is server.messages and IBulkStorage.providedBy(storage) else None
        self.events = Events(server)
        self.waiting_room = WaitingRoom()
        self.set_limits()
        self.unsaved: set[DeviceSession] = set()
        self._recent: dict[str, EventTopic | Refusal] = {}
        server.broker.listener = self.events

    def set_limits(self) -> None:
        """Use the present settings. Mapped filters of clients stay as they are until they subscribe again."""
        settings = self.server.settings
        self.decoder = RequestDecoder(list(ACTIONS_BY_FIELDS), settings.limits.json_depth)
        self.mappings = Mappings(settings.mqtt.map)

    def takes(self, topic: str) -> bool:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceTopics`."""
        return self.mappings.find(topic) is not None

    def takes_filter(self, filter: str) -> bool:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceTopics`."""
        levels = filter.split("/")
        return overlaps(levels, (ROOT, REST)) or bool(self.mappings.commands(levels))

    def begin(self, session: ClientSession, state: bytes) -> DeviceSession:
        """See :class:`~dhtwisted.fronts.mqtt.interfaces.IDeviceTopics`."""
        return DeviceSession(self, session, state)

    def read_topic(self, topic: str) -> EventTopic | Refusal:
        """What a publish on a topic below ``dh/`` is."""
        found = self._recent.get(topic)
        if found is None:
            found = read_topic(topic)
            if len(topic) <= LONGEST_CACHED:
                if len(self._recent) >= CACHED_TOPICS:
                    self._recent.clear()
                self._recent[topic] = found
        return found

    def mapped_commands(self, text: str) -> list[tuple[WantedEvents, MappedCommands]]:
        """The commands that a subscriber of a filter gets on mapped topics."""
        if text.startswith(SHARE):
            return []
        found = []
        for one in self.mappings.commands(text.split("/")):
            name = (REST,) if one.name is None else tuple(one.name.split("/"))
            found.append((WantedEvents(MAPPED_COMMANDS, (MAPPED_COMMANDS.level, ONE, ONE, one.device_id or ONE, *name)), one))
        return found

    def save_later(self, session: DeviceSession) -> None:
        """Store what a client has acknowledged, together with what others do meanwhile."""
        if not self.unsaved:
            self.server.reactor.callLater(SAVE_INTERVAL, self._save)
        self.unsaved.add(session)

    def _save(self) -> None:
        unsaved, self.unsaved = self.unsaved, set()
        for session in unsaved:
            session.session.save()
