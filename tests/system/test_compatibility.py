"""Every switch of ``[compatibility]``, off and on, as clients see it over ``ws://`` and ``http://``."""

import base64
import time

import jwt
import pytest
import requests

from tests.system.process import PASSWORD, START_SECONDS, Client

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
