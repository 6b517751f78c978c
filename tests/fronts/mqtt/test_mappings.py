"""Mappings of topics to devices, with the topics of devices that are sold, and back to the topics of commands."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.config.mqtt_tables import MAPPINGS
from dhtwisted.fronts.mqtt.filters import matches
from dhtwisted.fronts.mqtt.mappings import Mappings, to_device_id
from dhtwisted.wire.mqtt.topics import parse_filter

TASMOTA = """
[[map]]
topic = "tele/{deviceId}/{name}"
as = "notification"
create_devices = true
[[map]]
topic = "stat/{deviceId}/{name}"
as = "notification"
create_devices = true
[[map]]
topic = "cmnd/{deviceId}/{name}"
as = "command"
"""
ZIGBEE2MQTT = """
[[map]]
topic = "zigbee2mqtt/{deviceId}"
name = "state"
as = "notification"
create_devices = true
[[map]]
topic = "zigbee2mqtt/{deviceId}/availability"
name = "availability"
as = "notification"
[[map]]
topic = "zigbee2mqtt/{deviceId}/set"
name = "set"
as = "command"
"""
SHELLY_1 = """
[[map]]
topic = "shellies/{deviceId}/relay/{1}/command"
name = "relay-{1}"
as = "command"
[[map]]
topic = "shellies/{deviceId}/relay/{1}"
name = "relay-{1}"
as = "notification"
[[map]]
topic = "shellies/{deviceId}/relay/{1}/{2}"
name = "relay-{1}-{2}"
as = "notification"
[[map]]
topic = "shellies/{deviceId}/{name}"
as = "notification"
create_devices = true
"""
SHELLY_2 = """
[[map]]
topic = "{deviceId}/events/rpc"
name = "event"
as = "notification"
[[map]]
topic = "{deviceId}/status/{name}"
as = "notification"
create_devices = true
[[map]]
topic = "{deviceId}/rpc"
name = "rpc"
as = "command"
"""
STATESTREAM = """
[[map]]
topic = "homeassistant/{1}/{2}/{name}"
deviceId = "{1}-{2}"
as = "notification"
create_devices = true
"""

SEVERAL = """
[[map]]
topic = "z/bridge/{name...}"
deviceId = "bridge"
as = "notification"
[[map]]
topic = "z/{deviceId...}/set"
name = "set"
as = "command"
[[map]]
topic = "z/{deviceId...}"
name = "state"
as = "notification"
create_devices = true
[[map]]
topic = "s/{deviceId}/{1...}/set"
name = "{1}/set"
as = "command"
[[map]]
topic = "t/{1...}/tail/{2}"
deviceId = "x-{1}"
name = "{2}"
as = "command"
"""


def load(document):
    return Mappings(MAPPINGS.from_toml(tomllib.loads(document)["map"]))


@pytest.mark.parametrize(
    ("document", "topic", "kind", "device_id", "name"),
    [
        (TASMOTA, "tele/tasmota_8A3F21/SENSOR", "notification", "tasmota-8A3F21", "SENSOR"),
        (TASMOTA, "tele/tasmota_8A3F21/LWT", "notification", "tasmota-8A3F21", "LWT"),
        (TASMOTA, "stat/tasmota_8A3F21/RESULT", "notification", "tasmota-8A3F21", "RESULT"),
        (TASMOTA, "cmnd/tasmota_8A3F21/POWER", "command", "tasmota-8A3F21", "POWER"),
        (ZIGBEE2MQTT, "zigbee2mqtt/0x00158d0004a1b2c3", "notification", "0x00158d0004a1b2c3", "state"),
        (ZIGBEE2MQTT, "zigbee2mqtt/Kitchen lamp", "notification", "Kitchen-lamp", "state"),
        (ZIGBEE2MQTT, "zigbee2mqtt/kitchen_lamp/availability", "notification", "kitchen-lamp", "availability"),
        (ZIGBEE2MQTT, "zigbee2mqtt/kitchen_lamp/set", "command", "kitchen-lamp", "set"),
        (SHELLY_1, "shellies/shellyplug-s-7A1B2C/relay/0", "notification", "shellyplug-s-7A1B2C", "relay-0"),
        (SHELLY_1, "shellies/shellyplug-s-7A1B2C/relay/0/power", "notification", "shellyplug-s-7A1B2C", "relay-0-power"),
        (SHELLY_1, "shellies/shellyplug-s-7A1B2C/relay/0/command", "command", "shellyplug-s-7A1B2C", "relay-0"),
        (SHELLY_1, "shellies/shellyplug-s-7A1B2C/online", "notification", "shellyplug-s-7A1B2C", "online"),
        (SHELLY_2, "shellyplus1-a8032abe54dc/events/rpc", "notification", "shellyplus1-a8032abe54dc", "event"),
        (SHELLY_2, "shellyplus1-a8032abe54dc/status/switch:0", "notification", "shellyplus1-a8032abe54dc", "switch:0"),
        (SHELLY_2, "shellyplus1-a8032abe54dc/rpc", "command", "shellyplus1-a8032abe54dc", "rpc"),
        (STATESTREAM, "homeassistant/sensor/kitchen_temperature/state", "notification", "sensor-kitchen-temperature", "state"),
        (STATESTREAM, "homeassistant/light/küche/brightness", "notification", "light-k-che", "brightness"),
        (SEVERAL, "z/bridge/state", "notification", "bridge", "state"),
        (SEVERAL, "z/bridge/response/device/rename", "notification", "bridge", "response/device/rename"),
        (SEVERAL, "z/kitchen/lamp_1", "notification", "kitchen-lamp-1", "state"),
        (SEVERAL, "z/lamp", "notification", "lamp", "state"),
        (SEVERAL, "z/kitchen/lamp/set", "command", "kitchen-lamp", "set"),
        (SEVERAL, "z/set/set", "command", "set", "set"),
        (SEVERAL, "s/d/light/0/set", "command", "d", "light/0/set"),
        (SEVERAL, "t/a/b/tail/x", "command", "x-a-b", "x"),
    ],
)
def test_what_devices_publish(document, topic, kind, device_id, name):
    mappings = load(document)
    for _ in range(2):
        found = mappings.find(topic)
        assert (found.mapping.kind, found.device_id, found.name) == (kind, device_id, name)
        assert to_device_id(found.device_name) == device_id


@pytest.mark.parametrize(
    ("document", "topic"),
    [
        (TASMOTA, "tasmota/discovery/A1B2C3/config"),
        (TASMOTA, "tele/tasmota_8A3F21"),
        (TASMOTA, "tele//SENSOR"),
        (TASMOTA, "tele/tasmota_8A3F21/SENSOR/"),
        (ZIGBEE2MQTT, "zigbee2mqtt/bridge/state"),
        (ZIGBEE2MQTT, "zigbee2mqtt/"),
        (ZIGBEE2MQTT, "Zigbee2MQTT/lamp"),
        (SHELLY_1, "shellies/announce"),
        (SHELLY_2, "dh/status/x"),
        (SHELLY_2, "$SYS/status/x"),
        (SEVERAL, "z"),
        (SEVERAL, "z/"),
        (SEVERAL, "z//set"),
        (SEVERAL, "z/a//set"),
        (SEVERAL, "z/a/"),
        (SEVERAL, "s/d/set"),
    ],
)
def test_what_is_not_mapped(document, topic):
    assert load(document).find(topic) is None


def test_without_mappings_nothing_is_mapped():
    mappings = Mappings(())
    assert mappings.find("tele/tasmota_8A3F21/SENSOR") is None
    assert mappings.commands(("#",)) == []


def test_a_new_device_gets_the_name_that_its_topics_have():
    found = load(TASMOTA).find("tele/tasmota_8A3F21/SENSOR")
    assert (found.device_name, found.mapping.create_devices) == ("tasmota_8A3F21", True)
    plant = load('[[map]]\ntopic = "plants/{1}/{name}"\ndeviceId = "plant-{1}"\nas = "notification"').find("plants/no_7/moisture")
    assert (plant.device_id, plant.device_name) == ("plant-no-7", "plant-no_7")


def test_the_first_that_fits_counts():
    document = '[[map]]\ntopic = "a/{1}/x"\ndeviceId = "{1}"\nname = "fixed"\nas = "notification"\n'
    document += '[[map]]\ntopic = "a/{deviceId}/{name}"\nas = "notification"'
    assert [load(document).find(topic).name for topic in ("a/b/x", "a/b/y")] == ["fixed", "y"]


@pytest.mark.parametrize(
    ("document", "pattern", "device", "name", "topic"),
    [
        # What each of these devices subscribes to.
        (TASMOTA, "cmnd/tasmota_8A3F21/#", "tasmota-8A3F21", "POWER", "cmnd/tasmota_8A3F21/POWER"),
        (TASMOTA, "cmnd/tasmota_8A3F21/+", "tasmota-8A3F21", "POWER", "cmnd/tasmota_8A3F21/POWER"),
        (TASMOTA, "cmnd/tasmota_8A3F21/POWER", "tasmota-8A3F21", "POWER", "cmnd/tasmota_8A3F21/POWER"),
        (TASMOTA, "cmnd/tasmota_8A3F21/POWER/#", "tasmota-8A3F21", "POWER", "cmnd/tasmota_8A3F21/POWER"),
        (TASMOTA, "cmnd/tasmota_8A3F21/#", "tasmota-999999", "POWER", None),
        (TASMOTA, "cmnd/tasmota_8A3F21/POWER", "tasmota-8A3F21", "Dimmer", None),
        (TASMOTA, "cmnd/tasmotas/#", "tasmota-8A3F21", "POWER", None),
        (TASMOTA, "#", "tasmota-8A3F21", "POWER", "cmnd/tasmota-8A3F21/POWER"),
        (ZIGBEE2MQTT, "zigbee2mqtt/#", "0x00158d0004a1b2c3", "set", "zigbee2mqtt/0x00158d0004a1b2c3/set"),
        (ZIGBEE2MQTT, "zigbee2mqtt/+/set", "kitchen-lamp", "set", "zigbee2mqtt/kitchen-lamp/set"),
        (ZIGBEE2MQTT, "zigbee2mqtt/+/set", "kitchen-lamp", "get", None),
        (SHELLY_1, "shellies/shellyplug-s-7A1B2C/relay/0/command", "shellyplug-s-7A1B2C", "relay-0", "@"),
        (SHELLY_1, "shellies/shellyplug-s-7A1B2C/relay/0/command", "shellyplug-s-7A1B2C", "relay-1", None),
        (SHELLY_1, "shellies/shellyplug-s-7A1B2C/relay/+/command", "shellyplug-s-7A1B2C", "turn", None),
        (SHELLY_2, "shellyplus1-a8032abe54dc/rpc", "shellyplus1-a8032abe54dc", "rpc", "@"),
        (SHELLY_2, "+/rpc", "shellyplus1-a8032abe54dc", "rpc", "shellyplus1-a8032abe54dc/rpc"),
        # The id must not make a topic of the server, nor the name one with a wildcard or another level.
        (SHELLY_2, "+/rpc", "dh", "rpc", None),
        (SEVERAL, "z/#", "kitchen-lamp", "set", "z/kitchen-lamp/set"),
        (SEVERAL, "z/kitchen/lamp/set", "kitchen-lamp", "set", "@"),
        (SEVERAL, "z/kitchen/lamp/set/#", "kitchen-lamp", "set", None),
        (SEVERAL, "z/kitchen-lamp/set/#", "kitchen-lamp", "set", "z/kitchen-lamp/set"),
        (SEVERAL, "z/kitchen/+/set", "kitchen-lamp", "set", None),
        (SEVERAL, "z/+/set", "kitchen-lamp", "set", "z/kitchen-lamp/set"),
        (SEVERAL, "z/+/set", "kitchen-lamp", "get", None),
        (SEVERAL, "s/d/#", "d", "light/0/set", "s/d/light/0/set"),
        (SEVERAL, "s/d/light/0/set", "d", "light/0/set", "@"),
        (SEVERAL, "s/d/light/0/set", "d", "light/1/set", None),
        (SEVERAL, "s/d/light/#", "d", "color/0/set", None),
        (SEVERAL, "s/d/light/+/set", "d", "light/1/set", "s/d/light/1/set"),
        (TASMOTA, "cmnd/#", "d", "a/b", None),
        (TASMOTA, "cmnd/#", "d", "+", None),
        (TASMOTA, "cmnd/#", "d", "a#", None),
        (TASMOTA, "cmnd/#", "d", "x" * 70_000, None),
    ],
)
def test_on_which_topic_a_command_comes(document, pattern, device, name, topic):
    found = load(document).commands(parse_filter(pattern).levels)
    assert [one.topic(device, None, name) for one in found if one.topic(device, None, name)] == [
        one for one in (pattern if topic == "@" else topic,) if one
    ]


@pytest.mark.parametrize(
    ("document", "pattern"),
    [
        (TASMOTA, "tele/#"),
        (TASMOTA, "cmnd"),
        (TASMOTA, "cmnd/x"),
        (TASMOTA, "cmnd/x/y/z"),
        (TASMOTA, "cmnd/x/y/+/#"),
        (TASMOTA, "dh/#"),
        (STATESTREAM, "#"),
        (SHELLY_1, "shellies/+"),
        (ZIGBEE2MQTT, "zigbee2mqtt/+/get"),
        (SEVERAL, "z/kitchen/lamp/get"),
        (SEVERAL, "z/set"),
        (SEVERAL, "z//set"),
        (SEVERAL, "s/d/set"),
        (SEVERAL, "z"),
    ],
)
def test_filters_without_commands(document, pattern):
    assert load(document).commands(parse_filter(pattern).levels) == []


def test_what_a_filter_says_about_its_commands():
    mappings = load(TASMOTA)
    expected = {
        "cmnd/tasmota_1/POWER": ("tasmota-1", "POWER"),
        "cmnd/tasmota_1/#": ("tasmota-1", None),
        "cmnd/+/POWER": (None, "POWER"),
        "#": (None, None),
    }
    for pattern, known in expected.items():
        (commands,) = mappings.commands(parse_filter(pattern).levels)
        assert (commands.device_id, commands.name) == known


def test_the_name_of_the_device_says_how_topics_write_its_id():
    (commands,) = load(ZIGBEE2MQTT).commands(("zigbee2mqtt", "+", "set"))
    assert commands.topic("kitchen-lamp", "kitchen_lamp", "set") == "zigbee2mqtt/kitchen_lamp/set"
    assert commands.topic("kitchen-lamp", "kitchen lamp", "set") == "zigbee2mqtt/kitchen lamp/set"
    assert commands.topic("kitchen-lamp", "Lamp above the table", "set") == "zigbee2mqtt/kitchen-lamp/set", "somebody has renamed it"
    (several,) = load(SEVERAL).commands(("z", "#"))
    assert several.topic("kitchen-lamp", "kitchen/lamp", "set") == "z/kitchen/lamp/set"
    assert several.topic("kitchen-lamp", "kitchen/lämp", "set") == "z/kitchen-lamp/set", "it has another name now"
    for no_level in ("kitchen/lamp", "kitchen+lamp", "kitchen#lamp"):
        assert commands.topic("kitchen-lamp", no_level, "set") == "zigbee2mqtt/kitchen-lamp/set"
    (commands,) = load(ZIGBEE2MQTT).commands(("zigbee2mqtt", "kitchen_lamp", "set"))
    assert commands.topic("kitchen-lamp", "kitchen lamp", "set") == "zigbee2mqtt/kitchen_lamp/set", "the subscriber knows its own topic"


def test_two_mappings_of_commands_give_two_topics():
    document = TASMOTA + '[[map]]\ntopic = "plant/{1}/do/{name}"\ndeviceId = "plant-{1}"\nas = "command"'
    found = load(document).commands(("#",))
    assert [commands.topic("plant-7", None, "water") for commands in found] == ["cmnd/plant-7/water", "plant/7/do/water"]
    assert [commands.topic("tree-7", None, "water") for commands in found] == ["cmnd/tree-7/water", None]


LEVELS = st.sampled_from(["cmnd", "zigbee2mqtt", "z", "s", "t", "set", "a_b", "a-b", "a", "b", "tail", "+", "x"])
FILTERS = st.builds(lambda levels, end: "/".join([*levels, *end]), st.lists(LEVELS, max_size=3), st.sampled_from([["#"], ["+"], ["set"]]))


@given(
    st.sampled_from([TASMOTA, ZIGBEE2MQTT, SHELLY_1, SHELLY_2, SEVERAL]),
    FILTERS,
    st.sampled_from(["a-b", "x", "x-a-b", "cmnd", "dh"]),
    st.sampled_from([None, "a_b", "x", "a/b", "x-a/b", "#"]),
    st.sampled_from(["set", "rpc", "relay-0", "a_b", "+", "x/y", "x/y/set"]),
)
def test_a_topic_of_a_command_leads_back_to_it(document, pattern, device, device_name, name):
    mappings = load(document)
    levels = parse_filter(pattern).levels
    topics = [commands.topic(device, device_name, name) for commands in mappings.commands(levels)]
    for topic in filter(None, topics):
        assert matches(levels, topic)
        found = mappings.find(topic)
        assert (found.mapping.kind, found.device_id, found.name) == ("command", device, name)
    if device_name is None:
        # No other topic that the filter matches means this command, as far as devices write their id as it is.
        places = f"z/{device}", f"zigbee2mqtt/{device}", f"s/{device}/x/y"
        others = f"cmnd/{device}/{name}", f"shellies/{device}/relay/0/command", f"{device}/rpc", f"t/{device[2:]}/tail/{name}"
        for candidate in (*[f"{place}/set" for place in places], *others):
            found = None if set("+#") & set(candidate) else mappings.find(candidate)
            if found is not None and (found.mapping.kind, found.device_id, found.name) == ("command", device, name):
                assert matches(levels, candidate) <= (candidate in topics)
