"""What the doctor says of access rules and mappings of MQTT."""

import tomllib

import pytest

from dhtwisted.cli.doctor.mqtt import check_mqtt
from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.mqtt_tables import ACCESS, MAPPINGS
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import Configuration


def look(document):
    """The lines about a section without its head."""
    values = tomllib.loads(document)
    for name, kind in (("access", ACCESS), ("map", MAPPINGS)):
        if name in values:
            values[name] = kind.from_toml(values[name])
    findings = check_mqtt(Configuration(Settings(mqtt=MqttSettings(**values))))
    assert {finding.level for finding in findings} <= {"warning"}
    return [finding.text for finding in findings]


ON = 'listen = ["tcp:1883"]\n'
PLAIN = f"{ON}plain_topics = true\n"
MAPPED = '[[map]]\nas = "notification"\n'


@pytest.mark.parametrize(
    "document",
    [
        "",
        ON,
        f'{PLAIN}[[access]]\nwho = "sensors"\npublish = ["tele/{{client_id}}/#"]',
        f'{PLAIN}[[access]]\nwho = "*"\npublish = ["#"]',
        f'{PLAIN}anonymous = true\n[[access]]\nwho = "anonymous"\npublish = ["a"]',
        f'{ON}{MAPPED}topic = "tele/{{deviceId}}/SENSOR"\nname = "x"\n{MAPPED}topic = "tele/{{deviceId}}/{{name}}"',
        f'{ON}{MAPPED}topic = "x{{deviceId}}/{{name}}"\n{MAPPED}topic = "y{{deviceId}}/{{name}}"',
        f'{ON}{MAPPED}topic = "x/{{deviceId}}"\nname="n"\n{MAPPED}topic = "x{{deviceId}}/{{name}}"',
    ],
)
def test_nothing_to_say(document):
    assert look(document) == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("plain_topics = true", ["there is no MQTT", "has no rule"]),
        (f'{ON}[[access]]\nwho = "*"\npublish = ["a"]', ["has no effect while mqtt.plain_topics is false"]),
        (PLAIN, ["nobody may publish"]),
        (f'{PLAIN}[[access]]\nwho = "anonymous"\npublish = ["a"]', ["table 1 has no effect, because mqtt.anonymous is false"]),
        (f'{PLAIN}anonymous = true\n[[access]]\nwho = "*"\nsubscribe = ["#"]', ["permits every plain topic"]),
        (f'{PLAIN}[[access]]\nwho = "role:client"\nsubscribe = ["a/{{client_id}}"]', ["keeps nobody out"]),
        (
            f'{ON}{MAPPED}topic = "tele/{{deviceId}}/{{name}}"\n{MAPPED}topic = "tele/{{1}}/X"\ndeviceId="{{1}}"\nname="x"',
            ["table 2 is never"],
        ),
        (f'{ON}{MAPPED}topic = "x{{deviceId}}/{{name}}"\n{MAPPED}topic = "x{{deviceId}}/{{name}}"', ["table 2 is never used"]),
    ],
)
def test_what_has_no_effect_or_permits_too_much(document, words):
    found = look(document)
    assert len(found) == len(words)
    for text, part in zip(found, words, strict=True):
        assert part in text
