"""What a filter matches, and which filter includes another; the owner of a topic of DeviceHive.

The functions take the levels of a filter as :func:`dhtwisted.wire.mqtt.topics.parse_filter` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

from dhtwisted.wire.mqtt.topics import ONE, REST

_NOT_IN_LEVEL = frozenset("/+#\0")


def matches(levels: Sequence[str], topic: str) -> bool:
    """Whether a filter matches a topic name. A wildcard at its begin does not match ``$`` ([MQTT-4.7.2-1])."""
    if topic.startswith("$") and levels[0] in (ONE, REST):
        return False
    names = topic.split("/")
    if len(names) != len(levels) and (levels[-1] != REST or len(names) < len(levels) - 1):
        return False
    for level, name in zip(levels, names, strict=False):
        if level == REST:
            return True
        if level not in (name, ONE):
            return False
    return True


def covers(outer: Sequence[str], inner: Sequence[str]) -> bool:
    """Whether each topic that the inner filter matches is matched by the outer one too."""
    if inner[0].startswith("$") and outer[0] in (ONE, REST):
        return False
    if tuple(outer) == (ONE, REST):
        outer = (REST,)  # The same topics: each has a first level.
    if inner[-1] == REST and outer[-1] != REST:
        return False
    if outer[-1] != REST:
        return len(outer) == len(inner) and _covers_levels(outer, inner)
    # Of outer, # stands for no level too. Of inner, # must not stand where outer has a level.
    fixed = outer[:-1]
    return len(inner) - (inner[-1] == REST) >= len(fixed) and _covers_levels(fixed, inner)


def _covers_levels(outer: Sequence[str], inner: Sequence[str]) -> bool:
    return all(level in (ONE, other) for level, other in zip(outer, inner, strict=False))


def overlaps(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether there is a topic that both filters match."""
    if any(left.startswith("$") and right in (ONE, REST) for left, right in ((one[0], other[0]), (other[0], one[0]))):
        return False
    for level, facing in zip(one, other, strict=False):
        if REST in (level, facing):
            return True
        if level != facing and ONE not in (level, facing):
            return False
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return len(one) == len(other) or tuple(longer[len(shorter) :]) == (REST,)


def split_owner(topic: str) -> tuple[str, str | None]:
    """Split a topic or filter of DeviceHive at its first ``@``.

    :returns: what is before, and the client id of the owner: who alone may hear it; ``None`` if it has no ``@``.
    """
    body, mark, owner = topic.partition("@")
    return body, owner if mark else None


def can_own(client_id: str) -> bool:
    """Whether a client id can stand behind ``@`` in a topic."""
    return fits_level(client_id) and "@" not in client_id


def fits_level(text: str) -> bool:
    """Whether a text can be a level of a topic or a part of one, and nothing else."""
    return bool(text) and _NOT_IN_LEVEL.isdisjoint(text)
