"""Plain topics: each message to everybody who gets it, at once or when it is stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dhtwisted.fronts.mqtt import sharing
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.committing import Committer
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.in_flight import Outgoing
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.publishing import is_below_dh
from dhtwisted.fronts.mqtt.retained import Retained
from dhtwisted.fronts.mqtt.routing import Plan, Receiver, receivers_of
from dhtwisted.fronts.mqtt.session import ClientSession, Subscribed
from dhtwisted.fronts.mqtt.system_topics import SystemTopics
from dhtwisted.fronts.mqtt.topic_tree import TopicTree
from dhtwisted.model.mqtt import WAITS
from dhtwisted.wire.mqtt.topics import parse_filter

if TYPE_CHECKING:
    from dhtwisted.core.entity_cache import EntityCache
    from dhtwisted.fronts.mqtt.counters import MqttCounters


class Deliverer(Committer):
    """The routing part of the broker.

    :ivar tree: the filters for plain topics.
    :ivar retained: the retained messages.
    :ivar reassigned: what :mod:`~dhtwisted.fronts.mqtt.sharing` is sending.
    """

    now: Callable[[], float]
    entities: EntityCache
    counters: MqttCounters
    system_topics: SystemTopics
    tree: TopicTree[ClientSession, Subscribed, Receiver]
    retained: Retained
    reassigned: deque[Any]
    _epoch: int

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
        if session.outgoing.backlog is not None:
            session.outgoing.backlog.is_checked = True

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
        if link is not None and link.epoch != self.entities.users_epoch:
            link.check_identity()
            link = outgoing.link
        if link is None:
            if receiver.share and session.is_over and message.qos and receiver.qos:
                # It has ended since it was chosen, while something was stored.
                sharing.pass_on(self, message, receiver)
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
