"""The Postgres bus: the contract, and what cuts do to it."""

import secrets

import psycopg2
import pytest
import pytest_twisted
from psycopg2.extensions import parse_dsn
from twisted.internet.task import deferLater

from dhtwisted.errors import ConfigurationError, Duplicate
from dhtwisted.interfaces import ProviderContext
from dhtwisted.model import COMMAND_UPDATE, Configuration, Device, DeviceToken, DeviceType, Event, Network, User
from dhtwisted.providers.builtin import postgres_bus
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.postgres.bus import PostgresBus
from dhtwisted.testing.bus import NodeBusContract
from dhtwisted.testing.bus.base import Receiver, some_turns
from dhtwisted.testing.storage.base import command, notification, results
from tests.support.proxy import PATIENCE, FaultProxy

CHANGES = {
    User: lambda key: User(id=key, login=f"user {key}"),
    Network: lambda key: Network(id=key, name=f"network {key}"),
    DeviceType: lambda key: DeviceType(id=key, name=f"type {key}"),
    Device: lambda key: Device(id=key, name=key, network_id=1, device_type_id=1),
    Configuration: lambda key: Configuration(id=key, name=f"name {key}", value=""),
    DeviceToken: lambda key: DeviceToken(id=key, device_id="a", user_id=1, created=1, expires=2),
}


class TestPostgresBus(NodeBusContract):
    @pytest.fixture(autouse=True)
    def nodes_storages(self, open_storage, database):
        self.open_storage, self.dsn = open_storage, database

    async def make_buses(self, reactor):
        self.storages = [await self.open_storage() for _ in range(3)]
        self.turn = 0
        return [PostgresBus(self.dsn, reactor, storage) for storage in self.storages]

    async def store(self, events):
        """By each node in turn."""
        self.turn += 1
        storage = self.storages[self.turn % len(self.storages)]
        stored = []
        for event in events:
            if event.action == COMMAND_UPDATE:
                message = event.message
                stored.append(Event(event.action, await storage.update_command(message.device_id, message.id, {"status": message.status})))
            else:
                await storage.append((event.message,))
                stored.append(event)
        return stored

    async def change(self, bus, kind, key):
        storage = self.storages[0]
        try:
            await storage.insert(CHANGES[kind](key))
        except Duplicate:
            await storage.update(kind, key, {})


@pytest.fixture
def proxy(database):
    """What stands between a bus and the database."""
    with FaultProxy(int(parse_dsn(database)["port"])) as proxy:
        yield proxy


@pytest_twisted.async_yield_fixture
async def cut_node(open_storage, proxy, database, reactor):
    """A receiver whose bus, but not its storage, can be cut off; its storage, and that of another node."""
    mine, other = await open_storage(), await open_storage()
    bus = PostgresBus(proxy.dsn(database), reactor, mine)
    receiver = Receiver()
    receiver.bus = bus
    await bus.start(receiver.receive, receiver.changed)
    yield receiver, mine, other
    await bus.stop()


async def until(condition, reactor):
    """Wait until something is so that nobody is told of."""
    end = reactor.seconds() + PATIENCE
    while not condition():
        assert reactor.seconds() < end
        await deferLater(reactor, 0.01)


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("damage", ["cut", "refuse"])
@pytest_twisted.ensureDeferred
async def test_what_was_missed_during_a_cut_is_caught_up(cut_node, proxy, damage):
    receiver, mine, other = cut_node
    await results(mine.append([notification("before")]), other.append([command("before")]))
    await receiver.expect(2)
    if damage == "refuse":
        proxy.refuse()
    proxy.cut()
    for number in range(700):
        await (mine, other)[number % 2].append([notification(str(number))])
    await other.update_command("a", 1, {"status": "1"})
    await mine.update_command("a", 1, {"status": "2"})
    await other.insert(Network(name="new"))
    if damage == "refuse":
        assert len(receiver.events) == 2, "nothing comes by a bus that is cut off"
        proxy.accept()
    await receiver.expect(704)
    await some_turns()
    assert len(receiver.events) == 704, "and nothing twice"
    names = [event.message.name for event in receiver.events if event.action == "notification/insert"]
    assert names == ["before", *map(str, range(700))]
    assert [event.message.status for event in receiver.events if event.action == COMMAND_UPDATE] == ["1", "2"]
    assert None in receiver.begun, "any entity may have changed meanwhile"


@pytest_twisted.ensureDeferred
async def test_it_tells_whether_it_hears_the_others(cut_node, proxy, reactor):
    receiver, _, _ = cut_node
    assert receiver.bus.up
    proxy.refuse()
    proxy.cut()
    await until(lambda: not receiver.bus.up, reactor)
    proxy.accept()
    await until(lambda: receiver.bus.up, reactor)


@pytest_twisted.ensureDeferred
async def test_it_tells_how_late_it_is(cut_node, proxy):
    receiver, mine, _ = cut_node
    assert receiver.bus.lag == 0.0
    proxy.freeze()
    await mine.append([notification()])
    await some_turns()
    assert len(receiver.events) == 0
    assert receiver.bus.lag > 0.0, "what was stored here is not delivered before its notification comes"
    proxy.thaw()
    await receiver.expect(1)
    await some_turns()
    assert receiver.bus.lag == 0.0


@pytest_twisted.ensureDeferred
async def test_own_and_others_messages_at_once_come_in_order_and_once(cut_node):
    receiver, mine, other = cut_node

    async def write(storage):
        for _ in range(50):
            await storage.append([notification(), notification()])

    await results(*(write(storage) for storage in (mine, mine, other, other)))
    assert await receiver.expect(400) == list(range(1, 401))


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_a_large_result_is_logged_once_and_comes_with_each_update(cut_node, proxy, database):
    receiver, _, other = cut_node
    await other.append([command()])
    await receiver.expect(1)
    first, second = (b'"%s"' % secrets.token_hex(450_000).encode() for _ in range(2))
    proxy.refuse()
    proxy.cut()
    await other.update_command("a", 1, {"status": "begun"})
    await other.update_command("a", 1, {"status": "0", "result": first})
    for number in range(1, 20):
        await other.update_command("a", 1, {"status": str(number)})
    await other.update_command("a", 1, {"result": second})
    await other.update_command("a", 1, {"status": "done"})
    proxy.accept()
    await receiver.expect(24)
    states = [(each.message.status, each.message.result) for each in receiver.events[1:]]
    assert states == [("begun", None), *((str(number), first) for number in range(20)), ("19", second), ("done", second)]
    assert _size_of(database, "command_updates") < 3_000_000, "two results, each once, and not one for each update"


@pytest_twisted.ensureDeferred
async def test_a_result_is_logged_again_before_it_is_forgotten(open_storage, database, reactor):
    storage = await open_storage()
    await storage.append([command()])
    await storage.update_command("a", 1, {"result": b"1"})
    with psycopg2.connect(database) as connection:
        connection.cursor().execute("UPDATE commands SET result_update_time = result_update_time - 1801000")
    for status in ("later", "last"):
        await storage.update_command("a", 1, {"status": status})
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT result::text, result_update FROM command_updates ORDER BY id")
        assert cursor.fetchall() == [("1", None), ("1", None), (None, 2)]


@pytest_twisted.ensureDeferred
async def test_what_waits_for_its_notification_is_bounded_in_bytes(cut_node, proxy):
    receiver, mine, _ = cut_node
    proxy.freeze()
    payload = b'"%s"' % (b"x" * 500_000)
    for _ in range(60):
        await mine.append([notification(parameters=payload)])
    assert sum(len(event.message.parameters) for _, events, *_ in receiver.bus._own.values() for event in events) < 25_000_000
    proxy.thaw()
    assert await receiver.expect(60) == list(range(1, 61))


def _size_of(dsn, table):
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size(%s)", (table,))
        return cursor.fetchone()[0]


@pytest_twisted.ensureDeferred
async def test_a_key_that_no_notification_holds_renews_everything(cut_node):
    receiver, _, other = cut_node
    device_id = "x" + "ä" * 1200
    await other.insert(CHANGES[Device](device_id))
    await other.insert(CHANGES[Device]("with space"))
    await receiver.expect_change(Device, "with space")
    assert [(Device, device_id)] in receiver.begun
    await other.delete(Device, "with space")
    await receiver.until(lambda: len(receiver.begun) > 2, "a deletion is a change")


@pytest_twisted.ensureDeferred
async def test_another_database_is_refused(open_storage, postgres, reactor):
    storage = await open_storage()
    for dsn in (postgres.create_database(), (await open_storage(postgres.create_database())).parameters):
        bus = PostgresBus(dsn if isinstance(dsn, str) else postgres.dsn(dsn["dbname"]), reactor, storage)
        receiver = Receiver()
        with pytest.raises(ConfigurationError, match="is not where messages are stored"):
            await bus.start(receiver.receive, receiver.changed)
        await bus.stop()


@pytest_twisted.ensureDeferred
async def test_storages_that_nodes_do_not_share_are_refused(open_storage, database, reactor):
    storage, memory = await open_storage(), MemoryStorage(reactor)
    for entities, messages, reason in ((memory, memory, "messages in PostgreSQL only"), (memory, storage, "must share users and devices")):
        with pytest.raises(ConfigurationError, match=reason):
            postgres_bus.open(database, ProviderContext(reactor, None, entities, messages))
    postgres_bus.open(database, ProviderContext(reactor, None, storage, storage))
