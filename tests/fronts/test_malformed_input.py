"""Every input gets one answer, and none is the server's fault (WebSocket reference, section 2.2)."""

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from twisted.logger import LogLevel, globalLogPublisher

from dhtwisted.testing.requests import NESTED_TOO_DEEP, WEIRD_JSON, requests, shaped_requests, texts_of_any_kind
from tests.support import strict_json


class Failures:
    """What is logged as a failure or an error."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            self.events.append(event)


@pytest.fixture
def failures():
    """Watches the log of one test."""
    observer = Failures()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)


def answer(client, text):
    """The one reply to a text."""
    client.messages.clear()
    client.send_text(text)
    replies = [message for message in client.messages if "status" in message]
    assert len(replies) == 1, f"{len(replies)} replies"
    return replies[0]


@pytest_twisted.async_yield_fixture
async def busy(open_server):
    """Clients of a server with something in it: nobody, an administrator, a client user."""
    server = await open_server()
    administrator = await server.client()
    await administrator.call("device/save", deviceId="pump-4", device={})
    await administrator.call("command/insert", deviceId="pump-4", command={"command": "on"})
    user = await server.add_user("anna", network_ids=frozenset({1}))
    yield [read_strictly(client) for client in (server.connect(), administrator, await server.client(user))]


def read_strictly(client):
    """Have a client refuse whatever any reader of JSON would stumble over."""
    take = client.send

    def send(text):
        strict_json.read(text)
        take(text)

    client.send = send
    return client


each_text = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(clients, failures, text):
    """One reply, below 500, nothing logged as a failure; and the session goes on."""
    for client in clients:
        reply = answer(client, text)
        assert reply["status"] == "success" or 400 <= int(reply["code"]) < 500, reply
        assert reply["status"] == "success" or isinstance(reply["error"], str)
        assert failures.events == []
        assert client.aborted is None


def without_passwords(text):
    """Logins hash in threads, which the synchronous checks here do not wait for."""
    return text.replace(b'"token","', b'"token ","').replace(b'"token"}', b'"token "}')


@each_text
@given(texts_of_any_kind)
def test_any_text_has_one_reply(busy, failures, text):
    check(busy, failures, without_passwords(text))


@each_text
@given(requests | shaped_requests)
def test_any_request_has_one_reply(busy, failures, text):
    check(busy, failures, without_passwords(text))


MEMBERS = [
    b'{"action":"server/info","requestId":%b}',
    b'{"action":%b,"requestId":1}',
    b'{"action":"server/info","unknown":%b}',
    b'{"action":"server/info","token":%b}',
    b'{"action":"device/get","deviceId":%b}',
    b'{"action":"device/save","deviceId":"new","device":%b}',
    b'{"action":"device/save","deviceId":"new","device":{"data":%b}}',
    b'{"action":"device/save","deviceId":"new","device":{"name":%b}}',
    b'{"action":"command/insert","deviceId":"pump-4","command":{"command":"x","parameters":%b}}',
    b'{"action":"command/insert","deviceId":"pump-4","command":{"command":"x","result":%b}}',
    b'{"action":"command/insert","deviceId":"pump-4","command":{"command":%b}}',
    b'{"action":"command/insert","deviceId":"pump-4","command":{"command":"x","timestamp":%b}}',
    b'{"action":"command/insert","deviceId":"pump-4","command":{"command":"x","lifetime":%b}}',
    b'{"action":"command/update","deviceId":"pump-4","commandId":1,"command":{"status":%b}}',
    b'{"action":"command/update","deviceId":"pump-4","commandId":1,"command":{"result":%b}}',
    b'{"action":"command/update","deviceId":"pump-4","commandId":%b,"command":{}}',
    b'{"action":"notification/insert","deviceId":"pump-4","notification":{"notification":"x","parameters":%b}}',
    b'{"action":"notification/get","deviceId":"pump-4","notificationId":%b}',
    b'{"action":"command/list","deviceId":"pump-4","take":%b}',
    b'{"action":"command/list","deviceId":"pump-4","skip":%b}',
    b'{"action":"command/list","deviceId":"pump-4","start":%b}',
    b'{"action":"command/list","deviceId":"pump-4","names":%b}',
    b'{"action":"command/list","deviceId":"pump-4","sortOrder":%b}',
    b'{"action":"device/list","namePattern":%b}',
    b'{"action":"device/list","skip":%b}',
    b'{"action":"command/subscribe","names":[%b]}',
    b'{"action":"command/subscribe","networkIds":[%b]}',
    b'{"action":"command/subscribe","timestamp":%b}',
    b'{"action":"command/subscribe","timestamp":0,"limit":%b}',
    b'{"action":"command/unsubscribe","subscriptionId":%b}',
    b'{"action":"subscription/list","type":%b}',
    b'{"action":"authenticate","token":%b}',
    b'{"action":"token/refresh","refreshToken":%b}',
    b'{"action":"token/create","payload":%b}',
    b'{"action":"token/create","payload":{"userId":%b}}',
    b'{"action":"token/create","payload":{"userId":1,"actions":[%b]}}',
    b'{"action":"token/create","payload":{"userId":1,"networkIds":[%b]}}',
    b'{"action":"token/create","payload":{"userId":1,"expiration":%b}}',
    b'{"action":"token","login":%b}',
]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.decode()[10:70])
@pytest_twisted.ensureDeferred
async def test_weird_json_in_every_place(busy, failures, member):
    for value in WEIRD_JSON:
        check(busy, failures, member % value)


UNKEPT = [b'"\\ud800"', b"1e999", b"-1e999", b"9" * 5000, b"1" + b"0" * 400 + b".0"]
WRAPPED = [b"%b", b"[%b]", b'{"a":%b}', b'[{"a":[1,%b]}]']


@pytest.mark.parametrize(
    "more", [b"", b',"more":"\\ud800"', b',"deviceId":7', b',"deviceId":{}'], ids=["", "surrogate", "coerced", "wrong"]
)
@pytest.mark.parametrize("action", [b"server/info", b"device/get", b"none/such"])
@pytest_twisted.ensureDeferred
async def test_a_request_id_that_cannot_be_sent_back_is_null(busy, failures, action, more):
    for value in [wrapping % value for value in UNKEPT for wrapping in WRAPPED] + [b'{"\\udc00":1}']:
        for client in busy:
            reply = answer(client, b'{"action":"%b","requestId":%b%b}' % (action, value, more))
            assert reply.pop("detail").startswith(("requestId has", "the message has"))
            assert reply == {
                "action": action.decode(),
                "requestId": None,
                "status": "error",
                "code": 400,
                "error": "Malformed Json received.",
            }


@pytest.mark.parametrize("more", [b"", b',"more":"\\ud800"'])
@pytest_twisted.ensureDeferred
async def test_an_action_that_cannot_be_sent_back_is_null(busy, failures, more):
    for value in UNKEPT:
        for client in busy:
            reply = answer(client, b'{"action":%b,"requestId":7%b}' % (value, more))
            assert (reply["action"], reply["requestId"], reply["code"]) == (None, 7, 400)
            reply = answer(client, b'{"action":%b,"requestId":["\\ud800"]%b}' % (value, more))
            assert (reply["action"], reply["requestId"], reply["code"]) == (None, None, 400)


@pytest_twisted.ensureDeferred
async def test_huge_and_deep_texts(busy, failures):
    for text in (b'{"action":"' + b"x" * 1_000_000 + b'"}', b"[" * 1_000_000, b'{"a":' * 100_000, NESTED_TOO_DEEP, b"\x00" * 1000):
        check(busy, failures, text)


@pytest_twisted.ensureDeferred
async def test_what_was_stored_of_weird_payloads_reads_back(server):
    client = await server.client()
    await client.call("device/save", deviceId="d", device={})
    for value in WEIRD_JSON:
        client.send_text(b'{"action":"notification/insert","deviceId":"d","notification":{"notification":"x","parameters":%b}}' % value)
    accepted = [m for m in client.messages if m.get("action") == "notification/insert" and m["status"] == "success"]
    listed = (await client.call("notification/list", deviceId="d", notification="x"))["notifications"]
    assert [notification["id"] for notification in listed] == [reply["notification"]["id"] for reply in accepted]
    assert {notification["parameters"] for notification in listed if isinstance(notification["parameters"], str)} >= {"\x00", "a\x00b", ""}
