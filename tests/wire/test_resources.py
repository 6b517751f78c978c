"""What the server keeps, as clients see it (WebSocket reference, section 5)."""

import json

from hypothesis import given

from dhtwisted.model import Command, Device, Notification
from dhtwisted.testing.strategies import json_texts
from dhtwisted.wire.envelope import encode
from dhtwisted.wire.resources import CommandResource, DeviceResource, NotificationResource

PLACE = {"device_id": "pump-4", "network_id": 3, "device_type_id": 1}


def test_a_command_has_all_its_members_and_nulls():
    command = Command(name="reboot", timestamp=1_767_323_045_678, last_updated=1_767_323_045_679, id=7001, **PLACE)
    assert json.loads(encode(CommandResource.of(command))) == {
        "id": 7001,
        "command": "reboot",
        "timestamp": "2026-01-02T03:04:05.678",
        "lastUpdated": "2026-01-02T03:04:05.679",
        "userId": None,
        "deviceId": "pump-4",
        "networkId": 3,
        "deviceTypeId": 1,
        "parameters": None,
        "lifetime": None,
        "status": None,
        "result": None,
    }


def test_a_notification_has_all_its_members_and_nulls():
    notification = Notification(name="temp", timestamp=1_767_323_045_678, id=88, **PLACE)
    assert json.loads(encode(NotificationResource.of(notification))) == {
        "id": 88,
        "notification": "temp",
        "deviceId": "pump-4",
        "networkId": 3,
        "deviceTypeId": 1,
        "timestamp": "2026-01-02T03:04:05.678",
        "parameters": None,
    }


def test_a_device_has_all_its_members_and_nulls():
    device = Device(id="pump-4", name="Pump 4", network_id=3, device_type_id=1)
    assert json.loads(encode(DeviceResource.of(device))) == {
        "id": "pump-4",
        "name": "Pump 4",
        "data": None,
        "networkId": 3,
        "deviceTypeId": 1,
        "isBlocked": False,
    }


@given(json_texts, json_texts)
def test_payloads_pass_byte_for_byte(parameters, result):
    command = Command(name="x", timestamp=0, last_updated=0, parameters=parameters, result=result, **PLACE)
    text = encode(CommandResource.of(command))
    assert b'"parameters":' + parameters + b"," in text
    assert text.endswith(b'"result":' + result + b"}")
