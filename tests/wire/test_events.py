"""Events, as subscribers get them (WebSocket reference, section 4.4)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.model import Command, Notification
from dhtwisted.wire.events import event_body, event_prefix

PLACE = {"device_id": "pump-4", "network_id": 3, "device_type_id": 1}


@pytest.mark.parametrize(("subscription_id", "text"), [(1700000000123004, 1700000000123004), (None, None)])
def test_an_event_is_one_object_of_two_parts(subscription_id, text):
    notification = Notification(name="temp", timestamp=0, id=1, **PLACE)
    event = json.loads(event_prefix("notification/insert", subscription_id) + event_body(notification))
    assert list(event) == ["action", "subscriptionId", "notification"]
    assert event["action"] == "notification/insert"
    assert event["subscriptionId"] == text
    command = Command(name="temp", timestamp=0, last_updated=0, id=1, **PLACE)
    assert list(json.loads(event_prefix("command/update", subscription_id) + event_body(command))) == [
        "action",
        "subscriptionId",
        "command",
    ]


@given(st.text(st.characters(codec="utf-8")))
def test_any_name_is_strict_json(name):
    notification = Notification(name=name, timestamp=0, id=1, **PLACE)
    assert json.loads(b"{" + event_body(notification))["notification"]["notification"] == name
