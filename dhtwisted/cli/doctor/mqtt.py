"""The rules and mappings of ``[mqtt]``: what has no effect, and what permits more than it seems to."""

from __future__ import annotations

from collections.abc import Iterator

from dhtwisted.cli.doctor.findings import Finding, warning
from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.mqtt_tables import ANONYMOUS, ANYBODY, CLIENTS, AccessRule
from dhtwisted.config.sources import Configuration
from dhtwisted.config.topic_templates import Template
from dhtwisted.fronts.mqtt.filters import covers
from dhtwisted.wire.mqtt.topics import ONE

TOPIC = "mqtt"


def check_mqtt(configuration: Configuration) -> list[Finding]:
    """Look at ``mqtt.access``, ``mqtt.map`` and what belongs to them."""
    settings = configuration.settings.mqtt
    access, mappings = configuration.place("mqtt.access"), configuration.place("mqtt.map")
    found = []
    if not settings.is_on and (settings.access or settings.map or settings.plain_topics or settings.anonymous):
        found.append(f"{configuration.place('mqtt.listen')}: is empty, so there is no MQTT; name an endpoint, such as tcp:1883")
    if settings.access and not settings.plain_topics:
        found.append(f"{access}: has no effect while {configuration.place('mqtt.plain_topics')} is false")
    if settings.plain_topics and not settings.access:
        found.append(f"{access}: has no rule, so nobody may publish or subscribe to plain topics; add rules")
    found += (f"{access}: table {number} {text}" for number, rule in enumerate(settings.access, 1) for text in _doubts(rule, settings))
    found += (f"{mappings}: {text}" for text in _unused(settings))
    return [warning(TOPIC, text) for text in found]


def _doubts(rule: AccessRule, settings: MqttSettings) -> Iterator[str]:
    """What is doubtful in a rule."""
    filters = (*rule.publish, *rule.subscribe)
    if rule.who == ANONYMOUS and not settings.anonymous:
        yield "has no effect, because mqtt.anonymous is false"
    if settings.anonymous and rule.who in (ANYBODY, ANONYMOUS) and "#" in filters:
        yield "permits every plain topic to clients that have not logged in; name the topics that they need"
    if rule.who in (ANYBODY, ANONYMOUS, CLIENTS) and any("client_id" in Template(text).placeholders for text in filters):
        yield "keeps nobody out by {client_id}, because clients of any user choose theirs; use {login} where that matters"


def _unused(settings: MqttSettings) -> Iterator[str]:
    """Mappings that an earlier one hides."""
    patterns = [_levels(mapping.topic.text) for mapping in settings.map]
    for later, pattern in enumerate(patterns):
        for earlier in range(later):
            if covers(patterns[earlier], pattern):
                yield f"table {later + 1} is never used, because table {earlier + 1} fits all of its topics; put it before that one"
                break


def _levels(topic: str) -> list[str]:
    """A mapped topic as a filter. A level of which a placeholder is only a part is compared as it is."""
    return [_level(Template(level)) for level in topic.split("/")]


def _level(template: Template) -> str:
    if template.placeholders and not template.literal:
        return ONE
    return template.fill(dict.fromkeys(template.placeholders, "{}"))
