"""What the audit log has of each action, and that it has no secret."""

import json

import jwt
import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred

from dhtwisted.core.access import Permission
from dhtwisted.logs.masking import digest
from dhtwisted.testing.server import PASSWORD
from tests.support.auditing import WHO, about
from tests.support.rest_api import RestClient
from tests.support.rest_api import client as rest_client


@pytest_twisted.ensureDeferred
async def test_users(administrator, audit_lines):
    inserted = await administrator.call("user/insert", user={"login": "anna", "password": "hunter22", "role": 1, "data": {"a": "hunter23"}})
    user_id = inserted["user"]["id"]
    await administrator.call("user/update", userId=user_id, user={"password": "hunter24", "role": 0, "data": {"b": "hunter25"}})
    await administrator.call("user/update", userId=user_id, user={"status": 1})
    await administrator.call("user/delete", userId=user_id)
    what = {"result": "success", "kind": "user", "id": user_id, "name": "anna"}
    created = {"role": 1, "status": 0, "networkIds": [], "deviceTypeIds": [], "allDeviceTypesAvailable": True}
    assert [about(record) for record in audit_lines.records] == [
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
    assert all(record.items() >= WHO.items() for record in audit_lines.records)
    assert audit_lines.records[0]["time"] == "2026-01-02T03:04:05.678Z"
    assert "hunter" not in json.dumps(audit_lines.records)
    assert "scrypt" not in json.dumps(audit_lines.records)


@pytest_twisted.ensureDeferred
async def test_assignments(audited, administrator, audit_lines):
    user = await audited.add_user("anna")
    await administrator.call("user/assignNetwork", userId=user.id, networkId=1)
    await administrator.call("user/disallowAllDeviceTypes", userId=user.id)
    await administrator.call("user/assignDeviceType", userId=user.id, deviceTypeId=1)
    await administrator.call("user/unassignNetwork", userId=user.id, networkId=1)
    assert [(record["event"], record["values"]) for record in audit_lines.records] == [
        ("user/assignNetwork", {"networkIds": [[], [1]]}),
        ("user/disallowAllDeviceTypes", {"allDeviceTypesAvailable": [True, False]}),
        ("user/assignDeviceType", {"deviceTypeIds": [[], [1]]}),
        ("user/unassignNetwork", {"networkIds": [[1], []]}),
    ]


@pytest_twisted.ensureDeferred
async def test_networks_device_types_and_configuration(administrator, audit_lines):
    network = (await administrator.call("network/insert", network={"name": "Garden"}))["network"]["id"]
    await administrator.call("network/update", networkId=network, network={"name": "Yard", "description": "hunter22"})
    await administrator.call("network/delete", networkId=network)
    kind = (await administrator.call("devicetype/insert", deviceType={"name": "Pump"}))["deviceType"]["id"]
    await administrator.call("devicetype/update", deviceTypeId=kind, deviceType={"description": "wet"})
    await administrator.call("devicetype/delete", deviceTypeId=kind)
    await administrator.call("configuration/put", name="theme", value="hunter22")
    await administrator.call("configuration/put", name="theme", value="hunter23")
    await administrator.call("configuration/delete", name="theme")
    seen = [(record["event"], record["id"], record["name"], record["change"]) for record in audit_lines.records]
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
    assert audit_lines.records[1]["changed"] == ["name", "description"]
    assert audit_lines.records[7]["changed"] == ["value"]
    assert "hunter" not in json.dumps(audit_lines.records)


@pytest_twisted.ensureDeferred
async def test_devices_are_recorded_only_when_they_change(administrator, audit_lines):
    for name in ("one", "one", "two"):
        await administrator.call("device/save", deviceId="d1", device={"name": name, "data": {"a": 1}})
    await administrator.call("device/delete", deviceId="d1")
    changes = [(record["event"], record["change"], record.get("changed")) for record in audit_lines.records]
    assert changes == [("device/save", "created", None), ("device/save", "changed", ["name"]), ("device/delete", "deleted", None)]
    assert audit_lines.records[0]["values"] == {"networkId": 1, "deviceTypeId": 1, "isBlocked": False}


@pytest_twisted.ensureDeferred
async def test_messages_are_not_recorded(administrator, audit_lines):
    await administrator.call("device/save", deviceId="d1", device={"name": "d1"})
    del audit_lines.records[:]
    await administrator.call("notification/subscribe", deviceId="d1")
    await administrator.call("notification/insert", deviceId="d1", notification={"notification": "n"})
    await administrator.call("command/insert", deviceId="d1", command={"command": "c"})
    await administrator.call("user/list")
    assert audit_lines.records == []


@pytest_twisted.ensureDeferred
async def test_logins(audited, audit_lines):
    client = audited.connect()
    await client.call("token", login="dhadmin", password=PASSWORD)
    assert await client.refused("token", login="dhadmin", password="hunter22") == (401, "Invalid credentials")
    assert await client.refused("token", login="x" * 10_000, password="hunter22") == (401, "Invalid credentials")
    success, wrong, unknown = audit_lines.records
    assert success.items() >= ({"event": "token", "result": "success", "for": 1, "rights": "*", "networks": ["*"]} | WHO).items()
    assert success["expires"] == "2026-01-02T03:34:05.678Z"
    assert about(wrong) == {"event": "token", "result": "refused", "code": 401, "error": "Invalid credentials"}
    assert wrong["login"] == "dhadmin"
    assert unknown["login"] == digest("x" * 10_000), "it may be a password in the wrong place"
    assert "hunter" not in json.dumps(audit_lines.records)


@pytest_twisted.ensureDeferred
async def test_a_login_on_the_connection_of_another(audited, administrator, audit_lines):
    anna = await audited.add_user("anna")
    await administrator.call("token", login="anna", password=PASSWORD)
    await administrator.refused("token", login="anna", password="hunter22")
    success, failure = audit_lines.records
    assert (success["user"], success["login"], success["for"]) == (anna.id, "anna", anna.id)
    assert failure["login"] == "anna" and "user" not in failure


@pytest_twisted.ensureDeferred
async def test_rights_that_another_request_took_over(audited, administrator, audit_lines):
    """Neither sees the other's state before or after; both say what they have asked for."""
    anna = await audited.add_user("anna", role=1)
    gate, update = Deferred(), audited.storage.update

    async def slow_update(*arguments):
        entity = await update(*arguments)
        await gate
        return entity

    audited.storage.update = slow_update
    requests = [ensureDeferred(administrator.call("user/update", userId=anna.id, user={"role": role})) for role in (0, 1)]
    gate.callback(None)
    for request in requests:
        await request
    asked = [record.get("asked") or {"role": record["values"]["role"][1]} for record in audit_lines.records]
    assert asked == [{"role": 0}, {"role": 1}]


@pytest_twisted.ensureDeferred
async def test_tokens(audited, administrator, audit_lines):
    user = await audited.add_user("anna")
    reply = await administrator.call(
        "token/create", payload={"userId": user.id, "actions": ["GetDevice", "GetNetwork"], "networkIds": ["1"]}
    )
    await audited.connect().call("token/refresh", refreshToken=reply["refreshToken"])
    created, refreshed = audit_lines.records
    rights = {"for": user.id, "rights": ["GetDevice", "GetNetwork"], "networks": ["1"], "deviceTypes": None}
    assert created.items() >= ({"event": "token/create", "result": "success"} | rights | WHO).items()
    assert refreshed.items() >= ({"event": "token/refresh", "user": user.id, "login": "anna"} | rights).items()
    text = json.dumps(audit_lines.records)
    assert "eyJ" not in text
    assert reply["accessToken"][-20:] not in text


@pytest_twisted.ensureDeferred
async def test_refusals(audited, audit_lines):
    stranger = audited.connect()
    anna = await audited.client(await audited.add_user("anna"), actions=frozenset({Permission.GET_DEVICE}))
    await stranger.refused("user/delete", userId=1)
    await anna.refused("user/delete", userId=1)
    await anna.refused("device/get", deviceId="d1")
    forged = jwt.encode({"payload": {"u": 1, "a": [0], "e": 10**15, "t": 1}}, b"?" * 32, "HS256")
    await stranger.refused("authenticate", token=forged)
    await stranger.refused("device/list", token=forged)
    refused = {"result": "refused"}
    denied = {"code": 403, "error": "Access is denied", "detail": "the token lacks the permission ManageUser"}
    assert [about(record) for record in audit_lines.records] == [
        {"event": "user/delete", "kind": "user", **refused, "code": 401, "error": "Unauthorized"},
        {"event": "user/delete", "kind": "user", "id": 1, **refused, **denied},
        {"event": "authenticate", **refused, "code": 401, "error": "Invalid credentials"},
        {"event": "authenticate", **refused, "code": 401, "error": "Invalid credentials"},
    ]
    assert "user" not in audit_lines.records[0]
    assert audit_lines.records[1]["login"] == "anna"
    assert "eyJ" not in json.dumps(audit_lines.records)


@pytest_twisted.ensureDeferred
async def test_what_fails_is_recorded_as_well(administrator, audit_lines):
    await administrator.refused("user/update", userId=99, user={"role": 0})
    await administrator.refused("device/save", deviceId="\0", device={"name": "x"})
    await administrator.refused("network/insert", network={"name": "Default Network"})
    assert [(record["event"], record["result"], record["code"]) for record in audit_lines.records] == [
        ("user/update", "failed", 404),
        ("device/save", "failed", 400),
        ("network/insert", "refused", 403),
    ]


@pytest_twisted.ensureDeferred
async def test_rest_is_recorded_by_the_same_names(audited, audit_lines):
    anna = rest_client(audited, await audited.add_user("anna"), actions=frozenset({Permission.GET_DEVICE}))
    del audit_lines.records[:]
    assert (await rest_client(audited).send("POST", "network", {"name": "Garden"}))[0] == 201
    assert (await anna.send("POST", "network", {"name": "Yard"}))[0] == 403
    assert (await RestClient(audited).send("DELETE", "user/1"))[0] == 401
    assert (await RestClient(audited, "Bearer eyJ.no.token").send("GET", "device"))[0] == 401
    assert (await RestClient(audited, "Bearer eyJ.no.token").send("GET", "nowhere"))[0] == 401
    assert (await RestClient(audited).send("GET", "nowhere"))[0] == 404
    assert (await RestClient(audited).send("GET", "device"))[0] == 401
    assert [(record["event"], record["result"], record.get("login")) for record in audit_lines.records] == [
        ("network/insert", "success", "dhadmin"),
        ("network/insert", "refused", "anna"),
        ("user/delete", "refused", None),
        ("authenticate", "refused", None),
        ("authenticate", "refused", None),
    ]
