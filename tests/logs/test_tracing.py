"""The operator follows one client through the log (``log.trace``)."""

import json

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from dhtwisted.errors import ConfigurationError
from dhtwisted.logs.lines import TextLines
from dhtwisted.logs.observer import LineObserver
from dhtwisted.logs.tracing import Trace, parse_target
from dhtwisted.testing.server import PASSWORD, settings
from tests.support.rest_api import client as rest_client

ADDRESS = "192.0.2.1"
"""Where the clients of a ``MemoryServer`` come from."""


class Destination:
    """Keeps what is written."""

    def __init__(self):
        self.text = b""

    def write(self, line):
        self.text += line + b"\n"


@pytest.fixture
def lines():
    """The lines of the log, at its highest level, that are traces: a function."""
    destination = Destination()
    observer = LineObserver(TextLines(), destination, "error")

    def told():
        return [line.split(" trace ", 1)[1] for line in destination.text.decode().splitlines() if " trace " in line]

    globalLogPublisher.addObserver(observer)
    yield told
    globalLogPublisher.removeObserver(observer)


def with_text(lines, *texts):
    return [line for line in lines if all(text in line for text in texts)]


@pytest_twisted.async_yield_fixture
async def follow(open_server):
    """Opens a server that follows somebody, with a device ``pump`` and a client user ``anna`` of number 2."""

    async def open_one(*targets):
        server = await open_server(hash_password=True)
        await (await server.client()).call("device/save", deviceId="pump", device={"networkId": 1, "deviceTypeId": 1})
        anna = await server.add_user("anna", network_ids=frozenset({1}))
        take(server, *targets)
        return server, anna

    yield open_one


def take(server, *targets):
    """Reload the setting."""
    server.server.reloadable(settings(log={"trace": targets}))()


@pytest_twisted.ensureDeferred
async def test_a_users_requests_answers_and_events_are_lines(follow, lines):
    server, anna = await follow("user:2")
    client, admin = await server.client(anna), await server.client()
    subscribed = await client.call("notification/subscribe", deviceId="pump")
    await client.refused("device/get", deviceId="nobody")
    await admin.call("notification/insert", deviceId="pump", notification={"notification": "wet", "parameters": {"cm": 4}})
    told = lines()
    assert all("user=2" in line for line in told)
    assert with_text(told, "action=notification/subscribe", 'request: {"deviceId":"pump"}')
    assert with_text(told, f'answer: {{"subscriptionId":{subscribed["subscriptionId"]}}}')
    assert with_text(told, "answer 403: Access is denied")
    (event,) = with_text(told, "event: ")
    assert '"parameters":{"cm": 4}' in event
    assert not with_text(told, "notification/insert", "request: ")


@pytest.mark.parametrize("front", ["websocket", "rest"])
@pytest_twisted.ensureDeferred
async def test_an_answer_that_leaves_members_out_is_a_line_too(follow, lines, front):
    """A list that was not cut has no ``more``. An error while it is logged would end the connection."""
    server, anna = await follow("user:2")
    if front == "websocket":
        found = (await (await server.client(anna)).call("device/list"))["devices"]
    else:
        _, found = await rest_client(server, anna).send("GET", "/device")
    assert [device["id"] for device in found] == ["pump"]
    (answer,) = with_text(lines(), "action=device/list", "answer: ")
    assert '"id":"pump"' in answer
    assert "more" not in answer


@pytest_twisted.ensureDeferred
async def test_a_device_is_followed_whoever_speaks_for_it_or_hears_of_it(follow, lines):
    server, anna = await follow("device:pump")
    admin, listener = await server.client(), await server.client(anna)
    await listener.call("command/subscribe")
    await admin.call("device/save", deviceId="other", device={"networkId": 1, "deviceTypeId": 1})
    await admin.call("command/insert", deviceId="other", command={"command": "unheard"})
    await admin.call("command/insert", deviceId="pump", command={"command": "on"})
    told = lines()
    assert with_text(told, "user=1 action=command/insert", "request: ")
    assert with_text(told, "user=2] event: ")
    assert not with_text(told, "unheard")


@pytest_twisted.ensureDeferred
async def test_replays_and_updates_to_the_inserter_are_told_once(follow, lines):
    server, anna = await follow("user:2")
    client = await server.client(anna)
    inserted = await client.call("command/insert", deviceId="pump", command={"command": "on"})
    admin = await server.client()
    await admin.call("command/update", deviceId="pump", commandId=inserted["command"]["id"], command={"status": "done"})
    assert len(with_text(lines(), "event: ")) == 1
    await client.call("command/subscribe", deviceId="pump", timestamp="2000-01-01T00:00:00")
    assert len(with_text(lines(), "event: ")) == 2 == len(client.events)


@pytest_twisted.ensureDeferred
async def test_a_poll_that_waits_keeps_no_event_from_others(follow, lines):
    server, _ = await follow("device:pump")
    subscriber, sender = await server.client(), await server.client()
    await subscriber.call("notification/subscribe", deviceId="pump")
    answered = rest_client(server).send("GET", "/device/pump/notification/poll")
    await sender.call("notification/insert", deviceId="pump", notification={"notification": "on"})
    assert [event["notification"]["notification"] for event in subscriber.events] == ["on"]
    server.clock.advance(0.01)
    assert answered.called
    status, found = await answered
    assert (status, [one["notification"] for one in found]) == (200, ["on"])
    assert len(with_text(lines(), "event:")) == 1
    assert len(with_text(lines(), "answer: ", '"notification":"on"')) == 1


@pytest_twisted.ensureDeferred
async def test_an_address_is_followed_before_anybody_knows_who_it_is(follow, lines):
    server, _ = await follow(f"address:{ADDRESS}")
    await server.connect().call("token", login="dhadmin", password=PASSWORD)
    await server.connect().refused("no/action")
    status, _ = await rest_client(server).send("PUT", "/device/pump", b"{")
    assert status == 400
    told = lines()
    assert with_text(told, "action=token", "request: ")
    assert with_text(told, "answer 400: Illegal argument: no/action")
    assert with_text(told, "action=device/save] answer 400")
    assert PASSWORD not in str(told)
    assert "eyJ" not in str(told)


@pytest_twisted.ensureDeferred
async def test_what_is_shown_is_json_and_a_refusal_has_its_number(follow, lines):
    server, _ = await follow("user:1")
    client = await server.client()
    await client.call("command/subscribe", deviceId="pump")
    await client.call("command/insert", deviceId="pump", command={"command": "on"})
    await client.refused("no/action")
    told = lines()
    shown = [json.loads(line.split(": ", 1)[1]) for line in told if "answer 4" not in line]
    assert {"deviceId": "pump", "command": {"command": "on"}} in shown
    (event,) = with_text(told, "event: ")
    assert json.loads(event.split("event: ")[1])["command"]["command"] == "on"
    (refused,) = with_text(told, "answer 400")
    assert "action=no/action request=" in refused


@pytest_twisted.ensureDeferred
async def test_the_value_of_a_configuration_is_not_shown(follow, lines):
    server, _ = await follow("user:1")
    await (await server.client()).call("configuration/put", name="wifi", value="open-sesame")
    assert with_text(lines(), '"value":"***"')
    assert "open-sesame" not in str(lines())


@pytest.mark.parametrize("password", ['open"sesame', "o" * 2000 + "sesame", 'a\\"sesame', "a\nsesame"])
@pytest_twisted.ensureDeferred
async def test_a_password_is_not_shown_whatever_is_in_it(follow, lines, password):
    server, _ = await follow("user:1")
    client = await server.client()
    await client.request("user/updateCurrent", user={"password": password}, refreshToken=f"x{password}")
    await client.request("token", login="anna", password=password)
    assert with_text(lines(), '"password":***')
    assert "sesame" not in str(lines())


@pytest_twisted.ensureDeferred
async def test_it_ends_when_the_setting_is_taken_away_and_nothing_is_left_in_the_way(follow, lines):
    server, anna = await follow("user:2", "device:pump")
    client = await server.client(anna)
    take(server)
    before = len(lines())
    await client.call("notification/subscribe", deviceId="pump")
    await client.call("notification/insert", deviceId="pump", notification={"notification": "wet"})
    assert len(lines()) == before
    assert server.server.trace is None
    assert len(client.events) == 1


@pytest_twisted.ensureDeferred
async def test_answers_are_the_same_with_and_without(open_server):
    replies = []
    for targets in ((), ("user:1", f"address:{ADDRESS}", "device:pump")):
        server = await open_server(log={"trace": targets})
        client = await server.client()
        await client.call("device/save", deviceId="pump", device={"networkId": 1, "deviceTypeId": 1})
        await client.call("notification/subscribe", deviceId="pump")
        replies.append(
            [
                await client.call("notification/insert", deviceId="pump", notification={"notification": "wet", "parameters": [1]}),
                await client.call("device/get", deviceId="pump"),
                await client.refused("device/get", deviceId="nobody"),
                [event["notification"]["parameters"] for event in client.events],
            ]
        )
    for reply in replies:
        reply[0]["notification"].pop("timestamp")
    assert replies[0] == replies[1]


def test_any_number_of_lines_is_written(lines):
    trace = Trace(("address:192.0.2.7",))
    for number in range(200):
        trace.connection("a connection is open", "192.0.2.7", connection=number)
        trace.connection("a connection is open", "192.0.2.8", connection=number)
    assert len(lines()) == 200


@pytest.mark.parametrize("target", ["user:", "user:x", "user:-1", "user:²", "device:", "address:x", "address:", "pump", "group:3", ""])
def test_what_cannot_be_followed_is_refused(target):
    with pytest.raises((ConfigurationError, ValueError)):
        settings(log={"trace": (target,)})
        parse_target(target)


@given(st.ip_addresses())
def test_an_address_is_one_however_it_is_written(address):
    assert parse_target(f"address:{address.exploded}") == ("address", str(address))
