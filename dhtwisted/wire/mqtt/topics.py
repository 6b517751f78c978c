"""Topic names and topic filters: what is valid, and the parts of a filter (MQTT 5.0 and 3.1.1, sections 4.7 and 4.8.2).

A filter is parsed once, when it arrives. :mod:`dhtwisted.fronts.mqtt.filters` compares filters with topics.
"""

from __future__ import annotations

from typing import NamedTuple

LONGEST = 65535
"""The most bytes in UTF-8 of a topic name, a filter or any other text of a packet."""

MOST_LEVELS = 128
"""The most levels of a topic name or filter by default. Each level costs memory and time."""

ONE, REST = "+", "#"
"""The wildcards for one level, and for all further levels."""

DEVICEHIVE = "dh/"
"""What topics of DeviceHive begin with."""

SYSTEM = "$SYS/"
"""What topics with the server's own figures begin with."""

SHARE = "$share/"
"""What the filter of a shared subscription begins with: ``$share/<group>/<filter>``."""


class TopicFilter(NamedTuple):
    """A valid topic filter.

    :ivar text: the filter as the client sent it.
    :ivar group: the name of the group of a shared subscription; empty for any other.
    :ivar levels: the levels of the filter, without ``$share/<group>/``.
    :ivar is_exact: whether it has no wildcard, so that it means one topic.
    """

    text: str
    group: str
    levels: tuple[str, ...]
    is_exact: bool

    @property
    def pattern(self) -> str:
        """The filter without ``$share/<group>/``."""
        return "/".join(self.levels)


def check_topic(topic: str, most_levels: int = MOST_LEVELS) -> None:
    """Check a topic name.

    :param most_levels: how many levels it may have; 0: any number.
    :raises ValueError: it is no topic name. The text continues a sentence that begins with the topic.
    """
    if ONE in topic or REST in topic:
        raise ValueError("has a wildcard, which only a filter may have")
    _check_text(topic, most_levels)


def parse_filter(text: str, most_levels: int = MOST_LEVELS) -> TopicFilter:
    """Check a topic filter and split it.

    :param most_levels: how many levels it may have; 0: any number.
    :raises ValueError: it is no filter. The text continues a sentence that begins with the filter.
    """
    group, pattern = _split_share(text)
    _check_text(pattern, most_levels)
    if len(text) != len(pattern):
        _check_text(text, 0)
    levels = tuple(pattern.split("/"))
    is_exact = ONE not in pattern and REST not in pattern
    if not is_exact:
        _check_wildcards(levels)
    return TopicFilter(text, group, levels, is_exact)


def _split_share(text: str) -> tuple[str, str]:
    """The group, and the filter without it ([MQTT-4.8.2-1], [MQTT-4.8.2-2])."""
    if not text.startswith(SHARE):
        return "", text
    group, slash, pattern = text.removeprefix(SHARE).partition("/")
    if not group or not slash or not pattern:
        raise ValueError("is no shared subscription: the form is $share/GROUP/FILTER")
    if ONE in group or REST in group:
        raise ValueError("has a wildcard in the name of its group")
    return group, pattern


def _check_text(text: str, most_levels: int) -> None:
    """Check what names and filters have in common ([MQTT-4.7.3-1] to [MQTT-4.7.3-3])."""
    if not text:
        raise ValueError("is empty")
    # A character has at most four bytes.
    if len(text) * 4 > LONGEST and len(text.encode(errors="surrogatepass")) > LONGEST:
        raise ValueError(f"has more than {LONGEST} bytes")
    if "\0" in text:
        raise ValueError("has a NUL character")
    if most_levels and text.count("/") >= most_levels:
        raise ValueError(f"has more than {most_levels} levels")


def _check_wildcards(levels: tuple[str, ...]) -> None:
    """Check that each wildcard is a whole level, and ``#`` the last one ([MQTT-4.7.1-1], [MQTT-4.7.1-2])."""
    for level in levels:
        if len(level) > 1 and (ONE in level or REST in level):
            raise ValueError("has a wildcard that is not a whole level")
    if REST in levels[:-1]:
        raise ValueError("has # before its end")
