"""Topics of devices that are notifications or commands of DeviceHive: the tables of ``[[mqtt.map]]``.

The id of a device has only ASCII letters, digits and dashes. Names of devices in topics have others too, above all ``_``. Each of these
becomes a dash: ``tele/tasmota_8A3F21/SENSOR`` is of the device ``tasmota-8A3F21``. Back again, for the topics of commands, the name comes
from the filter of the subscriber, or else from the name of the device, which is the one from the topic if a mapping has created the device.

A placeholder for several levels has the slashes between them in its value: ``{name...}`` in ``shellies/{deviceId}/{name...}`` is
``relay/0/power``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from dhtwisted.config.mqtt_tables import COMMAND, TopicMapping
from dhtwisted.config.topic_templates import Template
from dhtwisted.fronts.mqtt.filters import fits_level, matches
from dhtwisted.wire.mqtt.topics import DEVICEHIVE, ONE, REST, check_topic

CACHED_TOPICS = 4096
LONGEST_CACHED = 512
"""How many topics the cache has at most, and how many characters a topic in it."""

_NOT_IN_ID = re.compile("[^a-zA-Z0-9-]", re.ASCII)


def to_device_id(text: str) -> str:
    """The id of the device that has this name in topics."""
    return _NOT_IN_ID.sub("-", text)


class MappedTopic(NamedTuple):
    """What a published topic is.

    :ivar mapping: the table that says so, with its ``kind`` and how it creates devices.
    :ivar device_id: the id of the device. It may be too long for one.
    :ivar device_name: the same as in the topic, for the name of a device that is created.
    :ivar name: the name of the notification or command.
    """

    mapping: TopicMapping
    device_id: str
    device_name: str
    name: str


class Mappings:
    """All mappings of the configuration, in its order.

    :param mappings: of ``mqtt.map``.
    """

    def __init__(self, mappings: Iterable[TopicMapping]) -> None:
        self._mappings = tuple(mappings)
        self._commands: list[tuple[TopicMapping, tuple[Template, ...]]] = []
        self._creating: list[Template] = []
        self._recent: dict[str, MappedTopic | None] = {}
        for mapping in self._mappings:
            if mapping.create_devices:
                self._creating.append(mapping.device_id)
            if mapping.kind == COMMAND:
                self._commands.append((mapping, tuple(map(Template, mapping.topic.text.split("/")))))

    def find(self, topic: str) -> MappedTopic | None:
        """What a published topic is: the first table that fits it counts.

        :param topic: a valid topic name.
        :returns: ``None`` for a topic that is not mapped.
        """
        if not self._mappings:
            return None
        try:
            return self._recent[topic]
        except KeyError:
            return self._search(topic)

    def commands(self, levels: Sequence[str]) -> list[MappedCommands]:
        """The commands that a subscriber gets on topics that a filter matches.

        :param levels: of a valid filter.
        """
        found = []
        for mapping, templates in self._commands:
            values = _shared_values(templates, levels)
            if values is not None:
                found.append(MappedCommands(mapping, levels, values, self._creates))
        return found

    def _creates(self, device_id: str) -> bool:
        """Whether a table with ``create_devices`` can create a device with this id."""
        return any(template.read(device_id) is not None for template in self._creating)

    def _search(self, topic: str) -> MappedTopic | None:
        found = None
        if not topic.startswith((DEVICEHIVE, "$")):
            for mapping in self._mappings:
                values = mapping.topic.read(topic)
                if values is not None:
                    name = mapping.device_id.fill(values)
                    found = MappedTopic(mapping, to_device_id(name), name, mapping.name.fill(values))
                    break
        if len(topic) <= LONGEST_CACHED:
            if len(self._recent) >= CACHED_TOPICS:
                self._recent.clear()
            self._recent[topic] = found
        return found


class MappedCommands:
    """The commands that one mapping shows to the subscriber of one filter.

    :ivar device_id: the only device; ``None`` for any.
    :ivar name: the only name of a command; ``None`` for any.
    :ivar is_created: whether a notification can create this device.
    """

    __slots__ = ("_levels", "_mapping", "_values", "device_id", "is_created", "name")

    def __init__(self, mapping: TopicMapping, levels: Sequence[str], values: Mapping[str, str], creates: Callable[[str], bool]) -> None:
        self._mapping = mapping
        self._levels = levels
        self._values = values
        device = _fill(mapping.device_id, values)
        self.device_id = None if device is None else to_device_id(device)
        self.name = _fill(mapping.name, values)
        self.is_created = self.device_id is not None and creates(self.device_id)

    def topic(self, device_id: str, device_name: str | None, name: str) -> str | None:
        """The topic of a command for this subscriber.

        :param device_name: the name of the device, which may say how topics write its id.
        :param name: of the command.
        :returns: ``None`` if the subscriber does not get it.
        """
        if self.device_id not in (None, device_id) or self.name not in (None, name):
            return None
        mapping = self._mapping
        of_device, of_name = self._values_of_device(device_id, device_name), mapping.name.read(name)
        if of_device is None or of_name is None:
            return None
        topic = mapping.topic.fill({**of_device, **of_name, **self._values})
        if not _is_topic(topic) or (mapping.topic.several and not matches(self._levels, topic)):
            return None
        return topic

    def _values_of_device(self, device_id: str, device_name: str | None) -> dict[str, str] | None:
        """The values of the placeholders for a device, as topics write its id."""
        template, found = self._mapping.device_id, None
        if device_name is not None and to_device_id(device_name) == device_id and all(map(fits_level, device_name.split("/"))):
            found = template.read(device_name)
        return template.read(device_id) if found is None else found


def _fill(template: Template, values: Mapping[str, str]) -> str | None:
    """The text of a template; ``None`` if not all of its values are known."""
    return template.fill(values) if all(name in values for name in template.placeholders) else None


def _shared_values(templates: Sequence[Template], levels: Sequence[str]) -> dict[str, str] | None:
    """The values that a filter gives to placeholders of a topic; ``None`` if it matches no topic of this form."""
    values: dict[str, str] = {}
    pairs = _facing(templates, levels)
    for template, text in pairs or ():
        if ONE not in text.split("/"):
            found = template.read(text)
            if found is None:
                return None
            values |= found
    return None if pairs is None else values


def _facing(templates: Sequence[Template], levels: Sequence[str]) -> list[tuple[Template, str]] | None:
    """Each level of a topic, or several in one, with what a filter has there, as far as it is known; ``None`` if it matches none."""
    given = levels[:-1] if levels[-1] == REST else levels
    is_open, more = len(given) < len(levels), len(given) - len(templates)
    several = next((place for place, template in enumerate(templates) if template.several), len(templates))
    if is_open and several < min(len(given), len(templates)):
        # How much of the topic the # stands for is not known.
        return list(zip(templates[:several], given, strict=False))
    if (more > 0 and several == len(templates)) or (more < 0 and not is_open):
        return None
    if more > 0:
        given = (*given[:several], "/".join(given[several : several + more + 1]), *given[several + more + 1 :])
    return list(zip(templates, given, strict=False))


def _is_topic(text: str) -> bool:
    """Whether a topic that was put together can be sent, and is none of the server's own."""
    try:
        check_topic(text, 0)
    except ValueError:
        return False
    return not text.startswith((DEVICEHIVE, "$"))
