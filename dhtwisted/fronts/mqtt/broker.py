"""All MQTT sessions of one server: who gets a message, how long a session lasts, and what is stored of it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import run
from dhtwisted.errors import StorageError
from dhtwisted.fronts.mqtt import sharing, wills
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.counters import MqttCounters
from dhtwisted.fronts.mqtt.in_flight import MOST_PENDING, Delivery, Outgoing
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.publishing import NO_PLAIN, Route, is_below_dh
from dhtwisted.fronts.mqtt.retained import Retained
from dhtwisted.fronts.mqtt.routing import Plan, Receiver, merge, receivers_of
from dhtwisted.fronts.mqtt.session import ClientSession, Key, Subscribed
from dhtwisted.fronts.mqtt.system_topics import SystemTopics
from dhtwisted.fronts.mqtt.timers import Timers
from dhtwisted.fronts.mqtt.topic_tree import TopicTree
from dhtwisted.model.mqtt import ANONYMOUS, WAITS
from dhtwisted.wire.mqtt.topics import parse_filter

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.interfaces import IDeviceTopics, IMqttStore, IPlainAccess

TICK = 1.0
SWEEP = 60
"""Seconds between two looks for retained messages whose lifetime is over."""


class MqttBroker:
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
    :ivar reassigned: what :mod:`~dhtwisted.fronts.mqtt.sharing` is sending.
    """

    log = Logger()

    def __init__(self, server: Server, access: IPlainAccess, store: IMqttStore, device_topics: IDeviceTopics | None = None) -> None:
        self.server = server
        self.entities = server.entities
        self.clock = server.reactor
        self.now: Callable[[], float] = server.reactor.seconds
        self.access = access
        self.store = store
        self.device_topics = device_topics
        self.sessions: dict[Key, ClientSession] = {}
        self.connections: set[Any] = set()
        self.counters = MqttCounters()
        self.timers = Timers(server.reactor)
        self.tree: TopicTree[ClientSession, Subscribed, Receiver] = TopicTree(merge)
        self.retained = Retained(lambda: server.settings.mqtt, server.reactor.seconds)
        self.system_topics = SystemTopics(self)
        self.will_count = self.will_size = 0
        self.second = server.reactor.seconds()
        self._sessions_of_user: dict[int, int] = {}
        self._epoch = server.entities.users_epoch
        self.reassigned: deque[Any] = deque()
        self._last_client = 0
        self._swept_at = self.second
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = server.reactor
        self.set_limits()

    def set_limits(self) -> None:
        """Use the present settings."""
        settings = self.server.settings
        self.is_debugging = settings.log.level == "debug"
        self.most_messages = min(settings.mqtt.queued_messages or MOST_PENDING, MOST_PENDING)
        self.most_bytes = settings.mqtt.queued_bytes or sys.maxsize

    def start(self) -> None:
        """Begin to watch times."""
        self._ticking.start(TICK, now=False)

    def stop(self) -> None:
        """End all connections (0x8B), and watch no times any more."""
        for connection in list(self.connections):
            connection.shutting_down()
        if self._ticking.running:
            self._ticking.stop()

    def _tick(self) -> None:
        self.second = now = self.now()
        self.timers.tick(now)
        self._check_identities()
        self.system_topics.tick(now)
        if not 0 <= now - self._swept_at < SWEEP:
            self._swept_at = now
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
                self.end_session(session)

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

    def plan(self, message: Message, changes: Changes) -> Plan | Refusal:
        """Find out who gets a message, and note what is to be stored before it is delivered."""
        if message.retain:
            refusal = self.retained.check(message)
            if refusal is not None:
                self.counters.bounds["retained_messages"] += 1
                return refusal
            self.store.note_retained(changes, message)
        receivers = receivers_of(self.tree.match(message.topic), message)
        if self._epoch != self.entities.users_epoch:
            receivers = self._without_unheard(receivers, message.topic)
        held = None
        if message.qos:
            kept = [receiver for receiver in receivers if receiver.session.is_kept and receiver.qos]
            if kept:
                held = self.hold(message, kept, changes)
                receivers = [receiver for receiver in receivers if not (receiver.session.is_kept and receiver.qos)]
        return Plan(message, receivers, held, bool(receivers or held))

    def _without_unheard(self, receivers: Sequence[Receiver], topic: str) -> Sequence[Receiver]:
        """Leave out who may not hear a topic any more since a user has changed; until the next tick they may have filters without a right.

        Each connection is looked at once for a change: any login is one, and there may be thousands of receivers and messages.
        """
        epoch = self.entities.users_epoch
        # One session may be here twice, by a shared subscription too: both go by what is found out now.
        changed = {one.session for one in receivers if one.session.connection is not None and one.session.connection.epoch != epoch}
        if not changed:
            return receivers
        return [one for one in receivers if one.session not in changed or self.still_hears(one.session, topic)]

    def still_hears(self, session: ClientSession, topic: str) -> bool:
        """Whether a session with a connection may hear a topic, also right after a user has changed."""
        if session.connection is not None:
            session.connection.check_identity_if_changed()
        return session.connection is not None and session.hears(topic)

    def forget_unheard(self, session: ClientSession) -> None:
        """Drop the plain messages that wait for a session and that it may not hear any more."""
        for delivery in list(session.outgoing.pending.values()):
            topic = delivery.message.topic
            if delivery.state == WAITS and delivery.token is None and not is_below_dh(topic) and not session.hears(topic):
                session.outgoing.drop(delivery)
                self.counters.dropped["no_right"] += 1
                self.complete(session, delivery)

    def hold(self, message: Message, receivers: list[Receiver], changes: Changes) -> list[tuple[Outgoing, Delivery]]:
        """Take a message for sessions that are kept, and note that it is to be stored."""
        held = []
        for receiver in receivers:
            session = receiver.session
            outgoing = session.outgoing
            if outgoing.has_room_for(message):
                qos, retain = min(message.qos, receiver.qos), message.retain and receiver.keeps_retain
                delivery = outgoing.hold(message, qos, retain, receiver.identifiers)
                delivery.share = receiver.share
                self.store.note_queued(changes, session, delivery)
                held.append((outgoing, delivery))
            else:
                self._queue_full(session)
        return held

    def deliver(self, plan: Plan) -> None:
        """Send a message to whom :meth:`plan` has found."""
        message = plan.message
        if message.retain:
            self.retained.put(message)
        if message.qos == 0 and not message.retain and len(plan.direct) > 1:
            self._give_to_many(message, plan.direct)
        else:
            for receiver in plan.direct:
                self._give_safely(message, receiver, message.retain and receiver.keeps_retain)
        for outgoing, delivery in plan.held or ():
            outgoing.release(delivery)

    def _give_safely(self, message: Message, receiver: Receiver, retain: bool) -> None:
        try:
            self.give(message, receiver, retain)
        except Exception:
            # Nobody else may miss the message for this.
            self.log.failure("a message could not be delivered", client=receiver.session.client_id)

    def _give_to_many(self, message: Message, receivers: Sequence[Receiver]) -> None:
        """As :meth:`give` for each, with QoS 0: most receivers get the same bytes, for a third of the time."""
        now, epoch = self.now(), self.entities.users_epoch
        forms = [message.encode(is_v5, 0, False, 0, False, (), now) for is_v5 in (False, True)]
        largest, sent = len(forms[1]), 0
        for receiver in receivers:
            link = receiver.session.outgoing.link
            if link is None:
                continue
            output = link.output
            if link.epoch != epoch or link.aliases is not None or receiver.identifiers or largest > link.max_packet or output.congested:
                self._give_safely(message, receiver, False)
                continue
            try:
                output.write(forms[link.is_v5])
            except Exception:
                self.log.failure("a message could not be delivered", client=receiver.session.client_id)
            sent += 1
        self.counters.published += sent

    def give(self, message: Message, receiver: Receiver, retain: bool) -> None:
        """Give a message to a session for which nothing is stored."""
        session = receiver.session
        outgoing = session.outgoing
        link = outgoing.link
        if link is None:
            return
        if link.epoch != self.entities.users_epoch:
            link.check_identity()
            if outgoing.link is None:
                return
        qos = message.qos if message.qos < receiver.qos else receiver.qos
        if not qos:
            link.send_at_most_once(message, retain, receiver.identifiers)
        elif outgoing.has_room_for(message):
            delivery = outgoing.give(message, qos, retain, receiver.identifiers)
            if receiver.share:
                delivery.share = receiver.share
        else:
            self._queue_full(session)

    def drop(self, plan: Plan) -> None:
        """Forget a plan: it could not be stored."""
        for outgoing, delivery in plan.held or ():
            outgoing.drop(delivery)

    def publish(self, message: Message) -> None:
        """Publish a message of the server itself, such as a will, as soon as it is stored."""
        changes = Changes()
        plan = self.plan(message, changes)
        if type(plan) is Plan:
            self.commit_then(changes, partial(self.deliver, plan), partial(self.drop, plan))

    def send_retained(self, session: ClientSession, subscribed: Subscribed) -> None:
        """Send the retained messages for a new subscription ([MQTT-3.3.1-8], [MQTT-3.3.1-9])."""
        levels = parse_filter(subscribed.options.filter, 0).levels
        identifiers = (subscribed.identifier,) if subscribed.identifier else ()
        receiver = Receiver(session, subscribed.options.qos, True, identifiers)
        changes, held = Changes(), []
        for message in [*self.retained.find(levels), *self.system_topics.find(levels)]:
            if message.qos and receiver.qos and session.is_kept:
                held += self.hold(message, [receiver], changes)
            else:
                self.give(message, receiver, True)
        if held:
            plan = Plan(Message(""), (), held)
            self.commit_then(changes, partial(self.deliver, plan), partial(self.drop, plan))

    def _queue_full(self, session: ClientSession) -> None:
        self.counters.dropped["queue_full"] += 1
        self.counters.bounds["queued_messages"] += 1
        self.log.info(
            "a message for a session is dropped, since as many wait as may (mqtt.queued_messages, mqtt.queued_bytes)",
            client=session.client_id,
        )

    def _forget_expired(self) -> None:
        changes = Changes()
        for topic in self.retained.expired():
            self.retained.discard(topic)
            self.store.note_retained(changes, Message(topic))
        self.commit_then(changes)

    # Exchanges under way

    def complete(self, session: ClientSession, delivery: Delivery) -> None:
        """A message was acknowledged, or never will be: nothing of it is kept."""
        if delivery.number:
            changes = Changes()
            self.store.note_acknowledged(changes, session, delivery)
            self.commit_then(changes)
        if delivery.token is not None and session.device is not None:
            session.device.acknowledged(delivery.token)

    def store_released(self, session: ClientSession, delivery: Delivery, then: Callable[[Delivery], None]) -> None:
        """Store that a PUBREC has come, then call ``then``. An event of ``dh/`` is acknowledged in the same commit: it does not come again
        after a crash.
        """
        changes = Changes()
        if delivery.token is not None and session.device is not None:
            session.device.acknowledged(delivery.token)
            self.store.note_session(changes, session)
        self.store.note_queued(changes, session, delivery)
        self.commit_then(changes, partial(then, delivery), partial(self._end, session))

    def forget_received(self, session: ClientSession, packet_id: int, then: Callable[[], None]) -> None:
        """Store that a packet id of the client is free, then call ``then``."""
        changes = Changes()
        self.store.note_released(changes, session, packet_id)
        self.commit_then(changes, then, partial(self._end, session))

    def store_event(self, session: ClientSession, delivery: Delivery, record: tuple[str, str, int]) -> None:
        """Store that an event of ``dh/`` has a packet id, then send it."""
        changes = Changes()
        self.store.note_queued(changes, session, delivery, record)
        # Without its record it is sent nevertheless: it is stored as a message, and only a crash could repeat it.
        release = partial(session.outgoing.release, delivery)
        self.commit_then(changes, release, release)

    def _end(self, session: ClientSession) -> None:
        """End a connection that cannot go on without the storage; the client comes again and repeats what was not answered."""
        if session.connection is not None:
            session.connection.storage_failed()

    # Storage

    def commit(self, changes: Changes) -> Any:
        """Store changes: all or none.

        :returns: :data:`~dhtwisted.kit.waiter.DONE` if nothing waits, else an awaitable.
        """
        return self.store.commit(changes)

    def commit_then(self, changes: Changes, then: Callable[[], object] | None = None, failed: Callable[[], object] | None = None) -> None:
        """Store changes, then call ``then``; or ``failed`` if that is impossible."""
        if changes:
            run(self._commit(changes), partial(self._committed, then, failed))
        elif then is not None:
            then()

    async def _commit(self, changes: Changes) -> None:
        await self.store.commit(changes)

    def _committed(self, then: Callable[[], object] | None, failed: Callable[[], object] | None, _: None, error: Any) -> None:
        if error is not None:
            self.store_failed(error)
            then = failed
        if then is not None:
            try:
                then()
            except Exception:
                self.log.failure("what follows a change in the storage failed")

    def store_failed(self, error: BaseException) -> None:
        """Log that something could not be stored."""
        if isinstance(error, StorageError):
            self.log.warn("what MQTT has to keep could not be stored: {error}", error=str(error))
        else:
            self.log.failure("what MQTT has to keep could not be stored", failure=Failure(error))

    def log_refusal(self, connection: Any, refusal: Refusal) -> None:
        """Log a publish whose client cannot be told of its refusal."""
        self.log.info("a publish was refused: {reason}", reason=refusal.text, **connection.identity())

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
        for subscribed in session.filters.values():
            if subscribed.is_plain:
                self.tree.discard(parse_filter(subscribed.options.filter, 0), session)
        if session.timer is not None:
            session.timer.cancel()
        if session.device is not None:
            session.device.ended()
        orphans, changes = sharing.orphans_of(session), Changes()
        if session.is_stored:
            self.store.note_session_ended(changes, session)
        session.outgoing.clear()
        session.filters = {}
        session.device = None
        if self.sessions.get(session.key) is session:
            del self.sessions[session.key]
        self._count_off(session.key[0])
        # If it cannot be stored, other members get their messages all the same: at worst once more after a crash.
        send = sharing.reassign(self, orphans, changes) if orphans else None
        self.commit_then(changes, send, send)

    def _count_off(self, user_id: int) -> None:
        self._sessions_of_user[user_id] -= 1
        if not self._sessions_of_user[user_id]:
            del self._sessions_of_user[user_id]

    def save(self, session: ClientSession) -> Any:
        """Store a session, if it is kept; as :meth:`commit`."""
        changes = Changes()
        if (session.is_kept or session.is_stored) and not session.is_over:
            session.is_stored = True
            self.store.note_session(changes, session)
        return self.commit(changes)

    def save_soon(self, session: ClientSession) -> None:
        """As :meth:`save`, but nobody waits."""
        run(self._save(session), partial(self._committed, None, None))

    async def _save(self, session: ClientSession) -> None:
        await self.save(session)

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
        if not session.expiry or self._is_deleted(session.key[0]):
            self.end_session(session)
            return
        session.timer = self.timers.call(session.expiry, partial(self.end_session, session))
        self.save_soon(session)
