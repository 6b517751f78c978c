"""REST without HTTP: routes, who asks, what is read of path, query and body, and errors."""

import json

import pytest
import pytest_twisted

from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.actions.table import WHOLE
from dhtwisted.core.access import Permission
from dhtwisted.fronts.rest.api import RestApi
from dhtwisted.fronts.rest.pending import ERROR_DELAY
from dhtwisted.testing.requests import nested
from dhtwisted.wire.coercion import readers
from dhtwisted.wire.fields import Fields
from tests.support.rest_api import WEBSOCKET_URL, RestClient, client

ENDPOINTS = [(action, route) for action in (*ACTIONS.values(), *REST_ONLY.values()) for route in action.routes]
DENIED, UNAUTHORIZED = {"error": 403, "message": "Access is denied"}, {"error": 401, "message": "Unauthorized"}
DEPTH = 128
"""Of ``limits.json_depth``."""

INVALID = {"error": 400, "message": "Invalid request parameters"}

each_endpoint = pytest.mark.parametrize(("action", "route"), ENDPOINTS, ids=lambda part: getattr(part, "path", ""))


def filled(route):
    return route.path.replace("{deviceId}", "pump").replace("{name}", "color").replace("{", "").replace("}", "")


def numbered(route):
    return "/".join(
        "1" if part.startswith("{") and part not in ("{deviceId}", "{name}") else part for part in route.path.split("/")
    ).replace("{deviceId}", "pump")


@each_endpoint
def test_a_route_names_members_of_its_request(action, route):
    members = readers(action.fields).keys() - readers(Fields).keys()
    assert set(route.places) <= members
    assert route.body in (None, WHOLE, *members)
    assert route.method in ("GET", "PUT", "POST", "DELETE")
    assert route.body is None or route.method in ("PUT", "POST")


def test_no_two_routes_are_the_same():
    shapes = [(route.method, *("{}" if part.startswith("{") else part for part in route.path.split("/"))) for _, route in ENDPOINTS]
    assert len(shapes) == len(set(shapes))


@each_endpoint
@pytest_twisted.ensureDeferred
async def test_who_says_nothing_of_himself_is_told_so_first(server, action, route):
    status, content = await RestClient(server).send(route.method, numbered(route) + "?waitTimeout=0", b"{")
    if action.permissions:
        assert (status, content) == (401, UNAUTHORIZED)
    else:
        assert status != 401 or content["message"] != "Unauthorized"


@each_endpoint
@pytest_twisted.ensureDeferred
async def test_a_permission_is_asked_before_the_request_is_read(server, action, route):
    mute = client(server, actions=frozenset({Permission.NONE}))
    status, content = await mute.send(route.method, numbered(route) + "?waitTimeout=0&take=x", b"{")
    assert (status, content) == (403, DENIED) if action.permissions else status != 403


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ("Basic abc", "Unauthorized"),
        ("Bearer", "Unauthorized"),
        ("Bearer x.y.z", "Unauthorized"),
        ("bearer x", "Unauthorized"),
        ("Bearers x.y.z", "Unauthorized"),
        ("Token x", "Unauthorized"),
        ("", "Unauthorized"),
    ],
)
@pytest.mark.parametrize("path", ["/info", "/device", "/nothing"])
@pytest_twisted.ensureDeferred
async def test_a_bad_header_is_refused_everywhere(server, path, authorization, text):
    assert await RestClient(server, authorization).send("GET", path) == (401, {"error": 401, "message": text})


@pytest_twisted.ensureDeferred
async def test_which_tokens_are_good(server):
    for scheme in ("Bearer ", "bearer ", "BEARER ", "bEARER  ", "Bearer"):
        assert (await RestClient(server, scheme + server.token()).send("GET", "/device"))[0] == 200
    expired, refresh = server.token(lifetime=-1), server.token(refresh=True)
    assert await RestClient(server, f"Bearer {expired}").send("GET", "/device") == (401, {"error": 401, "message": "Token expired"})
    assert await RestClient(server, f"Bearer {refresh}").send("GET", "/device") == (401, UNAUTHORIZED)


@pytest_twisted.ensureDeferred
async def test_paths_and_methods(server):
    admin = client(server)
    not_found = (404, {"error": 404, "message": "HTTP 404 Not Found"})
    for path in ("/nothing", "/device/a/b", "/device/command", "/device/pump/command/1/2"):
        status, content = await admin.send("GET", path)
        assert (status, content) == not_found or path == "/device/command"
    assert await admin.send("POST", "/device") == (405, {"error": 405, "message": "HTTP 405 Method Not Allowed"})
    assert await admin.send("DELETE", "/device/pump/command/1") == (405, {"error": 405, "message": "HTTP 405 Method Not Allowed"})


@pytest_twisted.ensureDeferred
async def test_literal_parts_win_but_only_where_they_lead_somewhere(server):
    admin = client(server)
    assert (await admin.send("PUT", "/device/command", {}))[0] == 204
    assert await admin.get("/device/count") == {"count": 1}
    assert await admin.get("/device/command/command") == []
    assert (await admin.get("/device/command"))["id"] == "command"


def test_methods_of_a_path(server):
    api = RestApi(server.server)
    assert api.methods(["device", "x"]) == ["DELETE", "GET", "HEAD", "OPTIONS", "PUT"]
    assert api.methods(["token"]) == ["GET", "HEAD", "OPTIONS", "POST"]
    assert api.methods(["nothing"]) is None


@pytest_twisted.ensureDeferred
async def test_ids_in_paths(server):
    admin = client(server)
    await admin.send("PUT", "/device/pump", {})
    assert await admin.send("GET", "/device/pump/command/x") == (400, INVALID)
    assert await admin.send("PUT", "/device/pump/command/x", {}) == (400, INVALID)
    assert await admin.send("GET", "/device/pump/command/x/poll?waitTimeout=0") == (400, INVALID)
    assert (await admin.send("GET", "/device/pump/notification/x"))[0] == 404
    assert (await admin.send("GET", "/device/pump/command/7")) == (404, {"error": 404, "message": "Command with id = 7 not found"})


@pytest.mark.parametrize("query", ["take=x", "skip=1.5", "networkId=a", "take=-1", "sortField=color", "take=99999999999999999999"])
@pytest_twisted.ensureDeferred
async def test_a_query_that_cannot_be_read(server, query):
    assert await client(server).send("GET", f"/device?{query}") == (400, INVALID)


@pytest_twisted.ensureDeferred
async def test_queries(server):
    admin = client(server)
    for name in ("a", "b", "c"):
        await admin.send("PUT", f"/device/{name}", {"name": name.upper()})
        await admin.send("POST", f"/device/{name}/notification", {"notification": "on", "timestamp": "2026-01-01T12:00:00.000"})

    async def ids(query):
        return [device["id"] for device in await admin.get(f"/device?{query}")]

    assert await ids("") == await ids("name&namePattern=&networkId=&take=&sortOrder=") == ["a", "b", "c"]
    assert await ids("name=B") == await ids("name=B&name=C") == ["b"]
    assert await ids("sortField=Name&sortOrder=desc&take=2") == ["c", "b"]
    assert await ids("unknown=1&token=x&action=y&requestId=z") == ["a", "b", "c"]
    assert await admin.send("GET", "/device?sortOrder=up") == (400, {"error": 400, "message": "Unparseable sort order : up"})
    for names in ("on", "on,off", "off,on", ",on,", "", "off&names=on"):
        assert len(await admin.get(f"/device/a/notification?start=2025-01-01&end=2026-01-02&names={names}")) == 1
    assert await admin.get("/device/a/notification?start=2025-01-01&end=2026-01-02&names=off") == []
    for start in ("2026-01-01T12:59:59+01:00", "2026-01-01T12:59:59%2B01:00", "2026-01-01T12:59:59+0100", "1767268799999"):
        assert len(await admin.get(f"/device/a/notification?start={start}&end=2026-01-02")) == 1
    assert await admin.send("GET", "/device/a/notification?start=soon") == (400, {"error": 400, "message": "Unparseable timestamp"})


@pytest_twisted.ensureDeferred
async def test_entity_lists_have_no_page_of_their_own(server):
    admin = client(server)
    for number in range(103):
        await admin.send("PUT", f"/device/d{number}", {})
        await admin.send("POST", "/device/d0/notification", {"notification": "n"})
    assert len(await admin.get("/device")) == 103
    assert len(await admin.get("/device/d0/notification")) == 100


@pytest_twisted.ensureDeferred
async def test_pages_of_messages_are_never_refused(server):
    admin = client(server)
    await admin.send("PUT", "/device/pump", {})
    for name in ("a", "b", "c"):
        await admin.send("POST", "/device/pump/command", {"command": name, "timestamp": f"2026-01-01T00:00:0{ord(name) - ord('a')}"})

    async def names(query):
        return "".join(command["command"] for command in await admin.get(f"/device/pump/command?{query}"))

    assert await names("") == await names("sortOrder=DESC") == await names("sortField=color") == "cba"
    assert await names("sortOrder=ASC") == await names("sortOrder=up") == "abc"
    assert await names("take=0") == await names("take=-1") == await names("skip=-1") == await names("skip=3") == ""
    assert await names("take=1&skip=1") == "b"


@pytest.mark.parametrize("body", [b"", b"null", b"  "])
@pytest_twisted.ensureDeferred
async def test_a_body_that_is_missing(server, body):
    missing = (400, {"error": 400, "message": "Error! Validation failed: Object is null"})
    for method, path in (("PUT", "/device/pump"), ("POST", "/device/pump/command"), ("POST", "/token"), ("POST", "/token/create")):
        assert await client(server).send(method, path, body, "text/plain") == missing


UPDATES = {
    "/network/{}": (1, 404, "Network with id = 999999 not found"),
    "/devicetype/{}": (1, 404, "Device type with id = 999999 not found"),
    "/user/{}": (1, 404, "User with id = 999999 not found"),
    "/device/pump/command/{}": (None, 404, "Command with id = 999999 not found"),
}


@pytest.mark.parametrize("body", [b"", b"null", b"  "])
@pytest.mark.parametrize("path", UPDATES)
@pytest_twisted.ensureDeferred
async def test_an_update_without_a_body_looks_for_the_object_first(server, path, body):
    admin = client(server)
    await admin.send("PUT", "/device/pump", {})
    known, status, text = UPDATES[path]
    if known is None:
        known = (await admin.send("POST", "/device/pump/command", {"command": "on"}))[1]["id"]
    assert await admin.send("PUT", path.format(999999), body) == (status, {"error": status, "message": text})
    missing = (400, {"error": 400, "message": "Error! Validation failed: Object is null"})
    assert await admin.send("PUT", path.format(known), body) == missing
    assert (await admin.send("PUT", path.format(known), {}))[0] == 204
    assert (await admin.send("PUT", path.format(999999), {}))[0] == 404


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/device/none/command"), ("POST", "/device/none/notification"), ("PUT", "/device/none")]
)
@pytest_twisted.ensureDeferred
async def test_what_is_made_is_looked_at_before_its_place(server, method, path):
    missing = (400, {"error": 400, "message": "Error! Validation failed: Object is null"})
    assert await client(server).send(method, path, b"") == missing


@pytest_twisted.ensureDeferred
async def test_an_update_of_a_command_without_a_change_is_refused_before_it_is_looked_for_by_websocket(server):
    admin = await server.client()
    await admin.call("device/save", deviceId="pump", device={})
    assert await admin.refused("command/update", deviceId="pump", commandId=999999) == (400, "Command is required")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"1",
        b'"x"',
        b'{"name":{}}',
        b'{"networkId":"x"}',
        b'{"data":1e999999}',
        b'{"data":"\xff"}',
        b'{"name":"\\ud800"}',
        b'{"data":' + b"[" * 200 + b"]" * 200 + b"}",
        b"NaN",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_body_that_cannot_be_read(server, body):
    assert await client(server).send("PUT", "/device/pump", body) == (400, INVALID)


@pytest.mark.parametrize(("levels", "is_taken"), [(DEPTH - 2, True), (DEPTH - 1, False)])
@pytest_twisted.ensureDeferred
async def test_a_body_may_be_as_deep_as_a_request_by_websocket(server, levels, is_taken):
    data = nested(levels)
    assert (await client(server).send("PUT", "/device/pump", b'{"data":%b}' % data))[0] == (204 if is_taken else 400)
    websocket = await server.client()
    websocket.send_text(b'{"action":"device/save","deviceId":"lamp","device":{"data":%b}}' % data)
    assert websocket.messages[-1]["status"] == ("success" if is_taken else "error")


@pytest_twisted.ensureDeferred
async def test_bodies_are_read_leniently_where_the_websocket_is(server):
    admin = client(server)
    assert (await admin.send("PUT", "/device/7", b'{"name":7,"networkId":"1","isBlocked":"true","id":3,"data":{"a":1,"a":2}}'))[0] == 204
    device = await admin.get("/device/7")
    assert (device["name"], device["networkId"], device["isBlocked"]) == ("7", 1, True)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 204),
        ("application/json", 204),
        ("Application/JSON; charset=utf-8", 204),
        ("application/merge-patch+json", 204),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
@pytest_twisted.ensureDeferred
async def test_types_of_bodies(server, content_type, status):
    answer = await client(server).send("PUT", "/device/pump", {}, content_type)
    assert answer == ((204, None) if status == 204 else (415, {"error": 415, "message": "HTTP 415 Unsupported Media Type"}))


@pytest_twisted.ensureDeferred
async def test_a_body_that_is_not_needed_is_not_read(server):
    admin = client(server)
    await admin.send("PUT", "/device/pump", {})
    assert (await admin.send("DELETE", "/device/pump", b"{", "text/plain"))[0] == 204


@pytest_twisted.ensureDeferred
async def test_a_token_in_a_body_or_query_authorizes_nothing(server):
    guest = RestClient(server)
    assert (await guest.send("GET", f"/device?token={server.token()}"))[0] == 401
    status, _ = await guest.send("POST", "/token/create", {"userId": 1, "token": server.token()})
    assert status == 401
    status, content = await guest.send("POST", "/token", {"login": "x", "password": "y", "token": "z", "requestId": 1})
    assert (status, content["message"]) == (401, "Invalid credentials")


@pytest_twisted.ensureDeferred
async def test_answers(server):
    admin = client(server)
    assert await admin.send("PUT", "/device/pump", {"data": {"b": 1}}) == (204, None)
    assert await admin.get("/device/pump") == {
        "id": "pump",
        "name": "pump",
        "data": {"b": 1},
        "networkId": 1,
        "deviceTypeId": 1,
        "isBlocked": False,
    }
    status, command = await admin.send("POST", "/device/pump/command", {"command": "on", "timestamp": "", "parameters": {"x": [1]}})
    assert (status, list(command)) == (201, ["id", "timestamp", "lastUpdated", "userId"])
    status, notification = await admin.send("POST", "/device/pump/notification", {"notification": "n"})
    assert (status, list(notification)) == (201, ["id", "timestamp"])
    assert await admin.send("POST", "/device/pump/notification", {}) == (400, INVALID)
    assert await admin.send("PUT", f"/device/pump/command/{command['id']}", {"status": "ok", "result": 1}) == (204, None)
    status, tokens = await admin.send("POST", "/token/create", {"userId": 1, "actions": ["*"]})
    assert (status, sorted(tokens)) == (201, ["accessToken", "refreshToken"])
    assert list(await RestClient(server).get("/info")) == ["apiVersion", "serverTimestamp", "webSocketServerUrl"]
    assert (await RestClient(server).get("/info"))["webSocketServerUrl"] == WEBSOCKET_URL


@pytest_twisted.ensureDeferred
async def test_a_refused_poll_is_held_back(server):
    guest = RestClient(server)
    answered = guest.send("GET", "/device/command/poll")
    server.clock.advance(ERROR_DELAY / 2)
    assert not answered.called
    server.clock.advance(ERROR_DELAY / 2)
    assert await answered == (401, UNAUTHORIZED)
    assert await guest.send("GET", "/device/command/poll?waitTimeout=0") == (401, UNAUTHORIZED)
    gone = guest.send("GET", "/device/notification/poll?waitTimeout=5")
    guest.caller.close()
    server.clock.advance(0)
    assert await gone == (401, UNAUTHORIZED)


def test_errors_are_json_whatever_is_in_them(server):
    from dhtwisted.errors import IllegalAction, UserNotFound
    from dhtwisted.fronts.rest.answers import error_answer

    assert json.loads(error_answer(IllegalAction('"\ud800\\'))[1])["error"] == 400
    assert error_answer(UserNotFound(3)) == (404, b'{"error":404,"message":"User with id = 3 not found"}')


@pytest.mark.parametrize(
    ("query", "message"),
    [("start=soon&take=many", "Unparseable timestamp"), ("take=many&start=soon", "Invalid request parameters")],
)
@pytest_twisted.ensureDeferred
async def test_of_two_wrong_parameters_the_first_is_reported(server, query, message):
    """The answer must not depend on the process, which orders a set of names by chance."""
    status, content = await client(server).send("GET", f"/device/pump/command?{query}")
    assert (status, content["message"]) == (400, message)
