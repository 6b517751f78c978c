"""Topics of devices that are notifications or commands of DeviceHive: the tables of ``[[mqtt.map]]``.

The id of a device has only ASCII letters, digits and dashes. Names of devices in topics have others too, above all ``_``. Each of these
becomes a dash: ``tele/tasmota_8A3F21/SENSOR`` is of the device ``tasmota-8A3F21``. Back again, for the topics of commands, the name comes
from the filter of the subscriber, or else from the name of the device, which is the one from the topic if a mapping has created the device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from dhtwisted.config.mqtt_tables import COMMAND, TopicMapping
from dhtwisted.config.topic_templates import Template
from dhtwisted.fronts.mqtt.filters import fits_level
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
        self._by_depth: dict[int, list[TopicMapping]] = {}
        self._commands: list[tuple[TopicMapping, tuple[Template, ...]]] = []
        self._creating: list[Template] = []
        self._recent: dict[str, MappedTopic | None] = {}
        for mapping in mappings:
            if mapping.create_devices:
                self._creating.append(mapping.device_id)
            self._by_depth.setdefault(mapping.topic.text.count("/"), []).append(mapping)
            if mapping.kind == COMMAND:
                self._commands.append((mapping, tuple(map(Template, mapping.topic.text.split("/")))))

    def find(self, topic: str) -> MappedTopic | None:
        """What a published topic is: the first table that fits it counts.

        :param topic: a valid topic name.
        :returns: ``None`` for a topic that is not mapped.
        """
        if not self._by_depth:
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
                found.append(MappedCommands(mapping, values, self._creates))
        return found

    def _creates(self, device_id: str) -> bool:
        """Whether a table with ``create_devices`` can create a device with this id."""
        return any(template.read(device_id) is not None for template in self._creating)

    def _search(self, topic: str) -> MappedTopic | None:
        found = None
        if not topic.startswith((DEVICEHIVE, "$")):
            for mapping in self._by_depth.get(topic.count("/"), ()):
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

    __slots__ = ("_mapping", "_values", "device_id", "is_created", "name")

    def __init__(self, mapping: TopicMapping, values: Mapping[str, str], creates: Callable[[str], bool]) -> None:
        self._mapping = mapping
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
        of_device = self._mapping.device_id.read(_written(device_id, device_name))
        of_name = self._mapping.name.read(name)
        if of_device is None or of_name is None:
            return None
        topic = self._mapping.topic.fill({**of_device, **of_name, **self._values})
        return topic if _is_topic(topic) else None


def _written(device_id: str, device_name: str | None) -> str:
    """How topics write the id of a device."""
    if device_name is None or to_device_id(device_name) != device_id or not fits_level(device_name):
        return device_id
    return device_name


def _fill(template: Template, values: Mapping[str, str]) -> str | None:
    """The text of a template; ``None`` if not all of its values are known."""
    return template.fill(values) if all(name in values for name in template.placeholders) else None


def _shared_values(templates: Sequence[Template], levels: Sequence[str]) -> dict[str, str] | None:
    """The values that a filter gives to placeholders of a topic; ``None`` if it matches no topic of this form."""
    values: dict[str, str] = {}
    for template, level in zip(templates, levels, strict=False):
        if level == REST:
            return values
        if level == ONE:
            continue
        found = template.read(level)
        if found is None:
            return None
        values |= found
    # a/# matches a, too.
    rest = levels[len(templates) :]
    return values if len(levels) >= len(templates) and (not rest or tuple(rest) == (REST,)) else None


def _is_topic(text: str) -> bool:
    """Whether a topic that was put together can be sent, and is none of the server's own."""
    try:
        check_topic(text, 0)
    except ValueError:
        return False
    return not text.startswith((DEVICEHIVE, "$"))
