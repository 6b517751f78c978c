"""Every switch of ``[compatibility]``, off and on, as clients see it over ``ws://`` and ``http://``."""

import base64
import time

import jwt
import pytest
import requests

from tests.support.servers.process import PASSWORD, START_SECONDS, Client

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

KEY = bytes(range(32, 72))
BASE64_KEY = base64.b64encode(KEY).decode()

each_way = pytest.mark.parametrize("on", [False, True], ids=["off", "on"])


def switched(start, name, on, **environment):
    """A server with one switch, or without."""
    switch = {f"DHTWISTED_COMPATIBILITY_{name.upper()}": on if isinstance(on, str) else "true"} if on else {}
    return start("--storage", "memory:", **switch, **environment)


def signed(key, user_id=1):
    """An access token of the administrator, or another user, as a DeviceHive auth service makes it."""
    payload = {"a": [0], "e": int(time.time() + 600) * 1000, "t": 1, "u": user_id, "n": ["*"], "dt": ["*"]}
    return jwt.encode({"payload": payload}, key, "HS256")


def over_websocket(server, token, action, **members):
    """Whether a request succeeds, and the reply."""
    client = Client(server.url())
    client.send(action=action, token=token, **members)
    reply = client.receive()
    client.close()
    return reply["status"] == "success", reply


def over_rest(server, token, method, path, **members):
    """Whether a request succeeds, and the answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = server.url(f"/api/rest{path}", "http")
    answer = requests.request(method, address, json=members or None, headers=headers, timeout=START_SECONDS)
    return answer.ok, answer.json()


def log_in(server, login="dhadmin"):
    """Tokens of a user."""
    return over_rest(server, None, "POST", "/token", login=login, password=PASSWORD)[1]


@each_way
def test_secret_encoding(start, on):
    server = switched(start, "secret_encoding", on and "base64-lenient", DHTWISTED_AUTH_SECRET=BASE64_KEY)
    for key, valid in ((KEY, on), (BASE64_KEY, not on)):
        assert over_rest(server, signed(key), "GET", "/user/current")[0] is valid
        assert over_websocket(server, signed(key), "user/getCurrent")[0] is valid
    administrator = log_in(server)["accessToken"]
    user_id = over_rest(server, administrator, "POST", "/user", login="anna", password=PASSWORD, role=1)[1]["id"]
    # Where none is shared, a token without a number may be of another user, who had this id before.
    assert over_rest(server, signed(KEY if on else BASE64_KEY, user_id), "GET", "/user/current")[0] is on


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@each_way
def test_allow_weak_secret(start, on):
    def start_it():
        return switched(start, "allow_weak_secret", on, DHTWISTED_AUTH_SECRET="secret")

    if not on:
        with pytest.raises(AssertionError, match=r"Cannot start: .*compatibility\.allow_weak_secret"):
            start_it()
        return
    server = start_it()
    assert over_rest(server, signed("secret"), "GET", "/user/current")[0]
    assert over_websocket(server, signed("secret"), "user/getCurrent")[0]


@each_way
def test_show_secret(start, on):
    server = switched(start, "show_secret", on, DHTWISTED_AUTH_SECRET=BASE64_KEY)
    token = log_in(server)["accessToken"]
    shown = BASE64_KEY if on else "********"
    assert over_rest(server, token, "GET", "/configuration/jwt.secret")[1]["value"] == shown
    assert over_websocket(server, token, "configuration/get", name="jwt.secret")[1]["configuration"]["value"] == shown
    assert not over_rest(server, token, "PUT", "/configuration/jwt.secret", value="another")[0]


@each_way
def test_unrestricted_token_create(start, on):
    server = switched(start, "unrestricted_token_create", on)
    administrator = log_in(server)["accessToken"]
    user = {"login": "anna", "password": PASSWORD, "role": 1, "allDeviceTypesAvailable": True}
    assert over_rest(server, administrator, "POST", "/user", **user)[0]
    token = log_in(server, "anna")["accessToken"]
    wider = {"userId": 1, "actions": ["*"], "networkIds": ["*"], "deviceTypeIds": ["*"]}
    assert over_rest(server, token, "POST", "/token/create", **wider)[0] is on
    assert over_websocket(server, token, "token/create", payload=wider)[0] is on


@each_way
def test_distinct_login_errors(start, on):
    server = switched(start, "distinct_login_errors", on)

    def errors(login):
        over = over_rest(server, None, "POST", "/token", login=login, password="wrong-password")[1]
        return over["error"], over["message"], over_websocket(server, None, "token", login=login, password="wrong-password")[1]["code"]

    assert (errors("nobody") != errors("dhadmin")) is on


def made_by_administrator(server, **rights):
    """A token of a new client user, with rights that an administrator gives; and the administrator's own."""
    administrator = log_in(server)["accessToken"]
    user_id = over_rest(server, administrator, "POST", "/user", login="anna", password=PASSWORD, role=1)[1]["id"]
    done(server, administrator, "PUT", f"/user/{user_id}/network/1")
    tokens = over_rest(server, administrator, "POST", "/token/create", userId=user_id, **rights)[1]
    return user_id, tokens["accessToken"], administrator


def done(server, token, method, path, **members):
    """The status of an answer without a body."""
    headers = {"Authorization": f"Bearer {token}"}
    address = server.url(f"/api/rest{path}", "http")
    return requests.request(method, address, json=members or None, headers=headers, timeout=START_SECONDS).status_code


@each_way
def test_loose_token_lists(start, on):
    server = switched(start, "loose_token_lists", on)
    rights = {"actions": ["*"], "networkIds": [1], "deviceTypeIds": [99]}
    _, token, administrator = made_by_administrator(server, **rights)
    foreign = over_rest(server, administrator, "POST", "/network", name="foreign")[1]["id"]
    for device_id, network_id in (("theirs", foreign), ("own", 1)):
        done(server, administrator, "PUT", f"/device/{device_id}", name=device_id, networkId=network_id, deviceTypeId=1)
    got, answer = over_rest(server, token, "GET", "/devicetype/1")
    assert got is on
    assert not on or {device["id"] for device in answer["devices"]} == {"own", "theirs"}
    got, reply = over_websocket(server, token, "devicetype/list")
    assert [kind["id"] for kind in reply["deviceTypes"]] == ([1] if on else [])
    # A device of another network stays out of reach.
    assert over_rest(server, token, "GET", "/device/theirs")[1]["error"] == 403


@each_way
def test_tokens_outlive_password(start, on):
    server = switched(start, "tokens_outlive_password", on)
    _, token, administrator = made_by_administrator(server, actions=["*"], networkIds=["*"])
    assert done(server, token, "PUT", "/user/current", password="another-password") == 204
    assert over_rest(server, token, "GET", "/user/current")[0] is on
    assert over_websocket(server, administrator, "user/updateCurrent", user={"password": "another-password"})[0]
    assert over_websocket(server, administrator, "user/getCurrent")[0] is on


@each_way
def test_frozen_connections(start, on):
    server = switched(start, "frozen_connections", on)
    user_id, token, administrator = made_by_administrator(server, actions=["*"], networkIds=["*"], deviceTypeIds=["*"])
    assert done(server, administrator, "PUT", "/device/own", name="own", networkId=1, deviceTypeId=1) == 204
    client = Client(server.url())
    client.call("authenticate", token=token)
    client.call("notification/subscribe", deviceId="own")
    for change in ({"status": 1}, None):
        if change is None:
            assert done(server, administrator, "DELETE", f"/user/{user_id}") == 204
        else:
            assert done(server, administrator, "PUT", f"/user/{user_id}", **change) == 204
        client.send(action="device/get", deviceId="own")
        assert (client.receive()["status"] == "success") is on
        # A new identity is looked at anew, on every front.
        assert not over_rest(server, token, "GET", "/device/own")[0]
        assert not over_websocket(server, token, "device/get", deviceId="own")[0]
    over_rest(server, administrator, "POST", "/device/own/notification", notification="told")
    client.send(action="server/info")
    assert ("subscriptionId" in client.receive()) is on
    client.close()


@each_way
def test_clients_manage_administrators(start, on):
    server = switched(start, "clients_manage_administrators", on)
    _, token, administrator = made_by_administrator(server, actions=["ManageUser"])

    def another(login):
        return over_rest(server, administrator, "POST", "/user", login=login, password=PASSWORD, role=0)[1]["id"]

    first, second = another("first"), another("second")
    assert (done(server, token, "PUT", f"/user/{first}", data={"of": "a client"}) == 204) is on
    assert (done(server, token, "DELETE", f"/user/{first}") == 204) is on
    assert over_websocket(server, token, "user/delete", userId=second)[0] is on
    assert over_websocket(server, token, "user/insert", user={"login": "third", "password": PASSWORD, "role": 0})[0] is on
    # What a client may not do to anybody, it may not do to administrators.
    assert done(server, token, "PUT", "/user/1", status=1) == 403
