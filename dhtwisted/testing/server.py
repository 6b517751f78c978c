"""A whole server in memory, without a socket, and a client that uses its session directly."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from dhtwisted.config.settings import Settings
from dhtwisted.core.access import EVERYTHING, Permission
from dhtwisted.core.coroutines import run
from dhtwisted.core.server import Server
from dhtwisted.fronts.session import SessionFactory
from dhtwisted.interfaces import IOutput
from dhtwisted.model import CLIENT, Claims, User, fold_login
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.providers.local_bus import LocalBus
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.service.bootstrap import bootstrap

START = 1_767_323_045.678
"""The first time of the clock of a :class:`MemoryServer`, in seconds: 2026-01-02T03:04:05.678."""

T = TypeVar("T")

PASSWORD = "password-1"
KEY = b"a key for tests, of thirty-two bytes or more"


class MemoryServer:
    """A server on memory storage, with a clock that stands still. Make one with :meth:`open`.

    :ivar clock: a ``task.Clock``, unless another was given.
    :ivar administrator: the user of the first start; their password is :data:`PASSWORD`.
    """

    clock: Any
    settings: Settings
    storage: Any
    auth: JWTAuth
    server: Server
    sessions: SessionFactory
    administrator: User
    _owns_storage: bool
    _clients: list[MemoryClient]

    @classmethod
    async def open(
        cls,
        reactor: Any,
        storage: Any = None,
        bus: Any = None,
        clock: Any = None,
        real_time: bool = False,
        hash_password: bool = True,
        **sections: dict[str, Any],
    ) -> MemoryServer:
        """Open a server, make its administrator, and start it.

        :param reactor: the real one, for the threads that hash passwords.
        :param hash_password: if false, nobody can log in by password, and nothing waits, so that :func:`at_once` can open a server.
        :param real_time: take the time from the reactor, which a server with real sockets needs.
        :param clock: the ``clock`` of another server, instead of a new one.
        :param storage: an opened storage instead of memory. It is not closed here. Several servers may share it.
        :param bus: a bus instead of a local one; :mod:`dhtwisted.testing.bus.shared` has one for several servers.
        :param sections: settings to change, by section: ``limits={"list_size": 5}``.
        """
        self = cls()
        self.clock = clock or (reactor if real_time else _clock(reactor))
        self.settings = settings(**sections)
        self.storage = storage or MemoryStorage(self.clock)
        self._owns_storage = storage is None
        if self._owns_storage:
            await self.storage.open()
        self.auth = JWTAuth(self.clock, self.settings, self.storage, KEY)
        makes_records: Any = self.auth if hash_password else _NoPasswords()
        await bootstrap(self.storage, makes_records, self.settings)
        self.server = Server(self.clock, self.settings, self.storage, self.storage, bus or LocalBus(), self.auth)
        await self.server.start()
        self.sessions = SessionFactory(self.server)
        self.administrator = await self.server.entities.get(User, 1)
        self._clients = []
        return self

    async def close(self) -> None:
        """Close everything except a storage that was given."""
        for client in self._clients:
            client.close()
        await self.server.stop()
        await self.auth.close()
        if self._owns_storage:
            await self.storage.close()

    def connect(self) -> MemoryClient:
        """A client that has not sent anything yet."""
        client = MemoryClient(self)
        self._clients.append(client)
        return client

    def token(self, user: User | None = None, refresh: bool = False, lifetime: float = 1800, **claims: Any) -> str:
        """A token for a user, by default for the administrator, with all permissions, networks and device types.

        :param lifetime: seconds.
        :param claims: members of :class:`~dhtwisted.model.Claims` with other values.
        """
        user = user or self.administrator
        values: dict[str, Any] = {"actions": frozenset({Permission.ANY}), "network_ids": EVERYTHING, "device_type_ids": EVERYTHING}
        values |= {"valid_from": user.valid_from} | claims
        expires = self.server.now() + int(lifetime * 1000)
        return self.auth.issue(Claims(user_id=user.id, expires=expires, refresh=refresh, **values))

    async def add_user(self, login: str, role: int = CLIENT, **fields: Any) -> User:
        """Add a user with :data:`PASSWORD`, by default with the client role."""
        record = self.administrator.password
        return await self.server.entities.insert(User(login=login, login_key=fold_login(login), password=record, role=role, **fields))

    async def client(self, user: User | None = None, **claims: Any) -> MemoryClient:
        """A client authenticated as a user, with a token as :meth:`token` makes it."""
        client = self.connect()
        await client.call("authenticate", token=self.token(user, **claims))
        return client


class _NoPasswords:
    """Makes records that match no password."""

    async def hash_password(self, password: str) -> str:
        return ""


def at_once(awaitable: Awaitable[T]) -> T:
    """The result of a coroutine or another awaitable that does not wait. For tests that make many servers.

    :raises AssertionError: it waits.
    """
    outcome = []
    run(_awaited(awaitable), lambda *result: outcome.append(result))
    assert outcome, "this waits for something"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


class _SteppableReactor(Clock):
    """A clock that stands still, with the threads of the real reactor."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.callFromThread = reactor.callFromThread
        self.getThreadPool = reactor.getThreadPool
        self.callInThread = reactor.callInThread


def _clock(reactor: Any) -> Clock:
    clock = _SteppableReactor(reactor)
    clock.advance(START)
    return clock


def settings(**sections: dict[str, Any]) -> Settings:
    """The default settings with some changes, and with passwords that are cheap to hash."""
    sections["auth"] = {"password_cost": 10, "admin_password": PASSWORD} | sections.get("auth", {})
    whole = Settings()
    return replace(whole, **{name: replace(getattr(whole, name), **values) for name, values in sections.items()})


@implementer(IOutput)
class MemoryClient:
    """A client without a transport.

    :ivar messages: all received messages, decoded, in order.
    :ivar congested: set it to act as a client that does not read. Call :meth:`drain` when it reads again.
    """

    rest_url = "http://localhost/rest"
    number = 1

    def __init__(self, server: MemoryServer, address: str = "192.0.2.1") -> None:
        self.address = address
        self.messages: list[dict[str, Any]] = []
        self.congested = False
        self.paused = False
        self.aborted: str | None = None
        self.account = server.server.budget.account(self.abort)
        self.session = server.sessions.build(self)
        self._waiting: list[Callable[[dict[str, Any]], object]] = []
        self._serial = 0

    # What the session calls

    @property
    def ended(self) -> bool:
        return self.aborted is not None

    def send(self, payload: bytes) -> None:
        message = json.loads(payload, parse_constant=_not_json, parse_int=_integer)
        self.messages.append(message)
        for waiting in list(self._waiting):
            waiting(message)

    def send_event(self, prefix: bytes, body: bytes) -> None:
        self.send(prefix + body)

    def send_many(self, payloads: Iterable[bytes]) -> None:
        for payload in payloads:
            self.send(payload)

    def send_events(self, events: Iterable[tuple[bytes, bytes]]) -> None:
        for prefix, body in events:
            self.send_event(prefix, body)

    def abort(self, reason: str) -> None:
        self.aborted = reason

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    # What a test calls

    def send_text(self, text: str | bytes) -> None:
        """Send a message unchanged."""
        self.session.receive(text if isinstance(text, bytes) else text.encode())

    def send_texts(self, texts: Sequence[bytes]) -> None:
        """Send several messages that the server reads at once."""
        self.session.receive_many(list(texts))

    async def request(self, action: str, **members: Any) -> dict[str, Any]:
        """Send a request, and wait for its reply: a success or an error."""
        self._serial += 1
        request_id = f"{action}-{self._serial}"
        arrived: Deferred[dict[str, Any]] = Deferred()

        def look(message: dict[str, Any]) -> None:
            if message.get("requestId") == request_id:
                self._waiting.remove(look)
                arrived.callback(message)

        self._waiting.append(look)
        self.send_text(json.dumps({"action": action, "requestId": request_id} | members))
        return await arrived

    def arrival(self) -> Deferred[dict[str, Any]]:
        """A Deferred of the next message."""
        arrived: Deferred[dict[str, Any]] = Deferred()

        def take(message: dict[str, Any]) -> None:
            self._waiting.remove(take)
            arrived.callback(message)

        self._waiting.append(take)
        return arrived

    async def call(self, action: str, **members: Any) -> dict[str, Any]:
        """Send a request that must succeed.

        :returns: the reply.
        :raises AssertionError: it was refused.
        """
        reply = await self.request(action, **members)
        assert reply["status"] == "success", f"{action} was refused: {reply}"
        return reply

    async def refused(self, action: str, **members: Any) -> tuple[int, str]:
        """Send a request that must be refused.

        :returns: ``code`` and ``error`` of the reply.
        """
        reply = await self.request(action, **members)
        assert reply["status"] == "error", f"{action} should have been refused, and was answered {reply}"
        return reply["code"], reply["error"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The received messages that are not replies."""
        return [message for message in self.messages if "status" not in message]

    def drain(self) -> None:
        """Read again."""
        self.congested = False
        self.session.writable()

    def close(self) -> None:
        """Disconnect."""
        self.session.close()
        self.account.close()


def _integer(text: str) -> int | str:
    """A request id may be an integer of any length. Python does not read integers beyond 4,300 digits."""
    return int(text) if len(text) < 4000 else text


def _not_json(name: str) -> NoReturn:
    raise AssertionError(f"the server sent {name}, which is not JSON")
