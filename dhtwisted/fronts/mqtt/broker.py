"""All MQTT sessions of one server: how long each lasts, and what they share."""

from __future__ import annotations

import sys
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from dhtwisted.fronts.mqtt import catching_up, sharing, wills
from dhtwisted.fronts.mqtt.catching_up import expire, has_unread_shared, read_shared
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.counters import MqttCounters
from dhtwisted.fronts.mqtt.delivering import Deliverer
from dhtwisted.fronts.mqtt.in_flight import MOST_PENDING
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.publishing import NO_PLAIN, Route, is_below_dh
from dhtwisted.fronts.mqtt.retained import Retained
from dhtwisted.fronts.mqtt.routing import merge
from dhtwisted.fronts.mqtt.session import ClientSession, Key
from dhtwisted.fronts.mqtt.system_topics import SystemTopics
from dhtwisted.fronts.mqtt.timers import Timers
from dhtwisted.fronts.mqtt.topic_tree import TopicTree
from dhtwisted.fronts.mqtt.tracing import follow
from dhtwisted.kit.repeated_work import RepeatedWork
from dhtwisted.model.mqtt import ANONYMOUS
from dhtwisted.wire.mqtt.topics import parse_filter

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.interfaces import IDeviceTopics, IMqttStore, IPlainAccess

TICK = 1.0
SWEEP = 60
"""Seconds between two looks for retained messages whose lifetime is over."""

LOGGED = 200
"""Characters of a refused topic or filter that a line of the log shows."""


class MqttBroker(Deliverer):
    """The sessions of one server, and what they share.

    :param server: a started :class:`~dhtwisted.core.server.Server`.
    :param access: who may do what with plain topics.
    :param store: keeps sessions and messages; see :class:`~dhtwisted.fronts.mqtt.interfaces.IMqttStore`.
    :param device_topics: the topics below ``dh/`` and the mapped ones; ``None`` for none.
    :ivar sessions: all sessions, with a connection or without.
    :ivar connections: all connections that have not ended.
    :ivar second: the time of the last tick, in seconds of the clock; exact enough to see who is silent.
    :ivar most_messages: how many messages may wait for a session.
    :ivar most_bytes: how many bytes these may have.
    :ivar shared: with several nodes the :class:`~dhtwisted.fronts.mqtt.shared_sessions.SharedSessions`; else ``None``.
    """

    def __init__(self, server: Server, access: IPlainAccess, store: IMqttStore, device_topics: IDeviceTopics | None = None) -> None:
        self.server = server
        self.entities = server.entities
        self.clock = server.reactor
        self.now = server.reactor.seconds
        self.access = access
        self.store = store
        self.device_topics = device_topics
        self.sessions: dict[Key, ClientSession] = {}
        self.connections: set[Any] = set()
        self.counters = MqttCounters()
        self.timers = Timers(server.reactor)
        self.tree = TopicTree(merge)
        self.retained = Retained(lambda: server.settings.mqtt, server.reactor.seconds)
        self.system_topics = SystemTopics(self)
        self.will_count = self.will_size = 0
        self.second = server.reactor.seconds()
        self._sessions_of_user: dict[int, int] = {}
        self._epoch = server.entities.users_epoch
        self.shared: Any = None
        self.reassigned = deque()
        self._last_client = 0
        self._swept_at = self.second
        self._ticking = RepeatedWork(
            server.reactor, "watching the times of MQTT", self._tick_timers, self._check_identities, self._tick_system_topics, self._sweep
        )
        self.set_limits()

    def set_limits(self) -> None:
        """Use the present settings."""
        settings = self.server.settings
        self.is_debugging = settings.log.level == "debug"
        self.most_messages = min(settings.mqtt.queued_messages or MOST_PENDING, MOST_PENDING)
        self.most_bytes = settings.mqtt.queued_bytes or sys.maxsize
        for connection in self.connections:
            follow(connection)

    def start(self) -> None:
        """Begin to watch times."""
        self._ticking.start(TICK)

    def stop(self) -> None:
        """End all connections (0x8B), and watch no times any more."""
        for connection in list(self.connections):
            connection.shutting_down()
        self._ticking.stop()

    def _tick_timers(self) -> None:
        self.second = self.now()
        self.timers.tick(self.second)

    def _tick_system_topics(self) -> None:
        self.system_topics.tick(self.second)

    def _sweep(self) -> None:
        if not 0 <= self.second - self._swept_at < SWEEP:
            self._swept_at = self.second
            self._forget_expired()

    def _check_identities(self) -> None:
        """End the connections of those who have lost their rights and send nothing."""
        epoch, is_strict = self.entities.users_epoch, self.server.settings.auth.strict_expiry
        if epoch != self._epoch or is_strict:
            self._epoch = epoch
            for connection in list(self.connections):
                connection.check_identity_if_changed()
            self._end_sessions_of_deleted_users()

    def rights_changed(self) -> None:
        """Look again what each client may do with plain topics: the access rules have changed."""
        for connection in list(self.connections):
            connection.rights_changed()

    def _end_sessions_of_deleted_users(self) -> None:
        """Connected ones end when their connection has ended."""
        gone = set(filter(self._is_deleted, self._sessions_of_user))
        if gone:
            for session in [session for session in self.sessions.values() if session.key[0] in gone and session.connection is None]:
                wills.forget(self, session)
                expire(self, session)

    def _is_deleted(self, user_id: int) -> bool:
        return user_id != ANONYMOUS and self.entities.user(user_id) is None

    # Plain topics

    def route(self, topic: str, principal: Principal | None, client_id: str) -> Route:
        """What may happen with a topic of a client now."""
        topics = self.device_topics
        if is_below_dh(topic):
            return Route(is_device=True) if topics is not None else Route(refusal=NO_PLAIN)
        is_mapped = topics is not None and topics.takes(topic)
        is_plain = self.server.settings.mqtt.plain_topics and self.access.may_publish(principal, client_id, topic)
        return Route(is_mapped, is_plain, None if is_mapped or is_plain else NO_PLAIN)

    def log_refusal(self, connection: Any, topic: str, refusal: Refusal) -> None:
        """Log a publish whose client cannot be told of its refusal."""
        self.log.info("a publish to {topic!r} was refused: {reason}", topic=topic[:LOGGED], reason=refusal.text, **connection.identity())

    def log_refused_filter(self, connection: Any, text: str, refusal: Refusal) -> None:
        """Log a filter whose client cannot be told why it is refused."""
        self.log.info(
            "a subscription to {filter!r} was refused: {reason}", filter=text[:LOGGED], reason=refusal.text, **connection.identity()
        )

    # Sessions

    def bounded_expiry(self, wanted: int) -> int:
        """Seconds for which a session outlives its connection."""
        return min(wanted, int(self.server.settings.mqtt.session_expiry))

    def new_client_id(self) -> str:
        """A client id for a client that has none."""
        self._last_client += 1
        return f"auto-{int(self.now() * 1000):x}-{self._last_client:x}"

    def find_bound(self, key: Key) -> str:
        """The bound of ``[mqtt]`` that leaves no room for one more session; empty if there is room."""
        settings = self.server.settings.mqtt
        if 0 < settings.sessions <= len(self.sessions):
            return "sessions"
        if key[0] and 0 < settings.sessions_per_user <= self._sessions_of_user.get(key[0], 0):
            return "sessions_per_user"
        return ""

    def begin_session(self, key: Key, device_state: bytes = b"") -> ClientSession:
        """Begin a session, or after a restart of the server go on with one.

        :param device_state: what ``IDeviceSession.state`` gave before the restart.
        """
        session = self.sessions[key] = ClientSession(self, key)
        session.created = int(self.now() * 1000)
        self._sessions_of_user[key[0]] = self._sessions_of_user.get(key[0], 0) + 1
        if self.device_topics is not None:
            session.device = self.device_topics.begin(session, device_state)
        return session

    def end_session(self, session: ClientSession) -> None:
        """End a session for good; its will is published first, if it waits for its delay ([MQTT-3.1.2-8])."""
        if session.is_over:
            return
        session.is_over = True
        wills.session_ends(self, session)
        orphans, changes = sharing.orphans_of(session), Changes()
        if session.is_stored:
            self.store.note_session_ended(changes, session)
        self.forget_session(session)
        # If it cannot be stored, other members get their messages all the same: at worst once more after a crash.
        send = sharing.reassign(self, orphans, changes) if orphans else None
        self.commit_then(changes, send, send)

    def forget_session(self, session: ClientSession) -> None:
        """Forget a session that has no connection. What is stored of it stays; a will that waits is not published here."""
        session.is_over = True
        wills.forget(self, session)
        for subscribed in session.filters.values():
            if subscribed.is_plain:
                self.tree.discard(parse_filter(subscribed.options.filter, 0), session)
        if session.timer is not None:
            session.timer.cancel()
        if session.device is not None:
            session.device.ended()
        session.outgoing.clear()
        session.filters = {}
        session.device = None
        if self.sessions.get(session.key) is session:
            del self.sessions[session.key]
        self._count_off(session.key[0])

    async def release_session(self, key: Key, is_clean: bool = False) -> None:
        """End the connection of a session, and wait until what it has begun is done: what is stored of it must not be stored again.

        :param is_clean: the session ends after that: what it leaves to others is read.
        :raises StorageError: that cannot be read.
        """
        while (session := self.sessions.get(key)) is not None:
            connection = session.connection or session.unsettled
            if connection is None:
                if not ((is_clean or not session.expiry) and has_unread_shared(session)):
                    return
                await read_shared(self, session)
                continue
            connection.taken_over()
            await connection.settled()
            if session.unsettled is connection:
                session.unsettled = None

    def catch_up(self, session: ClientSession) -> None:
        """Send more of what waits for a session in the storage."""
        catching_up.catch_up(self, session)

    def _count_off(self, user_id: int) -> None:
        self._sessions_of_user[user_id] -= 1
        if not self._sessions_of_user[user_id]:
            del self._sessions_of_user[user_id]

    def disconnected(self, session: ClientSession, sends_will: bool) -> None:
        """The connection of a session has ended: the session waits for the next one, or ends."""
        session.connection = session.outgoing.link = None
        session.ended_at = self.now()
        if session.device is not None:
            session.device.disconnected()
        if sends_will:
            wills.connection_broke(self, session)
        else:
            wills.forget(self, session)
        session.outgoing.unload()
        if not session.expiry or self._is_deleted(session.key[0]):
            expire(self, session)
            return
        session.timer = self.timers.call(session.expiry, partial(expire, self, session))
        self.save_soon(session)
