"""A whole server in memory, without a socket, and a client that speaks to its session directly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

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
"""What the clock of a :class:`MemoryServer` shows at first: 2026-01-02T03:04:05.678."""

PASSWORD = "password-1"
KEY = b"a key for tests, of thirty-two bytes or more"


class MemoryServer:
    """A server on memory storage, with a clock that stands still. Make one with :meth:`open`.

    :ivar clock: a ``task.Clock``.
    :ivar administrator: the user made at first start; his password is :data:`PASSWORD`.
    """

    clock: Any
    settings: Settings
    storage: Any
    auth: JWTAuth
    server: Server
    sessions: SessionFactory
    administrator: User
    _clients: list[MemoryClient]

    @classmethod
    async def open(cls, reactor, storage=None, bus=None, clock=None, real_time=False, hash_password=True, **sections):
        """Open, fill and start a server.

        :param reactor: the real one, for the threads that hash passwords.
        :param hash_password: false: nobody can log in by password, and nothing here waits, so that :func:`at_once` can open a server.
        :param real_time: take the time from the reactor, as a server with real sockets must.
        :param clock: the ``clock`` of another server, to use instead of one of its own.
        :param storage: an opened storage to use instead of memory; it is not closed here. Several servers may share one.
        :param bus: a bus to use instead of a local one, such as :mod:`dhtwisted.testing.bus.shared` has for several servers.
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
        await bootstrap(self.storage, self.auth if hash_password else _NoPasswords(), self.settings)
        self.server = Server(self.clock, self.settings, self.storage, self.storage, bus or LocalBus(), self.auth)
        await self.server.start()
        self.sessions = SessionFactory(self.server)
        self.administrator = await self.server.entities.get(User, 1)
        self._clients = []
        return self

    async def close(self):
        """Close everything but a storage that was given."""
        for client in self._clients:
            client.close()
        await self.server.stop()
        await self.auth.close()
        if self._owns_storage:
            await self.storage.close()

    def connect(self):
        """A client that has said nothing yet."""
        client = MemoryClient(self)
        self._clients.append(client)
        return client

    def token(self, user=None, refresh=False, lifetime=1800, **claims):
        """A token for a user, with all permissions, networks and device types unless ``claims`` say otherwise."""
        user = user or self.administrator
        values = {"actions": frozenset({Permission.ANY}), "network_ids": EVERYTHING, "device_type_ids": EVERYTHING}
        values |= {"valid_from": user.valid_from} | claims
        expires = self.server.now() + int(lifetime * 1000)
        return self.auth.issue(Claims(user_id=user.id, expires=expires, refresh=refresh, **values))

    async def add_user(self, login, role=CLIENT, **fields):
        """A user, a client by default, with :data:`PASSWORD`."""
        record = self.administrator.password
        return await self.server.entities.insert(User(login=login, login_key=fold_login(login), password=record, role=role, **fields))

    async def client(self, user=None, **claims):
        """A client authenticated as a user, with a token as :meth:`token` makes it."""
        client = self.connect()
        await client.call("authenticate", token=self.token(user, **claims))
        return client


class _NoPasswords:
    """Makes records that no password fits."""

    async def hash_password(self, password):
        return ""


def at_once(awaitable):
    """The result of a coroutine, or another awaitable, that has nothing to wait for; for tests that make a server many times over.

    :raises AssertionError: it waits.
    """
    outcome = []
    run(_awaited(awaitable), lambda *result: outcome.append(result))
    assert outcome, "this waits for something"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


async def _awaited(awaitable):
    return await awaitable


class _SteppableReactor(Clock):
    """A clock that stands still, with the threads of the real reactor."""

    def __init__(self, reactor):
        super().__init__()
        self.callFromThread = reactor.callFromThread
        self.getThreadPool = reactor.getThreadPool
        self.callInThread = reactor.callInThread


def _clock(reactor):
    clock = _SteppableReactor(reactor)
    clock.advance(START)
    return clock


def settings(**sections):
    """The default settings with some changed, and passwords that cost little."""
    sections["auth"] = {"password_cost": 10, "admin_password": PASSWORD} | sections.get("auth", {})
    whole = Settings()
    return replace(whole, **{name: replace(getattr(whole, name), **values) for name, values in sections.items()})


@implementer(IOutput)
class MemoryClient:
    """A client without a transport.

    :ivar messages: all that came, decoded, in order.
    :ivar congested: set it to act as a client that does not read; call :meth:`drain` when it reads again.
    """

    rest_url = "http://localhost/rest"
    number = 1

    def __init__(self, server, address="192.0.2.1"):
        self.address = address
        self.messages = []
        self.congested = False
        self.paused = False
        self.aborted = None
        self.account = server.server.budget.account(self.abort)
        self.session = server.sessions.build(self)
        self._waiting = []
        self._serial = 0

    # What the session calls

    def send(self, payload):
        message = json.loads(payload, parse_constant=_not_json, parse_int=_integer)
        self.messages.append(message)
        for waiting in list(self._waiting):
            waiting(message)

    def send_event(self, prefix, body):
        self.send(prefix + body)

    def abort(self, reason):
        self.aborted = reason

    def pause(self):
        self.paused = True

    def resume(self):
        self.paused = False

    # What a test calls

    def send_text(self, text):
        """Send a message as it is."""
        self.session.receive(text if isinstance(text, bytes) else text.encode())

    async def request(self, action, **members):
        """Send a request and wait for its reply, whatever it is."""
        self._serial += 1
        request_id = f"{action}-{self._serial}"
        arrived = Deferred()

        def look(message):
            if message.get("requestId") == request_id:
                self._waiting.remove(look)
                arrived.callback(message)

        self._waiting.append(look)
        self.send_text(json.dumps({"action": action, "requestId": request_id} | members))
        return await arrived

    def arrival(self):
        """A Deferred of the next message."""
        arrived = Deferred()

        def take(message):
            self._waiting.remove(take)
            arrived.callback(message)

        self._waiting.append(take)
        return arrived

    async def call(self, action, **members):
        """Send a request that must succeed; returns the reply.

        :raises AssertionError: it was refused.
        """
        reply = await self.request(action, **members)
        assert reply["status"] == "success", f"{action} was refused: {reply}"
        return reply

    async def refused(self, action, **members):
        """Send a request that must be refused; returns ``(code, text)``."""
        reply = await self.request(action, **members)
        assert reply["status"] == "error", f"{action} should have been refused, and was answered {reply}"
        return reply["code"], reply["error"]

    @property
    def events(self):
        """The messages that the server sent by itself."""
        return [message for message in self.messages if "status" not in message]

    def drain(self):
        """Read again."""
        self.congested = False
        self.session.writable()

    def close(self):
        """Go away."""
        self.session.close()
        self.account.close()


def _integer(text):
    """A request id may be an integer of any length; Python reads none beyond 4,300 digits."""
    return int(text) if len(text) < 4000 else text


def _not_json(name):
    raise AssertionError(f"the server sent {name}, which is no JSON")
