"""What the audit log has of each action, and that it has no secret."""

import json

import jwt
import pytest
import pytest_twisted
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from dhtwisted.access import Permission
from dhtwisted.audit import Audit
from dhtwisted.line_limit import LINES_PER_WINDOW, WINDOW
from dhtwisted.testing.server import PASSWORD
from tests.rest_api import RestClient
from tests.rest_api import client as rest_client

WHO = {"user": 1, "login": "dhadmin", "address": "192.0.2.1", "connection": 1}


class Lines:
    """A file that keeps what is written, as long as there is room."""

    def __init__(self):
        self.records = []
        self.is_full = False

    def write(self, line):
        if self.is_full:
            raise OSError(28, "No space left on device")
        assert line.isascii()
        self.records.append(json.loads(line))

    def close(self):
        self.records.append("closed")


@pytest.fixture
def lines():
    return Lines()


@pytest_twisted.async_yield_fixture
async def audited(open_server, lines):
    """A server with an audit log."""
    memory = await open_server(hash_password=True)
    memory.server.audit = Audit(lines, memory.clock.seconds)
    yield memory


@pytest_twisted.async_yield_fixture
async def client(audited):
    """Its administrator."""
    yield await audited.client()


def about(record):
    """A record without what is the same in all of them."""
    return {name: value for name, value in record.items() if name not in {"time", *WHO}}


@pytest_twisted.ensureDeferred
async def test_users(client, lines):
    inserted = await client.call("user/insert", user={"login": "anna", "password": "hunter22", "role": 1, "data": {"a": "hunter23"}})
    user_id = inserted["user"]["id"]
    await client.call("user/update", userId=user_id, user={"password": "hunter24", "role": 0, "data": {"b": "hunter25"}})
    await client.call("user/update", userId=user_id, user={"status": 1})
    await client.call("user/delete", userId=user_id)
    what = {"result": "success", "kind": "user", "id": user_id, "name": "anna"}
    created = {"role": 1, "status": 0, "networkIds": [], "deviceTypeIds": [], "allDeviceTypesAvailable": True}
    assert [about(record) for record in lines.records] == [
        {"event": "user/insert", **what, "change": "created", "values": created},
        {
            "event": "user/update",
            **what,
            "change": "changed",
            "changed": ["password", "role", "data", "validFrom"],
            "values": {"role": [1, 0]},
        },
        {"event": "user/update", **what, "change": "changed", "changed": ["status", "validFrom"], "values": {"status": [0, 1]}},
        {"event": "user/delete", **what, "change": "deleted"},
    ]
    assert all(record.items() >= WHO.items() for record in lines.records)
    assert lines.records[0]["time"] == "2026-01-02T03:04:05.678Z"
    assert "hunter" not in json.dumps(lines.records)
    assert "scrypt" not in json.dumps(lines.records)


@pytest_twisted.ensureDeferred
async def test_assignments(audited, client, lines):
    user = await audited.add_user("anna")
    await client.call("user/assignNetwork", userId=user.id, networkId=1)
    await client.call("user/disallowAllDeviceTypes", userId=user.id)
    await client.call("user/assignDeviceType", userId=user.id, deviceTypeId=1)
    await client.call("user/unassignNetwork", userId=user.id, networkId=1)
    assert [(record["event"], record["values"]) for record in lines.records] == [
        ("user/assignNetwork", {"networkIds": [[], [1]]}),
        ("user/disallowAllDeviceTypes", {"allDeviceTypesAvailable": [True, False]}),
        ("user/assignDeviceType", {"deviceTypeIds": [[], [1]]}),
        ("user/unassignNetwork", {"networkIds": [[1], []]}),
    ]


@pytest_twisted.ensureDeferred
async def test_networks_device_types_and_configuration(client, lines):
    network = (await client.call("network/insert", network={"name": "Garden"}))["network"]["id"]
    await client.call("network/update", networkId=network, network={"name": "Yard", "description": "hunter22"})
    await client.call("network/delete", networkId=network)
    kind = (await client.call("devicetype/insert", deviceType={"name": "Pump"}))["deviceType"]["id"]
    await client.call("devicetype/update", deviceTypeId=kind, deviceType={"description": "wet"})
    await client.call("devicetype/delete", deviceTypeId=kind)
    await client.call("configuration/put", name="theme", value="hunter22")
    await client.call("configuration/put", name="theme", value="hunter23")
    await client.call("configuration/delete", name="theme")
    seen = [(record["event"], record["id"], record["name"], record["change"]) for record in lines.records]
    assert seen == [
        ("network/insert", network, "Garden", "created"),
        ("network/update", network, "Yard", "changed"),
        ("network/delete", network, "Yard", "deleted"),
        ("devicetype/insert", kind, "Pump", "created"),
        ("devicetype/update", kind, "Pump", "changed"),
        ("devicetype/delete", kind, "Pump", "deleted"),
        ("configuration/put", 1, "theme", "created"),
        ("configuration/put", 1, "theme", "changed"),
        ("configuration/delete", 1, "theme", "deleted"),
    ]
    assert lines.records[1]["changed"] == ["name", "description"]
    assert lines.records[7]["changed"] == ["value"]
    assert "hunter" not in json.dumps(lines.records)


@pytest_twisted.ensureDeferred
async def test_devices_are_recorded_only_when_they_change(client, lines):
    for name in ("one", "one", "two"):
        await client.call("device/save", deviceId="d1", device={"name": name, "data": {"a": 1}})
    await client.call("device/delete", deviceId="d1")
    changes = [(record["event"], record["change"], record.get("changed")) for record in lines.records]
    assert changes == [("device/save", "created", None), ("device/save", "changed", ["name"]), ("device/delete", "deleted", None)]
    assert lines.records[0]["values"] == {"networkId": 1, "deviceTypeId": 1, "isBlocked": False}


@pytest_twisted.ensureDeferred
async def test_messages_are_not_recorded(client, lines):
    await client.call("device/save", deviceId="d1", device={"name": "d1"})
    del lines.records[:]
    await client.call("notification/subscribe", deviceId="d1")
    await client.call("notification/insert", deviceId="d1", notification={"notification": "n"})
    await client.call("command/insert", deviceId="d1", command={"command": "c"})
    await client.call("user/list")
    assert lines.records == []


@pytest_twisted.ensureDeferred
async def test_logins(audited, lines):
    client = audited.connect()
    await client.call("token", login="dhadmin", password=PASSWORD)
    assert await client.refused("token", login="dhadmin", password="hunter22") == (401, "Invalid credentials")
    assert await client.refused("token", login="x" * 10_000, password="hunter22") == (401, "Invalid credentials")
    success, wrong, unknown = lines.records
    assert success.items() >= ({"event": "token", "result": "success", "for": 1, "rights": "*", "networks": ["*"]} | WHO).items()
    assert success["expires"] == "2026-01-02T03:34:05.678Z"
    assert about(wrong) == {"event": "token", "result": "refused", "code": 401, "error": "Invalid credentials"}
    assert wrong["login"] == "dhadmin"
    assert unknown["login"] == "x" * 128
    assert "hunter" not in json.dumps(lines.records)


@pytest_twisted.ensureDeferred
async def test_tokens(audited, client, lines):
    user = await audited.add_user("anna")
    reply = await client.call("token/create", payload={"userId": user.id, "actions": ["GetDevice", "GetNetwork"], "networkIds": ["1"]})
    await audited.connect().call("token/refresh", refreshToken=reply["refreshToken"])
    created, refreshed = lines.records
    rights = {"for": user.id, "rights": ["GetDevice", "GetNetwork"], "networks": ["1"], "deviceTypes": None}
    assert created.items() >= ({"event": "token/create", "result": "success"} | rights | WHO).items()
    assert refreshed.items() >= ({"event": "token/refresh", "user": user.id, "login": "anna"} | rights).items()
    text = json.dumps(lines.records)
    assert "eyJ" not in text
    assert reply["accessToken"][-20:] not in text


@pytest_twisted.ensureDeferred
async def test_refusals(audited, lines):
    stranger = audited.connect()
    anna = await audited.client(await audited.add_user("anna"), actions=frozenset({Permission.GET_DEVICE}))
    await stranger.refused("user/delete", userId=1)
    await anna.refused("user/delete", userId=1)
    await anna.refused("device/get", deviceId="d1")
    forged = jwt.encode({"payload": {"u": 1, "a": [0], "e": 10**15, "t": 1}}, b"?" * 32, "HS256")
    await stranger.refused("authenticate", token=forged)
    await stranger.refused("device/list", token=forged)
    refused = {"result": "refused"}
    assert [about(record) for record in lines.records] == [
        {"event": "user/delete", "kind": "user", **refused, "code": 401, "error": "Unauthorized"},
        {"event": "user/delete", "kind": "user", "id": 1, **refused, "code": 403, "error": "Access is denied"},
        {"event": "authenticate", **refused, "code": 401, "error": "Invalid credentials"},
        {"event": "authenticate", **refused, "code": 401, "error": "Invalid credentials"},
    ]
    assert "user" not in lines.records[0]
    assert lines.records[1]["login"] == "anna"
    assert "eyJ" not in json.dumps(lines.records)


@pytest_twisted.ensureDeferred
async def test_what_fails_is_recorded_as_well(client, lines):
    await client.refused("user/update", userId=99, user={"role": 0})
    await client.refused("device/save", deviceId="\0", device={"name": "x"})
    await client.refused("network/insert", network={"name": "Default Network"})
    assert [(record["event"], record["result"], record["code"]) for record in lines.records] == [
        ("user/update", "failed", 404),
        ("device/save", "failed", 400),
        ("network/insert", "refused", 403),
    ]


@pytest_twisted.ensureDeferred
async def test_strangers_do_not_fill_the_disk(audited, lines):
    stranger = audited.connect()
    for _ in range(LINES_PER_WINDOW + 9):
        await stranger.refused("user/delete", userId=1)
    assert len(lines.records) == LINES_PER_WINDOW
    audited.clock.advance(WINDOW)
    await stranger.refused("user/delete", userId=1)
    limited, after = lines.records[LINES_PER_WINDOW:]
    assert about(limited) == {"event": "audit/limited", "result": "failed", "of": "user/delete", "count": 9}
    assert after["event"] == "user/delete"


@pytest_twisted.ensureDeferred
async def test_a_full_disk_does_not_stop_the_server(audited, client, lines):
    lines.is_full = True
    with capturedLogs() as logs:
        for name in ("a1", "a2", "a3"):
            await client.call("network/insert", network={"name": name})
        lines.is_full = False
        await client.call("network/insert", network={"name": "a4"})
    assert audited.server.audit.lost == 3
    assert [event["log_level"] for event in logs] == [LogLevel.error, LogLevel.warn]
    written, lost = lines.records
    assert written["name"] == "a4"
    assert about(lost) == {"event": "audit/lost", "result": "failed", "count": 3}


def test_start_reload_and_stop(lines):
    audit = Audit(lines, Clock().seconds)
    audit.started(version="1")
    audit.reloaded(True, ["log.level"])
    audit.reloaded(False, [])
    audit.close()
    *records, closed = lines.records
    assert [(record["event"], record["result"], record.get("changed")) for record in records] == [
        ("server/start", "success", None),
        ("server/reload", "success", ["log.level"]),
        ("server/reload", "failed", []),
        ("server/stop", "success", None),
    ]
    assert closed == "closed"


def test_without_a_file_nothing_is_recorded():
    audit = Audit()
    audit.started()
    audit.reopen()
    audit.close()
    assert not audit.is_on


@pytest_twisted.ensureDeferred
async def test_rest_is_recorded_by_the_same_names(audited, lines):
    anna = rest_client(audited, await audited.add_user("anna"), actions=frozenset({Permission.GET_DEVICE}))
    del lines.records[:]
    assert (await rest_client(audited).send("POST", "network", {"name": "Garden"}))[0] == 201
    assert (await anna.send("POST", "network", {"name": "Yard"}))[0] == 403
    assert (await RestClient(audited).send("DELETE", "user/1"))[0] == 401
    assert (await RestClient(audited, "Bearer eyJ.no.token").send("GET", "device"))[0] == 401
    assert (await RestClient(audited, "Bearer eyJ.no.token").send("GET", "nowhere"))[0] == 401
    assert (await RestClient(audited).send("GET", "nowhere"))[0] == 404
    assert [(record["event"], record["result"], record.get("login")) for record in lines.records] == [
        ("network/insert", "success", "dhadmin"),
        ("network/insert", "refused", "anna"),
        ("user/delete", "refused", None),
        ("authenticate", "refused", None),
        ("authenticate", "refused", None),
    ]
