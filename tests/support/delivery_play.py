"""A server with subscribers of many sorts, on real WebSocket protocols, whose events a test publishes together or one by one."""

import json
from dataclasses import replace
from typing import Any, cast

from twisted.python.failure import Failure

from dhtwisted.core.event_kinds import EVENT_KINDS, NOTIFICATION_INSERTED
from dhtwisted.core.subscription import Subscription
from dhtwisted.kit.waiter import DONE
from dhtwisted.model import (
    COMMAND_INSERT,
    COMMAND_UPDATE,
    Command,
    Device,
    DeviceType,
    Event,
    Network,
    Notification,
    User,
)
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import START, MemoryServer, at_once
from dhtwisted.transports.websocket.protocol import DeviceHiveFactory
from tests.support.delaying import DelayingStorage
from tests.support.raw import HANDSHAKE, frame
from tests.support.rest_api import client as rest_client
from tests.support.wire import Reactor, Socket, Wire

DEVICES = {"d11": (1, 1), "d12": (1, 2), "d21": (2, 1), "d22": (2, 2)}
"""Their networks and types."""

USERS: dict[str, dict[str, Any]] = {
    "one network": {"network_ids": frozenset({1})},
    "one type": {"network_ids": frozenset({1, 2}), "all_device_types_available": False, "device_type_ids": frozenset({2})},
    "nothing": {},
}


class Connection:
    """A WebSocket of a :class:`Hive`."""

    def __init__(self, hive: "Hive", user: str) -> None:
        self._hive = hive
        self.socket = Socket()
        self.transport: Any = Wire(self.socket, hive.clock)
        protocol: Any = hive.factory.buildProtocol(cast(Any, None))
        self.protocol = self.transport.protocol = protocol
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(HANDSHAKE.format(path="/client", port=1, headers="").encode())
        self.request("authenticate", token=hive.token(user))
        hive.turn()

    def request(self, action: str, **members: Any) -> None:
        self.protocol.dataReceived(frame(json.dumps({"action": action} | members)))

    def state(self) -> tuple[Any, ...]:
        protocol = self.protocol
        session = protocol.session
        return (
            bytes(self.socket.received),
            b"".join(map(bytes, protocol._queue)),
            protocol.state,
            protocol.congested,
            protocol.account.held,
            None
            if session is None
            else sorted((each.id, each.replay is None, each.send is None) for each in session.subscriptions.values()),
        )


class Hive:
    """One of two servers to which the same happens.

    :param together: whether events that are published together arrive so.
    """

    def __init__(self, reactor: Any, together: bool) -> None:
        self._together = together
        self.clock = Reactor()
        self.clock.advance(START)
        self.truth = MemoryStorage(self.clock)
        self.storage = DelayingStorage(self.truth)
        limits = {"output_queue": 2000}
        self.memory = at_once(MemoryServer.open(reactor, storage=self.storage, clock=self.clock, hash_password=False, limits=limits))
        self.server = self.memory.server
        at_once(self._furnish())
        self.factory = DeviceHiveFactory(self.memory.sessions, rest_url=lambda path, client, host, secure: "")
        self.connections: list[Connection] = []
        self.polls: list[Any] = []
        self.commands: list[Command] = []
        self._unpublished: list[Event] = []

    async def _furnish(self) -> None:
        entities = self.server.entities
        await entities.insert(Network(name="Garden"))
        await entities.insert(DeviceType(name="Pump"))
        for device_id, (network_id, type_id) in DEVICES.items():
            await entities.insert(Device(id=device_id, name=device_id, network_id=network_id, device_type_id=type_id))
        self.users = {"administrator": self.memory.administrator}
        for login, rights in USERS.items():
            self.users[login] = await self.memory.add_user(login, **rights)

    def token(self, user: str) -> str:
        return self.memory.token(self.users[user])

    def subscribe_directly(self, session: Any, device_id: str) -> None:
        """Have something else than a WebSocket get the notifications of a device, by its method ``deliver``."""
        principal = self.connections[0].protocol.session.principal
        number = self.server.next_subscription_id()
        self.server.broker.add(Subscription(session, principal, number, NOTIFICATION_INSERTED, frozenset({device_id}), None, None, None))

    # Steps

    def do_connect(self, user: str) -> None:
        self.connections.append(Connection(self, user))

    def do_subscribe(self, which: int, action: str, members: dict[str, Any]) -> None:
        if self.connections:
            self.connections[which % len(self.connections)].request(action, **members)

    def do_poll(self, user: str, path: str) -> None:
        api = rest_client(self.memory, self.users[user])
        answers: list[Any] = []
        api.send("GET", path).addBoth(answers.append)
        self.polls.append(answers)

    def do_store(self, wanted: list[tuple[str, str, str, int]]) -> None:
        """Store messages, whose events are published later.

        :param wanted: kind of event, device, name and size of each.
        """
        self._unpublished += [event for each in wanted for event in self._stored(*each)]

    def do_publish(self, wanted: list[tuple[str, str, str, int]]) -> None:
        """Store messages, and publish them and those before."""
        self.do_store(wanted)
        events, self._unpublished = self._unpublished, []
        receive = self.server.bus_receiver.receive
        if self._together:
            receive(events)
        else:
            for event in events:
                receive((event,))

    def _stored(self, action: str, device_id: str, name: str, size: int) -> list[Event]:
        if action == COMMAND_UPDATE:
            if not self.commands:
                return []
            command = self.commands[size % len(self.commands)]
            updated = at_once(self.truth.update_command(command.device_id, command.id, {"status": name}))
            assert updated is not None
            return [Event(action, updated)]
        network_id, type_id = DEVICES[device_id]
        kind = Command if action == COMMAND_INSERT else Notification
        parameters = b'{"p":"%b"}' % (b"x" * size)
        message = kind(name=name, device_id=device_id, network_id=network_id, device_type_id=type_id, parameters=parameters)
        stored = self.truth.append((message,))
        if stored is not DONE:
            at_once(stored)
        if isinstance(message, Command):
            self.commands.append(message)
            if self.connections and size % 2:
                session = self.connections[size % len(self.connections)].protocol.session
                if session is not None:
                    session.remember_command(message.id)
        return [Event(action, message)]

    def do_room(self, which: int, plan: list[int]) -> None:
        if self.connections:
            self.connections[which % len(self.connections)].socket.plan += plan

    def do_break(self, which: int) -> None:
        if self.connections:
            self.connections[which % len(self.connections)].socket.broken = True

    def do_forget_devices(self) -> None:
        """The next events wait for their devices."""
        at_once(self.server.entities.changed_elsewhere([(Device, device_id) for device_id in DEVICES]))

    def do_rights(self, user: str, networks: list[int]) -> None:
        at_once(self.server.entities.update(User, self.users[user].id, {"network_ids": frozenset(networks)}))

    def do_trace(self, traced: bool) -> None:
        settings = self.server.settings
        targets = ("user:1", "device:d11") if traced else ()
        self.server.reloadable(replace(settings, log=replace(settings.log, trace=targets)))()

    def do_delay(self) -> None:
        """Replays and polls wait for what is stored."""
        self.storage.delay("find_messages")

    def do_release(self, count: int) -> None:
        self.storage.release(count=count)

    def do_prompt(self) -> None:
        self.storage.prompt()
        self.storage.release_all()

    def do_turn(self, seconds: float) -> None:
        self.turn(seconds)

    def turn(self, seconds: float = 0) -> None:
        self.clock.advance(seconds)
        for connection in self.connections:
            if connection.transport in self.clock.writers:
                end = connection.transport.doWrite()
                if end is not None:
                    connection.transport.connectionLost(Failure(end))

    def step(self, name: str, *arguments: Any) -> None:
        getattr(self, f"do_{name}")(*arguments)

    def state(self) -> dict[str, Any]:
        """Everything that both servers must agree on."""
        return {
            "connections": [connection.state() for connection in self.connections],
            "polls": self.polls,
            "deliveries": self.server.broker.deliveries,
            "settled": [self.server.bus_receiver.last_settled(kind) for kind in EVENT_KINDS.values()],
            "inserters": list(self.server.broker._inserters),
            "waiting": self.storage.waiting,
            "held": self.server.budget.total,
            "ends": self.server.metrics.ends,
        }
