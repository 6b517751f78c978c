"""A connection that comes back by itself: faults between it and the database, and the database's own."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from dhtwisted.errors import ConfigurationError, StorageUnavailable, Unstorable
from dhtwisted.providers.postgres import connection as connection_module
from dhtwisted.providers.postgres.connection import HealingConnection
from dhtwisted.providers.postgres.dsn import parse
from dhtwisted.providers.postgres.outage import Outage
from dhtwisted.testing.storage.base import outcomes
from tests.support.proxy import FaultProxy

OURS = {
    "synchronous_commit": "on",
    "transaction_isolation": "read committed",
    "statement_timeout": "5s",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
}


@pytest.fixture
def connect(reactor):
    """A function that opens a connection to a DSN."""
    opened = []

    def open_one(dsn, seconds=5, **options):
        opened.append(HealingConnection(reactor, parse(dsn), Outage("the database"), seconds, **options))
        opened[-1].open()
        return opened[-1]

    yield open_one
    for connection in opened:
        pytest_twisted.blockon(connection.close())


@pytest.fixture
def quick(monkeypatch):
    """Deadlines as short as a test likes them."""
    for name, seconds in (("GRACE", 0.1), ("PING_INTERVAL", 0.2), ("PING_SECONDS", 0.2), ("CONNECT_SECONDS", 0.5), ("LONGEST_PAUSE", 0.3)):
        monkeypatch.setattr(connection_module, name, seconds)


async def until(reactor, condition):
    """Wait for something that happens by itself."""
    for _ in range(2000):
        if condition():
            return
        await deferLater(reactor, 0.01)
    pytest.fail("it did not happen in 20 seconds")


@pytest_twisted.ensureDeferred
async def test_settings_are_ours_whatever_the_database_says(connect, database):
    from psycopg2.extensions import make_dsn

    theirs = {
        "synchronous_commit": "off",
        "default_transaction_isolation": "serializable",
        # Cuts the set-up short at some instant of some attempts.
        "statement_timeout": "1",
        "lock_timeout": "1",
        "idle_session_timeout": "1h",
    }
    connection = connect(make_dsn(database, options=" ".join(f"-c {name}={value}" for name, value in theirs.items())))
    await connection.wait()
    for name, value in OURS.items():
        assert await connection.run(f"SHOW {name}") == [(value,)]


@pytest_twisted.ensureDeferred
async def test_a_setting_that_waits_for_standbys_is_left_alone(connect, database):
    from psycopg2.extensions import make_dsn

    connection = connect(make_dsn(database, options="-c synchronous_commit=remote_apply"))
    await connection.wait()
    assert await connection.run("SHOW synchronous_commit") == [("remote_apply",)]


@pytest_twisted.ensureDeferred
async def test_statements_run_one_after_the_other(connect, database):
    connection = connect(database)
    await connection.wait()
    found = await outcomes(*(connection.run("SELECT %s", (n,)) for n in range(20)))
    assert found == [[(n,)] for n in range(20)]


@pytest_twisted.ensureDeferred
async def test_a_hanging_statement_is_given_up_and_the_connection_kept(connect, database):
    connection = connect(database, seconds=0.2)
    await connection.wait()
    ((before,),) = await connection.run("SELECT pg_backend_pid()")
    with pytest.raises(StorageUnavailable, match="took too long"):
        await connection.run("SELECT pg_sleep(60)")
    assert await connection.run("SELECT pg_backend_pid()") == [(before,)]


@pytest_twisted.ensureDeferred
async def test_a_database_that_hangs_is_given_up_and_found_again(connect, own_postgres, quick):
    connection = connect(own_postgres.dsn("postgres"), seconds=0.2)
    await connection.wait()
    own_postgres.suspend()
    with pytest.raises(StorageUnavailable, match="no answer for"):
        await connection.run("SELECT 1")
    own_postgres.resume()
    await connection.wait()
    assert await connection.run("SELECT 1") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_to_a_database_that_hangs_is_noticed(connect, own_postgres, quick, reactor):
    connection = connect(own_postgres.dsn("postgres"))
    await connection.wait()
    own_postgres.suspend()
    await until(reactor, lambda: not connection.up)
    own_postgres.resume()
    await connection.wait()


@pytest_twisted.ensureDeferred
async def test_a_crash_is_noticed_and_the_connection_comes_back(connect, own_postgres, quick, reactor):
    connection = connect(own_postgres.dsn("postgres"))
    await connection.wait()
    own_postgres.kill()
    await until(reactor, lambda: not connection.up)
    with pytest.raises(StorageUnavailable, match="the database is away"):
        await connection.run("SELECT 1")
    own_postgres.start()
    await connection.wait()
    assert await connection.run("SELECT 1") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_it_waits_for_a_database_that_is_not_up_yet(connect, own_postgres, quick):
    own_postgres.stop()
    connection = connect(own_postgres.dsn("postgres"))
    with pytest.raises(StorageUnavailable):
        await connection.run("SELECT 1")
    waiting = outcomes(connection.wait())
    own_postgres.start()
    assert await waiting == [None]


@pytest_twisted.ensureDeferred
async def test_what_prepares_runs_again_after_each_connect(connect, database, reactor, quick):
    async def prepare(execute):
        await execute("SET application_name = 'prepared'")

    connection = connect(database, prepare=prepare)
    await connection.wait()
    await outcomes(connection.run("SELECT pg_terminate_backend(pg_backend_pid())"))
    await connection.wait()
    assert await connection.run("SHOW application_name") == [("prepared",)]


@pytest_twisted.ensureDeferred
async def test_notifications_are_handed_over(connect, database, reactor):
    heard = []
    connection = connect(database, notified=heard.append)
    await connection.wait()
    await connection.run("LISTEN here")
    other = connect(database)
    await other.wait()
    await other.run("SELECT pg_notify('here', 'one')")
    await until(reactor, lambda: heard)
    assert heard == ["one"]


@pytest_twisted.ensureDeferred
async def test_a_refusal_is_told(connect, postgres):
    with pytest.raises(ConfigurationError, match="refuses this server: .*does not exist"):
        await connect(postgres.dsn("nowhere")).wait()


@pytest_twisted.ensureDeferred
async def test_bad_values_leave_the_connection_alone(connect, database):
    connection = connect(database)
    await connection.wait()
    for sql, values in (("SELECT %s", ("\0",)), ("SELECT %s", ("\ud800",)), ("SELECT %s::bigint", (2**70,)), ("SELECT %s::json", ("{",))):
        with pytest.raises(Unstorable):
            await connection.run(sql, values)
    assert await connection.run("SELECT 1") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_names_of_hosts_are_looked_up(connect, database):
    from psycopg2.extensions import make_dsn

    connection = connect(make_dsn(database, host="localhost"))
    await connection.wait()
    assert await connection.run("SELECT 1") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_closing_fails_what_is_under_way(connect, database):
    connection = connect(database)
    await connection.wait()
    running = Deferred.fromCoroutine(connection.run("SELECT pg_sleep(60)"))
    await connection.close()
    ((outcome),) = await outcomes(running)
    assert isinstance(outcome, StorageUnavailable)
    with pytest.raises(StorageUnavailable):
        await connection.run("SELECT 1")


@pytest_twisted.ensureDeferred
async def test_a_server_that_says_nothing_does_not_hide_the_next(connect, database, quick):
    from psycopg2.extensions import make_dsn, parse_dsn

    port = parse_dsn(database)["port"]
    with FaultProxy(int(port)) as proxy:
        proxy.freeze()
        connection = connect(make_dsn(database, host="127.0.0.1,127.0.0.1", port=f"{proxy.port},{port}"))
        await connection.wait()
        assert await connection.run("SELECT 1") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_giving_up_a_statement_does_not_wait_for_a_database_that_hangs(connect, own_postgres):
    connection = connect(own_postgres.dsn("postgres"))
    await connection.wait()
    own_postgres.suspend()
    running = Deferred.fromCoroutine(connection.run("SELECT 1"))
    running.cancel()
    ((outcome),) = await outcomes(running)
    assert isinstance(outcome, StorageUnavailable)
    own_postgres.resume()
    await connection.wait()


@pytest.mark.parametrize("wrong", ["port=abc", "sslmode=nonsense", "options='-c nonsense=1'"])
@pytest_twisted.ensureDeferred
async def test_what_can_never_be_connected_to_is_refused(connect, database, wrong):
    with pytest.raises(ConfigurationError):
        await connect(f"{database} {wrong}").wait()
