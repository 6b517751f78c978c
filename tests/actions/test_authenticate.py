"""``authenticate`` (WebSocket reference, section 3.2)."""

import gc

import pytest
import pytest_twisted

from dhtwisted.model import Device


@pytest_twisted.ensureDeferred
async def test_success_has_no_members_of_its_own(server):
    reply = await server.connect().request("authenticate", token=server.token())
    assert reply.keys() == {"action", "requestId", "status"}


@pytest_twisted.ensureDeferred
async def test_a_device_id_is_ignored(server):
    await server.connect().call("authenticate", token=server.token(), deviceId="esp-1")


@pytest_twisted.ensureDeferred
async def test_what_came_before_it_has_the_identity_of_before(server):
    client = server.connect()
    client.send_text('{"action":"device/list","requestId":1}')
    client.send_text(f'{{"action":"authenticate","requestId":2,"token":"{server.token()}"}}')
    client.send_text('{"action":"device/list","requestId":3}')
    assert [(message["requestId"], message["status"]) for message in client.messages] == [(1, "error"), (2, "success"), (3, "success")]


@pytest.mark.parametrize("network", [1, 2])
@pytest_twisted.ensureDeferred
async def test_a_second_one_replaces_the_rights(server, network):
    await server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1))
    client = await server.client()
    await client.call("authenticate", token=server.token(network_ids=frozenset({str(network)})))
    assert (await client.call("device/count"))["count"] == (1 if network == 1 else 0)


@pytest_twisted.ensureDeferred
async def test_connections_with_the_same_token_share_what_is_known_of_it(server):
    token, other = server.token(), server.token(network_ids=frozenset({"2"}))
    first, second, third, fourth = [server.connect() for _ in range(4)]
    for client, used in ((first, token), (second, token), (third, other), (fourth, token)):
        await client.call("authenticate", token=used)
    assert first.session.principal is second.session.principal
    assert third.session.principal is not first.session.principal
    assert third.session.principal.networks() == {2}
    assert fourth.session.principal.networks() is None


@pytest_twisted.ensureDeferred
async def test_nothing_is_kept_of_a_token_that_nobody_uses_any_more(server):
    client = server.connect()
    await client.call("authenticate", token=server.token())
    account = client.session.principal.account
    assert account.latest_principal() is client.session.principal
    await client.call("authenticate", token=server.token(network_ids=frozenset({"2"})))
    client.close()
    client.session.principal = None
    gc.collect()
    assert account.latest_principal() is None
