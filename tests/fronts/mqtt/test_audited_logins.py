"""What the audit log has of clients that connect."""

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from dhtwisted.testing.server import PASSWORD
from dhtwisted.wire.mqtt.packets import Connect
from tests.support.auditing import about
from tests.support.mqtt.clients import Mqtt


@pytest.fixture
def connect(reactor, audited):
    """A function that connects a client, and waits until it is answered: passwords are checked in a thread."""
    mqtt = Mqtt(audited)

    async def connect_one(client_id, version=5, **fields):
        client = mqtt.client(version)
        client.send(Connect(client_id, version, True, **fields))
        while not client.packets:
            await deferLater(reactor, 0)
            audited.clock.advance(0)
        return client.packets[0].reason_code

    return connect_one


@pytest.mark.parametrize("version", [4, 5])
@pytest_twisted.ensureDeferred
async def test_a_login_by_password_is_recorded_and_one_by_token_is_not(audited, connect, audit_lines, version):
    assert await connect("pump", version, user_name="dhadmin", password=PASSWORD.encode()) == 0
    assert await connect("pump-2", version, user_name="x", password=audited.token().encode()) == 0
    (record,) = audit_lines.records
    assert about(record) == {"event": "mqtt/login", "result": "success", "client": "pump"}
    assert (record["user"], record["login"], record["address"]) == (1, "dhadmin", "192.0.2.1")


@pytest.mark.parametrize("version", [4, 5])
@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_recorded_with_the_login_only_of_a_user(connect, audit_lines, version):
    for login in ("dhadmin", "my-secret-password"):
        await connect("pump", version, user_name=login, password=b"wrong")
    known, unknown = audit_lines.records
    assert (known["event"], known["result"], known["login"], known["client"]) == ("mqtt/login", "refused", "dhadmin", "pump")
    assert unknown["login"].startswith("#")
    assert "secret" not in str(unknown)
    assert (known["code"], unknown["code"]) == (401, 401)


@pytest_twisted.ensureDeferred
async def test_a_wrong_token_and_no_credentials_are_recorded_as_what_they_are(audited, connect, audit_lines):
    await connect("pump", user_name="x", password=audited.token(lifetime=-1).encode())
    await connect("x" * 1000)
    token, nobody = audit_lines.records
    assert (token["event"], token["result"], "client" in token) == ("authenticate", "refused", False)
    assert (nobody["event"], nobody["client"], "login" in nobody) == ("mqtt/login", "x" * 128, False)


@pytest_twisted.ensureDeferred
async def test_many_refusals_of_strangers_are_counted_and_not_written(connect, audit_lines):
    for _ in range(70):
        await connect("pump")
    assert len(audit_lines.records) == 60
