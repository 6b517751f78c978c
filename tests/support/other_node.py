"""Another node beside a server, whose part a test takes."""

from twisted.internet.task import Clock

from dhtwisted.model import COMMAND_UPDATE, Device, Event, Notification
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.bus.shared import Hub
from dhtwisted.testing.server import START, MemoryServer, at_once
from tests.support.delaying import DelayingStorage


class _Behind:
    """A clock that is behind another."""

    def __init__(self, clock, seconds):
        self._clock, self._behind = clock, seconds

    def seconds(self):
        return self._clock.seconds() - self._behind


class OtherNode:
    """A node that stores, and tells of it when the test says so.

    :param ahead: seconds by which the clock of the server is ahead of the storage's.
    :ivar clock: of the server.
    :ivar storage: of both nodes.
    :ivar delaying: the server's own way to it.
    :ivar server: a ``MemoryServer``, which hears of all this.
    :ivar bus: the server's.
    """

    def __init__(self, reactor, ahead=0):
        self.clock, self._carrier = Clock(), Clock()
        self.clock.advance(START)
        self.storage = MemoryStorage(_Behind(self.clock, ahead))
        self.delaying = DelayingStorage(self.storage)
        hub = Hub(self._carrier)
        self.bus, self._own_bus = hub.bus(), hub.bus()
        options = {"storage": self.delaying, "clock": self.clock, "bus": self.bus, "hash_password": False}
        self.server = at_once(MemoryServer.open(reactor, **options))
        at_once(self._own_bus.start(lambda events: None, self._take_no_account))

    async def _take_no_account(self, keys):
        """There is no cache here."""

    def carry(self):
        """Let everything that was told arrive."""
        while any(call.getTime() <= self._carrier.seconds() for call in self._carrier.getDelayedCalls()):
            self._carrier.advance(0)

    def save(self, device_id, network=1):
        """Make a device, or move it; it is told, but has not arrived."""
        if at_once(self.storage.get(Device, device_id)) is None:
            at_once(self.storage.insert(Device(id=device_id, name=device_id, network_id=network, device_type_id=1)))
        else:
            at_once(self.storage.update(Device, device_id, {"network_id": network}))
        self._own_bus.publish_change(Device, device_id)

    def change(self, kind, key, **changes):
        """Change an entity; it is told, but has not arrived."""
        at_once(self.storage.update(kind, key, changes))
        self._own_bus.publish_change(kind, key)

    def delete(self, kind, key):
        """Delete an entity; it is told, but has not arrived."""
        at_once(self.storage.delete(kind, key))
        self._own_bus.publish_change(kind, key)

    def store(self, device_id, kind=Notification, **values):
        """Store a message, of network 1 and type 1 for all this node knows.

        :returns: its event, which is not told.
        """
        message = kind(**({"name": "n", "device_id": device_id, "network_id": 1, "device_type_id": 1} | values))
        at_once(self.storage.append((message,)))
        return Event(f"{kind.KIND}/insert", message)

    def update(self, device_id, command_id, status="done"):
        """Update a command.

        :returns: the event, which is not told.
        """
        return Event(COMMAND_UPDATE, at_once(self.storage.update_command(device_id, command_id, {"status": status})))

    def tell(self, *events):
        """Tell of events one by one, and let them arrive with all that was told before."""
        for event in events:
            self._own_bus.publish((event,))
        self.carry()

    def insert(self, device_id, kind=Notification, **values):
        """Store a message and tell of it at once.

        :returns: its id.
        """
        event = self.store(device_id, kind, **values)
        self.tell(event)
        return event.message.id
