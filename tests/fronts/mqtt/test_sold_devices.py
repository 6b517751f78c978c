"""Tasmota, Zigbee2MQTT, Shelly and Home Assistant, with the tables of docs/mqtt.md and what they really send.

Topics, payloads, order, QoS and retain are those of Tasmota 13, Zigbee2MQTT 2.14, Shelly's first and second generation, and Home Assistant
2024.3.
"""

import json

import pytest

from dhtwisted.model import Command, Device, Notification
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Connack, Puback, Suback
from tests.support.mqtt import sold_devices
from tests.support.mqtt.sold_devices import RETAIN, WILL_QOS_1, WILL_RETAIN, documented_tables

QOS_1 = 2
HEADINGS = "Tasmota", "Zigbee2MQTT", "Shelly", "Home Assistant"


@pytest.fixture(params=["alone", "together"])
def open_documented(request, open_hive):
    """Opens a server with the tables of one heading, or with those of all."""

    def open_one(heading):
        headings = [heading] if request.param == "alone" else HEADINGS
        return open_hive(map=tuple(table for one in headings for table in documented_tables(one)))

    return open_one


def begin(hive, device, *packets):
    """Connect a device as anna, and send what it sends then, packet by packet."""
    client = hive.client(4)
    client.send_bytes(device.greeting(hive.memory.token(hive.anna)))
    assert client.one(Connack).reason_code == 0
    send(client, *packets)
    return client


def send(client, *packets):
    for packet in packets:
        client.send_bytes(packet)
    assert not client.closed


def command(hive, device_id, name, value):
    """Insert a command as a program does."""
    fields = {"action": "command/insert", "deviceId": device_id, "command": {"command": name, "parameters": value}}
    hive.admin().publish("dh/request", json.dumps(fields, separators=(",", ":")).encode(), 1)


def heard(hive):
    """Device, name and parameters of all notifications, except those of the server."""
    found = [one for one in hive.stored(Notification) if not one.name.startswith("$")]
    return [(one.device_id, one.name, one.parameters) for one in found]


def device(hive, device_id):
    return at_once(hive.memory.server.entities.get(Device, device_id))


# Tasmota

TASMOTA_INFO_1 = (
    b'{"Info1":{"Module":"Sonoff Basic","Version":"13.4.0(tasmota)","FallbackTopic":"cmnd/DVES_8A3F21_fb/","GroupTopic":"cmnd/tasmotas/"}}'
)
TASMOTA_STATE = (
    b'{"Time":"2026-03-01T12:37:18","Uptime":"0T00:00:12","UptimeSec":12,"Heap":26,"SleepMode":"Dynamic","Sleep":50,"LoadAvg":19,'
    b'"MqttCount":1,"POWER":"OFF","Wifi":{"AP":1,"SSId":"home","BSSId":"E0:28:6D:EC:21:EA","Channel":6,"Mode":"11n","RSSI":62}}'
)
TASMOTA_SENSOR = b'{"Time":"2026-03-01T12:37:18","DS18B20":{"Id":"01131B123456","Temperature":20.6},"TempUnit":"C"}'


@pytest.mark.parametrize("subscribes_first", [False, True])
def test_tasmota(open_documented, subscribes_first):
    hive = open_documented("Tasmota")
    plug = sold_devices.Device("DVES_8A3F21", ("tele/tasmota_8A3F21/LWT", b"Offline"), WILL_QOS_1 | WILL_RETAIN, 30)
    online = [*plug.publish("tele/tasmota_8A3F21/LWT", b"Online", RETAIN), *plug.publish("cmnd/tasmota_8A3F21/POWER", b"")]
    filters = plug.subscribe("cmnd/tasmota_8A3F21/#", "cmnd/tasmotas/#", "cmnd/DVES_8A3F21_fb/#")
    client = begin(hive, plug, *(filters + online if subscribes_first else online + filters))
    assert [answer.reason_codes for answer in client.take(Suback)] == [[0], [0], [0]]
    send(
        client,
        *plug.publish("tasmota/discovery/DC4F228A3F21/config", b'{"ip":"192.168.1.20","dn":"Tasmota","t":"tasmota_8A3F21"}', RETAIN),
        *plug.publish("tele/tasmota_8A3F21/INFO1", TASMOTA_INFO_1),
        *plug.publish("stat/tasmota_8A3F21/RESULT", b'{"POWER":"OFF"}'),
        *plug.publish("stat/tasmota_8A3F21/POWER", b"OFF"),
        *plug.publish("tele/tasmota_8A3F21/STATE", TASMOTA_STATE),
        *plug.publish("tele/tasmota_8A3F21/SENSOR", TASMOTA_SENSOR),
    )
    command(hive, "tasmota-8A3F21", "POWER", "on")
    command(hive, "tasmota-8A3F21", "Backlog", "Power on; Delay 10; Power off")
    assert client.messages == [("cmnd/tasmota_8A3F21/POWER", b"on"), ("cmnd/tasmota_8A3F21/Backlog", b"Power on; Delay 10; Power off")]
    client.lose()
    values = b'"Online"', TASMOTA_INFO_1, b'{"POWER":"OFF"}', b'"OFF"', TASMOTA_STATE, TASMOTA_SENSOR, b'"Offline"'
    names = "LWT", "INFO1", "RESULT", "POWER", "STATE", "SENSOR", "LWT"
    assert heard(hive) == [("tasmota-8A3F21", name, value) for name, value in zip(names, values, strict=True)]
    assert device(hive, "tasmota-8A3F21").name == "tasmota_8A3F21"
    assert [one.name for one in hive.stored(Command)] == ["POWER", "POWER", "Backlog"]


# Zigbee2MQTT

LAMP = b'{"brightness":254,"color_mode":"color_temp","color_temp":370,"linkquality":120,"state":"ON"}'
BUTTON = b'{"action":"single","battery":97,"linkquality":87,"voltage":2965}'
ONLINE, OFFLINE = b'{"state":"online"}', b'{"state":"offline"}'


def test_zigbee2mqtt(open_documented):
    hive = open_documented("Zigbee2MQTT")
    bridge = sold_devices.Device("mqttjs_b54b4f6a", ("zigbee2mqtt/bridge/state", OFFLINE), WILL_QOS_1 | WILL_RETAIN)
    client = begin(hive, bridge, *bridge.publish("zigbee2mqtt/bridge/state", ONLINE, QOS_1 | RETAIN), *bridge.subscribe("zigbee2mqtt/#"))
    assert client.one(Suback).reason_codes == [0]
    send(
        client,
        *bridge.publish("zigbee2mqtt/bridge/info", b'{"version":"2.14.1","permit_join":false}', RETAIN),
        *bridge.publish("zigbee2mqtt/kitchen/lamp/availability", ONLINE, QOS_1 | RETAIN),
        *bridge.publish("zigbee2mqtt/kitchen/lamp", LAMP),
        *bridge.publish("zigbee2mqtt/0x00158d0004a1b2c3", BUTTON),
        *bridge.publish("zigbee2mqtt/0x00158d0004a1b2c3/action", b"single"),
        *bridge.publish("zigbee2mqtt/bridge/logging", b'{"level":"info","message":"Zigbee2MQTT started!","namespace":"z2m"}'),
    )
    command(hive, "kitchen-lamp", "set", {"state": "ON"})
    command(hive, "kitchen-lamp", "get", {"state": ""})
    command(hive, "zigbee2mqtt", "permit_join", {"time": 60})
    command(hive, "zigbee2mqtt", "device/rename", {"from": "0x00158d0004a1b2c3", "to": "button"})
    assert client.messages == [
        ("zigbee2mqtt/kitchen/lamp/set", b'{"state":"ON"}'),
        ("zigbee2mqtt/kitchen/lamp/get", b'{"state":""}'),
        ("zigbee2mqtt/bridge/request/permit_join", b'{"time":60}'),
        ("zigbee2mqtt/bridge/request/device/rename", b'{"from":"0x00158d0004a1b2c3","to":"button"}'),
    ]
    send(client, *bridge.publish("zigbee2mqtt/bridge/response/permit_join", b'{"data":{"time":60},"status":"ok"}'))
    client.lose()
    assert heard(hive) == [
        ("zigbee2mqtt", "state", ONLINE),
        ("zigbee2mqtt", "info", b'{"version":"2.14.1","permit_join":false}'),
        ("kitchen-lamp", "availability", ONLINE),
        ("kitchen-lamp", "state", LAMP),
        ("0x00158d0004a1b2c3", "state", BUTTON),
        ("0x00158d0004a1b2c3", "action", b'"single"'),
        ("zigbee2mqtt", "logging", b'{"level":"info","message":"Zigbee2MQTT started!","namespace":"z2m"}'),
        ("zigbee2mqtt", "response/permit_join", b'{"data":{"time":60},"status":"ok"}'),
        ("zigbee2mqtt", "state", OFFLINE),
    ]
    assert device(hive, "kitchen-lamp").name == "kitchen/lamp"


def test_a_retained_message_that_is_taken_back_creates_no_device(open_documented):
    """Zigbee2MQTT and Home Assistant do so when a device is renamed or removed."""
    hive = open_documented("Zigbee2MQTT")
    bridge = sold_devices.Device("z2m", ("zigbee2mqtt/bridge/state", OFFLINE), WILL_QOS_1 | WILL_RETAIN)
    client = begin(hive, bridge, *bridge.publish("zigbee2mqtt/old", b"", RETAIN))
    send(client, *bridge.publish("zigbee2mqtt/old/availability", b"", QOS_1 | RETAIN), *bridge.publish("zigbee2mqtt/lamp", b"", RETAIN))
    assert client.one(Puback).packet_id == 1
    assert device(hive, "old") is None
    assert heard(hive) == [("lamp", "state", None)]
    send(client, *bridge.publish("zigbee2mqtt/new", b""))
    assert device(hive, "new") is not None, "an empty message that is not retained is a message"


# Shelly

ANNOUNCE = b'{"id":"shellyplug-s-7A1B2C","model":"SHPLG-S","mac":"8CAAB57A1B2C","ip":"192.168.1.21","new_fw":false,"fw_ver":"v1.12.1"}'


def test_shelly_of_the_first_generation(open_documented):
    hive = open_documented("Shelly")
    base = "shellies/shellyplug-s-7A1B2C"
    plug = sold_devices.Device("shellyplug-s-7A1B2C", (f"{base}/online", b"false"), 0)
    client = begin(hive, plug, *plug.subscribe("shellies/command", f"{base}/command", f"{base}/relay/0/command", f"{base}/light/0/set"))
    assert [answer.reason_codes for answer in client.take(Suback)] == [[0]] * 4
    send(
        client,
        *plug.publish(f"{base}/online", b"true", RETAIN),
        *plug.publish("shellies/announce", ANNOUNCE),
        *plug.publish(f"{base}/announce", ANNOUNCE),
        *plug.publish(f"{base}/relay/0", b"off"),
        *plug.publish(f"{base}/relay/0/power", b"0.00"),
        *plug.publish(f"{base}/temperature", b"24.51"),
        *plug.publish(f"{base}/input_event/0", b'{"event":"S","event_cnt":2}'),
    )
    command(hive, "shellyplug-s-7A1B2C", "relay/0", "on")
    command(hive, "shellyplug-s-7A1B2C", "command", "announce")
    command(hive, "shellyplug-s-7A1B2C", "light/0/set", {"turn": "on"})
    command(hive, "shellies", "command", "update")
    assert client.messages == [
        (f"{base}/relay/0/command", b"on"),
        (f"{base}/command", b"announce"),
        (f"{base}/light/0/set", b'{"turn":"on"}'),
        ("shellies/command", b"update"),
    ]
    client.lose()
    names = "online", "announce", "announce", "relay/0", "relay/0/power", "temperature", "input_event/0", "online"
    values = b"true", ANNOUNCE, ANNOUNCE, b'"off"', b"0.00", b"24.51", b'{"event":"S","event_cnt":2}', b"false"
    ids = ["shellyplug-s-7A1B2C"] * 8
    ids[1] = "shellies"
    assert heard(hive) == list(zip(ids, names, values, strict=True))


SHELLY = "shellyplus1-a8032abe54dc"
NOTIFY = (
    b'{"src":"shellyplus1-a8032abe54dc","dst":"shellyplus1-a8032abe54dc/events","method":"NotifyStatus",'
    b'"params":{"ts":1625575190.83,"switch:0":{"id":0,"output":true,"source":"MQTT"}}}'
)
STATUS = b'{"id":0,"source":"MQTT","output":true,"temperature":{"tC":52.6,"tF":126.7}}'
ANSWER = b'{"id":1,"src":"shellyplus1-a8032abe54dc","dst":"shellyplus1-a8032abe54dc/reply","result":{"was_on":false}}'


def test_shelly_of_later_generations(open_documented):
    hive = open_documented("Shelly")
    relay = sold_devices.Device(SHELLY, (f"{SHELLY}/online", b"false"), 0)
    client = begin(hive, relay, *relay.subscribe(f"{SHELLY}/rpc", f"{SHELLY}/command", f"{SHELLY}/command/switch:0"))
    assert [answer.reason_codes for answer in client.take(Suback)] == [[0]] * 3
    send(client, *relay.publish(f"{SHELLY}/online", b"true", RETAIN))
    request = {"id": 1, "src": f"{SHELLY}/reply", "method": "Switch.Set", "params": {"id": 0, "on": True}}
    command(hive, SHELLY, "rpc", request)
    command(hive, SHELLY, "command", "status_update")
    command(hive, SHELLY, "switch:0", "on")
    (topic, payload), *others = client.messages
    assert (topic, json.loads(payload)) == (f"{SHELLY}/rpc", request)
    assert others == [(f"{SHELLY}/command", b"status_update"), (f"{SHELLY}/command/switch:0", b"on")]
    send(
        client,
        *relay.publish(f"{SHELLY}/reply/rpc", ANSWER),
        *relay.publish(f"{SHELLY}/status/switch:0", STATUS),
        *relay.publish(f"{SHELLY}/events/rpc", NOTIFY),
    )
    client.lose()
    names = "online", "reply", "switch:0", "event", "online"
    values = b"true", ANSWER, STATUS, NOTIFY, b"false"
    assert heard(hive) == [(SHELLY, name, value) for name, value in zip(names, values, strict=True)]


# Home Assistant

DISCOVERY = (
    b'{"device":{"identifiers":["zigbee2mqtt_0x00158d0004a1b2c3"],"manufacturer":"Xiaomi","name":"button"},"device_class":"battery",'
    b'"state_topic":"zigbee2mqtt/button","unit_of_measurement":"%","value_template":"{{ value_json.battery }}"}'
)


def test_home_assistant(open_documented):
    hive = open_documented("Home Assistant")
    home = sold_devices.Device("0sHqvXdJz1c3Xk2VhP6q7A", ("homeassistant/status", b"offline"), 0)
    client = begin(hive, home, *home.publish("homeassistant/status", b"online"))
    base = "statestream/sensor/kitchen_temperature"
    send(
        client,
        *home.publish(f"{base}/state", b"21.5", QOS_1 | RETAIN),
        *home.publish(f"{base}/last_updated", b"2026-03-01T12:37:18.123456+00:00", QOS_1 | RETAIN),
        *home.publish(f"{base}/friendly_name", b'"Kitchen temperature"', QOS_1 | RETAIN),
        *home.publish("statestream/light/k\u00fcche/state", b"unavailable", QOS_1 | RETAIN),
        *home.publish("homeassistant/sensor/0x00158d0004a1b2c3/battery/config", DISCOVERY, QOS_1 | RETAIN),
        *home.publish("homeassistant/device/node_1/config", b'{"dev":{"ids":"node_1"},"cmps":{}}', RETAIN),
        *home.publish("homeassistant/sensor/gone/battery/config", b"", QOS_1 | RETAIN),
    )
    assert len(client.take(Puback)) == 6
    client.lose()
    assert heard(hive) == [
        ("homeassistant", "status", b'"online"'),
        ("sensor-kitchen-temperature", "state", b"21.5"),
        ("sensor-kitchen-temperature", "last_updated", b'"2026-03-01T12:37:18.123456+00:00"'),
        ("sensor-kitchen-temperature", "friendly_name", b'"Kitchen temperature"'),
        ("light-k-che", "state", b'"unavailable"'),
        ("0x00158d0004a1b2c3", "config/sensor/battery", DISCOVERY),
        ("node-1", "config/device", b'{"dev":{"ids":"node_1"},"cmps":{}}'),
        ("homeassistant", "status", b'"offline"'),
    ]
    assert device(hive, "gone") is None
