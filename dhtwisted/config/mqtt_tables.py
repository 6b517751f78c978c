"""The tables of ``[mqtt]``: access rules of plain topics, and mappings of topics to devices."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dhtwisted.config.kinds import Checked, Choice, Flag, Integer, List
from dhtwisted.config.tables import Column, Tables, quoted
from dhtwisted.config.topic_templates import Template, checked_template
from dhtwisted.core.rules import DEVICE_ID_RULE, LOGIN, LOGIN_RULE
from dhtwisted.wire.mqtt.topics import DEVICEHIVE, ONE, REST, SHARE, SYSTEM, check_topic, parse_filter

ANYBODY, ANONYMOUS, CLIENTS, ADMINISTRATORS = "*", "anonymous", "role:client", "role:admin"
ACCESS_PLACEHOLDERS = ("login", "client_id")
DEVICE, NAME = "deviceId", "name"
NOTIFICATION, COMMAND = "notification", "command"

_MAPPING_PLACEHOLDERS = (DEVICE, NAME, *"123456789")
_DEVICE_ID_PART = re.compile("[a-zA-Z0-9-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class AccessRule:
    """What some clients may do with plain topics.

    :ivar who: a login, or one of :data:`ANYBODY`, :data:`ANONYMOUS`, :data:`CLIENTS` and :data:`ADMINISTRATORS`.
    :ivar publish: filters with ``{login}`` and ``{client_id}``: topics to which they may publish.
    :ivar subscribe: the same for topics that they may hear.
    """

    who: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TopicMapping:
    """Topics of a device's own that are messages of DeviceHive.

    :ivar topic: the topics, with the placeholders ``{deviceId}``, ``{name}`` and ``{1}`` to ``{9}``, of which one may stand for several
        levels.
    :ivar kind: :data:`NOTIFICATION` or :data:`COMMAND`.
    :ivar device_id: the id of the device, with placeholders of the topic.
    :ivar name: the name of the message, with placeholders of the topic.
    :ivar create_devices: whether the first notification of a device creates it.
    :ivar network_id: the network of devices that it creates; 0: that of the publisher.
    :ivar device_type_id: the device type of devices that it creates; 0: the default one.
    """

    topic: Template
    kind: str
    device_id: Template
    name: Template
    create_devices: bool = False
    network_id: int = 0
    device_type_id: int = 0


def _check_who(who: str) -> None:
    if who not in (ANYBODY, ANONYMOUS, CLIENTS, ADMINISTRATORS) and LOGIN.fullmatch(who) is None:
        raise ValueError("is neither a login nor one of the other words")


def _check_access_filter(text: str) -> None:
    template = checked_template(text, ACCESS_PLACEHOLDERS)
    if text.startswith(SHARE):
        raise ValueError("begins with $share/; give the filter behind the group, which is right for shared subscriptions too")
    if text.startswith(SYSTEM):
        raise ValueError("begins with $SYS/, which administrators may hear, and nobody else")
    if text.startswith(DEVICEHIVE):
        raise ValueError("begins with dh/, where the rights of users and tokens decide")
    parse_filter(template.fill(dict.fromkeys(ACCESS_PLACEHOLDERS, "x")))


def _make_rule(who: str, publish: tuple[str, ...], subscribe: tuple[str, ...]) -> AccessRule:
    if not publish and not subscribe:
        raise ValueError("it permits nothing; give publish, subscribe or both")
    return AccessRule(who=who, publish=publish, subscribe=subscribe)


def _check_mapped_topic(text: str) -> None:
    template = checked_template(text, _MAPPING_PLACEHOLDERS, has_several=True)
    if ONE in text or REST in text:
        raise ValueError("has a wildcard; use {1} for a level that can be anything")
    check_topic(template.fill(dict.fromkeys(_MAPPING_PLACEHOLDERS, "x")))
    if text.startswith((DEVICEHIVE, "$")):
        raise ValueError("begins with dh/ or $, which cannot be mapped")
    levels = [Template(level) for level in text.split("/")]
    if any(len(level.placeholders) > 1 for level in levels):
        raise ValueError("has two placeholders in one level")
    if len(template.several) > 1:
        raise ValueError("has two placeholders for several levels; it would not be clear where one ends")
    if any(level.several and level.literal for level in levels):
        raise ValueError("has a placeholder for several levels beside other text; put a slash between them")
    if len(set(template.placeholders)) < len(template.placeholders):
        raise ValueError("has a placeholder twice")


def _check_mapped_name(text: str) -> None:
    checked_template(text, _MAPPING_PLACEHOLDERS)
    if not text:
        raise ValueError("is empty")


def _check_mapped_device(text: str) -> None:
    template = checked_template(text, _MAPPING_PLACEHOLDERS)
    if _DEVICE_ID_PART.fullmatch(template.literal) is None or not text:
        raise ValueError(f"is no id of a device ({DEVICE_ID_RULE}; for the rest placeholders)")


def _make_mapping(
    topic: str, kind: str, device_id: str, name: str, create_devices: bool, network_id: int, device_type_id: int
) -> TopicMapping:
    templates = Template(topic), Template(device_id), Template(name)
    _check_placeholders(*templates)
    if kind == COMMAND:
        _check_command(*templates)
        if create_devices:
            raise ValueError('create_devices is for as = "notification": a command is for a device that is there')
    if (network_id or device_type_id) and not create_devices:
        raise ValueError("network_id and device_type_id are for new devices; set create_devices = true too")
    several = templates[0].several
    return TopicMapping(
        topic=templates[0],
        kind=kind,
        device_id=templates[1].with_several(several),
        name=templates[2].with_several(several),
        create_devices=create_devices,
        network_id=network_id,
        device_type_id=device_type_id,
    )


def _check_placeholders(topic: Template, device_id: Template, name: Template) -> None:
    """Check that the topic says which device and which name."""
    for key, template in ((DEVICE, device_id), (NAME, name)):
        for placeholder in template.placeholders:
            if placeholder not in topic.placeholders:
                raise ValueError(f"{key} comes from {{{placeholder}}}, which topic = {quoted(topic.text)} does not have")
        if key in topic.placeholders and key not in (*device_id.placeholders, *name.placeholders):
            raise ValueError(f"topic has {{{key}}}, but {key} = {quoted(template.text)} does not use it")


def _check_command(topic: Template, device_id: Template, name: Template) -> None:
    """Check that there is exactly one topic for a device and a name."""
    for key, template in ((DEVICE, device_id), (NAME, name)):
        if len(template.placeholders) > 1:
            raise ValueError(f"{key} = {quoted(template.text)} has two placeholders; for commands the topic must follow from it")
    for placeholder in topic.placeholders:
        if placeholder in device_id.placeholders and placeholder in name.placeholders:
            raise ValueError(f"{{{placeholder}}} is in both deviceId and name; for commands it can be in one of them")
        if placeholder not in (*device_id.placeholders, *name.placeholders):
            raise ValueError(
                f"topic has {{{placeholder}}}, which is in neither deviceId nor name; for commands the topic must follow from them"
            )


_FILTERS = List('a filter such as "tele/{login}/#", with {login} and {client_id}', _check_access_filter)

ACCESS = Tables(
    {
        "who": Column(Checked(f'a login ({LOGIN_RULE}), "role:client", "role:admin", "anonymous" or "*"', _check_who)),
        "publish": Column(_FILTERS, ()),
        "subscribe": Column(_FILTERS, ()),
    },
    _make_rule,
    (
        'who = "sensors"  # a login, "role:client", "role:admin", "anonymous", or "*" for all of them',
        'publish = ["tele/{login}/#"]',
        'subscribe = ["cmnd/{login}/#"]',
    ),
)
"""The kind of the option ``mqtt.access``."""

MAPPINGS = Tables(
    {
        "topic": Column(
            Checked(
                'a topic such as "tele/{deviceId}/{name}", with {deviceId}, {name} and {1} to {9}, for several levels {name...}',
                _check_mapped_topic,
            )
        ),
        "as": Column(Choice(NOTIFICATION, COMMAND), attribute="kind"),
        "deviceId": Column(Checked('a device id such as "plant-{1}"', _check_mapped_device), f"{{{DEVICE}}}", "device_id"),
        "name": Column(Checked('a name such as "state" or "{1}"', _check_mapped_name), f"{{{NAME}}}"),
        "create_devices": Column(Flag(), False),
        "network_id": Column(Integer(1), 0),
        "device_type_id": Column(Integer(1), 0),
    },
    _make_mapping,
    (
        'topic = "plants/{1}/tele/{name}"  # {deviceId}, {name}, {1} to {9}: a level each, or a part of it; {name...}: one or more levels',
        'deviceId = "plant-{1}"  # not needed if the topic has {deviceId}; the same for name',
        'as = "notification"  # or "command": whoever subscribes to the topic gets the commands of the device',
        "create_devices = true  # within the rights of who publishes; also network_id and device_type_id",
    ),
)
"""The kind of the option ``mqtt.map``."""
