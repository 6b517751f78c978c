"""The rules and mappings of ``[mqtt]``: what has no effect, and what permits more than it seems to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from itertools import combinations

from dhtwisted.cli.doctor.findings import Finding, ok, warning
from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.mqtt_tables import ADMINISTRATORS, ANONYMOUS, ANYBODY, CLIENTS, NOTIFICATION, AccessRule, TopicMapping
from dhtwisted.config.sources import Configuration
from dhtwisted.config.topic_templates import Template

TOPIC = "mqtt"
LEVELS_OF_EVENTS = 6
"""The levels of ``dh/notification/NETWORK/TYPE/DEVICE/NAME``."""

GROUPS = (ANYBODY, ANONYMOUS, CLIENTS, ADMINISTRATORS)
"""What ``who`` of a rule can be besides a login."""


def check_mqtt(configuration: Configuration, logins: Collection[str] | None = None) -> list[Finding]:
    """Look at ``mqtt.access``, ``mqtt.map`` and what belongs to them.

    :param logins: of all users; ``None`` when they are not known.
    """
    settings = configuration.settings.mqtt
    access, mappings = configuration.place("mqtt.access"), configuration.place("mqtt.map")
    found = []
    if not settings.is_on and (settings.access or settings.map or settings.plain_topics or settings.anonymous):
        found.append(f"{configuration.place('mqtt.listen')}: is empty, so there is no MQTT; name an endpoint, such as tcp:1883")
    if 0 < settings.topic_levels < LEVELS_OF_EVENTS:
        place = configuration.place("mqtt.topic_levels")
        found.append(f"{place}: topics of notifications and commands below dh/ have {LEVELS_OF_EVENTS} levels and are refused; raise it")
    if settings.access and not settings.plain_topics:
        found.append(f"{access}: has no effect while {configuration.place('mqtt.plain_topics')} is false")
    if settings.plain_topics and not settings.access:
        found.append(f"{access}: has no rule, so nobody may publish or subscribe to plain topics; add rules")
    for number, rule in enumerate(settings.access, 1):
        found += (f"{access}: table {number} {text}" for text in _doubts(rule, settings, logins))
    topics = [mapping.topic for mapping in settings.map]
    return [
        *(warning(TOPIC, text) for text in found),
        *(warning(TOPIC, f"{mappings}: {text}") for text in _unused(settings.map)),
        *(ok(TOPIC, f"{mappings}: {text}") for text in _shared(topics)),
    ]


def _doubts(rule: AccessRule, settings: MqttSettings, logins: Collection[str] | None) -> Iterator[str]:
    """What is doubtful in a rule."""
    filters = (*rule.publish, *rule.subscribe)
    if logins is not None and rule.who not in (*GROUPS, *logins):
        near = get_close_matches(rule.who, logins, n=1)
        cure = f"did you mean {near[0]}?" if near else "create the user, or remove the table"
        yield f"has no effect, because no user has the login {rule.who}; {cure}"
    if rule.who == ANONYMOUS and not settings.anonymous:
        yield "has no effect, because mqtt.anonymous is false"
    if settings.anonymous and rule.who in (ANYBODY, ANONYMOUS) and "#" in filters:
        yield "permits every plain topic to clients that have not logged in; name the topics that they need"
    if rule.who in (ANYBODY, ANONYMOUS, CLIENTS) and any("client_id" in Template(text).placeholders for text in filters):
        yield "keeps nobody out by {client_id}, because clients of any user choose theirs; use {login} where that matters"


def _unused(mappings: Sequence[TopicMapping]) -> Iterator[str]:
    """Mappings that an earlier one hides. One for commands is never hidden from its subscribers."""
    for later, mapping in enumerate(mappings):
        for earlier in range(later):
            if mapping.kind == NOTIFICATION and _fits_all(mappings[earlier].topic, mapping.topic):
                yield f"table {later + 1} is never used, because table {earlier + 1} fits all of its topics; put it before that one"
                break


def _shared(topics: list[Template]) -> Iterator[str]:
    """Mappings that both fit some topics, though neither fits all of the other's."""
    for (first, one), (second, other) in combinations(enumerate(topics, 1), 2):
        common = _common(one, other)
        if common and not _fits_all(one, other) and not _fits_all(other, one):
            yield f"tables {first} and {second} both fit topics such as {common}; table {first} counts for them"


def _fits_all(outer: Template, inner: Template) -> bool:
    """Whether a topic fits all topics that another one fits."""
    # No name of a level has these characters, so only a placeholder can fit them.
    samples = [dict.fromkeys(inner.placeholders, "\0")]
    samples += [samples[0] | dict.fromkeys(inner.several, "/".join("\0" * count)) for count in (2, 3) if inner.several]
    return all(outer.read(inner.fill(sample)) is not None for sample in samples)


def _common(one: Template, other: Template) -> str:
    """A topic that both fit, where the placeholders that both have stand as they are; empty if there is none that is easily found."""
    pairs = list(zip(one.text.split("/"), other.text.split("/"), strict=False))
    topic = "/".join(right if Template(left).placeholders else left for left, right in pairs)
    return topic if one.read(topic) is not None and other.read(topic) is not None else ""
