"""Filters for topics below ``dh/``: which events a filter wants, and whether a client may have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from dhtwisted.core.event_kinds import SERVER_MADE
from dhtwisted.core.rules import is_id
from dhtwisted.fronts.mqtt.event_topics import FLOWS_BY_LEVEL, SHOWN, Flow
from dhtwisted.fronts.mqtt.filters import can_own, overlaps, split_owner
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.mappings import MappedCommands
from dhtwisted.wire.mqtt.reasons import ReasonCode
from dhtwisted.wire.mqtt.topics import ONE, REST, SHARE, TopicFilter

ROOT = "dh"
DEPTH = 4
"""Levels of an event's topic behind the one that says its kind: network, device type, device and name."""

FIRST_ACTIONS = ("token", "authenticate")
"""What a client can ask for before it has logged in."""


class WantedEvents(NamedTuple):
    """Events of one kind that a filter wants.

    :ivar levels: of a filter of the topic tree: the kind, network, device type, device and name.
    """

    flow: Flow
    levels: tuple[str, ...]

    @property
    def named(self) -> list[str | None]:
        """Network, device type, device and name, as far as the filter names them."""
        wanted: list[str | None] = []
        for level in self.levels[1 : DEPTH + 1]:
            if level == REST:
                break
            wanted.append(None if level == ONE else level)
        wanted += [None] * (DEPTH - len(wanted))
        if len(self.levels) > DEPTH + 1:
            # A name with slashes, and perhaps wildcards.
            rest = self.levels[DEPTH:]
            wanted[3] = None if ONE in rest or REST in rest else "/".join(rest)
        return wanted

    @property
    def is_server_made(self) -> bool:
        """Whether the filter names notifications that the server makes. No other filter gets them."""
        return self.named[3] in SERVER_MADE

    @property
    def topic_filter(self) -> TopicFilter:
        """The filter for the topic tree."""
        return TopicFilter("", "", self.levels, ONE not in self.levels and REST not in self.levels)


class DeviceFilter(NamedTuple):
    """What a filter can match below ``dh/``.

    :ivar is_private: whether it has the client id of its owner.
    :ivar events: what it wants of each kind.
    :ivar has_responses: whether it can match topics of responses.
    """

    is_private: bool
    events: Sequence[WantedEvents]
    has_responses: bool


def read_filter(text: str, client_id: str) -> DeviceFilter | Refusal:
    """Read a filter that may match topics below ``dh/``.

    :param text: a valid filter.
    :param client_id: of the client that wants to subscribe.
    """
    if text.startswith(SHARE):
        return Refusal(ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, "topics below dh/ have no shared subscriptions")
    body, owner = split_owner(text)
    if owner is not None and not can_own(owner):
        return Refusal(ReasonCode.TOPIC_FILTER_INVALID, "a client id with @ / + or # cannot stand behind @ in a topic")
    if owner is not None and owner != client_id:
        return Refusal(ReasonCode.NOT_AUTHORIZED, "the filter has the client id of another client behind @")
    levels = body.split("/")
    events = list(_events(levels))
    has_responses = _may_match_responses(text, owner)
    if not events and not has_responses:
        return Refusal(ReasonCode.NOT_AUTHORIZED, "nothing can be heard on the topics of this filter")
    return DeviceFilter(owner is not None, events, has_responses)


def _may_match_responses(text: str, owner: str | None) -> bool:
    """Whether a filter may match ``dh/response/ACTION@CLIENT``."""
    levels = text.split("/")
    return overlaps(levels, (ROOT, "response", ONE, REST)) and (owner is not None or levels[-1] in (ONE, REST))


def _events(levels: Sequence[str]) -> Iterator[WantedEvents]:
    if levels[0] == REST or (levels[0] in (ROOT, ONE) and tuple(levels[1:]) == (REST,)):
        for flow in SHOWN:
            yield WantedEvents(flow, (flow.level, REST))
    elif levels[0] in (ROOT, ONE) and len(levels) > 1:
        named = FLOWS_BY_LEVEL.get(levels[1])
        if named is not None:
            yield WantedEvents(named, (named.level, *_completed(levels[2:])))
        elif levels[1] == ONE and len(levels) > DEPTH + 1:
            for flow in SHOWN:
                yield WantedEvents(flow, (flow.level, *_completed(levels[2:])))
        elif levels[1] == ONE and levels[-1] == REST:
            for flow in SHOWN:
                yield WantedEvents(flow, (flow.level, *levels[2:]))


def _completed(levels: Sequence[str]) -> tuple[str, ...]:
    """Levels that are absent or empty are any: ``dh/notification///thermometer-1/temperature``."""
    completed = [level or ONE for level in levels[:DEPTH]]
    if REST in completed:
        return tuple(completed)
    if len(completed) < DEPTH or not levels[-1]:
        completed = completed[: DEPTH - 1]
        return (*completed, *[ONE] * (DEPTH - 1 - len(completed)), REST)
    return (*completed, *levels[DEPTH:])


def is_first_response(text: str, client_id: str) -> bool:
    """Whether a filter is the topic of an answer that a client can get before it has logged in."""
    body, owner = split_owner(text)
    levels = body.split("/")
    is_open = levels[:2] == [ROOT, "response"] and len(levels) > 2 and levels[2] in FIRST_ACTIONS
    return is_open and owner == client_id and can_own(client_id) and ONE not in levels and REST not in levels


def check_levels(wanted: WantedEvents) -> Refusal | None:
    """Refuse a filter whose network or device type is no id."""
    for level in wanted.named[:2]:
        if level is not None and not is_id(level):
            return Refusal(ReasonCode.TOPIC_FILTER_INVALID, "the levels of network and device type must be ids, empty, or wildcards")
    return None


class EventFilter(Struct, gc=False, eq=False):
    """One filter of a client, for the events of one kind.

    :ivar text: as the client gave it.
    :ivar qos: the granted one.
    :ivar identifier: the subscription identifier; 0 for none.
    :ivar since: the number of the newest event when the client subscribed: it gets later ones.
    :ivar mapped: says on which topics it gets commands, if they are not those below ``dh/``.
    """

    text: str
    wanted: WantedEvents
    is_private: bool
    qos: int
    identifier: int
    since: int = 0
    mapped: MappedCommands | None = None
