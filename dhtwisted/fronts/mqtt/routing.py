"""Plain topics: who gets a message, and with which quality of service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.in_flight import Outgoing
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.topic_tree import Matches, SharedGroup

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.session import ClientSession, Key, Subscribed


class Receiver(Struct, gc=False, eq=False):
    """One session of which filters match a topic: it gets one copy, by all of them together ([MQTT-3.3.4-2]).

    :ivar qos: the highest of its filters.
    :ivar keeps_retain: whether the retain flag is sent as it was published.
    :ivar identifiers: all subscription identifiers ([MQTT-3.3.4-3] to -5).
    :ivar share: the shared filter by which the session was chosen; empty for any other.
    :ivar is_local: whether some filter does not want the session's own messages; ``own`` is then what the others make.
    """

    session: ClientSession
    qos: int
    keeps_retain: bool
    identifiers: tuple[int, ...]
    is_local: bool = False
    own: Receiver | None = None
    share: str = ""


class Plan(Struct, gc=False, eq=False):
    """To whom a message goes when it is stored.

    :ivar direct: those for whom nothing is stored.
    :ivar held: what is stored for sessions that are kept.
    :ivar has_receivers: whether there is anybody.
    """

    message: Message
    direct: Sequence[Receiver]
    held: list[tuple[Outgoing, Delivery]] | None = None
    has_receivers: bool = True


def merge(session: ClientSession, subscriptions: Sequence[Subscribed]) -> Receiver:
    """Make one receiver of all filters of a session that match a topic."""
    others = [one for one in subscriptions if not one.options.no_local]
    if len(others) == len(subscriptions):
        return _merge(session, subscriptions)
    receiver = _merge(session, subscriptions)
    receiver.is_local = True
    receiver.own = _merge(session, others) if others else None
    return receiver


def _merge(session: ClientSession, subscriptions: Sequence[Subscribed]) -> Receiver:
    qos = max(one.options.qos for one in subscriptions)
    keeps_retain = any(one.options.retain_as_published for one in subscriptions)
    identifiers = tuple(dict.fromkeys(one.identifier for one in subscriptions if one.identifier))
    return Receiver(session, qos, keeps_retain, identifiers)


def receivers_of(matches: Matches[Any, Any, Any], message: Message) -> Sequence[Receiver]:
    """Everybody who gets a message, with the chosen members of shared subscriptions."""
    receivers: Sequence[Receiver] = matches.receivers
    if matches.groups:
        chosen = [choose(group, message.qos) for group in matches.groups]
        receivers = [*receivers, *[receiver for receiver in chosen if receiver is not None]]
    for receiver in receivers:
        if receiver.is_local:
            return _without_local(receivers, message.sender)
    return receivers


def _without_local(receivers: Sequence[Receiver], sender: Key | None) -> list[Receiver]:
    """Leave out what subscribers sent themselves, where they do not want it ([MQTT-3.8.3-3])."""
    found = [receiver.own if receiver.is_local and receiver.session.key == sender else receiver for receiver in receivers]
    return [receiver for receiver in found if receiver is not None]


def choose(group: SharedGroup[Any, Any], qos: int) -> Receiver | None:
    """The member of a shared subscription who gets a message: one who can take it at once; else one who is connected; else, with QoS 1
    and 2, one whose session is kept.
    """
    chosen = group.choose(_has_room) or group.choose(_is_connected) or (group.choose(_is_kept) if qos else None)
    if chosen is None:
        return None
    receiver = _merge(chosen[0], (chosen[1],))
    receiver.share = chosen[1].options.filter
    return receiver


def _has_room(session: ClientSession) -> bool:
    return session.outgoing.has_room


def _is_connected(session: ClientSession) -> bool:
    return session.connection is not None and session.outgoing.has_room_for_more


def _is_kept(session: ClientSession) -> bool:
    return session.is_kept and session.outgoing.has_room_for_more
