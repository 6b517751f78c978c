"""Several servers on one database that do not go together: said at the start, in readiness, and while they run."""

import subprocess
import sys

import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from dhtwisted.config.settings import AuthSettings, BusSettings, ServerSettings, Settings, StorageSettings
from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IKeyedAuth, ILocalBus, ISharedStorage
from dhtwisted.model import Node
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.providers.jwt.signing_key import fingerprint
from dhtwisted.providers.local_bus import LocalBus
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.service import neighbours as module
from dhtwisted.service.neighbours import NO_BUS, OTHER_HAS_NO_BUS, OTHER_KEY, Neighbours, conflicts
from dhtwisted.service.service import DeviceHiveService

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

GOOD = Node(key=1, has_bus=True)
ALONE = Node(key=1, has_bus=False)
STRANGER = Node(key=2, has_bus=True)
KEYLESS = Node(key=0, has_bus=True)
PATIENCE = 20
KEY, OTHER = "k" * 40, "o" * 40


@implementer(ISharedStorage)
class Shared:
    """A storage that says what a test wants to hear."""

    store_id = "store"

    def __init__(self):
        self.first, self.others, self.away = True, [], False

    async def announce(self, node):
        self.node = node

    async def look_around(self):
        if self.away:
            raise StorageUnavailable("a test wants it so")
        return self.first, self.others


@pytest.mark.parametrize(
    ("own", "others", "found"),
    [
        (GOOD, [], []),
        (ALONE, [], []),
        (GOOD, [GOOD, GOOD], []),
        (KEYLESS, [GOOD, STRANGER], []),
        (GOOD, [KEYLESS, GOOD, STRANGER], [OTHER_KEY]),
        (GOOD, [GOOD, ALONE], [OTHER_HAS_NO_BUS]),
        (ALONE, [GOOD], [NO_BUS]),
        (ALONE, [ALONE], [NO_BUS]),
        (ALONE, [STRANGER], [OTHER_KEY, NO_BUS]),
    ],
)
def test_what_goes_together(own, others, found):
    assert conflicts(own, others) == found


@pytest_twisted.ensureDeferred
async def test_only_what_stays_is_said(reactor):
    storage = Shared()
    neighbours = Neighbours(reactor, ALONE, [storage])
    storage.first, storage.others = False, [ALONE]
    await neighbours.check()
    assert (neighbours.problem, neighbours.may_serve) == ("", True), "it may be one that was just killed"
    await neighbours.check()
    assert (neighbours.problem, neighbours.may_serve) == (NO_BUS, False)
    storage.away = True
    await neighbours.check()
    assert neighbours.problem == NO_BUS, "nothing else is known"
    storage.away, storage.others = False, []
    await neighbours.check()
    assert (neighbours.problem, neighbours.may_serve) == ("", True)


@pytest_twisted.ensureDeferred
async def test_who_was_there_first_goes_on(reactor):
    storage = Shared()
    neighbours = Neighbours(reactor, GOOD, [storage, storage])
    storage.others = [STRANGER]
    await neighbours.check()
    await neighbours.check()
    assert (neighbours.problem, neighbours.may_serve) == (OTHER_KEY, True)


@pytest_twisted.ensureDeferred
async def test_a_storage_of_ones_own_is_not_asked(reactor, clock_free_memory):
    neighbours = Neighbours(reactor, ALONE, [clock_free_memory])
    assert not neighbours.are_possible
    await neighbours.start()
    neighbours.stop()


@pytest.fixture
def clock_free_memory(reactor):
    return MemoryStorage(reactor)


def test_the_own_providers_tell(reactor, clock_free_memory):
    assert ILocalBus.providedBy(LocalBus())
    auth = JWTAuth(reactor, Settings(), clock_free_memory, KEY.encode())
    assert IKeyedAuth.providedBy(auth)
    assert auth.key_fingerprint() == fingerprint(KEY.encode()) != fingerprint(OTHER.encode())
    assert 0 < auth.key_fingerprint() < 2**30


# On one PostgreSQL


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "CONFIRMATION", 0.1)
    monkeypatch.setattr(module, "INTERVAL", 0.1)


@pytest.fixture
def start(reactor, database, quick):
    """A function that starts a server on the database of the test."""
    services = []

    async def start_one(key=KEY, bus=True):
        settings = Settings(
            storage=StorageSettings(provider=f"postgres:{database}"),
            bus=BusSettings(provider=f"postgres:{database}" if bus else "local:"),
            server=ServerSettings(listen=("tcp:0:interface=127.0.0.1",)),
            auth=AuthSettings(secret=key, admin_password="swordfish", password_cost=10),
        )
        services.append(DeviceHiveService(reactor, settings))
        services[-1].startService()
        assert await services[-1].started
        return services[-1]

    yield start_one
    for service in services:
        pytest_twisted.blockon(maybeDeferred(service.stopService))


async def state_of(service):
    parts = await service._startup.monitor.readiness()
    return parts["nodes"], service._startup.monitor.problems().get("nodes", "")


async def until(reactor, service, state):
    for _ in range(PATIENCE * 50):
        if await state_of(service) == state:
            return
        await deferLater(reactor, 0.02)
    pytest.fail(f"it is {await state_of(service)}")


WELL = ("up", "")


@pytest_twisted.ensureDeferred
async def test_servers_that_go_together_are_ready(start, reactor):
    nodes = [await start() for _ in range(3)]
    await deferLater(reactor, 0.5)
    for node in nodes:
        assert await state_of(node) == WELL


@pytest_twisted.ensureDeferred
async def test_a_server_alone_needs_no_bus(start, reactor):
    alone = await start(bus=False)
    await deferLater(reactor, 0.5)
    assert await state_of(alone) == WELL


@pytest.mark.parametrize(
    ("first", "second", "said_by_first", "said_by_second"),
    [
        ({}, {"key": OTHER}, OTHER_KEY, OTHER_KEY),
        ({}, {"bus": False}, OTHER_HAS_NO_BUS, NO_BUS),
        ({"bus": False}, {}, NO_BUS, OTHER_HAS_NO_BUS),
        ({"bus": False}, {"bus": False}, NO_BUS, NO_BUS),
    ],
)
@pytest_twisted.ensureDeferred
async def test_servers_that_do_not_go_together(start, reactor, first, second, said_by_first, said_by_second):
    first = await start(**first)
    second = await start(**second)
    assert await state_of(second) == ("down", said_by_second), "already when it begins to listen"
    await until(reactor, first, ("up", said_by_first))
    await second.stopService()
    await until(reactor, first, WELL)


@pytest_twisted.ensureDeferred
async def test_connections_that_break_are_nobody_else(start, reactor, postgres, database):
    alone = await start(bus=False)
    for _ in range(3):
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            database=database.split("dbname=")[1].split()[0],
        )
        await deferLater(reactor, 0.5)
        assert await state_of(alone) == WELL
    second = await start(bus=False)
    assert await state_of(second) == ("down", NO_BUS), "it was announced again"


OTHER_PROCESS = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from dhtwisted.model import Node
from dhtwisted.providers.postgres.storage import PostgresStorage

async def announce():
    storage = PostgresStorage(sys.argv[1], reactor)
    await storage.open()
    await storage.announce(Node(key=7, has_bus=False))
    await storage.look_around()
    print("announced", flush=True)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(announce()))
reactor.run()
"""


@pytest_twisted.ensureDeferred
async def test_a_server_that_was_killed_is_forgotten(start, reactor, database):
    with subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, database], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"announced\n"
            beside = await start(bus=False)
            assert (await state_of(beside))[0] == "down"
        finally:
            other.kill()
    after = reactor.seconds()
    await until(reactor, beside, WELL)
    assert reactor.seconds() - after < 5
    await beside.stopService()
    assert await state_of(await start(bus=False)) == WELL
