"""A second node beside a server. A test does its work step by step."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from dhtwisted.model import COMMAND_UPDATE, Device, Entity, Event, Message, Notification
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.bus.shared import Hub
from dhtwisted.testing.server import START, MemoryServer, at_once
from tests.support.delaying import DelayingStorage


@implementer(IReactorTime)
class _Behind:
    """A clock that is behind another."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._behind = clock, seconds

    def seconds(self) -> float:
        return self._clock.seconds() - self._behind

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> IDelayedCall:
        return self._clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return self._clock.getDelayedCalls()


class OtherNode:
    """A node that stores things, and publishes them when the test asks for it.

    :param ahead: seconds by which the clock of the server is ahead of the storage's clock.
    :ivar clock: the clock of the server.
    :ivar storage: the storage of both nodes.
    :ivar delaying: the same storage as the server uses it, with delays.
    :ivar server: the ``MemoryServer`` that receives what this node publishes.
    :ivar bus: the bus of the server.
    """

    def __init__(self, reactor: Any, ahead: float = 0) -> None:
        self.clock, self._carrier = Clock(), Clock()
        self.clock.advance(START)
        self.storage = MemoryStorage(_Behind(self.clock, ahead))
        self.delaying = DelayingStorage(self.storage)
        hub = Hub(self._carrier)
        self.bus, self._own_bus = hub.bus(), hub.bus()
        opening = MemoryServer.open(reactor, storage=self.delaying, clock=self.clock, bus=self.bus, hash_password=False)
        self.server = at_once(opening)
        at_once(self._own_bus.start(lambda events: None, self._take_no_account))

    async def _take_no_account(self, keys: Iterable[Any] | None) -> None:
        """This node has no cache."""

    def carry(self) -> None:
        """Let everything arrive that was published."""
        while any(call.getTime() <= self._carrier.seconds() for call in self._carrier.getDelayedCalls()):
            self._carrier.advance(0)

    def save(self, device_id: str, network: int = 1) -> None:
        """Make a device, or move it. The change is published, but does not arrive yet."""
        if at_once(self.storage.get(Device, device_id)) is None:
            at_once(self.storage.insert(Device(id=device_id, name=device_id, network_id=network, device_type_id=1)))
        else:
            at_once(self.storage.update(Device, device_id, {"network_id": network}))
        self._own_bus.publish_change(Device, device_id)

    def change(self, kind: type[Entity], key: Any, **changes: Any) -> None:
        """Change an entity. The change is published, but does not arrive yet."""
        at_once(self.storage.update(kind, key, changes))
        self._own_bus.publish_change(kind, key)

    def delete(self, kind: type[Entity], key: Any) -> None:
        """Delete an entity. The change is published, but does not arrive yet."""
        at_once(self.storage.delete(kind, key))
        self._own_bus.publish_change(kind, key)

    def store(self, device_id: str, kind: type[Message] = Notification, **values: Any) -> Event:
        """Store a message. This node takes the device for one of network 1 and type 1.

        :returns: its event, which is not published.
        """
        fields: dict[str, Any] = {"name": "n", "device_id": device_id, "network_id": 1, "device_type_id": 1}
        message = kind(**fields | values)
        at_once(self.storage.append((message,)))
        return Event(f"{kind.KIND}/insert", message)

    def update(self, device_id: str, command_id: int, status: str = "done") -> Event:
        """Update a command.

        :returns: the event, which is not published.
        """
        command = at_once(self.storage.update_command(device_id, command_id, {"status": status}))
        assert command is not None, f"the device {device_id} has no command {command_id}"
        return Event(COMMAND_UPDATE, command)

    def tell(self, *events: Event) -> None:
        """Publish events one by one, and let everything arrive that was published."""
        for event in events:
            self._own_bus.publish((event,))
        self.carry()

    def insert(self, device_id: str, kind: type[Message] = Notification, **values: Any) -> int:
        """Store a message and publish its event at once.

        :returns: its id.
        """
        event = self.store(device_id, kind, **values)
        self.tell(event)
        return event.message.id
