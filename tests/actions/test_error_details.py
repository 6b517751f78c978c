"""An error's ``detail`` names the member at fault, and never holds what the client sent."""

import json
from typing import get_args, get_origin

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct
from msgspec.structs import fields as fields_of
from twisted.logger import LogLevel, globalLogPublisher

from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.actions.table import WHOLE
from dhtwisted.fronts.rest.endpoint import COMMON, STRICT
from dhtwisted.wire.coercion import readers
from dhtwisted.wire.declared import plain_type
from dhtwisted.wire.fields import Timestamp
from tests.support.rest_api import client

SECRET = "zq~wx"


def misfits(kind, prefix=""):
    """A wrong value for every typed member of a struct: path -> members."""
    for wire_name, reader in readers(kind).items():
        path = prefix + wire_name
        if reader.kind is Raw or (not prefix and wire_name == "requestId"):
            continue
        yield path, {wire_name: wrong(reader)}
        if reader.is_list:
            if plain_type(get_args(reader.kind)[0]) is not Raw:
                good = 7
                yield f"{path}[1]", {wire_name: [good, {SECRET: SECRET}]}
                yield f"{path}[2]", {wire_name: [good, good, None]}
        elif isinstance(reader.kind, type) and issubclass(reader.kind, Struct):
            for inner, members in misfits(reader.kind, f"{path}."):
                yield inner, {wire_name: members}


def wrong(reader):
    """A value that no reader of this type takes."""
    return SECRET if reader.is_list or reader.kind in (int, Timestamp) else [SECRET]


MESSAGES = [(name, path, members) for name, action in ACTIONS.items() for path, members in misfits(action.fields)]
ROUTES = [(action, route) for action in (*ACTIONS.values(), *REST_ONLY.values()) for route in action.routes]


def bodies(action, route):
    """A wrong body for every member of a body: path -> JSON."""
    if route.body is None:
        return
    if route.body == WHOLE:
        yield from ((path, members) for path, members in misfits(action.fields) if path not in COMMON | set(route.places))
        return
    yield from misfits(readers(action.fields)[route.body].kind)


def path_of(route, **places):
    return route.path.format(**dict.fromkeys(route.places, "1") | places)


def test_there_are_members_of_all_sorts():
    kinds = {get_origin(reader.kind) or reader.kind for action in ACTIONS.values() for reader in readers(action.fields).values()}
    assert {str, int, bool, list, Timestamp} <= kinds
    assert len(MESSAGES) > 150


@pytest.mark.parametrize(("action", "path", "members"), MESSAGES, ids=[f"{action}-{path}" for action, path, _ in MESSAGES])
@pytest_twisted.ensureDeferred
async def test_a_message_with_a_member_of_the_wrong_type(server, action, path, members):
    reply = await (await server.client()).request(action, **members)
    assert reply["code"] == 400
    assert reply["detail"].startswith(f"{path} must be "), reply["detail"]
    assert SECRET not in reply["detail"]


@pytest.mark.parametrize(("action", "route"), ROUTES, ids=[f"{route.method}-{route.path}" for _, route in ROUTES])
@pytest_twisted.ensureDeferred
async def test_a_rest_request_with_a_member_of_the_wrong_type(server, action, route):
    rest = client(server)

    async def detail(path, body=None, status=400):
        answer = rest.send(route.method, path, body)
        server.clock.advance(1)
        assert (await answer)[0] == status, path
        assert SECRET not in rest.detail
        return rest.detail

    known = readers(action.fields)
    for place in route.places:
        if known[place].kind is int:
            status = 400 if route.bad_id == 400 and place == route.places[-1] else 404
            assert f"{place} must be " in await detail(path_of(route, **{place: SECRET}), status=status)
    for path, body in bodies(action, route):
        assert (await detail(path_of(route), body)).startswith(f"{path} must be ")
    if route.body is not None:
        return
    for name in known.keys() - COMMON - set(route.places):
        kind = get_args(known[name].kind)[0] if known[name].is_list else known[name].kind
        if get_args(kind)[:1] == (int,) or kind in (int, Timestamp):
            place = f"{name}[0]" if known[name].is_list else name
            assert (await detail(f"{path_of(route)}?{name}={SECRET}")).startswith(f"{place} must be ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b'{"action":', "is not JSON: it cannot be read from character 11 on"),
        (b"[]", "must be a JSON object"),
        (b'{"action":"device/list","x":NaN}', "is not JSON: NaN and Infinity are not JSON numbers"),
        (b'{"action":"device/list","x":"\\ud800"}', "has half of a surrogate pair"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_json_that_cannot_be_read(server, text, fault):
    websocket = await server.client()
    websocket.send_text(text)
    assert websocket.messages[-1]["detail"].startswith(f"the message {fault}")
    rest = client(server)
    await rest.send("POST", "/network", text.replace(b'"action"', b'"name"'))
    assert rest.detail.startswith("the body must be a JSON object" if text == b"[]" else "the body ") or "name" in rest.detail


@pytest_twisted.ensureDeferred
async def test_payloads_that_cannot_be_kept_are_named(server):
    websocket = await server.client()
    await websocket.call("device/save", deviceId="pump", device={})
    for number in ("1e999", "9" * 5000):
        websocket.send_text(f'{{"action":"command/insert","deviceId":"pump","command":{{"command":"x","parameters":[{number}]}}}}'.encode())
        assert websocket.messages[-1]["detail"].startswith("command.parameters has a number that is too large")
        rest = client(server)
        await rest.send("POST", "/device/pump/command", f'{{"command":"x","parameters":[{number}]}}'.encode())
        assert rest.detail.startswith("parameters has a number that is too large")


REFUSED = [
    ("device/list", {"sortField": SECRET}, "sortField must be one of name, network, devicetype, status"),
    ("device/list", {"take": -1}, "take must not be below 0"),
    ("device/list", {"skip": -1}, "skip must not be below 0"),
    ("device/list", {"sortOrder": SECRET}, "sortOrder must be ASC or DESC"),
    ("device/list", {"namePattern": SECRET + "\0"}, "namePattern must have at most 256 characters"),
    ("device/save", {"deviceId": "d"}, "device is missing"),
    ("device/save", {"deviceId": "d", "device": {"networkId": 99}}, "device.networkId must be the id of a network"),
    ("device/save", {"deviceId": "d", "device": {"name": SECRET * 99}}, "device.name must have 1 to 128 characters"),
    ("device/save", {"deviceId": "d", "device": {"name": "\0"}}, "device.name must have"),
    ("device/get", {}, "deviceId is missing"),
    ("command/insert", {"deviceId": "pump", "command": {}}, "command.command is missing"),
    ("command/subscribe", {"names": ["a", SECRET * 99]}, "names[1] must have at most"),
    ("network/insert", {"network": {}}, "network.name must have 1 to 128"),
    ("network/insert", {"network": {"name": "n", "id": 7}}, "network.id must be left out"),
    ("devicetype/insert", {"deviceType": {"name": SECRET * 99}}, "deviceType.name must have"),
    ("token/create", {"payload": {"userId": 1, "networkIds": ["*", SECRET]}}, "payload.networkIds[1] must be an id"),
    ("token/create", {"payload": {"userId": 1, "actions": ["*", [SECRET]]}}, "payload.actions[1] must be the name"),
    ("token/refresh", {}, "refreshToken is missing"),
    ("user/insert", {"user": {"login": "a b c", "password": SECRET * 3, "role": 1}}, "user.login must have only"),
    ("user/insert", {"user": {"login": "abc", "password": SECRET}}, "user.password must have 6 to 128"),
    ("user/insert", {"user": {"login": "abc", "password": SECRET * 3, "role": 7}}, "user.role must be 0"),
    ("user/insert", {"user": {"login": "abc", "password": SECRET * 3, "role": 1, "status": 9}}, "user.status must be 0"),
    ("configuration/put", {"name": "n"}, "value is missing"),
    (SECRET, {}, "the server has no action"),
]


@pytest.mark.parametrize(("action", "members", "detail"), REFUSED, ids=[detail for *_, detail in REFUSED])
@pytest_twisted.ensureDeferred
async def test_what_a_handler_refuses(server, action, members, detail):
    websocket = await server.client()
    await websocket.call("device/save", deviceId="pump", device={})
    reply = await websocket.request(action, **members)
    assert (reply["code"], reply["detail"][: len(detail)]) == (400, detail)
    assert SECRET not in reply["detail"]


@pytest_twisted.ensureDeferred
async def test_a_body_is_called_so_over_rest(server):
    rest = client(server)
    for path, body, detail in (
        ("/user", {"login": "abc", "password": "short"}, "password must have 6 to 128 characters"),
        ("/network", b"", "the body is missing; send JSON"),
        ("/network", {}, "name must have 1 to 128 characters"),
        ("/network", [], "the body must be a JSON object"),
    ):
        assert (await rest.send("POST", path, body))[0] == 400
        assert rest.detail == detail


@pytest_twisted.ensureDeferred
async def test_a_missing_permission_is_named_but_no_object_is_told_of(server):
    anna = await server.add_user("anna")
    bare = await server.client(anna, actions=frozenset({3}))
    assert (await bare.request("user/list"))["detail"] == "the token lacks the permission ManageUser"
    await (await server.client()).call("device/save", deviceId="hidden", device={})
    replies = [await bare.request("device/get", deviceId=name) for name in ("hidden", "absent")]
    assert [reply | {"requestId": 0} for reply in replies] == [replies[0] | {"requestId": 0}] * 2
    assert "detail" not in replies[0]
    stranger = await server.connect().request("user/list")
    assert "detail" not in stranger
    assert "detail" not in await server.connect().request("token", login="anna", password="not it")


TEXTS = st.text("abcdefghijklmnopqrstuvwxyz\0é 0", max_size=300).map(lambda text: f"{SECRET}{text}")
VALUES = st.recursive(
    TEXTS | st.just(10**80) | st.just(-1), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner), max_leaves=4
)


def requests_of(action):
    """Requests of an action of which members have any values, also inside objects."""

    def members(kind):
        names = {field.encode_name: reader for field, reader in zip(fields_of(kind), readers(kind).values(), strict=True)}
        return st.fixed_dictionaries({}, optional={name: VALUES | inner(reader) for name, reader in names.items() if name != "requestId"})

    def inner(reader):
        return members(reader.kind) if isinstance(reader.kind, type) and issubclass(reader.kind, Struct) else TEXTS

    return members(action.fields).map(lambda given: {"action": action.name} | given)


# What hashes in a thread is answered later.
ASKED = st.sampled_from([action for action in ACTIONS.values() if action.name != "token"]).flatmap(requests_of)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ASKED)
@pytest_twisted.ensureDeferred
async def test_no_detail_holds_what_was_sent(server, request_members):
    websocket = await server.client()
    websocket.send_text(json.dumps(request_members).encode())
    details = [message["detail"] for message in websocket.messages if "detail" in message]
    assert not any(SECRET in detail for detail in details)


def test_no_action_has_a_member_of_its_own_that_is_called_strict():
    assert not [action.name for action in (*ACTIONS.values(), *REST_ONLY.values()) if STRICT in readers(action.fields)]


@pytest.mark.parametrize("value", ["true", "TRUE"])
@pytest_twisted.ensureDeferred
async def test_strict_refuses_unknown_parameters(server, value):
    rest = client(server)
    assert (await rest.send("GET", f"/device?strict={value}&take=1"))[0] == 200
    assert (await rest.send("GET", f"/device?strict={value}&tak=1")) == (400, {"error": 400, "message": "Invalid request parameters"})
    assert rest.detail.startswith("the query of this request has no parameter 'tak'; the parameters are take, deviceTypeId, name, ")
    assert (await rest.send("GET", f"/device/count?strict={value}&take=1"))[0] == 400
    assert (await rest.send("POST", f"/network?strict={value}&name=n", {"name": "n"}))[0] == 400
    assert rest.detail == "the query of this request has no parameter 'name'; it has no parameters"
    assert (await rest.send("POST", f"/network?strict={value}", {"name": "n"}))[0] == 201


@pytest.mark.parametrize("query", ["tak=1", "strict=false&tak=1", "strict=&tak=1"])
@pytest_twisted.ensureDeferred
async def test_else_unknown_parameters_are_ignored(server, query):
    assert (await client(server).send("GET", f"/device?{query}"))[0] == 200


@pytest.mark.parametrize("level", ["debug", "info"])
@pytest_twisted.ensureDeferred
async def test_the_log_names_unknown_parameters_at_debug(open_server, level):
    server, events = await open_server(log={"level": level}), []
    globalLogPublisher.addObserver(events.append)
    try:
        query = "&".join(f"p{number:02}{'x' * 500}=1" for number in range(50))
        await client(server).send("GET", f"/device?take=1&{query}")
        await client(server).send("GET", "/device?take=1")
    finally:
        globalLogPublisher.removeObserver(events.append)
    lines = [event for event in events if "which were ignored" in (event.get("log_format") or "")]
    assert len(lines) == (level == "debug")
    for line in lines:
        assert (line["log_level"], line["action"], line["address"]) == (LogLevel.debug, "device/list", "192.0.2.1")
        assert line["names"].startswith("p00x") and len(line["names"]) < 800
