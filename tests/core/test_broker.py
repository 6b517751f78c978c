"""Who gets which event (WebSocket reference, sections 4.2, 4.4 and 4.5)."""

import pytest
import pytest_twisted

from dhtwisted.core import broker
from dhtwisted.model import DISABLED, Device, DeviceType, Network, User

KINDS = ["command", "notification"]


async def furnish(server):
    """Networks 1 and 2, device types 1 and 2, and a device for each pair: ``d12`` is in network 1 and of type 2."""
    entities = server.server.entities
    await entities.insert(Network(name="Garden"))
    await entities.insert(DeviceType(name="Pump"))
    for network in (1, 2):
        for kind in (1, 2):
            name = f"d{network}{kind}"
            await entities.insert(Device(id=name, name=name, network_id=network, device_type_id=kind))


async def send(client, kind, device, name="on"):
    """Insert a command or notification; returns its id."""
    reply = await client.call(f"{kind}/insert", deviceId=device, **{kind: {kind: name}})
    return reply[kind]["id"]


async def send_everywhere(client, kind):
    """One message named ``on`` and one named ``off`` to every device."""
    for device in ("d11", "d12", "d21", "d22"):
        await send(client, kind, device, "on")
        await send(client, kind, device, "off")


def seen(client, kind):
    """What came, as ``device`` or ``device name``."""
    return [f"{event[kind]['deviceId']} {event[kind][kind]}" for event in client.events]


ALL = ["d11", "d12", "d21", "d22"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "devices"),
    [
        ({"deviceId": "d12"}, ["d12"]),
        ({"deviceId": "d12", "networkIds": [2], "deviceTypeIds": [1]}, ["d12"]),
        ({"deviceIds": ["d12", "d21"]}, ["d12", "d21"]),
        ({"deviceIds": []}, ALL),
        ({"networkIds": [1]}, ["d11", "d12"]),
        ({"networkIds": [1, 2]}, ALL),
        ({"deviceTypeIds": [2]}, ["d12", "d22"]),
        ({"networkIds": [1], "deviceTypeIds": [2]}, ["d12"]),
        ({"networkIds": [], "deviceTypeIds": []}, ALL),
        ({}, ALL),
    ],
)
@pytest.mark.parametrize("names", [None, [], ["on"], ["on", "other"], ["On"]])
@pytest_twisted.ensureDeferred
async def test_what_matches(server, kind, given, devices, names):
    await furnish(server)
    subscriber, sender = await server.client(), await server.client()
    await subscriber.call(f"{kind}/subscribe", **given, names=names)
    await send_everywhere(sender, kind)
    assert seen(subscriber, kind) == [f"{device} {name}" for device in devices for name in ("on", "off") if not names or name in names]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "devices"),
    [({}, ["d11", "d21"]), ({"deviceTypeIds": [1]}, ["d11", "d21"]), ({"networkIds": [1]}, ["d11"]), ({"deviceId": "d21"}, ["d21"])],
)
@pytest_twisted.ensureDeferred
async def test_only_what_is_accessible_matches(server, kind, given, devices):
    await furnish(server)
    user = await server.add_user("anna", network_ids=frozenset({1, 2}), all_device_types_available=False, device_type_ids=frozenset({1}))
    subscriber, sender = await server.client(user), await server.client()
    await subscriber.call(f"{kind}/subscribe", **given)
    await send_everywhere(sender, kind)
    assert seen(subscriber, kind) == [f"{device} {name}" for device in devices for name in ("on", "off")]


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_the_devices_present_place_counts(server, kind):
    await furnish(server)
    subscriber, sender = await server.client(), await server.client()
    await subscriber.call(f"{kind}/subscribe", networkIds=[1])
    await sender.call("device/save", deviceId="d21", device={"networkId": 1})
    await sender.call("device/save", deviceId="d11", device={"networkId": 2})
    await sender.call("device/save", deviceId="new", device={"networkId": 1})
    subscriber.messages.clear()
    for device in ("d11", "d21", "new"):
        await send(sender, kind, device)
    assert seen(subscriber, kind) == ["d21 on", "new on"]


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_a_subscription_follows_its_device(server, kind):
    await furnish(server)
    subscriber, sender = await server.client(), await server.client()
    await subscriber.call(f"{kind}/subscribe", deviceId="d11", names=["on"])
    await sender.call("device/save", deviceId="d11", device={"networkId": 2, "deviceTypeId": 2})
    await send(sender, kind, "d11")
    assert seen(subscriber, kind) == ["d11 on"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"network_ids": frozenset({2})},
        {"status": DISABLED},
        {"all_device_types_available": False},
    ],
    ids=["network taken away", "disabled", "types taken away"],
)
@pytest_twisted.ensureDeferred
async def test_delivery_stops_when_rights_end(server, kind, change):
    await furnish(server)
    user = await server.add_user("anna", network_ids=frozenset({1}))
    subscriber, sender = await server.client(user), await server.client()
    await subscriber.call(f"{kind}/subscribe")
    await send(sender, kind, "d11", "before")
    await server.server.entities.update(User, user.id, change)
    await send(sender, kind, "d11", "after")
    assert seen(subscriber, kind) == ["d11 before"]


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_delivery_stops_when_the_user_is_deleted(server, kind):
    await furnish(server)
    user = await server.add_user("anna", network_ids=frozenset({1}))
    subscriber, sender = await server.client(user), await server.client()
    await subscriber.call(f"{kind}/subscribe")
    await server.server.entities.delete(User, user.id)
    await send(sender, kind, "d11")
    assert subscriber.events == []


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_a_deleted_device_is_forgotten_by_its_own_subscriptions(server, kind):
    await furnish(server)
    one, network, sender = [await server.client() for _ in range(3)]
    await one.call(f"{kind}/subscribe", deviceId="d11")
    await network.call(f"{kind}/subscribe", networkIds=[1], names=["on"])
    await sender.call("device/delete", deviceId="d11")
    await sender.call("device/save", deviceId="d11", device={"networkId": 1})
    await send(sender, kind, "d11")
    assert (seen(one, kind), seen(network, kind)) == ([], ["d11 on"])
    await one.call(f"{kind}/unsubscribe")


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_nothing_follows_an_unsubscribe_and_others_go_on(server, kind):
    await furnish(server)
    client, sender = await server.client(), await server.client()
    ids = [(await client.call(f"{kind}/subscribe", **given))["subscriptionId"] for given in ({}, {"networkIds": [1]}, {"deviceId": "d11"})]
    await client.call(f"{kind}/unsubscribe", subscriptionId=ids[1])
    await send(sender, kind, "d11")
    assert sorted(event["subscriptionId"] for event in client.events) == [ids[0], ids[2]]
    await client.call(f"{kind}/unsubscribe")
    client.messages.clear()
    await send(sender, kind, "d11")
    assert client.messages == []


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_a_closed_connection_gets_nothing_and_leaves_nothing(server, kind):
    await furnish(server)
    client, sender = await server.client(), await server.client()
    for given in ({}, {"networkIds": [1, 2]}, {"deviceTypeIds": [1]}, {"deviceId": "d11"}):
        await client.call(f"{kind}/subscribe", **given)
    client.close()
    client.messages.clear()
    await send(sender, kind, "d11")
    assert client.messages == []


@pytest_twisted.ensureDeferred
async def test_subscriptions_are_of_one_kind_of_event(server):
    await furnish(server)
    inserts, updates, notifications, sender = [await server.client() for _ in range(4)]
    await inserts.call("command/subscribe", returnUpdatedCommands=False)
    await updates.call("command/subscribe", returnUpdatedCommands=True)
    await notifications.call("notification/subscribe")
    command = await send(sender, "command", "d11")
    await send(sender, "notification", "d11")
    await sender.call("command/update", deviceId="d11", commandId=command, command={})
    actions = [[event["action"] for event in client.events] for client in (inserts, updates, notifications)]
    assert actions == [["command/insert"], ["command/update"], ["notification/insert"]]


@pytest_twisted.ensureDeferred
async def test_an_event_that_breaks_one_receiver_reaches_the_others(server):
    """A subscription may be made by a request with a token of its own, on a connection that is nobody's."""
    await furnish(server)
    anonymous, other, sender = server.connect(), await server.client(), await server.client()
    await anonymous.call("notification/subscribe", token=server.token(), networkIds=[1])
    await other.call("notification/subscribe")
    await send(sender, "notification", "d11")
    assert seen(anonymous, "notification") == seen(other, "notification") == ["d11 on"]


@pytest_twisted.ensureDeferred
async def test_a_subscription_made_with_a_token_has_the_rights_of_that_token(server):
    await furnish(server)
    user = await server.add_user("anna", network_ids=frozenset({1}))
    client, sender = await server.client(user), await server.client()
    await client.call("notification/subscribe", deviceId="d22", token=server.token())
    await send(sender, "notification", "d22")
    assert seen(client, "notification") == ["d22 on"]
    await client.call("authenticate", token=server.token(user))
    await send(sender, "notification", "d22")
    assert seen(client, "notification") == ["d22 on"]


# command/update to the connection that inserted the command (section 4.4)


async def updated(server, inserter, **options):
    """Insert a command by one client, and update it by another."""
    device = await server.client()
    command = await send(inserter, "command", "d11", **options)
    await device.call("command/update", deviceId="d11", commandId=command, command={"status": "done"})
    return [event["subscriptionId"] for event in inserter.events if event["action"] == "command/update"]


@pytest_twisted.ensureDeferred
async def test_the_inserter_hears_of_updates_without_a_subscription(server):
    await furnish(server)
    assert await updated(server, await server.client()) == [None]


@pytest_twisted.ensureDeferred
async def test_of_very_many_commands_the_last_are_known_with_their_inserters(server, monkeypatch):
    await furnish(server)
    monkeypatch.setattr(broker, "MAX_INSERTERS", 2)
    inserter, device = await server.client(), await server.client()
    commands = [await send(inserter, "command", "d11") for _ in range(3)]
    for command in commands:
        await device.call("command/update", deviceId="d11", commandId=command, command={"status": "done"})
    assert [event["command"]["id"] for event in inserter.events if event["action"] == "command/update"] == commands[1:]


@pytest_twisted.ensureDeferred
async def test_the_inserter_hears_nothing_when_that_is_switched_off(open_server):
    server = await open_server(server={"updates_to_inserter": False})
    await furnish(server)
    inserter = await server.client()
    assert await updated(server, inserter) == []
    subscription = (await inserter.call("command/subscribe", returnUpdatedCommands=True))["subscriptionId"]
    assert await updated(server, inserter) == [subscription]


@pytest.mark.parametrize("given", [{}, {"deviceId": "d11"}, {"networkIds": [1]}])
@pytest_twisted.ensureDeferred
async def test_the_copy_of_a_subscription_wins(server, given):
    await furnish(server)
    inserter = await server.client()
    subscription = (await inserter.call("command/subscribe", returnUpdatedCommands=True, **given))["subscriptionId"]
    assert await updated(server, inserter) == [subscription]


@pytest_twisted.ensureDeferred
async def test_a_subscription_that_does_not_match_does_not_win(server):
    await furnish(server)
    inserter = await server.client()
    await inserter.call("command/subscribe", returnUpdatedCommands=True, names=["off"])
    await inserter.call("command/subscribe", returnUpdatedCommands=False, names=["off"])
    assert await updated(server, inserter, name="on") == [None]


@pytest_twisted.ensureDeferred
async def test_the_inserter_must_still_be_permitted_to_read(server):
    await furnish(server)
    may_insert = {7}
    user = await server.add_user("anna", network_ids=frozenset({1}))
    assert await updated(server, await server.client(user, actions=frozenset(may_insert))) == []
    inserter = await server.client(user)
    command = await send(inserter, "command", "d11")
    await server.server.entities.update(User, user.id, {"network_ids": frozenset()})
    device = await server.client()
    await device.call("command/update", deviceId="d11", commandId=command, command={})
    assert inserter.events == []


@pytest_twisted.ensureDeferred
async def test_an_inserter_that_went_away_hears_nothing(server):
    await furnish(server)
    inserter, device = await server.client(), await server.client()
    command = await send(inserter, "command", "d11")
    inserter.close()
    inserter.messages.clear()
    await device.call("command/update", deviceId="d11", commandId=command, command={})
    assert inserter.messages == []


@pytest_twisted.ensureDeferred
async def test_another_connection_of_the_same_user_is_no_inserter(server):
    await furnish(server)
    inserter, bystander = await server.client(), await server.client()
    assert await updated(server, inserter) == [None]
    assert bystander.events == []
