"""What the doctor says of access rules and mappings of MQTT."""

import tomllib

import pytest

from dhtwisted.cli.doctor.mqtt import check_mqtt
from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.mqtt_tables import ACCESS, MAPPINGS
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import Configuration
from tests.support.mqtt.sold_devices import documented_tables


def look(document, level="warning", logins=None):
    """The lines of a level about a section without its head."""
    values = tomllib.loads(document)
    for name, kind in (("access", ACCESS), ("map", MAPPINGS)):
        if name in values:
            values[name] = kind.from_toml(values[name])
    findings = check_mqtt(Configuration(Settings(mqtt=MqttSettings(**values))), logins)
    assert {finding.level for finding in findings} <= {"warning", "ok"}
    return [finding.text for finding in findings if finding.level == level]


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
        f"{ON}topic_levels = 6",
        f'{ON}{MAPPED}topic = "x/{{deviceId}}/{{name...}}"\n[[map]]\nas = "command"\ntopic = "x/{{deviceId}}/{{name}}"',
        f'{ON}{MAPPED}topic = "x/{{deviceId}}/a/{{name}}"\n{MAPPED}topic = "x/{{deviceId}}/{{name...}}"',
        f'{ON}{MAPPED}topic = "x/{{deviceId}}/{{name}}"\n{MAPPED}topic = "x/{{deviceId}}/{{name...}}"',
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
        (f'{ON}{MAPPED}topic = "x/{{deviceId}}/{{name...}}"\n{MAPPED}topic = "x/{{deviceId}}/a/{{name}}"', ["table 2 is never used"]),
        (f"{ON}topic_levels = 5", ["are refused; raise it"]),
    ],
)
def test_what_has_no_effect_or_permits_too_much(document, words):
    found = look(document)
    assert len(found) == len(words)
    for text, part in zip(found, words, strict=True):
        assert part in text


RULE = f'{PLAIN}[[access]]\nwho = "%s"\npublish = ["a"]'


@pytest.mark.parametrize(
    ("who", "logins", "words"),
    [
        ("sensors", ["dhadmin", "sensors"], []),
        ("sensors", None, []),
        ("role:client", ["dhadmin"], []),
        ("sensor", ["dhadmin", "sensors"], ["table 1 has no effect, because no user has the login sensor; did you mean sensors?"]),
        ("Sensors", ["sensors"], ["no user has the login Sensors"]),
    ],
)
def test_a_rule_for_a_user_that_is_not_there(who, logins, words):
    found = look(RULE % who, logins=logins)
    assert len(found) == len(words)
    assert all(part in text for text, part in zip(found, words, strict=True))


def test_topics_that_two_mappings_fit_are_told_where_none_hides_the_other():
    both = f'{ON}{MAPPED}topic = "tele/{{deviceId}}/{{name}}"\n{MAPPED}topic = "{{deviceId}}/status/{{name}}"'
    assert look(both) == []
    (told,) = look(both, "ok")
    assert told.endswith("tables 1 and 2 both fit topics such as tele/status/{name}; table 1 counts for them")
    ordered = f'{ON}{MAPPED}topic = "tele/{{deviceId}}/X"\nname = "x"\n{MAPPED}topic = "tele/{{deviceId}}/{{name}}"'
    assert look(ordered, "ok") == []


@pytest.mark.parametrize("heading", ["Tasmota", "Zigbee2MQTT", "Shelly", "Home Assistant"])
def test_the_tables_of_the_documentation_are_well(heading):
    settings = Settings(mqtt=MqttSettings(listen=("tcp:1883",), map=documented_tables(heading)))
    assert [finding for finding in check_mqtt(Configuration(settings)) if finding.level == "warning"] == []
