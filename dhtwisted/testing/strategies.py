"""Hypothesis strategies for what a server stores: entities, messages, JSON texts, queries.

There are few different values, so that examples have equal names, equal times, and several messages of one device.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from dhtwisted.model import (
    Command,
    Configuration,
    Device,
    DeviceToken,
    DeviceType,
    EntityQuery,
    Message,
    MessageQuery,
    MqttQueued,
    MqttReceived,
    MqttRetained,
    MqttSession,
    Network,
    Notification,
    StoredBytes,
    User,
    fold_login,
)
from dhtwisted.model.mqtt import NEVER, MqttSubscription, MqttWill, session_key

ODD_JSON = (
    b"{}",
    b"null",
    b' { "a" : 1 } ',
    b'{"price":1.10,"zero":-0.0,"exponent":1E5}',
    b'{"large":123456789012345678901234567890}',
    b'{"b":1,"a":2,"b":3}',
    b'{"nul":"\\u0000","escaped":"\\u00e9\\/\\ud83d\\ude00"}',
    '{"umlaut":"ä","rocket":"🚀"}'.encode(),
    b'"text"',
    b"[[[]]]",
)
"""Texts that a JSON library or a database might rewrite. They must come back byte for byte."""

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
"""Any text that a storage gets. The server refuses NUL characters and lone surrogates before."""

json_texts = st.sampled_from(ODD_JSON) | st.builds(
    lambda value, indent: json.dumps(value, indent=indent, ensure_ascii=False).encode(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
        max_leaves=5,
    ),
    st.none() | st.just(2),
)
"""JSON as clients may write it, in bytes."""

names = st.sampled_from(["on", "On", "off", "alarm", "Ärger", "!"])
device_ids = st.sampled_from(["a", "b", "c", "B-1"])
timestamps = st.integers(1_000_000, 1_000_010)
small_ids = st.integers(1, 9)
id_sets = st.frozensets(small_ids, max_size=3)
descriptions = st.none() | texts
owners = st.none() | small_ids
binaries = st.binary(max_size=20)
qos = st.integers(0, 2)
packet_ids = st.integers(0, 65_535)

users = st.builds(
    lambda login, **fields: User(login=login, login_key=fold_login(login), **fields),
    login=names,
    password=texts,
    role=st.integers(0, 1),
    status=st.integers(0, 2),
    data=st.none() | json_texts,
    intro_reviewed=st.booleans(),
    last_login=st.none() | timestamps,
    all_device_types_available=st.booleans(),
    network_ids=id_sets,
    device_type_ids=id_sets,
    valid_from=st.just(0) | timestamps,
    known_addresses=st.lists(st.tuples(st.sampled_from(["192.0.2.1", "2001:db8::/64"]), timestamps), max_size=3).map(tuple),
)
networks = st.builds(Network, name=names, description=descriptions, owner_id=owners)
device_types = st.builds(DeviceType, name=names, description=descriptions, owner_id=owners)
devices = st.builds(
    Device,
    id=device_ids,
    name=names | texts,
    network_id=small_ids,
    device_type_id=small_ids,
    data=st.none() | json_texts,
    is_blocked=st.booleans(),
    owner_id=owners,
)
configurations = st.builds(Configuration, name=names, value=texts, entity_version=st.integers(1, 2**31))
device_tokens = st.builds(DeviceToken, device_id=device_ids, user_id=small_ids, created=timestamps, expires=timestamps, label=descriptions)
stored_bytes = st.builds(StoredBytes, id=st.sampled_from(["20260102 user 3", "20260102 device a"]), size=st.integers(0, 2**60))
mqtt_sessions = st.builds(
    lambda user_id, client_id, **fields: MqttSession(id=session_key(user_id, client_id), user_id=user_id, client_id=client_id, **fields),
    user_id=st.integers(0, 3),
    client_id=texts,
    created=timestamps,
    version=st.sampled_from([3, 4, 5]),
    expiry=st.integers(0, NEVER),
    ended=st.none() | timestamps,
    subscriptions=st.lists(
        st.builds(MqttSubscription, texts, qos, st.booleans(), is_plain=st.booleans(), is_device=st.booleans()),
        max_size=3,
    ).map(tuple),
    will=st.none() | st.builds(MqttWill, texts, binaries, qos, delay=st.integers(0, 2**32 - 1)),
    claims=binaries,
    device_state=binaries,
    last_packet_id=packet_ids,
)
mqtt_retained = st.builds(
    MqttRetained,
    topic=texts.filter(bool),
    payload=binaries,
    qos=qos,
    published=timestamps,
    user_id=st.integers(0, 3),
    client_id=texts,
    properties=binaries,
    expires=st.none() | timestamps,
)
mqtt_queued = st.builds(
    MqttQueued.of,
    st.builds(session_key, st.integers(0, 3), texts),
    st.integers(0, 2**53 - 1),
    topic=texts,
    qos=st.integers(1, 2),
    packet_id=packet_ids,
    state=st.integers(0, 2),
    retain=st.booleans(),
    payload=binaries,
    properties=binaries,
    identifiers=st.lists(st.integers(1, 2**28 - 1), max_size=3).map(tuple),
    expires=st.none() | timestamps,
    message=st.sampled_from(["", "notification", "command_update"]),
    device_id=texts,
    message_id=st.integers(0, 2**53 - 1),
)
mqtt_received = st.builds(MqttReceived.of, st.builds(session_key, st.integers(0, 3), texts), packet_ids, st.integers(0, 255))

entities = st.one_of(
    users,
    networks,
    device_types,
    devices,
    configurations,
    device_tokens,
    stored_bytes,
    mqtt_sessions,
    mqtt_retained,
    mqtt_queued,
    mqtt_received,
)
"""Any entity, without an integer key: the storage sets it."""

_ADDRESSED = {"name": names, "device_id": device_ids, "network_id": small_ids, "device_type_id": small_ids}

commands = st.builds(
    Command,
    **_ADDRESSED,
    user_id=st.none() | small_ids,
    parameters=st.none() | json_texts,
    lifetime=st.none() | st.integers(0, 2**31),
    status=st.sampled_from([None, "", "Done", "done", "failed", "Straße"]),
    result=st.none() | json_texts,
    timestamp=st.none() | timestamps,
)
notifications = st.builds(Notification, **_ADDRESSED, parameters=st.none() | json_texts, timestamp=st.none() | timestamps)

messages = commands | notifications
"""Any message that is not stored yet."""

_message_ids = st.integers(1, 30)

stored_commands = st.builds(
    lambda command, since_then: replace(command, last_updated=command.timestamp + since_then, updated=bool(since_then)),
    st.builds(replace, commands, id=_message_ids, timestamp=timestamps, arrived=timestamps),
    st.integers(0, 5),
)
stored_notifications = st.builds(replace, notifications, id=_message_ids, timestamp=timestamps, arrived=timestamps)

stored_messages = st.lists(stored_commands | stored_notifications, max_size=15, unique_by=lambda message: (type(message), message.id))
"""Messages as a storage may have them, in any order; the ids of each kind have gaps."""

_takes = st.none() | st.integers(0, 5)


def _network_query(sort: str, value: str | None, key: int | None, **conditions: Any) -> EntityQuery:
    after = () if key is None else (key,) if sort in ("", "id") else (value or "" if sort == "name" else value, key)
    return EntityQuery(sort=sort, after=after, **conditions)


network_queries = st.builds(
    _network_query,
    key=st.none() | st.integers(0, 6),
    value=st.none() | names,
    equal=st.dictionaries(st.just("name"), names),
    like=st.dictionaries(st.sampled_from(["name", "description"]), st.text("%_onÄ!", max_size=5)),
    within=st.dictionaries(st.just("id"), id_sets),
    sort=st.sampled_from(["", "id", "name", "description"]),
    descending=st.booleans(),
    skip=st.integers(0, 3),
    take=_takes,
)
"""Queries of networks. Networks have a key, a unique field, and a field that may be absent."""


def message_queries(kind: type[Message]) -> st.SearchStrategy[MessageQuery]:
    """Queries of one kind of message."""
    statuses = {"status": st.sampled_from([None, "", "DONE", "failed", "STRASSE"])} if kind is Command else {}
    # by_update is allowed only together with updated.
    of_updates = [{"updated": True}, {"updated": True, "by_update": True}] if kind is Command else []
    times = st.sampled_from([{}, {"by_arrival": True}, *of_updates])

    def build(times: dict[str, Any], sort: str, place: tuple[Any, ...] | None, **conditions: Any) -> MessageQuery:
        behind = place and place[:2] if sort == "timestamp" else place and (place[2 if sort == "name" else 3], *place[:2])
        return MessageQuery(**times, sort=sort, behind=behind, **conditions)

    return st.builds(
        build,
        times=times,
        device_ids=st.none() | st.lists(device_ids, max_size=3).map(tuple),
        names=st.none() | st.lists(names, max_size=3).map(tuple),
        since=st.none() | timestamps,
        before=st.none() | timestamps,
        after=st.none() | st.tuples(timestamps, st.integers(0, 9)),
        place=st.none() | st.tuples(timestamps, st.integers(0, 9), names, st.sampled_from([None, "", "Done", "failed"])),
        sort=st.sampled_from(["timestamp", "name", *(["status"] if kind is Command else [])]),
        descending=st.booleans(),
        skip=st.integers(0, 3),
        take=_takes,
        **statuses,
    )
