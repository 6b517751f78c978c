"""Many messages as JSON: the same bytes as one by one."""

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dhtwisted.model import Command, Notification
from dhtwisted.testing.strategies import json_texts, stored_commands, stored_notifications
from dhtwisted.wire.envelope import encode
from dhtwisted.wire.events import event_bodies, event_body
from dhtwisted.wire.message_texts import MAX_TEMPLATES, message_texts
from dhtwisted.wire.resources import CommandResource, NotificationResource
from dhtwisted.wire.timestamps import LATEST

PLACE = {"device_id": "pump-4", "network_id": 3, "device_type_id": 1}

any_text = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["%d", "%%", "\0b", '"\\', "Ärger", "🚀"])
ids = st.integers(0, 2**63 - 1)
times = st.integers(0, LATEST + 5) | st.integers(1_767_323_045_000, 1_767_323_047_000)
payloads = st.none() | json_texts | st.sampled_from([b'"%s %d %%"', b"null", b"{}"])
texts = any_text | st.sampled_from(["on", "off"])

odd_commands = st.builds(
    replace,
    stored_commands,
    name=texts,
    id=ids,
    network_id=ids,
    user_id=st.none() | ids,
    timestamp=times,
    last_updated=times,
    lifetime=st.none() | ids,
    status=st.none() | any_text,
    parameters=payloads,
    result=payloads,
)
odd_notifications = st.builds(replace, stored_notifications, name=texts, id=ids, network_id=ids, timestamp=times, parameters=payloads)
pages = st.lists(stored_commands | stored_notifications | odd_commands | odd_notifications, max_size=12)


@given(pages)
def test_the_texts_are_those_of_the_resources(messages):
    resources = {Command: CommandResource.of, Notification: NotificationResource.of}
    assert message_texts(messages) == [encode(resources[type(message)](message)) for message in messages]


@given(pages)
def test_the_bodies_of_many_events_are_those_of_each(messages):
    assert event_bodies(messages) == [event_body(message) for message in messages]


def test_no_message_has_no_body():
    assert event_bodies([]) == []


def test_an_iterator_of_messages_will_do():
    messages = [Notification(name="on", timestamp=time, id=time, **PLACE) for time in range(3)]
    assert [json.loads(text)["id"] for text in message_texts(iter(messages))] == [0, 1, 2]


def test_what_differs_in_one_field_has_a_template_of_its_own():
    place = PLACE | {"name": "on"}
    first = Command(timestamp=0, last_updated=0, id=1, user_id=1, lifetime=1, status="1", **place)
    others = {"name": "1", "device_id": "1", "network_id": 2, "device_type_id": 2, "user_id": None, "lifetime": None, "status": None}
    messages = [first, *(replace(first, **{field: value}) for field, value in others.items()), first]
    assert event_bodies(messages) == [event_body(message) for message in messages]


def test_more_names_than_templates_are_kept_are_right_too():
    messages = [Notification(name=f"name {number}", timestamp=number, id=number, **PLACE) for number in range(MAX_TEMPLATES + 10)]
    assert event_bodies(messages + messages) == [event_body(message) for message in messages + messages]
