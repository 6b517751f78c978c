"""What every test may need."""

from pathlib import Path

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.internet.defer import Deferred

pytest_plugins = [
    "tests.support.bytecode",
    "tests.support.signals",
    "tests.support.time_limit",
    "tests.support.listening",
    "tests.support.mqtt.listening",
]

# A slow machine must not fail a test: what takes long is measured elsewhere.
settings.register_profile("dhtwisted", deadline=None)
settings.load_profile("dhtwisted")


SLOW = tuple(Path(__file__).with_name(name) for name in ("bench", "faults"))


def pytest_ignore_collect(collection_path, config):
    """Leave out a module whose tests are all slow, and take five seconds to be found."""
    return True if collection_path.name == "test_openapi.py" and config.option.markexpr == "not slow" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if any(item.path.is_relative_to(directory) for directory in SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def reactor():
    """The running reactor, for tests that need threads or sockets."""
    from twisted.internet import reactor

    return reactor


@pytest_twisted.async_yield_fixture
async def open_server(reactor):
    """Opens servers in memory: ``await open_server(limits={...})``; whatever a test opens is closed after it."""
    from dhtwisted.testing.server import MemoryServer

    servers = []

    async def open_one(**options):
        servers.append(await MemoryServer.open(reactor, **{"hash_password": False} | options))
        return servers[-1]

    yield open_one
    for server in servers:
        await server.close()


@pytest_twisted.async_yield_fixture
async def server(open_server):
    """A server in memory with the default settings."""
    yield await open_server()


@pytest.fixture
def audit_lines():
    """What :func:`audited` records."""
    from tests.support.auditing import Lines

    return Lines()


@pytest_twisted.async_yield_fixture
async def audited(open_server, audit_lines):
    """A server with an audit log, at which passwords can be used."""
    from dhtwisted.logs.audit import Audit

    memory = await open_server(hash_password=True)
    memory.server.audit = Audit(audit_lines, memory.clock.seconds)
    yield memory


@pytest_twisted.async_yield_fixture
async def administrator(audited):
    """A client of :func:`audited`, authenticated as the administrator."""
    yield await audited.client()


@pytest.fixture(scope="session")
def postgres():
    """The PostgreSQL server that tests share; those that stop it take :func:`own_postgres`."""
    from tests.support.postgres.shared import shared_server

    return shared_server()


@pytest.fixture
def database(postgres):
    """The connection string of an empty PostgreSQL database."""
    dsn = postgres.create_database()
    yield dsn
    postgres.drop_database(dsn)


@pytest.fixture
def own_postgres():
    """A PostgreSQL server that the test may stop, kill and suspend."""
    from tests.support.postgres.server import PostgresServer

    server = PostgresServer().start()
    yield server
    server.close()


@pytest.fixture
def open_storage(database, reactor):
    """A function that opens a Postgres storage on the test's database; each is the storage of one node."""
    from dhtwisted.providers.postgres.storage import PostgresStorage

    opened = []

    async def open_one(dsn=database):
        storage = PostgresStorage(dsn, reactor)
        await storage.open()
        opened.append(storage)
        return storage

    yield open_one
    for storage in opened:
        pytest_twisted.blockon(storage.close())


@pytest.fixture(params=["memory", "file", "postgres"])
def each_storage(request, reactor, tmp_path):
    """An opened storage of each sort, one after the other."""
    from dhtwisted.providers.memory import MemoryStorage
    from dhtwisted.providers.postgres.storage import PostgresStorage
    from dhtwisted.providers.sqlite.storage import FileStorage

    make = {
        "memory": lambda: MemoryStorage(reactor),
        "file": lambda: FileStorage(str(tmp_path / "data.sqlite"), reactor),
        "postgres": lambda: PostgresStorage(request.getfixturevalue("database"), reactor),
    }
    storage = make[request.param]()
    pytest_twisted.blockon(as_deferred(storage.open()))
    yield storage
    pytest_twisted.blockon(as_deferred(storage.close()))


def as_deferred(awaitable):
    """What ``blockon`` takes."""
    return awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)
