"""A whole server with clients on sockets in memory, which plays steps and says afterwards all that anybody could see."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import msgspec
from autobahn.websocket.protocol import WebSocketProtocol
from msgspec import Struct, structs
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from dhtwisted.core.access import DEVICE_PERMISSIONS
from dhtwisted.logs.audit import Audit
from dhtwisted.model import MESSAGE_KINDS, Device, DeviceToken, EntityQuery, MessageQuery, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import START, MemoryServer, at_once
from dhtwisted.transports.websocket.protocol import DeviceHiveFactory
from tests.support import world
from tests.support.auditing import Lines
from tests.support.raw import frame
from tests.support.reads.clients import Client, segments
from tests.support.reads.committing import CommittingStorage
from tests.support.wire import Reactor

OVERLAPPING = frozenset({"notification/insert", "command/insert", "command/update"})
LONGEST_WAIT = 100
"""Seconds until everything is answered."""


class Hive:
    """One server and its clients.

    :param is_cut: whether the frames of a client are joined and cut at the places that its step says; else each read has one frame.
    :ivar clients: those of :data:`~tests.support.reads.steps.CLIENTS`, in this order.
    """

    def __init__(self, reactor: Reactor, memory: MemoryServer, tokens: dict[str, str], is_cut: bool) -> None:
        self.reactor = reactor
        self.memory = memory
        self.server = memory.server
        self.factory = DeviceHiveFactory(memory.sessions, lambda *arguments: "http://localhost/rest")
        self.clients: list[Client] = []
        self.audit = Lines()
        self.server.audit = Audit(cast(Any, self.audit), reactor.seconds)
        self.lines: list[str] = []
        self.begun: list[dict[str, int]] = []
        self._tokens = tokens
        self._is_cut = is_cut
        self._is_held = False

    @classmethod
    async def open(cls, reactor: Any, is_cut: bool, storage: Any = None, **options: Any) -> "Hive":
        """Start a server.

        :param reactor: the real one.
        :param storage: a class, called with the server's clock; or an opened storage. ``None`` for memory.
        """
        clock = Reactor()
        clock.advance(START)
        if isinstance(storage, type):
            storage = storage(clock)
        pending = MemoryServer.open(reactor, storage=storage or MemoryStorage(clock), clock=clock, hash_password=False, **options)
        memory = await pending
        tokens = await world.furnish(memory)
        for name, network, device_type, is_blocked in (("d1", 1, 1, False), ("d2", 2, 2, False), ("d3", 1, 2, False), ("shut", 1, 1, True)):
            device = Device(id=name, name=name, network_id=network, device_type_id=device_type, is_blocked=is_blocked)
            await memory.server.entities.insert(device)
        tokens["device"] = await _device_token(memory)
        if isinstance(memory.storage, CommittingStorage):
            memory.storage.is_prompt = False
        return cls(clock, memory, tokens, is_cut)

    # Steps

    def do_connect(self) -> None:
        """Open one more connection."""
        self.clients.append(Client(self.factory, self.reactor, len(self.clients) + 1))

    def do_send(self, client: int, texts: list[Any], places: list[int]) -> None:
        """Send frames.

        :param texts: requests, as dictionaries or bytes; or pairs of the payload and the options of any frame.
        :param places: where to cut the bytes.
        """
        frames = [self._frame(text) for text in texts]
        if self._is_cut:
            stream = b"".join(frames)
            edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
            frames = [stream[start:end] for start, end in pairwise(edges) if start < end]
        for data in frames:
            self.clients[client].read(data)

    def _frame(self, text: Any) -> bytes:
        if isinstance(text, tuple):
            return frame(text[0], **text[1])
        if isinstance(text, dict):
            token = text.get("token")
            text = msgspec.json.encode(text if token is None else text | {"token": self._tokens.get(token, token)})
        return frame(text)

    def do_hold(self, is_held: bool) -> None:
        """Let no commit of the storage end until this is called with false."""
        self._is_held = is_held

    def do_commit(self) -> None:
        """Let one commit of the storage end, even if they are held."""
        self.memory.storage.commit()

    def do_fail(self, fails: bool) -> None:
        """Let each commit fail until this is called with false."""
        storage = self.memory.storage
        if isinstance(storage, CommittingStorage):
            storage.fails = fails

    def do_room(self, client: int, room: int | None) -> None:
        """Let the buffer of a client's socket have room for so many bytes; for ``None`` the client reads."""
        self.clients[client].socket.room = room

    def do_lose(self, client: int) -> None:
        """Break a connection."""
        self._lose(self.clients[client])

    @staticmethod
    def _lose(client: Client) -> None:
        if client.transport.connected:
            client.transport.connectionLost(Failure(ConnectionResetError()))

    def do_stop(self, client: int) -> None:
        """Close a connection as at the end of the server: when what it has begun is answered."""
        if self.clients[client].transport.connected:
            self.clients[client].protocol.finish()

    def do_seconds(self, seconds: float) -> None:
        """Let time pass; ends with whatever is due."""
        for _ in range(max(1, int(seconds))):
            self.reactor.advance(min(1.0, seconds))
            now = self.reactor.seconds()
            self.server.budget.tick(now)
            self.factory.upkeep.tick(now)
            self.settle()

    def do_look(self) -> None:
        """Remember how many requests have begun by now."""
        self.begun.append(dict(self.server.metrics.requests))

    def do_turn(self) -> None:
        """Let the turn of the reactor end, and all turns that follow while anything happens."""
        self.settle()

    def step(self, name: str, *arguments: Any) -> None:
        """Do one step."""
        getattr(self, f"do_{name}")(*arguments)

    def settle(self) -> None:
        """Run turns of the reactor until nothing happens in one. Clients go when the server closes: how far a closing has come depends on
        what came after the violation.
        """
        while self.turn():
            pass
        for client in self.clients:
            if client.protocol.state == WebSocketProtocol.STATE_CLOSING:
                self._lose(client)
        if self.is_quiet:
            for client in self.clients:
                client.mark()

    async def answered(self) -> None:
        """Run turns until nothing is under way, also where a storage needs the real reactor for its answer."""
        from twisted.internet import reactor

        self.settle()
        while not self.is_quiet:
            await deferLater(reactor, 0)  # type: ignore[arg-type]  # which has no type of its own
            self.settle()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way."""
        return not self._is_held and all(client.is_quiet for client in self.clients)

    def turn(self) -> bool:
        """Run one turn.

        :returns: whether anything happened.
        """
        self.reactor.advance(0)
        happened = False
        for client in self.clients:
            happened = self._write(client) or happened
            happened = client.take() or happened
        storage = self.memory.storage
        if isinstance(storage, CommittingStorage) and not self._is_held:
            happened = storage.commit() or happened
        return happened or any(call.getTime() <= self.reactor.seconds() for call in self.reactor.getDelayedCalls())

    def _write(self, client: Client) -> bool:
        """Let a transport write what waits, if its socket has room."""
        transport = client.transport
        if transport not in self.reactor.writers or client.socket.room == 0:
            return False
        end = transport.doWrite()
        if end is not None:
            transport.connectionLost(Failure(end))
        return True

    # The outcome

    def finish(self) -> None:
        """Let everybody read, and let everything be answered."""
        self._is_held = False
        self.do_fail(False)
        for client in self.clients:
            client.socket.room = None
        self.settle()
        waited = 0
        while not self.is_quiet:
            assert waited < LONGEST_WAIT, "there is something that was never answered"
            waited += 1
            self.do_seconds(1)

    def lose_all(self) -> None:
        """Break all connections."""
        for client in self.clients:
            self._lose(client)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Keep the lines of the log, those of traces among them."""

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            namespace = event.get("log_namespace", "")
            # How often the storage is told what was stored today may differ.
            if namespace.startswith("dhtwisted") and not namespace.endswith("StoredToday"):
                self.lines.append(f"{namespace} {event['log_level'].name}: {formatEvent(event)}")

        globalLogPublisher.addObserver(observe)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(observe)

    async def outcome(self) -> dict[str, Any]:
        """All that clients, devices and operators can see, by what it is."""
        server = self.server
        seen: dict[str, Any] = {f"client {number}": segments(client.received, OVERLAPPING) for number, client in enumerate(self.clients)}
        for name, kind in MESSAGE_KINDS.items():
            seen[f"stored {name}s"] = await self.memory.storage.find_messages(kind, MessageQuery())
        seen["devices"] = await self.memory.storage.find(Device, EntityQuery())
        seen |= {
            "deliveries": server.broker.deliveries,
            "requests": server.metrics.requests,
            "requests meanwhile": self.begun,
            "errors": server.metrics.errors,
            "unread": server.metrics.unread,
            "refusals": server.metrics.refusals,
            "quota refusals": server.metrics.quota_refusals,
            "ends": server.metrics.ends,
            "messages received": self.factory.traffic.messages_received,
            "octets sent": self.factory.traffic.octets_sent,
            "memory held": server.budget.total,
            "audit": self.audit.records,
            "lines": self.lines,
        }
        seen["quotas"] = [await server.quotas.use(user) for user in range(1, 6)]
        # What the storage knows of it is less, by up to a hundredth of a quota.
        seen["stored today"] = {device: use.stored for device, use in server.quotas._stored.devices.items()}
        return seen


async def _device_token(memory: MemoryServer) -> str:
    """A token of anna for the device ``d1`` alone."""
    now = memory.server.now()
    record = DeviceToken(id=7, device_id="d1", user_id=2, created=now, expires=now + 10**9)
    await memory.server.entities.insert(record)
    anna = await memory.server.entities.get(User, 2)
    return memory.token(anna, device_id="d1", token_id=7, actions=DEVICE_PERMISSIONS)


def play(reactor: Any, steps: list[tuple[Any, ...]], is_cut: bool, storage: Any = None, **sections: Any) -> dict[str, Any]:
    """Play steps on a server in memory.

    :param storage: the class of the storage; ``None`` for one that answers at once.
    :returns: the outcome; see :meth:`Hive.outcome`.
    """
    hive = at_once(Hive.open(reactor, is_cut, storage, **sections))
    with hive.logged():
        for step in steps:
            hive.step(*step)
        hive.finish()
    outcome = at_once(hive.outcome())
    hive.lose_all()
    at_once(hive.memory.close())
    return outcome


async def play_on(reactor: Any, steps: list[tuple[Any, ...]], is_cut: bool, storage: Any) -> dict[str, Any]:
    """Play steps on a server with an opened storage, which gives its own times. Nothing happens while a step is under way.

    :returns: the outcome without times.
    """
    hive = await Hive.open(reactor, is_cut, storage)
    with hive.logged():
        for step in steps:
            hive.step(*step)
            await hive.answered()
        hive.finish()
    outcome = await hive.outcome()
    hive.lose_all()
    await hive.memory.close()
    return without_times(outcome)


TIMES = frozenset({"timestamp", "lastUpdated", "arrived", "last_updated", "serverTimestamp", "lastLogin", "last_login"})


def without_times(value: Any) -> Any:
    """A value without the times in it."""
    if isinstance(value, Struct):
        value = structs.asdict(value)
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, (list, tuple)) else value
