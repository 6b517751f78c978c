"""What happens to the messages of a shared subscription when the session that was to get them ends (MQTT 5.0, section 4.8.2)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.filters import matches
from dhtwisted.fronts.mqtt.routing import choose
from dhtwisted.model.mqtt import RELEASED, WAITS
from dhtwisted.wire.mqtt.topics import SHARE, parse_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from dhtwisted.fronts.mqtt.message import Message
    from dhtwisted.fronts.mqtt.routing import Receiver
    from dhtwisted.fronts.mqtt.session import ClientSession


def orphans_of(session: ClientSession) -> list[Delivery]:
    """The messages that a session leaves to others of its groups: those with QoS 1, and those with QoS 2 that have not left.

    The client may have a message with QoS 2 that has left, so nobody else gets it ([MQTT-4.8.2-5]).
    """
    return [
        delivery
        for delivery in session.outgoing.pending.values()
        if delivery.share and delivery.state != RELEASED and (delivery.qos == 1 or delivery.state == WAITS)
    ]


def share_of(session: ClientSession, topic: str) -> str:
    """The shared filter by which a session got a message, as far as its topic shows it. A record of the message does not say it.

    :returns: empty if it was another filter, or can have been one.
    """
    if not any(text.startswith(SHARE) for text in session.filters):
        return ""
    filters = [parse_filter(text, 0) for text, one in session.filters.items() if one.is_plain]
    found = [one for one in filters if matches(one.levels, topic)]
    return found[0].text if len(found) == 1 and found[0].group else ""


def reassign(broker: Any, orphans: list[Delivery], changes: Changes) -> Callable[[], None]:
    """Choose another member for each message, and note what is to be stored of it.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :returns: call it to send the messages, when the changes are stored.
    """
    steps: list[tuple[ClientSession, str, Callable[[], object]]] = []
    for delivery in orphans:
        message = delivery.message
        if 0 < message.expires <= broker.now():
            broker.counters.dropped["expired"] += 1
            continue
        group = broker.tree.group(parse_filter(delivery.share, 0))
        receiver = None if group is None else choose(group, message.qos)
        if receiver is None:
            broker.counters.dropped["no_member"] += 1
            continue
        session = receiver.session
        if session.is_kept and receiver.qos:
            for outgoing, held in broker.hold(message, [receiver], changes):
                steps.append((session, message.topic, partial(outgoing.release, held)))
        else:
            give = partial(broker.give, message, receiver, message.retain and receiver.keeps_retain)
            steps.append((session, message.topic, give))
    return partial(_send, broker, steps)


def pass_on(broker: Any, message: Message, receiver: Receiver) -> None:
    """Choose another member for a message that nobody has got yet."""
    changes = Changes()
    orphan = Delivery(message, min(message.qos, receiver.qos), message.retain, receiver.identifiers, 0, share=receiver.share)
    send = reassign(broker, [orphan], changes)
    broker.commit_then(changes, send, send)


def _send(broker: Any, steps: list[tuple[ClientSession, str, Callable[[], object]]]) -> None:
    """Send messages to their new members. One of these may lose its session on this occasion: what it leaves is sent by the same loop."""
    waiting = broker.reassigned
    is_first = not waiting
    waiting.extend(steps)
    while is_first and waiting:
        session, topic, step = waiting[0]
        try:
            if session.connection is None or broker.still_hears(session, topic):
                step()
        except Exception:
            # The others must not miss their messages for this.
            broker.log.failure("a message could not be delivered", client=session.client_id)
        waiting.popleft()
