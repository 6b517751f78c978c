"""The section [mqtt]: defaults, access rules, mappings, and one line for each mistake."""

import re
import tomllib
from dataclasses import fields

import pytest

from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.mqtt_tables import AccessRule
from dhtwisted.config.sources import example_file, load_configuration, load_settings
from dhtwisted.errors import ConfigurationError
from tests.support.packages import ROOT


@pytest.fixture
def load(tmp_path):
    def load_document(document, **named):
        path = tmp_path / "devicehive.toml"
        path.write_text(document)
        return load_settings(str(path), **named).mqtt

    return load_document


@pytest.fixture
def complaint(load):
    def complaint_about(document, **named):
        with pytest.raises(ConfigurationError) as raised:
            load(document, **named)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return complaint_about


def test_the_page_on_reload_names_what_needs_a_restart():
    """All others are applied at once."""
    page = " ".join((ROOT / "docs" / "operation-service.md").read_text().split())
    (named,) = re.findall(r"`\[mqtt\]` except (.*?)\.(?= )", page)
    assert set(re.findall(r"`(\w+)`", named)) == {one.name for one in fields(MqttSettings) if not one.metadata["reloads"]}


def test_nothing_listens_and_nothing_is_permitted_by_default():
    mqtt = load_settings().mqtt
    assert (mqtt.listen, mqtt.is_on, mqtt.has_websocket) == ((), False, False)
    assert (mqtt.anonymous, mqtt.plain_topics, mqtt.access, mqtt.map) == (False, False, (), ())


def test_bounds_are_those_that_the_documentation_names():
    mqtt = MqttSettings()
    assert mqtt.receive_maximum == 64
    assert (mqtt.queued_messages, mqtt.queued_bytes) == (1000, 4 * 1024**2)
    assert (mqtt.retained_messages, mqtt.retained_bytes) == (100_000, 64 * 1024**2)
    assert mqtt.last_values


@pytest.mark.parametrize(
    ("listen", "websocket", "is_on", "has_websocket"),
    [
        ([], "auto", False, False),
        ([], "on", True, True),
        ([], "off", False, False),
        (["tcp:1883"], "auto", True, True),
        (["tcp:1883"], "off", True, False),
    ],
)
def test_websocket_comes_with_mqtt_or_alone(load, listen, websocket, is_on, has_websocket):
    mqtt = load(f"[mqtt]\nlisten = {listen}\nwebsocket = '{websocket}'")
    assert (mqtt.is_on, mqtt.has_websocket) == (is_on, has_websocket)


def test_an_mqtt_endpoint_with_tls_needs_a_certificate(load, complaint):
    assert "tls.certificate: an endpoint of mqtt.listen" in complaint("[mqtt]\nlisten = ['tls:tcp:8883']")
    assert load("[mqtt]\nlisten = ['tls:tcp:8883']\n[tls]\ncertificate = 'c.pem'").is_on


def test_plain_topics_and_several_nodes_do_not_go_together(load, complaint):
    nodes = "[bus]\nprovider = 'postgres:dbname=hive'\n[storage]\nprovider = 'postgres:dbname=hive'\n"
    said = complaint(f"{nodes}[mqtt]\nplain_topics = true")
    assert said.startswith("mqtt.plain_topics: must be false where bus.provider is for several nodes")
    assert not load(nodes).plain_topics
    assert load("[mqtt]\nplain_topics = true").plain_topics


ACCESS = """
[[mqtt.access]]
who = "sensors"
publish = ["tele/{login}/#"]
subscribe = ["cmnd/{login}/#"]
[[mqtt.access]]
who = "role:admin"
subscribe = ["#"]
"""
RULES = (
    AccessRule(who="sensors", publish=("tele/{login}/#",), subscribe=("cmnd/{login}/#",)),
    AccessRule(who="role:admin", subscribe=("#",)),
)


def test_access_rules(load):
    assert load(f"[mqtt]\nplain_topics = true\n{ACCESS}").access == RULES


def test_mappings(load):
    (mapping, command) = load(
        "[[mqtt.map]]\ntopic = 'plants/{1}/{name}'\nas = 'notification'\ndeviceId = 'plant-{1}'\ncreate_devices = true\nnetwork_id = 3\n"
        "[[mqtt.map]]\ntopic = 'cmnd/{deviceId}/{name}'\nas = 'command'"
    ).map
    assert (mapping.topic.text, mapping.kind, mapping.device_id.text, mapping.name.text) == (
        "plants/{1}/{name}",
        "notification",
        "plant-{1}",
        "{name}",
    )
    assert (mapping.create_devices, mapping.network_id, mapping.device_type_id) == (True, 3, 0)
    assert (command.kind, command.device_id.text, command.name.text, command.create_devices) == ("command", "{deviceId}", "{name}", False)


def test_tables_in_the_environment_are_toml_in_one_line():
    tables = '[{who = "sensors", publish = ["tele/{login}/#"], subscribe = ["cmnd/{login}/#"]}, {who = "role:admin", subscribe = ["#"]}]'
    found = load_configuration(environment={"DHTWISTED_MQTT_ACCESS": tables})
    assert found.settings.mqtt.access == RULES
    assert found.place("mqtt.access") == "DHTWISTED_MQTT_ACCESS"
    assert load_settings(environment={"DHTWISTED_MQTT_ACCESS": ""}).mqtt.access == ()
    with pytest.raises(ConfigurationError, match=r"^DHTWISTED_MQTT_ACCESS: 'sensors' is no TOML list of tables in one line"):
        load_settings(environment={"DHTWISTED_MQTT_ACCESS": "sensors"})


def test_the_tables_of_the_example_file_are_valid_without_their_comment_signs(load):
    lines = example_file().split("\n# [[mqtt.")[1:]
    assert len(lines) == 2
    shown = "".join("[[mqtt." + re.split(r"\n(?!# \w+ = )", part)[0].replace("\n# ", "\n") + "\n" for part in lines)
    assert tomllib.loads(shown)["mqtt"].keys() == {"access", "map"}
    mqtt = load(shown)
    assert (mqtt.access[0].who, mqtt.map[0].device_id.text) == ("sensors", "plant-{1}")


MAP = "[[mqtt.map]]\nas = 'notification'\n"


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        ("[mqtt]\nlisten = 'tcp:1883'", "mqtt.listen", "is no list"),
        ("[mqtt]\nlisten = ['1883']", "mqtt.listen", "'1883'"),
        ("[mqtt]\nwebsocket = true", "mqtt.websocket", "is no text"),
        ("[mqtt]\nwebsocket = 'yes'", "mqtt.websocket", '"auto" or "on" or "off"'),
        ("[mqtt]\nplain_topic = true", "mqtt.plain_topic", "did you mean plain_topics?"),
        ("[mqtt]\nreceive_maximum = 0", "mqtt.receive_maximum", "1 to 65535"),
        ("[mqtt]\nreceive_maximum = 65536", "mqtt.receive_maximum", "1 to 65535"),
        ("[mqtt]\nkeep_alive = '1d'", "mqtt.keep_alive", "out of range"),
        ("[mqtt]\naccess = 'all'", "mqtt.access", "'all' is no list of tables"),
        ("[mqtt.access]\nwho = '*'", "mqtt.access", "is no list of tables"),
        ("[mqtt]\naccess = [1]", "mqtt.access", "it is no list of tables"),
        ("[[mqtt.access]]\npublish = ['#']", "mqtt.access", "table 1: who is missing"),
        ("[[mqtt.access]]\nwho = '*'\npublish = ['a']\n[[mqtt.access]]\nwho = '*'", "mqtt.access", "table 2: it permits nothing"),
        ("[[mqtt.access]]\nwho = '*'\nsubscribes = ['#']", "mqtt.access", "subscribes is no key; did you mean subscribe?"),
        ("[[mqtt.access]]\nwho = 'role:root'\npublish = ['#']", "mqtt.access", "'role:root'"),
        ("[[mqtt.access]]\nwho = 5\npublish = ['#']", "mqtt.access", "table 1: who: 5 is no text"),
        ("[[mqtt.access]]\nwho = '*'\npublish = '#'", "mqtt.access", "publish: '#' is no list"),
        ("[[mqtt.access]]\nwho = '*'\npublish = ['a/#/b']", "mqtt.access", "contains 'a/#/b', which has # before its end"),
        ("[[mqtt.access]]\nwho = '*'\npublish = ['a/{user}']", "mqtt.access", "unknown placeholder {user}; known are login, client_id"),
        ("[[mqtt.access]]\nwho = '*'\npublish = ['a/{login']", "mqtt.access", "a brace without its pair"),
        ("[[mqtt.access]]\nwho = '*'\npublish = ['a/+{login}']", "mqtt.access", "not a whole level"),
        ("[[mqtt.access]]\nwho = '*'\nsubscribe = ['$share/g/#']", "mqtt.access", "$share/"),
        ("[[mqtt.access]]\nwho = '*'\nsubscribe = ['$SYS/#']", "mqtt.access", "administrators"),
        ("[[mqtt.access]]\nwho = '*'\npublish = ['dh/request']", "mqtt.access", "dh/"),
        ("[[mqtt.map]]\ntopic = 'a/{deviceId}/{name}'", "mqtt.map", "as is missing"),
        ("[[mqtt.map]]\ntopic = 'a/{deviceId}/{name}'\nas = 'update'", "mqtt.map", "as: 'update' is not known; expected \"notification\""),
        (MAP, "mqtt.map", "topic is missing"),
        (MAP + "topic = ''", "mqtt.map", "is empty"),
        (MAP + "topic = 'a/+/{name}'", "mqtt.map", "has a wildcard; use {1}"),
        (MAP + "topic = 'a/{deviceId}/{nmae}'", "mqtt.map", "unknown placeholder {nmae}; did you mean name?"),
        (MAP + "topic = 'a/{}/{name}'", "mqtt.map", "unknown placeholder {}"),
        (MAP + "topic = 'a/{deviceId}/{name'", "mqtt.map", "a brace without its pair"),
        (MAP + "topic = 'a/{{deviceId}}/{name}'", "mqtt.map", "a brace without its pair"),
        (MAP + "topic = 'a/{deviceId}-{name}'", "mqtt.map", "two placeholders in one level"),
        (MAP + "topic = 'a/{deviceId...}/{name...}'", "mqtt.map", "two placeholders for several levels"),
        (MAP + "topic = 'a/x{name...}/{deviceId}'", "mqtt.map", "put a slash between them"),
        (
            MAP + "topic = 'a/{1...}/{name}'\ndeviceId = '{1...}'",
            "mqtt.map",
            "has {1...}, which only the topic of a mapping can have; write {1}",
        ),
        (ACCESS + "publish = ['{login...}/#']", "mqtt.access", "has {login...}, which only the topic"),
        (MAP + "topic = 'a/{deviceId}/{deviceId}/{name}'", "mqtt.map", "a placeholder twice"),
        (MAP + "topic = 'dh/{deviceId}/{name}'", "mqtt.map", "cannot be mapped"),
        (MAP + "topic = '$SYS/{deviceId}/{name}'", "mqtt.map", "cannot be mapped"),
        (MAP + "topic = 'a/{deviceId}'", "mqtt.map", "name comes from {name}, which topic"),
        (MAP + "topic = 'a/{name}'", "mqtt.map", "deviceId comes from {deviceId}, which topic"),
        (MAP + "topic = 'a/{1}/{name}'\ndeviceId = 'x-{2}'", "mqtt.map", "deviceId comes from {2}"),
        (MAP + "topic = 'a/{deviceId}/{name}'\ndeviceId = 'x'", "mqtt.map", 'topic has {deviceId}, but deviceId = "x" does not use it'),
        (MAP + "topic = 'a/{1}/{name}'\ndeviceId = 'my_{1}'", "mqtt.map", "is no id of a device"),
        (MAP + "topic = 'a/{1}/{name}'\ndeviceId = ''", "mqtt.map", "is no id of a device"),
        (MAP + "topic = 'a/{deviceId}'\nname = ''", "mqtt.map", "is empty"),
        (MAP + "topic = 'a/{deviceId}/{name}'\nnetwork_id = 1", "mqtt.map", "set create_devices = true too"),
        (MAP + "topic = 'a/{deviceId}/{name}'\ncreate_devices = true\nnetwork_id = 0", "mqtt.map", "network_id: 0 is out of range"),
        ("[[mqtt.map]]\nas = 'command'\ntopic = 'a/{deviceId}/{name}'\ncreate_devices = true", "mqtt.map", 'is for as = "notification"'),
        ("[[mqtt.map]]\nas = 'command'\ntopic = 'a/{1}/{deviceId}/{name}'", "mqtt.map", "topic has {1}, which is in neither"),
        ("[[mqtt.map]]\nas = 'command'\ntopic = 'a/{1}/{2}/{name}'\ndeviceId = '{1}-{2}'", "mqtt.map", "has two placeholders"),
        ("[[mqtt.map]]\nas = 'command'\ntopic = 'a/{1}'\ndeviceId = '{1}'\nname = 'x{1}'", "mqtt.map", "{1} is in both"),
    ],
)
def test_a_mistake_is_one_line_with_place_and_reason(complaint, tmp_path, document, place, words):
    said = complaint(document)
    assert said.startswith(f"{tmp_path}/devicehive.toml: {place}: ")
    assert words in said


@pytest.mark.parametrize("size", ["255", '"1"', "-1"])
def test_a_packet_size_that_no_usual_packet_has_is_refused(complaint, size):
    assert "0 or at least 256 bytes" in complaint(f"[mqtt]\npacket_size = {size}")


@pytest.mark.parametrize("size", [0, 256, 1000])
def test_packet_sizes(load, size):
    assert load(f"[mqtt]\npacket_size = {size}").packet_size == size
